//! What is told of a request for which there is no thread, and no place to wait for one: the same on every server.

use adapter_core::websocket::Upgrade;
use adapter_web::observe::{ConnectionEnd, Counters};

use super::*;

const REASON: &str = "the server is busy: the queue for blocking work is full";

/// Holds whoever passes, until it is opened.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(super) fn pass(&self) {
        let is_open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(is_open, |is_open| !*is_open).unwrap());
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// Opens it when it is dropped.
pub(super) struct Opens<'a>(pub(super) &'a Gate);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// What clients read and what is logged where one request runs, one waits, and a third one finds no place; what was counted, too.
fn third(
    server: &dyn adapter_web::Server,
    threads: usize,
    application: impl Application,
    gate: &Gate,
    begins: &mpsc::Receiver<()>,
    ask_third: fn(SocketAddr, &str) -> String,
) -> (String, Vec<String>, Arc<Counters>) {
    let counters = Arc::new(Counters::new());
    let mut config = wire::config().threads(threads).observe(counters.clone());
    (config.blocking_threads, config.blocking_queue) = (1, 1);
    let mut refused = String::new();
    let told = counters.clone();
    let lines = whole_lines(server, config, Format::Json, application, |addr| {
        std::thread::scope(|scope| {
            let ask = |path: &'static str| scope.spawn(move || answer(addr, path));
            let mut others = vec![ask("/first")];
            begins.recv_timeout(wire::PATIENCE).unwrap();
            others.push(ask("/second"));
            let deadline = std::time::Instant::now() + wire::PATIENCE;
            while told.snapshot().blocking_waiting() == 0 {
                assert!(std::time::Instant::now() < deadline);
                std::thread::yield_now();
            }
            // Opened also where that fails.
            let opened = Opens(gate);
            refused = ask_third(addr, "/third");
            drop(opened);
            assert!(others.into_iter().all(|other| other.join().unwrap().starts_with("HTTP/1.1 200 ")));
        });
    });
    (refused, lines, counters)
}

/// One answer, whether or not the connection goes on.
fn answer(addr: SocketAddr, path: &str) -> String {
    let mut client = wire::Client::connect(addr);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\n\r\n").as_bytes());
    let head = client.head();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let body = client.exact(length.parse().unwrap()).unwrap();
    head + &String::from_utf8(body).unwrap()
}

/// An answer, without what differs from one to the next.
fn undated(answer: &str) -> Vec<&str> {
    let mut lines: Vec<_> = answer.lines().filter(|line| !line.starts_with("date: ")).collect();
    lines.sort_unstable();
    lines
}

/// A handler that blocks until the gate is open, and says that it has begun.
fn held(gate: &Gate) -> (impl Application, mpsc::Receiver<()>) {
    let (begun, begins) = mpsc::channel();
    let held = gate.clone();
    let application = adapter_web::blocking(move |_, _| {
        let _ = begun.send(());
        held.pass();
        Ok::<_, Error>(Response::new(Body::from("done")))
    });
    (application, begins)
}

#[test]
fn a_stream_that_finds_no_place_is_refused() {
    for server in adapter_web::servers() {
        let info = server.info();
        if !info.capabilities.http2 {
            continue;
        }
        let gate = Gate::default();
        let (application, begins) = held(&gate);
        let (answer, lines, counters) = third(server, 1, application, &gate, &begins, |addr, path| {
            let (status, _, body) = own_answers::answer_by_http2(addr, "GET", path, None);
            format!("{status} {body}")
        });
        assert_eq!(answer, format!("503 {REASON}"), "{}", info.name);
        let line = object(lines.iter().find(|line| line.contains("/third")).unwrap());
        assert_eq!((&line["ended"], &line["reason"]), (&"refused".into(), &REASON.into()), "{}", info.name);
        assert_eq!(line["request_id"], "its-own", "{}", info.name);
        assert_eq!(counters.snapshot().refused, [(503, 1)], "{}", info.name);
    }
}

