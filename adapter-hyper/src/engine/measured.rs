//! What a client is held to while it sends a body, in HTTP/1 and HTTP/2: the limit and the time. \[LIM-03\], \[LIM-05\], \[LIM-12\],
//! \[TRL-02\]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use adapter_core::dispatch::{Meter, Observed};
use adapter_core::observe::TimeLimit;
use adapter_core::rules::trailers;
use adapter_core::{Bytes, RequestBodyError, Sleep};
use http::HeaderMap;
use http_body::Frame;

use super::io::Shared;

/// The measure of one body.
pub(super) struct Measured {
    pub(super) shared: Arc<Shared>,
    /// Octets that may still come.
    allowed: u64,
    limit: u64,
    /// Runs while the application waits for the client.
    sleep: Option<Sleep>,
    /// Where somebody wants to know how much was read.
    meter: Option<Meter>,
}

impl Measured {
    /// Of a body on the connection of `shared`.
    pub(super) fn new(shared: &Arc<Shared>, observed: Option<&mut Observed>) -> Self {
        let limit = shared.engine.limits.body_bytes.unwrap_or(u64::MAX);
        Measured { shared: shared.clone(), allowed: limit, limit, sleep: None, meter: observed.map(Observed::meter) }
    }

    /// The application waits: ready when it has done so for too long, with the error that says so. \[LIM-05\]
    pub(super) fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<RequestBodyError> {
        let Some(timeout) = self.shared.engine.timeouts.body_read else { return Poll::Pending };
        let runtime = &self.shared.engine.serving.runtime;
        ready!(Pin::new(self.sleep.get_or_insert_with(|| runtime.sleep(timeout))).poll(cx));
        self.shared.environ.timed_out(TimeLimit::BodyRead);
        Poll::Ready(RequestBodyError::TimedOut)
    }

    /// It does not wait any more.
    pub(super) fn heard(&mut self) {
        self.sleep = None;
    }

    /// So many octets have come.
    ///
    /// # Errors
    /// They are too many. \[LIM-03\]
    pub(super) fn count(&mut self, octets: usize) -> Result<(), RequestBodyError> {
        let rest = self.allowed.checked_sub(octets as u64);
        self.allowed = rest.ok_or(RequestBodyError::TooLarge { limit: self.limit })?;
        if let Some(meter) = &self.meter {
            meter.received(octets as u64);
        }
        Ok(())
    }

    /// The client is slower than the least rate. \[LIM-12\]
    pub(super) fn is_late(&self) {
        self.shared.environ.timed_out(TimeLimit::MinRate);
    }
}

/// Trailers for the application: framing, routing and authentication do not come after the fact. \[TRL-02\]
pub(super) fn trailing(mut fields: HeaderMap) -> Frame<Bytes> {
    trailers::sanitize(&mut fields);
    Frame::trailers(fields)
}
