//! Whole processes: exit statuses, what goes to stderr, signals, inherited sockets, on every server of this build.
//!
//! This binary is both sides: started with `ADAPTER_TEST_PROGRAM` it is a program on the facade, else the tests. Every
//! wait is for an event and has a deadline.

#[cfg(unix)]
mod unix {
    use std::io::{BufRead as _, BufReader, Read, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;
    use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;
    use std::time::{Duration, Instant};

    use adapter::{Body, Environ, Error, Request, Response};
    use libtest_mimic::{Arguments, Failed, Trial};

    const PROGRAM: &str = "ADAPTER_TEST_PROGRAM";
    const DEADLINE: Duration = Duration::from_secs(20);

    pub(crate) fn main() -> ExitCode {
        if std::env::var_os(PROGRAM).is_some() {
            return adapter::serve(application);
        }
        let mut trials = vec![
            trial("wrong_use_is_one_line_and_status_2", wrong_use),
            trial("help_version_and_list_go_to_stdout", informational),
        ];
        type Case = (&'static str, fn(&str));
        let cases: [Case; 8] = [
            ("a_port_in_use_is_one_line_and_status_1", port_in_use),
            ("an_unknown_option_is_one_line_and_status_2", unknown_option),
            ("sigterm_drains_and_the_port_is_free_at_once", sigterm_drains),
            ("a_second_signal_forces", second_signal),
            ("the_environment_sets_flags", environment),
            ("inherited_sockets_are_served", inherited),
            ("unix_sockets_are_served", unix_sockets),
            ("the_access_log_is_complete_when_the_program_ends", access_log),
        ];
        for server in adapter::registry::names() {
            for (name, case) in cases {
                let server = server.clone();
                trials.push(trial(&format!("{server}::{name}"), move || case(&server)));
            }
        }
        libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
    }

    fn trial(name: &str, case: impl FnOnce() + Send + 'static) -> Trial {
        Trial::test(name, move || {
            case();
            Ok::<(), Failed>(())
        })
    }

    /// The program under test.
    async fn application(request: Request, environ: Environ) -> Result<Response, Error> {
        let path = request.uri().path();
        if path == "/drained" || path == "/never" {
            // tells the test that the request is in flight
            writeln!(std::io::stderr(), "called {path}")?;
            environ.shutting_down().await;
            if path == "/never" {
                std::future::pending::<()>().await;
            }
        }
        Ok(Response::new(Body::from("hello")))
    }

    /// A running program; killed when dropped.
    struct Program {
        child: Child,
        stderr: Receiver<String>,
        stdout: Receiver<String>,
    }

    impl Drop for Program {
        fn drop(&mut self) {
            // It has ended already if all went well.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn command(args: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this binary has a path"));
        command.args(args).env(PROGRAM, "1").stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("ADAPTER_") && name != PROGRAM) {
                command.env_remove(name);
            }
        }
        command
    }

    fn start(mut command: Command) -> Program {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
        let stderr = lines(child.stderr.take().expect("piped"));
        let stdout = lines(child.stdout.take().expect("piped"));
        Program { child, stderr, stdout }
    }

    fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
        let (sender, receiver) = channel();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        receiver
    }

