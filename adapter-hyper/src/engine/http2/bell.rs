//! Wakes the connection's task, but not for what that task does itself.
//!
//! h2 wakes it whenever something is queued, and a response at its end. While a stream is served in that very task this would have it
//! polled once more for nothing: everything is looked at right behind.

use std::sync::{Arc, PoisonError};
use std::task::{Wake, Waker};

use adapter_core::sync::Mutex;
use adapter_core::sync::atomic::{AtomicBool, Ordering::AcqRel};

/// What h2 and the requests have as the waker of their connection.
pub(super) struct Bell {
    task: Mutex<Waker>,
    is_muted: AtomicBool,
}

impl Bell {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Bell { task: Mutex::new(Waker::noop().clone()), is_muted: AtomicBool::new(false) })
    }

    /// Wakes `task` from now on.
    pub(super) fn wakes(&self, task: &Waker) {
        let mut current = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !current.will_wake(task) {
            let before = std::mem::replace(&mut *current, task.clone());
            drop(current);
            // Not under the lock.
            drop(before);
        }
    }

    /// Wakes nobody while `work` is done: whoever calls this looks at everything right behind, also at what others did meanwhile.
    pub(super) fn muted<T>(&self, work: impl FnOnce() -> T) -> T {
        self.is_muted.swap(true, AcqRel);
        let done = work();
        // Reads what a wake-up has written that found it muted: what came before that is seen from here on.
        self.is_muted.swap(false, AcqRel);
        done
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // It writes, too, so that `muted` sees what came before.
        if !self.is_muted.fetch_or(false, AcqRel) {
            let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
            task.wake();
        }
    }
}

#[cfg(all(test, adapter_model))]
mod models;
