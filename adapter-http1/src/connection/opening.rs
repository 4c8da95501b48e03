//! What comes in front of HTTP: the handshake of TLS. \[TLS-03\]
//!
//! It has a deadline of its own, from the accept on; that of the first head begins behind it. By ALPN it says which HTTP follows, so
//! nothing is guessed from what the client sends (RFC 9113 §3.3).

use std::task::{Context, Poll};
use std::time::Duration;

use adapter_core::observe::{ConnectionEnd, TimeLimit};
use adapter_core::server::SPARED;
use adapter_core::tls::TlsError;

use super::Connection;
use super::phase::{Closing, Flow, Phase};
use super::transport::Transport;

impl<T: Transport> Connection<T> {
    /// Until the transport is open; most are at once.
    pub(super) fn opening(&mut self, cx: &mut Context<'_>) -> Flow {
        let mut io = self.shared.io();
        let Some(transport) = &mut io.transport else { return Flow::Closed };
        let polled = transport.poll_open(cx);
        io.may_hold = !matches!(polled, Poll::Ready(Ok(None)));
        drop(io);
        match polled {
            Poll::Ready(Ok(None)) => self.phase = Phase::Head,
            Poll::Ready(Ok(Some(tls))) => {
                let is_http2 = tls.alpn.as_deref() == Some(b"h2");
                self.shared.environ.secure(tls);
                self.waiting.since = Some(self.now);
                self.waiting.may_be_http2 = false;
                self.phase = Phase::Head;
                if is_http2 && self.settings().http2 {
                    return Flow::Preface;
                }
            }
            Poll::Ready(Err(error)) => {
                self.shared.environ.handshake_failed(&error);
                // The client is told why, and can read it.
                self.phase = Phase::Closing(Box::new(Closing::orderly()));
            }
            Poll::Pending => {
                let limit = self.settings().timeouts.tls_handshake;
                return self.wait_in_front(limit, TimeLimit::TlsHandshake);
            }
        }
        Flow::Next
    }

    /// What `kind` is the limit of comes in front of HTTP, and is not whole: until when, from the accept on.
    pub(super) fn wait_in_front(&mut self, limit: Option<Duration>, kind: TimeLimit) -> Flow {
        let since = *self.waiting.since.get_or_insert(self.now);
        // [SHU-04] it has asked for nothing
        if self.is_stopping() {
            let until = since + SPARED;
            return if self.now < until { Flow::Park(Some(until)) } else { self.close_for(ConnectionEnd::Drained) };
        }
        let deadline = limit.and_then(|limit| since.checked_add(limit));
        if deadline.is_some_and(|deadline| self.now >= deadline) {
            let environ = &self.shared.environ;
            environ.timed_out(kind);
            if kind == TimeLimit::TlsHandshake {
                environ.handshake_failed(&TlsError::new("[TLS-03] it takes too long"));
            } else {
                let peer = environ.told();
                tracing::info!(target: "adapter", peer, "[PRX-09] the header of the PROXY protocol takes too long; closed");
            }
            self.shared.limit_unsent(&self.shared.io());
            return self.close_for(ConnectionEnd::Late);
        }
        if self.has_to_make_room() {
            tracing::debug!(target: "adapter", "[LIM-07] who has not asked for anything makes room for another");
            return self.close_for(ConnectionEnd::MadeRoom);
        }
        Flow::Park(deadline)
    }
}
