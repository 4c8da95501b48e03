//! The request body as the application's source: it reads the connection's socket itself. \[REQ-07\] to \[REQ-20\],
//! \[EXP-01\], \[EXP-05\], \[LIM-05\]
//!
//! Async: a read that must wait registers its waker; the worker that runs the connection wakes it when there is more,
//! or when the time is up. Blocking: the thread waits in poll(2), because application code is what holds it. A body
//! that outlives its request is cut off from the connection by its number.
//!
//! *The time* (\[LIM-05\]) is that in which somebody waits and no data comes: it is added up over the waits, and only
//! data sets it back, so that a client that drips framing gains nothing. A reader that never has to wait gives way after
//! [`AT_A_TIME`] frames.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use adapter_core::RequestBodyError;
use adapter_core::request_body::Source;
use adapter_core::rules::request::BodyLength;
use adapter_http1::body_decoder::{Decoder, Event};
use adapter_http1::encoder;
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::drive::{expired, write_deadline};
use super::io::{Fill, Flush, Io};
use super::{Conn, bit};
use crate::engine::{Tick, after, earlier, lock};

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;
/// Frames that are there without waiting, before others get their turn.
const AT_A_TIME: u32 = 16;

/// The receiving side of a body, kept with the connection.
pub(super) struct Incoming {
    decoder: Decoder,
    /// Read, not decoded; comes after the connection's input.
    carry: Bytes,
    /// Who waits for more.
    pub(super) waker: Option<Waker>,
    /// Until when it waits.
    pub(super) deadline: Tick,
    /// Since when somebody waits, 0 if nobody does, and how long it was before. \[LIM-05\]
    waiting_since: Tick,
    waited: Tick,
    /// Frames since a reader had to wait or gave way.
    in_a_row: u32,
    /// The client waits for 100 Continue.
    pub(super) expects_continue: bool,
    /// The application has dropped it.
    pub(super) abandoned: bool,
    /// It can't be read any further.
    pub(super) failed: Option<RequestBodyError>,
}

impl Incoming {
    pub(super) fn new(length: BodyLength, limit: Option<u64>, expects_continue: bool) -> Self {
        Incoming {
            decoder: Decoder::new(length, limit),
            carry: Bytes::new(),
            waker: None,
            deadline: 0,
            waiting_since: 0,
            waited: 0,
            in_a_row: 0,
            expects_continue,
            abandoned: false,
            failed: None,
        }
    }

    /// Bytes to come, if known.
    pub(super) fn remaining(&self) -> Option<u64> {
        self.decoder.remaining()
    }

    /// \[LIM-05\] somebody waits from `now` on, or still: until when, 0 for ever.
    fn wait(&mut self, now: Tick, limit: Option<Duration>) -> Tick {
        if self.waiting_since == 0 {
            self.waiting_since = now;
        }
        // Not 0, which is never.
        self.deadline =
            limit.map_or(0, |limit| after(self.waiting_since, Some(limit)).saturating_sub(self.waited).max(1));
        self.deadline
    }

    /// Something has come, data or not: nobody waits now.
    pub(super) fn stop_waiting(&mut self, now: Tick) {
        if self.waiting_since != 0 {
            self.waited = self.waited.saturating_add(now.saturating_sub(self.waiting_since));
        }
        self.waiting_since = 0;
        self.deadline = 0;
    }

    /// Data has come.
    fn has_progress(&mut self) {
        self.waited = 0;
        self.waiting_since = 0;
        self.deadline = 0;
    }
}

/// What the buffers give.
pub(super) enum Decoded {
    Frame(Frame<Bytes>),
    End,
    Starved,
}

type Next = Option<Result<Frame<Bytes>, RequestBodyError>>;

