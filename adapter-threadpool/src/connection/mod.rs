//! A connection: its shared part, its events, and its place in the queue.
//!
//! *Threads*: the leader reports events and timers ([`Conn::on_event`], [`Conn::on_timer`]), wakers report from
//! anywhere; the first report puts the connection into the queue, and one worker at a time runs it ([`Conn::run`]).
//! While application code runs, the request body and the early hints may use the socket from other threads, under the
//! lock of [`Io`]. *Invariants*: application code is never called, woken or dropped under that lock; an idle connection
//! holds no buffer; every report after [`Conn::run`] has begun leads to another run.

mod close;
mod drive;
mod hints;
mod io;
mod request;
mod request_body;
mod response;
mod upgrade;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Wake;

use adapter_core::environ;
use rustix::event::epoll::EventFlags;

use self::drive::Task;
pub(crate) use self::io::Scratch;
use self::io::{Flush, Io};
use crate::engine::schedule::Job;
use crate::engine::{Engine, Tick, lock};

/// What is known of a connection without a lock.
mod bit {
    /// There may be something to read. Cleared before each read.
    pub(super) const READABLE: u32 = 1;
    /// There may be room to write.
    pub(super) const WRITABLE: u32 = 1 << 1;
    /// The client's stream has ended, read or unread.
    pub(super) const ENDED: u32 = 1 << 2;
    /// The connection is broken, or closed both ways.
    pub(super) const GONE: u32 = 1 << 3;
    /// A waker was used.
    pub(super) const WOKEN: u32 = 1 << 4;
    /// The server is being forced to stop.
    pub(super) const FORCED: u32 = 1 << 6;
    /// Output waits for room.
    pub(super) const WANT_WRITE: u32 = 1 << 7;
    /// The current request's body has not been read to its end.
    pub(super) const BODY_OPEN: u32 = 1 << 8;
    /// In the queue, or to be run again.
    pub(super) const QUEUED: u32 = 1 << 9;
    /// A worker runs it.
    pub(super) const RUNNING: u32 = 1 << 10;
    /// Application code runs while there is output; the supervisor writes it if that takes long.
    pub(super) const CORKED: u32 = 1 << 5;
    /// It is closed; nothing more happens.
    pub(super) const CLOSED: u32 = 1 << 11;
    /// It is not HTTP's any more, but the application's.
    pub(super) const TAKEN: u32 = 1 << 12;
    /// It waits for a permit, and the application has not been called for its request.
    pub(super) const UNBEGUN: u32 = 1 << 14;
    /// If it is idle, it is to make room for another.
    pub(super) const MAKE_ROOM: u32 = 1 << 13;
}

/// What is to be done with a connection after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing, until the next report.
    Parked,
    /// Queue it again.
    Again,
    /// Queue it for a permit; a request that has not been begun may be refused instead.
    NeedsPermit {
        /// Whether the application has not been called for it yet.
        is_new: bool,
    },
}

/// What an event asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reported {
    /// The connection must be put into the queue.
    pub(crate) queue: bool,
    /// [`Conn::signal_end`] must be called.
    pub(crate) ended: bool,
    /// The supervisor must look after output that application code holds up.
    pub(crate) corked: bool,
    /// The client of a request that waits in the line has gone.
    pub(crate) left: bool,
}

/// What is left of output that application code holds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uncorked {
    /// Nothing, or the code has returned.
    Done,
    /// It waits for room: look when something is reported.
    Waits,
    /// Look again.
    Soon,
}

/// One connection.
pub(crate) struct Conn {
    engine: Arc<Engine>,
    token: u64,
    state: AtomicU32,
    /// When to be told, 0 for never; may be put off without touching the timers.
    deadline: AtomicU64,
    /// The time of the entry in the timers, `u64::MAX` if there is none.
    armed: AtomicU64,
    /// When bytes last went in or out while that mattered.
    progress: AtomicU64,
    /// Since when it has been idle between two requests, 0 if it is not.
    idle_since: AtomicU64,
    environ: Arc<environ::Connection>,
    io: Mutex<Io>,
    task: Mutex<Task>,
}

impl Conn {
    pub(crate) fn new(
        engine: Arc<Engine>,
        token: u64,
        socket: Arc<OwnedFd>,
        environ: Arc<environ::Connection>,
        now: Tick,
    ) -> Arc<Self> {
        Arc::new(Conn {
            engine,
            token,
            state: AtomicU32::new(0),
            deadline: AtomicU64::new(0),
            armed: AtomicU64::new(u64::MAX),
            progress: AtomicU64::new(now),
            idle_since: AtomicU64::new(0),
            environ,
            io: Mutex::new(Io::new(socket)),
            task: Mutex::new(Task::new(now)),
        })
    }

