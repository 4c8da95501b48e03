//! `--workers`: processes that serve over the same listeners, and the one that watches them.
//!
//! Their stderr is the parent's, so that [`Program::end`] also waits for the last worker: one that is left behind fails a test.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use adapter_web::{Application, Environ, Error, Request, Response, ServerInfo};

use crate::operator::{manager, told, upgraded};
use crate::program::{DEADLINE, PROGRAM, Program, answer, ask, command, connect, rest, start, talk, until};

/// For [`Moody`]: the file that says how it starts.
pub(crate) const MOOD: &str = "TEST_OF_ADAPTER_MOOD";

/// A program that starts as a file says: `fail`, `never`, or well where there is none.
pub(crate) struct Moody;

impl Application for Moody {
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        crate::served::application(request, environ).await
    }

    async fn startup(&self, _: &ServerInfo) -> Result<(), Error> {
        let mood = std::env::var_os(MOOD).map(PathBuf::from).and_then(|path| std::fs::read_to_string(path).ok());
        match mood.as_deref() {
            Some("never") => {
                writeln!(std::io::stderr(), "starting for ever")?;
                std::future::pending().await
            }
            Some(why) => Err(Error::new(why.to_owned())),
            None => Ok(()),
        }
    }
}

/// A parent, where it listens, and its workers.
struct Served {
    program: Program,
    addresses: Vec<String>,
    workers: Vec<u32>,
}

/// The number behind `before` in `line`.
fn number(line: &str, before: &str) -> Option<u32> {
    line.split_once(before)?.1.split(' ').next()?.parse().ok()
}

/// The number in the next line like `adapter: worker 12 serves`; what is said beside it is passed by.
fn worker(program: &Program, does: &str) -> u32 {
    loop {
        let line = program.line();
        if line.ends_with(does) {
            return number(&line, "adapter: worker ").unwrap_or_else(|| panic!("{line}"));
        }
    }
}

fn serve(command: Command, count: usize, binds: usize) -> Served {
    let program = start(command);
    let workers = (0..count).map(|_| worker(&program, " serves")).collect();
    let addresses = (0..binds).map(|_| program.address()).collect();
    Served { program, addresses, workers }
}

fn kill(process: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &process.to_string()]).status().expect("kill runs").success());
}

/// The process that answers.
fn who(address: &str) -> u32 {
    let said = talk(connect(address), "/process");
    said.rsplit("\r\n\r\n").next().and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("{said}"))
}

impl Served {
    fn start(server: &str, count: usize, args: &[&str]) -> Self {
        let workers = count.to_string();
        let mut all = vec!["--server", server, "--bind", "127.0.0.1:0", "--workers", &workers];
        all.extend_from_slice(args);
        serve(command(&all), count, 1)
    }

    fn address(&self) -> &str {
        &self.addresses[0]
    }

    /// Ends all well.
    fn end(self) -> Vec<String> {
        self.program.signal("-TERM");
        let (ended, stderr, _) = self.program.end();
        assert_eq!(ended.code(), Some(0), "{stderr:?}");
        assert!(!stderr.iter().any(|line| line.contains("WARN") || line.contains("ERROR")), "{stderr:?}");
        TcpListener::bind(&self.addresses[0]).expect("the port is free");
        stderr
    }
}

/// All of them answer, and nobody else.
pub(crate) fn answers(server: &str) {
    let served = Served::start(server, 3, &[]);
    let deadline = Instant::now() + DEADLINE;
    let mut answered = HashSet::new();
    while answered.len() < 3 {
        assert!(Instant::now() < deadline, "only {answered:?} of {:?}", served.workers);
        let streams: Vec<_> = (0..20).map(|_| ask(served.address(), "/held")).collect();
        answered.extend(streams.iter().map(|_| number(&served.program.line(), "called /held by ").expect("a number")));
    }
    assert_eq!(answered, served.workers.iter().copied().collect());
    let stderr = served.end();
    assert_eq!(stderr.first().map(String::as_str), Some("adapter: SIGTERM: stopping 3 workers, once more to force"));
}

/// Lines of several processes stay whole.
pub(crate) fn access_log(server: &str) {
    const CLIENTS: usize = 4;
    const EACH: usize = 50;
    let served = Served::start(server, 3, &["--access-log"]);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let address = served.address();
            scope.spawn(move || {
                for n in 0..EACH {
                    assert!(talk(connect(address), &format!("/{client}/{n}")).ends_with("\r\n\r\nhello"));
                }
            });
        }
    });
    served.program.signal("-TERM");
    let (ended, stderr, stdout) = served.program.end();
    assert_eq!(ended.code(), Some(0), "{stderr:?}");
    let asked = |line: &String| line.starts_with("127.0.0.1 - - [").then(|| line.split('"').nth(1).map(str::to_owned));
    let mut seen: Vec<_> =
        stdout.iter().map(|line| asked(line).flatten().unwrap_or_else(|| panic!("{line}"))).collect();
    let mut expected: Vec<_> =
        (0..CLIENTS * EACH).map(|n| format!("GET /{}/{} HTTP/1.1", n / EACH, n % EACH)).collect();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

