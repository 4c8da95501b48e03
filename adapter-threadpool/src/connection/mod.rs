//! A connection: `adapter-http1`'s, with its events and its place in the engine's queue.
//!
//! *Threads*: see [`Client`]. While application code runs for it, the request body, the early hints and the supervisor may use the
//! socket from other threads, under the connection's own lock. *Invariant*: every report after [`Conn::run`] has begun
//! leads to another run.

mod socket;

use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use adapter_core::contain::catch;
use adapter_core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use adapter_core::sync::{self, Mutex};
use adapter_core::tls::Tls;
use adapter_http1::connection::{Connection, Handle, Held, Late, Secured, Settings, Turn, Turned};

use self::socket::Socket;
use crate::engine::client::{Accepted, Client, Reported, Step, Uncorked};
use crate::engine::poller::flag;
use crate::engine::schedule::Job;
use crate::engine::{Engine, Tick, accept, lock};

/// Turns of a connection that wakes itself before others get theirs.
const TURNS: u32 = 8;

/// What is known of a connection without a lock.
mod bit {
    /// There may be something to read. Cleared before each read.
    pub(super) const READABLE: u32 = 1;
    /// There may be room to write: it was reported since a write fell short.
    pub(super) const WRITABLE: u32 = 1 << 1;
    /// The client's stream has ended, read or unread.
    pub(super) const ENDED: u32 = 1 << 2;
    /// The connection is broken, or closed both ways.
    pub(super) const GONE: u32 = 1 << 3;
    /// A waker was used.
    pub(super) const WOKEN: u32 = 1 << 4;
    /// Application code runs while there is output; the supervisor writes it if that takes long.
    pub(super) const CORKED: u32 = 1 << 5;
    /// Output waits for room.
    pub(super) const WANT_WRITE: u32 = 1 << 6;
    /// Somebody else than the connection waits for the socket: it is the application's.
    pub(super) const OTHERS: u32 = 1 << 7;
    /// In the queue, or to be run again.
    pub(super) const QUEUED: u32 = 1 << 8;
    /// A worker runs it.
    pub(super) const RUNNING: u32 = 1 << 9;
    /// It is closed; nothing more happens.
    pub(super) const CLOSED: u32 = 1 << 10;
    /// It waits for a permit, and the application has not been called for its request.
    pub(super) const UNBEGUN: u32 = 1 << 11;
}

/// One connection.
pub(crate) struct Conn {
    engine: Arc<Engine>,
    token: u64,
    state: AtomicU32,
    /// How long application code may take to answer.
    handler_limit: Option<Duration>,
    /// Until when its request may wait for a permit.
    waits_until: AtomicU64,
    /// Who waits for the socket once it is the application's.
    others: Mutex<Option<Box<Others>>>,
    handle: OnceLock<Handle<Secured<Socket>>>,
    task: Mutex<Option<Task>>,
}

/// What the worker that runs a connection has of it; none once it is over.
struct Task {
    connection: Connection<Secured<Socket>>,
    waker: Waker,
    /// The time of the entry in the timers, which may be earlier than the deadline: one that is put off costs nothing.
    armed: Option<Instant>,
}

