//! Sockets as the engine's. Polled by the tasks of connections; woken by the server's [`Watch`].

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use adapter_core::ListenAddr;
use adapter_core::tls::Tls;
use adapter_http1::connection as http1;
use adapter_hyper::engine::{Accept, Front, Transport};
use adapter_listen::{ListenSocket, Listener, UnixPath};
use async_io::Async;
use hyper::rt::ReadBufCursor;
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrAny, SocketFlags, acceptfrom_with, recv, send,
    sendmsg, shutdown,
};
use socket2::SockRef;

use crate::readiness::{Direction, Watch, Watched};
use crate::receive::receive;

/// A listener whose connections `watch` watches, and are under `tls`.
pub(crate) struct Accepting {
    socket: Async<OwnedFd>,
    tcp: bool,
    addr: ListenAddr,
    tls: Option<Tls>,
    proxy: bool,
    watch: Arc<Watch>,
    _unlink: Option<UnixPath>,
}

impl Accepting {
    pub(crate) fn new(listener: Listener, tls: Option<Tls>, watch: Arc<Watch>) -> io::Result<Self> {
        let proxy = listener.proxy();
        let (socket, addr, unlink) = listener.into_parts();
        let (socket, tcp) = match socket {
            ListenSocket::Tcp(listener) => (listener.into(), true),
            ListenSocket::Unix(listener) => (listener.into(), false),
        };
        Ok(Accepting { socket: Async::new_nonblocking(socket)?, tcp, addr, tls, proxy, watch, _unlink: unlink })
    }
}

/// Takes a connection out of the queue.
fn take(listener: &OwnedFd) -> io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    Ok(acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?)
}

impl Accepting {
    fn admit(&self, socket: OwnedFd, peer: Option<SocketAddrAny>) -> io::Result<(Stream, Option<SocketAddr>)> {
        if !self.tcp {
            return Ok((Stream::new(socket, &self.watch)?, None));
        }
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        Ok((Stream::new(socket, &self.watch)?, peer))
    }
}

impl Accept for Accepting {
    type Transport = Stream;

    async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        let (socket, peer) = self.socket.read_with(take).await?;
        self.admit(socket, peer)
    }

    fn accept_queued(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        let (socket, peer) = take(self.socket.get_ref())?;
        self.admit(socket, peer)
    }

    fn is_awaited(&self) -> bool {
        adapter_listen::is_awaited(self.socket.get_ref())
    }

    fn addr(&self) -> &ListenAddr {
        &self.addr
    }

    fn front(&self) -> Front<'_> {
        Front { tls: self.tls.as_ref(), proxy: self.proxy }
    }
}

/// A connected socket of a server that was [started](crate::start). Reads and writes are tried first; only one that finds nothing waits
/// for an event.
pub struct Stream {
    // Dropped first: closing it takes it out of the set.
    socket: OwnedFd,
    watched: Watched,
}

impl Stream {
    fn new(socket: OwnedFd, watch: &Arc<Watch>) -> io::Result<Self> {
        let watched = watch.add(&socket)?;
        Ok(Stream { socket, watched })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Ends our direction.
    fn end(&self) -> io::Result<()> {
        match shutdown(self.fd(), Shutdown::Write) {
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

/// For HTTP/1.1.
impl http1::Transport for Stream {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.watched.read().poll_news(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let most = buffer.len();
        poll_attempt(self.watched.read(), cx, most, || Ok(recv(&self.socket, &mut *buffer, RecvFlags::empty())?.0))
    }

    fn has_ended(&self) -> bool {
        self.watched.read().has_ended()
    }

    fn expect_room(&mut self) {
        self.watched.write().set_ready();
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let most = parts.iter().map(|part| part.len()).sum();
        poll_attempt(self.watched.write(), cx, most, || match parts {
            [only, rest @ ..] if only.len() == most || rest.is_empty() => send(self.fd(), only, SendFlags::NOSIGNAL),
            _ => sendmsg(self.fd(), parts, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL),
        })
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.end())
    }

    fn was_reset(&self) -> bool {
        Transport::was_reset(self)
    }

    fn has_input(&self) -> bool {
        Transport::has_input(self)
    }

    fn limit_unsent(&self, limit: Duration) {
        Transport::limit_unsent(self, limit);
    }

    fn reset_on_close(&mut self) {
        Transport::reset_on_close(self);
    }
}

/// For HTTP/2.
impl Transport for Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<usize>> {
        let room = buffer.remaining();
        poll_attempt(self.watched.read(), cx, room, || receive(self.fd(), &mut buffer))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        poll_attempt(self.watched.write(), cx, bytes.len(), || send(self.fd(), bytes, SendFlags::NOSIGNAL))
    }

    fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.fd(), bytes, SendFlags::NOSIGNAL)?)
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.end())
    }

    fn was_reset(&self) -> bool {
        !matches!(SockRef::from(&self.socket).take_error(), Ok(None))
    }

    fn has_input(&self) -> bool {
        SockRef::from(&self.socket).peek(&mut [MaybeUninit::uninit()]).is_ok_and(|count| count > 0)
    }

    fn limit_unsent(&self, limit: Duration) {
        adapter_listen::limit_unsent(&self.socket, limit);
    }

    fn reset_on_close(&mut self) {
        // It fails only for a socket that is closed already, or is no TCP socket.
        let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }
}
