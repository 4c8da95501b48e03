//! The request body as the application's source. \[REQ-07\] to \[REQ-20\], \[EXP-01\], \[EXP-05\], \[LIM-05\]
//!
//! The application reads the transport itself, from any task or thread, under the lock of [`Io`]; one that has to wait leaves
//! its waker, and the connection's task wakes it when there is more, or when the time is up. A body that outlives its
//! request is cut off from the connection by its number.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use adapter_core::observe::TimeLimit;
use adapter_core::request_body::Source;
use adapter_core::rules::request::BodyLength;
use adapter_core::sync::MutexGuard;
use adapter_core::{RequestBodyError, Sleep};
use bytes::{Buf, Bytes};
use futures_lite::future::block_on;
use http_body::{Frame, SizeHint};

use super::Shared;
use super::io::{Fill, Flush, Io};
use super::transport::Transport;
use super::upload::earlier;
use crate::body_decoder::Event;
use crate::encoder;

/// Octets read at a time.
const PIECE: usize = 64 * 1024;
/// Frames that are there without waiting, before others get their turn.
const AT_A_TIME: u32 = 16;
/// How long another thread may take that answers in the place of who reads.
const MOMENT: Duration = Duration::from_millis(20);

/// What the buffers give.
pub(super) enum Decoded {
    Frame(Frame<Bytes>),
    End,
    Starved,
}

type Next = Option<Result<Frame<Bytes>, RequestBodyError>>;

impl<T: Transport> Io<T> {
    /// The next frame out of what has been read.
    pub(super) fn decode(&mut self) -> Result<Decoded, RequestBodyError> {
        let Some(upload) = self.upload.as_deref_mut() else { return Ok(Decoded::End) };
        if let Some(error) = &upload.failed {
            return Err(error.clone());
        }
        let from_input = !self.input.is_empty();
        let source = if from_input { self.input.bytes() } else { &upload.carry };
        let event = upload.decoder.decode(source).inspect_err(|error| upload.failed = Some(error.clone()))?;
        let mut take = |start: usize, consumed: usize| {
            if from_input {
                let data = Bytes::copy_from_slice(self.input.bytes().get(start..consumed).unwrap_or_default());
                self.input.consume(consumed);
                return data;
            }
            let mut data = upload.carry.split_to(consumed);
            data.advance(start);
            data
        };
        match event {
            Event::Data { start, consumed } => {
                let data = take(start, consumed);
                upload.has_progress();
                self.received += data.len() as u64;
                if upload.decoder.is_done() {
                    self.end_of_body();
                }
                Ok(Decoded::Frame(Frame::data(data)))
            }
            Event::More { consumed } => {
                take(consumed, consumed);
                if from_input && !upload.carry.is_empty() { self.decode() } else { Ok(Decoded::Starved) }
            }
            Event::End { trailers, consumed } => {
                take(consumed, consumed);
                self.end_of_body();
                // [TRL-01]
                Ok(trailers.map_or(Decoded::End, |trailers| Decoded::Frame(Frame::trailers(trailers))))
            }
        }
    }

    /// The body is complete; what was read beyond it is the next request's. \[REQ-03\]
    fn end_of_body(&mut self) {
        let Some(mut upload) = self.upload.take() else { return };
        self.stale = upload.reader.take();
        if self.input.is_empty() {
            self.input.unread(&upload.carry);
        }
    }

    /// Reads the next piece of the body.
    pub(super) fn receive(&mut self, now: Instant) -> Fill {
        let size = match self.upload.as_ref().and_then(|upload| upload.remaining()) {
            // Not an octet beyond it.
            Some(remaining) => remaining.min(PIECE as u64) as usize,
            None => PIECE,
        };
        match self.read_new(size.max(1)) {
            Ok(bytes) => {
                self.heard = now;
                if let Some(upload) = &mut self.upload {
                    upload.carry = bytes;
                }
                Fill::Data
            }
            Err(outcome) => {
                if matches!(outcome, Fill::End | Fill::Broken)
                    && let Some(upload) = &mut self.upload
                {
                    // [REQ-10] RFC 9112 §8: not an end, but a breaking off
                    upload.failed.get_or_insert(RequestBodyError::Disconnected);
                }
                outcome
            }
        }
    }

    /// \[EXP-01\], \[EXP-05\] RFC 9110 §10.1.1: tells the client once that its body is wanted.
    fn invite(&mut self, now: Instant) {
        let committed = self.committed;
        if let Some(upload) = &mut self.upload
            && std::mem::take(&mut upload.expects_continue)
            && !committed
        {
            self.out().extend_from_slice(encoder::CONTINUE);
            // What does not go out now goes out when there is room.
            let _: Flush = self.flush(now);
        }
    }

