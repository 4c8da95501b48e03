//! One stream: from its head to the application, and from the answer to h2.
//!
//! A future: a task of its own, but for what its connection's task can do at once. The rules are `adapter_core`'s; this file
//! applies them in order. \[DIS-01\], \[LIM-09\], \[RSP-06\], \[ERR-12\], \[UPG-06\]

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use adapter_core::dispatch::{self, Exchange, Observed, is_unanswerable};
use adapter_core::rules::request::Facts;
use adapter_core::rules::response::Framing;
use adapter_core::signal::Signal;
use adapter_core::upgrade::switches;
use adapter_core::{Bytes, EarlyHints, Environ, Request, RequestBody, Response, Sleep, contain, refused, rules};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{StatusCode, header};

use super::incoming::request_body;
use super::leftover::read_away;
use super::outgoing::{End, Outgoing};
use super::piece::{Piece, Queue};
use super::reply::Reply;
use super::tunnel::Tunnel;
use crate::engine::STREAMS;
use crate::engine::in_flight::InFlight;
use crate::engine::io::Shared;

/// How long a stream whose response is whole, and whose request is not, is left alone before it is reset.
const UNREAD: Duration = Duration::from_millis(500);

/// Serves the request that has come, in a task.
pub(super) fn serve(shared: &Arc<Shared>, request: http::Request<RecvStream>, respond: SendResponse<Piece>) {
    if let Some(stream) = Stream::begin(shared, request, respond) {
        shared.engine.serving.runtime.drive(stream);
    }
}

/// As [`serve`], but for an application that answers at once, with all of its body, which is as far as most requests go: that needs no
/// task. Others begin here, and go on in one. Says how long the application took, in nanoseconds.
pub(super) fn serve_here(
    shared: &Arc<Shared>,
    request: http::Request<RecvStream>,
    respond: SendResponse<Piece>,
    cx: &mut Context<'_>,
) -> u64 {
    let clock = &shared.engine.clock;
    let Some(mut stream) = Stream::begin(shared, request, respond) else { return 0 };
    let begun = clock.now();
    let answer = stream.poll_answer(cx);
    let took = clock.now().saturating_sub(begun);
    let goes_on = match answer {
        Poll::Ready(answer) => {
            stream.answer(answer);
            matches!(stream.step, Step::Sending(_))
        }
        Poll::Pending => true,
    };
    if goes_on {
        shared.engine.serving.runtime.drive(stream);
    }
    took
}

/// Whether a new stream is not served, and reset at once: REFUSED_STREAM says that it can be tried again. RFC 9113 §6.8, §8.7
fn refuses_stream(shared: &Shared) -> bool {
    shared.status.refuses_streams() || shared.environ.blocking_jobs() >= STREAMS as usize
}

/// A stream whose response is not complete. Dropped so, it was reset or the connection is gone.
struct Stream {
    // First: the application is told before what it has is dropped.
    unanswered: Unanswered,
    step: Step,
    reply: Arc<Reply>,
    facts: Facts,
    in_flight: InFlight,
}

enum Step {
    /// The server answers alone.
    Refused(Response),
    Calling(Calling),
    Sending(Box<Outgoing>),
    Over,
}

struct Calling {
    exchange: Exchange,
    /// Until its deadline.
    sleep: Option<Sleep>,
    tunnel: Option<Box<Tunnel>>,
}

/// Dropped before [`complete`](Self::complete), it tells the application \[DIS-01\], and counts against the client.
struct Unanswered {
    /// `None` once it is complete, or somebody else's.
    signal: Option<Signal>,
    shared: Arc<Shared>,
}

impl Unanswered {
    fn complete(&mut self) {
        if self.signal.take().is_some() {
            self.shared.status.stream_was_answered();
        }
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        let Some(signal) = self.signal.take() else { return };
        signal.fire();
        if self.shared.status.stream_was_reset(self.shared.engine.clock.now()) {
            self.shared.wake_supervisor();
        }
    }
}

