//! Spawned futures and blocking work.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};

use adapter_core::signal::{Fired, Signal};
use adapter_core::sync::{explore, thread};
use adapter_core::{Body, DynApplication, Environ, Error, Request, Response, ShutdownTrigger};
use shuttle::future::block_on;

use super::World;
use crate::engine::Engine;

async fn nothing(_: Request, _: Environ) -> Result<Response, Error> {
    Ok(Response::new(Body::empty()))
}

/// A future that never ends, woken by a signal; says when it is dropped.
struct Endless {
    fired: Fired,
    dropped: Arc<AtomicUsize>,
}

impl Future for Endless {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let _ = Pin::new(&mut self.fired).poll(cx);
        Poll::Pending
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, SeqCst);
    }
}

/// A wake-up leads to a poll, whatever the task is at; the end of the server waits for it.
#[test]
fn a_task_that_is_woken_is_polled() {
    explore(300, || {
        let world = World::start(nothing, 1);
        let signals = [Signal::new(), Signal::new()];
        let [first, second] = signals.clone();
        let task = world.runtime().spawn(async move {
            first.fired().await;
            second.fired().await;
            7
        });
        for signal in signals {
            thread::spawn(move || signal.fire());
        }
        assert_eq!(block_on(task), Ok(7));
        world.drain();
    });
}

/// Where no call is slow nobody needs the supervisor: what is pushed is come to, also while the leader sleeps, or is about to. Here
/// there is none, which would make up for an interruption that is missing.
#[test]
fn a_push_interrupts_the_leader_that_sleeps() {
    explore(2_000, || {
        let engine = World::engine(DynApplication::new(nothing), 1, ShutdownTrigger::new());
        engine.start_workers();
        for _ in 0..2 {
            let (asks, answers) = (Signal::new(), Signal::new());
            let (asked, answer) = (asks.clone(), answers.clone());
            let task = async move {
                asked.fired().await;
                answer.fire();
            };
            engine.tasks.spawn(&engine, Box::pin(task));
            asks.fire();
            answers.wait();
        }
        engine.tasks.close();
        end(&engine);
    });
}

/// Ends the workers of an engine without a supervisor.
fn end(engine: &Arc<Engine>) {
    engine.stop_workers();
    while engine.scheduler.threads() > 0 {
        thread::yield_now();
    }
    engine.scheduler.join();
}

/// The end of the server drops every future, also one that is polled at the time. \[RTM-05\]
#[test]
fn the_end_drops_what_is_polled() {
    explore(2_000, || {
        let engine = World::engine(DynApplication::new(nothing), 1, ShutdownTrigger::new());
        // Keeps the waker, and by that the task.
        let (signal, dropped) = (Signal::new(), Arc::<AtomicUsize>::default());
        let endless = Endless { fired: signal.fired(), dropped: dropped.clone() };
        engine.tasks.spawn(&engine, Box::pin(endless));
        engine.start_workers();
        let closes = engine.clone();
        let closes = thread::spawn(move || closes.tasks.close());
        closes.join().expect("it does not panic");
        end(&engine);
        assert_eq!(dropped.load(SeqCst), 1, "a future is left");
    });
}

/// Blocking work is done, or its task says that it is not; the drain waits for it. \[RTM-03\]
#[test]
fn blocking_work_is_done() {
    explore(300, || {
        let world = World::start(nothing, 2);
        let tasks = [1, 2, 3].map(|n| world.runtime().run_blocking(move || n));
        let shutdown = world.shutdown.clone();
        thread::spawn(move || shutdown.drain());
        for (task, n) in tasks.into_iter().zip(1..) {
            assert_eq!(block_on(task), Ok(n));
        }
        world.end();
    });
}
