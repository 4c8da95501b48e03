//! What counts as being answered.

use std::sync::Arc;

use adapter_core::dispatch::Observed;
use adapter_core::rules;
use http::header::{self, Entry};
use http::{HeaderMap, StatusCode};

use super::io::Shared;

/// A request under way: begins with the head, ends with the body of its response.
pub(super) struct InFlight {
    pub(super) shared: Arc<Shared>,
    /// Where somebody wants to know how it ends. Boxed, because hyper moves it about.
    pub(super) observed: Option<Box<Observed>>,
    /// When it began, as [`Status::now`](super::status::Status::now) has it.
    pub(super) begun: u64,
}

impl InFlight {
    /// A request has come; also says how many came on its connection.
    pub(super) fn begin(shared: &Arc<Shared>) -> (Self, u64) {
        let count = shared.status.request_begins();
        (InFlight { shared: shared.clone(), observed: None, begun: shared.status.now() }, count)
    }

    /// Something goes on after the response to a request has left the engine's hands: a stream that was taken over, data
    /// that waits for room.
    pub(super) fn goes_on(shared: &Arc<Shared>) -> Self {
        shared.status.response_goes_on();
        InFlight { shared: shared.clone(), observed: None, begun: shared.status.now() }
    }

    /// Tells who wants to know that the response has this status, and that its head is there now: the application may have taken its
    /// time within this turn of the connection.
    #[inline]
    pub(super) fn answered(&mut self, status: StatusCode) {
        if let Some(observed) = &mut self.observed {
            observed.answered_after(status, self.shared.engine.clock.since(self.begun));
        }
    }

    /// \[RSP-06\] dates a response where hyper's own Date stands still.
    #[inline]
    pub(super) fn date(&self, headers: &mut HeaderMap) {
        if self.shared.engine.clock.is_set_back(self.begun) {
            date(headers);
        }
    }

    /// [`answered`](Self::answered), and the response goes out as one.
    #[inline]
    pub(super) fn answered_at_once(&mut self, status: StatusCode) {
        if let Some(observed) = &mut self.observed {
            observed.answered_at_once(status);
        }
    }
}

#[cold]
#[inline(never)]
fn date(headers: &mut HeaderMap) {
    if let Ok(Entry::Vacant(place)) = headers.try_entry(header::DATE) {
        // Where there is no room for it hyper writes its own.
        let _ = place.try_insert(rules::date::header_value());
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.shared.status.response_ends() {
            self.shared.wake_supervisor();
        }
    }
}

#[cfg(all(test, adapter_model))]
mod models;