#[test]
fn a_request_that_finds_no_place_is_refused() {
    for server in adapter_web::servers() {
        let name = server.info().name;
        let gate = Gate::default();
        let (application, begins) = held(&gate);
        let (answer, lines, counters) = third(server, 1, application, &gate, &begins, answer);
        assert_eq!(
            undated(&answer),
            [
                "",
                "HTTP/1.1 503 Service Unavailable",
                "connection: close",
                "content-length: 55",
                "content-type: text/plain; charset=utf-8",
                REASON,
            ],
            "{name}"
        );
        let line = lines.iter().find(|line| line.contains("/third")).unwrap();
        let (_, line) = line.split_once(r#","method""#).unwrap();
        assert_eq!(
            line,
            format!(
                r#":"GET","target":"/third","version":"HTTP/1.1","status":503,"request_octets":0,"response_octets":55,"duration":null,"referer":null,"user_agent":"x","request_id":null,"ended":"refused","reason":"{REASON}"}}"#
            ),
            "{name}"
        );
        assert_eq!(lines.len(), 3, "{name}: {lines:?}");
        let seen = counters.snapshot();
        assert_eq!(seen.refused, [(503, 1)], "{name}");
        let ended: Vec<_> = seen.requests.iter().map(|it| (it.status.unwrap().as_u16(), it.durations.count)).collect();
        assert_eq!((ended, seen.requests_active()), (vec![(200, 2)], 0), "{name}");
        assert!(seen.connections_closed.contains(&(ConnectionEnd::Done, 1)), "{name}: {seen:?}");
        assert_eq!((seen.blocking_dropped, seen.blocking_waiting(), seen.octets_sent), (1, 0, 8), "{name}");
    }
}

/// \[LIM-09\] It waits no longer than its handler may take.
#[test]
fn a_request_that_waits_too_long_for_a_thread_is_answered() {
    for server in adapter_web::servers() {
        let name = server.info().name;
        let gate = Gate::default();
        let (application, begins) = held(&gate);
        let mut config = wire::config().threads(1);
        (config.blocking_threads, config.timeouts.handler) = (1, Some(Duration::from_millis(300)));
        let lines = whole_lines(server, config, Format::Json, application, |addr| {
            std::thread::scope(|scope| {
                // Opened also where something fails.
                let opened = Opens(&gate);
                let first = scope.spawn(move || answer(addr, "/first"));
                begins.recv_timeout(wire::PATIENCE).unwrap();
                let second = answer(addr, "/second");
                assert!(second.starts_with("HTTP/1.1 503 "), "{name}: {second}");
                assert!(first.join().unwrap().starts_with("HTTP/1.1 503 "), "{name}");
                drop(opened);
            });
        });
        let status = |line: &String| object(line)["status"].clone();
        assert_eq!(lines.iter().map(status).collect::<Vec<_>>(), [503, 503], "{name}: {lines:?}");
    }
}

/// A client, and the status line of what its handshake is answered; more of the answer waits to be read.
fn handshake(addr: SocketAddr, path: &str) -> wire::Client {
    let mut client = wire::Client::connect(addr);
    let ask = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\n{ask}\r\n\r\n").as_bytes());
    client
}

/// Handlers of WebSockets that block until the gate is open, and say that they have begun; accepted by async and by blocking code.
fn held_sockets(gate: &Gate, blocks: bool) -> (DynApplication, mpsc::Receiver<()>) {
    let (begun, begins) = mpsc::channel();
    let held = gate.clone();
    let accept = move |upgrade: Upgrade| {
        let (begun, held) = (begun.clone(), held.clone());
        upgrade.blocking_accept(move |_socket| {
            let _ = begun.send(());
            held.pass();
        })
    };
    let application = if blocks {
        DynApplication::new(adapter_web::blocking(move |request, environ| {
            Ok::<_, Error>(accept(Upgrade::from_request(&request, &environ)?)?)
        }))
    } else {
        DynApplication::new(move |request: Request, environ: Environ| {
            let accepted = Upgrade::from_request(&request, &environ).and_then(&accept);
            async move { Ok::<_, Error>(accepted?) }
        })
    };
    (application, begins)
}

/// Before the client is told that it is accepted, and not by a close: one that a load balancer understands.
#[test]
fn a_blocking_websocket_that_finds_no_place_is_refused() {
    for server in adapter_web::servers() {
        for blocks in [false, true] {
            let name = format!("{}, {}", server.info().name, if blocks { "blocking" } else { "async" });
            let gate = Gate::default();
            let (application, begins) = held_sockets(&gate, blocks);
            let counters = Arc::new(Counters::new());
            let mut config = wire::config().threads(4).observe(counters.clone());
            (config.blocking_threads, config.blocking_queue) = (1, 1);
            let told = counters.clone();
            let lines = whole_lines(server, config, Format::Json, application, |addr| {
                // Opened also where something fails.
                let opened = Opens(&gate);
                let mut first = handshake(addr, "/first");
                assert!(first.head().starts_with("HTTP/1.1 101 "), "{name}");
                begins.recv_timeout(wire::PATIENCE).unwrap();
                let mut second = handshake(addr, "/second");
                let deadline = std::time::Instant::now() + wire::PATIENCE;
                while told.snapshot().blocking_waiting() == 0 {
                    assert!(std::time::Instant::now() < deadline, "{name}");
                    std::thread::yield_now();
                }
                let mut third = handshake(addr, "/third");
                let head = third.head();
                assert!(
                    head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nconnection: close\r\n"),
                    "{name}: {head}"
                );
                assert_eq!(third.exact(REASON.len()).unwrap(), REASON.as_bytes(), "{name}");
                drop(opened);
                // Each is closed at the end of its handler, which the second one's had a thread for, too.
                assert!(second.head().starts_with("HTTP/1.1 101 "), "{name}");
                for client in [&mut first, &mut second] {
                    assert_eq!(client.exact(4).unwrap(), [0x88, 2, 3, 0xe8], "{name}");
                }
                begins.recv_timeout(wire::PATIENCE).unwrap();
            });
            let line = object(lines.iter().find(|line| line.contains("/third")).unwrap());
            assert_eq!((&line["ended"], &line["reason"]), (&"refused".into(), &REASON.into()), "{name}");
            let seen = counters.snapshot();
            assert_eq!((&seen.refused[..], seen.upgrades), (&[(503, 1)][..], 2), "{name}");
            let jobs = (seen.blocking_queued, seen.blocking_started, seen.blocking_dropped, seen.blocking_running());
            assert_eq!(jobs, (3, 2, 1, 0), "{name}");
        }
    }
}

/// As many as there are threads, though nobody may wait: a blocking handler's own thread is one of them.
#[test]
fn without_a_queue_each_thread_has_a_websocket() {
    for server in adapter_web::servers() {
        for blocks in [false, true] {
            let name = format!("{}, {}", server.info().name, if blocks { "blocking" } else { "async" });
            let gate = Gate::default();
            let (application, begins) = held_sockets(&gate, blocks);
            let mut config = wire::config().threads(4);
            (config.blocking_threads, config.blocking_queue) = (2, 0);
            let lines = whole_lines(server, config, Format::Json, application, |addr| {
                let _opened = Opens(&gate);
                let mut clients = Vec::new();
                for _ in 0..2 {
                    let mut client = handshake(addr, "/");
                    assert!(client.head().starts_with("HTTP/1.1 101 "), "{name}");
                    begins.recv_timeout(wire::PATIENCE).unwrap();
                    clients.push(client);
                }
                assert!(handshake(addr, "/third").head().starts_with("HTTP/1.1 503 "), "{name}");
            });
            assert_eq!(lines.len(), 3, "{name}: {lines:?}");
        }
    }
}

/// Who answers counts: an application that has an answer to a full queue of its own is asked, and answers.
#[test]
fn an_application_may_answer_a_full_queue() {
    for server in adapter_web::servers() {
        let name = server.info().name;
        let gate = Gate::default();
        let (begun, begins) = mpsc::channel();
        let held = gate.clone();
        let application = move |_: Request, environ: Environ| {
            let (begun, held) = (begun.clone(), held.clone());
            async move {
                let work = move || {
                    let _ = begun.send(());
                    held.pass();
                };
                match environ.runtime().run_blocking(work).await {
                    Ok(()) => Ok::<_, Error>(Response::new(Body::from("done"))),
                    Err(_) => Ok(Response::builder().status(503).body(Body::from("later"))?),
                }
            }
        };
        // On no server does the application itself wait in the queue.
        let (answer, lines, counters) = third(server, 4, application, &gate, &begins, answer);
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\nlater"), "{name}: {answer}");
        let line = object(lines.iter().find(|line| line.contains("/third")).unwrap());
        assert_eq!((&line["ended"], &line["reason"]), (&"complete".into(), &serde_json::Value::Null), "{name}");
        assert!(counters.snapshot().refused.is_empty(), "{name}");
    }
}
