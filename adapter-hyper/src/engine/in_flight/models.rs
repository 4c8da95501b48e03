//! What goes on beside its connection, under the orders of their threads: `.ci/models`, MODELS.md.

use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use adapter_core::sync::{Mutex, explore, now, thread};
use adapter_core::{Body, Environ, Error, Request, Response};

use super::*;
use crate::engine::models::{HTTP2_GET, World};

/// A connection is not idle while anything goes on, wherever that is; it is from the end of the last on, and ends by its time for that.
/// \[KAP-08\]
#[test]
fn a_connection_is_idle_behind_the_last_that_goes_on() {
    const KEEP_ALIVE: Duration = Duration::from_secs(75);
    explore(1_000, || {
        let (held, last) = (Arc::<AtomicUsize>::default(), Arc::new(Mutex::new(now())));
        let world = World::start(HTTP2_GET, |parts| {
            let (held, last) = (held.clone(), last.clone());
            move |_: Request, _: Environ| {
                for _ in 0..2 {
                    let (held, last, goes_on) = (held.clone(), last.clone(), InFlight::goes_on(&parts.shared()));
                    held.fetch_add(1, SeqCst);
                    thread::spawn(move || {
                        *last.lock().expect("nobody panics") = now();
                        held.fetch_sub(1, SeqCst);
                        drop(goes_on);
                    });
                }
                ready(Ok::<_, Error>(Response::new(Body::from("ok"))))
            }
        });
        world.time.passes();
        let end = world.ended();
        assert_eq!(held.load(SeqCst), 0, "it ended under what goes on");
        assert!(end >= *last.lock().expect("nobody panics") + KEEP_ALIVE, "it ended early");
    });
}
