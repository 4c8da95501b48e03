//! The socket between hyper and the operating system.
//!
//! hyper holds a [`Handle`], the connection's supervisor the same [`Socket`]; both run in one task, so the lock is
//! never contended. hyper's writes are gathered and handed over when its poll returns ([`Socket::flush`]), at most
//! [`CORK`] bytes of them: pipelined responses leave together (6.6 times the requests/s, measured), a chunk never
//! waits for the application (\[BOD-04\]). While a request is answered hyper reads its body and nothing else, and the
//! supervisor watches for the client's end ([`Socket::poll_ahead`]); an end that hyper meets all the same is kept from it until the
//! response is out, because it would end the connection with it (\[DIS-04\]). What hyper reads passes through [`Inflow`].

mod socket;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use adapter_core::environ;
use adapter_core::server::Member;
use adapter_core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use adapter_core::sync::{Mutex, MutexGuard};
use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::socket::CORK;
pub(super) use self::socket::{Ahead, LINE, Socket};
use super::Engine;
use super::status::Status;
use super::switch::Switch;
use super::transport::Transport;
use super::upload::Upload;

/// What hyper, the requests and the supervisor of one connection share.
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) environ: Arc<environ::Connection>,
    pub(super) status: Status,
    /// Writes wait for [`Socket::flush`]. Not so after an upgrade, when nobody but the application polls the stream.
    pub(super) corked: AtomicBool,
    /// What to do once hyper is done: hand the connection over.
    switch: Mutex<Option<Box<Switch>>>,
    /// Wakes the connection's task: for whoever has a task or thread of its own.
    supervisor: Mutex<Option<Waker>>,
    /// The body of the request that is being answered. HTTP/1 only.
    upload: Mutex<Option<Arc<Upload>>>,
    socket: Mutex<Socket>,
}

impl Shared {
    pub(super) fn new(engine: Arc<Engine>, environ: Arc<environ::Connection>, io: Box<dyn Transport>) -> Arc<Self> {
        let status = Status::fresh(engine.clock.now());
        let socket = Socket::new(io);
        Arc::new(Shared {
            engine,
            environ,
            status,
            corked: AtomicBool::new(true),
            switch: Mutex::new(None),
            supervisor: Mutex::new(None),
            upload: Mutex::new(None),
            socket: Mutex::new(socket),
        })
    }

    pub(super) fn socket(&self) -> MutexGuard<'_, Socket> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads, and tells who wants to know it of the client's end.
    #[inline]
    fn reading<T>(&self, read: impl FnOnce(&mut Socket, &Status) -> T) -> T {
        let mut socket = self.socket();
        let read = read(&mut socket, &self.status);
        if std::mem::take(&mut socket.disconnects) {
            drop(socket);
            self.environ.disconnected.fire();
        }
        read
    }

    /// See [`Socket::poll_ahead`].
    pub(super) fn poll_ahead(&self, cx: &mut Context<'_>) -> Ahead {
        self.reading(|socket, status| socket.poll_ahead(status, cx))
    }

    /// The response under way is the last of HTTP here.
    pub(super) fn set_switch(&self, switch: Box<Switch>) {
        *self.switch.lock().unwrap_or_else(PoisonError::into_inner) = Some(switch);
    }

    pub(super) fn take_switch(&self) -> Option<Box<Switch>> {
        self.switch.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// `upload` is the body of the request that is being answered from now on.
    pub(super) fn set_upload(&self, upload: Arc<Upload>) {
        self.status.body_open.store(true, Relaxed);
        self.status.has_upload.store(true, Relaxed);
        *self.locked_upload() = Some(upload);
    }

    /// The body of the request that is being answered, unless it has been read to its end or taken away.
    pub(super) fn upload(&self) -> Option<Arc<Upload>> {
        if !self.status.has_upload.load(Relaxed) {
            return None;
        }
        self.locked_upload().clone()
    }

    /// Nothing more is to be read of `upload`.
    pub(super) fn forget_upload(&self, upload: &Arc<Upload>) {
        let mut current = self.locked_upload();
        // A body that outlives its request may be dropped when there is another one.
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, upload)) {
            *current = None;
            self.status.has_upload.store(false, Relaxed);
            self.status.body_open.store(false, Relaxed);
            self.status.body_waits.store(false, Relaxed);
        }
    }

    /// The application reads no more of `upload`; the connection's task decides what becomes of the rest.
    pub(super) fn leave_upload(&self, upload: &Arc<Upload>) {
        let is_current = self.locked_upload().as_ref().is_some_and(|current| Arc::ptr_eq(current, upload));
        if is_current {
            self.status.body_open.store(false, Relaxed);
            self.status.body_waits.store(false, Relaxed);
            self.wake_supervisor();
        }
    }

    fn locked_upload(&self) -> MutexGuard<'_, Option<Arc<Upload>>> {
        self.upload.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whom [`wake_supervisor`](Self::wake_supervisor) wakes.
    pub(super) fn set_supervisor(&self, waker: Option<Waker>) {
        let before = std::mem::replace(&mut *self.supervisor.lock().unwrap_or_else(PoisonError::into_inner), waker);
        // Not under the lock.
        drop(before);
    }

    /// Has the connection's task look again.
    #[cold]
    pub(super) fn wake_supervisor(&self) {
        let waker = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Hands what is gathered to the operating system, see [`Socket::poll_flush`]; requests whose responses are out end then.
    #[inline]
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = self.socket();
        let flushed = socket.poll_flush(&self.status, cx);
        if socket.has_undelivered() {
            // A turn begins before what happens in it.
            socket.delivered(self.engine.clock.now(), matches!(flushed, Poll::Ready(Ok(()))));
        }
        flushed
    }

    /// Whether every byte hyper wrote is with the operating system.
    pub(super) fn is_flushed(&self) -> bool {
        !self.status.is_write_blocked() && self.socket().is_empty()
    }
}

/// hyper's end of the socket.
pub(super) struct Handle(pub(super) Arc<Shared>);

impl hyper::rt::Read for Handle {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        self.0.reading(|socket, status| socket.poll_read(status, cx, buffer))
    }
}

impl hyper::rt::Write for Handle {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut socket = self.0.socket();
        let polled = socket.poll_write(&self.0.status, cx, bytes, CORK);
        if let Poll::Ready(Ok(count)) = polled {
            self.0.status.hyper_wrote(count);
        }
        // What could not be written is still hyper's.
        socket.hyper_waits = !matches!(polled, Poll::Ready(Ok(_)));
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.corked.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        self.0.socket().poll_flush(&self.0.status, cx)
    }

    /// The supervisor ends our direction, once it has looked at what hyper says of what it refuses.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// h2's end of the socket. As [`Handle`]: what it writes is gathered, and goes out at the end of the turn.
pub(super) struct FrameHandle(pub(super) Arc<Shared>);

impl AsyncRead for FrameHandle {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.reading(|socket, status| socket.poll_read_frames(status, cx, buffer))
    }
}

impl AsyncWrite for FrameHandle {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.socket().poll_write_frames(&self.0.status, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = self.0.socket();
        ready!(socket.poll_flush(&self.0.status, cx))?;
        socket.poll_shutdown_raw(cx)
    }
}

impl Member for Shared {
    fn idle_since(&self) -> Option<Instant> {
        self.status.idle_since().map(|since| self.engine.clock.instant(since))
    }

    fn make_room(&self) {
        self.status.unwanted.store(true, Relaxed);
        self.wake_supervisor();
    }
}