/// The application's tasks that wait for a socket it has taken.
#[derive(Default)]
struct Others {
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Conn {
    /// The connection of a socket that was accepted, under `tls` if there is some.
    pub(crate) fn open(
        engine: &Arc<Engine>,
        settings: &Arc<Settings>,
        tls: Option<&Tls>,
        accepted: Accepted,
    ) -> Arc<dyn Client> {
        let Accepted { token, stream, peer, local, proxy, .. } = accepted;
        let conn = Arc::new(Conn {
            engine: engine.clone(),
            token,
            state: AtomicU32::new(0),
            handler_limit: settings.handler_limit(),
            waits_until: AtomicU64::new(Tick::MAX),
            others: Mutex::default(),
            handle: OnceLock::new(),
            task: Mutex::default(),
        });
        let transport = settings.secure(Socket::new(stream, conn.clone()), tls);
        let mut connection = Connection::new(settings.clone(), transport, peer, local, sync::now());
        if proxy {
            connection = connection.behind_proxy();
        }
        let _ = conn.handle.set(connection.handle());
        let mut task = Task { connection, waker: Waker::from(conn.clone()), armed: None };
        task.connection.await_first(&task.waker);
        let deadline = task.connection.deadline();
        conn.arm(&mut task, deadline, sync::now());
        *lock(&conn.task) = Some(task);
        conn
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

    /// Puts the connection into the queue if it is not there.
    fn wake_up(self: &Arc<Self>, bits: u32) {
        if self.report(bits) {
            self.engine.push(Job::Connection(self.clone()));
        }
    }

    /// Sees to it that the timers know the `deadline`, or an earlier time.
    fn arm(&self, task: &mut Task, deadline: Option<Instant>, now: Instant) {
        let Some(deadline) = deadline else { return };
        if task.armed.is_some_and(|armed| armed <= deadline && armed > now) {
            return;
        }
        self.disarm(task);
        task.armed = Some(deadline);
        self.arm_at(deadline);
    }

    fn arm_at(&self, deadline: Instant) {
        if self.engine.timers.arm(self.engine.tick(deadline), self.token) {
            self.engine.poller.interrupt();
        }
    }

    fn disarm(&self, task: &mut Task) {
        if let Some(armed) = task.armed.take() {
            self.engine.timers.disarm(self.engine.tick(armed), self.token);
        }
    }

    /// Application code is about to run while there is output that is gathered with what follows. \[BOD-04\] PEP 3333
    /// wants it to be sent meanwhile by another thread: that is the supervisor, see [`Client::uncork`].
    fn cork(self: &Arc<Self>) {
        if !self.has(bit::CORKED) && self.set(bit::CORKED) & bit::CORKED == 0 {
            lock(&self.engine.corked).push(self.clone());
            self.engine.scheduler.watch_on();
        }
    }

    /// Wakes the application's tasks that wait for what has happened, or all.
    fn wake_others(&self, all: bool) {
        let mut place = lock(&self.others);
        let Some(others) = place.as_deref_mut() else { return };
        let reader = others.reader.take_if(|_| all || self.has(bit::READABLE | bit::GONE));
        let writer = others.writer.take_if(|_| all || self.has(bit::WRITABLE | bit::GONE));
        if others.reader.is_none() && others.writer.is_none() {
            self.clear(bit::OTHERS);
        }
        drop(place);
        for waker in [reader, writer].into_iter().flatten() {
            // It is the application's, and may be anybody's.
            let _ = catch("waker", || waker.wake());
        }
    }

    /// Closes the socket under whoever uses it.
    fn cut(&self) {
        if let Some(handle) = self.handle.get() {
            handle.cut();
        }
        self.wake_others(true);
    }

    /// Leaves the server's books.
    fn leave(&self) {
        if self.set(bit::CLOSED) & bit::CLOSED != 0 {
            return;
        }
        if self.engine.connections.remove(self.token) {
            // [LIM-07] there is room again
            accept::resume(&self.engine);
        }
    }

    /// A run ends with `step`, and the connection is to come again.
    fn again(&self, bits: u32, step: Step) -> Step {
        // It stays marked as queued, because it is about to be.
        self.set(bit::QUEUED | bits);
        self.clear(bit::RUNNING | bit::CORKED);
        step
    }
}

impl Client for Conn {
    fn on_event(&self, flags: u32) -> Reported {
        let mut bits = 0;
        if flags & flag::READABLE != 0 {
            bits |= bit::READABLE;
        }
        if flags & flag::WRITABLE != 0 {
            bits |= bit::WRITABLE;
        }
        if flags & flag::ENDED != 0 {
            bits |= bit::ENDED | bit::READABLE;
        }
        if flags & flag::BROKEN != 0 {
            bits |= bit::GONE | bit::READABLE | bit::WRITABLE;
        }
        let is_end = bits & (bit::ENDED | bit::GONE) != 0;
        if self.has(bit::OTHERS) {
            self.set(bits);
            return Reported { tell: true, ..Reported::default() };
        }
        if bits & bit::READABLE == 0 {
            // Room to write concerns nobody, unless somebody waits for it.
            let state = self.set(bits);
            let wanted = state & bit::WANT_WRITE != 0;
            return Reported {
                queue: wanted && self.report(0),
                tell: state & bit::OTHERS != 0,
                corked: wanted && state & bit::CORKED != 0,
                ..Reported::default()
            };
        }
        let state = self.set(bits | bit::QUEUED);
        Reported {
            queue: state & (bit::QUEUED | bit::RUNNING | bit::CLOSED) == 0,
            tell: is_end || state & bit::OTHERS != 0,
            corked: state & bit::CORKED != 0,
            left: bits & bit::GONE != 0 && state & bit::UNBEGUN != 0,
            late: false,
        }
    }

    fn on_timer(&self) -> Reported {
        let late = self.handler_limit.is_some() && self.has(bit::RUNNING | bit::UNBEGUN);
        Reported { queue: self.report(0), corked: self.has(bit::CORKED), late, ..Reported::default() }
    }

    fn answer_late(self: Arc<Self>) {
        let now = sync::now();
        match self.handle.get().and_then(|handle| handle.answer_late(now)) {
            Some(Late::At(until)) => self.arm_at(until),
            Some(Late::Answered(Held::Nothing)) => {}
            // There is no room for all of it: the supervisor looks after the rest.
            Some(Late::Answered(_)) => self.cork(),
            None if self.has(bit::UNBEGUN) && !self.is_overdue() => {
                let until = self.waits_until.load(Ordering::Acquire);
                if self.engine.timers.arm(until, self.token) {
                    self.engine.poller.interrupt();
                }
            }
            // The code may be about to begin, or the request to take its place in the line.
            None if self.has(bit::RUNNING | bit::UNBEGUN) => {
                self.engine.scheduler.let_out();
                let again = self.handler_limit.and_then(|limit| now.checked_add(limit));
                again.into_iter().for_each(|again| self.arm_at(again));
            }
            None => {}
        }
    }

    fn is_overdue(&self) -> bool {
        self.handler_limit.is_some() && self.engine.now() >= self.waits_until.load(Ordering::Acquire)
    }

    fn tell(&self) {
        self.wake_others(false);
        if self.has(bit::ENDED | bit::GONE)
            && let Some(handle) = self.handle.get()
        {
            handle.tell_end(self.has(bit::GONE));
        }
    }

    fn run(&self, permit: bool) -> Step {
        self.set(bit::RUNNING);
        let mut state = self.clear(bit::QUEUED | bit::WOKEN | bit::UNBEGUN);
        let mut place = lock(&self.task);
        for _ in 0..TURNS {
            let Some(task) = place.as_mut() else {
                self.clear(bit::RUNNING);
                return Step::Parked;
            };
            let turn = Turn { permit, woken: state & bit::WOKEN != 0 };
            let now = sync::now();
            if permit && let Some(limit) = self.handler_limit {
                // [LIM-09] application code may hold this thread until then, and longer
                self.arm(task, now.checked_add(limit), now);
            }
            match task.connection.turn(&mut Context::from_waker(&task.waker), now, turn) {
                Turned::Parked => {}
                Turned::Again => return self.again(0, Step::Again),
                Turned::NeedsPermit { is_new } => {
                    if let Some(until) = task.connection.waits_until() {
                        self.waits_until.store(self.engine.tick(until), Ordering::Release);
                        self.arm(task, Some(until), now);
                    }
                    return self.again(if is_new { bit::UNBEGUN } else { 0 }, Step::NeedsPermit { is_new });
                }
                Turned::Ended(_) => {
                    self.disarm(task);
                    let task = place.take();
                    drop(place);
                    drop(task);
                    self.leave();
                    self.clear(bit::RUNNING | bit::CORKED);
                    return Step::Parked;
                }
            }
            if !self.has(bit::QUEUED) {
                self.arm(task, task.connection.deadline(), now);
                drop(place);
                let state = self.clear(bit::RUNNING | bit::CORKED);
                return if state & bit::QUEUED != 0 { Step::Again } else { Step::Parked };
            }
            state = self.clear(bit::QUEUED | bit::WOKEN);
        }
        self.again(state & bit::WOKEN, Step::Again)
    }

    fn refuse(self: Arc<Self>) {
        if let Some(task) = &mut *lock(&self.task) {
            task.connection.refuse(sync::now());
        }
        // It is marked as queued, but is not.
        self.clear(bit::QUEUED | bit::UNBEGUN);
        self.wake_up(0);
    }

    fn is_gone(&self) -> bool {
        self.has(bit::GONE)
    }

    fn is_unbegun(&self) -> bool {
        self.has(bit::UNBEGUN)
    }

    fn uncork(self: Arc<Self>) -> Uncorked {
        let Some(handle) = self.handle.get().filter(|_| self.has(bit::CORKED)) else { return Uncorked::Done };
        let uncorked = match handle.flush(sync::now()) {
            Held::Busy => return Uncorked::Soon,
            Held::Nothing => {
                // Whoever adds to the output corks again.
                self.clear(bit::CORKED);
                Uncorked::Done
            }
            Held::Waits(deadline) => {
                // The worker that runs it has no deadline of its own now.
                if let Some(deadline) = deadline {
                    self.arm_at(deadline);
                }
                Uncorked::Waits
            }
        };
        self.wake_up(0);
        uncorked
    }

    fn drain(self: Arc<Self>) {
        self.wake_up(0);
    }

    fn force(self: Arc<Self>) {
        self.cut();
        self.wake_up(0);
    }

    fn abandon(&self) {
        self.cut();
        self.leave();
    }

    fn abort(&self) {
        self.cut();
        let mut task = lock(&self.task).take();
        if let Some(task) = &mut task {
            self.disarm(task);
        }
        drop(task);
        self.leave();
        self.clear(bit::RUNNING);
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
