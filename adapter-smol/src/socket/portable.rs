//! Sockets of async-io: kqueue on macOS and the BSDs, AFD on Windows, and epoll where this is tested on Linux.
//!
//! Each wait arms the socket for one event, which comes at once if there is something to tell. So nothing is lost that happens before
//! it, and a read that does not fill its buffer need not be followed by one in vain. Only a read tells the end of a stream, so
//! [`Socket::has_ended`] reads ahead. \[DIS-01\]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::pending;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use adapter_listen::ListenSocket;
use async_io::Async;
use hyper::rt::ReadBufCursor;
use socket2::SockRef;

/// Octets that are read ahead at most, and that a read for hyper takes at most.
const SPARE: usize = 16 * 1024;

thread_local! {
    /// What such reads read into: a buffer of hyper's may hold nothing yet, and would have to be written first.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SPARE]);
}

/// What a server's sockets belong to: async-io has them all.
#[derive(Debug)]
pub(crate) struct Watch(());

impl Watch {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Watch(())))
    }

    /// Never ends, and does nothing.
    pub(crate) async fn run(&self) -> io::Result<()> {
        pending().await
    }
}

/// A listener.
pub(crate) struct Listening {
    socket: Async<socket2::Socket>,
    tcp: bool,
}

impl Listening {
    /// Takes over a socket that does not block.
    pub(crate) fn new(socket: ListenSocket) -> io::Result<Self> {
        let (socket, tcp) = match socket {
            ListenSocket::Tcp(listener) => (listener.into(), true),
            #[cfg(unix)]
            ListenSocket::Unix(listener) => (listener.into(), false),
        };
        Ok(Listening { socket: Async::new_nonblocking(socket)?, tcp })
    }

    /// Waits for a client.
    pub(crate) async fn accept(&self, _: &Arc<Watch>) -> io::Result<(Socket, Option<SocketAddr>)> {
        let (socket, peer) = self.socket.read_with(socket2::Socket::accept).await?;
        self.admit(socket, peer.as_socket())
    }

    /// A client that waits, [`WouldBlock`](io::ErrorKind::WouldBlock) if none does.
    pub(crate) fn accept_queued(&self, _: &Arc<Watch>) -> io::Result<(Socket, Option<SocketAddr>)> {
        let (socket, peer) = self.socket.get_ref().accept()?;
        self.admit(socket, peer.as_socket())
    }

    fn admit(&self, socket: socket2::Socket, peer: Option<SocketAddr>) -> io::Result<(Socket, Option<SocketAddr>)> {
        if self.tcp {
            // It fails where the client has gone, which shows when it is read.
            let _ = socket.set_tcp_nodelay(true);
        }
        Ok((Socket { socket: Async::new(socket)?, may_read: true, may_write: true, ahead: Mutex::default() }, peer))
    }

    /// Whether a client waits.
    pub(crate) fn is_awaited(&self) -> bool {
        adapter_listen::is_awaited(self.socket.get_ref())
    }
}

/// A connected socket. Reads and writes are tried first; only one that finds nothing waits for an event.
pub(crate) struct Socket {
    socket: Async<socket2::Socket>,
    /// Whether a read is tried without waiting for an event.
    may_read: bool,
    /// Whether a write is.
    may_write: bool,
    ahead: Mutex<Ahead>,
}

/// What was read before it was asked for.
#[derive(Default)]
struct Ahead {
    octets: VecDeque<u8>,
    /// What comes behind them: the end, or an error.
    last: Option<io::Result<()>>,
}

impl Ahead {
    /// Reads until there is nothing, or as much as may be.
    fn fill(&mut self, mut socket: &socket2::Socket) {
        BUFFER.with_borrow_mut(|spare| {
            while self.last.is_none()
                && let Some(room) = spare.get_mut(self.octets.len()..).filter(|room| !room.is_empty())
            {
                match socket.read(room) {
                    Ok(0) => self.last = Some(Ok(())),
                    Ok(count) => self.octets.extend(room.get(..count).unwrap_or_default()),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                    Err(error) => self.last = Some(Err(error)),
                }
            }
        });
    }

