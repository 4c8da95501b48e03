//! Where a connection is, and how it goes on from there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_core::dispatch::{Exchange, Grace, Outgoing};
use adapter_core::proxy_protocol::Reader;
use adapter_core::rules::request::Facts;
use adapter_core::runtime::Queued;
use adapter_core::upgrade::Tether;
use http::request::Parts;

use super::transport::SendFile;

/// How long octets are read in all that nobody wants. \[KAP-13\]
const LINGER_MOST: Duration = Duration::from_secs(30);
/// How long for the next octet, and in all, while the server is shutting down.
const LAST_LINGER: Duration = Duration::from_millis(250);
const LAST_LINGER_MOST: Duration = Duration::from_secs(2);

/// Where a connection is.
pub(super) enum Phase {
    /// In front of everything: what a proxy says of its client. `None`: its peer may say nothing.
    Announced(Option<Box<Reader>>),
    /// In front of HTTP.
    Opening,
    /// Waiting for a request head, or in the middle of one.
    Head,
    /// There is a request, and no permit to call the application with it.
    Ready(Box<Ready>),
    /// The application has the request.
    Handling(Box<Exchange>),
    /// The application has answered; its body is being sent.
    Sending(Box<Sending>),
    /// The response has switched protocols; its head is going out.
    Switching,
    /// The application has the transport.
    Taken(Tether),
    /// What the application left of the request body is being read, since the response is out.
    Draining(Option<Box<Lingering>>),
    /// No more requests: the rest goes out, then the transport is closed with care.
    Closing(Box<Closing>),
    /// Over.
    Closed,
}

/// A request that waits for a permit.
pub(super) struct Ready {
    pub(super) parts: Parts,
    pub(super) facts: Facts,
    /// When its head was whole.
    pub(super) since: Instant,
    pub(super) queued: Option<Queued>,
}

impl Phase {
    /// How long application code may go on, where there is some.
    pub(super) fn grace(&mut self) -> Option<&mut Grace> {
        match self {
            Phase::Handling(exchange) => Some(&mut exchange.grace),
            Phase::Sending(sending) => Some(&mut sending.grace),
            _ => None,
        }
    }

    /// Whether what is the application's is in it.
    pub(super) fn is_applications(&self) -> bool {
        matches!(self, Phase::Handling(_) | Phase::Sending(_))
    }
}

/// How a phase goes on.
pub(super) enum Flow {
    /// With the phase that is set now.
    Next,
    /// When something wakes the connection, or at the deadline.
    Park(Option<Instant>),
    /// When others had their turn.
    Again,
    /// With a permit.
    Permit {
        /// The application has not been called with the request.
        is_new: bool,
    },
    /// Not at all.
    Closed,
    /// As HTTP/2.
    Preface,
}

/// What is seen of a client whose request the application has.
pub(super) enum Seen {
    /// It takes or sends, or is waited for: until then.
    There(Option<Instant>),
    /// It is gone, or takes nothing; the connection is broken.
    Gone,
}

/// How long octets are read that nobody wants: each renews a short time, up to a long one in all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lingering {
    idle: Duration,
    /// When the next octet is late.
    next: Instant,
    /// When all of it is.
    pub(super) last: Instant,
    hurried: bool,
}

impl Lingering {
    pub(super) fn new(now: Instant, idle: Duration) -> Self {
        Lingering { idle, next: now + idle, last: now + LINGER_MOST, hurried: false }
    }

    /// Something has come.
    pub(super) fn renew(&mut self, now: Instant) {
        self.next = now + self.idle;
    }

    /// The server is shutting down.
    pub(super) fn hurry(&mut self, now: Instant) {
        if !self.hurried {
            self.hurried = true;
            self.idle = self.idle.min(LAST_LINGER);
            self.next = self.next.min(now + self.idle);
            self.last = self.last.min(now + LAST_LINGER_MOST);
        }
    }

    pub(super) fn until(&self) -> Instant {
        self.next.min(self.last)
    }
}

/// A connection on its way to the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing {
    /// With a reset, so that an end by closing is not taken for the end of the response.
    pub(super) reset: bool,
    /// From when our side was ended.
    pub(super) lingering: Option<Lingering>,
    /// It is.
    pub(super) shut: bool,
}

impl Closing {
    /// After a complete response.
    pub(super) fn orderly() -> Self {
        Closing { reset: false, lingering: None, shut: false }
    }

    /// In the middle of one.
    pub(super) fn broken_off(reset: bool) -> Self {
        Closing { reset, lingering: None, shut: false }
    }
}

/// A response body on its way.
pub(super) struct Sending {
    pub(super) body: Outgoing,
    /// Whether the connection ends after it.
    pub(super) close: bool,
    /// Every piece is in the output.
    pub(super) complete: bool,
    /// Pieces in a row that came quickly, of a body that blocks.
    pub(super) quick: u32,
    /// What sends it, where it is a file and that can be had.
    pub(super) files: Option<Arc<dyn SendFile>>,
    pub(super) grace: Grace,
}
