//! A runtime of plain threads: for servers that have no event loop, and for the in-process client.
//!
//! One timer thread for the process wakes sleepers; each spawned future has a thread that blocks on it; blocking jobs
//! share a bounded set of threads that end when their queue is empty. \[RTM-01\] to \[RTM-05\]

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Instant;

use futures_lite::FutureExt;

use crate::config::ServerConfig;
use crate::contain;
use crate::runtime::{BlockingJob, BoxFuture, Driver};
use crate::signal::Signal;
use crate::tracker::Tracker;

/// A [`Driver`] of plain threads. Clones are the same one.
///
/// ```
/// use std::time::Duration;
/// use adapter_core::{Runtime, ServerConfig, server::Threads};
///
/// let threads = Threads::new(&ServerConfig::default());
/// let runtime = Runtime::new(threads.clone());
/// runtime.spawn(std::future::pending::<()>()).detach();
/// // ... and when the server has ended:
/// threads.stop();
/// futures_lite::future::block_on(runtime.timeout(Duration::from_secs(10), threads.idle()))?;
/// # Ok::<(), adapter_core::Elapsed>(())
/// ```
#[derive(Clone)]
pub struct Threads(Arc<Inner>);

struct Inner {
    may_block: bool,
    pool: Arc<Pool>,
    tasks: Tracker,
    over: Signal,
}

impl Threads {
    /// For a server that polls applications on threads which may block. Jobs are bounded by
    /// [`ServerConfig::blocking_threads`] and [`ServerConfig::blocking_queue`]. Starts no thread yet.
    pub fn new(config: &ServerConfig) -> Self {
        Self::with(true, config)
    }

    /// For a server that polls applications on an event loop, where nothing may block: blocking code gets a thread.
    pub fn for_event_loop(config: &ServerConfig) -> Self {
        Self::with(false, config)
    }

    pub(crate) fn with(may_block: bool, config: &ServerConfig) -> Self {
        let pool = Pool {
            state: Mutex::default(),
            most_threads: config.blocking_threads,
            most_waiting: config.blocking_queue,
            alive: Tracker::default(),
        };
        Threads(Arc::new(Inner { may_block, pool: Arc::new(pool), tasks: Tracker::default(), over: Signal::new() }))
    }

    /// Drops the spawned futures that still run, and those that come. For the end of a server. Does not block.
    /// \[RTM-05\]
    pub fn stop(&self) {
        self.0.over.fire();
    }

    /// Waits until no thread is left: neither of a spawned future nor of a blocking job, which nothing can interrupt.
    /// Cancel safe. \[SHU-09\]
    pub async fn idle(&self) {
        self.0.tasks.below(1).await;
        self.0.pool.alive.below(1).await;
    }
}

impl Driver for Threads {
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<()> {
        Box::pin(Timer { deadline, key: None })
    }

    fn spawn(&self, future: BoxFuture<()>) {
        let (over, running) = (self.0.over.fired(), self.0.tasks.add());
        let spawned = thread::Builder::new().name("adapter-task".into()).spawn(move || {
            futures_lite::future::block_on(future.or(over));
            drop(running);
        });
        if let Err(error) = spawned {
            tracing::error!(target: "adapter", %error, "no thread for a spawned future");
        }
    }

    fn run_blocking(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        self.0.pool.run(job)
    }

