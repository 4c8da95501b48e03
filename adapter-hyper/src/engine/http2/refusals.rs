//! Requests that h2 refuses by itself, for who keeps a log. \[OBS-07\]
//!
//! It tells nobody. But the heads that came are counted below it, and so are the streams that it resets for what their client has sent:
//! a head that it did not give out, and a stream that it has reset so, are a request that was malformed. One that it refuses for want of
//! room (REFUSED_STREAM) may be tried again and is none, and no more is one behind a GOAWAY. Method and target are known to h2 alone.

use adapter_core::refused::Asked;
use adapter_core::rules::Rejection;
use http::StatusCode;

use crate::engine::io::Shared;

const TOO_LARGE: Rejection =
    Rejection::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "LIM-01", "the request head is too large");
const MALFORMED: Rejection = Rejection::new(StatusCode::BAD_REQUEST, "ERR-05", "the request is malformed");
const LAST: Rejection = Rejection::new(StatusCode::BAD_REQUEST, "ERR-05", "the request ends its connection");

/// What came and was not told yet.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Heads that h2 can give out.
    heads: usize,
    /// Those that it has.
    given: usize,
    /// Streams that it has reset. Some of them were given out, and turned out later to be malformed.
    malformed: usize,
}

impl Refusals {
    /// h2 has given out one.
    pub(super) fn is_given(&mut self) {
        self.given += 1;
    }

    /// Tells what h2 has refused. It has nothing more to give out.
    pub(super) fn tell(&mut self, shared: &Shared) {
        self.count(shared);
        // Where it can't write it reads no further, and has not reset everything that it will.
        if self.heads == self.given || !shared.status.is_write_blocked() {
            self.settle(shared);
        }
    }

    /// The connection has ended.
    pub(super) fn tell_at_end(&mut self, shared: &Shared, ended: &Result<(), h2::Error>) {
        self.count(shared);
        let is_left = self.settle(shared) || shared.socket().inflow.is_in_head();
        // RFC 9113 §5.4.1: by h2, that is, and most likely for what came last.
        let Some(error) = ended.as_ref().err().filter(|error| error.is_library() && error.is_go_away()) else { return };
        if is_left {
            shared.environ.refused_without_body(&LAST, Asked::Nothing);
        } else {
            let peer = shared.environ.told();
            tracing::info!(target: "adapter", peer, %error, "a client breaks HTTP/2; closed");
        }
    }

    fn count(&mut self, shared: &Shared) {
        let mut socket = shared.socket();
        let heads = socket.inflow.take_heads();
        self.heads += heads.whole;
        self.malformed += socket.take_malformed();
        drop(socket);
        for _ in 0..heads.too_large {
            shared.environ.refused_without_body(&TOO_LARGE, Asked::Nothing);
        }
    }

    /// Everything is counted. Says whether there are heads that were neither given out nor reset.
    fn settle(&mut self, shared: &Shared) -> bool {
        let Refusals { heads, given, malformed } = std::mem::take(self);
        let missing = heads.saturating_sub(given);
        let refused = missing.min(malformed);
        for _ in 0..refused {
            shared.environ.refused_without_body(&MALFORMED, Asked::Nothing);
        }
        missing > refused
    }
}
