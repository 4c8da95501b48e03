//! The work the program is there for: it knows nothing of HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Jobs under way on the program's runtime. Clones are the same ones.
#[derive(Clone)]
pub(crate) struct Jobs {
    done: Arc<AtomicUsize>,
    all: usize,
}

impl Jobs {
    /// Starts `all` jobs, one after the other.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn start(all: usize) -> Self {
        let jobs = Jobs { done: Arc::default(), all };
        let done = jobs.done.clone();
        tokio::spawn(async move {
            for _ in 0..all {
                tokio::time::sleep(Duration::from_millis(20)).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        jobs
    }

    pub(crate) fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    pub(crate) fn all(&self) -> usize {
        self.all
    }
}
