//! What counts as being answered.

use std::sync::Arc;
use std::time::Duration;

use adapter_core::dispatch::Observed;
use http::StatusCode;

use super::io::Shared;

/// A request under way: begins with the head, ends with the body of its response.
pub(super) struct InFlight {
    pub(super) shared: Arc<Shared>,
    /// Where somebody wants to know how it ends. Boxed, because hyper moves it about.
    pub(super) observed: Option<Box<Observed>>,
    /// When it began, as [`Status::now`](super::status::Status::now) has it.
    begun: u64,
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
}

impl InFlight {
    /// Tells who wants to know that the response has this status, and that its head is there now: the application may have taken its
    /// time within this turn of the connection.
    #[inline]
    pub(super) fn answered(&mut self, status: StatusCode) {
        if let Some(observed) = &mut self.observed {
            let after = self.shared.engine.now().saturating_sub(self.begun);
            observed.answered_after(status, Duration::from_nanos(after));
        }
    }

    /// When it began.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// How long after its beginning this turn is.
    pub(super) fn age(&self) -> Duration {
        Duration::from_nanos(self.shared.status.now().saturating_sub(self.begun))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.shared.status.response_ends() {
            self.shared.wake_supervisor();
        }
    }
}
