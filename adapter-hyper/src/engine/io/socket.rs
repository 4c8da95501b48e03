//! A connection's socket, as its supervisor and hyper's [`Handle`](super::Handle) use it under one lock.

mod frames;

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use adapter_core::RequestBodyError;
use adapter_core::dispatch::Observed;
use adapter_core::rules::Rejection;
use adapter_core::tls::{TlsError, TlsInfo};
use adapter_http1::head;
use bytes::Buf;
use hyper::rt::{ReadBuf, ReadBufCursor};

use crate::engine::frames::Frames;
use crate::engine::inflow::{Inflow, Want};
use crate::engine::refusal;
use crate::engine::status::{Phase, Status};
use crate::engine::transport::Transport;

/// Octets of a head that are remembered, for the log.
pub(in crate::engine) const LINE: usize = 128;
/// Bytes gathered at most before they are written, in HTTP/1.
pub(super) const CORK: usize = 32 * 1024;
/// Bytes read at most past what hyper asks for.
const AHEAD: usize = 16 * 1024;
/// A write of this size is not worth a copy.
const DIRECT: usize = 8 * 1024;
/// Octets read at a time where they are looked at before hyper gets them.
const INPUT: usize = 64 * 1024;
/// Reads in one turn of the connection's task, before others get theirs.
const READS: u32 = 32;

