//! What an operator does to a running program: signals that stop it and signals that do not, its log files.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use adapter_web::{Application, Environ, Error, Request, Response, ServerInfo};

use crate::program::{DEADLINE, PROGRAM, answer, ask, command, command_at, connect, start, talk, until};
use crate::workers::MOOD;

/// A program whose startup hook never ends.
pub(crate) struct Sleepy;

impl Application for Sleepy {
    async fn call(&self, _: Request, _: Environ) -> Result<Response, Error> {
        Err(Error::new("it never starts"))
    }

    async fn startup(&self, _: &ServerInfo) -> Result<(), Error> {
        struct Dropped;
        impl Drop for Dropped {
            fn drop(&mut self) {
                let _ = writeln!(std::io::stderr(), "the hook is dropped");
            }
        }
        let _dropped = Dropped;
        writeln!(std::io::stderr(), "starting")?;
        std::future::pending().await
    }

    async fn shutdown(&self) -> Result<(), Error> {
        writeln!(std::io::stderr(), "the shutdown hook")?;
        Ok(())
    }
}

/// Also where a terminal's end was to be ignored.
pub(crate) fn hang_up(server: &str) {
    let plain = command(&[]);
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(plain.get_program());
    nohup.args(["--server", server, "--bind", "127.0.0.1:0"]).env(PROGRAM, "1").stdin(Stdio::null());
    for command in [command(&["--server", server, "--bind", "127.0.0.1:0"]), nohup] {
        let program = start(command);
        let address = program.address();
        let in_flight = ask(&address, "/drained");
        assert_eq!(program.line(), "called /drained");
        program.signal("-HUP");
        assert_eq!(program.line(), "adapter: SIGHUP: there is nothing to read again");
        program.signal("-USR1");
        assert_eq!(program.line(), "adapter: SIGUSR1: there is no log file to open again");
        assert!(talk(connect(&address), "/").ends_with("\r\n\r\nhello"));
        program.signal("-TERM");
        assert_eq!(program.line(), "adapter: SIGTERM: draining, once more to force");
        assert!(answer(in_flight).ends_with("\r\n\r\nhello"));
        assert_eq!(program.end().0.code(), Some(0));
    }
}

pub(crate) fn quit(server: &str) {
    let args = ["--server", server, "--bind", "127.0.0.1:0", "--access-log", "--timeout-graceful-shutdown", "1h"];
    let program = start(command(&args));
    let address = program.address();
    assert!(talk(connect(&address), "/").ends_with("\r\n\r\nhello"));
    let _in_flight = ask(&address, "/never");
    assert_eq!(program.line(), "called /never");
    program.signal("-QUIT");
    let (ended, stderr, stdout) = program.end();
    assert_eq!(ended.code(), Some(0), "{stderr:?}");
    assert_eq!(stderr, ["adapter: SIGQUIT: stopping at once, once more to kill"]);
    assert!(stdout.iter().any(|line| line.contains("\"GET / HTTP/1.1\" 200")), "{stdout:?}");
}

/// Each request is in one of the files, once, whenever they were renamed.
pub(crate) fn rotation(server: &str) {
    const CLIENTS: usize = 4;
    const EACH: usize = 100;
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("access.log");
    let mut command = command(&["--server", server, "--bind", "127.0.0.1:0"]);
    let program = start({
        command.arg("--access-log-file").arg(&log);
        command
    });
    let address = program.address();
    let files = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let address = &address;
                scope.spawn(move || {
                    for n in 0..EACH {
                        assert!(talk(connect(address), &format!("/{client}/{n}")).ends_with("\r\n\r\nhello"));
                    }
                })
            })
            .collect();
        let mut files = vec![log.clone()];
        for n in 0..10 {
            let rotated = folder.path().join(format!("access.log.{n}"));
            std::fs::rename(&log, &rotated).expect("renamed");
            files.push(rotated);
            let (signal, name) = if n % 2 == 0 { ("-USR1", "SIGUSR1") } else { ("-HUP", "SIGHUP") };
            program.signal(signal);
            assert_eq!(program.line(), format!("adapter: {name}: opened {} again", log.display()));
        }
        for client in clients {
            client.join().expect("a client that was answered");
        }
        files
    });
    // What can't be opened is told, and the file from before written on.
    let kept = folder.path().join("kept");
    std::fs::rename(&log, &kept).expect("renamed");
    std::fs::create_dir(&log).expect("a folder in its place");
    program.signal("-USR1");
    let line = program.line();
    assert!(line.starts_with(&format!("adapter: SIGUSR1: writing {} as it was", log.display())), "{line}");
    assert!(talk(connect(&address), "/last").ends_with("\r\n\r\nhello"));
    program.signal("-TERM");
    let (ended, _, stdout) = program.end();
    assert_eq!((ended.code(), stdout.len()), (Some(0), 0));
    let read = |file: &std::path::PathBuf| std::fs::read_to_string(file).expect("a file of lines");
    let text: String = files[1..].iter().chain([&kept]).map(read).collect();
    let mut seen: Vec<_> = text.lines().filter_map(|line| line.split(' ').nth(6).map(str::to_owned)).collect();
    seen.sort();
    let mut expected: Vec<_> = (0..CLIENTS * EACH).map(|n| format!("/{}/{}", n / EACH, n % EACH)).collect();
    expected.push("/last".into());
    expected.sort();
    assert_eq!(seen, expected);
}

