//! Clients that take nothing of what they asked for, in every phase of a connection: they hold up nobody, are ended by
//! the write timeout, and do not hold the shutdown. \[LIM-06\], \[BOD-16\], \[SHU-06\]
//!
//! The sockets take only a few KiB, so that one answer of [`FILL`] bytes is stuck, and the next request is looked at all
//! the same.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use adapter_core::ServerConfig;
use adapter_core::{
    Application, BlockingBody, Body, Bytes, DynApplication, Environ, Error, Request, Response, blocking,
};
use futures_lite::{StreamExt as _, stream};
use http::{HeaderValue, StatusCode, header};
use support::{Client, DEADLINE, Running, serve_narrow};

/// More than the sockets take, less than is gathered before it is written.
const FILL: usize = 24 * 1024;

/// What the application has going on.
#[derive(Clone, Default)]
struct Live {
    now: Arc<AtomicUsize>,
    filled: Arc<AtomicUsize>,
    /// Handlers that blocked and were not told that the client is gone.
    blocked: Arc<AtomicUsize>,
}

struct Guard(Arc<AtomicUsize>);

impl Live {
    fn guard(&self) -> Guard {
        self.now.fetch_add(1, Ordering::SeqCst);
        Guard(self.now.clone())
    }

    fn wait(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < DEADLINE, "{what}");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn app(live: Live) -> impl Application {
    let read_blocking = DynApplication::new(blocking(|mut request: Request<BlockingBody>, _: Environ| {
        let read = std::io::copy(request.body_mut(), &mut std::io::sink()).map_err(Error::new)?;
        Ok::<_, Error>(Response::new(Body::from(read.to_string())))
    }));
    move |request: Request, environ: Environ| {
        let live = live.clone();
        let guard = live.guard();
        let read_blocking = read_blocking.clone();
        async move {
            let chunk = || Ok::<_, Error>(Bytes::from(vec![b'x'; 1000]));
            let body = match request.uri().path() {
                "/fill" => {
                    live.filled.fetch_add(1, Ordering::SeqCst);
                    Body::from(vec![b'x'; FILL])
                }
                "/wait" => {
                    std::future::pending::<()>().await;
                    Body::empty()
                }
                "/busy" => {
                    let guard = guard;
                    loop {
                        futures_lite::future::yield_now().await;
                        assert!(guard.0.load(Ordering::SeqCst) > 0);
                    }
                }
                "/block" => {
                    // Not for ever: nobody can end it.
                    let since = Instant::now();
                    while since.elapsed() < Duration::from_secs(3) && !environ.is_disconnected() {
                        thread::sleep(Duration::from_millis(1));
                    }
                    live.blocked.fetch_add(usize::from(!environ.is_disconnected()), Ordering::SeqCst);
                    Body::empty()
                }
                "/read" => Body::from(request.into_body().bytes(1 << 20).await?),
                "/read-blocking" => return read_blocking.call(request, environ).await,
                "/stream" => Body::from_stream(stream::repeat_with(move || {
                    let _ = &guard;
                    chunk()
                })),
                "/stream-slowly" => Body::from_stream(stream::once(chunk()).chain(stream::poll_fn(move |_| {
                    let _ = &guard;
                    std::task::Poll::Pending
                }))),
                "/iterate" => Body::from_iterator(std::iter::repeat_with(move || {
                    let _ = &guard;
                    chunk()
                })),
                "/taken" => {
                    let mut response = Response::new(Body::empty());
                    let upgrade = environ.upgrade()?;
                    environ.runtime().spawn(async move { drop(upgrade.await) }).detach();
                    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("x"));
                    return Ok(response);
                }
                _ => Body::from("quick"),
            };
            Ok::<_, Error>(Response::new(body))
        }
    }
}

