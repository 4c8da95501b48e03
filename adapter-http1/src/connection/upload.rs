//! What a connection knows of a request body that is not read to its end. \[LIM-05\]
//!
//! *The time* is that in which somebody waits and no data comes: it is added up over the waits, and only data sets it back,
//! so that a client that drips framing gains nothing.

use std::task::Waker;
use std::time::{Duration, Instant};

use adapter_core::RequestBodyError;
use adapter_core::rules::request::BodyLength;
use bytes::Bytes;

use crate::body_decoder::Decoder;

/// The earlier of two deadlines.
pub(super) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The receiving side of a body, kept with the connection.
pub(super) struct Upload {
    pub(super) decoder: Decoder,
    /// Read, not decoded; comes after the connection's input.
    pub(super) carry: Bytes,
    /// Who waits for more.
    pub(super) reader: Option<Waker>,
    /// Until when it waits.
    pub(super) deadline: Option<Instant>,
    /// Since when somebody waits, and how long it was before. \[LIM-05\]
    waiting_since: Option<Instant>,
    waited: Duration,
    /// Frames since a reader had to wait or gave way.
    pub(super) in_a_row: u32,
    /// The client waits for 100 Continue.
    pub(super) expects_continue: bool,
    /// The application has dropped it.
    pub(super) abandoned: bool,
    /// It can't be read any further.
    pub(super) failed: Option<RequestBodyError>,
}

impl Upload {
    pub(super) fn new(length: BodyLength, limit: Option<u64>, expects_continue: bool) -> Self {
        Upload {
            decoder: Decoder::new(length, limit),
            carry: Bytes::new(),
            reader: None,
            deadline: None,
            waiting_since: None,
            waited: Duration::ZERO,
            in_a_row: 0,
            expects_continue,
            abandoned: false,
            failed: None,
        }
    }

    /// Octets to come, if known.
    pub(super) fn remaining(&self) -> Option<u64> {
        self.decoder.remaining()
    }

    /// Whether what is read next belongs behind what is decoded now: there is nothing between.
    pub(super) fn is_read_up(&self) -> bool {
        self.carry.is_empty()
    }

    /// \[LIM-05\] somebody waits from `now` on, or still: until when.
    pub(super) fn wait(&mut self, now: Instant, limit: Option<Duration>) -> Option<Instant> {
        let since = *self.waiting_since.get_or_insert(now);
        self.deadline = limit.and_then(|limit| since.checked_add(limit.saturating_sub(self.waited)));
        self.deadline
    }

    /// Something has come, data or not: nobody waits now.
    pub(super) fn stop_waiting(&mut self, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            self.waited = self.waited.saturating_add(now.saturating_duration_since(since));
        }
        self.deadline = None;
    }

    /// Data has come.
    pub(super) fn has_progress(&mut self) {
        self.waited = Duration::ZERO;
        self.waiting_since = None;
        self.deadline = None;
    }
}
