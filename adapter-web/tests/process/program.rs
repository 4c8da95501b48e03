//! Starts the program, which is this binary, and talks with it: what it says line by line, its signals, its end.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Set for the program, and not for the tests.
pub(crate) const PROGRAM: &str = "TEST_OF_ADAPTER_PROGRAM";
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A running program; killed when dropped.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) stderr: Receiver<String>,
    pub(crate) stdout: Receiver<String>,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already if all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn command(args: &[&str]) -> Command {
    command_at(&std::env::current_exe().expect("this binary has a path"), args)
}

/// The program by another path.
pub(crate) fn command_at(path: &std::path::Path, args: &[&str]) -> Command {
    let mut command = Command::new(path);
    command.args(args).env(PROGRAM, "1").stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("ADAPTER_") && name != PROGRAM) {
            command.env_remove(name);
        }
    }
    command
}

pub(crate) fn start(mut command: Command) -> Program {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
    let stderr = lines(child.stderr.take().expect("piped"));
    let stdout = lines(child.stdout.take().expect("piped"));
    Program { child, stderr, stdout }
}

pub(crate) fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
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
pub(crate) fn rest(lines: &Receiver<String>) -> Vec<String> {
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
    pub(crate) fn line(&self) -> String {
        self.stderr.recv_timeout(DEADLINE).expect("a line on stderr")
    }

    /// The address of the next line of the start-up.
    pub(crate) fn address(&self) -> String {
        let of_no_use = |line: &String| line.ends_with(" is empty, as if it were not set");
        let line = std::iter::repeat_with(|| self.line()).find(|line| !of_no_use(line)).expect("endless");
        let (said, address) = line.split_once(" listening on ").unwrap_or_else(|| panic!("{line}"));
        assert!(said.starts_with("adapter: "), "{line}");
        address.trim_start_matches("http://").to_owned()
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().expect("kill runs").success());
    }

    /// Status, stderr and stdout once it has ended.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<String>, Vec<String>) {
        let (stderr, stdout) = (rest(&self.stderr), rest(&self.stdout));
        (self.child.wait().expect("it has ended"), stderr, stdout)
    }
}

/// Passes by what is said until a line that ends in `end`.
pub(crate) fn until(program: &Program, end: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        lines.push(program.line());
        if lines.last().is_some_and(|line| line.ends_with(end)) {
            return lines;
        }
    }
}

pub(crate) fn talk(mut stream: impl Read + std::io::Write, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("written");
    answer(stream)
}

pub(crate) fn answer(mut stream: impl Read) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

pub(crate) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
    stream
}

/// Sends a request and leaves its answer to be read later.
pub(crate) fn ask(address: &str, path: &str) -> TcpStream {
    let mut stream = connect(address);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("written");
    stream
}

#[track_caller]
pub(crate) fn fails(args: &[&str], status: i32, line: &str) {
    let (ended, stderr, stdout) = start(command(args)).end();
    assert_eq!((ended.code(), stdout.len()), (Some(status), 0), "{args:?}: {stderr:?}");
    assert_eq!(stderr.len(), 1, "{args:?}: {stderr:?}");
    assert!(stderr[0].starts_with(line), "{args:?}: {stderr:?}");
}
