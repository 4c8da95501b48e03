//! Tasks on an executor, and `adapter_core::Runtime` on async-io. \[RTM-01\] to \[RTM-05\]

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Instant;

use adapter_core::runtime::{BlockingJob, BoxFuture, Driver};
use adapter_hyper::blocking_pool::BlockingPool;
use adapter_hyper::host::Spawn;
use async_executor::Executor;
use async_io::Timer;

/// Puts futures on an executor, for as long as it lives: tasks hold this, so it must not hold the executor.
#[derive(Clone, Debug)]
pub(crate) struct On(Weak<Executor<'static>>);

impl On {
    pub(crate) fn new(executor: &Arc<Executor<'static>>) -> Self {
        On(Arc::downgrade(executor))
    }
}

impl Spawn for On {
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        // An executor that is gone has dropped its tasks; so it does with this one.
        if let Some(executor) = self.0.upgrade() {
            executor.spawn(future).detach();
        }
    }
}

/// Timers of async-io, tasks of `spawn`, blocking work on `pool`. Usable from any thread.
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
        let timer = Timer::at(deadline);
        Box::pin(async move { drop(timer.await) })
    }

    fn spawn(&self, future: BoxFuture<()>) {
        self.spawn.spawn(future);
    }

    fn run_blocking(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        self.pool.run(job)
    }
}
