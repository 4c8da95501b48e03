//! Streams that their client resets, under the orders of their threads: `.ci/models`, MODELS.md.

use std::future::ready;

use adapter_core::sync::{Mutex, explore, thread};
use adapter_core::{Body, Environ, Error};

use super::*;
use crate::engine::frames::ENHANCE_YOUR_CALM;
use crate::engine::models::{HTTP2_GET, World};

/// Who resets too many streams is told once, and its connection ends; every application learns of it. RFC 9113 §10.5
#[test]
fn who_resets_too_many_is_told_once() {
    // Of them, one is within the credit.
    const MORE: usize = 3;
    explore(1_000, || {
        let signals = [(); MORE].map(|()| Signal::new());
        // A stream that goes on: others that end wake nobody.
        let goes_on = Arc::new(Mutex::new(None));
        let world = World::start(HTTP2_GET, |parts| {
            let (signals, goes_on) = (signals.clone(), goes_on.clone());
            move |_: Request, _: Environ| {
                let shared = parts.shared();
                *goes_on.lock().expect("nobody panics") = Some(InFlight::goes_on(&shared));
                for _ in 0..200 {
                    assert!(!shared.status.stream_was_reset(shared.engine.clock.now()), "there is credit");
                }
                for signal in &signals {
                    let unanswered = Unanswered { signal: Some(signal.clone()), shared: shared.clone() };
                    // In the order of a stream's drop.
                    let stream = (unanswered, InFlight::goes_on(&shared));
                    thread::spawn(move || drop(stream));
                }
                ready(Ok::<_, Error>(Response::new(Body::from("ok"))))
            }
        });
        world.client.until(&ENHANCE_YOUR_CALM, 1);
        world.client.end();
        let client = world.client.clone();
        world.ended();
        let came = client.until(b"", 0);
        assert_eq!(memchr::memmem::find_iter(&came, &ENHANCE_YOUR_CALM).count(), 1);
        for signal in signals {
            signal.wait();
        }
        drop(goes_on.lock().expect("nobody panics").take());
    });
}
