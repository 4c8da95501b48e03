//! From a head to the application, and from its answer to octets. \[ENV-08\], \[ENV-11\], \[RSP\], \[BOD\], \[FRM\], \[NOB\],
//! \[TRL-04\], \[ERR-04\]
//!
//! The body is pulled and dropped without the lock. An async one is pulled until it is pending, one that blocks goes out piece
//! by piece (\[BOD-04\]). Where there is no room the body waits with the connection (\[BOD-16\]).

use std::io::ErrorKind;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use adapter_core::contain::discard;
use adapter_core::dispatch::{self, Exchange, GRACE, Grace, Limit, Observed, Outgoing, Piece, is_unanswerable};
use adapter_core::observe::ConnectionEnd;
use adapter_core::rules::request::{BodyLength, Facts};
use adapter_core::rules::response::Framing;
use adapter_core::server::ShutdownLevel;
use adapter_core::{Environ, RequestBody, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Version};

use super::body::BodySource;
use super::hints::Template;
use super::io::{Flush, Limited};
use super::phase::{Closing, Flow, Phase, Seen, Sending};
use super::transport::Transport;
use super::upload::Upload;
use super::{Connection, Shared, upgrade};
use crate::buffers::COPY;
use crate::encoder;

/// Pieces of a body sent before others get their turn.
const AT_A_TIME: u32 = 64;
/// Octets of small pieces that go out together.
const GATHER: usize = 64 * 1024;
/// A body that blocks is quick once that many pieces in a row took less than this each: then another thread may see to what is
/// gathered, see [`Transport::hold`].
const QUICK_PIECES: u32 = 8;
const QUICK: Duration = Duration::from_micros(100);
/// Octets of a file that are sent at a time: between two of them it is seen whether the server ends.
const FILE: u64 = 1024 * 1024;

impl Sending {
    /// Sends of the file that comes next, past the output, which is empty; how much, or `None` where a piece has to be read: it is no file,
    /// there is no room for it now, or it has become shorter. What is read then finds out which, and waits in the output, as any piece does.
    fn send_file(&mut self) -> Option<u64> {
        let part = self.body.file_part()?;
        match self.files.as_ref()?.try_send_file(part.file, part.position, part.length.min(FILE)) {
            Ok(count) if count > 0 => {
                self.body.file_sent(count as u64);
                return Some(count as u64);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => self.files = None,
        }
        None
    }
}

impl<T: Transport> Shared<T> {
    /// Runs application code for a request, in a [turn](super::Settings::with_turns). Where it may hold the thread others may close the
    /// connection meanwhile, and tell how the request has ended: `observed` is none then.
    #[inline]
    pub(super) fn held<R>(&self, observed: &mut Option<Box<Observed>>, code: impl FnOnce() -> R) -> R {
        let is_lent = observed.is_some() && self.settings.serving.runtime.may_block();
        if is_lent {
            self.io().lend(observed.take());
        }
        let turn = self.settings.turn();
        let done = code();
        drop(turn);
        if is_lent {
            *observed = self.io().take_back();
        }
        done
    }

    /// Whether application code that held its thread from `begun` until `now` was left by its client: reset, or, where it `blocks`, ended
    /// so long ago that code which does not block would have been dropped. \[DIS-01\], \[DIS-05b\]
    #[inline(always)]
    fn was_left(&self, blocks: bool, begun: Instant, now: Instant) -> bool {
        // Most code is quick, and most clients stay.
        let is_quick = !blocks || now.saturating_duration_since(begun) < GRACE;
        (!is_quick || self.environ.disconnected.is_fired()) && self.seems_left(blocks, begun, now)
    }

