//! The testbed's contract, route by route, in process.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../examples/testbed/fetch.rs"]
mod fetch;
#[path = "../examples/testbed/file.rs"]
mod file;
#[path = "../examples/testbed/routes.rs"]
mod routes;

use std::future::Future;
use std::pin::Pin;
use std::thread;
use std::time::{Duration, Instant};

use adapter_web::testing::{Client, upload};
use adapter_web::{RequestBody, RequestBodyError};
use futures_lite::future;

use crate::routes::Testbed;

fn client() -> Client {
    Client::new(Testbed::new(false).unwrap().into_application())
}

#[track_caller]
fn get(client: &Client, target: &str, status: u16, text: &str) {
    let answer = client.get(target).send();
    assert_eq!((answer.status().as_u16(), answer.text().as_str()), (status, text), "GET {target}");
    assert!(answer.is_complete());
}

#[test]
fn fixed_answers() {
    let client = client();
    get(&client, "/", 200, "Hello, World!");
    get(&client, "/?a=b", 200, "Hello, World!");
    get(&client, "/sleep?ms=1", 200, "done");
    get(&client, "/sleep-blocking?ms=1", 200, "done");
    get(&client, "/stream?n=3&size=2", 200, "xxxxxx");
    get(&client, "/stream-blocking?n=3&size=2", 200, "xxxxxx");
    get(&client, "/stream?n=0", 200, "");
    get(&client, "/status/418", 418, "418");
    get(&client, "/publish", 200, "0");
    get(&client, "/nothing", 404, "not found");
    get(&client, "/ws", 400, "Expected WebSocket request.");
    let hello = client.get("/").send();
    assert_eq!(hello.header("content-type"), Some("text/plain"));
    assert_eq!(client.head("/").send().header("content-length"), Some("13"));
}

#[test]
fn bad_queries_are_400_and_failures_500() {
    let client = client();
    for target in ["/sleep?ms=soon", "/stream?n=-1", "/stream?size=99999999999", "/status/abc", "/status/42"] {
        assert_eq!(client.get(target).send().status(), 400, "{target}");
    }
    for target in ["/panic", "/error"] {
        let answer = client.get(target).send();
        assert_eq!(answer.status(), 500, "{target}");
        assert!(!answer.text().contains("somebody"), "details are for the log");
    }
    get(&client, "/", 200, "Hello, World!");
}

#[test]
fn headers_are_told_in_order_with_raw_octets() {
    let answer = client().get("/headers").header("x-b", "1").header("x-a", &b"\xff\xfe"[..]).send();
    let lines: Vec<_> = answer.body().split(|byte| *byte == b'\n').collect();
    let at = |line: &[u8]| lines.iter().position(|found| *found == line).unwrap();
    assert_eq!(at(b"x-a: \xff\xfe"), at(b"x-b: 1") + 1);
}

#[test]
fn bodies_are_echoed_counted_and_drained() {
    let client = client();
    let echo = client.post("/echo", "some body").send();
    assert_eq!((echo.text().as_str(), echo.header("content-length")), ("some body", Some("9")));
    assert_eq!(client.method("PUT", "/echo").body("x").send().text(), "x");
    assert_eq!(client.post("/count", "12345").send().text(), "5");
    for target in ["/drain", "/drain-blocking"] {
        assert_eq!(client.method("PATCH", target).body("12345").send().text(), "ok");
    }
    assert_eq!(client.get("/count").send().status(), 404);
    let (send, body) = upload();
    let mut open = client.post("/echo", body).open();
    assert_eq!(open.headers().get("content-length"), None);
    for piece in ["one", "two"] {
        send.send(piece);
        assert_eq!(open.chunk().unwrap().unwrap(), piece, "each piece comes back before the next is sent");
    }
    send.finish();
    assert!(open.chunk().is_none());
}

#[test]
fn a_broken_body_never_ends_in_a_complete_200() {
    let reflecting = Client::new(Testbed::new(true).unwrap().into_application());
    for target in ["/echo", "/count", "/drain", "/drain-blocking", "/reflected"] {
        let broken = RequestBody::failed(RequestBodyError::Malformed("chunk size".into()));
        let answer = reflecting.post(target, broken).send();
        assert!(answer.status() == 400 || !answer.is_complete(), "{target}");
    }
}

#[test]
fn a_status_is_answered_without_reading_the_body() {
    for code in [200, 204, 205, 304, 404, 503] {
        let (_send, never_ending) = upload();
        let answer = client().post(&format!("/status/{code}"), never_ending).send();
        assert_eq!(answer.status().as_u16(), code);
    }
}

#[test]
fn the_file_is_as_known() {
    let client = client();
    let readers: Vec<_> = (0..3).map(|_| client.get("/file").open()).collect();
    for reader in readers {
        let answer = reader.finish();
        assert_eq!(answer.body().len(), file::LENGTH);
        assert!(answer.body().iter().enumerate().all(|(n, byte)| usize::from(*byte) == n % 251));
    }
}

#[test]
fn fetch_waits_for_publish_which_counts() {
    let client = client();
    let waiting: Vec<_> = (0..3).map(|_| client.get("/fetch").open()).collect();
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut released = 0;
    // The three arrive on threads of their own, so they may need more than one publication.
    while released < 3 {
        released += client.get("/publish").send().text().parse::<usize>().unwrap();
        assert!(Instant::now() < deadline, "only {released} were released");
        thread::yield_now();
    }
    for answer in waiting {
        assert_eq!(answer.finish().text(), "published");
    }
    get(&client, "/publish", 200, "0");
}

fn released(wait: Pin<&mut impl Future<Output = ()>>) -> bool {
    future::block_on(future::poll_once(wait)).is_some()
}

#[test]
fn who_stops_waiting_or_comes_late_is_not_counted() {
    let channel = fetch::Channel::default();
    let (mut first, mut second, mut late) =
        (Box::pin(channel.wait()), Box::pin(channel.wait()), Box::pin(channel.wait()));
    assert!(!released(first.as_mut()) && !released(second.as_mut()));
    drop(second);
    assert_eq!(channel.publish(), 1);
    assert!(!released(late.as_mut()), "the publication before is over");
    assert!(released(first.as_mut()));
    assert_eq!(channel.publish(), 1);
    assert!(released(late.as_mut()));
    assert_eq!(channel.publish(), 0);
}

#[test]
fn fetch_does_not_hold_up_the_shutdown() {
    let client = client();
    let waiting = client.get("/fetch").open();
    client.trigger().trigger();
    assert_eq!(waiting.finish().status(), 503);
}

#[test]
fn reflect_tells_what_was_seen() {
    let client = Client::new(Testbed::new(true).unwrap().into_application());
    let answer = client.method("PROPFIND", "/a/b?c=d").header("x-y", "z").body("body").send();
    assert_eq!(answer.status(), 200);
    let text = answer.text();
    assert!(text.starts_with("PROPFIND /a/b?c=d\n"), "{text}");
    assert!(text.contains("\nx-y: z\n"), "{text}");
    assert!(text.ends_with("\n\nbody"), "{text}");
    get(&client, "/", 200, "Hello, World!");
}
