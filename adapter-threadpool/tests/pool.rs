//! Threads are held only while application code runs: sleepers, slow and idle clients, the policy at capacity.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use adapter_core::signal::Signal;
use adapter_core::{Body, Environ, Error, Request, Response, ServerConfig};
use support::{Client, serve_with};

/// `/wait` waits async for the signal, `/block` blocks the thread until the test lets it go, `/meet` until a hundred
/// threads are there; the rest answers at once.
fn app(gate: Receiver<()>, signal: Signal) -> impl adapter_core::Application {
    let gate = Arc::new(Mutex::new(gate));
    let meeting = Arc::new(Barrier::new(100));
    move |request: Request, _environ: Environ| {
        let (gate, signal, meeting) = (gate.clone(), signal.clone(), meeting.clone());
        async move {
            match request.uri().path() {
                "/wait" => signal.fired().await,
                "/block" => gate.lock().unwrap().recv().unwrap_or_default(),
                "/meet" => drop(meeting.wait()),
                _ => {}
            }
            Ok::<_, Error>(Response::new(Body::from(request.uri().path().to_owned())))
        }
    }
}

fn gated() -> (Sender<()>, Receiver<()>) {
    channel()
}

fn threads(count: usize) -> ServerConfig {
    ServerConfig::default().threads(count)
}

#[test]
fn twenty_threads_carry_hundreds_that_wait() {
    let (_open, gate) = gated();
    let signal = Signal::new();
    let server = serve_with(app(gate, signal.clone()), threads(20));
    let mut waiting: Vec<Client> = (0..300).map(|_| server.connect()).collect();
    waiting.iter_mut().for_each(|client| client.get("/wait"));
    let mut idle: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    let mut slow: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    slow.iter_mut().for_each(|client| client.send("GET /slo"));
    for _ in 0..40 {
        assert_eq!(server.get("/quick").text(), "/quick");
    }
    signal.fire();
    for client in &mut waiting {
        assert_eq!(client.answer().text(), "/wait");
    }
    slow.iter_mut().for_each(|client| client.send("w HTTP/1.1\r\nHost: t\r\n\r\n"));
    slow.iter_mut().for_each(|client| assert_eq!(client.answer().text(), "/slow"));
    idle.iter_mut().for_each(|client| client.get("/idle"));
    idle.iter_mut().for_each(|client| assert_eq!(client.answer().text(), "/idle"));
}

#[test]
fn one_thread_is_enough_for_many_that_wait() {
    let (_open, gate) = gated();
    let signal = Signal::new();
    let server = serve_with(app(gate, signal.clone()), threads(1));
    let mut waiting: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    waiting.iter_mut().for_each(|client| client.get("/wait"));
    assert_eq!(server.get("/quick").text(), "/quick");
    signal.fire();
    waiting.iter_mut().for_each(|client| assert_eq!(client.answer().text(), "/wait"));
}

#[test]
fn a_blocked_handler_holds_up_nobody_while_threads_are_left() {
    let (open, gate) = gated();
    let server = serve_with(app(gate, Signal::new()), threads(8));
    // One at a time, so that each has its thread before the next comes.
    let mut blocked: Vec<Client> = (0..1).map(|_| server.connect()).collect();
    blocked.iter_mut().for_each(|client| client.get("/block"));
    for _ in 0..20 {
        assert_eq!(server.get("/quick").text(), "/quick");
    }
    open.send(()).unwrap();
    blocked.iter_mut().for_each(|client| assert_eq!(client.answer().text(), "/block"));
}

#[test]
fn many_blocking_requests_run_side_by_side() {
    let (_open, gate) = gated();
    let server = serve_with(app(gate, Signal::new()), ServerConfig::default());
    let mut clients: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.get("/meet"));
    clients.iter_mut().for_each(|client| assert_eq!(client.answer().text(), "/meet"));
}

#[test]
fn at_capacity_requests_wait_in_order() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let (open, gate) = gated();
    let gate = Mutex::new(gate);
    let seen = order.clone();
    let app = Arc::new(move |request: Request, _environ: Environ| {
        let path = request.uri().path().to_owned();
        if path == "/block" {
            gate.lock().unwrap().recv().unwrap_or_default();
        } else {
            seen.lock().unwrap().push(path.clone());
        }
        async move { Ok::<_, Error>(Response::new(Body::from(path))) }
    });
    let server = serve_with(move |request: Request, environ: Environ| app(request, environ), threads(1));
    let mut blocked = server.connect();
    blocked.get("/block");
    let mut waiting = Vec::new();
    for n in 0..20 {
        let mut client = server.connect();
        client.get(&format!("/{n}"));
        waiting.push(client);
        // The one that polls has read it once it has answered a refusal that came after it.
        let mut probe = server.connect();
        probe.send("GET / HTTP/1.1\r\n\r\n");
        assert_eq!(probe.answer().status, 400, "heads are read and refused while every thread is busy");
    }
    assert!(order.lock().unwrap().is_empty());
    open.send(()).unwrap();
    assert_eq!(blocked.answer().text(), "/block");
    for (n, client) in waiting.iter_mut().enumerate() {
        assert_eq!(client.answer().text(), format!("/{n}"));
    }
    let expected: Vec<String> = (0..20).map(|n| format!("/{n}")).collect();
    assert_eq!(*order.lock().unwrap(), expected);
}

