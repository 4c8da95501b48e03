//! Wakes the connection's task, but not for what that task does itself.
//!
//! h2 wakes it whenever something is queued. While a stream is served in that very task this would have it polled once more for nothing:
//! the connection is looked at right behind.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// What h2 has as the waker of its connection.
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
        self.is_muted.store(true, SeqCst);
        let done = work();
        self.is_muted.store(false, SeqCst);
        done
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_muted.load(SeqCst) {
            let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
            task.wake();
        }
    }
}
