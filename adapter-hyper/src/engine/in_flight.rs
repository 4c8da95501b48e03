//! What counts as being answered.

use std::sync::Arc;

use super::io::Shared;

/// A request under way: begins with the head, ends with the body of its response.
pub(super) struct InFlight(Arc<Shared>);

impl InFlight {
    /// A request has come; also says how many came on its connection.
    pub(super) fn begin(shared: &Arc<Shared>) -> (Self, u64) {
        let count = shared.status.request_begins();
        (InFlight(shared.clone()), count)
    }

    /// Something goes on after the response to a request has left the engine's hands: a stream that was taken over, data
    /// that waits for room.
    pub(super) fn goes_on(shared: &Arc<Shared>) -> Self {
        shared.status.response_goes_on();
        InFlight(shared.clone())
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.status.response_ends() {
            self.0.wake_supervisor();
        }
    }
}
