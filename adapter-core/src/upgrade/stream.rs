//! The stream itself, shared between the application, which uses it, and the server, which may take it back.
//!
//! Polled by whoever holds a half; the tether's holder is woken when the last half is dropped, and wakes pending
//! readers and writers when it severs the stream. \[UPG-16\], \[UPG-17\], \[UPG-19b\]

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};

use super::Blocking;
use crate::observe::{Observer, Observers};
use crate::sync::{Mutex, MutexGuard};

/// A server's socket.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

struct Shared(Mutex<State>);

struct State {
    /// `None` once either side has let go.
    io: Option<Box<dyn Io>>,
    /// Octets that came right behind the request. \[UPG-16\]
    early: Bytes,
    /// Who waits for the socket, to be woken if it is taken away.
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The application has dropped the stream.
    released: bool,
    observed: Option<Observed>,
    tether: Option<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        let state = &mut *state;
        let Some(io) = &mut state.io else { return Poll::Ready(Err(severed())) };
        if !state.early.is_empty() {
            let count = state.early.len().min(buffer.len());
            // Nothing is held on to once all of it was read.
            buffer[..count].copy_from_slice(&state.early.split_to(count));
            return Poll::Ready(Ok(count));
        }
        let poll = Pin::new(io).poll_read(cx, buffer);
        remember(&mut state.reader, cx, poll.is_pending());
        poll
    }

    /// Runs a poll of the writing side.
    fn poll_writer<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut (dyn Io + 'static)>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut state = self.lock();
        let Some(io) = &mut state.io else { return Poll::Ready(Err(severed())) };
        let polled = poll(Pin::new(&mut **io), cx);
        remember(&mut state.writer, cx, polled.is_pending());
        polled
    }
}

/// Keeps the waker of a side that waits.
fn remember(slot: &mut Option<Waker>, cx: &mut Context<'_>, waits: bool) {
    if waits && !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *slot = Some(cx.waker().clone());
    }
}

fn severed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the server has stopped and closed the connection")
}

/// Tells that it is over, without the lock.
struct Observed(Observers);

impl Drop for Observed {
    fn drop(&mut self) {
        self.0.tell(Observer::upgrade_ended);
    }
}

/// The application's hold on the stream; the last half dropped lets it go.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.released = true;
        let (io, tether, observed) = (state.io.take(), state.tether.take(), state.observed.take());
        drop(state);
        drop(observed);
        // [UPG-19b] the socket closes here
        drop(io);
        if let Some(tether) = tether {
            tether.wake();
        }
    }
}

/// A connection that is the application's: octets both ways, in order, and nothing of the server's between.
///
/// Reading gives 0 bytes at the end of the client's stream, which need not be the end of the connection: the client may
/// still read. [`close`](AsyncWrite::poll_close) ends our half the same way. Dropping the stream closes the connection;
/// what was written is handed to the operating system first, as far as [`poll_flush`](AsyncWrite::poll_flush) was
/// awaited.
///
/// Reads and writes fail once the client is gone, and with [`io::ErrorKind::ConnectionAborted`] once the server's
/// shutdown deadline has closed the connection.
pub struct Upgraded(Arc<Owner>);

impl Upgraded {
    /// A stream over `socket` that begins with `already_read`, and what the server keeps of it. For servers.
    pub fn new(
        socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        already_read: impl Into<Bytes>,
    ) -> (Upgraded, Tether) {
        let shared = Arc::new(Shared(Mutex::new(State {
            io: Some(Box::new(socket)),
            early: already_read.into(),
            reader: None,
            writer: None,
            released: false,
            observed: None,
            tether: None,
        })));
        (Upgraded(Arc::new(Owner(shared.clone()))), Tether(shared))
    }

    /// Tells `observers` that the application has it, and when that is over. \[OBS-08\]
    pub(super) fn observed_by(&self, observers: Observers) {
        observers.tell(Observer::upgraded);
        self.0.0.lock().observed = Some(Observed(observers));
    }

    /// Two halves that can be used by two tasks or, with [`ReadHalf::into_blocking`], two threads. The connection is
    /// closed when both are dropped.
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        (ReadHalf(self.0.clone()), WriteHalf(self.0))
    }

    /// The same stream as [`std::io::Read`] and [`std::io::Write`]. A call blocks its thread until the socket is ready.
    pub fn into_blocking(self) -> Blocking<Upgraded> {
        Blocking::new(self)
    }
}

/// The reading half of an [`Upgraded`].
pub struct ReadHalf(Arc<Owner>);

impl ReadHalf {
    /// The same half as [`std::io::Read`].
    pub fn into_blocking(self) -> Blocking<ReadHalf> {
        Blocking::new(self)
    }
}

/// The writing half of an [`Upgraded`].
pub struct WriteHalf(Arc<Owner>);

impl WriteHalf {
    /// The same half as [`std::io::Write`].
    pub fn into_blocking(self) -> Blocking<WriteHalf> {
        Blocking::new(self)
    }
}

macro_rules! reads {
    ($half:ty) => {
        impl AsyncRead for $half {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
                self.0.0.poll_read(cx, buffer)
            }
        }
    };
}

macro_rules! writes {
    ($half:ty) => {
        impl AsyncWrite for $half {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                self.0.0.poll_writer(cx, |io, cx| io.poll_write(cx, bytes))
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                parts: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.0.0.poll_writer(cx, |io, cx| io.poll_write_vectored(cx, parts))
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.0.0.poll_writer(cx, |io, cx| io.poll_flush(cx))
            }

            /// Ends our half of the stream; the client's goes on.
            fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.0.0.poll_writer(cx, |io, cx| io.poll_close(cx))
            }
        }
    };
}

reads!(Upgraded);
writes!(Upgraded);
reads!(ReadHalf);
writes!(WriteHalf);

/// What the server keeps of a stream it handed over: a future that is ready when the application has dropped it.
///
/// Dropping it before takes the socket away and closes it: pending and later reads and writes of the application fail.
#[must_use = "dropping it closes the stream"]
pub struct Tether(Arc<Shared>);

impl Tether {
    /// Whether the application has dropped the stream.
    pub fn is_released(&self) -> bool {
        self.0.lock().released
    }
}

impl Future for Tether {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.released {
            return Poll::Ready(());
        }
        remember(&mut state.tether, cx, true);
        Poll::Pending
    }
}

impl Drop for Tether {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        let (io, observed) = (state.io.take(), state.observed.take());
        let waiting = [state.reader.take(), state.writer.take()];
        drop(state);
        drop(io);
        drop(observed);
        for waker in waiting.into_iter().flatten() {
            waker.wake();
        }
    }
}

macro_rules! debug {
    ($($name:ident),*) => {
        $(impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        })*
    };
}

debug!(Upgraded, ReadHalf, WriteHalf, Tether);
