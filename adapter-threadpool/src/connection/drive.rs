//! The life of a connection: which phase follows which. \[KAP-01\] to \[KAP-13\], \[LIM-04\], \[LIM-06\], \[LIM-09\], \[DIS-01\]
//!
//! Run by one worker at a time, until it has to wait. Each phase says how it goes on ([`Flow`]); deadlines are
//! compared with the clock in every run, so an early or idle run does no harm.
//!
//! *Invariants*: a connection that is parked has a report to come (an edge of the poller, a waker) or a deadline that was
//! in the future when it was parked; a phase that finds its deadline passed acts on it and does not park on it again,
//! which would be a loop through the timers. Output nobody takes has a deadline in every phase that is HTTP's (\[LIM-06\]).
//! Nothing that closes a connection or drops what is the application's is called under the lock of [`Io`]. Loops that
//! read, decode or poll give way after a bounded amount.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use adapter_core::dispatch::{Client, Exchange, Grace};
use adapter_core::refused::Asked;
use adapter_core::rules::Rejection;
use adapter_core::upgrade::{Handover, Tether};
use adapter_http1::buffers::BUFFER;
use adapter_http1::head::{self, Attempts, Head};
use http::StatusCode;

use super::close::{Closing, Lingering};
use super::hints::Template;
use super::io::{Fill, Flush, Io, Scratch};
use super::response::{self, Sending};
use super::{Conn, Step, bit, upgrade};
use crate::engine::{Engine, Tick, after, earlier, lock};

/// Requests of one connection answered before others get their turn.
const AT_A_TIME: u32 = 128;
/// Times a handler is polled that wakes itself, before others get their turn.
const POLLS: u32 = 8;
/// Reads for one head before others get their turn: more than a head of the default limit takes.
const READS: u32 = 16;

/// What the worker that runs a connection knows of it.
pub(super) struct Task {
    pub(super) phase: Phase,
    /// Requests begun.
    pub(super) requests: u64,
    /// Since when it waits for a head: accept, the end of the last response, or the first byte; 0 is "since just now".
    pub(super) since: Tick,
    /// The time, if it was asked for in this run and no application code has run since.
    pub(super) clock: Option<Instant>,
    /// What the last request's environment can lend to the next.
    pub(super) template: Option<Template>,
    /// The connection is on offer to the application that handles the current request.
    pub(super) handover: Option<Handover>,
    /// Whether the first byte of a head has come.
    begun: bool,
    attempts: Attempts,
}

/// Where a connection is.
pub(super) enum Phase {
    /// Waiting for a request head, or in the middle of one.
    Head,
    /// A request that waits for a permit; in a slot that is used again.
    Ready(Box<Option<Head>>),
    /// The application has the request.
    Handling(Box<Handling>),
    /// The application has answered; its body is being sent.
    Sending(Box<Sending>),
    /// The response has switched protocols; its head is going out.
    Switching,
    /// The application has the socket.
    Taken(Tether),
    /// What the application left of the request body is being read.
    Draining(Lingering),
    /// No more requests: the rest goes out, then the socket is closed with care.
    Closing(Closing),
    /// Over.
    Closed,
}

/// A handler at work.
pub(super) struct Handling {
    pub(super) exchange: Exchange,
    /// Whether it is to be polled.
    pub(super) woken: bool,
}

/// How a phase goes on.
pub(super) enum Flow {
    /// With the phase that is set now.
    Next,
    /// When something is reported, or at the deadline.
    Park(Tick),
    /// Later, when others had their turn.
    Again,
    /// With a permit.
    Permit { is_new: bool },
}

impl Task {
    pub(super) fn new(now: Tick) -> Self {
        Task {
            phase: Phase::Head,
            requests: 0,
            since: now,
            clock: None,
            template: None,
            handover: None,
            begun: false,
            attempts: Attempts::default(),
        }
    }

    fn holds_application(&self) -> bool {
        matches!(self.phase, Phase::Handling(_) | Phase::Sending(_))
    }
}

