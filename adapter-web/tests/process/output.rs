//! What it writes, and to whom that does not matter: nobody who reads holds up anybody.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use crate::listeners::socket_path;
use crate::program::*;

pub(crate) fn long(folder: &str) -> String {
    format!("/{folder}/{}", "x".repeat(8000))
}

pub(crate) fn stdout_unread(server: &str) {
    let mut unread = command(&["--server", server, "--bind", "127.0.0.1:0", "--access-log"]);
    let mut child = unread.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
    let stdout = child.stdout.take().expect("piped");
    let (_silent, nothing) = channel();
    let program = Program { stderr: lines(child.stderr.take().expect("piped")), stdout: nothing, child };
    let address = program.address();
    for _ in 0..50 {
        assert!(talk(connect(&address), &long("x")).ends_with("\r\n\r\nhello"));
    }
    program.signal("-TERM");
    assert_eq!(program.line(), "adapter: SIGTERM: draining, once more to force");
    let said = rest(&program.stderr);
    assert!(said.len() == 1 && said[0].contains("access log lines are lost"), "{said:?}");
    drop(stdout);
}

/// `program --access-log common | sleep 1000`: all are served, none is waited for, and what is lost is counted.
pub(crate) fn stdout_unread_by_many(server: &str) {
    const REQUESTS: usize = 100_000;
    const TOGETHER: usize = 1000;
    let args = ["--server", server, "--bind", "127.0.0.1:0", "--access-log", "common"];
    let mut unread = command(&args);
    let mut child = unread.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
    let stdout = child.stdout.take().expect("piped");
    let (_silent, nothing) = channel();
    let mut program = Program { stderr: lines(child.stderr.take().expect("piped")), stdout: nothing, child };
    let address = program.address();
    let mut stream = connect(&address);
    let batch = "GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(TOGETHER);
    let (mut served, mut piece, mut rest) = (0, vec![0; 64 << 10], Vec::new());
    while served < REQUESTS {
        if served % TOGETHER == 0 {
            stream.write_all(batch.as_bytes()).expect("written");
        }
        let count = stream.read(&mut piece).expect("an answer");
        assert!(count > 0, "it has closed the connection after {served} requests");
        rest.extend_from_slice(&piece[..count]);
        let end = rest.windows(5).rposition(|window| window == b"hello").map_or(0, |at| at + 5);
        served += rest[..end].windows(5).filter(|window| window == b"hello").count();
        rest.drain(..end);
    }
    program.signal("-TERM");
    until(&program, "adapter: SIGTERM: draining, once more to force");
    let said = self::rest(&program.stderr);
    let lost = said.iter().find(|line| line.contains("access log lines are lost")).expect("it says so");
    let lost = lost.split_once("lines=").and_then(|(_, lines)| lines.trim().parse::<usize>().ok());
    let status = program.child.wait().expect("it has ended");
    assert_eq!(status.code(), Some(0), "{said:?}");
    // All but what a pipe takes, 64 KiB, and lines are about 70 octets.
    assert!(lost.is_some_and(|lost| (REQUESTS - 2000..=REQUESTS).contains(&lost)), "{said:?}");
    drop(stdout);
}

pub(crate) fn stderr_unread(server: &str) {
    let (_directory, path) = socket_path();
    let mut unread = command(&["--server", server, "--bind", &format!("unix:{}", path.display())]);
    let mut child = unread.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
    let stderr = child.stderr.take().expect("piped");
    let (_silent, nothing) = channel();
    let program = Program { stdout: lines(child.stdout.take().expect("piped")), stderr: nothing, child };
    let deadline = Instant::now() + DEADLINE;
    // Nothing says that it listens.
    while UnixStream::connect(&path).is_err() {
        assert!(Instant::now() < deadline, "it does not listen");
        thread::yield_now();
    }
    for _ in 0..50 {
        let stream = UnixStream::connect(&path).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        assert!(talk(stream, &long("report")).ends_with("\r\n\r\nhello"));
        // The hook for panics writes to stderr on the thread that panics.
        let stream = UnixStream::connect(&path).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        assert!(talk(stream, &long("panic")).starts_with("HTTP/1.1 500 "));
    }
    program.signal("-TERM");
    assert_eq!(rest(&program.stdout), Vec::<String>::new());
    drop(stderr);
}

pub(crate) fn access_log(server: &str) {
    let program = start(command(&["--server", server, "--bind", "127.0.0.1:0", "--access-log", "combined"]));
    let address = program.address();
    for n in 0..3 {
        talk(connect(&address), &format!("/{n}?q"));
    }
    program.signal("-TERM");
    let (ended, stderr, stdout) = program.end();
    assert_eq!(ended.code(), Some(0));
    assert_eq!(stderr.len(), 1, "the events are not on stderr as well: {stderr:?}");
    let asked = |line: &'_ String| line.split_once("] ").map(|(_, request)| request.to_owned());
    let mut requests: Vec<_> = stdout.iter().filter_map(asked).collect();
    // A line comes behind the answer, and another thread may be first.
    requests.sort_unstable();
    assert_eq!(requests, [0, 1, 2].map(|n| format!("\"GET /{n}?q HTTP/1.1\" 200 5 \"-\" \"-\"")), "{stdout:?}");
    assert!(stdout.iter().all(|line| line.starts_with("127.0.0.1 - - [")), "{stdout:?}");
}