impl Stream {
    /// Calls the application, which is not polled yet. `None` where the stream is refused.
    fn begin(
        shared: &Arc<Shared>,
        request: http::Request<RecvStream>,
        mut respond: SendResponse<Piece>,
    ) -> Option<Self> {
        if refuses_stream(shared) {
            respond.send_reset(Reason::REFUSED_STREAM);
            return None;
        }
        let engine = &shared.engine;
        let (mut in_flight, count) = InFlight::begin(shared);
        let (mut head, recv) = request.into_parts();
        // [KAP-12] no field says so in HTTP/2
        if !engine.keep_alive || engine.limits.requests_per_connection.is_some_and(|most| count >= most) {
            shared.status.last_begun.store(true, Relaxed);
        }
        rules::cookies::join(&mut head);
        let has_fragment = shared.status.fragment.load(Relaxed) != 0
            && shared.socket().inflow.take_fragment(respond.stream_id().into());
        let checked = match has_fragment {
            true => Err(rules::target::FRAGMENT),
            false => rules::request::check(&head, &engine.limits),
        };
        if let Err(rejection) = &checked {
            // [MUX-16] An empty Content-Length, which is 0 to h2: it resets the stream where it sees more, and that may be before an answer.
            if rejection.requirement == "REQ-23" {
                shared.environ.refused_without_body(rejection, refused::Asked::Head(&head));
                respond.send_reset(Reason::PROTOCOL_ERROR);
                return None;
            }
            shared.environ.refused(rejection, refused::Asked::Head(&head));
        }
        let reply = Arc::new(Reply::new(respond));
        let signal = Signal::new();
        let unanswered = Unanswered { signal: Some(signal.clone()), shared: shared.clone() };
        let facts = match checked {
            Ok(facts) => facts,
            Err(rejection) => {
                if !recv.is_end_stream() {
                    reply.body_is_open(true);
                    read_away(recv, reply.clone(), shared);
                }
                let step = Step::Refused(rejection.response());
                return Some(Stream { unanswered, step, reply, facts: Facts::of_rejected(&head), in_flight });
            }
        };
        let received_at = engine.clock.instant(shared.status.now());
        let gone = signal.clone();
        let mut environ = Environ::new(shared.environ.clone(), received_at)
            .with_disconnect(signal)
            .with_early_hints(EarlyHints::from(reply.clone()))
            .with_forwarded(&head.headers);
        rules::target::normalize(&mut head);
        in_flight.observed = Observed::begin(&environ, &head, received_at);
        let (body, tunnel) = if facts.is_connect {
            let (tunnel, offer) = Tunnel::offer(&mut head, recv);
            environ = environ.with_upgrade(offer);
            (RequestBody::empty(), Some(tunnel))
        } else {
            let observed = in_flight.observed.as_deref_mut();
            (request_body(recv, &reply, gone, shared, &facts, observed), None)
        };
        let request = Request::from_parts(head, body);
        let limit = engine.timeouts.handler;
        let exchange = Exchange::begin(&engine.application, request, environ, facts, limit, received_at);
        let step = Step::Calling(Calling { exchange, sleep: None, tunnel });
        Some(Stream { unanswered, step, reply, facts, in_flight })
    }

    /// The application's answer, or the server's; pending also where nobody is there for it, which wakes, too.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Option<Response>> {
        let runtime = &self.in_flight.shared.engine.serving.runtime;
        let calling = match &mut self.step {
            Step::Calling(calling) => calling,
            step => match std::mem::replace(step, Step::Over) {
                Step::Refused(response) => return Poll::Ready(Some(response)),
                _ => return Poll::Ready(None),
            },
        };
        let mut answer = None;
        if calling.exchange.poll(cx, || runtime.now(), &mut answer).is_ready() {
            return Poll::Ready(answer);
        }
        if let Some(deadline) = calling.exchange.deadline() {
            let sleep = calling.sleep.get_or_insert_with(|| runtime.sleep_until(deadline));
            if Pin::new(sleep).poll(cx).is_ready()
                && calling.exchange.poll(cx, || runtime.now(), &mut answer).is_ready()
            {
                return Poll::Ready(answer);
            }
        }
        if self.reply.poll_reset(cx).is_ready() { Poll::Ready(None) } else { Poll::Pending }
    }

    /// Begins the response, if there is somebody for it; who wants to know that there is nobody learns it by the drop.
    fn answer(&mut self, response: Option<Response>) {
        if let Some(response) = response {
            let _ = self.begin_response(response);
        }
    }

    /// What is left of the response is the next step. `None`: there is nobody to answer.
    fn begin_response(&mut self, response: Response) -> Option<()> {
        let tunnel = match std::mem::replace(&mut self.step, Step::Over) {
            Step::Calling(calling) => calling.tunnel,
            _ => None,
        };
        let mut respond = self.reply.take()?;
        if is_unanswerable(&response) {
            // [ERR-12]
            contain::discard("drop of a response", response.into_body());
            respond.send_reset(Reason::INTERNAL_ERROR);
            return None;
        }
        let shared = &self.in_flight.shared;
        if let Some(observed) = &mut self.in_flight.observed {
            observed.extended(response.extensions());
        }
        let (mut head, mut body, mut plan) = dispatch::prepare(response, &self.facts, tunnel.is_some());
        if body.is_blocking() {
            let counted = shared.environ.count_blocking_job();
            let runtime = &shared.engine.serving.runtime;
            let observed = self.in_flight.observed.as_deref_mut();
            body = dispatch::offload(&mut head, body, &mut plan, &self.facts, runtime, counted, observed);
        }
        plan.declare_length(&mut head.headers);
        // [RSP-06]
        head.headers.entry(header::DATE).or_insert_with(rules::date::header_value);
        let status = head.status;
        let full = body.is_bytes() && body.len() == plan.framing.length();
        let is_whole = !plan.send_body || plan.framing == Framing::Length(0);
        let is_tunnel = tunnel.is_some() && switches(status, &self.facts);
        let send = respond.send_response(http::Response::from_parts(head, ()), is_whole && !is_tunnel);
        let Ok(mut send) = send else {
            // Reset meanwhile.
            contain::discard("drop of a body", body);
            if self.reply.is_malformed() {
                // [OBS-06] By h2, which is what the client gets for an answer; nobody has left.
                self.in_flight.answered(status);
                self.delivered();
            }
            return None;
        };
        if let Some(tunnel) = tunnel.filter(|_| is_tunnel) {
            self.in_flight.answered(status);
            self.delivered();
            let in_flight = InFlight::goes_on(&self.in_flight.shared);
            tunnel.open(send, in_flight, self.unanswered.signal.take());
            return Some(());
        }
        if is_whole {
            // [NOB-03], [BOD-12] dropped unpulled, here and now
            contain::discard("drop of a body", body);
            self.in_flight.answered(status);
            self.unanswered.complete();
            self.delivered();
            self.linger(status, send);
            return Some(());
        }
        if full {
            let length = body.len().unwrap_or_default() as usize;
            send.reserve_capacity(length);
            if send.capacity() >= length {
                self.send_whole(status, body.try_into_bytes().unwrap_or_default(), &mut send)?;
                self.linger(status, send);
                return Some(());
            }
        }
        self.in_flight.answered(status);
        if let Some(body) = dispatch::Outgoing::new(body, &plan, &self.facts) {
            self.step = Step::Sending(Box::new(Outgoing::new(status, body, send, &self.in_flight.shared)));
        }
        Some(())
    }
}

