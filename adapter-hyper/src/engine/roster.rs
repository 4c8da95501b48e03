//! Who is connected, so that a full server can make room for who waits. \[LIM-07\] RFC 9112 §9.5
//!
//! A connection enters and leaves once; a request writes nothing here. Looked through only where a client waits and the
//! server is full.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::io::Shared;

/// The connections of a server, by their address in memory.
#[derive(Default)]
pub(super) struct Roster(Mutex<HashMap<usize, Weak<Shared>>>);

fn key(shared: &Arc<Shared>) -> usize {
    Arc::as_ptr(shared).addr()
}

impl Roster {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Weak<Shared>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, shared: &Arc<Shared>) {
        self.lock().insert(key(shared), Arc::downgrade(shared));
    }

    pub(super) fn leave(&self, shared: &Arc<Shared>) {
        self.lock().remove(&key(shared));
    }

    /// Asks the connection that has been idle for longest to close. It does so in its own task, unless a request is faster.
    pub(super) fn make_room(&self) {
        let roster = self.lock();
        let now = roster.values().find_map(|weak| Some(weak.upgrade()?.engine.now())).unwrap_or_default();
        let idle = roster.values().filter_map(|weak| {
            let shared = weak.upgrade()?;
            let since = shared.status.idle_since(now)?;
            Some((since, shared))
        });
        let longest = idle.min_by_key(|(since, _)| *since);
        drop(roster);
        if let Some((_, shared)) = longest {
            shared.status.unwanted.store(true, Relaxed);
            shared.wake_supervisor();
        }
    }
}
