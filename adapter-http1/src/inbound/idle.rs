//! Whether a connection waits between two requests, and asking it to end then. \[LIM-07\] RFC 9112 §9.5

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use adapter_core::signal::Signal;

/// What others may know of a connection, see [`Inbound::with_idle`](super::Inbound::with_idle). For servers at their
/// limit of connections, which close the one that has been idle for longest when another client waits.
#[derive(Clone, Debug, Default)]
pub struct Idle(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    since: Mutex<Option<Instant>>,
    ended: Signal,
}

impl Idle {
    /// Since when it has been idle between two requests, if it is.
    pub fn since(&self) -> Option<Instant> {
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection if it is idle now; `false` if it is not. Never blocks.
    pub fn end(&self) -> bool {
        let since = self.0.since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.is_some() {
            self.0.ended.fire();
        }
        since.is_some()
    }

    pub(super) fn ended(&self) -> &Signal {
        &self.0.ended
    }

    /// It is idle until what is given here is dropped.
    pub(super) fn begin(&self) -> Waiting<'_> {
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Waiting(self)
    }
}

pub(super) struct Waiting<'i>(&'i Idle);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.0.0.since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
