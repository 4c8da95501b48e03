//! Where a connection stands, shared between its socket, its requests and its supervisor.
//!
//! In HTTP/1 all of them run inside one poll of the connection's task, except parts of a body that an application moved
//! elsewhere; so plain relaxed atomics do, and cost a load or a store each, but where an order is given. In HTTP/2 streams have tasks of their own:
//! they count, and only the connection's task concludes from it ([`Status::settle`]). Times are nanoseconds since the
//! engine started, read from the clock once per poll.

use std::time::Duration;

use adapter_core::Timeouts;
use adapter_core::server::SPARED;
use adapter_core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use adapter_core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};

/// How long the application may keep a client waiting that has ended its stream. \[DIS-01\] (DESIGN §7)
pub(super) const GRACE: Duration = Duration::from_millis(250);

/// How long hyper may leave the client's bytes unread before the engine looks whether the client is still there. With
/// the grace it stays below the 500 ms of \[DIS-01\]; a body on its way is not looked past.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// How long a client that was told that the connection ends may be silent before it is closed. \[KAP-13\] RFC 9112 §9.6,
/// RFC 9113 §6.8
pub(super) const LINGER: Duration = Duration::from_secs(2);
/// How long it may go on sending.
pub(super) const LINGER_AT_MOST: Duration = Duration::from_secs(30);
/// How long it has where the server is shutting down.
pub(super) const LAST_LINGER: Duration = Duration::from_millis(250);

/// Octets of a body that hyper holds at least when it gets no more: three pieces then, which leave in one write. A client that takes
/// nothing costs that, where hyper would hold 400 KiB, or a piece however large. HTTP/1. \[BOD-16\]
const HELD: usize = 128 * 1024 + 1;

/// How long after a GOAWAY new streams are served, because the client may not have seen it yet. RFC 9113 §6.8
const CROSSING: Duration = Duration::from_secs(1);

/// Bits of a time that count streams: it is a multiple of 66 µs then, and there are never so many tasks of one connection.
const COUNT: u64 = 0xffff;

/// What a stream that its client resets before it is answered costs of the connection's credit, and what one that is answered
/// gives back, as time; the time that passes is credit too.
const RESET_COSTS: u64 = 100_000_000;
const ANSWER_GIVES: u64 = 50_000_000;
/// The credit: 200 resets at once, or ten a second. RFC 9113 §10.5, CVE-2023-44487, CVE-2025-8671
const CREDIT: u64 = 200 * RESET_COSTS;

/// What the connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// The next request; none of its bytes are here.
    Idle = 0,
    /// The rest of a request head; also a fresh connection without any byte. In HTTP/2, whose frames hyper alone reads,
    /// only until the first request.
    Head = 1,
    /// The application, or the client taking its response.
    Busy = 2,
}

/// Which timeout ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// \[KAP-08\]
    KeepAlive,
    /// \[LIM-04\]
    HeaderRead,
    /// \[TLS-03\]
    Handshake,
    /// \[LIM-06\]
    Write,
    /// \[DIS-01\]
    Grace,
    /// Nobody reads: time to look for the end of the client's stream.
    Look,
    /// The client was told that the connection ends, and has had its time.
    Linger,
    /// The rest of a request body does not come.
    Rest,
}

