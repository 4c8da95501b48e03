//! Streams whose client makes no room, under the orders of their threads: `.ci/models`, MODELS.md.

use std::future::ready;

use adapter_core::signal::Signal;
use adapter_core::sync::{Mutex, block_on, explore, now, thread};
use adapter_core::{Body, Environ, Error, Request, Response};

use super::*;
use crate::engine::in_flight::InFlight;
use crate::engine::models::{HTTP2_GET, Time, World};

/// A client that takes nothing is given up by its connection, which learns of the deadline from the stream, and not by that of a stream that
/// waited long before. \[LIM-06\]
#[test]
fn a_client_that_makes_no_room_is_given_up_in_time() {
    const WRITE: Duration = Duration::from_secs(60);
    explore(1_000, || {
        let (waits, begun) = (Signal::new(), Arc::new(Mutex::new(now())));
        let world = World::start(HTTP2_GET, |parts| {
            let (waits, begun) = (waits.clone(), begun.clone());
            move |_: Request, _: Environ| {
                let (waits, begun, shared) = (waits.clone(), begun.clone(), parts.shared());
                let in_flight = InFlight::goes_on(&shared);
                thread::spawn(move || {
                    drop(Waits::begin(&shared));
                    Time::skips(WRITE * 2);
                    *begun.lock().expect("nobody panics") = now();
                    let waiting = Waits::begin(&shared);
                    waits.fire();
                    block_on(shared.environ.disconnected.fired());
                    drop((waiting, in_flight));
                });
                ready(Ok::<_, Error>(Response::new(Body::from("ok"))))
            }
        });
        waits.wait();
        world.time.passes();
        let end = world.ended();
        assert!(end >= *begun.lock().expect("nobody panics") + WRITE, "it was given up early");
    });
}
