//! The state of one WebSocket: its frames, the message that waits, what waits to be sent, and how it ends.
//!
//! Everything here runs under the lock of [`Shared`], by whoever wants to make progress: the receiver reads, senders
//! write, the keeper does both and looks at the clock. Nothing blocks. One message is read ahead and not more, and what
//! waits to be sent is bounded: a peer that does not read is not read from either. \[UPG-20\]
//!
//! It ends in this order: a close frame in one direction ([`Phase::Closing`] if it is ours), one in the other
//! ([`Phase::Ending`]), the end of our half, the end of the peer's, [`Phase::Ended`]. Whatever breaks a rule or does not
//! come in time goes to a later phase. Close code and reason are those of the first close frame. RFC 6455 §7

use std::cell::OnceCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::deflate::Agreed;
use super::message::{Close, Error, Message, code};
use super::options::Options;
use super::wakers::Wakers;
use super::wire::{Event, Packed, Role, Wire};
use crate::observe::unresponsive;
use crate::runtime::Runtime;
use crate::upgrade::Upgraded;

/// How long we read on after both close frames, so that the peer can read ours. RFC 6455 §7.1.1
const LINGER: Duration = Duration::from_secs(2);

/// How long a peer's close frame waits for an application that has taken a message and not come back for the next: what it answers
/// still goes out. RFC 6455 §5.5.1
const PATIENCE: Duration = Duration::from_secs(1);

/// One WebSocket, as its receiver, senders and keeper share it.
pub(super) struct Shared {
    link: Mutex<Link>,
    pub(super) wakers: Arc<Wakers>,
    /// Whose time counts.
    pub(super) runtime: Runtime,
    deflate: Option<Agreed>,
}

impl Shared {
    pub(super) fn new(stream: Upgraded, role: Role, options: Options, runtime: &Runtime) -> Arc<Self> {
        let wakers = Wakers::new();
        let deflate = options.deflate;
        let wire = Wire::new(stream, role, &options);
        let link = Mutex::new(Link::new(wire, options, &wakers, runtime.now()));
        Arc::new(Shared { link, wakers, runtime: runtime.clone(), deflate })
    }

    /// `message` as it is sent. Takes time where it is compressed, so before the lock is taken.
    pub(super) fn pack(&self, message: Message) -> Packed {
        Packed::new(message, self.deflate.as_ref())
    }

    /// The time of the server's clock.
    pub(super) fn now(&self) -> Instant {
        self.runtime.now()
    }

    /// That of a turn.
    pub(super) fn moment(&self) -> Moment<'_> {
        Moment { runtime: &self.runtime, at: OnceCell::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time of a turn. The clock is looked at when it is first asked for: most turns find nothing to do.
pub(super) struct Moment<'a> {
    runtime: &'a Runtime,
    at: OnceCell<Instant>,
}

impl Moment<'_> {
    pub(super) fn get(&self) -> Instant {
        *self.at.get_or_init(|| self.runtime.now())
    }
}

/// Where the closing handshake stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Our close frame is queued, the peer's is awaited.
    Closing {
        deadline: Instant,
    },
    /// No frame matters any more: what is queued goes out, then our half ends, then the peer's is awaited.
    Ending {
        deadline: Instant,
        shut: bool,
    },
    /// The stream is dropped.
    Ended,
}

/// What a turn at the connection has changed, for others that may wait for it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changes {
    /// A message waits.
    pub(super) message: bool,
    /// Queued octets have left that did not leave at once.
    pub(super) sent: bool,
    /// The phase is another one.
    pub(super) phase: bool,
}

pub(super) struct Link {
    /// `None` once the stream is dropped.
    wire: Option<Wire>,
    /// The stream after its end, while the handler has not ended and the server is stopping.
    retained: Option<Upgraded>,
    pub(super) retain_at_shutdown: bool,
    wakers: Arc<Wakers>,
    /// The same, as what the stream is polled with.
    waker: Waker,
    /// The message that waits for the receiver.
    incoming: Option<Message>,
    /// Octets handed over since the beginning, as last looked at.
    written: u64,
    phase: Phase,
    /// The peer's stream has ended while something of ours was still to be sent.
    peer_ended: bool,
    /// Since when the peer's close frame waits.
    close_ahead: Option<Instant>,
    end: Option<Close>,
    /// Why it failed, until the receiver is told.
    failure: Option<Error>,
    /// The same, until the operator is told.
    broken: Option<Error>,
    /// The last flush was pending: somebody may wait for what is queued.
    held_up: bool,
    changes: Changes,
    stopping: bool,
    /// Nobody receives: messages are dropped.
    pub(super) deaf: bool,
    pub(super) options: Options,
    /// When octets last came, a message last went by, octets last left (or began to wait), a ping was last sent.
    received: Instant,
    busy: Instant,
    progressed: Instant,
    pinged: Option<Instant>,
}

