//! `/fetch` waits, `/publish` releases all who wait: the long-poll.
//!
//! Waiting holds no thread. Rounds never mix: who comes after a publication waits for the next.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adapter_web::signal::Signal;

/// Those who wait for the next publication.
#[derive(Default)]
pub(crate) struct Channel(Mutex<Arc<Round>>);

#[derive(Default)]
struct Round {
    published: Signal,
    waiting: AtomicUsize,
}

impl Channel {
    fn round(&self) -> MutexGuard<'_, Arc<Round>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next publication. Cancel safe: who stops waiting is not counted.
    pub(crate) async fn wait(&self) {
        let waiter = {
            let round = self.round();
            round.waiting.fetch_add(1, Ordering::Relaxed);
            Waiter(round.clone())
        };
        waiter.0.published.fired().await;
    }

    /// Releases all who wait and gives their number.
    pub(crate) fn publish(&self) -> usize {
        let round = std::mem::take(&mut *self.round());
        let released = round.waiting.load(Ordering::Relaxed);
        round.published.fire();
        released
    }
}

/// One who waits; gone when dropped.
struct Waiter(Arc<Round>);

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
