//! Pieces that h2 drops while a response waits for that: `.ci/models`, MODELS.md.

use std::future::{poll_fn, ready};

use adapter_core::sync::{block_on, explore, thread};
use adapter_core::{Body, Environ, Error, Request, Response};

use super::*;
use crate::engine::models::World;

/// Who waits goes on when the last is dropped, woken under no lock, and knows whether one was thrown away. \[BOD-14\]
#[test]
fn who_waits_for_the_last_piece_goes_on() {
    explore(1_000, || {
        let world = World::start(b"", |_| |_: Request, _: Environ| ready(Ok::<_, Error>(Response::new(Body::empty()))));
        let queue = Queue::new(&world.shared);
        let [mut written, lost] = [(); 2].map(|()| queue.piece(Bytes::from_static(b"ab")));
        let writes = thread::spawn(move || {
            written.advance(2);
            drop(written);
        });
        let loses = thread::spawn(move || drop(lost));
        block_on(poll_fn(|cx| queue.poll_empty(cx)));
        assert!(queue.is_lost.load(Relaxed), "it was thrown away");
        writes.join().expect("it does not panic");
        loses.join().expect("it does not panic");
        assert!(queue.waiter.lock().expect("nobody panics").is_none(), "a waker is left");
        world.client.end();
        world.ended();
    });
}
