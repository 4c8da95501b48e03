//! Who does what: the shared queue, the lead, and the permits to run application code.
//!
//! *The lead*: one thread at a time waits in the poller. It puts what is ready into the queue, gives the lead up and
//! works; whoever finds the queue empty takes the lead again. While all calls are quick, one thread does everything
//! and no other is woken. *Hands*: a thread is woken where calls are known to be slow ("brisk" mode, entered by the
//! supervisor when it sees a call that does not return), where a batch is long and a core is free, and for work that is
//! blocking by declaration. *Permits*: at most `cap` threads are inside application code; one more may exist, which
//! polls, accepts, reads heads, fires timers and refuses. Work that needs a permit waits in order; of requests that have
//! not begun a bounded number, of which those are none whose client has gone.
//! \[CON-01\], \[CON-05\], \[KAP-10\], \[RTM-03\]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_core::runtime::BlockingJob;
use adapter_core::sync::thread::{self, JoinHandle, Thread};
use adapter_core::sync::{self, Mutex};

use super::client::Client;
use super::tasks::SpawnedTask;
use super::{Engine, lock, worker};

/// How long a thread waits for work before it ends, with the buffers it lends, if there are more than [`STAY`].
const IDLE: Duration = Duration::from_secs(10);
/// Threads that stay although idle: one waits in the poller, and one is there for when that turns to work and no more can be started.
const STAY: usize = 2;
/// Jobs after which the poller is asked even though the queue is not empty.
const POLL_EVERY: u32 = 256;
/// Queue length from which a second thread is worth its wake-up even for quick calls, if a core is free for it.
const SPREAD: usize = 24;

/// Something for a worker to do.
pub(crate) enum Job {
    /// Serve a connection.
    Connection(Arc<dyn Client>),
    /// Poll a spawned future.
    Task(Arc<SpawnedTask>),
    /// Run blocking work.
    Blocking(BlockingJob),
}

/// The right to run application code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    /// None: only the server's own code.
    None,
    /// One of all.
    Any,
    /// One of those that blocking jobs may have.
    Blocking,
}

/// What a worker was doing until now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// Being born.
    Born,
    /// A job.
    Work(Permit),
    /// Leading; what was ready is in the list it hands over.
    Lead,
}

/// What a worker is to do next.
pub(crate) enum Turn {
    /// A job; application code only with a permit.
    Work { job: Job, permit: Permit },
    /// Wait in the poller, or only look if `block` is not set.
    Lead { block: bool },
    /// End.
    Leave,
}

pub(crate) struct Scheduler {
    state: Mutex<State>,
    handles: Mutex<Vec<JoinHandle<()>>>,
    /// Waiting requests at most, and waiting blocking jobs.
    limit: usize,
    blocking_limit: usize,
    processors: usize,
}

struct State {
    /// What is ready to be looked at.
    ready: VecDeque<Job>,
    /// What needs a permit and found none, in order.
    waiting: VecDeque<Job>,
    /// How many of them are requests the application has not been called for.
    unbegun: usize,
    /// Blocking jobs, in order; they come first, because requests that are being served wait for them.
    blocking: VecDeque<Job>,
    /// Permits in use, and how many there are.
    running: usize,
    cap: usize,
    /// Permits that blocking jobs have, and how many they may have: one is left for those who wait for them.
    running_blocking: usize,
    blocking_cap: usize,
    /// Workers that exist; those that sleep; those that are being woken or born.
    threads: usize,
    parked: Vec<Thread>,
    waking: usize,
    /// Somebody leads; somebody leads and may sleep in the poller, not interrupted yet.
    leading: bool,
    sleeping: bool,
    /// Counts turns; the supervisor compares.
    epoch: u64,
    since_poll: u32,
    brisk: bool,
    brisk_ticks: u32,
    /// The supervisor sleeps until it is woken.
    unwatched: bool,
    quiet_ticks: u32,
    /// When it looked last.
    watched_at: Option<Instant>,
    /// Milliseconds in which no thread is started, after one could not be.
    barren_ticks: u32,
    seen_epoch: u64,
    supervisor: Option<Thread>,
    stopping: bool,
}

/// What to do once the lock is released.
#[must_use]
enum Hand {
    None,
    Unpark(Thread),
    Spawn,
    Interrupt,
}

impl State {
    /// A thread for work nobody awake will reach.
    fn hand(&mut self) -> Hand {
        if let Some(thread) = self.parked.pop() {
            self.waking += 1;
            Hand::Unpark(thread)
        } else if self.threads <= self.cap && self.barren_ticks == 0 {
            self.threads += 1;
            self.waking += 1;
            Hand::Spawn
        } else {
            Hand::None
        }
    }

