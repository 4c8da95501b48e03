//! A connection of HTTP/1 that the application may take over.

use adapter_core::rules::request::{BodyLength, Facts};
use adapter_core::upgrade::{self, Handover, Offer};
use http::request;

/// A connection on offer to the application that handles a request.
pub(super) struct Switch {
    pub(super) handover: Handover,
    pub(super) on: hyper::upgrade::OnUpgrade,
}

impl Switch {
    /// Takes hyper's handle, which is not part of the interface, out of `head`. `None` for a request that can't be
    /// upgraded: most.
    #[inline]
    pub(super) fn offer(head: &mut request::Parts, facts: &Facts) -> Option<(Box<Self>, Offer)> {
        let on = head.extensions.remove::<hyper::upgrade::OnUpgrade>()?;
        // The new protocol begins where the request ends, and hyper switches only there.
        let at_end = facts.is_connect || facts.body == BodyLength::Sized(0);
        if !at_end || !(facts.upgrade || facts.is_connect) {
            return None;
        }
        let (handover, offer) = upgrade::channel();
        Some((Box::new(Switch { handover, on }), offer))
    }
}
