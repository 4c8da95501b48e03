//! What counts as being answered.

use std::sync::Arc;

use adapter_core::dispatch::Observed;

use super::io::Shared;

/// A request under way: begins with the head, ends with the body of its response.
pub(super) struct InFlight {
    pub(super) shared: Arc<Shared>,
    /// Where somebody wants to know how it ends. Boxed, because hyper moves it about.
    pub(super) observed: Option<Box<Observed>>,
}

impl InFlight {
    /// A request has come; also says how many came on its connection.
    pub(super) fn begin(shared: &Arc<Shared>) -> (Self, u64) {
        let count = shared.status.request_begins();
        (InFlight { shared: shared.clone(), observed: None }, count)
    }

    /// Something goes on after the response to a request has left the engine's hands: a stream that was taken over, data
    /// that waits for room.
    pub(super) fn goes_on(shared: &Arc<Shared>) -> Self {
        shared.status.response_goes_on();
        InFlight { shared: shared.clone(), observed: None }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.shared.status.response_ends() {
            self.shared.wake_supervisor();
        }
    }
}
