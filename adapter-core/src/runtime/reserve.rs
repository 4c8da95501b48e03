//! A thread for blocking work that is about to come: whoever promises it to a client knows before that there is one, or a place to wait for one.
//!
//! In a blocking handler on an event loop it is the handler's own thread, which goes on with that work once the answer has left it. Anywhere
//! else it is a place in the line. No thread waits that the work needs to come. \[RTM-03\]

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use futures_lite::future::block_on;

use super::job::{BlockingJob, Reservation};
use super::task::{Sender, Task, channel};
use super::{Driver, Runtime};

type Work = Box<dyn FnOnce() + Send>;

thread_local! {
    static THREAD: RefCell<Thread> = const { RefCell::new(Thread::Taken) };
}

/// What the thread does behind its handler's answer.
enum Thread {
    /// Nothing yet: it can be had, on the runtime whose driver is at that address.
    Free(usize),
    Has(Work),
    /// It is not to be had.
    Taken,
}

/// Who has a thread, or a place in the line for one.
pub(crate) enum Place<I> {
    Here(Sender<I>),
    Line { given: Arc<Mutex<Option<I>>>, reservation: Reservation, driver: Arc<dyn Driver> },
}

impl<I> Place<I> {
    /// What the work is to be done on. Dropped before that, there will be none.
    pub(crate) fn give(self, it: I) {
        match self {
            Place::Here(sender) => sender.send(Ok(it)),
            Place::Line { given, reservation, driver } => {
                *given.lock().unwrap_or_else(PoisonError::into_inner) = Some(it);
                if let Some(job) = reservation.settle() {
                    // A server that has stopped drops it, which whoever waits for the result learns.
                    drop(driver.run_blocking(job));
                }
            }
        }
    }
}

impl Runtime {
    /// Has a thread for `work` as soon as that is [given](Place::give) what it is about, or a place in the line for one; `None` where there is
    /// neither. As [`run_blocking`](Self::run_blocking) else.
    pub(crate) fn reserve_blocking<I, T>(
        &self,
        work: impl FnOnce(I) -> T + Send + 'static,
    ) -> Option<(Place<I>, Task<T>)>
    where
        I: Send + 'static,
        T: Send + 'static,
    {
        let (sender, task) = channel();
        let work = move |it: I| {
            let outcome = catch_unwind(AssertUnwindSafe(|| work(it)));
            sender.send(outcome.map_err(|panic| crate::contain::report("task", panic)));
        };
        let is_free = THREAD.with_borrow(|thread| matches!(thread, Thread::Free(driver) if *driver == self.address()));
        if is_free {
            let (give, comes) = channel::<I>();
            let after = move || {
                if let Ok(it) = block_on(comes) {
                    work(it);
                }
            };
            THREAD.set(Thread::Has(Box::new(after)));
            return Some((Place::Here(give), task));
        }
        let given = Arc::new(Mutex::new(None));
        let taken = given.clone();
        let (job, reservation) = BlockingJob::reserved(self.tasks.in_time(move || {
            let it = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(it) = it {
                work(it);
            }
        }));
        self.run_blocking_job(job).ok()?;
        Some((Place::Line { given, reservation, driver: self.driver.clone() }, task))
    }

    /// Runs `handler`, which must not panic, on this thread, and gives what that is to go on with when the answer has left it. For a thread whose
    /// server does not wait for it.
    pub(crate) fn lending_thread<T>(&self, handler: impl FnOnce() -> T) -> (T, Option<Box<dyn FnOnce() + Send>>) {
        // One of a pool that serves with it, too, may be the one that everything waits for.
        let thread = if self.driver.may_block() { Thread::Taken } else { Thread::Free(self.address()) };
        let before = THREAD.replace(thread);
        let answer = handler();
        match THREAD.replace(before) {
            Thread::Has(work) => (answer, Some(work)),
            Thread::Free(_) | Thread::Taken => (answer, None),
        }
    }

    fn address(&self) -> usize {
        Arc::as_ptr(&self.driver).cast::<()>() as usize
    }
}
