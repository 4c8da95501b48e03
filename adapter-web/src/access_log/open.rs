//! Requests whose code may hold the very thread that serves them: one that a forced end leaves behind does not come to write its line.
//!
//! An entry that is dropped is forgotten when the next ones come; nothing is searched while requests are served.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::entry::Entry;

/// Below that many nobody looks who has ended.
const FEW: usize = 64;

/// They that are open, and some that have ended.
#[derive(Default)]
pub(super) struct Open(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    all: Vec<Weak<Entry>>,
    /// How many there are when it is looked next who has ended.
    most: usize,
}

impl Open {
    /// One more.
    pub(super) fn add(&self, entry: &Arc<Entry>) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.all.len() >= entries.most {
            entries.all.retain(|entry| entry.strong_count() > 0);
            entries.most = (entries.all.len() * 2).max(FEW);
        }
        entries.all.push(Arc::downgrade(entry));
    }

    /// A server is at its end: those that it has left behind write their lines.
    pub(super) fn end(&self) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).all.clone();
        // Another server may write to the same log.
        all.iter().filter_map(Weak::upgrade).filter(|entry| entry.is_left_behind()).for_each(|entry| entry.write());
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").finish_non_exhaustive()
    }
}