/// One that ends is replaced.
pub(crate) fn killed(server: &str) {
    let served = Served::start(server, 2, &[]);
    let [first, second] = served.workers[..] else { unreachable!() };
    kill(first, "-KILL");
    let line = served.program.line();
    assert_eq!(line, format!("adapter: worker {first} ended (signal: 9 (SIGKILL)); another one now"));
    assert_ne!(who(served.address()), first);
    let third = worker(&served.program, " serves");
    // One that is told to end does so as any server.
    kill(second, "-TERM");
    until(&served.program, &format!("worker {second} ended (exit status: 0); another one in 1 s"));
    let fourth = worker(&served.program, " serves");
    assert!([third, fourth].contains(&who(served.address())));
    served.end();
}

/// One that hangs is killed, and replaced: a process that does not run, and an application that holds its only event loop.
pub(crate) fn hanging(server: &str) {
    let served = Served::start(server, 2, &["--timeout-worker", "3s", "--threads", "1"]);
    let hangs = |process: u32, also: &str| {
        until(&served.program, &format!("worker {process} hangs; killed"));
        until(&served.program, &format!("worker {process} ended (signal: 9 (SIGKILL)); another one {also}"));
        worker(&served.program, " serves")
    };
    kill(served.workers[0], "-STOP");
    let third = hangs(served.workers[0], "now");
    // The pool of threads has one more, which is free.
    if server != "threadpool" {
        let _held = ask(served.address(), "/hold");
        let process = number(&served.program.line(), "called /hold by ").expect("a number");
        assert!([served.workers[1], third].contains(&process));
        hangs(process, "in 1 s");
    }
    assert!(talk(connect(served.address()), "/").ends_with("\r\n\r\nhello"));
    // Also while all are to end.
    let hung = who(served.address());
    kill(hung, "-STOP");
    served.program.signal("-TERM");
    until(&served.program, &format!("worker {hung} hangs; killed"));
    let (ended, stderr, _) = served.program.end();
    assert_eq!(ended.code(), Some(1), "{stderr:?}");
    assert_eq!(stderr.last().map(String::as_str), Some("error: not all workers ended well"));
}

pub(crate) fn number_of_them(server: &str) {
    let served = Served::start(server, 2, &[]);
    served.program.signal("-TTIN");
    assert_eq!(served.program.line(), "adapter: SIGTTIN: 3 workers");
    let mut left = served.workers.clone();
    left.push(worker(&served.program, " serves"));
    // One is the least.
    for (says, count) in [("2 workers", 2), ("1 worker", 1), ("1 worker", 1)] {
        served.program.signal("-TTOU");
        let mut is_told = false;
        while !is_told || left.len() > count {
            let line = served.program.line();
            is_told |= line == format!("adapter: SIGTTOU: {says}");
            let ended = number(&line, "adapter: worker ").filter(|_| line.ends_with(" ended"));
            left.retain(|worker| Some(*worker) != ended);
        }
    }
    assert_eq!(left, [who(served.address())]);
    let stderr = served.end();
    assert_eq!(stderr.first().map(String::as_str), Some("adapter: SIGTERM: stopping 1 worker, once more to force"));
}

