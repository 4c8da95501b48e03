//! The ends: unread request bodies, lingering close, and closing for good. \[REQ-12\], \[REQ-14\], \[EXP-02\],
//! \[KAP-11\], \[KAP-13\], \[SHU-03\]
//!
//! A socket that is closed while it holds unread bytes sends a reset, and the client may lose the response. So our side
//! of the stream is ended first, and the client's bytes are read and thrown away until its end, or for a while.

use std::sync::Arc;
use std::time::Duration;

use adapter_core::contain;

use super::drive::{Flow, Phase, Task, closed, flush};
use super::io::{Fill, Io, Scratch};
use super::request_body::Decoded;
use super::{Conn, bit};
use crate::engine::{Tick, accept, after, lock};

/// Bytes of an unread body that are read to keep the connection.
const DRAIN: u64 = 256 * 1024;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// How long a closed connection waits for the client's end.
const LINGER: Duration = Duration::from_secs(2);
/// The same while the server is shutting down.
const LAST_LINGER: Duration = Duration::from_millis(250);

/// A connection on its way to the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing {
    /// With a reset, so that an end by closing is not taken for the end of the response.
    reset: bool,
    /// When our side was ended, plus [`LINGER`]; 0 if it was not yet.
    until: Tick,
}

impl Closing {
    /// After a complete response.
    pub(super) fn orderly() -> Self {
        Closing { reset: false, until: 0 }
    }

    /// In the middle of one.
    pub(super) fn broken_off(reset: bool) -> Self {
        Closing { reset, until: 0 }
    }
}

/// Whether the connection can be kept although the body of its request has not been read to its end.
pub(super) fn can_drain(io: &Io) -> bool {
    let Some(incoming) = &io.incoming else { return true };
    // The application may still be reading, unless it has dropped the body.
    !(incoming.failed.is_some()
        || incoming.abandoned
            && (incoming.expects_continue || incoming.remaining().is_some_and(|remaining| remaining > DRAIN)))
}

/// The response is complete, the request's body is not: takes it away from the application.
pub(super) fn leave_body(conn: &Arc<Conn>, close: bool) -> Phase {
    let mut io = lock(&conn.io);
    io.request += 1;
    let waker = io.incoming.as_deref_mut().and_then(|incoming| {
        incoming.abandoned = true;
        incoming.waker.take()
    });
    let keep = !close && can_drain(&io);
    drop(io);
    if let Some(waker) = waker {
        // [REQ-15] a reader learns that it is over
        let _ = contain::catch("waker", || waker.wake());
    }
    if keep {
        Phase::Draining { left: DRAIN, until: after(conn.engine.now(), Some(DRAIN_TIME)) }
    } else {
        Phase::Closing(Closing::orderly())
    }
}

/// \[REQ-12\] reads what the application left of the body, up to a bound.
pub(super) fn draining(conn: &Arc<Conn>, task: &mut Task) -> Flow {
    if let Some(flow) = flush(conn, task) {
        return flow;
    }
    let Phase::Draining { left, until } = &mut task.phase else { return Flow::Next };
    let mut io = lock(&conn.io);
    loop {
        match io.decode(conn) {
            Ok(Decoded::Frame(frame)) => {
                *left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
                if *left > 0 {
                    continue;
                }
            }
            Ok(Decoded::End) => {
                drop(io);
                conn.clear(bit::BODY_OPEN);
                task.phase = Phase::Head;
                return Flow::Next;
            }
            Ok(Decoded::Starved) => {
                if conn.has(bit::READABLE) {
                    match io.receive(conn) {
                        Fill::Data | Fill::Wait => continue,
                        Fill::End | Fill::Broken => {}
                    }
                } else if conn.engine.now() < *until {
                    return Flow::Park(*until);
                }
            }
            Err(_) => {}
        }
        // Too much, too slow, malformed, or broken off. [KAP-11]
        drop(io);
        task.phase = Phase::Closing(Closing::orderly());
        return Flow::Next;
    }
}

/// \[KAP-13\] writes what is left, ends our side, and waits for the client's end.
pub(super) fn closing(conn: &Arc<Conn>, task: &mut Task, scratch: &mut Scratch) -> Flow {
    if let Some(flow) = flush(conn, task) {
        return flow;
    }
    let Phase::Closing(closing) = &mut task.phase else { return Flow::Next };
    let mut io = lock(&conn.io);
    if closing.reset {
        drop(io);
        task.phase = Phase::Closed;
        conn.close(true);
        return Flow::Next;
    }
    let now = conn.engine.now();
    if closing.until == 0 {
        io.finish();
        io.incoming = None;
        closing.until = after(now, Some(LINGER));
    }
    if conn.engine.is_draining() {
        closing.until = closing.until.min(after(now, Some(LAST_LINGER)));
    }
    let mut at_end = io.at_end || now >= closing.until;
    io.input.clear();
    while !at_end && conn.has(bit::READABLE) {
        match io.fill(conn, scratch) {
            Fill::Data => io.input.clear(),
            Fill::Wait => {}
            Fill::End | Fill::Broken => at_end = true,
        }
    }
    drop(io);
    if at_end { closed(conn, task) } else { Flow::Park(closing.until) }
}

impl Conn {
    /// Closes the socket and leaves the server's books. What the application had was dropped before.
    pub(super) fn close(&self, reset: bool) {
        if self.set(bit::CLOSED) & bit::CLOSED != 0 {
            return;
        }
        self.environ.disconnected.fire();
        let mut io = lock(&self.io);
        let waker = io.incoming.as_deref_mut().and_then(|incoming| incoming.waker.take());
        let waiting = io.waiting.take();
        io.request += 1;
        io.close(reset);
        drop(io);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
        if let Some(waker) = waker {
            let _ = contain::catch("waker", || waker.wake());
        }
        let armed = self.armed.swap(u64::MAX, std::sync::atomic::Ordering::SeqCst);
        if armed != u64::MAX {
            self.engine.timers.disarm(armed, self.token);
        }
        if self.engine.connections.remove(self.token) {
            // [LIM-07] there is room again
            accept::resume(&self.engine);
        }
    }

    /// Closes the socket under application code that does not return.
    pub(crate) fn abandon(&self) {
        self.close(true);
    }

    /// Ends the connection at once, whatever it does. For mistakes of the server's own.
    pub(crate) fn abort(self: &Arc<Self>) {
        lock(&self.task).phase = Phase::Closed;
        self.close(true);
        self.clear(bit::RUNNING);
    }
}
