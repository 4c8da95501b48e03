//! `Signal`, the levels of a shutdown, and `Tracker`, under the orders of their threads: `.ci/models`, MODELS.md.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::shutdown::{ShutdownLevel, ShutdownTrigger};
use crate::signal::Signal;
use crate::sync::{block_on, exhaust, explore, thread};
use crate::tracker::Tracker;

/// Who waits is woken, however the firing falls between its looks.
#[test]
fn a_signal_is_seen_by_a_task() {
    exhaust(1_000_000, || {
        let signal = Signal::new();
        let fires = signal.clone();
        let thread = thread::spawn(move || assert!(fires.fire()));
        block_on(signal.fired());
        assert!(signal.is_fired());
        thread.join().expect("it does not panic");
    });
}

/// Threads and tasks, of which one gives up meanwhile; one of two who fire is the first.
#[test]
fn a_signal_is_seen_by_all_and_fired_once() {
    explore(2_000, || {
        let signal = Signal::new();
        let first = Arc::<AtomicUsize>::default();
        let fires = [(); 2].map(|()| {
            let (signal, first) = (signal.clone(), first.clone());
            thread::spawn(move || first.fetch_add(usize::from(signal.fire()), SeqCst))
        });
        let waits = signal.clone();
        let waits = thread::spawn(move || waits.wait());
        let gives_up = signal.clone();
        let gives_up = thread::spawn(move || {
            let mut fired = std::pin::pin!(gives_up.fired());
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            let _ = fired.as_mut().poll(&mut cx);
        });
        block_on(signal.fired());
        for thread in fires {
            thread.join().expect("it does not panic");
        }
        for thread in [waits, gives_up] {
            thread.join().expect("it does not panic");
        }
        assert_eq!(first.load(SeqCst), 1);
    });
}

/// Two calls at the same time are a first and a second one: who waits for the one or the other level is woken. \[SHU-07\]
#[test]
fn two_triggers_force_and_wake_who_watches() {
    explore(2_000, || {
        let trigger = ShutdownTrigger::new();
        let threads = [(); 2].map(|()| {
            let trigger = trigger.clone();
            thread::spawn(move || trigger.trigger())
        });
        let watch = trigger.clone();
        let watches = thread::spawn(move || {
            assert!(block_on(watch.reached(ShutdownLevel::Draining)) >= ShutdownLevel::Draining);
            block_on(watch.draining().fired());
        });
        assert_eq!(block_on(trigger.reached(ShutdownLevel::Forced)), ShutdownLevel::Forced);
        for thread in threads {
            thread.join().expect("it does not panic");
        }
        watches.join().expect("it does not panic");
        assert_eq!(trigger.level(), ShutdownLevel::Forced);
    });
}

/// However often the graceful shutdown is asked for, it stays one; the forced one wakes who waits for it. \[SHU-07\]
#[test]
fn a_drain_never_forces_and_a_force_wakes() {
    explore(2_000, || {
        let trigger = ShutdownTrigger::new();
        let threads = [(); 2].map(|()| {
            let trigger = trigger.clone();
            thread::spawn(move || trigger.drain())
        });
        block_on(trigger.reached(ShutdownLevel::Draining));
        for thread in threads {
            thread.join().expect("it does not panic");
        }
        assert_eq!(trigger.level(), ShutdownLevel::Draining);
        let forces = trigger.clone();
        let forces = thread::spawn(move || forces.force());
        block_on(trigger.reached(ShutdownLevel::Forced));
        forces.join().expect("it does not panic");
    });
}

/// Never more than the limit, each gets its turn, and the count is zero again. \[LIM-07\]
#[test]
fn places_are_bounded_and_all_get_one() {
    explore(2_000, || {
        let tracker = Tracker::default();
        let inside = Arc::<AtomicUsize>::default();
        let threads = [(); 3].map(|()| {
            let (tracker, inside) = (tracker.clone(), inside.clone());
            thread::spawn(move || {
                let guard = block_on(tracker.enter(1));
                assert_eq!(inside.fetch_add(1, SeqCst), 0, "two are inside");
                thread::yield_now();
                inside.fetch_sub(1, SeqCst);
                drop(guard);
            })
        });
        for thread in threads {
            thread.join().expect("it does not panic");
        }
        block_on(tracker.below(1));
        assert_eq!(tracker.open(), 0);
    });
}

/// Who waits for the last connection, and who waits for the last listener. \[SHU-09\]
#[test]
fn the_last_one_wakes_who_waits_for_it() {
    exhaust(1_000_000, || {
        let tracker = Tracker::default();
        let guard = tracker.add();
        let leaves = thread::spawn(move || drop(guard));
        block_on(tracker.below(1));
        leaves.join().expect("it does not panic");
    });
    explore(2_000, || {
        let tracker = Tracker::default();
        let (listening, guards) = (tracker.listening(), [(); 2].map(|()| tracker.add()));
        let listener = thread::spawn(move || drop(listening));
        let threads = guards.map(|guard| thread::spawn(move || drop(guard)));
        let closed = tracker.clone();
        let closed = thread::spawn(move || block_on(closed.closed()));
        block_on(tracker.below(1));
        for thread in threads {
            thread.join().expect("it does not panic");
        }
        closed.join().expect("it does not panic");
        listener.join().expect("it does not panic");
    });
}