/// Clients on `address` and on the path of a socket, while `meanwhile` happens: all are answered. Says how often.
fn under_load<T>(address: &str, path: &Path, meanwhile: impl FnOnce() -> T) -> (T, usize) {
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let result = std::thread::scope(|scope| {
        for client in 0..3 {
            let (done, answered) = (&done, &answered);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let said = match client {
                        0 => talk(UnixStream::connect(path).expect("it listens"), "/"),
                        _ => talk(connect(address), "/"),
                    };
                    assert!(said.ends_with("\r\n\r\nhello"), "{said}");
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        // Also where it panics.
        let _done = Done(&done);
        meanwhile()
    });
    (result, answered.into_inner())
}

/// Rolling restarts, and an upgrade of the parent: no request fails, and all processes are others.
pub(crate) fn replaced(server: &str) {
    let (_folder, path) = crate::listeners::socket_path();
    let unix = format!("unix:{},mode=0600", path.display());
    let args = ["--server", server, "--bind", "127.0.0.1:0", "--bind", &unix, "--workers", "2"];
    let mut served = serve(command(&args), 2, 2);
    assert_eq!(format!("{},mode=0600", served.addresses[1]), unix);
    let program = &served.program;
    let (last, answered) = under_load(served.address(), &path, || {
        for _ in 0..2 {
            program.signal("-HUP");
            until(program, "SIGHUP: all workers are new");
        }
        upgraded(program, upgraded(program, program.child.id()))
    });
    assert!(answered > 0);
    // Once the first parent has ended, its workers have.
    assert!(served.program.child.wait().expect("it ends").success());
    assert!(!served.workers.contains(&who(served.address())));
    assert!(path.exists());
    kill(last, "-TERM");
    let (ended, stderr, _) = served.program.end();
    assert_eq!(ended.code(), Some(0), "{stderr:?}");
    assert!(!stderr.iter().any(|line| line.contains("WARN") || line.contains("ERROR")), "{stderr:?}");
    assert!(!path.exists(), "the last one unlinks it");
    TcpListener::bind(&served.addresses[0]).expect("the port is free");
}

/// A program that starts as `mood` says, and its workers.
/// A worker that drains for another one serves is not at its second signal when all are to end.
pub(crate) fn signal_behind_replacement(server: &str) {
    let served = Served::start(server, 2, &["--timeout-graceful-shutdown", "1h"]);
    let _in_flight = ask(served.address(), "/never");
    assert_eq!(served.program.line(), "called /never");
    served.program.signal("-HUP");
    let lines = until(&served.program, "all workers are new");
    let is_old = |line: &String| served.workers.iter().any(|id| *line == format!("adapter: worker {id} ended"));
    // The other one may have ended by now.
    let ended = lines.iter().filter(|line| is_old(line)).count();
    served.program.signal("-TERM");
    let mut lines = Vec::new();
    while lines.len() < 3 - ended {
        lines.extend(until(&served.program, " ended").pop());
    }
    assert_eq!(lines.iter().filter(|line| is_old(line)).count(), 1 - ended, "{lines:?}");
    served.program.signal("-INT");
    let (status, lines, _) = served.program.end();
    assert_eq!((status.code(), lines.iter().filter(|line| is_old(line)).count()), (Some(0), 1), "{lines:?}");
}

/// A worker that is full leaves who comes to one that is not.
pub(crate) fn full(server: &str) {
    for _ in 0..3 {
        let served = Served::start(server, 3, &["--limit-connections", "1"]);
        let held: Vec<_> = (0..3).map(|_| ask(served.address(), "/held")).collect();
        let called = held.iter().map(|_| number(&served.program.line(), "called /held by ").expect("a number"));
        assert_eq!(called.collect::<HashSet<_>>(), served.workers.iter().copied().collect());
        // One more waits for any of them.
        let mut waits = ask(served.address(), "/process");
        drop(held);
        let mut begins = [0; 13];
        waits.read_exact(&mut begins).expect("an answer");
        assert_eq!(&begins, b"HTTP/1.1 200 ");
        served.end();
    }
}

fn moody(server: &str, mood: &Path, args: &[&str]) -> Command {
    let mut command = command(&["--server", server, "--workers", "2"]);
    command.args(args).env(PROGRAM, "moody").env(MOOD, mood);
    command
}

/// New ones that do not start change nothing.
pub(crate) fn not_replaced(server: &str) {
    let (folder, path) = crate::listeners::socket_path();
    let (mood, unix) = (folder.path().join("mood"), format!("unix:{}", path.display()));
    let served = serve(moody(server, &mood, &["--bind", "127.0.0.1:0", "--bind", &unix]), 2, 2);
    std::fs::write(&mood, "out of\ntea").expect("written");
    served.program.signal("-HUP");
    let line = until(&served.program, "out of tea").pop().expect("a line");
    assert!(line.starts_with("adapter: SIGHUP: the workers from before go on: worker "), "{line}");
    served.program.signal("-USR2");
    let lines = until(&served.program, "ended before it served (exit status: 1)");
    assert!(lines.iter().any(|line| line.starts_with("error: ") && line.ends_with("out of tea")), "{lines:?}");
    assert!(served.workers.contains(&who(served.address())));
    assert!(talk(UnixStream::connect(&path).expect("the path is there"), "/").ends_with("\r\n\r\nhello"));
    served.end();
}

/// None starts: one line says why, as if there were no workers.
pub(crate) fn none_starts(server: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let mood = folder.path().join("mood");
    std::fs::write(&mood, "out of tea").expect("written");
    let ends = |command: Command| {
        let (ended, stderr, _) = start(command).end();
        assert_eq!(ended.code(), Some(1), "{stderr:?}");
        stderr.into_iter().filter(|line| line.starts_with("error: ")).collect::<Vec<_>>()
    };
    let mut several = command(&["--server", server, "--bind", "127.0.0.1:0"]);
    let mut one = command(&["--server", server, "--bind", "127.0.0.1:0"]);
    several.env(PROGRAM, "moody").env(MOOD, &mood).args(["--workers", "3"]);
    one.env(PROGRAM, "moody").env(MOOD, &mood);
    let expected = ends(one);
    assert!(expected.len() == 1 && expected[0].ends_with("out of tea"), "{expected:?}");
    assert_eq!(ends(several), expected);
}

/// Whatever the parent is about, SIGTERM ends all, and what is in flight is answered.
pub(crate) fn ends(server: &str) {
    // While all serve.
    let served = Served::start(server, 2, &[]);
    let in_flight = ask(served.address(), "/drained");
    assert_eq!(served.program.line(), "called /drained");
    served.program.signal("-TERM");
    assert!(answer(in_flight).ends_with("\r\n\r\nhello"));
    let (ended, stderr, _) = served.program.end();
    assert_eq!(ended.code(), Some(0), "{stderr:?}");
    TcpListener::bind(&served.addresses[0]).expect("the port is free");
    // While one is replaced, and while the parent is.
    for (signal, said) in [("-HUP", "starting new workers, one by one"), ("-USR2", "starting the program anew")] {
        let (folder, path) = crate::listeners::socket_path();
        let (mood, unix) = (folder.path().join("mood"), format!("unix:{}", path.display()));
        let served = serve(moody(server, &mood, &["--bind", "127.0.0.1:0", "--bind", &unix]), 2, 2);
        std::fs::write(&mood, "never").expect("written");
        served.program.signal(signal);
        until(&served.program, said);
        until(&served.program, "starting for ever");
        served.end();
        assert!(!path.exists());
    }
    // While all start.
    let folder = tempfile::tempdir().expect("a folder");
    let mood = folder.path().join("mood");
    std::fs::write(&mood, "never").expect("written");
    let program = start(moody(server, &mood, &["--bind", "127.0.0.1:0"]));
    until(&program, "starting for ever");
    program.signal("-TERM");
    assert_eq!(program.end().0.signal(), Some(15));
}

/// Workers whose parent is killed end by themselves, whether they serve or start.
pub(crate) fn orphans(server: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let mood = folder.path().join("mood");
    let mut served = serve(moody(server, &mood, &["--bind", "127.0.0.1:0", "--timeout-hooks", "off"]), 2, 1);
    std::fs::write(&mood, "never").expect("written");
    served.program.signal("-HUP");
    until(&served.program, "starting for ever");
    let in_flight = ask(served.address(), "/drained");
    until(&served.program, "called /drained");
    served.program.child.kill().expect("it runs");
    assert!(answer(in_flight).ends_with("\r\n\r\nhello"));
    let stderr = rest(&served.program.stderr);
    let orphans = stderr.iter().filter(|line| line.contains("the parent of this worker has ended")).count();
    assert_eq!(orphans, 3, "{stderr:?}");
    TcpListener::bind(served.address()).expect("the port is free");
}

/// Sockets of a service manager are served by all, and the manager has to do with the parent alone.
pub(crate) fn managed(server: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let (socket, path) = manager(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let mut command = crate::listeners::activated_command(server, &["--bind", "fd:3", "--workers", "2"], listener);
    command.env("NOTIFY_SOCKET", path).env("WATCHDOG_USEC", "10000000");
    let served = serve(command, 2, 1);
    assert_eq!(served.address(), address);
    let next = || std::iter::repeat_with(|| told(&socket)).find(|said| said != "WATCHDOG=1").expect("endless");
    assert_eq!(next(), "READY=1\nSTATUS=serving");
    assert_eq!(told(&socket), "WATCHDOG=1");
    assert!(served.workers.contains(&who(&address)));
    served.program.signal("-HUP");
    assert!(next().starts_with("RELOADING=1\n"));
    assert_eq!(next(), "READY=1\nSTATUS=serving");
    for _ in 0..2 {
        assert!(served.workers.contains(&worker(&served.program, " ended")));
    }
    assert!(!served.workers.contains(&who(&address)));
    served.program.signal("-TERM");
    assert_eq!(next(), "STOPPING=1\nSTATUS=draining");
    assert_eq!(served.program.end().0.code(), Some(0));
}
