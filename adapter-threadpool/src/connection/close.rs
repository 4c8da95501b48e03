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

/// Bytes of a body nobody wants that are read to keep the connection: with more to come, the answer says that it ends.
const DRAIN: u64 = 256 * 1024;
/// How long the next byte of an unread body may take.
const DRAIN_IDLE: Duration = Duration::from_secs(5);
/// How long a closed connection waits for the client's next byte, or its end. \[KAP-13\]
const LINGER: Duration = Duration::from_secs(2);
/// How long either may take in all. \[KAP-13\]
const LINGER_MOST: Duration = Duration::from_secs(30);
/// As [`LINGER`] and [`LINGER_MOST`], while the server is shutting down.
const LAST_LINGER: Duration = Duration::from_millis(250);
const LAST_LINGER_MOST: Duration = Duration::from_secs(2);
/// Reads before others get their turn.
const READS: u32 = 16;

/// How long bytes are read that nobody wants: each renews a short time, up to a long one in all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lingering {
    idle: Duration,
    /// When the next byte is late.
    next: Tick,
    /// When all of it is.
    last: Tick,
    hurried: bool,
}

impl Lingering {
    fn new(now: Tick, idle: Duration) -> Self {
        Lingering { idle, next: after(now, Some(idle)), last: after(now, Some(LINGER_MOST)), hurried: false }
    }

    /// Something has come.
    fn renew(&mut self, now: Tick) {
        self.next = after(now, Some(self.idle));
    }

    /// The server is shutting down.
    fn hurry(&mut self, now: Tick) {
        if !self.hurried {
            self.hurried = true;
            self.idle = self.idle.min(LAST_LINGER);
            self.next = self.next.min(after(now, Some(self.idle)));
            self.last = self.last.min(after(now, Some(LAST_LINGER_MOST)));
        }
    }

    fn until(&self) -> Tick {
        self.next.min(self.last)
    }
}

/// A connection on its way to the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing {
    /// With a reset, so that an end by closing is not taken for the end of the response.
    reset: bool,
    /// From when our side was ended.
    lingering: Option<Lingering>,
}

impl Closing {
    /// After a complete response.
    pub(super) fn orderly() -> Self {
        Closing { reset: false, lingering: None }
    }

    /// In the middle of one.
    pub(super) fn broken_off(reset: bool) -> Self {
        Closing { reset, lingering: None }
    }
}

/// Whether the connection can be kept although the body of its request has not been read to its end. Asked when the head
/// of the response is made, the last time that it can say otherwise: what is not wanted must have an end in sight, and
/// must be certain to come.
pub(super) fn can_drain(conn: &Conn, io: &mut Io) -> bool {
    if io.incoming.as_ref().is_some_and(|incoming| incoming.abandoned && incoming.remaining().is_none()) {
        skim(conn, io);
    }
    let Some(incoming) = &io.incoming else { return true };
    // [EXP-02b] RFC 9110 §10.1.1: it can't be asked for any more, and the client may leave it out
    let is_held_back = incoming.expects_continue && io.input.is_empty();
    // [REQ-12] where it has not been dropped the application may still read it
    let is_left = incoming.abandoned && incoming.remaining().is_none_or(|remaining| remaining > DRAIN);
    !(incoming.failed.is_some() || is_held_back || is_left)
}

/// Throws away what has come of the body.
fn skim(conn: &Conn, io: &mut Io) {
    let mut left = DRAIN;
    let mut reads = 0;
    while left > 0 {
        match io.decode(conn) {
            Ok(Decoded::Frame(frame)) => {
                left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
            }
            Ok(Decoded::Starved) if conn.has(bit::READABLE) && reads < READS => {
                reads += 1;
                io.receive(conn);
            }
            _ => return,
        }
    }
}