#[derive(Debug, Default)]
pub(super) struct Status {
    phase: AtomicU8,
    /// The clock as of this poll.
    now: AtomicU64,
    /// When the phase began.
    since: AtomicU64,
    /// When bytes last went to the operating system.
    written: AtomicU64,
    /// When the client ended its stream; 0: it has not.
    ended: AtomicU64,
    /// When a write found the socket full; 0: it is not.
    blocked: AtomicU64,
    /// Responses under way: at most 1 in HTTP/1, streams in HTTP/2.
    open: AtomicUsize,
    /// Octets of a body that hyper holds. HTTP/1 only.
    held: AtomicUsize,
    /// It wants more of it, and is to get that when it holds less.
    body_held: AtomicBool,
    /// Streams of HTTP/2 with something to send for which the client has made no room, in the bits of [`COUNT`]; the others say since when
    /// there are some. In one, because a count that is seen with the time of an earlier one would have the connection given up.
    waiting: AtomicU64,
    /// When an HTTP/2 client was told that the connection ends; 0: it was not.
    drained: AtomicU64,
    /// Requests seen.
    requests: AtomicU64,
    /// Which of them is the first with a fragment in its target; 0: none is known. Of HTTP/2, a stream.
    pub(super) fragment: AtomicU64,
    /// How often hyper has read in this turn of the connection's task.
    reads: AtomicU32,
    /// Until when the resets of this client have used up the credit that time gives.
    resets_paid: AtomicU64,
    /// hyper waits for bytes of the client, and is woken when they or their end come.
    pub(super) read_waits: AtomicBool,
    /// The application waits for the rest of the request body.
    pub(super) body_waits: AtomicBool,
    /// The end of the client's stream was kept from hyper, which has to read again once it may know.
    end_held: AtomicBool,
    /// The application has not read the request body to its end, nor dropped it.
    pub(super) body_open: AtomicBool,
    /// A byte of the next head is here, perhaps while a request is being answered.
    pub(super) head_ahead: AtomicBool,
    /// A byte of the current head is here.
    pub(super) head_begun: AtomicBool,
    /// The engine is to give up reading the head and say 408.
    pub(super) head_timed_out: AtomicBool,
    /// A request was refused by the engine, which has told so: what hyper writes then is that answer.
    pub(super) is_refused: AtomicBool,
    /// A close-delimited response has not ended, or broke off: only a reset tells.
    pub(super) reset: AtomicBool,
    /// There is a body that has not been read to its end, nor taken away.
    pub(super) has_upload: AtomicBool,
    /// The head of the response under way is made.
    pub(super) committed: AtomicBool,
    /// It says that the connection ends.
    pub(super) says_close: AtomicBool,
    /// Somebody else needs its place: it is to close if it is idle.
    pub(super) unwanted: AtomicBool,
    /// The client has reset more streams than it may. HTTP/2 only.
    pub(super) provoked: AtomicBool,
    /// The last request that this HTTP/2 connection is to serve has begun.
    pub(super) last_begun: AtomicBool,
    /// Requests end apart from their connection: HTTP/2. The end of the client's stream concerns nobody but hyper.
    pub(super) multiplexed: AtomicBool,
}

impl Status {
    /// A connection accepted at `now`.
    pub(super) fn fresh(now: u64) -> Self {
        let status = Status::default();
        status.now.store(now, Relaxed);
        status.enter(Phase::Head);
        status
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Busy,
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.since.store(self.now(), Relaxed);
    }

    pub(super) fn now(&self) -> u64 {
        self.now.load(Relaxed)
    }

    /// The connection's task has a turn, at `now`.
    pub(super) fn begin_turn(&self, now: u64) {
        self.now.store(now, Relaxed);
        self.read_waits.store(false, Relaxed);
        self.reads.store(0, Relaxed);
    }

    /// hyper reads; says how often it has in this turn.
    pub(super) fn reads(&self) -> u32 {
        let reads = self.reads.load(Relaxed) + 1;
        self.reads.store(reads, Relaxed);
        reads
    }

    /// How often something has read in this turn.
    pub(super) fn reads_so_far(&self) -> u32 {
        self.reads.load(Relaxed)
    }

    /// Bytes of the client came, of a body or not.
    pub(super) fn received(&self, of_body: bool) {
        match self.phase() {
            // It is being read.
            Phase::Busy => self.since.store(self.now(), Relaxed),
            // Or read away, behind its response.
            _ if of_body => return,
            Phase::Idle if !self.is_multiplexed() => self.enter(Phase::Head),
            Phase::Idle | Phase::Head => {}
        }
        self.head_begun.store(true, Relaxed);
    }

