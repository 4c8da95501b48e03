//! What a connection needs of a socket.

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use adapter_core::tls::{TlsError, TlsInfo};

/// A connected byte stream. None of it may panic. Dropping it closes it.
///
/// What is pending wakes the task that polled last, one for reading and one for writing. An error, of whichever kind, ends the
/// connection. It is polled under the connection's lock and must not block, not even in a server with a thread for each connection:
/// what reads the body or the stream after an upgrade would wait for a write that waits for the client.
///
/// Three methods have to be written. The others have defaults that are right for a transport that reads ahead of nobody and
/// remembers nothing: where a thread or a loop reads ahead, [`was_reset`](Self::was_reset), [`has_ended`](Self::has_ended) and
/// [`has_input`](Self::has_input) are needed too, and where readiness is remembered, [`expect_room`](Self::expect_room).
pub trait Transport: Send + 'static {
    /// What comes in front of HTTP: polled until it is ready, before anything else. Default: a plain connection, which has nothing there.
    ///
    /// # Errors
    /// There will be no HTTP. [`poll_shutdown`](Self::poll_shutdown) tells the client why, and what it still sends is read away.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<TlsInfo>, TlsError>> {
        let _ = cx;
        Poll::Ready(Ok(None))
    }

    /// Reads what stands in front of all that, the header of the PROXY protocol, on a connection that begins with one. As
    /// [`poll_read`](Self::poll_read), which is the default: right for a transport that is not under TLS itself.
    fn poll_read_first(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_read(cx, buffer)
    }

    /// Takes what [`poll_read_first`](Self::poll_read_first) has read behind that header, if it is not HTTP but the beginning of
    /// what [`poll_open`](Self::poll_open) is about; says whether. Default: it is HTTP.
    fn begin_with(&mut self, octets: &[u8]) -> bool {
        let _ = octets;
        false
    }

    /// Reads into `buffer`, which is not empty, and says how many octets came; 0 is the end of the client's stream, and is not
    /// asked for again. [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) is an end, too, for HTTP; whoever has taken the connection over
    /// sees it as the error that it is.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Whether [`poll_read`](Self::poll_read) is worth an attempt: a cheap answer, where there is one. Pending as that is.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        Poll::Ready(())
    }

    /// Hands octets, not all of `parts` empty, to the operating system and says how many it took.
    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Hands on what [`poll_write`](Self::poll_write) took and the operating system did not, once, and says how many octets that took;
    /// 0: there is nothing. Asked where [`poll_open`](Self::poll_open) gave something. Default: what is taken is with the operating
    /// system.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let _ = cx;
        Poll::Ready(Ok(0))
    }

    /// Ends our half of the stream (FIN). Called after the last write; a client that is gone already is no error.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether the client has reset the connection, also where octets in front of that are unread (`SO_ERROR`, which
    /// `TcpStream::take_error` gives). `true` once. Asked every 100 ms where reading can't tell, because too much is unread.
    /// Default: never. \[DIS-01\]
    fn was_reset(&self) -> bool {
        false
    }

    /// Whether the client's stream is known to have ended, also behind octets that are unread. Asked as
    /// [`was_reset`](Self::was_reset) is. Default: not known.
    fn has_ended(&self) -> bool {
        false
    }

    /// The next [`poll_write`](Self::poll_write) is to try, though no event has said that there is room: an operating system may
    /// tell late of what it takes. Asked before a client is given up that seems to take nothing. Default: every write is tried.
    /// \[LIM-06\]
    fn expect_room(&mut self) {}

    /// Whether something that can be read has come, as the operating system knows and no event has told yet. Asked before an
    /// idle connection is closed that the client did not want closed. Default: nothing is known.
    fn has_input(&self) -> bool {
        false
    }

    /// A thread of the application's is about to run, or to wait, while there is output. `true` says that another thread will have
    /// it written by [`Handle::flush`](super::Handle::flush) if that takes long; else it is written first. Only asked where
    /// application code may block. Default: `false`. \[BOD-04\]
    fn hold(&mut self) -> bool {
        false
    }

    /// What blocks a thread until [`poll_read`](Self::poll_read) is worth another attempt, for blocking code that reads a request
    /// body. Default: there is none, and the waker that is polled with tells.
    fn waiter(&self) -> Option<Arc<dyn Wait>> {
        None
    }

    /// What hands a part of a file to the operating system without reading it first. Asked once for each body that is a file; used where
    /// application code may block, while nothing else is written. Default: there is no such thing, and files are read.
    fn file_sender(&self) -> Option<Arc<dyn SendFile>> {
        None
    }

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

    /// Makes the coming drop reset the connection (`SO_LINGER` of zero), so that the client can't take what it has for the whole.
    fn reset_on_close(&mut self);
}

/// Sends parts of files.
pub trait SendFile: Send + Sync {
    /// Hands octets of `file` from `position` on, at most `length` of them, to the operating system, and says how many it took; 0: the file
    /// ends there. Blocks as reading the file does, and does not wait for the client. Called without the connection's lock.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock): there is no room now, and a [`poll_write`](Transport::poll_write) has to be told so to be
    /// woken. Any other: this can't be had of that file, or the connection is broken; it is read and written then, which shows which.
    fn try_send_file(&self, file: &File, position: u64, length: u64) -> io::Result<usize>;
}

/// Blocks a thread until a transport can be read.
pub trait Wait: Send + Sync {
    /// Blocks until there may be something to read, the transport is closed, or `timeout` has passed. May come back too early.
    fn wait(&self, timeout: Option<Duration>);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every transport has to have.
    struct Bare;

    impl Transport for Bare {
        fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_write(&mut self, _: &mut Context<'_>, _: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn reset_on_close(&mut self) {}
    }

    /// A transport that does not know says nothing: what it said would keep a connection, or end it.
    #[test]
    fn by_default_nothing_is_known() {
        let mut bare = Bare;
        assert!(!bare.was_reset() && !bare.has_ended() && !bare.has_input());
        assert!(!bare.hold() && bare.waiter().is_none() && !bare.begin_with(b"x"));
    }
}
