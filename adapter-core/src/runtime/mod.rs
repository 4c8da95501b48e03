//! What an application may ask of whatever is serving it: time, tasks and threads.
//!
//! [`Runtime`] is a handle an application gets from [`Environ::runtime`](crate::Environ::runtime); each server
//! implements [`Driver`] with its own executor, so an application that uses it runs unchanged on all of them.
//! Requirements: RTM-01 to RTM-06.

mod job;
#[cfg_attr(not(feature = "websocket"), allow(dead_code, reason = "it is for WebSockets"))]
mod reserve;
mod task;
mod tasks;
mod time;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Span;

pub use self::job::{BlockingJob, JobQueue, Queued, Running};
pub(crate) use self::job::{JobWatch, Withdrawal};
#[cfg(feature = "websocket")]
pub(crate) use self::reserve::Place;
pub(crate) use self::task::channel as task_channel;
pub use self::task::{Task, TaskError};
pub use self::tasks::Tasks;
pub use self::time::{Elapsed, Interval, Sleep, Timeout};

use crate::carried::Carried;
pub use crate::contain::BoxFuture;
use crate::contain::Contained;

/// What a server implements to provide a [`Runtime`].
pub trait Driver: Send + Sync + 'static {
    /// The time that deadlines are in. Servers leave it as it is.
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// A future that is ready at `deadline`, not earlier. Dropping it cancels the timer (\[RTM-04\]).
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<()>;

    /// Runs `future` to completion in the background. It never panics. Must not block.
    fn spawn(&self, future: BoxFuture<()>);

    /// Runs `job` on a thread that may block; waits for one in order when all are busy. Must not block.
    ///
    /// # Errors
    /// Gives the job back when it can't be taken: the queue is full, or the server has stopped. \[RTM-03\] A queue that is full
    /// is no reason to refuse one that [was accepted](BlockingJob::is_accepted). \[CON-11\]
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
pub struct Runtime {
    driver: Arc<dyn Driver>,
    tasks: Tasks,
    /// Whatever the driver says.
    never_blocks: bool,
}

impl Runtime {
    /// A runtime that uses `driver`. For server authors: one for each server, since what is spawned is counted here.
    pub fn new(driver: impl Driver) -> Self {
        Runtime { driver: Arc::new(driver), tasks: Tasks::default(), never_blocks: false }
    }

    /// The same for application code that is polled within somebody's async code: what blocks is moved away there, though
    /// the thread could be blocked.
    #[cfg(feature = "tower")]
    pub(crate) fn within_async(&self) -> Self {
        Runtime { never_blocks: true, ..self.clone() }
    }

