//! tokio's sockets as the engine's.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use adapter_core::tls::Tls;
use adapter_core::{ListenAddr, ServerConfig};
use adapter_listen::{ListenSocket, Listener, UnixPath};
use hyper::rt::ReadBufCursor;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

use crate::engine::{Accept, Front, Transport};
use crate::host;

/// A listener of the current runtime.
pub(crate) struct Accepting {
    socket: Socket,
    addr: ListenAddr,
    tls: Option<Tls>,
    proxy: bool,
    _unlink: Option<UnixPath>,
}

enum Socket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

impl Accepting {
    /// As `config` has it.
    pub(crate) fn of(listener: Listener, config: &ServerConfig) -> io::Result<Self> {
        let tls = host::tls_of(&listener, config);
        Accepting::new(listener, tls)
    }

    /// Registers with the current runtime; the connections are under `tls`.
    pub(crate) fn new(listener: Listener, tls: Option<Tls>) -> io::Result<Self> {
        let proxy = listener.proxy();
        let (socket, addr, unlink) = listener.into_parts();
        let socket = match socket {
            ListenSocket::Tcp(listener) => Socket::Tcp(TcpListener::from_std(listener)?),
            #[cfg(unix)]
            ListenSocket::Unix(listener) => Socket::Unix(UnixListener::from_std(listener)?),
        };
        Ok(Accepting { socket, addr, tls, proxy, _unlink: unlink })
    }
}

impl Accept for Accepting {
    type Transport = Stream;

    async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Some(peer)))
            }
            #[cfg(unix)]
            Socket::Unix(listener) => Ok((Stream::Unix(listener.accept().await?.0), None)),
        }
    }

    fn accept_queued(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        // Past tokio, which may not have been told of them yet.
        match &self.socket {
            Socket::Tcp(listener) => {
                let (socket, peer) = SockRef::from(listener).accept()?;
                socket.set_nonblocking(true)?;
                socket.set_tcp_nodelay(true)?;
                Ok((Stream::Tcp(TcpStream::from_std(socket.into())?), peer.as_socket()))
            }
            #[cfg(unix)]
            Socket::Unix(listener) => {
                let (socket, _) = SockRef::from(listener).accept()?;
                socket.set_nonblocking(true)?;
                Ok((Stream::Unix(UnixStream::from_std(socket.into())?), None))
            }
        }
    }

    fn is_awaited(&self) -> bool {
        match &self.socket {
            Socket::Tcp(listener) => adapter_listen::is_awaited(listener),
            #[cfg(unix)]
            Socket::Unix(listener) => adapter_listen::is_awaited(listener),
        }
    }

    fn addr(&self) -> &ListenAddr {
        &self.addr
    }

    fn front(&self) -> Front<'_> {
        Front { tls: self.tls.as_ref(), proxy: self.proxy }
    }
}

/// A connected socket.
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// Runs the same code on whichever socket it is.
macro_rules! on {
    ($stream:expr, $socket:ident => $code:expr) => {
        match $stream {
            Stream::Tcp($socket) => $code,
            #[cfg(unix)]
            Stream::Unix($socket) => $code,
        }
    };
}

impl Transport for Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<usize>> {
        on!(self, socket => {
            let mut counted = Counted { socket: Pin::new(socket), count: 0 };
            let poll = hyper::rt::Read::poll_read(Pin::new(&mut TokioIo::new(&mut counted)), cx, buffer);
            poll.map_ok(|()| counted.count)
        })
    }

    fn poll_read_slice(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let poll = on!(self, socket => Pin::new(socket).poll_read(cx, &mut buffer));
        poll.map_ok(|()| buffer.filled().len())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on!(self, socket => Pin::new(socket).poll_write(cx, bytes))
    }

    fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        on!(self, socket => SockRef::from(&*socket).send(bytes))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, socket => Pin::new(socket).poll_shutdown(cx))
    }

    fn was_reset(&self) -> bool {
        let error = on!(self, socket => SockRef::from(socket).take_error());
        !matches!(error, Ok(None))
    }

    fn has_input(&self) -> bool {
        on!(self, socket => SockRef::from(socket).peek(&mut [MaybeUninit::uninit()])).is_ok_and(|count| count > 0)
    }

    fn limit_unsent(&self, limit: Duration) {
        on!(self, socket => adapter_listen::limit_unsent(socket, limit));
    }

    fn reset_on_close(&mut self) {
        match self {
            Stream::Tcp(socket) => {
                // It fails only for a socket that is closed already.
                let _ = SockRef::from(&*socket).set_linger(Some(Duration::ZERO));
            }
            #[cfg(unix)]
            Stream::Unix(_) => {}
        }
    }
}

/// Counts what is read: hyper's cursor does not tell, and 0 means the end.
struct Counted<'a, S> {
    socket: Pin<&'a mut S>,
    count: usize,
}

impl<S: AsyncRead> AsyncRead for Counted<'_, S> {
    #[inline]
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = self.socket.as_mut().poll_read(cx, buffer);
        self.count = buffer.filled().len() - before;
        poll
    }
}
