//! How many of something there are, and waiting for fewer: open connections, calls that run. \[LIM-07\], \[SHU-09\]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use event_listener::Event;

/// Counts open connections; shared by all listeners of a server. Clones are the same count.
#[derive(Debug, Clone, Default)]
pub struct Tracker(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: AtomicUsize,
    listening: AtomicUsize,
    /// One connection, or one listener, less.
    fewer: Event,
}

/// One listener that is open; drop it when the listener is closed.
#[derive(Debug)]
pub struct Listening(Arc<Inner>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.listening.fetch_sub(1, Ordering::SeqCst);
        self.0.fewer.notify(usize::MAX);
    }
}

/// One open connection; drop it when the connection is gone.
#[derive(Debug)]
pub struct Guard(Arc<Inner>);

impl Tracker {
    /// Connections open now.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::SeqCst)
    }

    /// Counts one more, however many there are.
    pub fn add(&self) -> Guard {
        self.0.open.fetch_add(1, Ordering::SeqCst);
        Guard(self.0.clone())
    }

    /// Waits until fewer than `limit` are open, and counts one more. Cancel safe.
    pub async fn enter(&self, limit: usize) -> Guard {
        loop {
            self.below(limit).await;
            let enter = |open| (open < limit).then_some(open + 1);
            if self.0.open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, enter).is_ok() {
                return Guard(self.0.clone());
            }
        }
    }

    /// Waits until fewer than `limit` are open. Cancel safe.
    pub async fn below(&self, limit: usize) {
        self.until(|inner| inner.open.load(Ordering::SeqCst) < limit).await;
    }

    /// Counts a listener.
    pub fn listening(&self) -> Listening {
        self.0.listening.fetch_add(1, Ordering::SeqCst);
        Listening(self.0.clone())
    }

    /// Waits until every listener is closed. Cancel safe. \[SHU-09\]
    pub async fn closed(&self) {
        self.until(|inner| inner.listening.load(Ordering::SeqCst) == 0).await;
    }

    async fn until(&self, holds: impl Fn(&Inner) -> bool) {
        while !holds(&self.0) {
            let listener = self.0.fewer.listen();
            if holds(&self.0) {
                return;
            }
            listener.await;
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
        self.0.fewer.notify(usize::MAX);
    }
}
