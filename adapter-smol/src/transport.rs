//! Sockets as the engine's. Polled by the tasks of connections; woken by the server's [`Watch`].

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use adapter_core::ListenAddr;
use adapter_hyper::engine::{Accept, Transport};
use adapter_listen::{ListenSocket, Listener, UnixPath};
use async_io::Async;
use hyper::rt::ReadBufCursor;
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, SocketFlags, acceptfrom_with, send, shutdown};
use socket2::SockRef;

use crate::readiness::{Watch, Watched};
use crate::receive::receive;

/// A listener whose connections `watch` watches.
pub(crate) struct Accepting {
    socket: Async<OwnedFd>,
    tcp: bool,
    addr: ListenAddr,
    watch: Arc<Watch>,
    _unlink: Option<UnixPath>,
}

impl Accepting {
    pub(crate) fn new(listener: Listener, watch: Arc<Watch>) -> io::Result<Self> {
        let (socket, addr, unlink) = listener.into_parts();
        let (socket, tcp) = match socket {
            ListenSocket::Tcp(listener) => (listener.into(), true),
            ListenSocket::Unix(listener) => (listener.into(), false),
        };
        Ok(Accepting { socket: Async::new_nonblocking(socket)?, tcp, addr, watch, _unlink: unlink })
    }
}

impl Accept for Accepting {
    type Transport = Stream;

    async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        let accept = |socket: &OwnedFd| Ok(acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?);
        let (socket, peer) = self.socket.read_with(accept).await?;
        if !self.tcp {
            return Ok((Stream::new(socket, &self.watch)?, None));
        }
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        Ok((Stream::new(socket, &self.watch)?, peer))
    }

    fn addr(&self) -> &ListenAddr {
        &self.addr
    }
}

/// A connected socket. Reads and writes are tried first; only one that finds nothing waits for an event.
pub(crate) struct Stream {
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
}

impl Transport for Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<usize>> {
        let room = buffer.remaining();
        loop {
            ready!(self.watched.read().poll_ready(cx));
            match receive(self.fd(), &mut buffer) {
                Ok(count) => {
                    // A short read has emptied the socket: the next one waits for an event, without asking in vain.
                    if count == room {
                        self.watched.read().set_ready();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(Errno::AGAIN) => {}
                Err(Errno::INTR) => self.watched.read().set_ready(),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.watched.write().poll_ready(cx));
            match send(self.fd(), bytes, SendFlags::NOSIGNAL) {
                Ok(count) => {
                    if count == bytes.len() {
                        self.watched.write().set_ready();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(Errno::AGAIN) => {}
                Err(Errno::INTR) => self.watched.write().set_ready(),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match shutdown(self.fd(), Shutdown::Write) {
            // The client was faster.
            Ok(()) | Err(Errno::NOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        })
    }

    fn was_reset(&self) -> bool {
        !matches!(SockRef::from(&self.socket).take_error(), Ok(None))
    }

    fn has_input(&self) -> bool {
        SockRef::from(&self.socket).peek(&mut [MaybeUninit::uninit()]).is_ok_and(|count| count > 0)
    }

    fn limit_unsent(&self, limit: Duration) {
        // A Unix-domain socket has no such thing, and needs none.
        let _ = SockRef::from(&self.socket).set_tcp_user_timeout(Some(limit));
    }

    fn reset_on_close(&mut self) {
        // It fails only for a socket that is closed already, or is no TCP socket.
        let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }
}
