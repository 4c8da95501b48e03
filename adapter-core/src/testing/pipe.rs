//! A connection in memory: two ends, bounded in each direction. Whoever moves octets wakes the other end.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_io::{AsyncRead, AsyncWrite};

/// One direction.
struct Channel {
    octets: VecDeque<u8>,
    /// No more than this many wait.
    capacity: usize,
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Channel {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Channel>>);

impl Shared {
    fn new(capacity: usize) -> Self {
        let channel = Channel { octets: VecDeque::new(), capacity, ended: false, reader: None, writer: None };
        Shared(Arc::new(Mutex::new(channel)))
    }

    fn lock(&self) -> MutexGuard<'_, Channel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        let mut channel = self.lock();
        channel.ended = true;
        channel.wake();
    }
}

/// One end. Dropping it ends both directions; what was written can still be read.
pub(crate) struct Pipe {
    inbound: Shared,
    outbound: Shared,
}

/// Two ends, with room for `capacity` octets each way.
pub(crate) fn pipe(capacity: usize) -> (Pipe, Pipe) {
    let (one, two) = (Shared::new(capacity), Shared::new(capacity));
    (Pipe { inbound: one.clone(), outbound: two.clone() }, Pipe { inbound: two, outbound: one })
}

impl Pipe {
    /// Takes what has come, and wakes nobody.
    #[cfg(all(test, feature = "websocket"))]
    pub(crate) fn drain(&self) -> Vec<u8> {
        self.inbound.lock().octets.drain(..).collect()
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut channel = self.inbound.lock();
        if channel.octets.is_empty() && !channel.ended {
            channel.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = io::Read::read(&mut channel.octets, buffer)?;
        channel.wake();
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let mut channel = self.outbound.lock();
        if channel.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = octets.len().min(channel.capacity - channel.octets.len());
        if count == 0 && !octets.is_empty() {
            channel.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        channel.octets.extend(octets.iter().take(count));
        channel.wake();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbound.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.inbound.end();
        self.outbound.end();
    }
}