    #[inline(never)]
    fn seems_left(&self, blocks: bool, begun: Instant, now: Instant) -> bool {
        let mut io = self.io();
        io.is_gone() || (blocks && io.has_left(begun, now))
    }
}

impl<T: Transport> Connection<T> {
    /// Calls the application with the request whose head was there at `received`, and polls it once: most handlers are ready then.
    #[inline]
    pub(super) fn call(
        &mut self,
        cx: &mut Context<'_>,
        place: &mut Option<Parts>,
        facts: Facts,
        received: Instant,
    ) -> Flow {
        let Some(parts) = &*place else { return Flow::Next };
        let mut io = self.shared.io();
        io.request += 1;
        io.committed = false;
        io.received = 0;
        let number = io.request;
        let body = match facts.body {
            // [REQ-04]
            BodyLength::Sized(0) => RequestBody::empty(),
            // All of it is here: most bodies of forms and calls.
            BodyLength::Sized(length)
                if !facts.expects_continue && length <= COPY as u64 && length <= io.input.len() as u64 =>
            {
                io.received = length;
                let length = length as usize;
                let data = Bytes::copy_from_slice(io.input.bytes().get(..length).unwrap_or_default());
                io.input.consume(length);
                RequestBody::from(data)
            }
            length => {
                let limit = self.shared.settings.limits.body_bytes;
                io.upload = Some(Box::new(Upload::new(length, limit, facts.expects_continue)));
                RequestBody::from_source(BodySource::new(self.shared.clone(), number, length))
            }
        };
        if !io.output.is_empty() && self.shared.settings.serving.runtime.may_block() && io.must_flush() {
            // Answers to earlier requests of a pipeline. What can't go out now waits for room, and does not hold up this one.
            let _: Flush = io.flush(self.now);
        }
        drop(io);
        // [INF-01], [INF-02] RFC 9110 §15.2: no 1xx to a 1.0 client
        let environ = if facts.version == Version::HTTP_11 {
            Template::environ(&mut self.template, &self.shared, number, received)
        } else {
            Environ::new(self.shared.environ.clone(), received)
        };
        let mut environ = environ.with_forwarded(&parts.headers);
        if let Some(offer) = upgrade::offer(&mut self.handover, &facts) {
            environ = environ.with_upgrade(offer);
        }
        if let Some(observed) = Observed::begin(&environ, parts, received) {
            self.observed = Some(observed);
        }
        let Some(parts) = place.take() else { return Flow::Next };
        let request = Request::from_parts(parts, body);
        let settings = &self.shared.settings;
        let mut exchange =
            Exchange::begin(&settings.application, request, environ, facts, settings.timeouts.handler, self.now);
        let mut answer = None;
        let polled = self.poll_handler(cx, &mut exchange, &mut answer);
        self.turn.woken = false;
        if polled.is_pending() {
            self.phase = Phase::Handling(Box::new(exchange));
            return self.wait_for_handler();
        }
        drop(exchange);
        self.begin(answer.expect("invariant: ready means that there is an answer"), facts);
        Flow::Next
    }

    /// Polls the application.
    #[inline]
    pub(super) fn poll_handler(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        answer: &mut Option<Response>,
    ) -> Poll<()> {
        let poll = || exchange.poll(cx, || self.shared.now(), answer);
        if self.shared.settings.timeouts.handler.is_none() {
            return self.shared.held(&mut self.observed, poll);
        }
        self.poll_limited(cx, exchange, answer)
    }

    /// Polls the application, whose time is limited. Ready, too, where another thread has [answered](super::Handle::answer_late)
    /// meanwhile: the exchange sees that it is late. \[LIM-09\]
    #[inline(never)]
    fn poll_limited(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        answer: &mut Option<Response>,
    ) -> Poll<()> {
        let Connection { shared, observed, now, .. } = self;
        let (polled, is_answered) = shared.held(observed, || {
            let limited = |limit: &Arc<Limit>| Limited { limit: limit.clone(), facts: exchange.facts, begun: *now };
            shared.io().limit = exchange.limit().map(limited);
            let polled = exchange.poll(cx, || shared.now(), answer);
            let mut io = shared.io();
            io.limit = None;
            (polled, io.answered_late)
        });
        if is_answered && polled.is_pending() { exchange.poll(cx, || shared.now(), answer) } else { polled }
    }

