//! What is said of one request on the log stands in that request's span, whichever thread says it. \[ERR-02\], \[ERR-04c\]

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{self, Read as _, Write};
use std::iter;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError, mpsc};
use std::time::{Duration, Instant};

use adapter_core::http::StatusCode;
use adapter_core::websocket::{BlockingWebSocket, Error as SocketError, Upgrade, WebSocket};
use adapter_web::access_log::{AccessLog, Format};
use adapter_web::observe::{ConnectionEnd, ConnectionInfo, Observer};
use adapter_web::{
    Application, BlockingBody, Body, DynApplication, Environ, Error, Outcome, Request, Response, Server,
};
use axum::Router;
use axum::extract::ws;
use axum::routing::any;
use futures_lite::stream;
use tracing::Level;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::support::{Client, PATIENCE, TEXT, config, handshake, start, text};

/// All that this process logs.
static SAID: Mutex<String> = Mutex::new(String::new());
static MORE: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, String> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of one event, which is appended whole.
struct Line;

impl Write for Line {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        lock().push_str(&String::from_utf8_lossy(octets));
        MORE.notify_all();
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first line with all of `words` in it, once there is one.
fn said(words: &[&str]) -> Option<String> {
    let until = Instant::now() + PATIENCE;
    let mut said = lock();
    loop {
        let found = said.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned);
        let left = until.saturating_duration_since(Instant::now());
        if found.is_some() || left.is_zero() {
            return found;
        }
        said = MORE.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Panics when it is dropped.
struct Brittle;

impl Drop for Brittle {
    fn drop(&mut self) {
        panic!("in a drop");
    }
}

/// Of what would else give something.
fn fails(how: &str) {
    panic!("{how}");
}

/// Until it is said that this takes too long.
fn holds_its_thread(request: Request<BlockingBody>, _: Environ) -> Result<Response, Error> {
    let id = request.headers()["x-request-id"].to_str().unwrap();
    assert!(said(&["[LIM-09]", &format!("request_id=\"{id}\"")]).is_some());
    Ok(Response::new(Body::empty()))
}

async fn application(request: Request, environ: Environ) -> Result<Response, Error> {
    let parts = || iter::repeat_n("part", 3);
    let declared = |length: u64, body: Body| Ok(Response::builder().header("content-length", length).body(body)?);
    match request.uri().path() {
        "/late/blocking" => adapter_web::blocking(holds_its_thread).call(request, environ).await,
        "/panic/iterator" => {
            Ok(Response::new(Body::from_iterator(parts().map(|_| -> &str { panic!("in an iterator") }))))
        }
        "/panic/stream" => {
            Ok(Response::new(Body::from_stream(stream::iter(parts().map(|_| -> &str { panic!("in a stream") })))))
        }
        "/panic/drop" => {
            let brittle = Brittle;
            Ok(Response::new(Body::from_iterator(parts().inspect(move |_| _ = &brittle))))
        }
        "/panic/finish" => Ok(Response::new(Body::from("text").on_finish(|_: Outcome, _| panic!("in a hook")))),
        "/panic/spawned" => {
            let _ = environ.runtime().spawn(async { fails("in a task") }).await;
            Ok(Response::new(Body::empty()))
        }
        "/panic/blocking" => {
            let _ = environ.runtime().run_blocking(|| fails("on a thread")).await;
            Ok(Response::new(Body::empty()))
        }
        "/long" => declared(3, Body::from("longer")),
        "/long/iterator" => declared(3, Body::from_iterator(parts())),
        "/long/stream" => declared(3, Body::from_stream(stream::iter(parts()))),
        "/short/iterator" => declared(99, Body::from_iterator(parts())),
        "/short/stream" => declared(99, Body::from_stream(stream::iter(parts()))),
        "/fails" => Err(Error::new("no luck")),
        "/reported" => {
            environ.report("nearly empty");
            Ok(Response::new(Body::empty()))
        }
        "/late" => std::future::pending().await,
        "/impossible" => Ok(Response::builder().status(103).body(Body::empty())?),
        "/switches" => Ok(Response::builder().status(StatusCode::SWITCHING_PROTOCOLS).body(Body::empty())?),
        "/ours" => Ok(Response::builder().header("keep-alive", "timeout=5").body(Body::empty())?),
        "/socket/panics" => {
            Ok(Upgrade::from_request(&request, &environ)?.accept(|mut socket: WebSocket| async move {
                let _ = socket.recv().await;
                fails("in a WebSocket");
            })?)
        }
        "/socket/fails" => {
            Ok(Upgrade::from_request(&request, &environ)?.accept(|mut socket: WebSocket| async move {
                let _ = socket.recv().await;
                Err::<(), _>("a WebSocket's own")
            })?)
        }
        "/socket/blocking" => {
            Ok(Upgrade::from_request(&request, &environ)?.blocking_accept(|mut socket: BlockingWebSocket| {
                let _ = socket.recv();
                fails("in a blocking WebSocket");
            })?)
        }
        "/socket/echo" => {
            Ok(Upgrade::from_request(&request, &environ)?.accept(|mut socket: WebSocket| async move {
                while let Some(message) = socket.recv().await {
                    socket.send(message?).await?;
                }
                Ok::<_, SocketError>(())
            })?)
        }
        "/socket/blocking/echo" => {
            Ok(Upgrade::from_request(&request, &environ)?.blocking_accept(|mut socket: BlockingWebSocket| {
                while let Some(message) = socket.recv() {
                    socket.send(message?)?;
                }
                Ok::<_, SocketError>(())
            })?)
        }
        "/socket/future" => {
            let (response, accepted) = Upgrade::from_request(&request, &environ)?.accept_future()?;
            std::thread::spawn(|| {
                futures_lite::future::block_on(async {
                    let mut socket = accepted.await.unwrap();
                    while let Some(Ok(message)) = socket.recv().await {
                        let _ = socket.send(message).await;
                    }
                });
            });
            Ok(response)
        }
        path => panic!("{path}"),
    }
}

/// What is asked, and words of the line that is said of it.
const SAID_OF: &[(&str, &str)] = &[
    ("/panic/iterator", "in an iterator"),
    ("/panic/stream", "in a stream"),
    ("/panic/drop", "in a drop"),
    ("/panic/finish", "in a hook"),
    ("/panic/spawned", "in a task"),
    ("/panic/blocking", "on a thread"),
    ("/long", "[FRM-03]"),
    ("/long/iterator", "[FRM-03]"),
    ("/long/stream", "[FRM-03]"),
    ("/short/iterator", "a response broke off"),
    ("/short/stream", "a response broke off"),
    ("/fails", "no luck"),
    ("/reported", "nearly empty"),
    ("/late", "[LIM-09]"),
    ("/late/blocking", "[LIM-09]"),
    ("/impossible", "can't be sent"),
    ("/switches", "[NOB-08]"),
    ("/ours", "[RSP-05]"),
];

fn each(mut test: impl FnMut(&'static dyn Server, SocketAddr)) {
    each_of(application, |server, addr, _| test(server, addr));
}

/// Where panics were, anywhere in this process, and why connections ended.
#[derive(Default)]
struct Noted {
    panics: Mutex<Vec<&'static str>>,
    closed: Mutex<Vec<(ConnectionInfo, ConnectionEnd)>>,
    /// Close codes of WebSockets that are over, and about which there is no more to say.
    sockets: Mutex<Vec<Option<u16>>>,
}

impl Observer for Noted {
    fn panicked(&self, place: &'static str) {
        self.panics.lock().unwrap().push(place);
    }

    fn websocket_closed(&self, code: Option<u16>) {
        self.sockets.lock().unwrap().push(code);
    }

    fn connection_closed(&self, connection: ConnectionInfo, why: ConnectionEnd) {
        self.closed.lock().unwrap().push((connection, why));
    }
}

fn log_to_here() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Line).finish();
        // Of spans as `--log warn` has it.
        let subscriber = subscriber.with(filter_fn(|it| it.is_event() || *it.level() <= Level::WARN));
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// The same for any `application`.
fn each_of(application: impl Application, mut test: impl FnMut(&'static dyn Server, SocketAddr, &Noted)) {
    log_to_here();
    // As it is: what it does before it is polled is its requests', too.
    let application = DynApplication::new(application);
    for server in adapter_web::servers() {
        let mut config = config();
        config.timeouts.handler = Some(Duration::from_millis(200));
        let noted = Arc::new(Noted::default());
        config = config.observe(noted.clone()).observe(AccessLog::refusals(Format::Events, None));
        let application = AccessLog::new(application.clone(), Format::Events, None);
        let running = start(server, application, config);
        test(server, running.addr, &noted);
    }
}

/// The line that says `words` has to have the `id`.
#[track_caller]
fn expect(id: &str, words: &str) {
    let span = format!("request_id=\"{id}\"");
    if said(&["adapter: ", words, &span]).is_none() {
        let said = lock();
        let all: Vec<_> = said.lines().filter(|line| line.contains(words)).collect();
        panic!("{words}, of {id}, is not among {all:#?}");
    }
}

#[test]
fn what_is_said_of_a_request_has_its_id() {
    each(|server, addr| {
        for (path, words) in SAID_OF {
            let id = format!("{}{path}", server.info().name);
            let mut client = Client::connect(addr);
            client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: {id}\r\n\r\n").as_bytes());
            expect(&id, words);
        }
    });
}

#[test]
fn over_http2_too() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    each(|server, addr| {
        if !server.info().capabilities.http2 {
            return;
        }
        let stream = runtime.block_on(tokio::net::TcpStream::connect(addr)).unwrap();
        let (mut ask, connection) = runtime.block_on(h2::client::handshake(stream)).unwrap();
        runtime.spawn(connection);
        for (path, words) in SAID_OF.iter().filter(|(path, _)| *path != "/switches") {
            let id = format!("{}/2{path}", server.info().name);
            let request = http::Request::get(format!("http://a{path}")).header("x-request-id", &id).body(()).unwrap();
            let (answer, _) = ask.send_request(request, true).unwrap();
            // Of one that is broken off h2 may give the reset alone.
            if let Ok(answer) = runtime.block_on(answer) {
                let mut body = answer.into_body();
                while let Some(Ok(_)) = runtime.block_on(body.data()) {}
            }
            expect(&id, words);
        }
    });
}

#[test]
fn what_is_said_of_a_websocket_has_the_id_of_its_request() {
    each(|server, addr| {
        if !server.info().capabilities.websocket {
            return;
        }
        for (path, words) in [
            ("/socket/panics", "in a WebSocket"),
            ("/socket/fails", "a WebSocket's own"),
            ("/socket/blocking", "in a blocking WebSocket"),
        ] {
            let id = format!("{}{path}", server.info().name);
            let mut client = Client::connect(addr);
            client.send(handshake(path, &format!("X-Request-Id: {id}\r\n")).as_bytes());
            client.head();
            client.send(&text("go on"));
            expect(&id, words);
        }
    });
}

/// Of a handler that took too long, it is said who had to wait.
#[test]
fn who_waited_too_long_is_named() {
    each(|_, addr| {
        let mut client = Client::connect(addr);
        client.send(b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n");
        let peer = client.stream.local_addr().unwrap().to_string();
        assert!(said(&["[LIM-09]", &format!("peer=\"{peer}\"")]).is_some(), "{peer}");
    });
}

/// \[CON-05\] It is named also where the application is not called for it.
#[test]
fn who_finds_no_place_is_named() {
    log_to_here();
    for server in adapter_web::servers() {
        let (open, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let held = adapter_web::blocking(move |_, _| {
            // Until there is nobody to send.
            let _ = gate.lock().unwrap().recv();
            Ok::<_, Error>(Response::new(Body::empty()))
        });
        let mut config = config().threads(1);
        (config.blocking_threads, config.blocking_queue) = (1, 1);
        let application = AccessLog::new(DynApplication::new(held), Format::Events, None);
        let running = start(server, application, config);
        let (refuse, refused) = mpsc::channel();
        std::thread::scope(|scope| {
            // One runs and one waits.
            for number in 0..4 {
                let (refuse, addr) = (refuse.clone(), running.addr);
                scope.spawn(move || {
                    let id = format!("{}/held/{number}", server.info().name);
                    let mut client = Client::connect(addr);
                    client.send(format!("GET /held HTTP/1.1\r\nHost: a\r\nX-Request-Id: {id}\r\n\r\n").as_bytes());
                    if client.head().starts_with("HTTP/1.1 503") {
                        refuse.send(id).unwrap();
                    }
                });
            }
            // Dropped also where that fails.
            let open = open;
            let id = refused.recv_timeout(PATIENCE).unwrap();
            let line = said(&["WARN", "no place to wait", &format!("request_id=\"{id}\"")]).unwrap();
            assert!(line.contains("/held") && line.contains("127.0.0.1"), "{line}");
            drop(open);
        });
    }
}

/// Nor is it the application that is late where it waits for the client.
#[test]
fn a_client_that_is_late_with_its_body_is_told_as_that() {
    const WORDS: &str = "the client has not sent what it waits for of the body";
    let reads = |request: Request, _environ: Environ| async move {
        let body = request.into_body().bytes(4096).await?;
        Ok::<_, Error>(Response::new(Body::from(body)))
    };
    let blocks = adapter_web::blocking(|request: Request<adapter_web::BlockingBody>, _| {
        let body = adapter_web::BlockingBody::bytes(&mut request.into_body(), 4096)?;
        Ok::<_, Error>(Response::new(Body::from(body)))
    });
    // It has what it wanted of the body, and something else takes its time.
    let stays = |request: Request, _environ: Environ| async move {
        let _ = request.into_body().chunk().await;
        std::future::pending::<Result<Response, Error>>().await
    };
    for (how, application, is_told) in [
        ("async", DynApplication::new(reads), true),
        ("blocking", DynApplication::new(blocks), true),
        ("stays", DynApplication::new(stays), false),
    ] {
        each_of(application, |server, addr, _| {
            let id = format!("{}/upload/{how}", server.info().name);
            let mut client = Client::connect(addr);
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nX-Request-Id: {id}\r\nContent-Length: 9\r\n\r\n");
            client.send(head.as_bytes());
            client.send(b"some");
            let line = said(&["[LIM-09]", &format!("request_id=\"{id}\"")]).unwrap_or_default();
            let (level, words) = if is_told { (" INFO ", WORDS) } else { ("ERROR ", "did not answer in time peer") };
            assert!(line.contains(level) && line.contains(words), "{id}: {line}");
        });
    }
}

/// Those of axum's own run in tasks of tokio's, which keep a panic to themselves.
#[test]
fn panics_of_axums_websockets_are_told_and_counted() {
    let panics = any(async |upgrade: ws::WebSocketUpgrade| {
        upgrade.on_upgrade(async |mut socket| {
            let _ = socket.recv().await;
            fails("in one of axum's");
        })
    });
    each_of(adapter_core::axum(Router::new().route("/axum/panics", panics)), |server, addr, noted| {
        if !server.info().capabilities.upgrade {
            return;
        }
        let id = format!("{}/axum", server.info().name);
        let mut client = Client::connect(addr);
        client.send(handshake("/axum/panics", &format!("X-Request-Id: {id}\r\n")).as_bytes());
        client.head();
        client.send(&text("go on"));
        expect(&id, "application code panicked");
        client.expect_end();
        let told = noted.panics.lock().unwrap().iter().filter(|place| **place == "axum's websocket").count();
        assert_eq!(told, 1, "{id}");
    });
}

/// How a client ends a WebSocket, what it sends to that end, and what is said of it. With nothing to send it is gone.
type SocketEnd = (&'static str, Vec<u8>, Option<&'static str>);

fn socket_ends(server: &dyn Server, addr: SocketAddr, noted: &Noted, path: &str, ends: &[SocketEnd]) {
    for (how, octets, words) in ends {
        let id = format!("{}{path}/{how}", server.info().name);
        let mut client = Client::connect(addr);
        let peer = client.stream.local_addr().unwrap();
        client.send(handshake(path, &format!("X-Request-Id: {id}\r\n")).as_bytes());
        client.head();
        client.send(&text("hi"));
        client.expect(TEXT, b"hi");
        let before = noted.sockets.lock().unwrap().len();
        client.send(octets);
        if !octets.is_empty() {
            let _ = client.stream.read_to_end(&mut Vec::new());
        }
        drop(client);
        // What is said has been said then.
        let until = Instant::now() + PATIENCE;
        while noted.sockets.lock().unwrap().len() == before {
            assert!(Instant::now() < until, "{id}");
            std::thread::yield_now();
        }
        let span = format!("request_id=\"{id}\"");
        let said = lock();
        let lines: Vec<_> =
            said.lines().filter(|line| line.contains(&span) && !line.contains("adapter_web::access")).collect();
        match words {
            None => assert_eq!(lines, [""; 0], "{id}"),
            Some(words) => {
                let told = format!("adapter: a WebSocket has broken off peer=\"{peer}\" {words}");
                let is_told = matches!(&lines[..], [line] if line.contains(&told) && line.contains(" INFO "));
                assert!(is_told, "{id}: {lines:#?}");
            }
        }
    }
}

/// Who has gone, or has broken the protocol, is told as it is in a log of any level; an end as it should be is not.
#[test]
fn websockets_that_clients_break_off_are_told() {
    const LOST: Option<&str> = Some("code=1006 reason=the connection was lost");
    let ends = [
        ("gone", Vec::new(), LOST),
        ("reserved", support::frame(0x83, b""), Some("code=1002 reason=the client broke the protocol: ")),
        ("closed", support::close(1000, ""), None),
        ("left", support::close(1001, ""), None),
    ];
    each_of(application, |server, addr, noted| {
        if server.info().capabilities.websocket {
            for path in ["/socket/echo", "/socket/blocking/echo", "/socket/future"] {
                socket_ends(server, addr, noted, path, &ends);
            }
        }
    });
    let echo = any(async |upgrade: ws::WebSocketUpgrade| {
        upgrade.on_upgrade(async |mut socket| {
            while let Some(Ok(message)) = socket.recv().await {
                let _ = socket.send(message).await;
            }
        })
    });
    // What its protocol is to a client is the program's own there.
    let ends = ends.into_iter().filter(|(how, ..)| *how != "reserved").collect::<Vec<_>>();
    each_of(adapter_core::axum(Router::new().route("/axum/echo", echo)), |server, addr, noted| {
        if server.info().capabilities.upgrade {
            socket_ends(server, addr, noted, "/axum/echo", &ends);
        }
    });
}

/// What a handler does before it gives its future.
#[test]
fn what_is_said_before_there_is_a_future_has_the_id() {
    let at_once = |_request: Request, environ: Environ| {
        environ.report("said at once");
        async { Ok::<_, Error>(Response::default()) }
    };
    each_of(at_once, |server, addr, _| {
        let id = format!("{}/at-once", server.info().name);
        let mut client = Client::connect(addr);
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: {id}\r\n\r\n").as_bytes());
        expect(&id, "said at once");
    });
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Whoever breaks HTTP/2 is told by a GOAWAY, and so is the operator. RFC 9113 §5.4.1
#[test]
fn ends_of_http2_are_told_with_the_client() {
    let block = [b"\x82\x86\x84\x01\x01a\x00\x01x\x7f\xe1\xc4\x08".as_slice(), &[b'x'; 140_000]].concat();
    let mut pieces = block.chunks(16_384);
    let mut large = frame(1, 1, 1, pieces.next().unwrap());
    pieces.for_each(|piece| large.extend(frame(9, 0, 1, piece)));
    large.extend(frame(9, 4, 1, b""));
    let cases = [
        ("DATA on stream 0", frame(0, 0, 0, b"x")),
        ("garbage", b"\xff\xfe\xfd garbage, and then some more of it".to_vec()),
        ("a large field", large),
        ("a large frame", frame(1, 5, 1, &block)),
        ("PING of a stream", frame(6, 0, 1, &[0; 8])),
        ("a window beyond all", frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
    ];
    each_of(application, |server, addr, noted| {
        if !server.info().capabilities.http2 {
            return;
        }
        for (what, octets) in &cases {
            let mut client = Client::connect(addr);
            let peer = client.stream.local_addr().unwrap();
            client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
            client.send(octets);
            let mut came = Vec::new();
            let _ = client.stream.read_to_end(&mut came);
            let name = server.info().name;
            let line = said(&[&peer.to_string()]);
            assert!(line.is_some_and(|line| line.contains("INFO")), "{what} on {name}: {came:?}");
            drop(client);
            let until = Instant::now() + PATIENCE;
            let why = loop {
                let closed = noted.closed.lock().unwrap().clone();
                if let Some((_, why)) = closed.iter().find(|(it, _)| it.peer == Some(peer)) {
                    break *why;
                }
                assert!(Instant::now() < until, "{what} on {name}: it does not end");
                std::thread::yield_now();
            };
            assert_eq!(why, ConnectionEnd::Refused, "{what} on {name}");
        }
    });
}