    /// Whether there is something to do for one more thread.
    fn has_backlog(&self) -> bool {
        !self.ready.is_empty() || (self.running < self.cap && (!self.waiting.is_empty() || self.may_run_blocking()))
    }

    /// The supervisor, where it must be woken to look after something.
    fn watch(&mut self) -> Option<Thread> {
        if !self.unwatched {
            return None;
        }
        self.unwatched = false;
        self.quiet_ticks = 0;
        self.supervisor.clone()
    }

    fn may_run_blocking(&self) -> bool {
        !self.blocking.is_empty() && self.running_blocking < self.blocking_cap
    }

    fn awake(&self) -> usize {
        self.threads - self.parked.len()
    }

    fn next_job(&mut self) -> Option<(Job, Permit)> {
        if self.running < self.cap {
            let (job, permit) = if self.may_run_blocking() {
                self.running_blocking += 1;
                (self.blocking.pop_front()?, Permit::Blocking)
            } else {
                (self.next_waiting().or_else(|| self.ready.pop_front())?, Permit::Any)
            };
            self.running += 1;
            return Some((job, permit));
        }
        loop {
            match self.ready.pop_front()? {
                job @ Job::Connection(_) => return Some((job, Permit::None)),
                job => self.waiting.push_back(job),
            }
        }
    }

    fn next_waiting(&mut self) -> Option<Job> {
        let job = self.waiting.pop_front()?;
        self.unbegun -= usize::from(is_unbegun(&job));
        Some(job)
    }

    /// Lets the requests out of the line whose clients have gone, or that have waited for too long: they end without a permit.
    fn let_out(&mut self) {
        let is_over =
            |job: &Job| matches!(job, Job::Connection(it) if it.is_unbegun() && (it.is_gone() || it.is_overdue()));
        if !self.waiting.iter().any(is_over) {
            return;
        }
        let (over, waiting): (VecDeque<Job>, VecDeque<Job>) =
            std::mem::take(&mut self.waiting).into_iter().partition(is_over);
        self.waiting = waiting;
        self.unbegun -= over.len();
        self.ready.extend(over);
    }

    fn give_back(&mut self, permit: Permit) {
        self.running -= usize::from(permit != Permit::None);
        self.running_blocking -= usize::from(permit == Permit::Blocking);
    }
}

/// Whether it is a request that waits and that the application has not been called for. Does not change in the line.
fn is_unbegun(job: &Job) -> bool {
    matches!(job, Job::Connection(conn) if conn.is_unbegun())
}

impl Scheduler {
    pub(crate) fn new(cap: usize, blocking_cap: usize, limit: usize, blocking_limit: usize) -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Scheduler {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                waiting: VecDeque::new(),
                unbegun: 0,
                blocking: VecDeque::new(),
                running: 0,
                cap,
                running_blocking: 0,
                blocking_cap: blocking_cap.min(cap.saturating_sub(1).max(1)),
                threads: 0,
                parked: Vec::new(),
                waking: 0,
                leading: false,
                sleeping: false,
                epoch: 0,
                since_poll: 0,
                brisk: false,
                brisk_ticks: 0,
                unwatched: false,
                quiet_ticks: 0,
                watched_at: None,
                barren_ticks: 0,
                seen_epoch: 0,
                supervisor: None,
                stopping: false,
            }),
            handles: Mutex::default(),
            limit,
            blocking_limit,
            processors,
        }
    }

    /// A job that needs a permit takes its place in the line. New requests are refused where the line is full.
    pub(crate) fn wait_for_permit(&self, job: Job, is_new: bool) -> Result<(), Job> {
        let mut state = lock(&self.state);
        if is_new && state.unbegun >= self.limit {
            state.let_out();
            if state.unbegun >= self.limit {
                return Err(job);
            }
        }
        state.unbegun += usize::from(is_new);
        state.waiting.push_back(job);
        Ok(())
    }

    /// Clients have gone whose requests may be waiting, or these have waited for too long. Called by the leader, which comes to them.
    pub(crate) fn let_out(&self) {
        lock(&self.state).let_out();
    }

    /// Wakes the supervisor, which has something to look after.
    pub(crate) fn watch_on(&self) {
        let supervisor = lock(&self.state).watch();
        if let Some(supervisor) = supervisor {
            supervisor.unpark();
        }
    }

    pub(crate) fn set_supervisor(&self, supervisor: Thread) {
        lock(&self.state).supervisor = Some(supervisor);
    }

    /// Every permit in the world: what is left must end, even if others never return theirs.
    pub(crate) fn lift_cap(&self) {
        let mut state = lock(&self.state);
        state.cap = usize::MAX / 2;
        state.blocking_cap = usize::MAX / 2;
    }

    /// Threads that are inside of application code, but for those that run blocking jobs.
    pub(crate) fn inside(&self) -> usize {
        let state = lock(&self.state);
        state.running - state.running_blocking
    }

    /// Workers that have not ended.
    pub(crate) fn threads(&self) -> usize {
        lock(&self.state).threads
    }

    /// Joins the workers that have ended.
    pub(crate) fn reap(&self) {
        let mut handles = lock(&self.handles);
        let (ended, alive) = std::mem::take(&mut *handles).into_iter().partition(JoinHandle::is_finished);
        *handles = alive;
        drop(handles);
        let ended: Vec<JoinHandle<()>> = ended;
        for handle in ended {
            // A worker contains the panics of what it runs.
            let _ = handle.join();
        }
    }

    /// Joins all workers; only when none is left that could block.
    pub(crate) fn join(&self) {
        for handle in std::mem::take(&mut *lock(&self.handles)) {
            let _ = handle.join();
        }
    }
}

