//! From hyper's upgrade to the interface's: the connection of HTTP/1 becomes the application's.
//!
//! The supervisor hands the socket over once the head is with the operating system and keeps the tether: from
//! then on only the application polls the socket, and the supervisor waits for its end or for the force.
//!
//! \[UPG-16\] to \[UPG-19\], \[UPG-23a\]

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use adapter_core::upgrade::{Tether, UpgradeError, Upgraded};
use futures_io::{AsyncRead, AsyncWrite};

use super::io::{Handle, Shared};
use super::switch::Switch;

impl Switch {
    /// HTTP/1: the head is sent and hyper is done; the socket is the application's. `None` if nobody took it.
    pub(super) fn complete(mut self, shared: &Arc<Shared>, cx: &mut Context<'_>) -> Option<Tether> {
        // hyper has answered before its connection ended.
        let Poll::Ready(Ok(upgraded)) = Pin::new(&mut self.on).poll(cx) else {
            self.handover.fail(UpgradeError::Disconnected);
            return None;
        };
        let parts = upgraded.downcast::<Handle>().ok()?;
        if !self.handover.is_taken() {
            return None;
        }
        shared.corked.store(false, Relaxed);
        // [UPG-16] what hyper has read beyond the request comes first
        let (stream, tether) = Upgraded::new(Direct(shared.clone()), parts.read_buf);
        self.handover.complete(stream);
        Some(tether)
    }
}

/// The socket of an HTTP/1 connection, without hyper.
struct Direct(Arc<Shared>);

impl Direct {
    /// \[DIS-01\] an error means that the client is gone. Not under the socket's lock: who is woken may use it.
    fn tell<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(_)) = &polled {
            self.0.environ.disconnected.fire();
        }
        polled
    }
}

impl AsyncRead for Direct {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let polled = self.0.socket().poll_read_taken(cx, buffer);
        self.tell(polled)
    }
}

impl AsyncWrite for Direct {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = self.0.socket().poll_write_raw(cx, bytes);
        self.tell(polled)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is gathered here; the transport may hold something.
        let polled = self.0.socket().poll_flush_raw(cx);
        self.tell(polled)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.0.socket().poll_shutdown_raw(cx);
        self.tell(polled)
    }
}