    /// What is still to come, until the program has closed the pipe.
    fn rest(lines: &Receiver<String>) -> Vec<String> {
        let deadline = Instant::now() + DEADLINE;
        let mut all = Vec::new();
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => all.push(line),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return all,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("the program does not end; it said {all:?}"),
            }
        }
    }

    impl Program {
        fn line(&self) -> String {
            self.stderr.recv_timeout(DEADLINE).expect("a line on stderr")
        }

        /// The address of the next line of the start-up.
        fn address(&self) -> String {
            let line = self.line();
            let (said, address) = line.split_once(" listening on ").unwrap_or_else(|| panic!("{line}"));
            assert!(said.starts_with("adapter: "), "{line}");
            address.trim_start_matches("http://").to_owned()
        }

        fn signal(&self, name: &str) {
            let id = self.child.id().to_string();
            assert!(Command::new("kill").args([name, &id]).status().expect("kill runs").success());
        }

        /// Status, stderr and stdout once it has ended.
        fn end(mut self) -> (ExitStatus, Vec<String>, Vec<String>) {
            let (stderr, stdout) = (rest(&self.stderr), rest(&self.stdout));
            (self.child.wait().expect("it has ended"), stderr, stdout)
        }
    }

    fn talk(mut stream: impl Read + std::io::Write, path: &str) -> String {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("written");
        answer(stream)
    }

    fn answer(mut stream: impl Read) -> String {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    fn connect(address: &str) -> TcpStream {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        stream
    }

    /// Sends a request and leaves its answer to be read later.
    fn ask(address: &str, path: &str) -> TcpStream {
        let mut stream = connect(address);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("written");
        stream
    }

    #[track_caller]
    fn fails(args: &[&str], status: i32, line: &str) {
        let (ended, stderr, stdout) = start(command(args)).end();
        assert_eq!((ended.code(), stdout.len()), (Some(status), 0), "{args:?}: {stderr:?}");
        assert_eq!(stderr.len(), 1, "{args:?}: {stderr:?}");
        assert!(stderr[0].starts_with(line), "{args:?}: {stderr:?}");
    }

    fn wrong_use() {
        let known = adapter::registry::names().join(", ");
        if !known.is_empty() {
            fails(&["--server", "x"], 2, &format!("error: unknown server \"x\"; known are: {known}"));
        }
        fails(&["--nope"], 2, "error: unexpected argument '--nope' found");
        fails(&["--bind", "nonsense"], 2, "error: invalid value 'nonsense' for '--bind <ADDR>'");
        fails(
            &["--timeout-write", "0"],
            2,
            if known.is_empty() { "error: " } else { "error: --timeout-write: must not" },
        );
    }

    fn informational() {
        for flag in ["--help", "--version", "--list-servers"] {
            let (ended, stderr, stdout) = start(command(&[flag])).end();
            assert_eq!((ended.code(), stderr.len()), (Some(0), 0), "{flag}: {stderr:?}");
            assert!(!stdout.is_empty(), "{flag}");
        }
    }

    fn port_in_use(server: &str) {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address").to_string();
        fails(
            &["--server", server, "--bind", &address],
            1,
            &format!("error: cannot listen on {address}: Address already in use"),
        );
    }

    fn unknown_option(server: &str) {
        fails(
            &["--server", server, "--bind", "127.0.0.1:0", "--option", "no-such=1"],
            2,
            &format!("error: no-such: the server \"{server}\" has no such option"),
        );
    }

    fn sigterm_drains(server: &str) {
        let program = start(command(&["--server", server, "--bind", "127.0.0.1:0"]));
        let address = program.address();
        assert!(talk(connect(&address), "/").ends_with("\r\n\r\nhello"));
        let idle = connect(&address);
        let mut in_flight = ask(&address, "/drained");
        assert_eq!(program.line(), "called /drained");
        program.signal("-TERM");
        assert_eq!(program.line(), "adapter: SIGTERM: draining, once more to force");
        let drained = answer(&mut in_flight);
        assert!(drained.contains("connection: close") && drained.ends_with("\r\n\r\nhello"), "{drained}");
        let (ended, stderr, stdout) = program.end();
        assert_eq!((ended.code(), stderr.len(), stdout.len()), (Some(0), 0, 0), "{stderr:?}");
        drop(idle);
        TcpListener::bind(&address).expect("the port is free");
    }

    fn second_signal(server: &str) {
        let program =
            start(command(&["--server", server, "--bind", "127.0.0.1:0", "--timeout-graceful-shutdown", "1h"]));
        let address = program.address();
        let _in_flight = ask(&address, "/never");
        assert_eq!(program.line(), "called /never");
        program.signal("-INT");
        assert_eq!(program.line(), "adapter: SIGINT: draining, once more to force");
        program.signal("-TERM");
        let (ended, stderr, _) = program.end();
        assert_eq!(ended.code(), Some(0), "{stderr:?}");
        assert_eq!(stderr, ["adapter: SIGTERM: stopping at once, once more to kill"]);
    }

    fn environment(server: &str) {
        let mut command = command(&[]);
        command.env("ADAPTER_SERVER", server).env("ADAPTER_BIND", "127.0.0.1:0,127.0.0.1:0");
        let program = start(command);
        for address in [program.address(), program.address()] {
            assert!(talk(connect(&address), "/").ends_with("\r\n\r\nhello"));
        }
        program.signal("-TERM");
        assert_eq!(program.end().0.code(), Some(0));
    }

    /// The program with `socket` as descriptor 3, the way systemd does it.
    fn activated(server: &str, socket: impl Into<OwnedFd>) -> Program {
        let program = command(&[]);
        let mut shell = Command::new("sh");
        // The socket comes as stdin, the one descriptor std passes on without unsafe code.
        shell.args(["-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null"]);
        shell.arg(program.get_program()).args(["--server", server, "--bind", "127.0.0.1:1"]).env(PROGRAM, "1");
        shell.stdin(Stdio::from(socket.into()));
        start(shell)
    }

    fn inherited(server: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let expected = listener.local_addr().expect("an address").to_string();
        let program = activated(server, listener);
        assert!(program.line().contains("LISTEN_FDS is set"), "it says that --bind is not used");
        assert_eq!(program.address(), expected);
        assert!(talk(connect(&expected), "/").ends_with("\r\n\r\nhello"));
        program.signal("-TERM");
        assert_eq!(program.end().0.code(), Some(0));

        let (_directory, path) = socket_path();
        let program = activated(server, UnixListener::bind(&path).expect("a socket"));
        assert!(program.line().contains("LISTEN_FDS is set"));
        assert_eq!(program.address(), format!("unix:{}", path.display()));
        assert!(talk(UnixStream::connect(&path).expect("it listens"), "/").ends_with("\r\n\r\nhello"));
        program.signal("-TERM");
        assert_eq!(program.end().0.code(), Some(0));
    }

    fn socket_path() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        (directory, path)
    }

    fn unix_sockets(server: &str) {
        let (_directory, path) = socket_path();
        let address = format!("unix:{}", path.display());
        for _again in 0..2 {
            let program = start(command(&["--server", server, "--bind", &address]));
            assert_eq!(program.address(), address);
            assert!(talk(UnixStream::connect(&path).expect("it listens"), "/").ends_with("\r\n\r\nhello"));
            program.signal("-TERM");
            assert_eq!(program.end().0.code(), Some(0));
        }
    }

    fn access_log(server: &str) {
        let program = start(command(&["--server", server, "--bind", "127.0.0.1:0", "--access-log", "combined"]));
        let address = program.address();
        for n in 0..3 {
            talk(connect(&address), &format!("/{n}?q"));
        }
        program.signal("-TERM");
        let (ended, stderr, stdout) = program.end();
        assert_eq!(ended.code(), Some(0));
        assert_eq!(stderr.len(), 1, "the events are not on stderr as well: {stderr:?}");
        let requests: Vec<_> =
            stdout.iter().filter_map(|line| line.split_once("] ").map(|(_, request)| request)).collect();
        assert_eq!(requests, [0, 1, 2].map(|n| format!("\"GET /{n}?q HTTP/1.1\" 200 5 \"-\" \"-\"")), "{stdout:?}");
        assert!(stdout.iter().all(|line| line.starts_with("127.0.0.1 - - [")), "{stdout:?}");
    }
}

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    unix::main()
}

#[cfg(not(unix))]
fn main() {}
