//! From HTTP to the application's own protocol: the connection's socket as a stream. \[UPG-06\], \[UPG-16\] to \[UPG-19\],
//! \[UPG-23a\]
//!
//! The application's threads and tasks read and write the socket themselves, straight into and out of their own buffers.
//! Who finds nothing to do leaves its waker with [`Io`]; the poller's report runs the connection, whose worker wakes it:
//! without the lock, without a permit, and with no deadline. The connection keeps the tether, and so stays counted until
//! the application has dropped the stream; then it is closed like any other.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use adapter_core::contain::catch;
use adapter_core::rules::request::{BodyLength, Facts};
use adapter_core::upgrade::{self, Handover, Offer, UpgradeError, Upgraded, switches};
use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use http::StatusCode;
use rustix::io::Errno;

use super::close::Closing;
use super::drive::{Flow, Phase, Task, flush};
use super::io::{Fill, Io};
use super::{Conn, bit};
use crate::engine::lock;

/// Reads and writes that succeed in a row before others get their turn.
const AT_A_TIME: u32 = 128;

/// Who waits for the socket of a connection that was taken.
#[derive(Default)]
pub(super) struct Waiting {
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Reads and writes since one of them had to wait.
    in_a_row: u32,
    /// The application has ended our side of the stream.
    finished: bool,
}

impl Waiting {
    /// Wakes both sides. Not under a lock.
    pub(super) fn wake(self) {
        wake([self.reader, self.writer]);
    }
}

/// Puts the connection on offer where this request can be its last one. `None` for most.
#[inline]
pub(super) fn offer(task: &mut Task, facts: &Facts) -> Option<Offer> {
    // The new protocol begins where the request ends.
    if !(facts.upgrade || facts.is_connect) || facts.body != BodyLength::Sized(0) {
        return None;
    }
    let (handover, offer) = upgrade::channel();
    task.handover = Some(handover);
    Some(offer)
}

/// Whether the response switches protocols; if not, the offer is withdrawn.
#[inline]
pub(super) fn decide(conn: &Conn, task: &mut Task, status: StatusCode, facts: &Facts) -> bool {
    if task.handover.is_none() {
        return false;
    }
    if switches(status, facts) {
        // From here on the end of the client's stream is for the application to read.
        conn.set(bit::TAKEN);
        return true;
    }
    refuse(task);
    false
}

#[cold]
fn refuse(task: &mut Task) {
    let handover = task.handover.take();
    let _ = catch("waker", || drop(handover));
}

/// The connection has ended before it could be handed over.
pub(super) fn withdraw(task: &mut Task) {
    if let Some(handover) = task.handover.take() {
        let _ = catch("waker", || handover.fail(UpgradeError::Disconnected));
    }
}

/// Hands the socket over once the head is with the operating system. \[UPG-17\]
pub(super) fn switching(conn: &Arc<Conn>, task: &mut Task) -> Flow {
    if let Some(flow) = flush(conn, task) {
        return flow;
    }
    let Some(handover) = task.handover.take().filter(Handover::is_taken) else {
        task.phase = Phase::Closing(Closing::orderly());
        return Flow::Next;
    };
    // [UPG-16]
    let mut io = lock(&conn.io);
    let early = Bytes::copy_from_slice(io.input.bytes());
    io.input.clear();
    io.waiting = Some(Box::default());
    drop(io);
    task.template = None;
    let (stream, tether) = Upgraded::new(Socket(conn.clone()), early);
    task.phase = Phase::Taken(tether);
    let _ = catch("waker", || handover.complete(stream));
    Flow::Next
}

