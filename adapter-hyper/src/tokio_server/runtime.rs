//! `adapter_core::Runtime` on tokio. \[RTM-01\] to \[RTM-05\]

use std::time::Instant;

use adapter_core::runtime::{BlockingJob, BoxFuture, Driver};
use tokio::runtime::Handle;

use crate::blocking_pool::BlockingPool;

/// Timers and tasks of the tokio runtime that asks, or of `fallback` for threads outside any; blocking work on `pool`.
pub(crate) struct TokioDriver {
    fallback: Handle,
    pool: BlockingPool,
}

impl TokioDriver {
    pub(crate) fn new(fallback: Handle, pool: BlockingPool) -> Self {
        TokioDriver { fallback, pool }
    }
}

impl Driver for TokioDriver {
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<()> {
        // tokio makes timers only inside a runtime; blocking threads are outside.
        let _inside = Handle::try_current().is_err().then(|| self.fallback.enter());
        Box::pin(tokio::time::sleep_until(deadline.into()))
    }

    fn spawn(&self, future: BoxFuture<()>) {
        // Detached: the task's own result travels through `adapter_core::Task`.
        match Handle::try_current() {
            Ok(handle) => drop(handle.spawn(future)),
            Err(_) => drop(self.fallback.spawn(future)),
        }
    }

    fn run_blocking(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        self.pool.run(job)
    }
}