pub(super) fn drive(conn: &Arc<Conn>, task: &mut Task, scratch: &mut Scratch, taken: &mut u32, permit: bool) -> Step {
    let mut served = 0;
    let mut late = 0;
    task.clock = None;
    loop {
        if conn.has(bit::FORCED) && !matches!(task.phase, Phase::Closed) {
            // [SHU-06]
            if task.holds_application() && !permit {
                return Step::NeedsPermit { is_new: false };
            }
            task.phase = Phase::Closed;
            conn.close(true);
        }
        let flow = match &mut task.phase {
            Phase::Head => {
                served += 1;
                if served > AT_A_TIME { Flow::Again } else { read_head(conn, task, scratch, permit) }
            }
            // [CON-05] nobody is there to be answered
            Phase::Ready(_) if conn.has(bit::GONE) => closed(conn, task),
            // Answers to earlier requests do not wait in the line.
            Phase::Ready(_) if !permit => flush(conn, task).unwrap_or(Flow::Permit { is_new: true }),
            Phase::Ready(_) => super::request::call_ready(conn, task, scratch),
            Phase::Handling(_) => handling(conn, task, scratch, taken, permit),
            Phase::Sending(_) => response::sending(conn, task, taken, permit),
            Phase::Draining(_) => super::close::draining(conn, task),
            Phase::Closing(_) => super::close::closing(conn, task, scratch),
            Phase::Switching => upgrade::switching(conn, task),
            Phase::Taken(_) => upgrade::taken(conn, task, taken),
            Phase::Closed => {
                upgrade::withdraw(task);
                Flow::Park(0)
            }
        };
        match flow {
            Flow::Next => {}
            Flow::Park(_) if matches!(task.phase, Phase::Closed) => return Step::Parked,
            // Reported since the look at the top, and taken in by the phase.
            Flow::Park(_) if conn.has(bit::FORCED) => {}
            Flow::Park(deadline) => {
                if cfg!(debug_assertions) && deadline != 0 && deadline <= conn.engine.now() {
                    // It may have passed just now.
                    late += 1;
                    assert!(late < 10, "invariant: nobody parks on a deadline that has passed");
                    task.clock = None;
                    continue;
                }
                conn.arm(deadline);
                return Step::Parked;
            }
            Flow::Again => {
                hand_over(conn);
                return Step::Again;
            }
            Flow::Permit { is_new } => {
                hand_over(conn);
                return Step::NeedsPermit { is_new };
            }
        }
    }
}

/// Writes what there is before the connection gets in line. What can't be written is looked after when its turn comes.
fn hand_over(conn: &Conn) {
    let mut io = lock(&conn.io);
    if !io.output.is_empty() {
        let _: Flush = io.flush(conn);
    }
}

/// Why [`next_head`] found none; what is done about it is done without the lock.
enum NoHead {
    Refused(Rejection),
    /// Answers are stuck since then.
    Stalled(Tick),
    /// The client's stream has ended, or is broken.
    Over,
    /// There is no more input now.
    Starved,
    /// There is more input, but it is the turn of others.
    Enough,
}

/// Until there is a whole head.
fn read_head(conn: &Arc<Conn>, task: &mut Task, scratch: &mut Scratch, permit: bool) -> Flow {
    // A head is large to move: it is filled in where it can wait for a permit.
    let mut slot = scratch.slot.take().unwrap_or_default();
    let found = next_head(conn, task, &mut lock(&conn.io), scratch, &mut slot);
    if let Err(why) = found {
        *slot = None;
        scratch.slot = Some(slot);
        return no_head(conn, task, scratch, why);
    }
    task.requests += 1;
    task.begun = false;
    task.attempts = Attempts::default();
    if conn.has(bit::MAKE_ROOM) {
        conn.clear(bit::MAKE_ROOM);
    }
    if permit {
        return super::request::call(conn, task, scratch, slot);
    }
    task.phase = Phase::Ready(slot);
    Flow::Next
}

/// There is none: what is to be done about it.
fn no_head(conn: &Arc<Conn>, task: &mut Task, scratch: &mut Scratch, why: NoHead) -> Flow {
    let engine = &conn.engine;
    let settings = &engine.settings;
    match why {
        NoHead::Refused(rejection) => return reject(conn, task, scratch, &rejection),
        NoHead::Stalled(since) => return stalled(conn, task, since),
        // [KAP-08] nothing was asked, nothing is answered
        NoHead::Over => return closed(conn, task),
        NoHead::Enough => return Flow::Again,
        NoHead::Starved => {}
    }
    // [SHU-03], [SHU-04], [SHU-05]
    if engine.is_draining() {
        return closed(conn, task);
    }
    let now = task.clock.map_or_else(|| engine.now(), |clock| engine.tick(clock));
    if task.since == 0 {
        task.since = now;
    }
    // [LIM-04] the first head is waited for from the accept on
    let first = task.requests == 0;
    let limit = if task.begun || first { settings.timeouts.header_read } else { settings.timeouts.keep_alive };
    let deadline = after(task.since, limit);
    // [LIM-07] one that has said nothing since it was accepted, too
    let is_idle = !task.begun;
    if conn.has(bit::MAKE_ROOM) && conn.clear(bit::MAKE_ROOM) != 0 && is_idle {
        tracing::debug!(target: "adapter", "[LIM-07] an idle connection makes room for another");
        return closed(conn, task);
    }
    if deadline == 0 || now < deadline {
        if is_idle {
            conn.idle_since.store(task.since, std::sync::atomic::Ordering::Relaxed);
        }
        return Flow::Park(deadline);
    }
    if task.begun {
        let timeout = Rejection::new(StatusCode::REQUEST_TIMEOUT, "LIM-04", "the request head did not arrive in time");
        reject(conn, task, scratch, &timeout)
    } else {
        lock(&conn.io).limit_unsent(settings.timeouts.write);
        closed(conn, task)
    }
}