impl Engine {
    /// Makes a job ready. From any thread.
    pub(crate) fn push(self: &Arc<Self>, job: Job) {
        let mut state = lock(&self.scheduler.state);
        state.ready.push_back(job);
        let hand = if state.sleeping {
            state.sleeping = false;
            Hand::Interrupt
        } else if state.brisk && state.waking == 0 && state.awake() <= state.running {
            state.hand()
        } else {
            // Somebody is awake and will come to it; if it is held up, the supervisor sees that.
            Hand::None
        };
        drop(state);
        self.lend(hand);
    }

    /// Queues work that is going to block; gives it back if the line is full or the server has stopped. \[RTM-03\]
    pub(crate) fn push_blocking(self: &Arc<Self>, job: BlockingJob) -> Result<(), BlockingJob> {
        let mut state = lock(&self.scheduler.state);
        // One that a thread is about to take does not wait.
        let free = state.blocking_cap.saturating_sub(state.running_blocking);
        let places = self.scheduler.blocking_limit.saturating_add(free);
        if state.stopping || (!job.is_accepted() && state.blocking.len() >= places) {
            return Err(job);
        }
        if job.goes_first() {
            state.blocking.push_front(Job::Blocking(job));
        } else {
            state.blocking.push_back(Job::Blocking(job));
        }
        let free = state.running < state.cap && state.may_run_blocking();
        let hand = if free && state.waking == 0 { state.hand() } else { Hand::None };
        drop(state);
        self.lend(hand);
        Ok(())
    }

    /// Ends every worker as soon as it is done with what it does.
    pub(crate) fn stop_workers(self: &Arc<Self>) {
        let mut state = lock(&self.scheduler.state);
        state.stopping = true;
        let inner = &mut *state;
        let jobs = [&mut inner.ready, &mut inner.waiting, &mut inner.blocking].map(std::mem::take);
        let parked = std::mem::take(&mut state.parked);
        state.waking += parked.len();
        drop(state);
        for thread in parked {
            thread.unpark();
        }
        self.poller.interrupt();
        drop(jobs);
    }

    fn lend(self: &Arc<Self>, hand: Hand) {
        match hand {
            Hand::None => {}
            Hand::Interrupt => self.poller.interrupt(),
            Hand::Unpark(thread) => thread.unpark(),
            Hand::Spawn => self.spawn_worker(),
        }
    }

    /// Starts the first worker; the others come when they are needed.
    pub(crate) fn start_workers(self: &Arc<Self>) {
        let mut state = lock(&self.scheduler.state);
        let hand = state.hand();
        drop(state);
        self.lend(hand);
    }

    fn spawn_worker(self: &Arc<Self>) {
        self.scheduler.reap();
        let engine = self.clone();
        let spawned = thread::Builder::new().name("adapter-worker".into()).spawn(move || worker::run(&engine));
        match spawned {
            Ok(handle) => lock(&self.scheduler.handles).push(handle),
            Err(error) => {
                tracing::error!(target: "adapter", %error, "a worker thread could not be started");
                let mut state = lock(&self.scheduler.state);
                state.threads -= 1;
                state.waking -= 1;
                state.barren_ticks = 100;
            }
        }
    }

