//! Sockets by the system calls themselves, watched by a set of our own. Linux only.

mod readiness;
mod receive;

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use adapter_listen::ListenSocket;
use async_io::Async;
use hyper::rt::ReadBufCursor;
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrAny, SocketFlags, acceptfrom_with, recv, send,
    sendmsg, shutdown,
};
use socket2::SockRef;

pub(crate) use self::readiness::Watch;
use self::readiness::{Direction, Watched};
use self::receive::receive;

/// A listener.
pub(crate) struct Listening {
    socket: Async<OwnedFd>,
    tcp: bool,
}

/// Takes a connection out of the queue.
fn take(listener: &OwnedFd) -> io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    Ok(acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?)
}

impl Listening {
    /// Takes over a socket that does not block.
    pub(crate) fn new(socket: ListenSocket) -> io::Result<Self> {
        let (socket, tcp) = match socket {
            ListenSocket::Tcp(listener) => (listener.into(), true),
            ListenSocket::Unix(listener) => (listener.into(), false),
        };
        Ok(Listening { socket: Async::new_nonblocking(socket)?, tcp })
    }

    /// Waits for a client; `watch` watches its socket.
    pub(crate) async fn accept(&self, watch: &Arc<Watch>) -> io::Result<(Socket, Option<SocketAddr>)> {
        let (socket, peer) = self.socket.read_with(take).await?;
        self.admit(socket, peer, watch)
    }

    /// A client that waits, [`WouldBlock`](io::ErrorKind::WouldBlock) if none does.
    pub(crate) fn accept_queued(&self, watch: &Arc<Watch>) -> io::Result<(Socket, Option<SocketAddr>)> {
        let (socket, peer) = take(self.socket.get_ref())?;
        self.admit(socket, peer, watch)
    }

    fn admit(
        &self,
        socket: OwnedFd,
        peer: Option<SocketAddrAny>,
        watch: &Arc<Watch>,
    ) -> io::Result<(Socket, Option<SocketAddr>)> {
        if !self.tcp {
            return Ok((Socket::new(socket, watch)?, None));
        }
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        Ok((Socket::new(socket, watch)?, peer))
    }

    /// Whether a client waits.
    pub(crate) fn is_awaited(&self) -> bool {
        adapter_listen::is_awaited(self.socket.get_ref())
    }
}

/// A connected socket. Reads and writes are tried first; only one that finds nothing waits for an event.
pub(crate) struct Socket {
    // Dropped first: closing it takes it out of the set.
    socket: OwnedFd,
    watched: Watched,
}

impl Socket {
    fn new(socket: OwnedFd, watch: &Arc<Watch>) -> io::Result<Self> {
        let watched = watch.add(&socket)?;
        Ok(Socket { socket, watched })
    }

    /// The socket, for its options.
    pub(crate) fn options(&self) -> SockRef<'_> {
        SockRef::from(&self.socket)
    }

    /// Whether a read may find something.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.watched.read().poll_news(cx)
    }

    /// Whether the client's stream is known to have ended, read or unread.
    pub(crate) fn has_ended(&self) -> bool {
        self.watched.read().has_ended()
    }

    /// Whether the client has reset the connection.
    pub(crate) fn was_reset(&self) -> bool {
        !matches!(self.options().take_error(), Ok(None))
    }

    /// Whether something can be read.
    pub(crate) fn has_input(&self) -> bool {
        self.options().peek(&mut [MaybeUninit::uninit()]).is_ok_and(|count| count > 0)
    }

    /// The next write is to try, whatever was told.
    pub(crate) fn expect_room(&mut self) {
        self.watched.write().set_ready();
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let most = buffer.len();
        poll_attempt(self.watched.read(), cx, most, || Ok(recv(&self.socket, &mut *buffer, RecvFlags::empty())?.0))
    }

    /// As [`poll_read`](Self::poll_read), into a buffer of hyper's.
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<usize>> {
        let room = buffer.remaining();
        poll_attempt(self.watched.read(), cx, room, || receive(self.socket.as_fd(), buffer))
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let most = parts.iter().map(|part| part.len()).sum();
        poll_attempt(self.watched.write(), cx, most, || match parts {
            [only, rest @ ..] if only.len() == most || rest.is_empty() => send(&self.socket, only, SendFlags::NOSIGNAL),
            _ => sendmsg(&self.socket, parts, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL),
        })
    }

    /// As [`poll_write`](Self::poll_write), of one piece.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        poll_attempt(self.watched.write(), cx, bytes.len(), || send(&self.socket, bytes, SendFlags::NOSIGNAL))
    }

    /// Writes without waiting for an event.
    pub(crate) fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(&self.socket, bytes, SendFlags::NOSIGNAL)?)
    }

    /// Ends our direction.
    pub(crate) fn end(&self) -> io::Result<()> {
        match shutdown(&self.socket, Shutdown::Write) {
            // The client was faster.
            Ok(()) | Err(Errno::NOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Attempts something that moves up to `most` octets, once it may succeed in `direction`. One that moves fewer has emptied
/// the socket, or filled it: the next one waits for an event, without asking in vain.
fn poll_attempt(
    direction: &Direction,
    cx: &mut Context<'_>,
    most: usize,
    mut attempt: impl FnMut() -> Result<usize, Errno>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(direction.poll_ready(cx));
        match attempt() {
            Ok(count) => {
                if count == most {
                    direction.set_ready();
                }
                return Poll::Ready(Ok(count));
            }
            Err(Errno::AGAIN) => {}
            Err(Errno::INTR) => direction.set_ready(),
            Err(error) => return Poll::Ready(Err(error.into())),
        }
    }
}
