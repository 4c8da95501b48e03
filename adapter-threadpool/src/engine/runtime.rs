//! The server as an application's [`Runtime`](adapter_core::Runtime). \[RTM-01\] to \[RTM-05\]
//!
//! Holds the engine weakly: an application may keep its runtime handle for ever.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use adapter_core::runtime::{BlockingJob, BoxFuture, Driver};
use adapter_core::sync;

use super::Engine;
use super::timers::Key;

sync::thread_local! {
    /// Whether this thread is a worker.
    static WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Makes this thread one that may block.
pub(crate) fn enter_worker() {
    WORKER.with(|worker| worker.set(true));
}

pub(crate) struct PoolDriver(Weak<Engine>);

impl PoolDriver {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        PoolDriver(Arc::downgrade(engine))
    }
}

impl Driver for PoolDriver {
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<()> {
        Box::pin(Sleeper { engine: self.0.clone(), deadline, key: None })
    }

    fn spawn(&self, future: BoxFuture<()>) {
        if let Some(engine) = self.0.upgrade() {
            engine.tasks.spawn(&engine, future);
        }
    }

    fn run_blocking(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        match self.0.upgrade() {
            Some(engine) => engine.push_blocking(job),
            None => Err(job),
        }
    }

    fn may_block(&self) -> bool {
        WORKER.with(Cell::get)
    }
}

/// A timer; registered from its first poll until it is dropped or due.
struct Sleeper {
    engine: Weak<Engine>,
    deadline: Instant,
    key: Option<Key>,
}

impl Future for Sleeper {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if sync::now() >= self.deadline {
            return Poll::Ready(());
        }
        // Without a server there is nothing to wait for.
        let Some(engine) = self.engine.upgrade() else { return Poll::Ready(()) };
        if !self.key.is_some_and(|key| engine.timers.renew(key, cx.waker())) {
            let (key, interrupt) = engine.timers.sleep(engine.tick(self.deadline), cx.waker());
            self.key = Some(key);
            if interrupt {
                engine.poller.interrupt();
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        if let Some(key) = self.key
            && let Some(engine) = self.engine.upgrade()
        {
            engine.timers.cancel(key);
        }
    }
}