/// What a client has going on behind the answer it does not take.
const PHASES: [(&str, &str); 18] = [
    ("silence", ""),
    ("half a head", "GET / HT"),
    ("a handler that waits", "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a handler that is busy", "GET /busy HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a handler that blocks", "GET /block HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("an upload", "POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"),
    ("a 100", "POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"),
    ("a blocking 100", "POST /read-blocking HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"),
    ("a blocking upload", "POST /read-blocking HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"),
    ("a stream", "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a stream to HTTP/1.0", "GET /stream HTTP/1.0\r\nHost: a\r\n\r\n"),
    ("a slow stream", "GET /stream-slowly HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("an iterator", "GET /iterate HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a refusal", "BAD\r\n\r\n"),
    ("a busy refusal", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n"),
    ("an unread body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"),
    ("the end", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    ("an upgrade", "GET /taken HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
];

fn config(threads: usize, write: Duration) -> ServerConfig {
    let mut config = ServerConfig::default().threads(threads);
    config.limits.body_bytes = Some(1 << 20);
    config.timeouts.write = Some(write);
    config
}

/// Clients that take nothing of an answer, and have asked for something else behind it, which may be one for each thread.
fn stuck(server: &Running, live: &Live, threads: usize, request: &str) -> Vec<Client> {
    let count = 6;
    let before = live.filled.load(Ordering::SeqCst);
    let mut clients: Vec<Client> = (0..count).map(|_| Client::narrow(server.addr)).collect();
    let request = format!("GET /fill HTTP/1.1\r\nHost: a\r\n\r\n{request}");
    clients.iter_mut().for_each(|client| client.send(&request));
    live.wait("an answer is not begun", |live| live.filled.load(Ordering::SeqCst) >= before + count.min(threads));
    clients
}

fn ends(live: &Live, clients: &[Client], what: &str) {
    let start = Instant::now();
    for client in clients {
        let left = DEADLINE.saturating_sub(start.elapsed());
        assert!(client.is_broken_off(left), "{what}: a client that takes nothing is not ended");
    }
    live.wait(&format!("{what}: the application still has something of it"), |live| {
        live.now.load(Ordering::SeqCst) == 0
    });
}

/// Calls `check` with numbers of threads: few, as many as there are clients, more.
fn with_threads(check: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for threads in [1, 4, 6, 20] {
            let check = &check;
            scope.spawn(move || check(threads));
        }
    });
}

#[test]
fn who_takes_nothing_is_ended_in_every_phase() {
    with_threads(|threads| {
        let live = Live::default();
        let server = serve_narrow(app(live.clone()), config(threads, Duration::from_millis(300)));
        for (what, request) in PHASES {
            let what = format!("{what} with {threads} threads");
            let clients = stuck(&server, &live, threads, request);
            assert_eq!(server.get("/").text(), "quick", "{what}");
            ends(&live, &clients, &what);
            assert_eq!(live.blocked.load(Ordering::SeqCst), 0, "{what}");
            assert_eq!(server.get("/").text(), "quick", "{what}");
        }
        let handle = server.take();
        handle.trigger().trigger();
        handle.wait().unwrap();
    });
}

#[test]
fn who_takes_nothing_does_not_hold_the_shutdown() {
    with_threads(|threads| {
        for (what, request) in PHASES {
            let what = format!("{what} with {threads} threads");
            let live = Live::default();
            let mut config = config(threads, Duration::from_secs(600));
            config.timeouts.graceful_shutdown = Duration::from_millis(100);
            let server = serve_narrow(app(live.clone()), config);
            let clients = stuck(&server, &live, threads, request);
            let handle = server.take();
            handle.trigger().trigger();
            let start = Instant::now();
            handle.wait().unwrap();
            assert!(start.elapsed() < DEADLINE, "{what}");
            ends(&live, &clients, &what);
        }
    });
}

/// \[LIM-06\] pipelined requests whose answers nobody takes, until the client can't send any more.
#[test]
fn a_pipeline_that_nobody_takes_is_ended() {
    for threads in [1, 4] {
        let live = Live::default();
        let server = serve_narrow(app(live.clone()), config(threads, Duration::from_millis(300)));
        let pipeline = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(60_000);
        let clients: Vec<Client> = (0..6).map(|_| server.connect()).collect();
        thread::scope(|scope| {
            for client in &clients {
                let pipeline = &pipeline;
                // It ends when the server does not take the rest.
                scope.spawn(move || (&client.stream).write_all(pipeline.as_bytes()));
            }
            assert_eq!(server.get("/").text(), "quick");
        });
        ends(&live, &clients, "a pipeline");
        assert_eq!(server.get("/").text(), "quick");
    }
}
