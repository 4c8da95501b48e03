//! Tasks on an executor, and `adapter_core::Runtime` on async-io. Used from any thread. \[RTM-01\] to \[RTM-05\]

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use adapter_core::runtime::{BlockingJob, BoxFuture, Driver};
use adapter_hyper::blocking_pool::BlockingPool;
use adapter_hyper::host::Spawn;
use async_executor::Executor;
use async_io::Timer;

/// Puts futures on an executor of ours, for as long as it lives: tasks hold this, so it must not hold the executor.
#[derive(Clone, Debug)]
pub(crate) struct Own(Weak<Executor<'static>>);

impl Own {
    pub(crate) fn new(executor: &Arc<Executor<'static>>) -> Self {
        Own(Arc::downgrade(executor))
    }
}

impl Spawn for Own {
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        // An executor that is gone has dropped its tasks; so it is with this one.
        if let Some(executor) = self.0.upgrade() {
            executor.spawn(future).detach();
        }
    }
}

/// Puts futures on the executor of the program that serves.
pub(crate) struct Theirs<F>(Arc<F>);

impl<F> Theirs<F> {
    pub(crate) fn new(spawn: F) -> Self {
        Theirs(Arc::new(spawn))
    }
}

impl<F> Clone for Theirs<F> {
    fn clone(&self) -> Self {
        Theirs(self.0.clone())
    }
}

impl<F: Fn(BoxFuture<()>) + Send + Sync + 'static> Spawn for Theirs<F> {
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        (self.0)(Box::pin(future));
    }
}

/// Timers of async-io, tasks of `spawn`, blocking work on `pool`.
pub(crate) struct SmolDriver<S> {
    spawn: S,
    pool: BlockingPool,
}

impl<S> SmolDriver<S> {
    pub(crate) fn new(spawn: S, pool: BlockingPool) -> Self {
        SmolDriver { spawn, pool }
    }
}

impl<S: Spawn> Driver for SmolDriver<S> {
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<()> {
        Box::pin(Until(Timer::at(deadline)))
    }

    fn spawn(&self, future: BoxFuture<()>) {
        self.spawn.spawn(future);
    }

    fn run_blocking(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        self.pool.run(job)
    }
}

/// A timer that does not say when it fired.
struct Until(Timer);

impl Future for Until {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(|_| ())
    }
}