    /// The client ended its stream. `true` the first time.
    pub(super) fn client_ended(&self) -> bool {
        let first = self.ended.load(Relaxed) == 0;
        if first {
            self.ended.store(self.now().max(1), Relaxed);
        }
        first
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed) != 0
    }

    /// Whether the end of the client's stream is to be kept from hyper: it would drop the response under way, or what
    /// of it is not written. Only who waits for the rest of a request body has to learn of it, and at once.
    fn holds_end(&self) -> bool {
        let answering = self.phase() == Phase::Busy && !self.body_waits.load(SeqCst);
        (answering || self.is_write_blocked()) && !self.is_multiplexed()
    }

    /// The end of the client's stream is here: whether it is kept from hyper.
    pub(super) fn meets_end(&self) -> bool {
        let holds = self.holds_end();
        self.end_held.store(holds, SeqCst);
        holds
    }

    /// Whether it was, and is not to be any more.
    pub(super) fn lets_end_go(&self) -> bool {
        self.end_held.load(SeqCst) && !self.holds_end()
    }

    /// The application waits for the rest of the request body from now on, perhaps on another thread: whether the connection's task has
    /// to look, because the end was kept from hyper. Either that is seen here, or the task sees this at the end of its turn.
    pub(super) fn body_is_awaited(&self) -> bool {
        self.body_waits.store(true, SeqCst);
        self.end_held.load(SeqCst)
    }

    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Relaxed)
    }

    /// Since when it has waited for a request, if it does.
    pub(super) fn idle_since(&self) -> Option<u64> {
        let since = self.since.load(Relaxed);
        let waits = match self.phase() {
            Phase::Idle => true,
            // In HTTP/2 the preface has come, and no stream.
            Phase::Head if self.requests() == 0 => !self.head_begun.load(Relaxed) || self.is_multiplexed(),
            Phase::Head | Phase::Busy => false,
        };
        (waits && !self.is_write_blocked()).then_some(since)
    }

    /// Until when a request may be on its way, if it waits for one or for the rest of its head: its first, or another behind an answer. In
    /// HTTP/2 a GOAWAY tells what was taken. \[SHU-04\], \[SHU-14\], \[SHU-15\]
    pub(super) fn spared_until(&self) -> Option<u64> {
        let waits = match self.phase() {
            Phase::Head => self.requests() == 0 || !self.is_multiplexed(),
            Phase::Idle => !self.is_multiplexed(),
            Phase::Busy => false,
        };
        waits.then(|| self.since.load(Relaxed) + SPARED.as_nanos() as u64)
    }

    /// Bytes went to the operating system.
    pub(super) fn progressed(&self) {
        self.written.store(self.now(), Relaxed);
        self.blocked.store(0, Relaxed);
        if self.phase() == Phase::Idle && !self.is_multiplexed() {
            // [KAP-09] the connection is idle from the last byte of the response on; what is written in HTTP/2 then answers
            // a PING
            self.since.store(self.now(), Relaxed);
        }
    }

    /// Whether any have since `time`.
    pub(super) fn written_since(&self, time: u64) -> bool {
        self.written.load(Relaxed) > time
    }

    /// The socket takes no more for now.
    pub(super) fn write_blocked(&self) {
        if self.blocked.load(Relaxed) == 0 {
            self.blocked.store(self.now().max(1), Relaxed);
        }
    }

    pub(super) fn is_write_blocked(&self) -> bool {
        self.blocked.load(Relaxed) != 0
    }

    /// A request is being answered from now on; says how many came on this connection.
    pub(super) fn request_begins(&self) -> u64 {
        if self.is_multiplexed() {
            self.open.fetch_add(1, Relaxed);
        } else {
            // The only one, and an atomic addition stalls the processor.
            self.open.store(1, Relaxed);
        }
        self.enter(Phase::Busy);
        self.head_begun.store(false, Relaxed);
        self.committed.store(false, Relaxed);
        // Only requests count here, and they begin in the connection's task: no need for an atomic addition.
        let requests = self.requests.load(Relaxed) + 1;
        self.requests.store(requests, Relaxed);
        requests
    }

    /// Requests that came on this connection.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// What a request began goes on beyond its response, while that is still under way. HTTP/2 only.
    pub(super) fn response_goes_on(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    /// A response has left the engine's hands. `true`: it was the last in HTTP/2, and the connection's task has to
    /// [`settle`](Self::settle).
    pub(super) fn response_ends(&self) -> bool {
        if self.is_multiplexed() {
            return self.open.fetch_sub(1, AcqRel) == 1;
        }
        self.open.store(0, Relaxed);
        let ahead = self.head_ahead.load(Relaxed);
        self.enter(if ahead { Phase::Head } else { Phase::Idle });
        self.head_begun.store(ahead, Relaxed);
        false
    }

    /// The connection is idle if nothing is under way. HTTP/2 only.
    pub(super) fn settle(&self) {
        if self.phase() == Phase::Busy && self.open.load(Acquire) == 0 {
            self.enter(Phase::Idle);
        }
    }

    /// hyper gets that much of a body.
    pub(super) fn body_given(&self, count: usize) {
        self.held.store(self.held.load(Relaxed) + count, Relaxed);
    }

    /// hyper has written that much, framing included.
    pub(super) fn hyper_wrote(&self, count: usize) {
        let held = self.held.load(Relaxed);
        if held > 0 {
            self.held.store(held.saturating_sub(count), Relaxed);
        }
    }

    /// Whether hyper, which asks for more of a body, holds enough of it. HTTP/1 only.
    pub(super) fn holds_body(&self) -> bool {
        let holds = self.held.load(Relaxed) >= HELD;
        self.body_held.store(holds, Relaxed);
        holds
    }

    /// Whether it was told so, and does not any more: nobody else wakes the task for that. `true` once.
    pub(super) fn body_goes_on(&self) -> bool {
        let goes_on = self.body_held.load(Relaxed) && self.held.load(Relaxed) < HELD;
        if goes_on {
            self.body_held.store(false, Relaxed);
        }
        goes_on
    }

    /// A stream has something to send and no room for it, since `now`. HTTP/2 only.
    pub(super) fn stream_waits(&self, now: u64) {
        let wait = |waiting| Some(1 + if waiting & COUNT == 0 { (now | COUNT) + 1 } else { waiting });
        let _ = self.waiting.fetch_update(Relaxed, Relaxed, wait);
    }

    /// There is room, or nothing to send any more.
    pub(super) fn stream_goes_on(&self) {
        self.waiting.fetch_sub(1, Relaxed);
    }

    /// The client is told that the connection ends. HTTP/2 only.
    pub(super) fn drain(&self) {
        self.drained.store(self.now().max(1), Relaxed);
    }

    /// The head of the response is made; `close`: it says that the connection ends.
    pub(super) fn commit(&self, close: bool) {
        self.committed.store(true, Relaxed);
        if close {
            self.says_close.store(true, Relaxed);
        }
    }

    /// Whether no new stream is to be served: the client has had time to learn that the connection ends. HTTP/2 only.
    pub(super) fn refuses_streams(&self) -> bool {
        let drained = self.drained.load(Relaxed);
        drained != 0 && self.now().saturating_sub(drained) >= CROSSING.as_nanos() as u64
    }

    /// A stream was reset before it was answered. `true`: that was one too many, and the connection's task has to end it.
    /// HTTP/2 only.
    pub(super) fn stream_was_reset(&self, now: u64) -> bool {
        let paid = |paid: u64| Some(paid.max(now) + RESET_COSTS);
        let before = self.resets_paid.fetch_update(Relaxed, Relaxed, paid).unwrap_or_default();
        before > now + CREDIT && !self.provoked.swap(true, Relaxed)
    }

    /// A stream was answered to its end. HTTP/2 only.
    pub(super) fn stream_was_answered(&self) {
        if self.resets_paid.load(Relaxed) != 0 {
            let give = |paid: u64| Some(paid.saturating_sub(ANSWER_GIVES));
            let _ = self.resets_paid.fetch_update(Relaxed, Relaxed, give);
        }
    }

    /// When patience ends with a client that takes nothing of what there is for it. \[LIM-06\]
    #[inline]
    pub(super) fn write_deadline(&self, timeouts: &Timeouts) -> Option<(u64, Expired)> {
        let blocked = self.blocked.load(Relaxed);
        let waiting = self.waiting.load(Relaxed);
        if blocked != 0 {
            after(blocked, timeouts.write, Expired::Write)
        } else if waiting & COUNT != 0 {
            let start = (waiting & !COUNT).max(self.written.load(Relaxed));
            after(start, timeouts.write, Expired::Write)
        } else {
            None
        }
    }

    /// When the handshake of TLS has to have ended. \[TLS-03\]
    pub(super) fn handshake_deadline(&self, timeouts: &Timeouts) -> Option<(u64, Expired)> {
        after(self.since.load(Relaxed), timeouts.tls_handshake, Expired::Handshake)
    }

    /// When the connection's patience ends, and why. Times are since the engine's start.
    #[inline]
    pub(super) fn deadline(&self, timeouts: &Timeouts) -> Option<(u64, Expired)> {
        let since = self.since.load(Relaxed);
        let write = self.write_deadline(timeouts);
        let blocked = self.blocked.load(Relaxed);
        let drained = self.drained.load(Relaxed);
        let wait = match self.phase() {
            Phase::Idle | Phase::Head if drained != 0 => after(drained.max(since), Some(LINGER), Expired::Linger),
            // [KAP-09] not with data queued
            Phase::Idle if blocked != 0 => None,
            Phase::Idle => after(since, timeouts.keep_alive, Expired::KeepAlive),
            Phase::Head => after(since, timeouts.header_read, Expired::HeaderRead),
            Phase::Busy => match self.ended.load(Relaxed) {
                0 if self.is_multiplexed() || self.read_waits.load(Relaxed) => None,
                0 => after(since, Some(LOOK), Expired::Look),
                // [DIS-01] while the client takes what we send, it is not kept waiting
                _ if blocked != 0 => None,
                ended => after(ended.max(self.written.load(Relaxed)).max(since), Some(GRACE), Expired::Grace),
            },
        };
        match (write, wait) {
            (Some(a), Some(b)) => Some(if a.0 <= b.0 { a } else { b }),
            (a, b) => a.or(b),
        }
    }
}

