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
use adapter_core::tls::{Tls, TlsError, TlsInfo};
use hyper::rt::{ReadBuf, ReadBufCursor};

/// A connected, non-blocking byte stream. Dropping it closes it. What is pending wakes the task that polled last; an error, of
/// whichever kind, ends the connection.
pub trait Transport: Send + Unpin + 'static {
    /// Whether there is something in front of HTTP ([`poll_open`](Self::poll_open)) and behind a write
    /// ([`poll_flush`](Self::poll_flush)). Asked once. Default: no.
    fn is_secured(&self) -> bool {
        false
    }

    /// What comes in front of HTTP: polled until it is ready, before anything else, and once more where the connection goes on as
    /// HTTP/2. Default: a plain connection, which has nothing there.
    ///
    /// # Errors
    /// There will be no HTTP. [`poll_shutdown`](Self::poll_shutdown) tells the client why, and what it still sends is read away.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<TlsInfo>, TlsError>> {
        let _ = cx;
        Poll::Ready(Ok(None))
    }

    /// Reads what stands in front of all that, the header of the PROXY protocol, on a connection that begins with one. As
    /// [`poll_read`](Self::poll_read), which is the default: right for a transport that is not under TLS itself.
    fn poll_read_first(&mut self, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<usize>> {
        self.poll_read(cx, buffer)
    }

    /// Takes what [`poll_read_first`](Self::poll_read_first) has read behind that header, the beginning of what
    /// [`poll_open`](Self::poll_open) is about. Called where it [is secured](Self::is_secured).
    fn begin_with(&mut self, octets: &[u8]) {
        let _ = octets;
    }

    /// Reads into `buffer` and says how many bytes came; 0 is the end of the client's stream.
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) is an end, too, for HTTP; whoever has taken the connection over sees it as the
    /// error that it is.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<usize>>;

    /// As [`poll_read`](Self::poll_read), into octets that are initialized: most reads are. Default: by that.
    fn poll_read_slice(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_read(cx, ReadBuf::new(buffer).unfilled())
    }

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

    /// The next [`poll_write`](Self::poll_write) or [`poll_flush`](Self::poll_flush) is to try, whatever events have told. Default: who
    /// wants that calls [`write_now`](Self::write_now).
    fn expect_room(&mut self) {}

    /// Hands on what [`poll_write`](Self::poll_write) took and the operating system did not, once, and says how many bytes that took;
    /// 0: there is nothing. Default: what is taken is with the operating system.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let _ = cx;
        Poll::Ready(Ok(0))
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

    /// What was written last is not whole, and the end is near: it must not look like an orderly one, where there is a way to tell
    /// (close_notify, RFC 8446 §6.1). Default: there is none.
    fn break_off(&mut self) {}

    /// A drop is coming without [`poll_shutdown`](Self::poll_shutdown), where nothing is under way: what is said at an orderly end is
    /// said as far as that goes without waiting. Default: nothing is.
    fn farewell(&mut self) {}

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

    /// The next connection that the operating system has completed already. Asked at the end of accepting, until there is none, since
    /// closing a listener resets them. Does not block.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock): there is none. Others end the asking.
    fn accept_queued(&self) -> io::Result<(Self::Transport, Option<SocketAddr>)>;

    /// Whether a client waits to be accepted. Asked where there is no room for one, to make some. Does not block.
    fn is_awaited(&self) -> bool;

    /// The address it listens on.
    fn addr(&self) -> &ListenAddr;

    /// What its connections begin with. Default: HTTP.
    fn front(&self) -> Front<'_> {
        Front::default()
    }
}

/// What the connections of a listener have in front of HTTP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Front<'a> {
    /// The TLS that they are under.
    pub tls: Option<&'a Tls>,
    /// Whether they begin with the header of the PROXY protocol. \[PRX-01\]
    pub proxy: bool,
}
