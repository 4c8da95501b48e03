//! What an application may ask of whatever is serving it: time, tasks and threads.
//!
//! [`Runtime`] is a handle an application gets from [`Environ::runtime`](crate::Environ::runtime); each server
//! implements [`Driver`] with its own executor, so an application that uses it runs unchanged on all of them.
//! Requirements: RTM-01 to RTM-05.

mod job;
mod task;
mod threads;
mod time;

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

pub(crate) use self::job::Withdrawal;
pub use self::job::{BlockingJob, JobQueue};
pub(crate) use self::task::channel as task_channel;
pub use self::task::{Task, TaskError};
pub use self::threads::Threads;
pub use self::time::{Elapsed, Interval, Sleep, Timeout};

use crate::carried::Carried;

/// An owned, erased future.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a server implements to provide a [`Runtime`].
pub trait Driver: Send + Sync + 'static {
    /// A future that is ready at `deadline`, not earlier. Dropping it cancels the timer (\[RTM-04\]).
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<()>;

    /// Runs `future` to completion in the background. It never panics. Must not block.
    fn spawn(&self, future: BoxFuture<()>);

    /// Runs `job` on a thread that may block; waits for one in order when all are busy. Must not block.
    ///
    /// # Errors
    /// Gives the job back when it can't be taken: the queue is full, or the server has stopped. \[RTM-03\]
    fn run_blocking(&self, job: BlockingJob) -> Result<(), BlockingJob>;

    /// Whether the thread that polls right now may block, so that blocking code can run inline. Servers that poll
    /// applications on pool threads say `true`; event loops say `false`, the default.
    fn may_block(&self) -> bool {
        false
    }
}

/// A handle on the serving runtime; cheap to clone, usable from any thread.
///
/// ```
/// # use adapter_core::{Body, Environ, Error, Request, Response};
/// use std::time::Duration;
///
/// async fn late(_request: Request, environ: Environ) -> Result<Response, Error> {
///     environ.runtime().sleep(Duration::from_millis(20)).await;
///     let sum = environ.runtime().run_blocking(|| (1..=10).sum::<u32>()).await?;
///     Ok(Response::new(Body::from(format!("{sum}\n"))))
/// }
/// ```
#[derive(Clone)]
pub struct Runtime(Arc<dyn Driver>);

impl Runtime {
    /// A runtime that uses `driver`. For server authors.
    pub fn new(driver: impl Driver) -> Self {
        Runtime(Arc::new(driver))
    }

    /// Waits for `duration`. Dropping the future cancels it. \[RTM-01\]
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(deadline_after(duration))
    }

    /// Waits until `deadline`. Dropping the future cancels it. \[RTM-01\]
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep::new(self.0.sleep_until(deadline))
    }

    /// Waits for `future`, at most for `duration`; then drops it and gives [`Elapsed`]. \[RTM-01\], \[RTM-04\]
    pub fn timeout<F: Future>(&self, duration: Duration, future: F) -> Timeout<F> {
        Timeout::new(self.sleep(duration), future)
    }

    /// Ticks every `period`, the first time after one period. A tick that is missed because nobody waited is skipped,
    /// not made up for. \[RTM-01\]
    ///
    /// # Panics
    /// If `period` is zero.
    pub fn interval(&self, period: Duration) -> Interval {
        assert!(!period.is_zero(), "the period of an interval must not be zero");
        Interval::new(self.clone(), period)
    }

    /// Runs `future` in the background; it outlives the request (\[RTM-05\]). Dropping the [`Task`] detaches it. A
    /// panic is contained, logged, and reported by the task (\[RTM-02\]). At the end of a graceful shutdown spawned
    /// futures that still run are dropped.
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (sender, task) = task::channel();
        let mut future = Carried::here().with(crate::contain::Contained::new(future));
        let future = poll_fn(move |cx| match future.using(|future| Pin::new(future).poll(cx)) {
            Some(polled) => polled,
            None => Poll::Pending,
        });
        self.0.spawn(Box::pin(async move { sender.send(future.await) }));
        task
    }

    /// Runs `work` on a thread that may block. The number of such threads is bounded by the server's configuration;
    /// work waits in order for one, and beyond a bound is refused with [`TaskError::Refused`] (\[RTM-03\]). Dropping
    /// the [`Task`] detaches it; work that has been accepted runs to its end.
    pub fn run_blocking<F, T>(&self, work: F) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (sender, task) = task::channel();
        let job = BlockingJob::new(move || {
            sender.send(catch_unwind(AssertUnwindSafe(work)).map_err(|panic| crate::contain::report("task", panic)));
        });
        // A refused job is dropped here, and with it the sender: the task reads that as `Refused`.
        drop(self.0.run_blocking(job));
        task
    }

    /// Runs `job` as [`Driver::run_blocking`], without a [`Task`]. For servers and middleware.
    ///
    /// # Errors
    /// The job, if the server can't take it.
    pub fn run_blocking_job(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        self.0.run_blocking(job)
    }

    /// See [`Driver::may_block`].
    pub fn may_block(&self) -> bool {
        self.0.may_block()
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Runtime")
    }
}

/// `now + duration`, or a day far away where that overflows.
fn deadline_after(duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);
    let now = Instant::now();
    now.checked_add(duration).unwrap_or_else(|| now + FAR)
}
