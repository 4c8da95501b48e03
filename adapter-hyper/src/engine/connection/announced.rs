//! What a proxy says of its client in front of everything, TLS too: the header of the PROXY protocol. \[PRX-01\] to \[PRX-09\]
//!
//! Nothing is guessed: what does not begin with it is closed, and so is who may not say it. What was read behind it goes to TLS,
//! or is HTTP. Its time is that of the first head, from the accept on.

use std::task::{Context, Poll, ready};

use adapter_core::observe::ConnectionEnd;

use super::{Connection, Protocol};

/// Octets read at a time: a header, and what mostly comes with it.
const PIECE: usize = 2048;
/// Reads before others get their turn.
const READS: u32 = 16;

impl Connection {
    /// It was accepted on a listener with the PROXY protocol: begins with its header, from one of those who may
    /// [say](adapter_core::environ::Connection::expect_header) that. To be called before it is polled.
    pub fn behind_proxy(mut self) -> Self {
        self.protocol = Protocol::Announced(self.shared.environ.expect_header().map(Box::new));
        self
    }

    /// Until the header is whole.
    // Not inlined: other connections would have the piece on their stack.
    #[inline(never)]
    pub(super) fn poll_announced(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // [PRX-02]
        let Protocol::Announced(Some(reader)) = &mut self.protocol else {
            self.shared.environ.ends(ConnectionEnd::Refused);
            return Poll::Ready(());
        };
        let mut piece = [0; PIECE];
        for _ in 0..READS {
            let count = match ready!(self.shared.socket().poll_read_first(cx, &mut piece)) {
                Ok(count) if count > 0 => count,
                _ => return Poll::Ready(()),
            };
            match reader.receive(piece.get(..count).unwrap_or_default()) {
                Ok(None) => {}
                Ok(Some((header, behind))) => {
                    self.shared.environ.announce(header);
                    self.protocol = self.first(&behind);
                    return self.poll_protocol(cx);
                }
                Err(error) => {
                    let peer = self.shared.environ.told();
                    tracing::info!(target: "adapter", peer, %error, "a connection is closed");
                    self.shared.environ.ends(ConnectionEnd::Refused);
                    return Poll::Ready(());
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