    /// Begins the response: its head goes into the output, and its body too if it is there.
    pub(super) fn begin(&mut self, response: Response, mut facts: Facts) {
        let before = self.now;
        let may_block = self.shared.settings.serving.runtime.may_block();
        if may_block || self.observed.is_some() {
            // It may have taken its time.
            self.now = self.shared.now();
        }
        let has_blocked = may_block && self.shared.environ.has_blocked();
        if may_block && self.shared.settings.timeouts.handler.is_some() && self.is_answered() {
            discard("drop of a response", response);
            return;
        }
        if is_unanswerable(&response) || (may_block && self.shared.was_left(has_blocked, before, self.now)) {
            // [ERR-12], [DIS-05b] answers to earlier requests still go out
            let io = self.shared.io();
            let (received, has_upload) = (io.received, io.upload.is_some());
            drop(io);
            if let Some(mut observed) = self.observed.take() {
                observed.received(received);
                observed.extended(response.extensions());
            }
            discard("drop of a response", response);
            // [OBS-02] it is not for the server that this ends
            self.leave(true, has_upload);
            return;
        }
        let Connection { shared, handover, requests, now, .. } = self;
        let settings = &shared.settings;
        let most = settings.limits.requests_per_connection;
        // [KAP-12], [SHU-05]
        facts.keep_alive &= settings.keep_alive
            && most.is_none_or(|most| *requests < most)
            && settings.serving.shutdown.level() == ShutdownLevel::Running;
        if facts.keep_alive && facts.body != BodyLength::Sized(0) {
            let mut io = shared.io();
            facts.keep_alive = io.upload.is_none() || io.can_drain(*now);
        }
        if let Some(observed) = &mut self.observed {
            observed.extended(response.extensions());
        }
        let (mut head, mut body, mut plan) = dispatch::prepare(response, &facts, handover.is_some());
        if body.is_blocking() {
            let counted = shared.environ.count_blocking_job();
            let observed = self.observed.as_deref_mut();
            body = dispatch::offload(&mut head, body, &mut plan, &facts, &settings.serving.runtime, counted, observed);
        }
        let switches = upgrade::decide(handover, head.status, &facts);
        // What follows a 2xx to CONNECT is a tunnel, and never HTTP.
        plan.close |= facts.is_connect && head.status.is_success() && !switches;

        let mut sent = 0;
        let mut rest = Some(body);
        let mut io = shared.io();
        io.committed = true;
        io.taken = switches;
        encoder::head_at(io.out(), &head, &plan, facts.version, facts.is_head, *now);
        if plan.send_body
            && let Framing::Length(length) = plan.framing
            && let Some(body) = rest.as_mut().filter(|body| body.is_full() && body.len() == Some(length))
        {
            // The usual case: one write for all of it.
            if let Some(Ok(frame)) = body.next_frame()
                && let Ok(data) = frame.into_data()
            {
                sent = data.len();
                io.output.append(data, b"");
            }
        } else if let Some(body) = rest.take_if(|_| plan.send_body && plan.framing != Framing::None) {
            drop(io);
            if let Some(observed) = &mut self.observed {
                observed.answered(head.status, *now);
            }
            if let Some(body) = Outgoing::new(body, &plan, &facts) {
                let files = body.file_part().and_then(|_| shared.io().transport.as_ref()?.file_sender());
                let grace = Grace::default();
                let sending = Sending { body, close: plan.close, complete: false, quick: 0, files, grace };
                self.phase = Phase::Sending(Box::new(sending));
                self.turn.woken = true;
            }
            return;
        }
        if let Some(mut observed) = self.observed.take() {
            observed.answered_at_once(head.status);
            observed.sent(sent as u64);
            io.deliver(observed, *now);
        }
        // Whoever still holds the request's handles is cut off.
        io.request += 1;
        let has_upload = io.upload.is_some();
        drop(io);
        super::recycle(head.headers);
        // [NOB-03] dropped, not pulled; its drop is application code
        drop(rest);
        if switches {
            self.phase = Phase::Switching;
        } else {
            self.finish(plan.close, has_upload);
        }
    }

    /// Whether another thread has given the answer, behind which the connection ends. \[LIM-09\]
    fn is_answered(&mut self) -> bool {
        let mut io = self.shared.io();
        let (is_answered, has_upload) = (std::mem::take(&mut io.answered_late), io.upload.is_some());
        drop(io);
        if is_answered {
            self.finish(true, has_upload);
        }
        is_answered
    }

    /// The response is complete in the output: on to the next request, or to the end.
    fn finish(&mut self, close: bool, has_upload: bool) {
        if close {
            let why = if self.is_stopping() { ConnectionEnd::Drained } else { ConnectionEnd::Done };
            self.shared.environ.ends(why);
        }
        self.leave(close, has_upload);
    }

    /// On to what comes behind a request.
    fn leave(&mut self, close: bool, has_upload: bool) {
        self.waiting.since = None;
        self.phase = if has_upload {
            self.leave_body(close)
        } else if close {
            Phase::Closing(Box::new(Closing::orderly()))
        } else {
            Phase::Head
        };
    }