/// \[LIF-10\]
pub(crate) fn slow_startup(server: &str) {
    for (signal, name, number) in [("-TERM", "SIGTERM", 15), ("-INT", "SIGINT", 2)] {
        let mut command = command(&["--server", server, "--bind", "127.0.0.1:0"]);
        command.env(PROGRAM, "sleepy");
        let program = start(command);
        assert_eq!(program.line(), "starting");
        program.signal(signal);
        let (ended, mut stderr, _) = program.end();
        assert_eq!(ended.signal(), Some(number), "{ended:?} {stderr:?}");
        stderr.sort();
        let said = format!("adapter: {name}: stopping before it has started, once more to kill");
        assert_eq!(stderr, [said.as_str(), "the hook is dropped"]);
    }
}

pub(crate) fn drain_delay(server: &str) {
    let program = start(command(&["--server", server, "--bind", "127.0.0.1:0", "--drain-delay", "1h"]));
    let address = program.address();
    program.signal("-TERM");
    assert_eq!(program.line(), "adapter: SIGTERM: draining in 3600s, once more to drain now");
    assert!(talk(connect(&address), "/").ends_with("\r\n\r\nhello"));
    program.signal("-INT");
    assert_eq!(program.line(), "adapter: SIGINT: draining, once more to force");
    assert_eq!(program.end().0.code(), Some(0));

    let program = start(command(&["--server", server, "--bind", "127.0.0.1:0", "--drain-delay", "1ms"]));
    program.address();
    program.signal("-TERM");
    assert_eq!(program.line(), "adapter: SIGTERM: draining in 1ms, once more to drain now");
    assert_eq!(program.end().0.code(), Some(0));
}

/// A socket like a service manager's, and the next message on it.
pub(crate) fn manager(folder: &std::path::Path) -> (std::os::unix::net::UnixDatagram, std::path::PathBuf) {
    let path = folder.join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
    (socket, path)
}

pub(crate) fn told(socket: &std::os::unix::net::UnixDatagram) -> String {
    let mut message = [0; 1000];
    let length = socket.recv(&mut message).expect("a message");
    String::from_utf8_lossy(&message[..length]).into_owned()
}