    /// Who waits for more of the body and has reason to look again, as of `now`: something came, or it is late.
    pub(super) fn stir(&mut self, now: Instant) -> Option<Waker> {
        let upload = self.upload.as_deref()?;
        upload.reader.as_ref()?;
        let is_late = upload.deadline.is_some_and(|deadline| now >= deadline);
        // What has come stays with the body; a reader may be slower than its waker.
        if !is_late && upload.is_read_up() && self.input.is_empty() && self.receive(now) == Fill::Wait {
            return None;
        }
        let upload = self.upload.as_deref_mut()?;
        // [LIM-05] whoever is late learns it when it reads again, if nothing has come by then
        upload.stop_waiting(now);
        upload.reader.take()
    }
}

/// The application's end of the body of request number `request`.
pub(super) struct BodySource<T: Transport> {
    shared: Arc<Shared<T>>,
    request: u64,
    /// Octets to come, if known.
    remaining: Option<u64>,
}

impl<T: Transport> BodySource<T> {
    pub(super) fn new(shared: Arc<Shared<T>>, request: u64, length: BodyLength) -> Self {
        let remaining = match length {
            BodyLength::Sized(length) => Some(length),
            BodyLength::Unknown => None,
        };
        BodySource { shared, request, remaining }
    }

    /// The next frame, or until when to wait for it at most.
    fn poll_next(&mut self, cx: &mut Context<'_>, blocks: bool) -> Result<Next, Option<Instant>> {
        let shared = self.shared.clone();
        let now = shared.now();
        let mut io = shared.io();
        if self.gives_way(&mut io) {
            drop(io);
            cx.waker().wake_by_ref();
            return Err(None);
        }
        // The connection's task may be what is blocked: then nobody passes on what the transport says.
        let own = blocks && io.running && shared.settings.serving.runtime.may_block();
        let task = own.then(|| io.set_waker(cx.waker().clone()));
        let mut next = self.attempt(&mut io, now);
        // Dropped without the lock: it may be anybody's.
        let mut stale = None;
        if next.is_pending() {
            next = self.wait(&mut io, now);
            if let Some(upload) = io.upload.as_mut().filter(|_| next.is_pending())
                && !upload.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker()))
            {
                stale = upload.reader.replace(cx.waker().clone());
            }
        }
        if let Some(task) = task {
            io.set_waker(task);
        }
        let until = io.upload.as_ref().and_then(|upload| upload.deadline);
        // Another than the connection's task has something to be watched: its time.
        let task = if next.is_pending() { io.task() } else { None };
        let next = self.seen(io, next);
        drop(stale);
        if let Some(task) = task {
            task.wake();
        }
        if let Poll::Ready(next) = next { Ok(next) } else { Err(until) }
    }

    /// The next frame, for which the thread waits by what the transport has for that; `None` if it has nothing.
    fn next_by_waiting(&mut self, within: Option<Instant>) -> Option<Next> {
        let shared = self.shared.clone();
        loop {
            let now = shared.now();
            let mut io = shared.io();
            let mut next = self.attempt(&mut io, now);
            if next.is_pending() {
                next = self.wait(&mut io, now);
            }
            if next.is_pending() && io.must_flush() {
                // What waits for room goes on only with another attempt.
                let _: Flush = io.flush(now);
            }
            // [LIM-09] what is read by then is for nobody: another thread answers
            let limit = io.limit().map(|limit| limit.until().max(now) + MOMENT);
            let until = earlier(earlier(io.upload.as_ref().and_then(|upload| upload.deadline), within), limit);
            if next.is_pending() && within.is_some_and(|within| now >= within) {
                next = self.give_up(&mut io);
            }
            let waiter = io.transport.as_ref().filter(|_| next.is_pending()).and_then(Transport::waiter);
            if let Poll::Ready(next) = self.seen(io, next) {
                return Some(next);
            }
            waiter?.wait(until.map(|until| until.saturating_duration_since(now)));
            let now = shared.now();
            let mut io = shared.io();
            if io.request == self.request
                && let Some(upload) = &mut io.upload
            {
                upload.stop_waiting(now);
            }
        }
    }

    /// Lets go of the lock, and takes note of what comes out.
    fn seen(&mut self, mut io: MutexGuard<'_, Io<T>>, next: Poll<Next>) -> Poll<Next> {
        // [DIS-01] the end counts once the body has been read, or cut short
        let ended = io.upload.is_none() && (io.at_end || io.transport.as_ref().is_none_or(Transport::has_ended))
            || matches!(next, Poll::Ready(Some(Err(RequestBodyError::Disconnected))));
        let stale = io.stale.take();
        drop(io);
        drop(stale);
        if ended {
            self.shared.environ.disconnected.fire();
        }
        self.remaining = match &next {
            Poll::Ready(Some(Ok(frame))) => {
                let count = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.remaining.map(|remaining| remaining.saturating_sub(count))
            }
            Poll::Ready(None) => Some(0),
            Poll::Ready(Some(Err(_))) | Poll::Pending => self.remaining,
        };
        next
    }

    /// The next frame if it is there.
    fn attempt(&self, io: &mut Io<T>, now: Instant) -> Poll<Next> {
        // [REQ-15] the request is over
        if io.request != self.request {
            let next = if self.remaining == Some(0) { None } else { Some(Err(RequestBodyError::Disconnected)) };
            return Poll::Ready(next);
        }
        io.invite(now);
        loop {
            match io.decode() {
                Ok(Decoded::Frame(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(Decoded::End) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
                Ok(Decoded::Starved) if io.receive(now) == Fill::Wait => return Poll::Pending,
                Ok(Decoded::Starved) => {}
            }
        }
    }

    /// Whether it is the turn of others, after many frames without waiting.
    fn gives_way(&self, io: &mut Io<T>) -> bool {
        let Some(upload) = io.upload.as_mut().filter(|_| io.request == self.request) else { return false };
        upload.in_a_row += 1;
        let enough = upload.in_a_row > AT_A_TIME;
        if enough {
            upload.in_a_row = 0;
        }
        enough
    }

    /// \[LIM-12\] whoever waits waits no longer.
    fn give_up(&self, io: &mut Io<T>) -> Poll<Next> {
        self.shared.environ.timed_out(TimeLimit::MinRate);
        if let Some(upload) = io.upload.as_mut().filter(|_| io.request == self.request) {
            upload.failed.get_or_insert(RequestBodyError::TimedOut);
        }
        Poll::Ready(Some(Err(RequestBodyError::TimedOut)))
    }

    /// Nothing is there: somebody waits from now on, or the time is up. \[LIM-05\]
    fn wait(&self, io: &mut Io<T>, now: Instant) -> Poll<Next> {
        let Some(upload) = &mut io.upload else { return Poll::Pending };
        upload.in_a_row = 0;
        let deadline = upload.wait(now, self.shared.settings.timeouts.body_read);
        if deadline.is_some_and(|deadline| now >= deadline) {
            self.shared.environ.timed_out(TimeLimit::BodyRead);
            upload.failed.get_or_insert(RequestBodyError::TimedOut);
            return Poll::Ready(Some(Err(RequestBodyError::TimedOut)));
        }
        Poll::Pending
    }
}

impl<T: Transport> Source for BodySource<T> {
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        self.poll_next(cx, false).map_or(Poll::Pending, Poll::Ready)
    }

    /// The thread that runs the connection may be the one that waits: then nobody else looks at the clock.
    fn next_frame(mut self: Pin<&mut Self>, within: Option<Duration>) -> Next {
        let within = within.and_then(|within| self.shared.now().checked_add(within));
        if let Some(next) = self.next_by_waiting(within) {
            return next;
        }
        let runtime = self.shared.settings.serving.runtime.clone();
        let mut timer: Option<(Sleep, Instant)> = None;
        block_on(poll_fn(|cx| {
            loop {
                let until = match self.poll_next(cx, true) {
                    Ok(next) => return Poll::Ready(next),
                    Err(until) => earlier(until, within),
                };
                if within.is_some_and(|within| runtime.now() >= within) {
                    return self.give_up(&mut self.shared.io());
                }
                let Some(until) = until else { return Poll::Pending };
                let (sleep, _) = match &mut timer {
                    Some(timer) if timer.1 == until => timer,
                    other => other.insert((runtime.sleep_until(until), until)),
                };
                if Pin::new(sleep).poll(cx).is_pending() {
                    return Poll::Pending;
                }
                timer = None;
            }
        }))
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl<T: Transport> Drop for BodySource<T> {
    /// \[REQ-20\] the rest is not wanted.
    fn drop(&mut self) {
        let mut io = self.shared.io();
        let mut stale = None;
        if io.request == self.request
            && let Some(upload) = &mut io.upload
        {
            upload.abandoned = true;
            upload.deadline = None;
            stale = upload.reader.take();
        }
        drop(io);
        drop(stale);
    }
}