#[test]
fn beyond_the_line_the_answer_is_503() {
    for refuse in [false, true] {
        let (open, gate) = gated();
        let mut config = threads(2);
        config.blocking_queue = 3;
        if refuse {
            config.options.insert("at-capacity".into(), "refuse".into());
        }
        let server = serve_with(app(gate, Signal::new()), config);
        let mut clients: Vec<Client> = (0..12).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.get("/block");
        }
        let places = if refuse { 2 } else { 5 };
        // Refusals come while the others still wait.
        let (sender, statuses) = channel();
        let readers: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                let sender = sender.clone();
                thread::spawn(move || sender.send(client.answer().status).unwrap())
            })
            .collect();
        for _ in 0..12 - places {
            assert_eq!(statuses.recv_timeout(support::DEADLINE).unwrap(), 503);
        }
        for _ in 0..places {
            open.send(()).unwrap();
            assert_eq!(statuses.recv_timeout(support::DEADLINE).unwrap(), 200);
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    }
}

/// \[CON-05\] requests whose clients have gone take nobody's place in the line.
#[test]
fn who_has_gone_is_not_in_the_line() {
    const PLACES: usize = 3;
    let (open, gate) = gated();
    let mut config = threads(1);
    config.blocking_queue = PLACES;
    let server = serve_with(app(gate, Signal::new()), config);
    let mut blocked = server.connect();
    blocked.get("/block");
    for _ in 0..3 {
        for _ in 0..PLACES {
            let mut client = server.connect();
            client.get("/gone");
            // The one that polls has read it once it has answered a refusal that came after it.
            let mut probe = server.connect();
            probe.send("GET / HTTP/1.1\r\n\r\n");
            assert_eq!(probe.answer().status, 400);
            rustix::net::sockopt::set_socket_linger(&client.stream, Some(Duration::ZERO)).unwrap();
        }
    }
    let mut waiting: Vec<Client> = (0..PLACES).map(|_| server.connect()).collect();
    waiting.iter_mut().for_each(|client| client.get("/waits"));
    let mut refused = server.connect();
    refused.get("/refused");
    // One of four, and nobody knows which one comes last.
    open.send(()).unwrap();
    assert_eq!(blocked.answer().text(), "/block");
    let mut statuses: Vec<u16> =
        waiting.iter_mut().chain([&mut refused]).map(|client| client.answer().status).collect();
    statuses.sort_unstable();
    assert_eq!(&statuses[..PLACES], [200; PLACES]);
}

#[test]
fn a_slow_reader_of_an_iterator_holds_no_thread() {
    static PULLED: AtomicUsize = AtomicUsize::new(0);
    async fn app(request: Request, _environ: Environ) -> Result<Response, Error> {
        if request.uri().path() == "/quick" {
            return Ok(Response::new(Body::from("quick")));
        }
        let chunks = (0..2_000).map(|_| {
            PULLED.fetch_add(1, Ordering::SeqCst);
            vec![b'x'; 10_000]
        });
        Ok(Response::new(Body::from_iterator(chunks)))
    }
    let server = serve_with(app, threads(2));
    let mut slow: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    slow.iter_mut().for_each(|client| client.get("/stream"));
    slow.iter_mut().for_each(|client| assert_eq!(client.head().0, 200));
    for _ in 0..20 {
        assert_eq!(server.get("/quick").text(), "quick");
    }
    assert!(PULLED.load(Ordering::SeqCst) < 20_000, "[BOD-16] the iterators wait for their readers");
    for client in &mut slow {
        let mut total = 0;
        while let Some(chunk) = client.chunk() {
            total += chunk.len();
        }
        assert_eq!(total, 20_000_000);
    }
}

#[test]
fn each_item_reaches_the_client_before_the_next_is_made() {
    let (open, gate) = channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let app = move |_request: Request, _environ: Environ| {
        let gate = gate.clone();
        async move {
            let chunks = (0..3).map(move |n| {
                gate.lock().unwrap().recv().unwrap_or_default();
                format!("{n}")
            });
            Ok::<_, Error>(Response::new(Body::from_iterator(chunks)))
        }
    };
    let server = serve_with(app, threads(2));
    let mut client = server.connect();
    client.get("/");
    assert_eq!(client.head().0, 200);
    for n in 0..3 {
        open.send(()).unwrap();
        assert_eq!(client.chunk().unwrap(), n.to_string().as_bytes());
    }
    assert_eq!(client.chunk(), None);
}