pub(crate) fn notifies(server: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let (socket, path) = manager(folder.path());
    let mut command = command(&["--server", server, "--bind", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", path);
    let program = start(command);
    program.address();
    assert_eq!(told(&socket), "READY=1\nSTATUS=serving");
    program.signal("-HUP");
    let reloading = told(&socket);
    let micros = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("a time");
    assert!(reloading.starts_with("RELOADING=1\n") && micros.parse::<u64>().is_ok(), "{reloading}");
    assert_eq!(told(&socket), "READY=1\nSTATUS=serving");
    program.signal("-TERM");
    assert_eq!(told(&socket), "STOPPING=1\nSTATUS=draining");
    assert_eq!(program.end().0.code(), Some(0));
}

/// Fed while event loops answer, and not while the application holds all of them.
pub(crate) fn watchdog(server: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let (socket, path) = manager(folder.path());
    let threads = ["--server", server, "--bind", "127.0.0.1:0", "--threads", "1"];
    let mut command = command(&threads);
    command.env("NOTIFY_SOCKET", path).env("WATCHDOG_USEC", "100000");
    let program = start(command);
    let address = program.address();
    assert_eq!(told(&socket), "READY=1\nSTATUS=serving");
    for _ in 0..3 {
        assert_eq!(told(&socket), "WATCHDOG=1");
    }
    // The pool of threads has one more, which is free.
    if server != "threadpool" {
        let _held = ask(&address, "/hold");
        assert!(program.line().starts_with("called /hold "));
        let line = program.line();
        assert!(line.contains("an event loop does not answer"), "{line}");
        socket.set_nonblocking(true).expect("it can be");
        while socket.recv(&mut [0; 100]).is_ok() {}
        let line = program.line();
        assert!(line.contains("an event loop does not answer"), "{line}");
        assert!(socket.recv(&mut [0; 100]).is_err(), "nobody feeds it");
    }
}

/// The number of the process that an upgrade has started, from what is said meanwhile.
pub(crate) fn upgraded(program: &crate::program::Program, from: u32) -> u32 {
    assert!(Command::new("kill").args(["-USR2", &from.to_string()]).status().expect("kill runs").success());
    loop {
        let line = program.line();
        assert!(!line.contains("serving on"), "{line}");
        if let Some((_, rest)) = line.split_once("SIGUSR2: process ") {
            return rest.split(' ').next().and_then(|id| id.parse().ok()).expect("a number");
        }
    }
}

/// Five upgrades under load lose no request: on new connections, and on those that are kept as long as the server lets them.
pub(crate) fn upgrades(server: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let unix = format!("unix:{}", path.display());
    let program = start(command(&["--server", server, "--bind", "127.0.0.1:0", "--bind", &unix]));
    let address = program.address();
    assert_eq!(program.address(), unix);
    let done = std::sync::atomic::AtomicBool::new(false);
    let served = std::sync::atomic::AtomicUsize::new(0);
    let mut last = program.child.id();
    std::thread::scope(|scope| {
        for client in 0..3 {
            let (address, path, done, served) = (&address, &path, &done, &served);
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::SeqCst) {
                    let said = match client {
                        0 => talk(std::os::unix::net::UnixStream::connect(path).expect("it listens"), "/"),
                        _ => talk(connect(address), "/"),
                    };
                    assert!(said.ends_with("\r\n\r\nhello"), "{said}");
                    served.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                }
            });
        }
        let ids = (0..5).map(|_| {
            last = upgraded(&program, last);
            last
        });
        let ids: Vec<u32> =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ids.collect())).unwrap_or_default();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(ids.len(), 5);
    });
    assert!(served.load(std::sync::atomic::Ordering::SeqCst) > 0);
    assert!(Command::new("kill").args(["-TERM", &last.to_string()]).status().expect("kill runs").success());
    // Until the last one has closed stderr.
    let (ended, stderr, _) = program.end();
    assert_eq!(ended.code(), Some(0), "{stderr:?}");
    assert!(!stderr.iter().any(|line| line.contains("WARN") || line.contains("ERROR")), "{stderr:?}");
    assert!(!path.exists(), "the last one unlinks it");
    std::net::TcpListener::bind(&address).expect("the port is free");
}

/// An upgrade's draining is nobody's signal.
pub(crate) fn signal_behind_upgrade(server: &str) {
    let args = ["--server", server, "--bind", "127.0.0.1:0", "--timeout-graceful-shutdown", "1h"];
    let program = start(command(&args));
    let _in_flight = ask(&program.address(), "/never");
    assert_eq!(program.line(), "called /never");
    let last = upgraded(&program, program.child.id());
    program.signal("-TERM");
    until(&program, "adapter: SIGTERM: draining already, once more to force");
    program.signal("-INT");
    until(&program, "adapter: SIGINT: stopping at once, once more to kill");
    assert!(Command::new("kill").args(["-TERM", &last.to_string()]).status().expect("kill runs").success());
    let (ended, stderr, _) = program.end();
    // Forced, it has done what it was asked for.
    assert_eq!(ended.code(), Some(0), "{stderr:?}");
}

/// One that does not start changes nothing.
pub(crate) fn failed_upgrade(server: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("access.log");
    let mut command = command(&["--server", server, "--bind", "127.0.0.1:0"]);
    command.arg("--access-log-file").arg(&log);
    let program = start(command);
    let address = program.address();
    std::fs::remove_file(&log).expect("a file");
    std::fs::create_dir(&log).expect("a folder in its place");
    program.signal("-USR2");
    // Two processes say it, each in its time.
    let mut said = [program.line(), program.line(), program.line()];
    said.sort_unstable();
    let [failed, begun, error] = said;
    assert_eq!(begun, "adapter: SIGUSR2: starting the program anew");
    assert!(error.starts_with("error: --access-log-file: "), "{error}");
    let why = "adapter: SIGUSR2: serving on, for the new program does not: it ended before it served (exit status: 1)";
    assert_eq!(failed, why);
    assert!(talk(connect(&address), "/").ends_with("\r\n\r\nhello"));
    program.signal("-TERM");
    assert_eq!(program.end().0.code(), Some(0));
}

/// A new program that never serves ends with the one that has started it, and holds no port.
pub(crate) fn hanging_upgrade(server: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("program");
    let this = std::env::current_exe().expect("this binary has a path");
    std::os::unix::fs::symlink(this, &path).expect("a link");
    let program = start(command_at(&path, &["--server", server, "--bind", "127.0.0.1:0"]));
    let address = program.address();
    std::fs::remove_file(&path).expect("a file");
    std::fs::write(&path, "#!/bin/sh\necho hangs >&2\nexec sleep 1000\n").expect("a file");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    program.signal("-USR2");
    let mut said = [program.line(), program.line()];
    said.sort_unstable();
    assert_eq!(said, ["adapter: SIGUSR2: starting the program anew", "hangs"]);
    program.signal("-TERM");
    // Its end is that of who holds stderr, which the new one does, too.
    let (ended, stderr, _) = program.end();
    assert_eq!(ended.code(), Some(0), "{stderr:?}");
    let why = "adapter: SIGUSR2: the new program does not serve: this process is to stop";
    assert!(stderr.iter().any(|line| line == why), "{stderr:?}");
    std::net::TcpListener::bind(&address).expect("the port is free");
}

