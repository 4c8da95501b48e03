//! How long octets are read that nobody wants: each renews a short time, up to a long one in all. \[KAP-13\]

use std::time::Duration;

use super::status::{LAST_LINGER, LINGER};

/// In the engine's time.
#[derive(Clone, Copy)]
pub(super) struct Linger {
    /// When something was heard last.
    heard: u64,
    /// When there is an end to it, whatever comes.
    last: u64,
}

impl Linger {
    /// From `now` on, for `most` in all.
    pub(super) fn new(now: u64, most: Duration) -> Self {
        Linger { heard: now, last: now + most.as_nanos() as u64 }
    }

    /// Something has come.
    pub(super) fn renew(&mut self, now: u64) {
        self.heard = now;
    }

    /// The server is shutting down.
    pub(super) fn hurry(&mut self, now: u64) {
        self.last = self.last.min(now + LAST_LINGER.as_nanos() as u64);
    }

    pub(super) fn until(&self) -> u64 {
        self.last.min(self.heard + LINGER.as_nanos() as u64)
    }
}