    /// What is to be read before the socket is.
    fn take(&mut self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        if self.octets.is_empty() {
            return self.last.take().map(|last| last.map(|()| 0));
        }
        let count = self.octets.read(buffer);
        if self.octets.is_empty() {
            self.octets = VecDeque::new();
        }
        Some(count)
    }

    fn is_empty(&self) -> bool {
        self.octets.is_empty() && self.last.is_none()
    }
}

impl Socket {
    /// The socket, for its options.
    pub(crate) fn options(&self) -> SockRef<'_> {
        SockRef::from(self.socket.get_ref())
    }

    fn ahead(&mut self) -> &mut Ahead {
        self.ahead.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a read may find something.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.may_read && self.ahead().is_empty() {
            // An error shows when it is read.
            let _: io::Result<()> = ready!(self.socket.poll_readable(cx));
            self.may_read = true;
        }
        Poll::Ready(())
    }

    /// Whether the client's stream is known to have ended, with no more than [`SPARE`] octets unread.
    pub(crate) fn has_ended(&self) -> bool {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        ahead.fill(self.socket.get_ref());
        ahead.last.is_some()
    }

    /// Whether the client has reset the connection.
    pub(crate) fn was_reset(&self) -> bool {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(ahead.last, Some(Err(_))) || !matches!(self.options().take_error(), Ok(None))
    }

    /// Whether something can be read.
    pub(crate) fn has_input(&self) -> bool {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        !ahead.octets.is_empty() || self.options().peek(&mut [MaybeUninit::uninit()]).is_ok_and(|count| count > 0)
    }

    /// The next write is to try, whatever was told.
    pub(crate) fn expect_room(&mut self) {
        self.may_write = true;
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_readable(cx));
            if let Some(taken) = self.ahead().take(buffer) {
                return Poll::Ready(taken);
            }
            let read = self.socket.get_ref().read(buffer);
            if let Some(moved) = moved(read, buffer.len(), &mut self.may_read) {
                return Poll::Ready(moved);
            }
        }
    }

    /// As [`poll_read`](Self::poll_read), into a buffer of hyper's.
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<usize>> {
        BUFFER.with_borrow_mut(|spare| {
            let room = buffer.remaining().min(SPARE);
            let spare = spare.get_mut(..room).unwrap_or_default();
            let count = ready!(self.poll_read(cx, spare))?;
            buffer.put_slice(spare.get(..count).unwrap_or_default());
            Poll::Ready(Ok(count))
        })
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let most = parts.iter().map(|part| part.len()).sum();
        self.poll_attempt(cx, most, |mut socket| match parts {
            [only, ..] if only.len() == most => socket.write(only),
            _ => socket.write_vectored(parts),
        })
    }

    /// As [`poll_write`](Self::poll_write), of one piece.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_attempt(cx, bytes.len(), |mut socket| socket.write(bytes))
    }

    fn poll_attempt(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
        write: impl Fn(&socket2::Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if !self.may_write {
                // An error shows when it is written.
                let _: io::Result<()> = ready!(self.socket.poll_writable(cx));
                self.may_write = true;
            }
            if let Some(moved) = moved(write(self.socket.get_ref()), most, &mut self.may_write) {
                return Poll::Ready(moved);
            }
        }
    }

    /// Writes without waiting for an event.
    pub(crate) fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.get_ref().write(bytes)
    }

    /// Ends our direction.
    pub(crate) fn end(&self) -> io::Result<()> {
        match self.socket.get_ref().shutdown(Shutdown::Write) {
            // The client was faster.
            Err(error) if error.kind() != ErrorKind::NotConnected => Err(error),
            _ => Ok(()),
        }
    }
}

/// What an attempt to move up to `most` octets has come to; nothing, if it is to be made again. Notes whether the next `may` be made
/// without waiting: one that moves fewer has emptied the socket, or filled it.
fn moved(outcome: io::Result<usize>, most: usize, may: &mut bool) -> Option<io::Result<usize>> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::Interrupted => return None,
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            *may = false;
            return None;
        }
        Ok(count) => *may = count == most,
        Err(_) => {}
    }
    Some(outcome)
}
