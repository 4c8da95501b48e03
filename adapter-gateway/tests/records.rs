//! FastCGI and SCGI record by record, as web servers speak them and as nobody should.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use adapter_core::observe::{Counters, Snapshot};
use adapter_core::{
    Body, DynApplication, Environ, Error, Request, Response, Server, ServerConfig, ServerHandle, blocking,
};
use adapter_gateway::{FastCgiServer, ScgiServer};

const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    handle: ServerHandle,
    counters: Arc<Counters>,
    dropped: Arc<AtomicUsize>,
}

struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn start(server: &dyn Server, change: fn(&mut ServerConfig)) -> Running {
    let (counters, dropped) = (Arc::new(Counters::new()), Arc::new(AtomicUsize::new(0)));
    let noticed = dropped.clone();
    let application = move |request: Request, environ: Environ| {
        let noticed = noticed.clone();
        async move {
            match request.uri().path() {
                "/hang" => {
                    let _dropped = Dropped(noticed);
                    std::future::pending().await
                }
                "/slow" => {
                    environ.runtime().sleep(Duration::from_millis(300)).await;
                    Ok(Response::new(Body::from("slow")))
                }
                "/large" => {
                    Ok(Response::new(Body::from_iterator((0..1000).map(|_| Ok::<_, Error>(vec![b'x'; 50_000])))))
                }
                _ => {
                    let body = request.into_body().bytes(1000).await?;
                    Ok::<_, Error>(Response::new(Body::from(body)))
                }
            }
        }
    };
    let mut config = ServerConfig::default().threads(2).bind("127.0.0.1:0".parse().unwrap()).observe(counters.clone());
    change(&mut config);
    Running { handle: server.start(DynApplication::new(application), config).unwrap(), counters, dropped }
}

impl Running {
    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.handle.local_addrs()[0].tcp().unwrap()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Once everything has ended.
    fn stop(self) -> Snapshot {
        self.handle.trigger().trigger();
        self.handle.wait().unwrap();
        let seen = self.counters.snapshot();
        assert_eq!((seen.connections_open(), seen.requests_active()), (0, 0));
        seen
    }

    fn until(&self, reached: impl Fn() -> bool, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !reached() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = (content.len() as u16).to_be_bytes();
    let mut record = vec![1, kind, 0, 1, high, low, 0, 0];
    record.extend_from_slice(content);
    record
}

fn begin(path: &str, flags: u8, more: &[(&str, &str)]) -> Vec<u8> {
    let mut octets = record(1, &[0, 1, flags, 0, 0, 0, 0, 0]);
    let mut params = Vec::new();
    for (name, value) in [("REQUEST_METHOD", "POST"), ("REQUEST_URI", path), ("SERVER_NAME", "a")].iter().chain(more) {
        params.extend_from_slice(&[name.len() as u8, value.len() as u8]);
        params.extend_from_slice(name.as_bytes());
        params.extend_from_slice(value.as_bytes());
    }
    octets.extend_from_slice(&record(4, &params));
    octets.extend_from_slice(&record(4, b""));
    octets
}

/// What STDOUT says up to END_REQUEST, and the status of that; `None` where it does not come.
fn response(socket: &mut TcpStream) -> Option<(Vec<u8>, u8)> {
    let mut said = Vec::new();
    loop {
        let mut head = [0; 8];
        socket.read_exact(&mut head).ok()?;
        let mut content = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]])) + usize::from(head[6])];
        socket.read_exact(&mut content).ok()?;
        content.truncate(content.len() - usize::from(head[6]));
        match head[1] {
            6 => said.extend_from_slice(&content),
            3 => return Some((said, content[4])),
            _ => {}
        }
    }
}

fn ends_with(response: Option<(Vec<u8>, u8)>, body: &[u8]) {
    let (said, status) = response.expect("a whole response");
    assert!(said.ends_with(body) && status == 0, "{}", String::from_utf8_lossy(&said));
}

#[test]
fn a_connection_is_kept_and_bodies_come_in_any_pieces() {
    let running = start(&FastCgiServer, |_| {});
    let mut socket = running.connect();
    for round in 0..3 {
        let mut octets = begin("/echo", 1, &[("CONTENT_LENGTH", "10")]);
        octets.extend_from_slice(&record(5, b"hello"));
        octets.extend_from_slice(&record(5, b"world"));
        octets.extend_from_slice(&record(5, b""));
        let at_once = if round == 0 { octets.len() } else { round };
        for piece in octets.chunks(at_once) {
            socket.write_all(piece).unwrap();
        }
        ends_with(response(&mut socket), b"\r\n\r\nhelloworld");
    }
    // Not to be kept.
    let mut octets = begin("/echo", 0, &[]);
    octets.extend_from_slice(&record(5, b"abc"));
    octets.extend_from_slice(&record(5, b""));
    socket.write_all(&octets).unwrap();
    ends_with(response(&mut socket), b"\r\n\r\nabc");
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
    let seen = running.stop();
    assert_eq!((seen.connections_opened, seen.requests_started, seen.octets_received), (1, 4, 33));
}

/// \[GWY-06\]
#[test]
fn who_aborts_or_leaves_is_noticed() {
    let running = start(&FastCgiServer, |_| {});
    let mut aborting = running.connect();
    aborting.write_all(&begin("/hang", 1, &[("CONTENT_LENGTH", "0")])).unwrap();
    running.until(|| running.counters.snapshot().requests_started == 1, "it is called");
    aborting.write_all(&record(2, b"")).unwrap();
    running.until(|| running.dropped.load(Ordering::SeqCst) == 1, "an abort ends the handler");
    let mut leaving = running.connect();
    leaving.write_all(&begin("/hang", 1, &[("CONTENT_LENGTH", "0")])).unwrap();
    running.until(|| running.counters.snapshot().requests_started == 2, "it is called");
    drop(leaving);
    running.until(|| running.dropped.load(Ordering::SeqCst) == 2, "the end of the connection ends the handler");
    running.stop();
}