impl Io {
    /// The next frame out of what has been read.
    pub(super) fn decode(&mut self, conn: &Conn) -> Result<Decoded, RequestBodyError> {
        let Some(incoming) = self.incoming.as_deref_mut() else { return Ok(Decoded::End) };
        if let Some(error) = &incoming.failed {
            return Err(error.clone());
        }
        let from_input = !self.input.is_empty();
        let source = if from_input { self.input.bytes() } else { &incoming.carry };
        let event = match incoming.decoder.decode(source) {
            Ok(event) => event,
            Err(error) => {
                incoming.failed = Some(error.clone());
                return Err(error);
            }
        };
        match event {
            Event::Data { start, consumed } => {
                let data = if from_input {
                    let data = Bytes::copy_from_slice(source.get(start..consumed).unwrap_or_default());
                    self.input.consume(consumed);
                    data
                } else {
                    let mut data = incoming.carry.split_to(consumed);
                    data.advance(start);
                    data
                };
                incoming.has_progress();
                if incoming.decoder.is_done() {
                    self.end_of_body(conn);
                }
                Ok(Decoded::Frame(Frame::data(data)))
            }
            Event::More { consumed } => {
                if from_input {
                    self.input.consume(consumed);
                    if !incoming.carry.is_empty() {
                        return self.decode(conn);
                    }
                } else {
                    incoming.carry.advance(consumed);
                }
                Ok(Decoded::Starved)
            }
            Event::End { trailers, consumed } => {
                if from_input {
                    self.input.consume(consumed);
                } else {
                    incoming.carry.advance(consumed);
                }
                self.end_of_body(conn);
                // [TRL-01]
                Ok(trailers.map_or(Decoded::End, |trailers| Decoded::Frame(Frame::trailers(trailers))))
            }
        }
    }

    /// The body is complete; what was read beyond it is the next request's. \[REQ-03\]
    fn end_of_body(&mut self, conn: &Conn) {
        if let Some(incoming) = self.incoming.take().map(|incoming| *incoming) {
            if self.input.is_empty() {
                self.input.unread(&incoming.carry);
            }
            conn.clear(bit::BODY_OPEN);
            // Dropped when the lock is released: it may be anybody's.
            self.stale = incoming.waker;
        }
    }

    /// Reads the next piece of the body.
    pub(super) fn receive(&mut self, conn: &Conn) -> Fill {
        let size = match self.incoming.as_ref().and_then(|incoming| incoming.remaining()) {
            // Not a byte beyond it.
            Some(remaining) => remaining.min(PIECE as u64) as usize,
            None => PIECE,
        };
        match self.read_new(conn, size) {
            Ok(bytes) => {
                conn.note_progress();
                if let Some(incoming) = &mut self.incoming {
                    incoming.carry = bytes;
                }
                Fill::Data
            }
            Err(outcome) => {
                if matches!(outcome, Fill::End | Fill::Broken)
                    && let Some(incoming) = &mut self.incoming
                {
                    // [REQ-10] RFC 9112 §8: not an end, but a breaking off
                    incoming.failed.get_or_insert(RequestBodyError::Disconnected);
                }
                outcome
            }
        }
    }

    /// \[EXP-01\], \[EXP-05\] RFC 9110 §10.1.1: tells the client once that its body is wanted.
    fn invite(&mut self, conn: &Arc<Conn>) {
        let committed = self.committed;
        if let Some(incoming) = &mut self.incoming
            && std::mem::take(&mut incoming.expects_continue)
            && !committed
        {
            self.output.appendable().extend_from_slice(encoder::CONTINUE);
            // What does not go out now goes out when there is room.
            let _: Flush = conn.flush_aside(self);
        }
    }
}

/// The application's end of the body of request number `request`.
pub(super) struct BodySource {
    conn: Arc<Conn>,
    request: u64,
    /// Bytes to come, if known.
    remaining: Option<u64>,
}

impl BodySource {
    pub(super) fn new(conn: Arc<Conn>, request: u64, length: BodyLength) -> Self {
        let remaining = match length {
            BodyLength::Sized(length) => Some(length),
            BodyLength::Unknown => None,
        };
        BodySource { conn, request, remaining }
    }

    fn seen(&mut self, next: Next) -> Next {
        match &next {
            Some(Ok(frame)) => {
                let count = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(count));
            }
            None => self.remaining = Some(0),
            Some(Err(_)) => {}
        }
        if self.conn.has(bit::ENDED) {
            // It counts once the body has been read.
            self.conn.signal_end();
        }
        next
    }

    /// The next frame if it is there; `Err` with the outcome of the read if it is not.
    fn attempt(&self, io: &mut Io, force: bool) -> Result<Next, Fill> {
        // [REQ-15] the request is over
        if io.request != self.request {
            return Ok(if self.remaining == Some(0) { None } else { Some(Err(RequestBodyError::Disconnected)) });
        }
        io.invite(&self.conn);
        loop {
            match io.decode(&self.conn) {
                Ok(Decoded::Frame(frame)) => return Ok(Some(Ok(frame))),
                Ok(Decoded::End) => return Ok(None),
                Err(error) => return Ok(Some(Err(error))),
                Ok(Decoded::Starved) => {
                    if !force && !self.conn.has(bit::READABLE) {
                        return Err(Fill::Wait);
                    }
                    if io.receive(&self.conn) == Fill::Wait {
                        return Err(Fill::Wait);
                    }
                }
            }
        }
    }
}

