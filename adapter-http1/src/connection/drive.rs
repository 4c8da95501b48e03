//! The life of a connection: which phase follows which. \[KAP-01\] to \[KAP-13\], \[LIM-04\], \[LIM-06\], \[LIM-09\],
//! \[DIS-01\]
//!
//! Each phase says how it goes on ([`Flow`]). Deadlines are compared with the clock in every turn, so an early or idle turn does
//! no harm.
//!
//! *Invariants*: a connection that waits has a waker with its transport or the application, or a deadline; a phase that finds
//! its deadline passed acts on it and does not wait on it again. Output nobody takes has a deadline in every phase that is
//! HTTP's (\[LIM-06\]). Nothing that closes a connection or drops what is the application's is called under the lock of
//! [`Io`](super::io::Io). Loops that read, decode or poll give way after a bounded amount.

use adapter_core::sync::atomic::Ordering::Relaxed;
use std::task::Context;
use std::time::{Duration, Instant};

use adapter_core::contain::catch;
use adapter_core::dispatch::{Client, too_late_for};
use adapter_core::observe::{ConnectionEnd, TimeLimit};
use adapter_core::refused::Asked;
use adapter_core::rules::Rejection;
use adapter_core::rules::request::Facts;
use adapter_core::runtime::Queued;
use adapter_core::server::SPARED;
use http::request::Parts;

use super::io::{Fill, Flush};
use super::phase::{Flow, Phase, Ready, Seen};
use super::transport::Transport;
use super::upload::earlier;
use super::{Connection, End, Turned};
use crate::buffers::BUFFER;
use crate::head::{self, Attempts};
use crate::preface;

/// Requests of one connection answered before others get their turn.
const AT_A_TIME: u32 = 128;
/// Reads before others get their turn: more than a head of the default limit takes.
const READS: u32 = 16;
/// How long a client may leave unseen that it has reset, where too much of it is unread. With the grace below the 500 ms of
/// \[DIS-01\].
const LOOK: Duration = Duration::from_millis(100);

/// Why there is no head; what is done about it is done without the lock.
enum NoHead {
    Refused(Rejection),
    /// Answers are stuck since then.
    Stalled(Instant),
    /// The client's stream has ended, or is broken.
    Over,
    /// There is no more input now.
    Starved,
    /// There is more input, but it is the turn of others.
    Enough,
    /// It is no HTTP/1.1.
    Preface,
}

/// What is known of the head that is waited for.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Since when: accept, the end of the last response, or the first octet; `None` is "since just now".
    pub(super) since: Option<Instant>,
    /// Whether its first octet has come.
    pub(super) begun: bool,
    pub(super) attempts: Attempts,
    /// What has come so far may be the beginning of HTTP/2.
    pub(super) may_be_http2: bool,
}

