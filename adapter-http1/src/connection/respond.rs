//! From a head to the application, and from its answer to octets. \[ENV-08\], \[ENV-11\], \[RSP\], \[BOD\], \[FRM\], \[NOB\],
//! \[TRL-04\], \[ERR-04\]
//!
//! The body is pulled and dropped without the lock. An async one is pulled until it is pending, one that blocks goes out piece
//! by piece (\[BOD-04\]). Where there is no room the body waits with the connection (\[BOD-16\]).

use std::task::{Context, Poll};

use adapter_core::contain::discard;
use adapter_core::dispatch::{self, Exchange, Grace, Outgoing, Piece, is_unanswerable};
use adapter_core::rules::request::{BodyLength, Facts};
use adapter_core::rules::response::Framing;
use adapter_core::server::ShutdownLevel;
use adapter_core::{Environ, RequestBody, Response};
use bytes::Bytes;
use http::{Request, Version};

use super::body::BodySource;
use super::hints::Template;
use super::io::Flush;
use super::phase::{Closing, Flow, Phase, Seen, Sending};
use super::transport::Transport;
use super::upload::Upload;
use super::{Connection, upgrade};
use crate::buffers::COPY;
use crate::encoder;
use crate::head::Head;

/// Pieces of a body sent before others get their turn.
const AT_A_TIME: u32 = 64;
/// Octets of small pieces that go out together.
const GATHER: usize = 64 * 1024;

impl<T: Transport> Connection<T> {
    /// Calls the application and polls it once: most handlers are ready then.
    #[inline]
    pub(super) fn call(&mut self, cx: &mut Context<'_>, head: Head) -> Flow {
        let facts = head.facts;
        let mut io = self.shared.io();
        io.request += 1;
        io.committed = false;
        let number = io.request;
        let body = match facts.body {
            // [REQ-04]
            BodyLength::Sized(0) => RequestBody::empty(),
            // All of it is here: most bodies of forms and calls.
            BodyLength::Sized(length)
                if !facts.expects_continue && length <= COPY as u64 && length <= io.input.len() as u64 =>
            {
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
        drop(io);
        // [INF-01], [INF-02] RFC 9110 §15.2: no 1xx to a 1.0 client
        let environ = if facts.version == Version::HTTP_11 {
            Template::environ(&mut self.template, &self.shared, number, self.now)
        } else {
            Environ::new(self.shared.environ.clone(), self.now)
        };
        let mut environ = environ.with_forwarded(&head.parts.headers);
        if let Some(offer) = upgrade::offer(&mut self.handover, &facts) {
            environ = environ.with_upgrade(offer);
        }
        let request = Request::from_parts(head.parts, body);
        let settings = &self.shared.settings;
        let mut exchange =
            Exchange::begin(&settings.application, request, environ, facts, settings.timeouts.handler, self.now);
        let mut answer = None;
        let turn = settings.turn();
        let polled = exchange.poll(cx, || self.shared.now(), &mut answer);
        drop(turn);
        if polled.is_pending() {
            self.phase = Phase::Handling(Box::new(exchange));
            return self.wait_for_handler();
        }
        drop(exchange);
        self.begin(answer.expect("invariant: ready means that there is an answer"), facts);
        Flow::Next
    }

    /// Begins the response: its head goes into the output, and its body too if it is there.
    pub(super) fn begin(&mut self, response: Response, mut facts: Facts) {
        if is_unanswerable(&response) {
            // [ERR-12] answers to earlier requests still go out
            discard("drop of a response", response.into_body());
            let has_upload = self.shared.io().upload.is_some();
            self.finish(true, has_upload);
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
        let (mut head, mut body, mut plan) = dispatch::prepare(response, &facts, handover.is_some());
        if body.is_blocking() {
            let counted = shared.environ.count_blocking_job();
            body = dispatch::offload(&mut head, body, &mut plan, &facts, &settings.serving.runtime, counted);
        }
        let switches = upgrade::decide(handover, head.status, &facts);
        // What follows a 2xx to CONNECT is a tunnel, and never HTTP.
        plan.close |= facts.is_connect && head.status.is_success() && !switches;

        let mut rest = Some(body);
        let mut io = shared.io();
        io.committed = true;
        encoder::head_at(io.out(), &head, &plan, facts.version, facts.is_head, *now);
        if plan.send_body
            && let Framing::Length(length) = plan.framing
            && let Some(body) = rest.as_mut().filter(|body| body.is_full() && body.len() == Some(length))
        {
            // The usual case: one write for all of it.
            if let Some(Ok(frame)) = body.next_frame()
                && let Ok(data) = frame.into_data()
            {
                io.output.append(data, b"");
            }
        } else if let Some(body) = rest.take_if(|_| plan.send_body && plan.framing != Framing::None) {
            drop(io);
            if let Some(body) = Outgoing::new(body, &plan, &facts) {
                let sending = Sending { body, close: plan.close, complete: false, grace: Grace::default() };
                self.phase = Phase::Sending(Box::new(sending));
            }
            return;
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

    /// The response is complete in the output: on to the next request, or to the end.
    fn finish(&mut self, close: bool, has_upload: bool) {
        self.waiting.since = None;
        self.phase = if has_upload {
            self.leave_body(close)
        } else if close {
            Phase::Closing(Closing::orderly())
        } else {
            Phase::Head
        };
    }

    /// Sends on.
    pub(super) fn sending(&mut self, cx: &mut Context<'_>) -> Flow {
        let mut pieces = 0;
        let mut pending = false;
        loop {
            let Phase::Sending(sending) = &mut self.phase else { return Flow::Next };
            // [RSP-10], [BOD-04] what blocks may take its time
            let flush_first = pending || sending.complete || sending.body.is_blocking();
            let mut io = self.shared.io();
            let flushed = if flush_first || io.output.gathered() >= GATHER { io.flush(self.now) } else { Flush::Done };
            drop(io);
            match flushed {
                Flush::Done => {}
                Flush::Wait => match self.look() {
                    // There is room again.
                    Seen::There(_) if self.shared.io().stalled_since.is_none() => continue,
                    Seen::There(until) => return Flow::Park(until),
                    Seen::Gone => return self.close(false),
                },
                // [ERR-07], [BOD-10]
                Flush::Broken => return self.close(false),
            }
            if sending.complete {
                let close = sending.close;
                // The body is dropped here.
                self.phase = Phase::Head;
                let mut io = self.shared.io();
                io.request += 1;
                let has_upload = io.upload.is_some();
                drop(io);
                self.finish(close, has_upload);
                return Flow::Next;
            }
            if pending {
                return match self.look() {
                    Seen::There(until) => Flow::Park(until),
                    Seen::Gone => self.close(false),
                };
            }
            if pieces >= AT_A_TIME {
                return Flow::Again;
            }
            pieces += 1;
            let turn = self.shared.settings.turn();
            let polled = sending.body.poll_piece(cx);
            drop(turn);
            let Poll::Ready(piece) = polled else {
                pending = true;
                continue;
            };
            sending.grace.renew();
            let chunked = sending.body.framing() == Framing::Chunked;
            let mut io = self.shared.io();
            match piece {
                Piece::Data(data) => {
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
                    let has_upload = io.upload.is_some();
                    drop(io);
                    // [FRM-07], [ERR-04] no last chunk; where only the end delimits it, not even an orderly end
                    let reset = sending.body.breaks_off_by_reset();
                    self.phase = Phase::Head;
                    self.finish(true, has_upload);
                    self.phase = Phase::Closing(Closing::broken_off(reset));
                    return Flow::Next;
                }
            }
        }
    }
}
