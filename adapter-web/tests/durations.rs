//! How long requests are said to have taken, on every server over HTTP/1.1: what the suite has no steps for. \[OBS-12\]

#![allow(clippy::unwrap_used, reason = "tests")]

mod wire;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use adapter_web::observe::Counters;
use adapter_web::{Body, Environ, Error, Request, Response};
use futures_lite::{StreamExt as _, stream};

use crate::wire::{Client, config, start};

/// Also in the very turn in which it ends.
#[test]
fn what_a_body_computes_is_in_its_time() {
    const BUSY: Duration = Duration::from_millis(50);
    for server in adapter_web::servers() {
        let counters = Arc::new(Counters::new());
        let computing = |_: Request, _: Environ| async {
            let pieces = stream::iter(["a", "b"]).inspect(|_| thread::sleep(BUSY));
            Ok::<_, Error>(Response::new(Body::from_stream(pieces)))
        };
        let running = start(server, computing, config().observe(counters.clone()));
        let mut client = Client::connect(running.addr);
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.head();
        while client.exact(1).is_some() {}
        running.stop();
        let took: Vec<Duration> = counters.snapshot().requests.iter().map(|alike| alike.durations.sum).collect();
        assert!(matches!(took.as_slice(), [took] if *took >= 2 * BUSY), "{}: {took:?}", server.info().name);
    }
}

/// The head is out long before a client that takes its time has taken the rest, be it handed over with it.
#[test]
fn a_slow_client_does_not_make_the_head_late() {
    const SLOW: Duration = Duration::from_millis(300);
    for server in adapter_web::servers() {
        let counters = Arc::new(Counters::new());
        // More than the operating system takes.
        let whole = |_: Request, _: Environ| async { Ok::<_, Error>(Response::new(Body::from(vec![b'w'; 32 << 20]))) };
        let running = start(server, whole, config().observe(counters.clone()));
        let mut client = Client::connect(running.addr);
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.head();
        thread::sleep(SLOW);
        while client.exact(1 << 20).is_some() {}
        running.stop();
        let snapshot = counters.snapshot();
        let took: Duration = snapshot.requests.iter().map(|alike| alike.durations.sum).sum();
        let to_first = snapshot.to_first.sum;
        assert!(took >= SLOW && took - to_first >= SLOW / 2, "{}: {to_first:?} of {took:?}", server.info().name);
    }
}
