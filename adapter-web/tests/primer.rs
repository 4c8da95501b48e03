//! The primer's routes, in process, with short pauses.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../examples/primer/primer.rs"]
mod primer;
#[path = "../examples/primer/worker.rs"]
mod worker;

use std::time::{Duration, Instant};

use adapter_web::testing::Client;

use crate::primer::Primer;

fn client() -> Client {
    Client::new(Primer::new())
}

#[test]
fn both_streams_say_the_same_piece_by_piece() {
    for target in ["/stream?scale=0.01", "/stream-blocking?scale=0.01"] {
        let started = Instant::now();
        let mut answer = client().get(target).open();
        for (piece, after) in [("START\n", 0), ("MIDDLE\n", 30), ("END\n", 80)] {
            assert_eq!(answer.chunk().unwrap().unwrap(), piece, "{target}");
            assert!(started.elapsed() >= Duration::from_millis(after), "{target}: {piece} came too early");
        }
        assert!(answer.chunk().is_none());
    }
}

/// As a reader of the primer sees it, without the eight seconds.
#[test]
fn the_stream_takes_eight_seconds() {
    let client = Client::with_paused_time(Primer::new());
    let began = client.now();
    let mut answer = client.get("/stream").open();
    for (piece, after) in [("START\n", 0), ("MIDDLE\n", 3), ("END\n", 8)] {
        assert_eq!(answer.chunk().unwrap().unwrap(), piece);
        assert_eq!(client.now() - began, Duration::from_secs(after));
    }
    assert!(answer.chunk().is_none());
}

#[test]
fn the_worker_feeds_the_body_after_the_handler_returned() {
    let answer = client().get("/fetch?scale=0.01").send();
    assert_eq!(answer.text(), "piece 1\npiece 2\npiece 3\npiece 4\npiece 5\nfinished after 5 pieces\n");
}

#[test]
fn gather_takes_as_long_as_the_slowest() {
    let started = Instant::now();
    let answer = client().get("/gather?scale=0.5").send();
    let took = started.elapsed();
    assert!(answer.text().starts_with("the first job took 1 s\nthe second job took 2 s\nthe third job took 3 s"));
    assert!(took >= Duration::from_millis(1500), "{took:?}");
    assert!(took < Duration::from_secs(3), "one after the other would take 3 s: {took:?}");
}

#[test]
fn ticks_end_on_shutdown() {
    let client = client();
    let mut answer = client.get("/ticks?scale=0.001").open();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    assert_eq!(answer.chunk().unwrap().unwrap(), "id: 1\ndata: tick 1\n\n");
    client.trigger().trigger();
    let rest = answer.finish();
    assert!(rest.is_complete());
    assert!(rest.text().ends_with("event: end\ndata: the server is stopping\n\n"), "{}", rest.text());
}

#[test]
fn the_rest() {
    let client = client();
    let page = client.get("/").send();
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(!page.text().contains("http://") && !page.text().contains("https://"), "the page needs nothing outside");
    let refused = client.get("/websocket").send();
    assert_eq!((refused.status().as_u16(), refused.text().as_str()), (400, "Expected WebSocket request."));
    assert_eq!(client.get("/nothing").send().status(), 404);
    for scale in ["x", "-1", "NaN", "inf", "1e9", ""] {
        assert_eq!(client.get(&format!("/stream?scale={scale}")).send().status(), 400, "{scale}");
    }
}