impl BodySource {
    /// \[LIM-05\] the time is up.
    fn late(&self, io: &mut Io) -> Next {
        if io.request == self.request
            && let Some(incoming) = &mut io.incoming
        {
            incoming.failed.get_or_insert(RequestBodyError::TimedOut);
        }
        Some(Err(RequestBodyError::TimedOut))
    }

    /// Whether it is the turn of others, after many frames without waiting.
    fn gives_way(&self, io: &mut Io) -> bool {
        if io.request != self.request {
            return false;
        }
        let Some(incoming) = &mut io.incoming else { return false };
        incoming.in_a_row += 1;
        let enough = incoming.in_a_row > AT_A_TIME;
        if enough {
            incoming.in_a_row = 0;
        }
        enough
    }
}

impl Source for BodySource {
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        let conn = self.conn.clone();
        let mut io = lock(&conn.io);
        if self.gives_way(&mut io) {
            drop(io);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.attempt(&mut io, false) {
            Ok(next) => {
                let stale = io.stale.take();
                drop(io);
                drop(stale);
                Poll::Ready(self.seen(next))
            }
            Err(_) => {
                let now = conn.engine.now();
                let mut old = None;
                let mut deadline = 0;
                if let Some(incoming) = &mut io.incoming {
                    incoming.in_a_row = 0;
                    deadline = incoming.wait(now, conn.engine.settings.timeouts.body_read);
                    old = incoming.waker.replace(cx.waker().clone());
                }
                if deadline != 0 && now >= deadline {
                    let next = self.late(&mut io);
                    drop(io);
                    drop(old);
                    return Poll::Ready(next);
                }
                drop(io);
                drop(old);
                // The worker that runs the connection arms its timer after each run; a thread of the application's
                // has to say that there is something to arm.
                if !conn.has(bit::RUNNING) {
                    conn.wake_up(0);
                }
                Poll::Pending
            }
        }
    }

    fn next_frame(mut self: Pin<&mut Self>) -> Next {
        let conn = self.conn.clone();
        let limit = conn.engine.settings.timeouts.body_read;
        loop {
            let mut io = lock(&conn.io);
            if let Ok(next) = self.attempt(&mut io, true) {
                let stale = io.stale.take();
                drop(io);
                drop(stale);
                return self.seen(next);
            }
            let now = conn.engine.now();
            let late = io.incoming.as_mut().map_or(0, |incoming| incoming.wait(now, limit));
            if late != 0 && now >= late {
                return self.late(&mut io);
            }
            // [LIM-06] a 100, or answers to earlier requests, that nobody takes
            let stuck = io.stalled_since;
            let writing = !io.output.is_empty();
            let until = if stuck != 0 { earlier(late, write_deadline(&conn, stuck)) } else { late };
            let socket = io.socket();
            drop(io);
            let Some(socket) = socket else { return Some(Err(RequestBodyError::Disconnected)) };
            if stuck != 0 && expired(&conn, stuck) {
                conn.cut_off(true);
                continue;
            }
            let timeout = (until != 0).then(|| Duration::from_nanos(until.saturating_sub(now)));
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            let interest = if writing { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            // An error is one of the socket, and shows when it is read.
            let polled = poll(&mut [PollFd::new(&*socket, interest)], timeout.as_ref());
            let mut io = lock(&conn.io);
            if writing && polled != Ok(0) {
                let _: Flush = conn.flush_aside(&mut io);
            }
            if io.request == self.request
                && let Some(incoming) = &mut io.incoming
            {
                incoming.stop_waiting(conn.engine.now());
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl Drop for BodySource {
    /// \[REQ-20\] the rest is not wanted.
    fn drop(&mut self) {
        let mut io = lock(&self.conn.io);
        if io.request == self.request
            && let Some(incoming) = &mut io.incoming
        {
            incoming.abandoned = true;
            let waker = incoming.waker.take();
            drop(io);
            drop(waker);
        }
    }
}
