//! What the engine needs of a runtime's socket and listener.
//!
//! Implemented once per runtime. None of it may block or panic. A socket is polled by one task at a time: its connection's, and
//! after an upgrade the application's.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use adapter_core::ListenAddr;
use hyper::rt::ReadBufCursor;

/// A connected, non-blocking byte stream. Dropping it closes it. What is pending wakes the task that polled last; an error, of
/// whichever kind, ends the connection.
pub trait Transport: Send + Unpin + 'static {
    /// Reads into `buffer` and says how many bytes came; 0 is the end of the client's stream.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<usize>>;

    /// Hands bytes, never none, to the operating system and says how many it took.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// [`poll_write`](Self::poll_write) without waiting for an event: an operating system may tell late of what a client takes.
    /// Asked before one is given up that seems to take nothing. \[LIM-06\]
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no room, or this can't be had.
    fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = bytes;
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Ends our half of the stream (FIN). Called after the last write; a client that is gone already is no error.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether the client has reset the connection, also where bytes in front of that are unread. `true` once. Asked where
    /// reading can't tell, because too much is read ahead.
    fn was_reset(&self) -> bool;

    /// Whether something that can be read has come, as the operating system knows and no event has told yet. Asked before an
    /// idle connection is closed to make room.
    fn has_input(&self) -> bool;

    /// A drop is coming that is not the client's doing: what the operating system still holds for the client is to be thrown
    /// away once it has taken nothing of it for `limit`. Does nothing where that can't be had. \[LIM-06\]
    fn limit_unsent(&self, limit: Duration) {
        let _ = limit;
    }

    /// Makes the coming drop reset the connection, so that the client can't take what it has for the whole.
    fn reset_on_close(&mut self);
}

/// A listening socket of a runtime.
pub trait Accept: Send + 'static {
    /// Its connections.
    type Transport: Transport;

    /// The next connection and its peer's address (none for Unix-domain sockets). Awaited by [`accept`](super::accept()) whenever
    /// there is room for one. Cancel safe.
    ///
    /// # Errors
    /// Of the operating system; they never end the server (\[ERR-06\]).
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Transport, Option<SocketAddr>)>> + Send;

    /// The address it listens on.
    fn addr(&self) -> &ListenAddr;
}
