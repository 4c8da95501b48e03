//! Every kind of ending, on every server: what `Counters` have counted is exactly what was done.
//!
//! One test, so that panics, which all observers of a process are told of, are those of one server.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use adapter_core::observe::{Counters, Route, Snapshot};
use adapter_core::websocket::{Error as SocketError, Upgrade};
use adapter_core::{Body, Environ, Error, Request, Response, Server, ServerConfig, ShutdownTrigger};
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _, stream};

use crate::support::{ASK, Client, PATIENCE, close, config, start, switching};

async fn echo(environ: &Environ) -> Result<Response, Error> {
    let upgrade = environ.upgrade()?;
    let echo = async move {
        let mut stream = upgrade.await?;
        let mut octets = [0; 5];
        stream.read_exact(&mut octets).await?;
        stream.write_all(&octets).await?;
        Ok::<_, Error>(())
    };
    environ.runtime().spawn(async move { drop(echo.await) }).detach();
    Ok(switching())
}

async fn answer(request: Request, environ: Environ, reached: mpsc::Sender<()>) -> Result<Response, Error> {
    let piece = |text: &'static str| Ok::<_, Error>(text);
    match request.uri().path() {
        "/route/7" => {
            let mut response = Response::new(Body::from("12345"));
            response.extensions_mut().insert(Route::from("/route/{n}"));
            Ok(response)
        }
        "/204" => Ok(Response::builder().status(204).body(Body::empty())?),
        "/error" => Err(Error::new("no")),
        "/panic" => panic!("no"),
        "/stream" => Ok(Response::new(Body::from_stream(stream::iter(["one", "two"])))),
        "/iterator" => Ok(Response::new(Body::from_iterator(["one", "two", "three"]))),
        "/blocking" => Ok(environ.runtime().run_blocking(|| Response::new(Body::from("done"))).await?),
        "/read-failing" => {
            request.into_body().bytes(4096).await?;
            Ok(Response::new(Body::from_stream(stream::iter([piece("a"), Err(Error::new("no"))]))))
        }
        "/failing" => Ok(Response::new(Body::from_stream(stream::iter([piece("a"), Err(Error::new("no"))])))),
        "/pending" => Ok(Response::new(Body::from_stream(stream::iter([piece("abc")]).chain(stream::pending())))),
        "/forever" => Ok(Response::new(Body::from_stream(stream::repeat("x".repeat(65_536))))),
        "/back" => Ok(Response::new(Body::from(request.into_body()))),
        "/read" => Ok(Response::new(Body::from(request.into_body().bytes(4096).await?))),
        "/echo" => echo(&environ).await,
        "/socket" => {
            let upgrade = Upgrade::from_request(&request, &environ)?;
            Ok(upgrade.accept(|mut socket| async move {
                while let Some(message) = socket.recv().await {
                    socket.send(message?).await?;
                }
                Ok::<_, SocketError>(())
            })?)
        }
        "/never" => {
            let _ = reached.send(());
            std::future::pending().await
        }
        _ => Ok(Response::new(Body::from("12345"))),
    }
}

/// What was counted, or is to be. Without times.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    /// By method, status, version, route, and how they ended.
    requests: BTreeMap<String, u64>,
    /// Connections, by the reason of their end.
    closed: BTreeMap<String, u64>,
    refused: BTreeMap<String, u64>,
    timeouts: BTreeMap<String, u64>,
    received: u64,
    /// `None` where a client took as much as it liked.
    sent: Option<u64>,
    panics: u64,
    upgrades: u64,
    websockets: u64,
    handshakes_failed: u64,
}

fn some<K: ToString>(counts: impl IntoIterator<Item = (K, u64)>) -> BTreeMap<String, u64> {
    counts.into_iter().filter(|(_, count)| *count > 0).map(|(key, count)| (key.to_string(), count)).collect()
}

impl Told {
    fn of(snapshot: &Snapshot) -> Self {
        let requests = snapshot.requests.iter().map(|it| {
            let status = it.status.map_or("-".into(), |status| status.as_u16().to_string());
            let route = it.route.as_deref().unwrap_or("-");
            (format!("{} {status} {} {route} {}", it.method, it.version, it.how.name()), it.durations.count)
        });
        Told {
            requests: some(requests),
            closed: some(snapshot.connections_closed.iter().map(|(why, count)| (why.name(), *count))),
            refused: some(snapshot.refused.iter().copied()),
            timeouts: some(snapshot.timeouts.iter().map(|(limit, count)| (limit.name(), *count))),
            received: snapshot.octets_received,
            sent: Some(snapshot.octets_sent),
            panics: snapshot.panics,
            upgrades: snapshot.upgrades,
            websockets: snapshot.websockets,
            handshakes_failed: snapshot.handshakes_failed,
        }
    }

