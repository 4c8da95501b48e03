//! Timers, and the leader that sleeps until the first of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use adapter_core::sync::{explore, now, thread};
use adapter_core::{Body, Environ, Error, Request, Response};
use shuttle::future::block_on;

use super::World;

/// One that is set while the leader is about to sleep, or sleeps for something later, fires in time. \[RTM-01\]
#[test]
fn the_first_timer_is_not_slept_through() {
    explore(200, || {
        let application = |_: Request, _: Environ| async { Ok::<_, Error>(Response::new(Body::empty())) };
        let world = World::start(application, 1);
        let done = Arc::<AtomicBool>::default();
        let until = done.clone();
        // The clock: a short limit that runs out is time that passes.
        let clock = thread::spawn(move || {
            while !until.load(SeqCst) {
                thread::park_timeout(Duration::from_millis(1));
            }
        });
        // Beyond what passes in a model.
        let late = world.runtime().sleep(Duration::from_secs(1_000_000));
        let late = world.runtime().spawn_daemon(late);
        let threads = [1, 2].map(|seconds| {
            let (runtime, deadline) = (world.runtime().clone(), now() + Duration::from_secs(seconds));
            thread::spawn(move || {
                block_on(runtime.sleep_until(deadline));
                assert!(now() >= deadline, "too early");
            })
        });
        for thread in threads {
            thread.join().expect("it does not panic");
        }
        done.store(true, SeqCst);
        clock.join().expect("it does not panic");
        drop(late);
        world.drain();
    });
}