impl Stream {
    /// All of the response at once, for which there is room. `None`: the stream was reset meanwhile.
    fn send_whole(&mut self, status: StatusCode, bytes: Bytes, send: &mut SendStream<Piece>) -> Option<()> {
        let piece = match self.in_flight.observed.take() {
            None => Piece::new(bytes),
            Some(mut observed) => {
                observed.answered_at_once(status);
                observed.sent(bytes.len() as u64);
                let queue = Queue::new(&self.in_flight.shared);
                queue.deliver(observed, self.in_flight.begun);
                queue.piece(bytes)
            }
        };
        send.send_data(piece, true).ok()?;
        self.unanswered.complete();
        Some(())
    }

    /// The response is whole. Where all of the request is not, h2 resets the stream with its last handle (RFC 9113 §8.1), which goes for a
    /// while where the client has to read why, see [`leftover`](super::leftover).
    fn linger(&self, status: StatusCode, mut send: SendStream<Piece>) {
        if !self.reply.has_body() {
            return;
        }
        if status.is_client_error() || status.is_server_error() {
            let runtime = &self.in_flight.shared.engine.serving.runtime;
            let moment = runtime.sleep(UNREAD);
            let reset = poll_fn(move |cx| send.poll_reset(cx).map(drop));
            runtime.drive(futures_lite::future::or(reset, moment));
        } else {
            let left = self.reply.leftover().take();
            drop(left);
        }
    }

    /// Nothing of the response is on its way any more that could be lost.
    fn delivered(&mut self) {
        if let Some(observed) = self.in_flight.observed.take() {
            observed.delivered_after(self.in_flight.shared.engine.clock.since(self.in_flight.begun));
        }
    }

    fn poll_sending(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Step::Sending(outgoing) = &mut self.step else { return Poll::Ready(()) };
        let InFlight { shared, observed, begun } = &mut self.in_flight;
        let end = ready!(outgoing.poll(cx, shared, observed));
        if end != End::Gone {
            // A failure is the application's.
            self.unanswered.complete();
        }
        if end == End::Whole {
            if let Some(observed) = observed.take() {
                outgoing.queue.deliver(observed, *begun);
            }
            if let Step::Sending(outgoing) = std::mem::replace(&mut self.step, Step::Over) {
                self.linger(outgoing.status, outgoing.send);
            }
        }
        Poll::Ready(())
    }
}

impl Future for Stream {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !matches!(self.step, Step::Sending(_)) {
            let answer = ready!(self.poll_answer(cx));
            self.answer(answer);
        }
        self.poll_sending(cx)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // An application that keeps its handle on hints must not keep the stream.
        drop(self.reply.take());
    }
}

#[cfg(all(test, adapter_model))]
mod models;