    fn request(&mut self, what: &str, received: u64, sent: u64) {
        *self.requests.entry(what.into()).or_default() += 1;
        self.received += received;
        self.sent = self.sent.map(|all| all + sent);
    }

    fn closed(&mut self, why: &str) {
        *self.closed.entry(why.into()).or_default() += 1;
    }

    fn refused(&mut self, status: &str) {
        *self.refused.entry(status.into()).or_default() += 1;
    }

    fn timed_out(&mut self, limit: &str) {
        *self.timeouts.entry(limit.into()).or_default() += 1;
    }
}

/// Whether all that was begun has ended, and is counted wherever it is to be.
fn balanced(snapshot: &Snapshot) -> bool {
    let all: u64 = snapshot.requests.iter().map(|it| it.durations.count).sum();
    let answered: u64 = snapshot.requests.iter().filter(|it| it.status.is_some()).map(|it| it.durations.count).sum();
    let closed: u64 = snapshot.connections_closed.iter().map(|(_, count)| count).sum();
    [
        (snapshot.connections_opened, closed),
        (snapshot.requests_started, snapshot.requests_ended),
        (snapshot.requests_ended, all + snapshot.requests_uncategorized),
        (snapshot.to_first.count, answered),
        (snapshot.upgrades, snapshot.upgrades_ended),
        (snapshot.websockets, snapshot.websockets_closed),
        (snapshot.blocking_queued, snapshot.blocking_started + snapshot.blocking_dropped),
        (snapshot.blocking_started, snapshot.blocking_ended),
        (snapshot.blocking_started, snapshot.blocking_waited.count),
    ]
    .iter()
    .all(|(begun, ended)| begun == ended)
}

/// A server that is driven, and what it is to have counted.
struct Driven {
    addr: SocketAddr,
    counters: Arc<Counters>,
    trigger: ShutdownTrigger,
    reached: mpsc::Receiver<()>,
    told: Told,
}

impl Driven {
    fn connect(&self) -> Client {
        Client::connect(self.addr)
    }