impl Link {
    fn new(wire: Wire, options: Options, wakers: &Arc<Wakers>, now: Instant) -> Self {
        Link {
            wire: Some(wire),
            retained: None,
            retain_at_shutdown: false,
            wakers: wakers.clone(),
            waker: Waker::from(wakers.clone()),
            incoming: None,
            written: 0,
            phase: Phase::Open,
            peer_ended: false,
            close_ahead: None,
            end: None,
            failure: None,
            broken: None,
            held_up: false,
            changes: Changes::default(),
            stopping: false,
            deaf: false,
            options,
            received: now,
            busy: now,
            progressed: now,
            pinged: None,
        }
    }

    /// The server is stopping; where it `is_handed_over`, another one goes on. \[UPG-22\]
    pub(super) fn stop(&mut self, is_handed_over: bool, now: Instant) {
        self.stopping = true;
        match is_handed_over {
            true => self.close(code::SERVICE_RESTART, "the server is restarting", now),
            false => self.close(code::GOING_AWAY, "the server is stopping", now),
        }
    }

    /// The handler has ended.
    pub(super) fn release(&mut self) {
        self.retain_at_shutdown = false;
        self.retained = None;
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// How it ended, if it has begun to.
    pub(super) fn end(&self) -> Option<&Close> {
        self.end.as_ref()
    }

    /// What sending meets once it is closed. \[UPG-14\]
    pub(super) fn refusal(&self) -> Option<Error> {
        let close = self.end.clone()?;
        Some(self.failure.clone().unwrap_or(Error::Closed(close)))
    }

    pub(super) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// The message that waits.
    pub(super) fn take_message(&mut self) -> Option<Message> {
        self.incoming.take()
    }

    /// Why it failed; told once.
    pub(super) fn take_failure(&mut self) -> Option<Error> {
        // Senders ask after the receiver has been told, too.
        let failure = self.failure.clone()?;
        self.failure = None;
        Some(failure)
    }

    /// How the client has broken it, if it has; once.
    pub(super) fn take_broken(&mut self) -> Option<Error> {
        self.broken.take()
    }

    /// Octets that wait to be handed over.
    pub(super) fn backlog(&self) -> usize {
        self.wire.as_ref().map_or(0, Wire::backlog)
    }

    /// Whether a message may be queued by somebody who can wait.
    pub(super) fn has_room(&self) -> bool {
        self.backlog() < self.options.max_write_buffer
    }

    /// Queues what was packed; says when it has left, for [`Self::has_left`].
    pub(super) fn queue(&mut self, packed: Packed, now: Instant) -> u64 {
        self.busy = now;
        self.push(now, |wire| {
            wire.queue_message(packed);
            wire.queued()
        })
        .unwrap_or(u64::MAX)
    }

    /// Whether all octets up to that of [`Self::queue`] are handed over.
    pub(super) fn has_left(&self, position: u64) -> bool {
        self.written >= position
    }

    fn push<T>(&mut self, now: Instant, queue: impl FnOnce(&mut Wire) -> T) -> Option<T> {
        let wire = self.wire.as_mut()?;
        if wire.backlog() == 0 {
            self.progressed = now;
        }
        Some(queue(wire))
    }

    /// Looks what was handed over.
    fn look_at_written(&mut self, now: &Moment<'_>) {
        let Some(wire) = &self.wire else { return };
        if wire.written() > self.written {
            self.written = wire.written();
            self.progressed = now.get();
            self.changes.sent |= self.held_up;
        }
    }

    /// The code of the Close that has ended it, ours or the peer's.
    pub(super) fn close_code(&self) -> Option<u16> {
        self.end.as_ref().map(|end| end.code)
    }

    /// Begins the closing handshake, unless one has begun. \[UPG-13\] RFC 6455 §7.1.2
    pub(super) fn close(&mut self, close_code: u16, reason: &str, now: Instant) {
        if self.phase == Phase::Open {
            self.push(now, |wire| wire.queue_close(close_code, reason));
            self.end = Some(Close { code: close_code, reason: reason.to_owned(), by_peer: false });
            // Nobody receives after a close of ours, and the peer's must not wait behind it.
            self.incoming = None;
            self.enter(Phase::Closing { deadline: later(now, self.options.close_timeout) });
        }
    }

    /// Disconnects a peer that does not keep up, at once. \[UPG-20\]
    pub(super) fn give_up(&mut self, why: &'static str) {
        self.lose(Error::Unresponsive(why));
    }

    /// The connection is gone. \[UPG-12c\]
    pub(super) fn lose(&mut self, why: Error) {
        if self.end.is_none() {
            self.end = Some(Close { code: code::ABNORMAL, reason: String::new(), by_peer: why == Error::Lost });
            self.broken = Some(why.clone());
            self.failure = Some(why);
        }
        self.enter(Phase::Ended);
    }

    fn enter(&mut self, phase: Phase) {
        if phase == Phase::Ended {
            let stream = self.wire.take().map(Wire::into_inner);
            if self.stopping && self.retain_at_shutdown {
                self.retained = stream;
            }
        }
        self.changes.phase |= self.phase != phase;
        self.phase = phase;
    }

    fn begin_end(&mut self, now: Instant) {
        self.enter(Phase::Ending { deadline: now + LINGER.min(self.options.close_timeout), shut: false });
    }

    /// Hands over what is queued, as far as the peer takes it, then our end of the stream if it is time for that.
    pub(super) fn pump_out(&mut self, now: &Moment<'_>) {
        let ending = matches!(self.phase, Phase::Ending { shut: false, .. });
        let Some(wire) = &mut self.wire else { return };
        if !(wire.is_unflushed() || ending) || !self.wakers.writes.claim() {
            return;
        }
        let mut cx = Context::from_waker(&self.waker);
        let mut outcome = wire.poll_flush(&mut cx);
        if let (Poll::Ready(Ok(())), Phase::Ending { shut, .. }) = (&outcome, &mut self.phase)
            && !*shut
        {
            outcome = wire.poll_shut(&mut cx);
            *shut = outcome == Poll::Ready(Ok(()));
        }
        let over = self.peer_ended && matches!(self.phase, Phase::Ending { shut: true, .. });
        self.look_at_written(now);
        self.held_up = outcome.is_pending();
        if outcome.is_ready() {
            self.wakers.writes.set();
        }
        if outcome == Poll::Ready(Err(())) || over {
            self.lose(Error::Lost);
        }
    }

    /// Reads until a message waits or nothing more is here, or it is the turn of others. Not so a close frame, for a while, where that
    /// is `ahead` of the receiver.
    pub(super) fn pump_in(&mut self, now: &Moment<'_>, ahead: bool) {
        if let Some(wire) = &mut self.wire {
            wire.begin_turn();
        }
        loop {
            // [UPG-20] answers to pings count, too: who does not take them is not read
            let may_read =
                self.incoming.is_none() && !self.peer_ended && (self.has_room() || self.phase != Phase::Open);
            let Some(wire) = self.wire.as_mut().filter(|_| may_read) else { return };
            if !self.wakers.reads.claim() {
                return;
            }
            let (before, had_backlog) = (wire.received(), wire.backlog() > 0);
            let waits = ahead && self.phase == Phase::Open && !self.deaf;
            let may_close = !waits || self.close_ahead.is_some_and(|since| now.get() >= since + PATIENCE);
            let mut cx = Context::from_waker(&self.waker);
            let event = match self.phase {
                // After the last frame whatever comes is only awaited to end. RFC 6455 §1.4
                Phase::Ending { .. } => wire.poll_end(&mut cx).map(|()| Event::Lost),
                _ => wire.poll_event(&mut cx, may_close),
            };
            if wire.received() > before {
                self.received = now.get();
            }
            if !had_backlog && wire.backlog() > 0 {
                self.progressed = now.get();
            }
            // Answers to pings leave while it reads.
            self.look_at_written(now);
            let Poll::Ready(event) = event else { return };
            self.wakers.reads.set();
            if event == Event::CloseAhead {
                self.close_ahead.get_or_insert_with(|| now.get());
                return;
            }
            if matches!(event, Event::Lost) && matches!(self.phase, Phase::Ending { shut: false, .. }) {
                // A peer that has said Close and ended its direction may still read ours. RFC 6455 §5.5.1
                self.peer_ended = true;
                self.changes.phase = true;
                return;
            }
            self.handle(event, now.get());
        }
    }

    fn handle(&mut self, event: Event, now: Instant) {
        let open = self.phase == Phase::Open;
        match event {
            Event::Message(message) => {
                self.busy = now;
                // After our close frame nobody waits for messages.
                if open && !self.deaf {
                    self.incoming = Some(message);
                    self.changes.message = true;
                }
            }
            Event::Control | Event::CloseAhead => {}
            Event::Close(close) => {
                if open {
                    let (code, reason) = close.unwrap_or((code::NO_STATUS, String::new()));
                    self.end = Some(Close { code, reason, by_peer: true });
                }
                self.begin_end(now);
            }
            Event::Violation { code, reason } => self.fail(code, reason, now),
            Event::Lost => self.lose(Error::Lost),
        }
    }

    /// \[UPG-11\] RFC 6455 §7.1.7: tells the peer, and reads no further frame.
    fn fail(&mut self, close_code: u16, reason: &'static str, now: Instant) {
        if self.phase == Phase::Open {
            self.push(now, |wire| wire.queue_close(close_code, reason));
            self.end = Some(Close { code: close_code, reason: reason.to_owned(), by_peer: false });
            let failure = Error::Protocol { code: close_code, reason };
            self.broken = Some(failure.clone());
            self.failure = Some(failure);
        }
        self.begin_end(now);
    }

    /// Whether nothing is to be done before the stream has news, or the clock does.
    pub(super) fn is_quiet(&self) -> bool {
        let is_waiting = self.phase == Phase::Open && self.incoming.is_none() && !self.peer_ended;
        is_waiting && self.wire.as_ref().is_some_and(|wire| !wire.is_unflushed()) && !self.wakers.reads.is_set()
    }

    /// Does what is due, and says when to look again.
    pub(super) fn check_clock(&mut self, now: Instant) -> Option<Instant> {
        match self.phase {
            Phase::Ended => return None,
            Phase::Closing { deadline } | Phase::Ending { deadline, .. } => {
                if now >= deadline {
                    self.enter(Phase::Ended);
                    return None;
                }
                return Some(deadline);
            }
            Phase::Open => {}
        }
        let mut next: Option<Instant> = None;
        let mut look_at = |at: Instant| next = Some(next.map_or(at, |other| other.min(at)));
        if let Some(since) = self.close_ahead {
            look_at(since + PATIENCE);
        }
        if self.backlog() > 0 {
            let at = later(self.progressed, self.options.send_timeout);
            if now >= at {
                self.give_up(unresponsive::TAKES_NOTHING);
                return None;
            }
            look_at(at);
        }
        if let Some(idle) = self.options.idle_timeout {
            let at = later(self.busy, idle);
            if now >= at {
                self.close(code::GOING_AWAY, "idle", now);
                return Some(now);
            }
            look_at(at);
        }
        if let Some(interval) = self.options.ping_interval {
            let asked = self.pinged.filter(|pinged| *pinged > self.received);
            if now >= later(asked.unwrap_or(self.received), interval) {
                // [UPG-23b]
                if asked.is_some() {
                    self.give_up(unresponsive::IS_SILENT);
                    return None;
                }
                if self.wire.as_ref().is_some_and(Wire::has_spare_buffers) {
                    self.wire = self.wire.take().map(Wire::with_new_buffers);
                    self.waker.wake_by_ref();
                }
                self.push(now, Wire::queue_ping);
                // Later than what was received before it, whatever the clock's resolution.
                self.pinged = Some(now.max(self.received + Duration::from_nanos(1)));
                look_at(later(now, interval));
            } else {
                look_at(later(asked.unwrap_or(self.received), interval));
            }
        }
        next
    }
}

/// `now + duration`, or a day so far away that it never comes: `Duration::MAX` is "never".
fn later(now: Instant, duration: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(86_400 * 365 * 30);
    now + duration.min(NEVER)
}
