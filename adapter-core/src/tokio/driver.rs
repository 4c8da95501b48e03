//! A tokio runtime as an application's [`Runtime`], for programs whose server is none of this interface. \[RTM-01\] to
//! \[RTM-06\]

use std::time::Instant;

use ::tokio::runtime::Handle;

use crate::runtime::{BlockingJob, BoxFuture, Driver, Runtime};

impl Runtime {
    /// The runtime of `handle`, and of whoever asks from within another: its timers, which must be enabled; its tasks; and its
    /// own pool of blocking threads, whose bound is that of tokio's `Builder::max_blocking_threads` and whose line has none.
    /// Feature `tokio`.
    ///
    /// ```
    /// # let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    /// # tokio.block_on(async {
    /// use adapter_core::Runtime;
    ///
    /// let runtime = Runtime::tokio(tokio::runtime::Handle::current());
    /// assert_eq!(runtime.run_blocking(|| 7).await, Ok(7));
    /// # });
    /// ```
    pub fn tokio(handle: Handle) -> Self {
        Runtime::new(TokioDriver(handle))
    }
}

struct TokioDriver(Handle);

impl TokioDriver {
    fn current(&self) -> Handle {
        Handle::try_current().unwrap_or_else(|_| self.0.clone())
    }
}

impl Driver for TokioDriver {
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<()> {
        // tokio makes timers only inside a runtime.
        let handle = self.current();
        let _inside = handle.enter();
        Box::pin(::tokio::time::sleep_until(deadline.into()))
    }

    fn spawn(&self, future: BoxFuture<()>) {
        // Detached: the task's own result travels through `Task`.
        drop(self.current().spawn(future));
    }

    fn run_blocking(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        // A runtime that has shut down drops it, which is a refusal.
        drop(self.current().spawn_blocking(move || job.run()));
        Ok(())
    }
}