fn after(start: u64, limit: Option<Duration>, why: Expired) -> Option<(u64, Expired)> {
    limit.map(|limit| (start.saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn each_phase_has_its_deadline() {
        let timeouts = Timeouts::default();
        let status = Status::fresh(MS);
        assert_eq!(status.deadline(&timeouts), Some((MS + 30_000 * MS, Expired::HeaderRead)));
        status.request_begins();
        assert_eq!(status.deadline(&timeouts), Some((101 * MS, Expired::Look)));
        status.read_waits.store(true, Relaxed);
        assert_eq!(status.deadline(&timeouts), None);
        status.begin_turn(5 * MS);
        status.read_waits.store(true, Relaxed);
        assert!(status.client_ended());
        assert_eq!(status.deadline(&timeouts), Some((255 * MS, Expired::Grace)));
        status.begin_turn(100 * MS);
        status.progressed();
        assert_eq!(status.deadline(&timeouts), Some((350 * MS, Expired::Grace)), "output renews the grace");
        status.write_blocked();
        assert_eq!(status.deadline(&timeouts), Some((60_100 * MS, Expired::Write)));
        status.progressed();
        status.response_ends();
        assert_eq!(status.deadline(&timeouts), Some((75_100 * MS, Expired::KeepAlive)));
        status.begin_turn(200 * MS);
        status.received(false);
        assert_eq!(status.deadline(&timeouts), Some((30_200 * MS, Expired::HeaderRead)));
    }

    #[test]
    fn streams_end_apart_from_their_connection() {
        let timeouts = Timeouts::default();
        let status = Status::fresh(MS);
        status.multiplexed.store(true, Relaxed);
        status.received(false);
        assert_eq!(status.deadline(&timeouts), Some((MS + 30_000 * MS, Expired::HeaderRead)));
        status.request_begins();
        status.request_begins();
        assert!(!status.response_ends());
        status.settle();
        assert_eq!(status.phase(), Phase::Busy);
        assert_eq!(status.deadline(&timeouts), None);
        status.stream_waits(7 * MS);
        let begun = (7 * MS).next_multiple_of(COUNT + 1);
        assert_eq!(status.deadline(&timeouts), Some((60_000 * MS + begun, Expired::Write)));
        status.stream_waits(9 * MS);
        status.stream_goes_on();
        assert_eq!(status.deadline(&timeouts), Some((60_000 * MS + begun, Expired::Write)), "one waits from then on");
        status.begin_turn(10 * MS);
        status.progressed();
        assert_eq!(status.deadline(&timeouts), Some((60_010 * MS, Expired::Write)), "the client takes something");
        status.stream_goes_on();
        assert_eq!(status.deadline(&timeouts), None, "it is the application's turn");
        assert!(status.response_ends(), "somebody has to look");
        status.settle();
        assert_eq!(status.deadline(&timeouts), Some((75_010 * MS, Expired::KeepAlive)));
        status.begin_turn(20 * MS);
        status.received(false);
        status.progressed();
        assert_eq!(status.deadline(&timeouts), Some((75_010 * MS, Expired::KeepAlive)), "a PING is no request");
        status.drain();
        assert_eq!(status.deadline(&timeouts), Some((2_020 * MS, Expired::Linger)));
        status.request_begins();
        assert_eq!(status.deadline(&timeouts), None, "a stream that crossed the GOAWAY");
    }
}