#[test]
fn wakers_tasks_and_blocking_work_run_on_the_pool() {
    async fn app(_request: Request, environ: Environ) -> Result<Response, Error> {
        let runtime = environ.runtime();
        let (sender, body) = Body::channel(1);
        let inner = runtime.clone();
        runtime
            .spawn(async move {
                for n in 0..5 {
                    inner.sleep(Duration::from_millis(5)).await;
                    let text = inner.run_blocking(move || format!("{n};")).await.unwrap();
                    if sender.send(text).await.is_err() {
                        return;
                    }
                }
            })
            .detach();
        Ok(Response::new(body))
    }
    let server = serve_with(app, threads(2));
    let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.get("/"));
    clients.iter_mut().for_each(|client| assert_eq!(client.answer().text(), "0;1;2;3;4;"));
}

#[test]
fn timeouts_of_the_runtime_cancel_what_they_wait_for() {
    async fn app(_request: Request, environ: Environ) -> Result<Response, Error> {
        let runtime = environ.runtime();
        let late = runtime.timeout(Duration::from_millis(10), runtime.sleep(Duration::from_secs(60))).await;
        let early = runtime.timeout(Duration::from_secs(60), runtime.sleep(Duration::from_millis(10))).await;
        Ok(Response::new(Body::from(format!("{} {}", late.is_err(), early.is_ok()))))
    }
    let server = serve_with(app, threads(2));
    assert_eq!(server.get("/").text(), "true true");
}

#[test]
fn a_blocking_handler_does_not_hold_back_the_answers_before_it() {
    let (open, gate) = gated();
    let server = serve_with(app(gate, Signal::new()), threads(2));
    let mut client = server.connect();
    client.send(
        "GET /1 HTTP/1.1\r\nHost: t\r\n\r\nGET /2 HTTP/1.1\r\nHost: t\r\n\r\nGET /block HTTP/1.1\r\nHost: t\r\n\r\n",
    );
    assert_eq!(client.answer().text(), "/1");
    assert_eq!(client.answer().text(), "/2");
    open.send(()).unwrap();
    assert_eq!(client.answer().text(), "/block");
}

#[test]
fn an_iterator_that_was_quick_and_then_waits_holds_nothing_back() {
    let (open, gate) = gated();
    let gate = Arc::new(Mutex::new(gate));
    let app = move |_request: Request, _environ: Environ| {
        let gate = gate.clone();
        async move {
            let chunks = (0..102).map(move |n| {
                if n >= 100 {
                    gate.lock().unwrap().recv().unwrap_or_default();
                }
                format!("{n}")
            });
            Ok::<_, Error>(Response::new(Body::from_iterator(chunks)))
        }
    };
    let server = serve_with(app, threads(2));
    let mut client = server.connect();
    client.get("/");
    assert_eq!(client.head().0, 200);
    for n in 0..100 {
        assert_eq!(client.chunk().unwrap(), n.to_string().as_bytes());
    }
    for n in 100..102 {
        open.send(()).unwrap();
        assert_eq!(client.chunk().unwrap(), n.to_string().as_bytes());
    }
    assert_eq!(client.chunk(), None);
}

/// Regression: output the supervisor had written used up the report of room, and the stream stood still.
#[test]
fn streams_that_fill_the_socket_again_and_again_go_on() {
    async fn app(_request: Request, _environ: Environ) -> Result<Response, Error> {
        let chunk = adapter_core::Bytes::from(vec![b'x'; 1024]);
        Ok(Response::new(Body::from_iterator((0..30_000).map(move |_| chunk.clone()))))
    }
    let server = serve_with(app, threads(4));
    let readers: Vec<_> = (0..6)
        .map(|_| {
            let mut client = server.connect();
            thread::spawn(move || {
                for _ in 0..2 {
                    client.get("/");
                    assert_eq!(client.answer().body.len(), 30_000 * 1024);
                }
            })
        })
        .collect();
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}

/// Regression: the supervisor went to sleep under a call that took long, and held back what that left then.
#[test]
fn output_is_not_held_back_after_a_long_wait() {
    let (open, gate) = gated();
    let gate = Arc::new(Mutex::new(gate));
    let app = move |_request: Request, _environ: Environ| {
        let gate = gate.clone();
        async move {
            let chunks = (0..50).map(move |n| {
                match n {
                    10 => thread::sleep(Duration::from_millis(300)),
                    40 => gate.lock().unwrap().recv().unwrap_or_default(),
                    _ => {}
                }
                format!("{n}")
            });
            Ok::<_, Error>(Response::new(Body::from_iterator(chunks)))
        }
    };
    let server = serve_with(app, threads(2));
    let mut client = server.connect();
    client.get("/");
    assert_eq!(client.head().0, 200);
    for n in 0..50 {
        if n == 40 {
            open.send(()).unwrap();
        }
        assert_eq!(client.chunk().unwrap(), n.to_string().as_bytes());
    }
    assert_eq!(client.chunk(), None);
}
