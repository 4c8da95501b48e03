//! A connection whose request's body is another thread's, and one that others have ended: `.ci/models`, MODELS.md. Time stands still
//! but behind a drain: nothing that is missing is made up for by a deadline.

use std::future::poll_fn;
use std::time::Duration;

use adapter_core::signal::Signal;
use adapter_core::sync::{Mutex, block_on, explore, now, thread};
use adapter_core::{Body, Bytes, Environ, Error, Request, RequestBody, RequestBodyError, Response};
use http_body::Body as _;

use super::*;
use crate::engine::models::{HTTP2_GET, World};

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

type Read = Result<Vec<u8>, RequestBodyError>;

/// Reads at most so many pieces on the thread.
fn read(mut body: RequestBody, most: usize) -> Read {
    let mut octets = Vec::new();
    for _ in 0..most {
        match block_on(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))) {
            Some(Ok(frame)) => octets.extend_from_slice(&frame.into_data().unwrap_or_else(|_| Bytes::new())),
            Some(Err(error)) => return Err(error),
            None => break,
        }
    }
    Ok(octets)
}

/// What was read on other threads.
type Log = Arc<Mutex<Vec<Read>>>;

/// An application that reads at most so many pieces of a body on another thread, and waits for that with its answer or not.
fn application(
    log: Log,
    most: usize,
    waits: bool,
) -> impl Fn(Request, Environ) -> adapter_core::runtime::BoxFuture<Result<Response, Error>> + Send + Sync + 'static {
    move |request, environ| {
        let (log, body, is_done) = (log.clone(), request.into_body(), Signal::new());
        let does = is_done.clone();
        if body.size_hint().exact() != Some(0) {
            // Who lives apart from the connection is told of its end, and not under a lock.
            thread::spawn(move || block_on(environ.disconnected()));
            thread::spawn(move || {
                let read = read(body, most);
                log.lock().expect("nobody panics").push(read);
                does.fire();
            });
        } else {
            does.fire();
        }
        Box::pin(async move {
            if waits {
                is_done.fired().await;
            }
            Ok(Response::new(Body::from("ok")))
        })
    }
}

/// A body that is read elsewhere is whole and in order, whenever its pieces come and the shutdown begins; the request is answered, and the
/// drain ends. \[SHU-03\], \[REQ-09\]
#[test]
fn a_body_that_is_read_elsewhere_is_whole() {
    explore(1_000, || {
        let log = Log::default();
        let world = World::patient(HEAD, |_| application(log.clone(), usize::MAX, true));
        let shutdown = world.shutdown.clone();
        let drains = thread::spawn(move || shutdown.drain());
        world.client.send(b"ab");
        world.client.send(b"cd");
        let answer = world.client.answers(1);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok"), "{answer}");
        drains.join().expect("it does not panic");
        world.time.passes();
        world.ended();
        assert_eq!(*log.lock().expect("nobody panics"), [Ok(b"abcd".to_vec())]);
    });
}

/// Whatever another thread leaves of a body, and whenever, the connection is kept, and the next request answered. \[REQ-12\], \[REQ-15\]
#[test]
fn a_body_that_is_left_elsewhere_is_read_away() {
    for most in [0, 1, usize::MAX] {
        explore(500, move || {
            let world = World::start(HEAD, |_| application(Log::default(), most, false));
            world.client.send(b"ab");
            world.client.send(&[b"cd", GET].concat());
            let answers = world.client.answers(2);
            assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 2, "{answers}");
            world.client.end();
            world.ended();
        });
    }
}

/// Who waits for the rest of a body learns at once that there is none, and so does who waits for the client's end. \[DIS-01\], \[DIS-04\]
#[test]
fn who_waits_for_a_body_learns_of_the_end() {
    explore(1_000, || {
        let log = Log::default();
        let world = World::start(HEAD, |_| application(log.clone(), usize::MAX, true));
        world.client.send(b"ab");
        world.client.end();
        world.ended();
        assert_eq!(*log.lock().expect("nobody panics"), [Err(RequestBodyError::Disconnected)]);
    });
}

/// An end right behind a body that is read elsewhere takes the answer away from nobody. \[DIS-04\]
#[test]
fn an_end_behind_a_body_leaves_its_answer() {
    explore(1_000, || {
        let log = Log::default();
        let world = World::start(HEAD, |_| application(log.clone(), usize::MAX, true));
        world.client.send(b"ab");
        world.client.send(b"cd");
        world.client.end();
        let client = world.client.clone();
        world.ended();
        let answer = client.answers(1);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok"), "{answer}");
        assert_eq!(*log.lock().expect("nobody panics"), [Ok(b"abcd".to_vec())]);
    });
}

/// A connection that is idle, and is to make room, does so, whenever it is told. \[LIM-07\]
#[test]
fn who_is_idle_makes_room() {
    explore(500, || {
        let world = World::start(GET, |_| application(Log::default(), 0, false));
        world.client.answers(1);
        world.engine.roster.make_room(now() + Duration::from_secs(2));
        world.ended();
    });
    explore(500, || {
        let world = World::start(HTTP2_GET, |_| application(Log::default(), 0, false));
        world.client.until(b"ok", 1);
        world.engine.roster.make_room(now() + Duration::from_secs(2));
        world.client.until(&[0, 0, 8, 7, 0, 0, 0, 0, 0], 1);
        world.client.end();
        world.ended();
    });
}

/// A request that has come before it was told is answered. \[LIM-07\]
#[test]
fn who_makes_room_answers_what_has_come() {
    explore(1_000, || {
        let world = World::start(GET, |_| application(Log::default(), 0, false));
        world.client.answers(1);
        world.client.send(GET);
        world.engine.roster.make_room(now() + Duration::from_secs(2));
        let answers = world.client.answers(2);
        assert!(answers.matches("HTTP/1.1 200 ").count() == 2 && answers.ends_with("ok"), "{answers}");
        world.client.end();
        world.ended();
    });
}