    pub(crate) fn token(&self) -> u64 {
        self.token
    }

    /// Whether the client is known to be gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.has(bit::GONE)
    }

    /// Whether it waits for a permit with a request the application has not been called for. Set before it gets in line,
    /// and cleared when it is run.
    pub(crate) fn is_unbegun(&self) -> bool {
        self.has(bit::UNBEGUN)
    }

    fn has(&self, bits: u32) -> bool {
        self.state.load(Ordering::Acquire) & bits != 0
    }

    fn set(&self, bits: u32) -> u32 {
        self.state.fetch_or(bits, Ordering::AcqRel)
    }

    fn clear(&self, bits: u32) -> u32 {
        self.state.fetch_and(!bits, Ordering::AcqRel)
    }

    /// Sets `bits` and says whether the caller must put the connection into the queue.
    fn report(&self, bits: u32) -> bool {
        self.set(bits | bit::QUEUED) & (bit::QUEUED | bit::RUNNING | bit::CLOSED) == 0
    }

    /// The poller reported `flags`; says what is to be done about it. Called under a lock: wakes nobody.
    pub(crate) fn on_event(&self, flags: u32) -> Reported {
        let flags = EventFlags::from_bits_retain(flags);
        let mut bits = 0;
        if flags.contains(EventFlags::IN) {
            bits |= bit::READABLE;
        }
        if flags.contains(EventFlags::OUT) {
            bits |= bit::WRITABLE;
        }
        if flags.contains(EventFlags::RDHUP) {
            bits |= bit::ENDED | bit::READABLE;
        }
        if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
            bits |= bit::GONE | bit::READABLE | bit::WRITABLE;
        }
        if bits & bit::READABLE == 0 {
            // Room to write concerns nobody, unless somebody waits for it.
            let wanted = self.set(bits) & bit::WANT_WRITE != 0;
            return Reported {
                queue: wanted && self.report(0),
                ended: false,
                corked: wanted && self.has(bit::CORKED),
                left: false,
            };
        }
        let corked = self.has(bit::CORKED);
        let queue = self.report(bits);
        Reported {
            queue,
            ended: bits & (bit::ENDED | bit::GONE) != 0,
            corked,
            left: bits & bit::GONE != 0 && self.is_unbegun(),
        }
    }

    /// \[DIS-01\] fires `disconnected()` once the client's stream has ended as far as the application has read it. Of a
    /// connection that was taken the application reads the end itself, and may go on.
    pub(crate) fn signal_end(&self) {
        let state = self.state.load(Ordering::Acquire);
        if state & bit::GONE != 0 || (state & bit::ENDED != 0 && state & (bit::BODY_OPEN | bit::TAKEN) == 0) {
            self.environ.disconnected.fire();
        }
    }

    /// The timer entry fired.
    pub(crate) fn on_timer(&self, now: Tick) -> Reported {
        self.armed.store(u64::MAX, Ordering::SeqCst);
        let deadline = self.deadline.load(Ordering::SeqCst);
        let is_due = deadline != 0 && deadline <= now;
        if deadline != 0 && !is_due {
            self.arm(deadline);
        }
        Reported { queue: is_due && self.report(0), ended: false, corked: is_due && self.has(bit::CORKED), left: false }
    }

    /// Sets the deadline; 0 is none. Touches the timers only if it is earlier than what they know.
    pub(crate) fn arm(&self, deadline: Tick) {
        self.deadline.store(deadline, Ordering::SeqCst);
        if deadline == 0 {
            return;
        }
        let armed = self.armed.load(Ordering::SeqCst);
        if deadline < armed {
            // Two threads may do this at once; the entry of the one that loses fires idly.
            self.armed.store(deadline, Ordering::SeqCst);
            if armed != u64::MAX {
                self.engine.timers.disarm(armed, self.token);
            }
            if self.engine.timers.arm(deadline, self.token) {
                self.engine.poller.interrupt();
            }
        }
    }

    /// Puts the connection into the queue if it is not there.
    fn wake_up(self: &Arc<Self>, bits: u32) {
        if self.report(bits) {
            self.engine.push(Job::Connection(self.clone()));
        }
    }

    /// Bytes of a request body came in.
    fn note_progress(&self) {
        self.progress.store(self.engine.now(), Ordering::Relaxed);
    }

    /// Since when it has been idle between two requests, 0 if it is not as far as is known.
    pub(crate) fn idle_since(&self) -> Tick {
        self.idle_since.load(Ordering::Relaxed)
    }

    /// Another client waits at the limit: close it if it is still idle. \[LIM-07\]
    pub(crate) fn make_room(self: &Arc<Self>) {
        self.wake_up(bit::MAKE_ROOM);
    }

    /// The server is stopping: close it if it is idle. \[SHU-03\]
    pub(crate) fn drain(self: &Arc<Self>) {
        self.wake_up(0);
    }

    /// The server is being forced to stop: whoever reads or writes gets an error, and the rest is dropped. \[SHU-06\]
    pub(crate) fn force(self: &Arc<Self>) {
        self.environ.disconnected.fire();
        // Before the end can be read: it is not the client's.
        self.set(bit::FORCED);
        lock(&self.io).shut_down();
        self.wake_up(0);
    }

    /// Application code is about to run while there is output that is gathered with what follows. \[BOD-04\] PEP 3333
    /// wants it to be sent meanwhile by another thread: that is the supervisor, see [`Conn::uncork`].
    fn cork(self: &Arc<Self>) {
        if !self.has(bit::CORKED) && self.set(bit::CORKED) & bit::CORKED == 0 {
            lock(&self.engine.corked).push(self.clone());
            self.engine.scheduler.watch_on();
        }
    }

    /// Called by the supervisor: writes what is held back, if application code still runs; cuts off a client that takes
    /// nothing of it. \[LIM-06\]
    pub(crate) fn uncork(self: &Arc<Self>) -> Uncorked {
        if !self.has(bit::CORKED) {
            return Uncorked::Done;
        }
        let Ok(mut io) = self.io.try_lock() else { return Uncorked::Soon };
        if self.flush_aside(&mut io) != Flush::Wait {
            // Whoever adds to the output holds the lock, and corks again.
            self.clear(bit::CORKED);
            return Uncorked::Done;
        }
        let since = io.stalled_since;
        drop(io);
        if drive::expired(self, since) {
            tracing::debug!(target: "adapter", "[LIM-06] a client takes nothing; its connection is closed");
            self.cut_off(true);
            return Uncorked::Done;
        }
        // The worker that runs it has no deadline of its own now; if it had just set one, it comes again to set it anew.
        self.arm(drive::write_deadline(self, since));
        self.wake_up(0);
        Uncorked::Waits
    }

    /// [`Io::flush`] for others than the worker that runs the connection. That worker may have gone: it must come again
    /// where the report of room was used up here, and where from now on output waits, which has a deadline.
    fn flush_aside(self: &Arc<Self>, io: &mut Io) -> Flush {
        let stalled = io.stalled_since != 0;
        let outcome = io.flush(self);
        if stalled != (outcome == Flush::Wait) || outcome == Flush::Broken {
            self.wake_up(0);
        }
        outcome
    }

    /// Runs the connection as far as it goes without waiting; application code only with a `permit`.
    pub(crate) fn run(self: &Arc<Self>, scratch: &mut Scratch, permit: bool) -> Step {
        self.set(bit::RUNNING);
        let mut taken = self.clear(bit::QUEUED | bit::WOKEN | bit::UNBEGUN);
        if taken & bit::CLOSED != 0 {
            return Step::Parked;
        }
        taken &= bit::WOKEN;
        self.idle_since.store(0, Ordering::Relaxed);
        let mut task = lock(&self.task);
        let step = drive::drive(self, &mut task, scratch, &mut taken, permit);
        lock(&self.io).settle(scratch);
        drop(task);
        match step {
            Step::Parked => {
                let state = self.clear(bit::RUNNING | bit::CORKED);
                if state & bit::QUEUED != 0 && state & bit::CLOSED == 0 { Step::Again } else { Step::Parked }
            }
            // It stays marked as queued, because it is about to be.
            Step::Again => {
                self.set(bit::QUEUED | taken);
                self.clear(bit::RUNNING | bit::CORKED);
                Step::Again
            }
            Step::NeedsPermit { is_new } => {
                self.set(bit::QUEUED | taken | if is_new { bit::UNBEGUN } else { 0 });
                self.clear(bit::RUNNING | bit::CORKED);
                Step::NeedsPermit { is_new }
            }
        }
    }
}

impl Wake for Conn {
    fn wake(self: Arc<Self>) {
        if self.report(bit::WOKEN) {
            let engine = self.engine.clone();
            engine.push(Job::Connection(self));
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_up(bit::WOKEN);
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn").field("token", &self.token).finish_non_exhaustive()
    }
}