    /// Sends on. Pulls the body only with a permit.
    pub(super) fn sending(&mut self, cx: &mut Context<'_>) -> Flow {
        let mut pieces = 0;
        // Until it says so itself, or was woken.
        let mut pending = !self.turn.woken;
        // The time a piece takes is counted with that of sending the one before.
        let mut last = self.now;
        loop {
            let Phase::Sending(sending) = &mut self.phase else { return Flow::Next };
            let blocks = sending.body.is_blocking();
            let mut io = self.shared.io();
            // [RSP-10], [BOD-04] what blocks may take its time
            let flush_first = pending
                || sending.complete
                || !self.turn.permit
                || io.output.gathered() >= GATHER
                || sending.files.is_some()
                || (blocks && (sending.quick < QUICK_PIECES || io.must_flush()));
            let flushed = if flush_first { io.flush(self.now) } else { Flush::Done };
            // Also where nothing is left to be written: what was cut off has thrown it away, and a body may go on for ever.
            let flushed = if io.broken { Flush::Broken } else { flushed };
            drop(io);
            match flushed {
                Flush::Done => {}
                Flush::Wait => match self.look() {
                    // There is room again.
                    Seen::There(_) if self.shared.io().stalled_since.is_none() => continue,
                    Seen::There(until) => return Flow::Park(until),
                    Seen::Gone if self.turn.permit => return self.close(false),
                    Seen::Gone => return Flow::Permit { is_new: false },
                },
                // [ERR-07], [BOD-10]
                Flush::Broken if self.turn.permit => return self.close(false),
                Flush::Broken => return Flow::Permit { is_new: false },
            }
            if pending && !sending.complete {
                match self.look() {
                    Seen::There(until) => return Flow::Park(until),
                    Seen::Gone if self.turn.permit => return self.close(false),
                    Seen::Gone => return Flow::Permit { is_new: false },
                }
            }
            if !self.turn.permit {
                return Flow::Permit { is_new: false };
            }
            if sending.complete {
                let close = sending.close;
                // The body is dropped here.
                self.phase = Phase::Head;
                if self.observed.is_some() {
                    // What is pulled may have taken its time.
                    self.now = self.shared.now();
                }
                let mut io = self.shared.io();
                if let Some(observed) = self.observed.take() {
                    io.deliver(observed, self.now);
                }
                io.request += 1;
                let has_upload = io.upload.is_some();
                drop(io);
                self.finish(close, has_upload);
                return Flow::Next;
            }
            if pieces >= AT_A_TIME && !blocks {
                return Flow::Again;
            }
            pieces += 1;
            if let Some(sent) = sending.send_file() {
                // Nothing else is on its way, so the client has taken something.
                self.now = self.shared.now();
                if let Some(observed) = &mut self.observed {
                    observed.sent(sent);
                }
                sending.grace.renew();
                last = self.now;
                continue;
            }
            let polled = self.shared.held(&mut self.observed, || sending.body.poll_piece(cx));
            if blocks {
                self.now = self.shared.now();
                let is_quick = self.now.saturating_duration_since(last) < QUICK;
                sending.quick = if is_quick { sending.quick + 1 } else { 0 };
                // [DIS-05c]
                if self.shared.was_left(true, std::mem::replace(&mut last, self.now), self.now) {
                    return self.close(false);
                }
            }
            let Poll::Ready(piece) = polled else {
                self.turn.woken = false;
                pending = true;
                continue;
            };
            sending.grace.renew();
            let chunked = sending.body.framing() == Framing::Chunked;
            let mut io = self.shared.io();
            match piece {
                Piece::Data(data) => {
                    if let Some(observed) = &mut self.observed {
                        observed.sent(data.len() as u64);
                    }
                    if chunked {
                        encoder::chunk_size(io.out(), data.len());
                    }
                    io.output.append(data, if chunked { encoder::CHUNK_END } else { b"" });
                }
                Piece::End(trailers) => {
                    sending.complete = true;
                    if chunked {
                        encoder::last_chunk(io.out(), trailers.as_ref());
                    }
                }
                Piece::Broken => {
                    io.request += 1;
                    if let Some(transport) = &mut io.transport {
                        transport.break_off();
                    }
                    let (has_upload, received) = (io.upload.is_some(), io.received);
                    drop(io);
                    let is_left = sending.body.is_left();
                    if let Some(mut observed) = self.observed.take() {
                        observed.received(received);
                        if is_left { observed.left() } else { observed.failed() }
                    }
                    self.shared.environ.ends(if is_left { ConnectionEnd::Client } else { ConnectionEnd::Failed });
                    // [FRM-07], [ERR-04] no last chunk; where only the end delimits it, not even an orderly end
                    let reset = sending.body.breaks_off_by_reset();
                    self.phase = Phase::Head;
                    self.finish(true, has_upload);
                    self.phase = Phase::Closing(Box::new(Closing::broken_off(reset)));
                    return Flow::Next;
                }
            }
        }
    }
}