/// The response is complete, the request's body is not: takes it away from the application.
pub(super) fn leave_body(conn: &Arc<Conn>, close: bool) -> Phase {
    let mut io = lock(&conn.io);
    io.request += 1;
    let waker = io.incoming.as_deref_mut().and_then(|incoming| {
        incoming.abandoned = true;
        incoming.waker.take()
    });
    let failed = io.incoming.as_ref().is_some_and(|incoming| incoming.failed.is_some());
    drop(io);
    if let Some(waker) = waker {
        // [REQ-15] a reader learns that it is over
        let _ = contain::catch("waker", || waker.wake());
    }
    if close || failed {
        Phase::Closing(Closing::orderly())
    } else {
        Phase::Draining(Lingering::new(conn.engine.now(), DRAIN_IDLE))
    }
}

/// \[REQ-12\] reads what the application left of the body, so that the connection can go on as the response has said.
pub(super) fn draining(conn: &Arc<Conn>, task: &mut Task) -> Flow {
    if let Some(flow) = flush(conn, task) {
        return flow;
    }
    let Phase::Draining(lingering) = &mut task.phase else { return Flow::Next };
    let now = conn.engine.now();
    if conn.engine.is_draining() {
        lingering.hurry(now);
    }
    let mut io = lock(&conn.io);
    let mut reads = 0;
    loop {
        match io.decode(conn) {
            // [LIM-05] data is what counts
            Ok(Decoded::Frame(_)) => {
                lingering.renew(now);
                if now < lingering.until() {
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
                if now >= lingering.until() {
                    // Too slow.
                } else if !conn.has(bit::READABLE) {
                    return Flow::Park(lingering.until());
                } else if reads >= READS {
                    return Flow::Again;
                } else {
                    reads += 1;
                    match io.receive(conn) {
                        Fill::Data | Fill::Wait => continue,
                        Fill::End | Fill::Broken => {}
                    }
                }
            }
            Err(_) => {}
        }
        // Too slow, malformed, or broken off. [KAP-11]
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
    if closing.reset {
        task.phase = Phase::Closed;
        conn.close(true);
        return Flow::Next;
    }
    let mut io = lock(&conn.io);
    let now = conn.engine.now();
    let lingering = closing.lingering.get_or_insert_with(|| {
        io.finish();
        io.incoming = None;
        Lingering::new(now, LINGER)
    });
    if conn.engine.is_draining() {
        lingering.hurry(now);
    }
    io.input.clear();
    let mut at_end = io.at_end;
    let mut reads = 0;
    while !at_end && conn.has(bit::READABLE) && now < lingering.last {
        reads += 1;
        if reads > READS {
            return Flow::Again;
        }
        match io.fill(conn, scratch) {
            Fill::Data => {
                io.input.clear();
                lingering.renew(now);
            }
            Fill::Wait => {}
            Fill::End | Fill::Broken => at_end = true,
        }
    }
    if !at_end && now >= lingering.until() {
        io.limit_unsent(conn.engine.settings.timeouts.write);
    }
    drop(io);
    if at_end || now >= lingering.until() { closed(conn, task) } else { Flow::Park(lingering.until()) }
}

impl Conn {
    /// Closes the socket and leaves the server's books. What the application had was dropped before. Not under the lock
    /// of [`Io`].
    pub(super) fn close(&self, reset: bool) {
        if self.set(bit::CLOSED) & bit::CLOSED != 0 {
            return;
        }
        self.cut_off(reset);
        let armed = self.armed.swap(u64::MAX, std::sync::atomic::Ordering::SeqCst);
        if armed != u64::MAX {
            self.engine.timers.disarm(armed, self.token);
        }
        if self.engine.connections.remove(self.token) {
            // [LIM-07] there is room again
            accept::resume(&self.engine);
        }
    }

    /// Closes the socket; what the application has of the connection is still to be dropped, and learns that it is over.
    /// Not under the lock of [`Io`].
    pub(super) fn cut_off(&self, reset: bool) {
        self.set(bit::GONE);
        self.environ.disconnected.fire();
        let mut io = lock(&self.io);
        let waker = io.incoming.as_deref_mut().and_then(|incoming| incoming.waker.take());
        let waiting = io.waiting.take();
        io.request += 1;
        // [SHU-06] by force: what was not taken yet is not left to the operating system
        io.close(reset || self.has(bit::FORCED));
        drop(io);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
        if let Some(waker) = waker {
            let _ = contain::catch("waker", || waker.wake());
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
