//! 103 Early Hints, sent from within the handler. \[INF-01\] to \[INF-03\] RFC 8297

use std::sync::Weak;

use adapter_core::HintError;
use adapter_core::hints::Sink;
use http::{HeaderMap, StatusCode};

use super::Conn;
use super::io::Flush;
use crate::engine::lock;
use crate::wire::encoder;

/// Sends hints for request number `request`, as long as its response has not begun.
pub(super) struct HintSink {
    pub(super) conn: Weak<Conn>,
    pub(super) request: u64,
}

impl Sink for HintSink {
    fn send(&self, headers: &HeaderMap) -> Result<(), HintError> {
        let conn = self.conn.upgrade().ok_or(HintError::Disconnected)?;
        let mut io = lock(&conn.io);
        // [INF-03]
        if io.request != self.request || io.committed {
            return Err(HintError::TooLate);
        }
        encoder::informational(io.output.appendable(), StatusCode::EARLY_HINTS, headers);
        match io.flush(&conn) {
            // What does not go out now goes out when there is room: never later than the head.
            Flush::Done | Flush::Wait => Ok(()),
            Flush::Broken => Err(HintError::Disconnected),
        }
    }
}
