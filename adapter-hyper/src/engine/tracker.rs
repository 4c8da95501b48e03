//! How many connections are open, and waiting for fewer. \[LIM-07\], \[SHU-09\]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use event_listener::Event;

/// Counts open connections; shared by all listeners of a server.
#[derive(Debug, Clone, Default)]
pub struct Tracker(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: AtomicUsize,
    fewer: Event,
}

/// One open connection; drop it when the connection is gone.
#[derive(Debug)]
pub struct Guard(Arc<Inner>);

impl Tracker {
    /// Connections open now.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::SeqCst)
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
        while self.open() >= limit {
            let listener = self.0.fewer.listen();
            if self.open() < limit {
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