    /// Sends a head, and gives the connection.
    fn ask(&self, line: &str, fields: &str) -> Client {
        let mut client = self.connect();
        client.send(format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
        client
    }

    /// Waits until the counts are so, where nothing else tells.
    #[track_caller]
    fn until(&self, is: impl Fn(&Told) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is(&Told::of(&self.counters.snapshot())) {
            assert!(Instant::now() < deadline, "{:?}", self.counters.snapshot());
            thread::yield_now();
        }
    }
}

/// Has `drive` act on `server`, ends it, and compares.
#[track_caller]
fn compare(server: &dyn Server, config: ServerConfig, drive: impl FnOnce(&mut Driven) -> Vec<Client>) {
    let counters = Arc::new(Counters::new());
    let (reach, reached) = mpsc::channel();
    let application = move |request: Request, environ: Environ| answer(request, environ, reach.clone());
    let running = start(server, application, config.observe(counters.clone()));
    let told = Told { sent: Some(0), ..Told::default() };
    let mut driven = Driven { addr: running.addr, counters, trigger: running.trigger(), reached, told };
    // Those that are still open when the server is told to end.
    let open = drive(&mut driven);
    if open.is_empty() {
        // Or it would be the drain that ends the last ones.
        let expected = driven.told.closed.clone();
        driven.until(|told| told.closed == expected);
    }
    running.stop();
    drop(open);
    let Driven { counters, told, .. } = driven;
    let deadline = Instant::now() + PATIENCE;
    while !balanced(&counters.snapshot()) {
        assert!(Instant::now() < deadline, "not balanced: {:?}", counters.snapshot());
        thread::yield_now();
    }
    let snapshot = counters.snapshot();
    let mut seen = Told::of(&snapshot);
    if told.sent.is_none() {
        seen.sent = None;
    }
    assert_eq!(seen, told, "seen and expected, on {}", server.info().name);
    assert!(snapshot.is_draining);
    assert_eq!((snapshot.connections_open(), snapshot.requests_active(), snapshot.blocking_waiting()), (0, 0, 0));
}

/// Gone without an end of the stream.
fn reset(client: &Client) {
    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
}

fn endings(driven: &mut Driven) -> Vec<Client> {
    // All that leaves a connection open.
    let mut kept = driven.connect();
    for (line, body, told, sent) in [
        ("GET /text", "", "GET 200 1.1 - complete", 5),
        ("GET /text?x", "", "GET 200 1.1 - complete", 5),
        ("BREW /text", "", "_OTHER 200 1.1 - complete", 5),
        ("GET /route/7", "", "GET 200 1.1 /route/{n} complete", 5),
        ("HEAD /text", "", "HEAD 200 1.1 - complete", 0),
        ("GET /204", "", "GET 204 1.1 - complete", 0),
        ("POST /read", "abc", "POST 200 1.1 - complete", 3),
        ("GET /error", "", "GET 500 1.1 - complete", 21),
        ("GET /panic", "", "GET 500 1.1 - complete", 21),
        ("GET /blocking", "", "GET 200 1.1 - complete", 4),
    ] {
        kept.send(format!("{line} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
        kept.head();
        kept.exact(sent).unwrap();
        driven.told.request(told, body.len() as u64, sent as u64);
    }
    drop(kept);
    driven.told.closed("client");
    driven.told.panics += 1;

    for (path, sent) in [("/text", 5), ("/stream", 6), ("/iterator", 11)] {
        let mut closing = driven.ask(&format!("GET {path}"), "Connection: close\r\n");
        closing.whole();
        driven.told.request("GET 200 1.1 - complete", 0, sent);
        driven.told.closed("done");
    }

    // [REQ-25] RFC 9112 §6.1: the connection is not trusted any more.
    let both = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n";
    driven.ask("POST /read", both).whole();
    driven.told.request("POST 200 1.1 - complete", 3, 3);
    driven.told.closed("done");

    let mut old = driven.connect();
    old.send(b"GET /stream HTTP/1.0\r\n\r\n");
    old.whole();
    driven.told.request("GET 200 1.0 - complete", 0, 6);
    driven.told.closed("done");

    // More than is read away.
    driven.ask("POST /text", "Content-Length: 9999999\r\n\r\nabc").whole();
    driven.told.request("POST 200 1.1 - complete", 0, 5);
    driven.told.closed("done");

    let mut bad = driven.ask("GET / b", "");
    bad.whole();
    driven.told.refused("400");
    driven.told.closed("refused");

    let mut failing = driven.ask("GET /failing", "");
    failing.head();
    while failing.exact(1).is_some() {}
    driven.told.request("GET 200 1.1 - failed", 0, 1);
    driven.told.closed("failed");

    let mut failing = driven.ask("POST /read-failing", "Content-Length: 3\r\n\r\nabc");
    failing.head();
    while failing.exact(1).is_some() {}
    driven.told.request("POST 200 1.1 - failed", 3, 1);
    driven.told.closed("failed");

    let upload = driven.ask("POST /read", "Content-Length: 9\r\n\r\nabc");
    reset(&upload);
    drop(upload);
    driven.told.request("POST - 1.1 - client_gone", 5, 0);
    driven.told.closed("client");

    // What reads its request fails by that, and is not to blame.
    for is_reset in [true, false] {
        let mut echo = driven.ask("POST /back", "Content-Length: 9\r\n\r\nabc");
        echo.head();
        echo.exact(1).unwrap();
        if is_reset {
            reset(&echo);
        } else {
            echo.stream.shutdown(std::net::Shutdown::Write).unwrap();
            while echo.exact(1).is_some() {}
        }
        drop(echo);
        driven.told.request("POST 200 1.1 - client_gone", 5, 5);
        driven.told.closed("client");
    }

    let handler = driven.ask("GET /never", "");
    driven.reached.recv_timeout(PATIENCE).unwrap();
    reset(&handler);
    drop(handler);
    driven.told.request("GET - 1.1 - client_gone", 0, 0);
    driven.told.closed("client");

    let mut body = driven.ask("GET /pending", "");
    body.head();
    // A chunk of three.
    body.exact(8).unwrap();
    reset(&body);
    drop(body);
    driven.told.request("GET 200 1.1 - client_gone", 0, 3);
    driven.told.closed("client");

    let mut upgraded = driven.connect();
    upgraded.send(&[ASK, b"hello"].concat());
    upgraded.head();
    assert_eq!(upgraded.exact(5).unwrap(), b"hello");
    upgraded.expect_end();
    driven.told.request("GET 101 1.1 - complete", 0, 0);
    driven.told.closed("upgraded");

    let mut socket = Client::open(driven.addr, "/socket");
    socket.send(&close(1000, ""));
    socket.expect_close(1000);
    driven.told.request("GET 101 1.1 - complete", 0, 0);
    driven.told.closed("upgraded");
    (driven.told.upgrades, driven.told.websockets) = (2, 1);

    // And what nobody has sent anything on.
    drop(driven.connect());
    driven.told.closed("client");
    Vec::new()
}

fn by_time(driven: &mut Driven) -> Vec<Client> {
    // Longer than the time for idling: who has a body to send is not idle.
    let mut rest = driven.ask("POST /text", "Content-Length: 9\r\n\r\nabc");
    driven.told.request("POST 200 1.1 - complete", 0, 5);
    driven.told.closed("done");

    let mut idle = driven.ask("GET /text", "");
    idle.whole();
    driven.told.request("GET 200 1.1 - complete", 0, 5);
    driven.told.timed_out("keep_alive");
    driven.told.closed("idle");

    let mut late = driven.connect();
    late.send(b"GET / HTTP/1.1\r\n");
    late.whole();
    driven.told.refused("408");
    driven.told.timed_out("header_read");
    driven.told.closed("late");

    let mut upload = driven.ask("POST /read", "Content-Length: 9\r\n\r\nabc");
    upload.whole();
    driven.told.timed_out("body_read");
    driven.told.request("POST 408 1.1 - complete", 5, 15);
    driven.told.closed("done");

    let mut handler = driven.ask("GET /never", "Connection: close\r\n");
    handler.whole();
    driven.told.timed_out("handler");
    driven.told.request("GET 503 1.1 - complete", 0, 19);
    driven.told.closed("done");

    let mut stalled = driven.connect();
    socket2::SockRef::from(&stalled.stream).set_recv_buffer_size(16 * 1024).unwrap();
    stalled.send(b"GET /forever HTTP/1.1\r\nHost: a\r\n\r\n");
    driven.told.timed_out("write");
    driven.until(|told| told.timeouts.contains_key("write"));
    driven.told.request("GET 200 1.1 - timed_out", 0, 0);
    driven.told.closed("stalled");
    driven.told.sent = None;

    rest.whole();
    Vec::new()
}

fn by_the_end(driven: &mut Driven) -> Vec<Client> {
    let mut idle = driven.ask("GET /text", "");
    idle.head();
    driven.told.request("GET 200 1.1 - complete", 0, 5);
    driven.told.closed("drained");
    let never = driven.ask("GET /never", "");
    driven.reached.recv_timeout(PATIENCE).unwrap();
    driven.told.request("GET - 1.1 - forced", 0, 0);
    driven.trigger.drain();
    // One that was busy a moment ago is closed a moment later.
    driven.until(|told| told.closed.contains_key("drained"));
    driven.trigger.force();
    driven.told.closed("forced");
    vec![idle, never]
}

fn streams(driven: &mut Driven) -> Vec<Client> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(driven.addr).await.unwrap();
        let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
        let connection = tokio::spawn(connection);
        let ask = |path: &str| adapter_core::http::Request::get(format!("http://a{path}")).body(()).unwrap();
        for path in ["/text", "/stream", "/route/7"] {
            let mut body = client.send_request(ask(path), true).unwrap().0.await.unwrap().into_body();
            let mut octets = 0;
            while let Some(piece) = body.data().await {
                octets += piece.unwrap().len();
            }
            let route = if path == "/route/7" { "/route/{n}" } else { "-" };
            driven.told.request(&format!("GET 200 2 {route} complete"), 0, octets as u64);
        }
        let (response, mut stream) = client.send_request(ask("/never"), true).unwrap();
        let reached = tokio::task::spawn_blocking({
            let reached = std::mem::replace(&mut driven.reached, mpsc::channel().1);
            move || reached.recv_timeout(PATIENCE).unwrap()
        });
        reached.await.unwrap();
        stream.send_reset(h2::Reason::CANCEL);
        drop((response, stream, client));
        driven.told.request("GET - 2 - client_gone", 0, 0);
        connection.await.unwrap().unwrap();
        driven.told.closed("client");
    });
    Vec::new()
}

#[test]
fn counters_have_counted_what_was_done() {
    for server in adapter_web::servers() {
        let info = server.info();
        println!("on {}", info.name);
        compare(server, config(), endings);
        let mut short = config();
        short.timeouts.header_read = Some(Duration::from_millis(200));
        short.timeouts.keep_alive = Some(Duration::from_millis(200));
        short.timeouts.body_read = Some(Duration::from_millis(200));
        short.timeouts.write = Some(Duration::from_millis(200));
        short.timeouts.handler = Some(Duration::from_millis(400));
        compare(server, short, by_time);
        compare(server, config(), by_the_end);
        if info.capabilities.http2 {
            compare(server, config(), streams);
        }
        #[cfg(feature = "tls")]
        {
            let mut secure = config();
            secure.tls = Some(adapter_tls::TlsConfig::self_signed(["localhost"]).unwrap().load().unwrap());
            compare(server, secure, |driven| {
                let mut client = driven.connect();
                client.send(&[0x16, 3, 1, 0, 4, 0xff, 0, 0, 0]);
                while client.exact(1).is_some() {}
                driven.told.handshakes_failed = 1;
                driven.told.closed("handshake");
                Vec::new()
            });
        }
    }
}
