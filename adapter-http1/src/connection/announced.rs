//! What a proxy says of its client in front of everything, TLS too: the header of the PROXY protocol. \[PRX-01\] to \[PRX-09\]
//!
//! Nothing is guessed: what does not begin with it is closed, and so is who may not say it. What was read behind it goes to TLS,
//! or is HTTP. Its time is that of the first head, from the accept on; that goes on behind it, and so does the time of the
//! handshake.

use std::task::{Context, Poll};

use adapter_core::observe::{ConnectionEnd, TimeLimit};

use super::Connection;
use super::phase::{Flow, Phase};
use super::transport::Transport;

/// Octets read at a time: a header, and what mostly comes with it.
const PIECE: usize = 2048;
/// Reads before others get their turn.
const READS: u32 = 16;

impl<T: Transport> Connection<T> {
    /// It was accepted on a listener with the PROXY protocol: begins with its header, from one of those who may
    /// [say](adapter_core::environ::Connection::expect_header) that. To be called before it is polled.
    #[must_use]
    pub fn behind_proxy(mut self) -> Self {
        let reader = self.shared.environ.expect_header().map(Box::new);
        if reader.is_none() {
            // At once, whatever it sends.
            self.deadline = Some(self.now);
        }
        self.phase = Phase::Announced(reader);
        self
    }

    /// Until the header is whole.
    // Not inlined: other connections would have the piece on their stack.
    #[inline(never)]
    pub(super) fn announced(&mut self, cx: &mut Context<'_>) -> Flow {
        let Connection { shared, phase, waiting, .. } = self;
        // [PRX-02]
        let Phase::Announced(Some(reader)) = phase else { return self.close_for(ConnectionEnd::Refused) };
        let mut io = shared.io();
        let Some(transport) = &mut io.transport else { return Flow::Closed };
        let mut piece = [0; PIECE];
        for _ in 0..READS {
            let count = match transport.poll_read_first(cx, &mut piece) {
                Poll::Pending => {
                    drop(io);
                    let limit = self.settings().timeouts.header_read;
                    return self.wait_in_front(limit, TimeLimit::HeaderRead);
                }
                Poll::Ready(Ok(count)) if count > 0 => count,
                Poll::Ready(_) => {
                    drop(io);
                    return self.close(false);
                }
            };
            match reader.receive(piece.get(..count).unwrap_or_default()) {
                Ok(None) => {}
                Ok(Some((header, behind))) => {
                    if !behind.is_empty() && !transport.begin_with(&behind) {
                        io.input.unread(&behind);
                        // [LIM-04b] it is answered if it is late
                        waiting.begun = true;
                    }
                    drop(io);
                    shared.environ.announce(header);
                    *phase = Phase::Opening;
                    return Flow::Next;
                }
                Err(error) => {
                    drop(io);
                    tracing::info!(target: "adapter", peer = shared.environ.told(), %error, "a connection is closed");
                    return self.close_for(ConnectionEnd::Refused);
                }
            }
        }
        Flow::Again
    }
}
