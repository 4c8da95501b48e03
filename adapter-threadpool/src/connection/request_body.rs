//! The request body as the application's source: it reads the connection's socket itself. \[REQ-07\] to \[REQ-20\],
//! \[EXP-01\], \[EXP-05\], \[LIM-05\]
//!
//! Async: a read that must wait registers its waker; the worker that runs the connection wakes it when there is more,
//! or when the time is up. Blocking: the thread waits in poll(2), because application code is what holds it. A body
//! that outlives its request is cut off from the connection by its number.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use adapter_core::RequestBodyError;
use adapter_core::request_body::Source;
use adapter_core::rules::request::BodyLength;
use adapter_http1::body_decoder::{Decoder, Event};
use adapter_http1::encoder;
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::io::{Fill, Flush, Io};
use super::{Conn, bit};
use crate::engine::{Tick, after, lock};

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;

/// The receiving side of a body, kept with the connection.
pub(super) struct Incoming {
    decoder: Decoder,
    /// Read, not decoded; comes after the connection's input.
    carry: Bytes,
    /// Who waits for more.
    pub(super) waker: Option<Waker>,
    /// Until when it waits.
    pub(super) deadline: Tick,
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
            expects_continue,
            abandoned: false,
            failed: None,
        }
    }

    /// Bytes to come, if known.
    pub(super) fn remaining(&self) -> Option<u64> {
        self.decoder.remaining()
    }

    /// Fails the body, for whoever reads it next.
    pub(super) fn fail(&mut self, error: RequestBodyError) -> Option<Waker> {
        self.failed.get_or_insert(error);
        self.deadline = 0;
        self.waker.take()
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

impl Source for BodySource {
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        let conn = self.conn.clone();
        let mut io = lock(&conn.io);
        match self.attempt(&mut io, false) {
            Ok(next) => {
                let stale = io.stale.take();
                drop(io);
                drop(stale);
                Poll::Ready(self.seen(next))
            }
            Err(_) => {
                let deadline = after(conn.engine.now(), conn.engine.settings.timeouts.body_read);
                let old = match &mut io.incoming {
                    Some(incoming) => {
                        incoming.deadline = deadline;
                        incoming.waker.replace(cx.waker().clone())
                    }
                    None => None,
                };
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
        let timeout = limit.and_then(|limit| Timespec::try_from(limit).ok());
        loop {
            let mut io = lock(&conn.io);
            let (socket, writing) = match self.attempt(&mut io, true) {
                Ok(next) => {
                    let stale = io.stale.take();
                    drop(io);
                    drop(stale);
                    return self.seen(next);
                }
                Err(_) => (io.socket(), !io.output.is_empty()),
            };
            drop(io);
            let Some(socket) = socket else { return Some(Err(RequestBodyError::Disconnected)) };
            let interest = if writing { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            match poll(&mut [PollFd::new(&*socket, interest)], timeout.as_ref()) {
                // [LIM-05]
                Ok(0) => {
                    let mut io = lock(&conn.io);
                    if io.request == self.request
                        && let Some(incoming) = &mut io.incoming
                    {
                        incoming.failed.get_or_insert(RequestBodyError::TimedOut);
                    }
                    return Some(Err(RequestBodyError::TimedOut));
                }
                Ok(_) if writing => {
                    let _: Flush = conn.flush_aside(&mut lock(&conn.io));
                }
                Ok(_) | Err(_) => {}
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
