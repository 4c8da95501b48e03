//! Sockets as the engine's and as `adapter-http1`'s. Polled by the tasks of connections; woken by the server's [`Watch`].

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use adapter_core::ListenAddr;
use adapter_core::tls::Tls;
use adapter_http1::connection as http1;
use adapter_hyper::engine::{Accept, Front, Transport};
use adapter_listen::{Listener, UnixPath};
use hyper::rt::ReadBufCursor;

use crate::socket::{Listening, Socket, Watch};

/// A listener whose connections `watch` watches, and are under `tls`.
pub(crate) struct Accepting {
    socket: Listening,
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
        Ok(Accepting { socket: Listening::new(socket)?, addr, tls, proxy, watch, _unlink: unlink })
    }
}

impl Accept for Accepting {
    type Transport = Stream;

    async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        let (socket, peer) = self.socket.accept(&self.watch).await?;
        Ok((Stream(socket), peer))
    }

    fn accept_queued(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        let (socket, peer) = self.socket.accept_queued(&self.watch)?;
        Ok((Stream(socket), peer))
    }

    fn is_awaited(&self) -> bool {
        self.socket.is_awaited()
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
pub struct Stream(Socket);

/// For HTTP/1.1.
impl http1::Transport for Stream {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_readable(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.0.poll_read(cx, buffer)
    }

    fn has_ended(&self) -> bool {
        self.0.has_ended()
    }

    fn expect_room(&mut self) {
        self.0.expect_room();
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, parts)
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.end())
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
        self.0.poll_receive(cx, &mut buffer)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_send(cx, bytes)
    }

    fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_now(bytes)
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.end())
    }

    fn was_reset(&self) -> bool {
        self.0.was_reset()
    }

    fn has_input(&self) -> bool {
        self.0.has_input()
    }

    fn limit_unsent(&self, limit: Duration) {
        adapter_listen::limit_unsent(self.0.options(), limit);
    }

    fn reset_on_close(&mut self) {
        // It fails only for a socket that is closed already, or is no TCP socket.
        let _ = self.0.options().set_linger(Some(Duration::ZERO));
    }
}