/// One whose startup hook fails leaves the old one's path where it is.
pub(crate) fn upgrade_without_startup(server: &str) {
    let (folder, path) = crate::listeners::socket_path();
    let mood = folder.path().join("mood");
    let mut command = command(&["--server", server, "--bind"]);
    command.arg(format!("unix:{}", path.display())).env(PROGRAM, "moody").env(MOOD, &mood);
    let program = start(command);
    program.address();
    std::fs::write(&mood, "out of tea").expect("written");
    program.signal("-USR2");
    let lines = until(&program, "it ended before it served (exit status: 1)");
    assert!(lines.iter().any(|line| line.starts_with("error: ") && line.ends_with("out of tea")), "{lines:?}");
    assert!(talk(std::os::unix::net::UnixStream::connect(&path).expect("it is there"), "/").ends_with("\r\n\r\nhello"));
    program.signal("-TERM");
    assert_eq!(program.end().0.code(), Some(0));
    assert!(!path.exists());
}

pub(crate) fn conventions(server: &str) {
    let mut clouds = command(&["--server", server]);
    clouds.env("PORT", "0").env("RUST_LOG", "off,not a directive!");
    let program = start(clouds);
    // What is wrong with it is told, as everywhere.
    let address = loop {
        let line = program.line();
        if let Some((_, address)) = line.split_once(" listening on http://localhost:") {
            break format!("127.0.0.1:{}", address.split(' ').next().expect("a port"));
        }
    };
    assert!(talk(connect(&address), "/report/x").ends_with("\r\n\r\nhello"));
    program.signal("-TERM");
    let (ended, stderr, _) = program.end();
    assert_eq!(ended.code(), Some(0));
    assert!(!stderr.iter().any(|line| line.contains("reported")), "{stderr:?}");
    let mut wrong = command(&["--server", server]);
    wrong.env("PORT", "http");
    let (ended, stderr, _) = start(wrong).end();
    assert_eq!(ended.code(), Some(2));
    assert_eq!(stderr, ["error: PORT: \"http\" is no port (a number up to 65535)"]);
    let mut printed = command(&["--server", server, "--print-config"]);
    printed.env("PORT", "81").env("RUST_LOG", "debug").env("ADAPTER_BINDS", "x");
    let (ended, stderr, stdout) = start(printed).end();
    assert_eq!(
        (ended.code(), stderr.as_slice()),
        (Some(0), &["adapter: the variable ADAPTER_BINDS is no setting of this program".to_owned()][..])
    );
    for line in ["bind = [\":81\"] # environment, PORT", "log = \"debug\" # environment, RUST_LOG"] {
        assert!(stdout.iter().any(|printed| printed == line), "{line} in {stdout:?}");
    }
}

/// Whether a judge is installed; of systemd, the manager need not run.
pub(crate) fn is_installed(judge: &str) -> bool {
    Command::new(judge).arg("--version").output().is_ok_and(|it| it.status.success())
}

/// The units of `examples/deploy`, and the one with TLS, are what systemd takes, but for what is newer than it.
pub(crate) fn units() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = std::env::current_exe().expect("this binary has a path");
    let put = |name: &str, text: &str| {
        let text = text.replace("/usr/local/bin/app", program.to_str().expect("text"));
        std::fs::write(folder.path().join(name), text).expect("written");
    };
    put("app.service", include_str!("../../../examples/deploy/systemd/app.service"));
    put("app.socket", include_str!("../../../examples/deploy/systemd/app.socket"));
    for with_tls in [false, true] {
        if with_tls {
            std::fs::create_dir(folder.path().join("app.service.d")).expect("a folder");
            put("app.service.d/tls.conf", include_str!("../../../examples/deploy/systemd/tls.conf"));
        }
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no"]).args(["app.service", "app.socket"].map(|name| folder.path().join(name)));
        let said = verify.output().expect("it runs");
        let stderr = String::from_utf8_lossy(&said.stderr);
        // Units of the machine's own are not ours; and Type=notify-reload is of systemd 253.
        let ours = |line: &&str| line.contains("app.s") || line.contains("tls.conf");
        let wrong: Vec<_> = stderr.lines().filter(ours).filter(|line| !line.contains("notify-reload")).collect();
        assert!(said.status.success() && wrong.is_empty(), "{}: {stderr}", said.status);
    }
}