/// The next head out of the input, which is read on as far as it goes.
fn next_head(
    conn: &Arc<Conn>,
    task: &mut Task,
    io: &mut Io,
    scratch: &mut Scratch,
    head: &mut Option<Head>,
) -> Result<(), NoHead> {
    let limits = &conn.engine.settings.limits;
    let mut reads = 0;
    loop {
        if task.attempts.is_worth_another(io.input.bytes(), limits) {
            match head::parse_with(io.input.bytes(), limits, &mut scratch.heads) {
                Ok(parsed) => *head = parsed,
                Err(rejection) => return Err(NoHead::Refused(rejection)),
            }
            if let Some(head) = head {
                // Answers of pipelined requests are gathered, up to a point. [KAP-06], [KAP-07]
                if io.output.gathered() >= BUFFER {
                    match io.flush(conn) {
                        Flush::Done => {}
                        // [BOD-16] who does not take answers gets no more
                        Flush::Wait => return Err(NoHead::Stalled(io.stalled_since)),
                        Flush::Broken => return Err(NoHead::Over),
                    }
                }
                io.input.consume(head.length);
                return Ok(());
            }
            task.begin(&conn.engine);
            task.attempts.was_in_vain(io.input.bytes());
        }
        if !io.output.is_empty() {
            match io.flush(conn) {
                Flush::Done => {}
                Flush::Wait => return Err(NoHead::Stalled(io.stalled_since)),
                Flush::Broken => return Err(NoHead::Over),
            }
        }
        if !conn.has(bit::READABLE) {
            return Err(NoHead::Starved);
        }
        reads += 1;
        if reads > READS {
            return Err(NoHead::Enough);
        }
        match io.fill(conn, scratch) {
            Fill::Data | Fill::Wait => {}
            Fill::End | Fill::Broken => return Err(NoHead::Over),
        }
    }
}

impl Task {
    /// A part of a head is there.
    fn begin(&mut self, engine: &Engine) {
        if !self.begun {
            self.begun = true;
            if self.requests > 0 {
                self.since = engine.now();
            }
        }
    }
}

/// \[LIM-06\] the client takes nothing: until when that is put up with.
pub(super) fn stalled(conn: &Arc<Conn>, task: &mut Task, since: Tick) -> Flow {
    if expired(conn, since) {
        tracing::debug!(target: "adapter", "[LIM-06] a client takes nothing; its connection is closed");
        task.phase = Phase::Closed;
        // What the operating system still holds goes too, and can't be taken for the end of a response.
        conn.close(true);
        return Flow::Next;
    }
    Flow::Park(write_deadline(conn, since))
}

/// \[LIM-06\] until when it is put up with that nothing was taken since `since`; 0 for ever.
pub(super) fn write_deadline(conn: &Conn, since: Tick) -> Tick {
    after(since, conn.engine.settings.timeouts.write)
}

pub(super) fn expired(conn: &Conn, since: Tick) -> bool {
    let deadline = write_deadline(conn, since);
    deadline != 0 && conn.engine.now() >= deadline
}

/// Writes what is left; how to go on instead, if that takes time or is of no use.
pub(super) fn flush(conn: &Arc<Conn>, task: &mut Task) -> Option<Flow> {
    let mut io = lock(&conn.io);
    let flushed = io.flush(conn);
    let since = io.stalled_since;
    drop(io);
    match flushed {
        Flush::Done => None,
        Flush::Wait => Some(stalled(conn, task, since)),
        Flush::Broken => Some(closed(conn, task)),
    }
}

/// Ends the connection at once. Drops what the application has in it: only with a permit, if it has something.
pub(super) fn closed(conn: &Arc<Conn>, task: &mut Task) -> Flow {
    task.phase = Phase::Closed;
    conn.close(false);
    Flow::Next
}

/// The server's own answer to what it can't accept. \[ERR-05\], \[FRM-08\]
pub(super) fn reject(conn: &Arc<Conn>, task: &mut Task, scratch: &mut Scratch, rejection: &Rejection) -> Flow {
    // [NOB-01] a HEAD that is refused has no body either
    let facts = {
        let io = lock(&conn.io);
        conn.environ.refused(rejection, Asked::Octets(io.input.bytes()));
        head::facts_of_rejected(io.input.bytes())
    };
    response::begin(conn, task, scratch, rejection.response(), facts);
    Flow::Next
}

