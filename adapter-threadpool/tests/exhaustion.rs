//! What the server does when there is nothing left: no place for a connection, no descriptor, no thread. \[LIM-07\],
//! \[ERR-06\], \[CON-09\]
//!
//! The limits are those of the process, so all of it is one test.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use adapter_core::{Application, Body, Environ, Error, Request, Response, ServerConfig};
use rustix::net::{AddressFamily, Shutdown, SocketType, connect, shutdown, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Client, DEADLINE, Running, serve_with};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

static WARNINGS: AtomicU32 = AtomicU32::new(0);
static ERRORS: AtomicU32 = AtomicU32::new(0);

/// Counts what the server logs.
struct Count;

impl Subscriber for Count {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "adapter"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        match *event.metadata().level() {
            tracing::Level::WARN => WARNINGS.fetch_add(1, Ordering::SeqCst),
            tracing::Level::ERROR => ERRORS.fetch_add(1, Ordering::SeqCst),
            _ => 0,
        };
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A soft limit, until it is dropped.
struct Limited(Resource, Rlimit);

impl Limited {
    fn to(resource: Resource, limit: u64) -> Self {
        let before = getrlimit(resource);
        setrlimit(resource, Rlimit { current: Some(limit), ..before }).unwrap();
        Limited(resource, before)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        setrlimit(self.0, self.1).unwrap();
    }
}

/// `/block` holds its thread until the test lets it go; the rest answers at once.
fn app(gate: Receiver<()>) -> impl Application {
    let gate = Arc::new(Mutex::new(gate));
    move |request: Request, _environ: Environ| {
        let gate = gate.clone();
        async move {
            if request.uri().path() == "/block" {
                gate.lock().unwrap().recv().unwrap();
            }
            Ok::<_, Error>(Response::new(Body::from("done")))
        }
    }
}

/// Waits for an event that must not come.
fn nothing_comes(stream: &TcpStream) {
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let quiet = (&*stream).read(&mut [0]).unwrap_err();
    assert!(matches!(quiet.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{quiet}");
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
}

fn answered(mut stream: &TcpStream) {
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}

#[test]
fn the_server_waits_and_goes_on() {
    tracing::subscriber::set_global_default(Count).unwrap();
    no_place();
    places_change_hands();
    no_listener();
    no_descriptor();
    no_thread();
}

/// \[ERR-06\] one listener can't accept any more: the others go on, and the log stays readable.
fn no_listener() {
    let broken = TcpListener::bind("127.0.0.1:0").unwrap();
    let handle = broken.try_clone().unwrap();
    let server = serve_with(app(channel().1), ServerConfig::default().bind(broken.into()));
    assert_eq!(server.get("/").text(), "done");
    let before = WARNINGS.load(Ordering::SeqCst);
    shutdown(&handle, Shutdown::Both).unwrap();
    let start = Instant::now();
    while WARNINGS.load(Ordering::SeqCst) == before {
        assert!(start.elapsed() < DEADLINE, "a listener that fails is not reported");
    }
    while start.elapsed() < Duration::from_millis(500) {
        let asked = Instant::now();
        // The second address.
        assert_eq!(server.get("/").text(), "done");
        assert!(asked.elapsed() < DEADLINE);
    }
    let lines = WARNINGS.load(Ordering::SeqCst) - before;
    assert!(u64::from(lines) <= start.elapsed().as_secs() + 1, "{lines} lines");
}

fn limited_to(connections: usize) -> Running {
    let mut config = ServerConfig::default();
    config.limits.connections = connections;
    serve_with(app(channel().1), config)
}

/// \[LIM-07\] the next one waits in the backlog, and is served when there is room.
fn no_place() {
    let server = limited_to(2);
    let mut inside: Vec<Client> = (0..2).map(|_| server.connect()).collect();
    for client in &mut inside {
        client.get("/");
        assert_eq!(client.answer().text(), "done");
    }
    let mut outside = server.connect();
    outside.get("/");
    nothing_comes(&outside.stream);
    drop(inside.pop());
    assert_eq!(outside.answer().text(), "done");
    inside[0].get("/");
    assert_eq!(inside[0].answer().text(), "done", "who was inside stays there");
}

/// A place that is given back while the server turns to the next one is not lost.
fn places_change_hands() {
    let server = limited_to(1);
    let addr = server.addr;
    let visits = move || {
        for _ in 0..100 {
            let mut client = Client::connect(addr);
            client.get("/");
            assert_eq!(client.answer().text(), "done");
        }
    };
    let visitors: Vec<_> = (0..4).map(|_| thread::spawn(visits)).collect();
    visitors.into_iter().for_each(|visitor| visitor.join().unwrap());
}

/// \[ERR-06\] accepting pauses, and is tried again.
fn no_descriptor() {
    let server = serve_with(app(channel().1), ServerConfig::default());
    // It stays, so that no descriptor is given back.
    let mut inside = server.connect();
    inside.get("/");
    assert_eq!(inside.answer().text(), "done");
    let clients: Vec<_> = (0..3).map(|_| socket(AddressFamily::INET, SocketType::STREAM, None).unwrap()).collect();
    // The lowest number that is free: none above it, and none below.
    let next = std::os::fd::AsRawFd::as_raw_fd(&std::fs::File::open("/dev/null").unwrap());
    let before = WARNINGS.load(Ordering::SeqCst);
    let (begun, limited) = (Instant::now(), Limited::to(Resource::Nofile, next as u64));
    let clients: Vec<TcpStream> = clients
        .into_iter()
        .map(|client| {
            connect(&client, &server.addr).unwrap();
            let mut client = TcpStream::from(client);
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            client
        })
        .collect();
    nothing_comes(&clients[0]);
    let warnings = WARNINGS.load(Ordering::SeqCst) - before;
    // A try, and one more every 50 ms.
    let most = 2 + begun.elapsed().as_millis() as u32 / 50;
    assert!((1..=most).contains(&warnings), "{warnings} tries, not 1 to {most}");
    drop(limited);
    clients.iter().for_each(answered);
}

/// Work that no thread could be started for is done when one can be.
fn no_thread() {
    let (open, gate) = channel();
    let server = serve_with(app(gate), ServerConfig::default());
    let mut blocked: Vec<Client> = Vec::new();
    let before = ERRORS.load(Ordering::SeqCst);
    // Room for what is small, but not for a stack.
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
    let limited = Limited::to(Resource::As, pages * rustix::param::page_size() as u64 + (512 << 10));
    let begun = Instant::now();
    while ERRORS.load(Ordering::SeqCst) == before {
        assert!(begun.elapsed() < DEADLINE, "threads could be started");
        // Each holds a thread.
        if blocked.len() < 8 {
            let mut client = server.connect();
            client.get("/block");
            blocked.push(client);
        }
        thread::yield_now();
    }
    let mut quick = server.connect();
    quick.get("/");
    drop(limited);
    assert_eq!(quick.answer().text(), "done", "while the others still hold theirs");
    blocked.iter().for_each(|_| open.send(()).unwrap());
    blocked.iter_mut().for_each(|client| assert_eq!(client.answer().text(), "done"));
}