    /// What was spawned here and has not ended. For server authors.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Waits for `duration`. Dropping the future cancels it. \[RTM-01\]
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.deadline_after(duration))
    }

    /// The time of this runtime's clock: what deadlines for it are made of. It is [`Instant::now`], but in tests by a client
    /// [with paused time](crate::testing::Client::with_paused_time).
    pub fn now(&self) -> Instant {
        self.driver.now()
    }

    /// `now + duration`, or a day far away where that overflows.
    fn deadline_after(&self, duration: Duration) -> Instant {
        const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);
        let now = self.now();
        now.checked_add(duration).unwrap_or_else(|| now + FAR)
    }

    /// Waits until `deadline`. Dropping the future cancels it. \[RTM-01\]
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep::new(self.driver.sleep_until(deadline))
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

    /// Runs `future` in the background; it outlives the request (\[RTM-05a\]). Dropping the [`Task`] detaches it. A
    /// panic is contained, logged, and reported by the task (\[RTM-02\]). It runs in the `tracing` span that is current here.
    ///
    /// A graceful shutdown waits for it, and for what it spawns, before the shutdown hook runs; at the deadline
    /// ([`Timeouts::graceful_shutdown`](crate::Timeouts::graceful_shutdown)) and where the shutdown is forced it is dropped
    /// (\[RTM-05b\]). One that does not end by itself ends when
    /// [`Environ::shutting_down`](crate::Environ::shutting_down) says so, or is for
    /// [`spawn_daemon`](Self::spawn_daemon).
    ///
    /// ```
    /// # use adapter_core::{Body, Environ, Error, Request, Response};
    /// # async fn save(_order: &str) {}
    /// async fn order(_request: Request, environ: Environ) -> Result<Response, Error> {
    ///     // Saved whether or not the client waits for the answer.
    ///     environ.runtime().spawn(async { save("one tea").await }).await?;
    ///     Ok(Response::new(Body::from("ordered")))
    /// }
    /// # assert_eq!(adapter_core::testing::Client::new(order).get("/").send().text(), "ordered");
    /// ```
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.begin(future, false)
    }

    /// As [`spawn`](Self::spawn), for work that nobody waits for, such as a loop that sweeps a cache: as Python's daemon
    /// threads it holds up no shutdown, and is dropped when the draining is over, before the shutdown hook runs. It is in no
    /// span. \[RTM-06\]
    pub fn spawn_daemon<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.begin(future, true)
    }

    fn begin<F>(&self, future: F, daemon: bool) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (sender, task) = task::channel();
        let carried = Carried::here();
        // What goes on for ever is no part of the request that began it.
        let carried = if daemon { carried.in_span(Span::none()) } else { carried };
        let future = carried.with(Contained::new(future));
        self.driver.spawn(Box::pin(self.tasks.begin(future, sender, daemon)));
        task
    }

    /// Runs `future`, a part of the server itself, by [`Driver::spawn`]: neither counted nor dropped at the end, which is the
    /// server's to see to. For server authors. A panic is contained and logged.
    pub fn drive(&self, future: impl Future<Output = ()> + Send + 'static) {
        let contained = Contained::new(future);
        self.driver.spawn(Box::pin(async move {
            // Logged where it was caught.
            let _ = contained.await;
        }));
    }

    /// Runs `work` on a thread that may block. The number of such threads is bounded by the server's configuration;
    /// work waits in order for one, and beyond a bound is refused with [`TaskError::Refused`] (\[RTM-03\]). Dropping
    /// the [`Task`] detaches it; work that has been accepted runs to its end, for which a graceful shutdown waits as for what
    /// is [spawned](Self::spawn). What still waits for a thread at the deadline is dropped, which is
    /// [`TaskError::Refused`] too.
    pub fn run_blocking<F, T>(&self, work: F) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (sender, task) = task::channel();
        let job = BlockingJob::new(self.tasks.in_time(move || {
            sender.send(catch_unwind(AssertUnwindSafe(work)).map_err(|panic| crate::contain::report("task", panic)));
        }));
        // A refused job is dropped here, and with it the sender: the task reads that as `Refused`.
        drop(self.run_blocking_job(job));
        task
    }

    /// Runs `job` as [`Driver::run_blocking`], without a [`Task`]. For servers and middleware. A graceful shutdown waits for it,
    /// as for what is given to [`run_blocking`](Self::run_blocking).
    ///
    /// # Errors
    /// The job, if the server can't take it.
    pub fn run_blocking_job(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        let job = job.counted(self.tasks.job());
        self.driver.run_blocking(match self.tasks.watch() {
            Some(watch) => job.watched(watch),
            None => job,
        })
    }

    /// Something that is to run application code waits for a thread: for servers whose own threads do that, beside what is given to
    /// [`run_blocking_job`](Self::run_blocking_job). `None` where nobody wants to know. \[OBS-09\]
    pub fn queued(&self) -> Option<Queued> {
        self.tasks.watch().map(Queued::new)
    }

    /// See [`Driver::may_block`].
    pub fn may_block(&self) -> bool {
        !self.never_blocks && self.driver.may_block()
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Runtime")
    }
}