/// While the application has the request.
fn handling(conn: &Arc<Conn>, task: &mut Task, scratch: &mut Scratch, taken: &mut u32, permit: bool) -> Flow {
    let Phase::Handling(handling) = &mut task.phase else { return Flow::Next };
    for _ in 0..POLLS {
        let deadline = look(conn, taken);
        if conn.has(bit::FORCED) {
            return Flow::Next;
        }
        handling.woken |= *taken & bit::WOKEN != 0;
        *taken &= !bit::WOKEN;

        // Answers to earlier requests, or a 100.
        let unsent = if !handling.woken || conn.has(bit::WANT_WRITE) { unsent(conn) } else { 0 };
        let limit = handling.exchange.deadline().map_or(0, |limit| conn.engine.tick(limit));
        let now = if conn.has(bit::ENDED) || limit != 0 { conn.engine.now() } else { 0 };
        let grace = grace(conn, &mut handling.exchange.grace);
        let is_over = conn.has(bit::GONE) || (grace != 0 && now >= grace);
        let is_due = handling.woken || (limit != 0 && now >= limit);
        if (is_over || is_due) && !permit {
            return Flow::Permit { is_new: false };
        }
        if is_over {
            return closed(conn, task);
        }
        if !is_due {
            return Flow::Park(earlier(earlier(deadline, earlier(grace, limit)), unsent));
        }
        handling.woken = false;
        let waker = Waker::from(conn.clone());
        let mut answer = None;
        if handling.exchange.poll(&mut Context::from_waker(&waker), Instant::now, &mut answer).is_ready() {
            let facts = handling.exchange.facts;
            // The handler is gone before its response is begun.
            task.phase = Phase::Head;
            let response = answer.expect("invariant: ready means that there is an answer");
            response::begin(conn, task, scratch, response, facts);
            return Flow::Next;
        }
    }
    Flow::Again
}

/// Writes what is there while the application has the request; until when the client may take nothing of it. One that
/// has taken nothing for too long is cut off at once, although the application may be held up. \[LIM-06\]
fn unsent(conn: &Conn) -> Tick {
    let mut io = lock(&conn.io);
    match io.flush(conn) {
        Flush::Done | Flush::Broken => 0,
        Flush::Wait => {
            let since = io.stalled_since;
            drop(io);
            if !expired(conn, since) {
                return write_deadline(conn, since);
            }
            tracing::debug!(target: "adapter", "[LIM-06] a client takes nothing; its connection is closed");
            conn.cut_off(true);
            0
        }
    }
}

/// \[DIS-01\], \[DIS-04\] until when application code may go on after the end of the client's stream, 0 if that has not
/// ended.
pub(super) fn grace(conn: &Conn, grace: &mut Grace) -> Tick {
    if !conn.has(bit::ENDED) {
        return 0;
    }
    let heard = conn.engine.instant(conn.progress.load(std::sync::atomic::Ordering::Relaxed));
    let client = Client { ended: true, unread: conn.has(bit::BODY_OPEN), heard };
    grace.until(client, Instant::now(), &conn.environ.disconnected).map_or(0, |until| conn.engine.tick(until))
}

/// Takes in what was reported since the last look, and passes it on to whoever waits for the request body; gives the
/// time until which it waits.
pub(super) fn look(conn: &Conn, taken: &mut u32) -> Tick {
    loop {
        // Cleared first: what is reported from here on is seen below, or leads to another run.
        *taken |= conn.clear(bit::WOKEN | bit::QUEUED) & bit::WOKEN;
        if let Some(deadline) = stir(conn) {
            return deadline;
        }
    }
}

/// Wakes whoever waits for the request body, if there is reason to (`None`); else gives the time until it waits.
fn stir(conn: &Conn) -> Option<Tick> {
    if !conn.has(bit::BODY_OPEN) {
        return Some(0);
    }
    let mut io = lock(&conn.io);
    let Some(incoming) = io.incoming.as_deref_mut() else { return Some(0) };
    if incoming.waker.is_none() {
        return Some(0);
    }
    let is_late = || incoming.deadline != 0 && conn.engine.now() >= incoming.deadline;
    if !conn.has(bit::READABLE | bit::GONE) && !is_late() {
        return Some(incoming.deadline);
    }
    // [LIM-05] whoever is late learns it when it reads again, if nothing has come by then
    incoming.stop_waiting(conn.engine.now());
    let waker = incoming.waker.take();
    drop(io);
    if let Some(waker) = waker {
        // It may be anybody's.
        let _ = adapter_core::contain::catch("waker", || waker.wake());
    }
    None
}