thread_local! {
    /// A buffer between two uses, so that idle connections hold none and busy ones allocate none.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// Where octets are that are being looked at.
    static LENT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What looking ahead gave.
pub(in crate::engine) enum Ahead {
    /// The task will be woken by what comes; or the client's stream has ended.
    Waits,
    /// There is more than is read ahead. Only a reset matters, which the socket has to be asked for.
    Full,
    /// The connection was reset.
    Reset,
}

pub(in crate::engine) struct Socket {
    io: Box<dyn Transport>,
    /// It may hold something of what is written.
    is_secured: bool,
    /// Between the socket and hyper.
    pub(in crate::engine) inflow: Inflow,
    /// How the head under way begins, for when hyper refuses it.
    line: [u8; LINE],
    line_length: usize,
    /// Octets for hyper as they are, for which it had no room.
    early: Vec<u8>,
    /// Follows what h2 writes.
    frames: Frames,
    /// Bytes of hyper not yet with the operating system, of which `sent` are.
    out: Vec<u8>,
    sent: usize,
    /// Our direction has ended.
    is_shut: bool,
    /// The next write is to try, whatever events have said.
    tries: bool,
    /// The client has just ended its stream, or is gone: to be told, but not under the lock.
    pub(super) disconnects: bool,
    /// hyper has more than there was room for.
    pub(super) hyper_waits: bool,
    /// Requests whose responses hyper has to the last octet, where somebody wants to know. HTTP/1.
    undelivered: Vec<Undelivered>,
}

/// A request whose response hyper has to the last octet.
struct Undelivered {
    observed: Box<Observed>,
    begun: u64,
}

impl Socket {
    pub(in crate::engine) fn new(io: Box<dyn Transport>) -> Self {
        Socket {
            is_secured: io.is_secured(),
            io,
            inflow: Inflow::default(),
            early: Vec::new(),
            line: [0; LINE],
            line_length: 0,
            frames: Frames::default(),
            out: Vec::new(),
            sent: 0,
            is_shut: false,
            tries: false,
            disconnects: false,
            hyper_waits: false,
            undelivered: Vec::new(),
        }
    }

    /// hyper has all of the response to `observed`, which began then: it has ended once that is out.
    #[inline]
    pub(in crate::engine) fn deliver(&mut self, observed: Box<Observed>, begun: u64) {
        self.undelivered.push(Undelivered { observed, begun });
    }

    /// Whether there are such.
    #[inline]
    pub(super) fn has_undelivered(&self) -> bool {
        !self.undelivered.is_empty()
    }

    /// As of `now`, what hyper has given is out, or is not.
    #[inline(never)]
    pub(super) fn delivered(&mut self, now: u64, is_out: bool) {
        let after = |begun: u64| Duration::from_nanos(now.saturating_sub(begun));
        if !is_out || self.hyper_waits {
            return self.undelivered.iter_mut().for_each(|it| it.observed.waits_after(after(it.begun)));
        }
        match self.undelivered.len() {
            // Most.
            1 => self.undelivered.pop().into_iter().for_each(|it| it.observed.delivered_after(after(it.begun))),
            _ => self.undelivered.drain(..).for_each(|it| it.observed.delivered_after(after(it.begun))),
        }
    }

    /// Nothing more will go out.
    pub(in crate::engine) fn undeliverable(&mut self) {
        self.undelivered.clear();
    }

    /// Octets of the body under way that have not been given to hyper, if their number is known. What has been read of a
    /// chunked one is looked at for its end.
    pub(in crate::engine) fn body_left(&mut self) -> Option<u64> {
        let Socket { inflow, early, .. } = self;
        if inflow.body_left().is_none() && !inflow.raw().is_empty() {
            inflow.pass_raw(&mut |octets| early.extend_from_slice(octets));
        }
        inflow.body_left()
    }

    /// Whether nothing of hyper's waits here.
    pub(super) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether something comes in front of HTTP.
    pub(in crate::engine) fn is_secured(&self) -> bool {
        self.is_secured
    }

    /// What that is.
    pub(in crate::engine) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<TlsInfo>, TlsError>> {
        self.io.poll_open(cx)
    }

    /// Reads what stands in front of that, into `buffer`.
    pub(in crate::engine) fn poll_read_first(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.io.poll_read_first(cx, ReadBuf::new(buffer).unfilled())
    }

    /// Octets that were read so, and belong to what comes in front of HTTP.
    pub(in crate::engine) fn begin_with(&mut self, octets: &[u8]) {
        self.io.begin_with(octets);
    }

    /// Bytes for hyper to read before those of the socket.
    pub(in crate::engine) fn unread(&mut self, bytes: &[u8]) {
        self.inflow.raw().extend_from_slice(bytes);
    }

    /// Reads into `buffer` past hyper; for sniffing and lingering.
    pub(in crate::engine) fn poll_read_raw(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.io.poll_read_slice(cx, buffer)
    }

    /// Reads what hyper would read next, after a takeover.
    pub(in crate::engine) fn poll_read_taken(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !self.early.is_empty() {
            let count = self.early.len().min(buffer.len());
            buffer[..count].copy_from_slice(&self.early[..count]);
            self.early.drain(..count);
            return Poll::Ready(Ok(count));
        }
        let raw = self.inflow.raw();
        if !raw.is_empty() {
            let count = raw.len().min(buffer.len());
            buffer[..count].copy_from_slice(&raw[..count]);
            raw.advance(count);
            return Poll::Ready(Ok(count));
        }
        self.poll_read_raw(cx, buffer)
    }

    /// Looks for the end of the client's stream where hyper does not: it stops reading while the application leaves a
    /// body unread, or a pipelined request waits. What comes before the end, at most [`AHEAD`] bytes, is for hyper to
    /// read later. [`Ahead::Full`]: nothing will wake the task, look again. \[DIS-01\], \[DIS-03\]
    pub(super) fn poll_ahead(&mut self, status: &Status, cx: &mut Context<'_>) -> Ahead {
        let looked = LENT.with_borrow_mut(|input| {
            input.resize(INPUT, 0);
            while self.inflow.raw().len() < AHEAD {
                match self.poll_read_raw(cx, input.get_mut(..AHEAD).unwrap_or_default()) {
                    Poll::Pending => return Ahead::Waits,
                    read if is_end(&read) => {
                        self.disconnects |= status.client_ended();
                        return Ahead::Waits;
                    }
                    Poll::Ready(Ok(count)) => self.inflow.raw().extend_from_slice(&input[..count]),
                    Poll::Ready(Err(_)) => {
                        self.disconnects = true;
                        return Ahead::Reset;
                    }
                }
            }
            Ahead::Full
        });
        let Ahead::Full = looked else { return looked };
        if self.io.was_reset() {
            self.disconnects = true;
            return Ahead::Reset;
        }
        Ahead::Full
    }

    /// Hands bytes to the operating system, after a takeover.
    pub(in crate::engine) fn poll_write_raw(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.io.poll_write(cx, bytes)
    }

    /// Hands on what the transport holds, after a takeover.
    pub(in crate::engine) fn poll_flush_raw(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while ready!(self.io.poll_flush(cx))? > 0 {}
        Poll::Ready(Ok(()))
    }

    /// Ends our direction, once.
    pub(in crate::engine) fn poll_shutdown_raw(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(self.io.poll_shutdown(cx))?;
            self.is_shut = true;
        }
        Poll::Ready(Ok(()))
    }

    /// The next write is to try, though nothing has said that there is room. \[LIM-06\]
    pub(in crate::engine) fn expect_room(&mut self) {
        self.tries = true;
        self.io.expect_room();
    }

    /// What was written last is not whole, and the end is near.
    pub(in crate::engine) fn break_off(&mut self) {
        self.io.break_off();
    }

    /// The connection is about to be dropped where nothing is under way.
    pub(in crate::engine) fn farewell(&mut self) {
        if self.out.is_empty() && !self.is_shut {
            self.io.farewell();
        }
    }

    /// Whether something has come that was not read yet.
    pub(in crate::engine) fn has_input(&mut self) -> bool {
        !self.inflow.raw().is_empty() || self.io.has_input()
    }

    pub(in crate::engine) fn limit_unsent(&self, limit: Option<Duration>) {
        if let Some(limit) = limit {
            self.io.limit_unsent(limit);
        }
    }

    pub(in crate::engine) fn reset_on_close(&mut self) {
        self.io.reset_on_close();
    }

    /// Hands what is gathered to the operating system. Pending: the socket is full, and the task will be woken.
    #[inline]
    pub(in crate::engine) fn poll_flush(&mut self, status: &Status, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_secured {
            ready!(self.poll_flush_below(status, cx))?;
        }
        if self.out.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.sent < self.out.len() {
            match poll_write(&mut self.io, &mut self.tries, cx, &self.out[self.sent..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.sent += count;
                    // [LIM-06] what the transport holds has not gone anywhere
                    if self.is_secured {
                        ready!(self.poll_flush_below(status, cx))?;
                    }
                    status.progressed();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    status.write_blocked();
                    return Poll::Pending;
                }
            }
        }
        self.sent = 0;
        self.out.clear();
        SPARE.set(std::mem::take(&mut self.out));
        Poll::Ready(Ok(()))
    }

    /// Hands on what the transport holds.
    #[inline(never)]
    fn poll_flush_below(&mut self, status: &Status, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.io.poll_flush(cx) {
                Poll::Ready(Ok(0)) => {
                    // A read lets go of what is held, too. [LIM-06]
                    if status.is_write_blocked() {
                        status.progressed();
                    }
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(_)) => status.progressed(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    status.write_blocked();
                    return Poll::Pending;
                }
            }
        }
    }

    pub(super) fn poll_read(
        &mut self,
        status: &Status,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.give_early(buffer.remaining(), |octets| buffer.put_slice(octets)) {
            return Poll::Ready(Ok(()));
        }
        if status.head_timed_out.load(Relaxed) && status.phase() == Phase::Head {
            // [LIM-04] the answer goes out before hyper sees an end and closes
            if self.out.is_empty() && status.head_begun.load(Relaxed) {
                refusal::write(&mut self.out, &head::LATE, &self.line[..self.line_length]);
            }
            return Poll::Ready(Ok(()));
        }
        let room = buffer.remaining();
        loop {
            // A fast sender must not hold the thread, whatever hyper does with what it sends.
            if status.reads() > READS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let read = match self.inflow.want() {
                // What is malformed is for the reader of the body, in hyper's form of it.
                Want::Failed => {
                    let what = match self.inflow.error() {
                        Some(RequestBodyError::Malformed(what)) => what.clone(),
                        error => error.map_or_else(String::new, ToString::to_string),
                    };
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
                }
                // Asked for what nobody knows the length of: it is being given up.
                Want::Nothing => return Poll::Pending,
                _ if !self.inflow.raw().is_empty() => {
                    self.filter(status, &mut buffer, None);
                    Poll::Ready(Ok(1))
                }
                _ if status.has_ended() => Poll::Ready(Ok(0)),
                Want::Plain(left) if left >= buffer.remaining() as u64 => {
                    return match self.io.poll_read(cx, buffer) {
                        Poll::Ready(Ok(count)) if count > 0 => {
                            status.received(self.inflow.is_in_body());
                            self.inflow.passed(count);
                            Poll::Ready(Ok(()))
                        }
                        read => self.no_octets(status, cx, read),
                    };
                }
                _ => LENT.with_borrow_mut(|input| {
                    input.resize(INPUT, 0);
                    let read = self.poll_read_raw(cx, input);
                    if let Poll::Ready(Ok(count)) = read {
                        self.filter(status, &mut buffer, input.get(..count));
                    }
                    read
                }),
            };
            match read {
                Poll::Ready(Ok(count)) if count > 0 => {}
                read => return self.no_octets(status, cx, read),
            }
            if buffer.remaining() < room {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Gives out what there was no room for before, up to `room` octets of it; whether there was such.
    fn give_early(&mut self, room: usize, put: impl FnOnce(&[u8])) -> bool {
        if self.early.is_empty() {
            return false;
        }
        let count = self.early.len().min(room);
        put(&self.early[..count]);
        self.early.drain(..count);
        if self.early.is_empty() {
            // An empty one holds no memory.
            self.early = Vec::new();
        }
        true
    }

    /// Lets hyper have what it may of `input`, or of what was read before.
    fn filter(&mut self, status: &Status, buffer: &mut ReadBufCursor<'_>, input: Option<&[u8]>) {
        let Socket { inflow, early, line, line_length, .. } = self;
        status.received(inflow.is_in_body());
        let is_first = inflow.is_between();
        if is_first || inflow.is_amid_head() {
            let begun = if is_first { 0 } else { *line_length };
            let more = match input {
                Some(input) => input,
                None => inflow.raw(),
            };
            *line_length = (begun + more.len()).min(LINE);
            line[begun..*line_length].copy_from_slice(&more[..*line_length - begun]);
        }
        let mut out = |octets: &[u8]| {
            let fits = if early.is_empty() { octets.len().min(buffer.remaining()) } else { 0 };
            buffer.put_slice(&octets[..fits]);
            early.extend_from_slice(&octets[fits..]);
        };
        match input {
            None => inflow.pass_raw(&mut out),
            Some(input) => {
                let count = inflow.pass(input, &mut out);
                inflow.raw().extend_from_slice(&input[count..]);
            }
        }
        status.head_ahead.store(inflow.has_begun_head(), Relaxed);
        if let Some(request) = inflow.fragment() {
            status.fragment.store(request, Relaxed);
        }
    }

    /// There is nothing to read now, or not any more.
    fn no_octets(
        &mut self,
        status: &Status,
        cx: &mut Context<'_>,
        read: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        match read {
            Poll::Pending => {
                status.read_waits.store(true, Relaxed);
                return Poll::Pending;
            }
            read if is_end(&read) => {}
            Poll::Ready(Err(error)) => {
                // [DIS-01] a reset needs no grace
                self.disconnects = true;
                return Poll::Ready(Err(error));
            }
            Poll::Ready(Ok(_)) => {}
        }
        if status.client_ended() {
            self.disconnects = true;
            // The grace starts now; the supervisor has to see it.
            cx.waker().wake_by_ref();
        }
        if status.meets_end() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// How the head under way begins, as far as it is remembered.
    pub(in crate::engine) fn line(&self) -> &[u8] {
        &self.line[..self.line_length]
    }

    /// Sends the answer to `rejection` in place of hyper's own, or of none if hyper `is_silent`; whether it could.
    pub(in crate::engine) fn refuse(&mut self, rejection: &Rejection, line: &[u8], is_silent: bool) -> bool {
        let refuses = is_silent || refusal::take_back(&mut self.out);
        if refuses {
            refusal::write(&mut self.out, rejection, line);
        }
        refuses
    }

    /// Sends `bytes` behind what hyper has written.
    pub(in crate::engine) fn append(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Takes `bytes`, to be written with what else there is, up to `most`.
    pub(super) fn poll_write(
        &mut self,
        status: &Status,
        cx: &mut Context<'_>,
        bytes: &[u8],
        most: usize,
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if !self.out.is_empty() && self.out.len() - self.sent + bytes.len() > most {
            ready!(self.poll_flush(status, cx))?;
        }
        if self.out.is_empty() && bytes.len() >= DIRECT {
            if self.is_secured {
                ready!(self.poll_flush_below(status, cx))?;
            }
            return match poll_write(&mut self.io, &mut self.tries, cx, bytes) {
                Poll::Pending => {
                    status.write_blocked();
                    Poll::Pending
                }
                written => {
                    if !self.is_secured || self.poll_flush_below(status, cx).is_ready() {
                        status.progressed();
                    }
                    written
                }
            };
        }
        if self.out.capacity() == 0 {
            self.out = SPARE.take();
        }
        self.out.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }
}

/// Whether a read has found the end of the client's stream, for HTTP: also without close_notify, since its messages show their ends.
fn is_end(read: &Poll<io::Result<usize>>) -> bool {
    match read {
        Poll::Ready(Ok(count)) => *count == 0,
        Poll::Ready(Err(error)) => error.kind() == io::ErrorKind::UnexpectedEof,
        Poll::Pending => false,
    }
}

/// Hands bytes to the operating system; `tries` to do so once without an event.
fn poll_write(
    io: &mut Box<dyn Transport>,
    tries: &mut bool,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    if std::mem::take(tries)
        && let Ok(count) = io.write_now(bytes)
    {
        return Poll::Ready(Ok(count));
    }
    io.poll_write(cx, bytes)
}