/// While the application has the socket: wakes who waits for what has happened. \[UPG-23a\] without a deadline.
pub(super) fn taken(conn: &Arc<Conn>, task: &mut Task, woken: &mut u32) -> Flow {
    let Phase::Taken(tether) = &mut task.phase else { return Flow::Next };
    let waker = Waker::from(conn.clone());
    let released = Pin::new(tether).poll(&mut Context::from_waker(&waker)).is_ready();
    // If the tether has used its waker, this is the last time; else it was a side that let others go first.
    let all = std::mem::take(woken) & bit::WOKEN != 0 || released;
    let mut io = lock(&conn.io);
    let (reader, writer) = match io.waiting.as_deref_mut() {
        Some(waiting) => (
            waiting.reader.take_if(|_| all || conn.has(bit::READABLE | bit::GONE)),
            waiting.writer.take_if(|_| all || conn.has(bit::WRITABLE | bit::GONE)),
        ),
        None => (None, None),
    };
    if writer.is_some() {
        conn.clear(bit::WANT_WRITE);
    }
    drop(io);
    if released {
        // [UPG-19b], [DIS-01]
        conn.environ.disconnected.fire();
        task.phase = Phase::Closing(Closing::orderly());
    }
    wake([reader, writer]);
    if released { Flow::Next } else { Flow::Park(0) }
}

/// They are the application's, and may be anybody's.
fn wake(wakers: [Option<Waker>; 2]) {
    for waker in wakers.into_iter().flatten() {
        let _ = catch("waker", || waker.wake());
    }
}

/// A connection as the application's socket. It closes nothing when it is dropped: the end of the tether does.
struct Socket(Arc<Conn>);

/// The reader's or the writer's.
type Side = fn(&mut Waiting) -> &mut Option<Waker>;

impl Socket {
    /// Makes an attempt at the socket, under the lock; `None` is that it would have to wait, for a report that is to
    /// come.
    fn poll(
        &self,
        cx: &mut Context<'_>,
        side: Side,
        attempt: impl FnOnce(&Conn, &mut Io) -> Option<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let conn = &self.0;
        let mut io = lock(&conn.io);
        let in_a_row = io.waiting.as_ref().map_or(0, |waiting| waiting.in_a_row);
        let outcome = if conn.has(bit::FORCED | bit::CLOSED) {
            // [SHU-06]
            Some(Err(io::ErrorKind::ConnectionAborted.into()))
        } else if in_a_row < AT_A_TIME {
            attempt(conn, &mut io)
        } else {
            // The connection gets in line, and then wakes both sides.
            conn.wake_up(bit::WOKEN);
            None
        };
        let mut old = None;
        if let Some(waiting) = io.waiting.as_deref_mut() {
            waiting.in_a_row = if outcome.is_some() { in_a_row + 1 } else { 0 };
            let slot = side(waiting);
            if outcome.is_none() && !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                old = slot.replace(cx.waker().clone());
            }
        }
        drop(io);
        drop(old);
        if matches!(outcome, Some(Err(_))) {
            // [DIS-05] who sees the error sees the signal
            conn.signal_end();
        }
        outcome.map_or(Poll::Pending, Poll::Ready)
    }

    fn poll_send(&self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll(
            cx,
            |waiting| &mut waiting.writer,
            |conn, io| match io.send(conn, parts) {
                Ok(count) => Some(Ok(count)),
                Err(Errno::AGAIN) => None,
                Err(error) => {
                    if !io.waiting.as_ref().is_some_and(|waiting| waiting.finished) {
                        conn.set(bit::GONE);
                    }
                    Some(Err(error.into()))
                }
            },
        )
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll(
            cx,
            |waiting| &mut waiting.reader,
            |conn, io| {
                if io.at_end || buffer.is_empty() {
                    return Some(Ok(0));
                }
                while conn.has(bit::READABLE) {
                    match io.receive_into(conn, buffer) {
                        Ok(count) => return Some(Ok(count)),
                        Err(Fill::End) => return Some(Ok(0)),
                        Err(Fill::Broken) => break,
                        Err(Fill::Data | Fill::Wait) => {}
                    }
                }
                // Seen by a read, or reported.
                conn.has(bit::GONE).then(|| Err(io::ErrorKind::ConnectionReset.into()))
            },
        )
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, parts)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is gathered here.
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut io = lock(&self.0.io);
        io.finish();
        if let Some(waiting) = &mut io.waiting {
            waiting.finished = true;
        }
        Poll::Ready(Ok(()))
    }
}
