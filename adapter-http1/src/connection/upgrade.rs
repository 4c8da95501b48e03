//! From HTTP to the application's own protocol: the connection's transport as a stream. \[UPG-06\], \[UPG-16\] to
//! \[UPG-19\], \[UPG-23a\]
//!
//! The application's tasks poll the transport themselves, straight into and out of their own buffers, and are woken by it. The
//! connection keeps the tether, and so stays counted until the application has dropped the stream; then it is closed
//! like any other.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use adapter_core::contain::catch;
use adapter_core::observe::ConnectionEnd;
use adapter_core::rules::request::{BodyLength, Facts};
use adapter_core::upgrade::{self, Handover, Offer, UpgradeError, Upgraded, switches};
use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use http::StatusCode;

use super::phase::{Closing, Flow, Phase};
use super::transport::Transport;
use super::{Connection, Shared};

/// Reads and writes that succeed in a row before others get their turn.
const AT_A_TIME: u32 = 128;

/// Puts the connection on offer where this request can be its last one. `None` for most.
#[inline]
pub(super) fn offer(handover: &mut Option<Handover>, facts: &Facts) -> Option<Offer> {
    // The new protocol begins where the request ends.
    if !(facts.upgrade || facts.is_connect) || facts.body != BodyLength::Sized(0) {
        return None;
    }
    let (ours, offer) = upgrade::channel();
    *handover = Some(ours);
    Some(offer)
}

/// Whether the response switches protocols; if not, the offer is withdrawn.
#[inline]
pub(super) fn decide(handover: &mut Option<Handover>, status: StatusCode, facts: &Facts) -> bool {
    if handover.is_none() || switches(status, facts) {
        return handover.is_some();
    }
    let refused = handover.take();
    let _ = catch("waker", || drop(refused));
    false
}

/// The connection has ended before it could be handed over.
pub(super) fn withdraw(handover: &mut Option<Handover>) {
    if let Some(handover) = handover.take() {
        let _ = catch("waker", || handover.fail(UpgradeError::Disconnected));
    }
}

impl<T: Transport> Connection<T> {
    /// Hands the transport over once the head is with the operating system. \[UPG-17\]
    pub(super) fn switching(&mut self) -> Flow {
        if let Some(flow) = self.flush() {
            return flow;
        }
        let Some(handover) = self.handover.take().filter(Handover::is_taken) else {
            self.phase = Phase::Closing(Box::new(Closing::orderly()));
            return Flow::Next;
        };
        // [UPG-16]
        let mut io = self.shared.io();
        let early = Bytes::copy_from_slice(io.input.bytes());
        io.input.clear();
        drop(io);
        self.template = None;
        let (stream, tether) = Upgraded::new(Socket { shared: self.shared.clone(), in_a_row: 0 }, early);
        self.phase = Phase::Taken(tether);
        let _ = catch("waker", || handover.complete(stream));
        Flow::Next
    }

    /// While the application has the transport. \[UPG-23a\] without a deadline.
    pub(super) fn taken(&mut self, cx: &mut Context<'_>) -> Flow {
        let Phase::Taken(tether) = &mut self.phase else { return Flow::Next };
        if Pin::new(tether).poll(cx).is_pending() {
            return Flow::Park(None);
        }
        // [UPG-19b], [DIS-01]
        self.shared.environ.disconnected.fire();
        self.shared.environ.ends(ConnectionEnd::Upgraded);
        self.phase = Phase::Closing(Box::new(Closing::orderly()));
        Flow::Next
    }
}

/// A connection as the application's stream. It closes nothing when it is dropped: the end of the tether does.
struct Socket<T: Transport> {
    shared: Arc<Shared<T>>,
    in_a_row: u32,
}

impl<T: Transport> Socket<T> {
    fn poll<V>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(&mut T, &mut Context<'_>) -> Poll<io::Result<V>>,
    ) -> Poll<io::Result<V>> {
        self.in_a_row += 1;
        if self.in_a_row > AT_A_TIME {
            self.in_a_row = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut io = self.shared.io();
        let polled = match &mut io.transport {
            Some(transport) => attempt(transport, cx),
            // [SHU-06]
            None => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        };
        drop(io);
        match &polled {
            Poll::Pending => self.in_a_row = 0,
            // [DIS-05] who sees the error sees the signal
            Poll::Ready(Err(_)) => _ = self.shared.environ.disconnected.fire(),
            Poll::Ready(Ok(_)) => {}
        }
        polled
    }
}

impl<T: Transport> AsyncRead for Socket<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let io = self.shared.io();
        if io.truncated {
            // Only the protocol itself knows whether that was all.
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        if buffer.is_empty() || io.at_end {
            return Poll::Ready(Ok(0));
        }
        if io.broken && io.transport.is_some() {
            // An operating system says it once.
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        drop(io);
        let polled = self.poll(cx, |transport, cx| transport.poll_read(cx, buffer));
        match polled {
            Poll::Ready(Ok(0)) => self.shared.io().at_end = true,
            Poll::Ready(Err(_)) => self.shared.io().broken = true,
            _ => {}
        }
        polled
    }
}

impl<T: Transport> AsyncWrite for Socket<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if parts.iter().all(|part| part.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        self.poll(cx, |transport, cx| transport.poll_write(cx, parts))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is gathered here; the transport may hold something.
        self.poll(cx, |transport, cx| {
            while ready!(transport.poll_flush(cx))? > 0 {}
            Poll::Ready(Ok(()))
        })
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, T::poll_shutdown)
    }
}