    /// A worker is done with `done` and asks what is next; sleeps until there is something.
    pub(crate) fn next_turn(self: &Arc<Self>, done: Done, ready: &mut Vec<Job>) -> Turn {
        let mut state = lock(&self.scheduler.state);
        match done {
            Done::Born => state.waking -= 1,
            Done::Work(permit) => state.give_back(permit),
            Done::Lead => {
                state.leading = false;
                state.sleeping = false;
                state.since_poll = 0;
                state.ready.extend(ready.drain(..));
            }
        }
        state.epoch = state.epoch.wrapping_add(1);
        loop {
            if state.stopping {
                state.threads -= 1;
                return Turn::Leave;
            }
            if state.since_poll >= POLL_EVERY && !state.leading {
                state.leading = true;
                return Turn::Lead { block: false };
            }
            if let Some((job, permit)) = state.next_job() {
                state.since_poll += 1;
                let watch = state.watch();
                let hand = self.hand_before(&mut state, permit);
                drop(state);
                if let Some(supervisor) = watch {
                    supervisor.unpark();
                }
                self.lend(hand);
                return Turn::Work { job, permit };
            }
            if !state.leading {
                state.leading = true;
                state.sleeping = true;
                return Turn::Lead { block: true };
            }
            let me = thread::current();
            state.parked.push(me.clone());
            drop(state);
            thread::park_timeout(IDLE);
            state = lock(&self.scheduler.state);
            match state.parked.iter().position(|thread| thread.id() == me.id()) {
                // Woken by whoever took it off the list.
                None => state.waking -= 1,
                Some(position) => {
                    state.parked.remove(position);
                    if state.threads > STAY {
                        state.threads -= 1;
                        return Turn::Leave;
                    }
                }
            }
        }
    }

    /// Before a worker turns to a job: whether another one must look after the rest.
    fn hand_before(&self, state: &mut State, permit: Permit) -> Hand {
        if permit == Permit::None || state.waking > 0 {
            return Hand::None;
        }
        let slow = state.brisk || permit == Permit::Blocking;
        if slow && (!state.leading || state.has_backlog()) {
            return state.hand();
        }
        if state.ready.len() >= SPREAD && self.is_worth_waking(state) {
            return state.hand();
        }
        Hand::None
    }

    /// Whether one more thread would have a permit and a core.
    fn is_worth_waking(&self, state: &State) -> bool {
        state.running < state.cap && state.awake() < self.scheduler.processors
    }

    /// Once a millisecond while there is activity: sees to it that a call that does not return holds up nobody.
    /// Returns whether to come again; if not, the supervisor is woken when there is: by whoever takes a job, and by
    /// application code that leaves output behind ([`Scheduler::watch_on`]). A call that runs is nothing to look after by
    /// itself, as long as another thread leads and nothing waits.
    pub(crate) fn watch(self: &Arc<Self>) -> bool {
        /// Turns a millisecond below which calls count as slow.
        const FEW: u64 = 16;
        /// Milliseconds for which hands are given freely after a slow call was seen.
        const BRISK_TICKS: u32 = 500;
        /// Milliseconds without work after which the supervisor sleeps.
        const QUIET_TICKS: u32 = 8;

        let is_corked = self.uncork();
        let mut state = lock(&self.scheduler.state);
        // It may have slept for long.
        let now = sync::now();
        let elapsed =
            state.watched_at.replace(now).map_or(1, |before| now.saturating_duration_since(before).as_millis());
        let elapsed = u32::try_from(elapsed).unwrap_or(u32::MAX).max(1);
        let turns = state.epoch.wrapping_sub(state.seen_epoch);
        state.seen_epoch = state.epoch;
        let backlog = state.has_backlog();
        let unled = !state.leading;
        let may_help = state.waking == 0 && !state.sleeping;
        let hand = if turns == 0 && (backlog || unled) && may_help {
            state.brisk = true;
            state.brisk_ticks = BRISK_TICKS;
            state.hand()
        } else if turns < FEW && backlog && may_help && self.is_worth_waking(&state) {
            state.hand()
        } else {
            Hand::None
        };
        state.barren_ticks = state.barren_ticks.saturating_sub(elapsed);
        if state.brisk_ticks > 0 {
            state.brisk_ticks = state.brisk_ticks.saturating_sub(elapsed);
            state.brisk = state.brisk_ticks > 0;
        }
        let idle = state.sleeping && !backlog && !is_corked;
        state.quiet_ticks = if idle && turns == 0 { state.quiet_ticks + 1 } else { 0 };
        state.unwatched = state.quiet_ticks >= QUIET_TICKS;
        let again = !state.unwatched;
        drop(state);
        self.lend(hand);
        again
    }
}