impl<T: Transport> Connection<T> {
    /// Goes as far as it can without waiting.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> Turned<T> {
        let mut served = 0;
        loop {
            let flow = match &mut self.phase {
                Phase::Announced(_) => self.announced(cx),
                Phase::Opening => self.opening(cx),
                Phase::Head => {
                    served += 1;
                    if served > AT_A_TIME { Flow::Again } else { self.read_head(cx) }
                }
                Phase::Ready(_) => self.ready(cx),
                Phase::Handling(_) => self.handling(cx),
                Phase::Sending(_) => self.sending(cx),
                Phase::Switching => self.switching(),
                Phase::Taken(_) => self.taken(cx),
                Phase::Draining(_) => self.draining(),
                Phase::Closing(_) => self.closing(cx),
                Phase::Closed => Flow::Closed,
            };
            match flow {
                Flow::Next => {}
                Flow::Park(deadline) => {
                    self.deadline = deadline;
                    return Turned::Parked;
                }
                Flow::Again => {
                    let _: Flush = self.shared.io().flush(self.now);
                    self.deadline = None;
                    return Turned::Again;
                }
                Flow::Permit { is_new } => {
                    // What is there does not wait in line with it.
                    let _: Flush = self.shared.io().flush(self.now);
                    self.deadline = None;
                    return Turned::NeedsPermit { is_new };
                }
                Flow::Closed => return Turned::Ended(End::Closed),
                Flow::Preface => return Turned::Ended(self.hand_to_http2()),
            }
        }
    }

    /// Until there is a whole head.
    fn read_head(&mut self, cx: &mut Context<'_>) -> Flow {
        // Filled where it is, as a head is large to move.
        let mut parts = None;
        match self.next_head(&mut parts) {
            Ok(facts) => {
                self.requests += 1;
                self.waiting.begun = false;
                self.waiting.attempts = Attempts::default();
                // Its place is needed by itself.
                if self.shared.unwanted.load(Relaxed) {
                    self.shared.unwanted.store(false, Relaxed);
                }
                if self.turn.permit {
                    return self.call(cx, &mut parts, facts, self.now);
                }
                if let Some(parts) = parts {
                    let queued = self.settings().serving.runtime.queued();
                    self.phase = Phase::Ready(Box::new(Ready { parts, facts, since: self.now, queued }));
                }
                return Flow::Next;
            }
            Err(NoHead::Refused(rejection)) => return self.reject(&rejection),
            Err(NoHead::Stalled(since)) => return self.stalled(since),
            // [KAP-08] nothing was asked, nothing is answered
            Err(NoHead::Over) => return self.part(),
            Err(NoHead::Enough) => return Flow::Again,
            Err(NoHead::Preface) => return Flow::Preface,
            Err(NoHead::Starved) => {}
        }
        let since = *self.waiting.since.get_or_insert(self.now);
        // [LIM-04] the first head is waited for from the accept on
        let first = self.requests == 0;
        // [SHU-03], [SHU-04], [SHU-05]; [SHU-14] a request may be on its way
        if self.is_stopping() {
            let until = since + SPARED;
            return if self.now < until { Flow::Park(Some(until)) } else { self.part_for(ConnectionEnd::Drained) };
        }
        let timeouts = &self.settings().timeouts;
        let limit = if self.waiting.begun || first { timeouts.header_read } else { timeouts.keep_alive };
        let deadline = limit.and_then(|limit| since.checked_add(limit));
        if deadline.is_some_and(|deadline| self.now >= deadline) {
            let (limit, why) = if self.waiting.begun || first {
                (TimeLimit::HeaderRead, ConnectionEnd::Late)
            } else {
                (TimeLimit::KeepAlive, ConnectionEnd::Idle)
            };
            self.shared.environ.timed_out(limit);
            self.shared.environ.ends(why);
            if self.waiting.begun {
                return self.reject(&head::LATE);
            }
            let io = self.shared.io();
            self.shared.limit_unsent(&io);
            drop(io);
            return self.part();
        }
        if !self.waiting.begun && self.has_to_make_room() {
            tracing::debug!(target: "adapter", "[LIM-07] an idle connection makes room for another");
            return self.part_for(ConnectionEnd::MadeRoom);
        }
        Flow::Park(deadline)
    }

    /// Whether another client waits for the place of this one, of which nothing has come. Says so once.
    pub(super) fn has_to_make_room(&self) -> bool {
        // Rarely written: every request asks.
        if !self.shared.unwanted.load(Relaxed) {
            return false;
        }
        self.shared.unwanted.store(false, Relaxed);
        !self.shared.io().transport.as_ref().is_some_and(Transport::has_input)
    }

    /// The next head out of the input, which is read on as far as it goes.
    fn next_head(&mut self, parts: &mut Option<Parts>) -> Result<Facts, NoHead> {
        let Connection { shared, waiting, now, requests, .. } = self;
        let limits = &shared.settings.limits;
        let mut io = shared.io();
        let mut reads = 0;
        loop {
            if waiting.may_be_http2 && !io.input.is_empty() {
                let told = preface::is_http2(io.input.bytes());
                if told == Some(true) {
                    return Err(NoHead::Preface);
                }
                waiting.may_be_http2 = told.is_none();
                waiting.begun |= told.is_none();
            }
            if !waiting.may_be_http2 && waiting.attempts.is_worth_another(io.input.bytes(), limits) {
                match super::parse(io.input.bytes(), limits, parts) {
                    Ok(Some(found)) => {
                        // Answers of pipelined requests are gathered, up to a point. [KAP-06], [KAP-07]
                        if io.output.gathered() >= BUFFER {
                            match io.flush(*now) {
                                Flush::Done => {}
                                // [BOD-16] who does not take answers gets no more
                                Flush::Wait => return Err(NoHead::Stalled(io.stalled_since.unwrap_or(*now))),
                                Flush::Broken => return Err(NoHead::Over),
                            }
                        }
                        io.input.consume(found.length);
                        return Ok(found.facts);
                    }
                    Ok(None) => {
                        if !waiting.begun {
                            waiting.begun = true;
                            if *requests > 0 {
                                waiting.since = Some(*now);
                            }
                        }
                        waiting.attempts.was_in_vain(io.input.bytes());
                    }
                    Err(rejection) => return Err(NoHead::Refused(rejection)),
                }
            }
            match io.flush(*now) {
                Flush::Done => {}
                Flush::Wait => return Err(NoHead::Stalled(io.stalled_since.unwrap_or(*now))),
                Flush::Broken => return Err(NoHead::Over),
            }
            reads += 1;
            if reads > READS {
                return Err(NoHead::Enough);
            }
            match io.fill() {
                Fill::Data => {}
                Fill::Wait => return Err(NoHead::Starved),
                Fill::End | Fill::Broken => return Err(NoHead::Over),
            }
        }
    }

    /// The server's own answer to what it can't accept. \[ERR-05\], \[FRM-08\]
    fn reject(&mut self, rejection: &Rejection) -> Flow {
        // [NOB-01] a HEAD that is refused has no body either
        let facts = {
            let io = self.shared.io();
            self.shared.environ.refused(rejection, Asked::Octets(io.input.bytes()));
            self.shared.environ.ends(ConnectionEnd::Refused);
            head::facts_of_rejected(io.input.bytes())
        };
        self.begin(rejection.response(), facts);
        Flow::Next
    }

    /// There is a request that waits for a permit.
    fn ready(&mut self, cx: &mut Context<'_>) -> Flow {
        let Phase::Ready(ready) = &self.phase else { return Flow::Next };
        let mut io = self.shared.io();
        // [CON-05] nobody is there to be answered
        let is_gone = io.is_gone();
        // [DIS-04b] nor is code begun for who would be dropped by now
        let has_left = self.turn.permit && io.has_left(ready.since, self.now);
        drop(io);
        if is_gone || has_left {
            return self.close(false);
        }
        if self.waits_until().is_some_and(|until| self.now >= until) {
            self.refuse_for(too_late_for);
            return Flow::Next;
        }
        if !self.turn.permit {
            // Answers to earlier requests do not wait in the line.
            return self.flush().unwrap_or(Flow::Permit { is_new: true });
        }
        match std::mem::replace(&mut self.phase, Phase::Head) {
            Phase::Ready(ready) => {
                let Ready { parts, facts, since, queued } = *ready;
                let _running = queued.map(Queued::start);
                self.call(cx, &mut Some(parts), facts, since)
            }
            _ => Flow::Next,
        }
    }

    /// While the application has the request.
    fn handling(&mut self, cx: &mut Context<'_>) -> Flow {
        if !(self.turn.permit && self.turn.woken)
            && let Some(flow) = self.leave_handler()
        {
            return flow;
        }
        let Phase::Handling(mut exchange) = std::mem::replace(&mut self.phase, Phase::Head) else { return Flow::Next };
        self.turn.woken = false;
        let mut answer = None;
        if self.poll_handler(cx, &mut exchange, &mut answer).is_pending() {
            self.phase = Phase::Handling(exchange);
            return self.wait_for_handler();
        }
        let facts = exchange.facts;
        // The handler is gone before its response is begun.
        drop(exchange);
        self.begin(answer.expect("invariant: ready means that there is an answer"), facts);
        Flow::Next
    }

    /// How it goes on where the handler is not to be polled, or must not be.
    fn leave_handler(&mut self) -> Option<Flow> {
        let Phase::Handling(exchange) = &self.phase else { return None };
        let limit = exchange.deadline();
        let is_due = self.turn.woken || limit.is_some_and(|limit| self.now >= limit);
        match self.look() {
            Seen::Gone if self.turn.permit => Some(self.close(false)),
            Seen::There(until) if !is_due => Some(Flow::Park(earlier(until, limit))),
            _ if !self.turn.permit => Some(Flow::Permit { is_new: false }),
            _ => None,
        }
    }

    /// The handler is pending: until when.
    pub(super) fn wait_for_handler(&mut self) -> Flow {
        let Phase::Handling(exchange) = &self.phase else { return Flow::Next };
        let deadline = exchange.deadline();
        match self.look() {
            Seen::There(until) => Flow::Park(earlier(until, deadline)),
            Seen::Gone => self.close(false),
        }
    }

    /// Looks after the client while application code has the request: writes what waits for it, wakes who reads its body, and
    /// looks for its end. \[DIS-01\], \[LIM-06\]
    pub(super) fn look(&mut self) -> Seen {
        let now = self.now;
        let mut io = self.shared.io();
        // Answers to earlier requests, or a 100.
        let flushed = io.flush(now);
        let stalled = io.stalled_since;
        let is_read = io.upload.as_ref().is_some_and(|upload| upload.reader.is_some());
        // One of the two, so that nothing comes behind the back of who waits for it.
        let reader = if is_read { io.stir(now) } else { None };
        let mut again = None;
        let mut ended = io.at_end;
        if !is_read && !io.at_end && !io.broken {
            let is_read_up = io.upload.as_ref().is_none_or(|upload| upload.is_read_up());
            if is_read_up && io.input.len() < BUFFER {
                // One read that gives something may hide an end behind it.
                while io.fill() == Fill::Data && io.input.len() < BUFFER {}
                ended = io.at_end;
            }
            if !is_read_up || io.input.len() >= BUFFER {
                // Nothing more is read: the end has to be asked for.
                io.broken |= io.transport.as_ref().is_some_and(Transport::was_reset);
                ended |= io.transport.as_ref().is_some_and(Transport::has_ended);
                again = Some(now + LOOK);
            }
        }
        let client = Client { ended, unread: io.upload.is_some() || !io.at_end, heard: io.heard };
        let broken = io.broken || flushed == Flush::Broken;
        drop(io);
        // [DIS-05] who reads is to see the end in what it reads, before it is dropped
        let is_stirred = reader.is_some();
        let gone = || if is_stirred { Seen::There(Some(now + LOOK)) } else { Seen::Gone };
        if let Some(reader) = reader {
            // It may be anybody's.
            let _ = catch("waker", || reader.wake());
        }
        if broken {
            return gone();
        }
        if let Some(since) = stalled {
            let deadline = self.write_deadline(since);
            if deadline.is_some_and(|deadline| now >= deadline) {
                if self.shared.io().takes_something(now) {
                    return self.look();
                }
                self.shared.cut_off_stalled();
                return Seen::Gone;
            }
            // [DIS-01] while the client takes what we send, it is not kept waiting
            return Seen::There(earlier(again, deadline));
        }
        let Connection { shared, phase, .. } = self;
        let until = phase.grace().and_then(|grace| grace.until(client, now, &shared.environ.disconnected));
        if until.is_some_and(|until| now >= until) {
            return gone();
        }
        Seen::There(earlier(again, until))
    }

    /// \[LIM-06\] the client takes nothing: until when that is put up with.
    pub(super) fn stalled(&mut self, since: Instant) -> Flow {
        let deadline = self.write_deadline(since);
        if deadline.is_some_and(|deadline| self.now >= deadline) {
            let mut io = self.shared.io();
            if io.takes_something(self.now) {
                let since = io.stalled_since;
                drop(io);
                return since.map_or(Flow::Next, |since| Flow::Park(self.write_deadline(since)));
            }
            drop(io);
            self.shared.cut_off_stalled();
            return self.close(true);
        }
        Flow::Park(deadline)
    }

    fn write_deadline(&self, since: Instant) -> Option<Instant> {
        self.settings().timeouts.write.and_then(|limit| since.checked_add(limit))
    }

    /// Writes what is left; how to go on instead, if that takes time or is of no use.
    pub(super) fn flush(&mut self) -> Option<Flow> {
        let mut io = self.shared.io();
        let flushed = io.flush(self.now);
        let since = io.stalled_since;
        drop(io);
        match flushed {
            Flush::Done => None,
            Flush::Wait => Some(self.stalled(since.unwrap_or(self.now))),
            Flush::Broken => Some(self.close(false)),
        }
    }
}
