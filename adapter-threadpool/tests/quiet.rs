//! While nothing is due nothing runs: a call that does not return, clients that have half-closed or take nothing, wake
//! nobody.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use adapter_core::{Body, Environ, Error, Request, Response, ServerConfig};
use support::{Client, DEADLINE, serve_narrow};

/// How often the threads of the server have gone to sleep so far.
fn sleeps() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
    let status = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok());
    let of_server = status.filter(|status| status.starts_with("Name:\tadapter-"));
    let count = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    };
    of_server.filter_map(count).sum()
}

#[test]
fn nothing_runs_while_nothing_is_due() {
    let (open, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let app = move |request: Request, _environ: Environ| {
        if request.uri().path() == "/block" {
            gate.lock().unwrap().recv().unwrap_or_default();
        }
        let body = if request.uri().path() == "/fill" { vec![b'x'; 1 << 20] } else { b"done".to_vec() };
        async move { Ok::<_, Error>(Response::new(Body::from(body))) }
    };
    let app = std::sync::Arc::new(app);
    let server = serve_narrow(
        move |request: Request, environ: Environ| app(request, environ),
        ServerConfig::default().threads(4),
    );
    let quiet = |what: &str| {
        let start = Instant::now();
        loop {
            let before = sleeps();
            thread::sleep(Duration::from_millis(200));
            // A thread that looks every millisecond has two hundred.
            if sleeps().saturating_sub(before) < 20 {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "{what}: somebody is awake");
        }
    };
    quiet("a fresh server");
    let mut blocked = server.connect();
    blocked.get("/block");
    // Behind answers that are held up by it.
    let mut pipelined = Client::narrow(server.addr);
    pipelined.send("GET /fill HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut idle = server.connect();
    idle.get("/");
    assert_eq!(idle.answer().text(), "done");
    quiet("a call that does not return, and a client that takes nothing");
    blocked.half_close();
    let half_closed = server.connect();
    half_closed.half_close();
    pipelined.half_close();
    quiet("clients that have half-closed");
    open.send(()).unwrap();
    assert_eq!(blocked.answer().text(), "done");
    quiet("after it has returned");
}