#[test]
fn short_and_long_bodies_are_held_to_their_length() {
    let running = start(&FastCgiServer, |_| {});
    let mut socket = running.connect();
    let mut short = begin("/echo", 1, &[("CONTENT_LENGTH", "10")]);
    short.extend_from_slice(&record(5, b"hello"));
    short.extend_from_slice(&record(5, b""));
    socket.write_all(&short).unwrap();
    assert!(response(&mut socket).is_none(), "a body that is cut short is no body");
    let mut socket = running.connect();
    let mut long = begin("/echo", 1, &[("CONTENT_LENGTH", "3")]);
    long.extend_from_slice(&record(5, b"hello"));
    long.extend_from_slice(&record(5, b""));
    socket.write_all(&long).unwrap();
    ends_with(response(&mut socket), b"\r\n\r\nhel");
    running.stop();
}

#[test]
fn nonsense_is_closed_and_too_much_is_answered() {
    let running = start(&FastCgiServer, |config| config.limits.head_bytes = 8192);
    let mut http = running.connect();
    http.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert_eq!(http.read_to_end(&mut Vec::new()).unwrap(), 0);
    let mut large = running.connect();
    large.write_all(&record(1, &[0, 1, 1, 0, 0, 0, 0, 0])).unwrap();
    large.write_all(&record(4, &[0; 5000])).unwrap();
    large.write_all(&record(4, &[0; 5000])).unwrap();
    let (said, _) = response(&mut large).expect("an answer");
    assert!(said.starts_with(b"Status: 431 "), "{}", String::from_utf8_lossy(&said));
    let mut no_method = running.connect();
    let mut octets = record(1, &[0, 1, 1, 0, 0, 0, 0, 0]);
    octets.extend_from_slice(&record(4, b""));
    no_method.write_all(&octets).unwrap();
    assert!(response(&mut no_method).expect("an answer").0.starts_with(b"Status: 400 "));
    let seen = running.stop();
    assert_eq!((seen.requests_started, seen.refused), (0, vec![(400, 2), (431, 1)]));
}

#[test]
fn idle_and_late_connections_end_and_a_drain_waits() {
    let running = start(&FastCgiServer, |config| {
        config.timeouts.keep_alive = Some(Duration::from_millis(300));
        config.timeouts.header_read = Some(Duration::from_millis(300));
    });
    let mut late = running.connect();
    late.write_all(&[1, 1]).unwrap();
    assert_eq!(late.read(&mut [0]).unwrap(), 0);
    let mut idle = running.connect();
    idle.write_all(&begin("/echo", 1, &[("CONTENT_LENGTH", "0")])).unwrap();
    ends_with(response(&mut idle), b"\r\n\r\n");
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    let mut busy = running.connect();
    busy.write_all(&begin("/slow", 1, &[("CONTENT_LENGTH", "0")])).unwrap();
    running.until(|| running.counters.snapshot().requests_active() == 1, "it is called");
    running.handle.trigger().trigger();
    ends_with(response(&mut busy), b"\r\n\r\nslow");
    assert_eq!(busy.read(&mut [0]).unwrap(), 0);
    running.stop();
}

#[test]
fn who_does_not_read_is_not_waited_for() {
    let running = start(&FastCgiServer, |config| config.timeouts.write = Some(Duration::from_millis(400)));
    let mut slow = running.connect();
    slow.write_all(&begin("/large", 1, &[("CONTENT_LENGTH", "0")])).unwrap();
    running.until(|| running.counters.snapshot().requests_ended == 1, "the write timeout ends it");
    running.stop();
}

#[test]
fn scgi_answers_one_request() {
    let running = start(&ScgiServer, |_| {});
    let mut socket = running.connect();
    let head = b"CONTENT_LENGTH\x005\0SCGI\x001\0REQUEST_METHOD\0POST\0REQUEST_URI\0/echo\0HTTP_HOST\0a\0";
    socket.write_all(format!("{}:", head.len()).as_bytes()).unwrap();
    socket.write_all(head).unwrap();
    socket.write_all(b",hello").unwrap();
    let mut said = Vec::new();
    socket.read_to_end(&mut said).unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(said.starts_with("Status: 200 OK\r\n") && said.ends_with("\r\n\r\nhello"), "{said}");
    running.stop();
}

#[test]
fn blocking_code_runs_behind_it_too() {
    let shout = |request: Request<adapter_core::BlockingBody>, _: Environ| {
        let mut body = Vec::new();
        std::io::Read::read_to_end(&mut request.into_body(), &mut body)?;
        Ok::<_, Error>(Response::new(Body::from(body.to_ascii_uppercase())))
    };
    let config = ServerConfig::default().bind("127.0.0.1:0".parse().unwrap());
    let handle = FastCgiServer.start(DynApplication::new(blocking(shout)), config).unwrap();
    let mut socket = TcpStream::connect(handle.local_addrs()[0].tcp().unwrap()).unwrap();
    let mut octets = begin("/", 0, &[("CONTENT_LENGTH", "2")]);
    octets.extend_from_slice(&record(5, b"hi"));
    octets.extend_from_slice(&record(5, b""));
    socket.write_all(&octets).unwrap();
    ends_with(response(&mut socket), b"\r\n\r\nHI");
    handle.trigger().trigger();
    handle.wait().unwrap();
}