    fn may_block(&self) -> bool {
        self.0.may_block
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads for blocking jobs, bounded. \[RTM-03\]
struct Pool {
    state: Mutex<PoolState>,
    most_threads: usize,
    most_waiting: usize,
    alive: Tracker,
}

#[derive(Default)]
struct PoolState {
    threads: usize,
    /// Threads that have not taken their first job yet; a job in the queue for each does not wait.
    starting: usize,
    queue: VecDeque<BlockingJob>,
}

impl Pool {
    fn run(self: &Arc<Self>, job: BlockingJob) -> Result<(), BlockingJob> {
        let mut state = lock(&self.state);
        let waiting = state.queue.len().saturating_sub(state.starting);
        if !job.is_accepted() && state.threads >= self.most_threads && waiting >= self.most_waiting {
            return Err(job);
        }
        if job.goes_first() {
            state.queue.push_front(job);
        } else {
            state.queue.push_back(job);
        }
        if state.threads < self.most_threads {
            let (pool, alive) = (self.clone(), self.alive.add());
            let spawned = thread::Builder::new().name("adapter-blocking".into()).spawn(move || {
                pool.work();
                drop(alive);
            });
            match spawned {
                Ok(_) => {
                    state.threads += 1;
                    state.starting += 1;
                }
                Err(_) if state.threads > 0 => {}
                Err(_) => return state.queue.pop_back().map_or(Ok(()), Err),
            }
        }
        Ok(())
    }

    fn work(&self) {
        let mut first = true;
        loop {
            let mut state = lock(&self.state);
            state.starting -= usize::from(std::mem::take(&mut first));
            let Some(job) = state.queue.pop_front() else {
                state.threads -= 1;
                return;
            };
            drop(state);
            // Jobs contain their own panics; one that did not must not take the thread's count with it.
            job.run();
        }
    }
}

/// A sleep. Registered with the timer thread while it waits.
struct Timer {
    deadline: Instant,
    key: Option<(Instant, u64)>,
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            return Poll::Ready(());
        }
        let registered = TIMERS.register(self.key, self.deadline, cx.waker(), start_timers);
        // Nobody would wake it. A later sleep tries again.
        let key = registered.unwrap_or_else(|error| panic!("no thread for the timers of sleepers: {error}"));
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            lock(&TIMERS.state).sleepers.remove(&key);
        }
    }
}

static TIMERS: Timers = Timers {
    state: Mutex::new(TimerState { is_running: false, next: 0, sleepers: BTreeMap::new() }),
    earlier: Condvar::new(),
};

/// Starts the timer thread, which ends with the process.
fn start_timers() -> io::Result<()> {
    thread::Builder::new().name("adapter-timer".into()).spawn(|| TIMERS.run()).map(drop)
}

struct Timers {
    state: Mutex<TimerState>,
    /// A sleeper came that is due before all others.
    earlier: Condvar,
}

struct TimerState {
    /// The thread has been started.
    is_running: bool,
    next: u64,
    sleepers: BTreeMap<(Instant, u64), Waker>,
}

impl Timers {
    /// Wakes `waker` at `deadline`, by the thread that `start` starts if there is none yet.
    ///
    /// # Errors
    /// No thread can be had; nothing is registered then.
    fn register(
        &self,
        key: Option<(Instant, u64)>,
        deadline: Instant,
        waker: &Waker,
        start: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<(Instant, u64)> {
        let mut state = lock(&self.state);
        if !state.is_running {
            start()?;
            state.is_running = true;
        }
        let key = key.unwrap_or_else(|| {
            state.next += 1;
            (deadline, state.next)
        });
        state.sleepers.insert(key, waker.clone());
        if state.sleepers.first_key_value().is_some_and(|(first, _)| *first == key) {
            self.earlier.notify_one();
        }
        Ok(key)
    }

    fn run(&self) {
        let mut state = lock(&self.state);
        loop {
            let now = Instant::now();
            match state.sleepers.first_entry() {
                None => state = self.earlier.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(first) if first.key().0 <= now => {
                    let waker = first.remove();
                    drop(state);
                    // It may be anybody's, and all sleepers hang on this thread.
                    let _ = contain::catch("waker", || waker.wake());
                    state = lock(&self.state);
                }
                Some(first) => {
                    let rest = first.key().0 - now;
                    let waited = self.earlier.wait_timeout(state, rest);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_thread_that_could_not_be_started_is_started_later() {
        let state = TimerState { is_running: false, next: 0, sleepers: BTreeMap::new() };
        let timers = Timers { state: Mutex::new(state), earlier: Condvar::new() };
        let register = |start: fn() -> io::Result<()>| timers.register(None, Instant::now(), Waker::noop(), start);
        assert!(register(|| Err(io::ErrorKind::WouldBlock.into())).is_err());
        assert!(lock(&timers.state).sleepers.is_empty());
        assert!(register(|| Ok(())).is_ok());
        assert!(register(|| Err(io::ErrorKind::WouldBlock.into())).is_ok(), "it runs already");
    }
}
