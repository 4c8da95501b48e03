//! Threads for blocking applications, iterators and files, beside an event loop.
//!
//! Starts a thread when work waits and none is idle, up to a bound; a thread that is idle for ten seconds ends. Work
//! waits in order, up to a bound; more is refused. \[RTM-03\], \[CON-02\]

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use adapter_core::runtime::{BlockingJob, JobQueue};
use adapter_core::sync::{Condvar, Mutex, MutexGuard, now, thread};

/// How long a thread waits for more work.
const IDLE: Duration = Duration::from_secs(10);

/// A bounded pool of threads; clones are the same pool.
#[derive(Clone)]
pub struct BlockingPool(Arc<Shared>);

struct Shared {
    threads: usize,
    state: Mutex<State>,
    work: Condvar,
    ended: Condvar,
}

struct State {
    jobs: JobQueue,
    threads: usize,
    idle: usize,
    stopped: bool,
}

impl BlockingPool {
    /// At most `threads` threads, and `queue` jobs that wait for one.
    pub fn new(threads: usize, queue: usize) -> Self {
        let state = Mutex::new(State { jobs: JobQueue::new(queue), threads: 0, idle: 0, stopped: false });
        BlockingPool(Arc::new(Shared { threads, state, work: Condvar::new(), ended: Condvar::new() }))
    }

    /// Runs `job` on a thread of the pool, in order. Does not block.
    ///
    /// # Errors
    /// The job, if the queue is full, the pool has stopped, or no thread can be had.
    pub fn run(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        let mut state = self.0.lock();
        let has_thread = state.idle > state.jobs.len() || state.threads < self.0.threads;
        if state.stopped || (!has_thread && !job.is_accepted() && state.jobs.is_full()) {
            return Err(job);
        }
        state.jobs.push_over(job);
        if state.idle >= state.jobs.len() {
            self.0.work.notify_one();
        } else if state.threads < self.0.threads {
            let shared = self.0.clone();
            match thread::Builder::new().name("adapter-blocking".into()).spawn(move || shared.work()) {
                Ok(_) => state.threads += 1,
                // The system has no more threads: those there are get to it, unless there is none.
                Err(_) if state.threads > 0 => {}
                Err(_) => return Err(state.jobs.pop_last().expect("pushed above, under the same lock")),
            }
        }
        Ok(())
    }

    /// Takes no more work, drops what waits, and waits for the threads to end, at most for `patience`: application code
    /// that blocks can't be interrupted. `true` if all have ended. Blocks.
    pub fn stop(&self, patience: Duration) -> bool {
        let deadline = now() + patience;
        let mut state = self.0.lock();
        state.stopped = true;
        let waiting = std::mem::replace(&mut state.jobs, JobQueue::new(0));
        self.0.work.notify_all();
        drop(state);
        drop(waiting);
        let mut state = self.0.lock();
        while state.threads > 0 {
            let Some(left) = deadline.checked_duration_since(now()) else { return false };
            state = self.0.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a thread.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop() {
                drop(state);
                job.run();
                state = self.lock();
            } else if state.stopped {
                break;
            } else {
                state.idle += 1;
                let (woken, timeout) = self.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
                state = woken;
                state.idle -= 1;
                if timeout.timed_out() && state.jobs.is_empty() {
                    break;
                }
            }
        }
        state.threads -= 1;
        if state.threads == 0 {
            self.ended.notify_all();
        }
    }
}

impl std::fmt::Debug for BlockingPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockingPool").field("threads", &self.0.threads).finish_non_exhaustive()
    }
}

#[cfg(all(test, adapter_model))]
mod models;
#[cfg(test)]
#[cfg(not(adapter_model))]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn is_bounded_in_order_and_ends() {
        let pool = BlockingPool::new(1, 2);
        let (started, has_started) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let (done, results) = mpsc::channel();
        assert!(
            pool.run(BlockingJob::new(move || {
                started.send(()).unwrap();
                released.recv().unwrap();
            }))
            .is_ok()
        );
        has_started.recv().unwrap();
        for n in 0..2 {
            let done = done.clone();
            assert!(pool.run(BlockingJob::new(move || done.send(n).unwrap())).is_ok());
        }
        assert!(pool.run(BlockingJob::new(|| ())).is_err(), "one runs, two wait, the fourth is refused");
        release.send(()).unwrap();
        assert_eq!((results.recv(), results.recv()), (Ok(0), Ok(1)));
        assert!(pool.stop(Duration::from_secs(10)));
        assert!(pool.run(BlockingJob::new(|| ())).is_err());
    }
}
