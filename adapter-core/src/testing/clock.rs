//! A clock that stands still, and jumps to the next deadline when nobody has anything to do: a test of hours takes
//! microseconds.
//!
//! Everything of the client that polls is counted as busy from the moment it is woken until it has been polled to pending
//! ([`Tracked`]), blocking work until it is done. When nothing is busy and the test itself waits in a call of the client, time
//! goes on. One lock; wakers are called outside of it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use crate::runtime::{BlockingJob, BoxFuture, Driver};
use crate::threads::Threads;

/// What is further away is "never", which does not come by itself.
const FAR: Duration = Duration::from_secs(86_400 * 365 * 20);

/// The clock of one client and its clones.
#[derive(Clone)]
pub(super) struct Clock(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Nothing is busy.
    idle: Condvar,
}

struct State {
    now: Instant,
    /// Who sleeps, by the time it is to be woken at.
    sleepers: BTreeMap<(Instant, u64), Waker>,
    next: u64,
    busy: usize,
    /// Calls of the client in which a test waits.
    waits: usize,
}

impl State {
    /// Sets the clock, and takes who is to be woken.
    fn set(&mut self, now: Instant) -> Vec<Waker> {
        self.now = self.now.max(now);
        let later = self.sleepers.split_off(&(self.now, u64::MAX));
        std::mem::replace(&mut self.sleepers, later).into_values().collect()
    }
}

impl Clock {
    pub(super) fn new() -> Self {
        let state = State { now: Instant::now(), sleepers: BTreeMap::new(), next: 0, busy: 0, waits: 0 };
        Clock(Arc::new(Inner { state: Mutex::new(state), idle: Condvar::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Instant {
        self.lock().now
    }

    /// Something has something to do, until the guard is dropped.
    fn busy(&self) -> Busy {
        self.lock().busy += 1;
        Busy(self.clone())
    }

    /// The test waits for what the client does, until the guard is dropped.
    pub(super) fn waiting(&self) -> Waiting {
        self.lock().waits += 1;
        Waiting(self.clone())
    }

    /// One less is busy. Where nothing is any more and the test waits, time goes on, until something is.
    fn done(&self) {
        let mut state = self.lock();
        state.busy -= 1;
        while state.busy == 0 {
            self.0.idle.notify_all();
            let next = state.sleepers.first_key_value().map(|(&(next, _), _)| next);
            let Some(next) = next.filter(|next| state.waits > 0 && *next < state.now + FAR) else { return };
            state = self.jump(state, next);
        }
    }

    /// Sets the clock to `time` and wakes who is due. Counts as busy meanwhile: nobody else may jump before all are awake.
    fn jump<'a>(&'a self, mut state: MutexGuard<'a, State>, time: Instant) -> MutexGuard<'a, State> {
        let due = state.set(time);
        state.busy += 1;
        drop(state);
        due.into_iter().for_each(Waker::wake);
        let mut state = self.lock();
        state.busy -= 1;
        state
    }

    /// Lets `time` pass, with all that is to happen in it, in order. Blocks until nothing is busy, `patience` at most.
    pub(super) fn advance(&self, time: Duration, patience: Duration) {
        let until = self.now() + time;
        loop {
            let state = self.lock();
            let (state, timeout) = self
                .0
                .idle
                .wait_timeout_while(state, patience, |state| state.busy > 0)
                .unwrap_or_else(PoisonError::into_inner);
            assert!(!timeout.timed_out(), "the client's clock: something was busy for {patience:?}");
            let next = state.sleepers.first_key_value().map(|(&(next, _), _)| next).filter(|next| *next <= until);
            drop(self.jump(state, next.unwrap_or(until)));
            if next.is_none() {
                return;
            }
        }
    }
}

/// `future`, counted by `clock` if there is one.
pub(super) fn track<F: Future>(clock: Option<&Clock>, future: F) -> Tracked<F> {
    let task = clock.map(|clock| {
        let turn = Turn { busy: Some(clock.busy()), again: false, waker: None };
        Arc::new(Task { clock: clock.clone(), turn: Mutex::new(turn) })
    });
    Tracked { future, task }
}

struct Busy(Clock);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.done();
    }
}

pub(super) struct Waiting(Clock);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.lock().waits -= 1;
    }
}

pin_project! {
    /// A future that counts as busy from when it is woken until it is pending, and from when it is ready until it is dropped.
    pub(super) struct Tracked<F> {
        #[pin]
        future: F,
        // `None`: nobody counts.
        task: Option<Arc<Task>>,
    }

    impl<F> PinnedDrop for Tracked<F> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(task) = this.project().task {
                task.end();
            }
        }
    }
}

/// What a tracked future is woken through.
pub(super) struct Task {
    clock: Clock,
    turn: Mutex<Turn>,
}

struct Turn {
    busy: Option<Busy>,
    /// It was woken while it was polled, or before that.
    again: bool,
    /// Of who polls it. `None` at its end, too: nobody is woken any more.
    waker: Option<Waker>,
}

impl Task {
    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        let mut turn = self.lock();
        turn.waker = None;
        let busy = turn.busy.take();
        drop(turn);
        drop(busy);
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let mut turn = self.lock();
        let Some(waker) = turn.waker.clone() else { return };
        turn.again = true;
        if turn.busy.is_none() {
            turn.busy = Some(self.clock.busy());
        }
        drop(turn);
        waker.wake();
    }
}

impl<F: Future> Future for Tracked<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Some(task) = this.task else { return this.future.poll(cx) };
        let mut turn = task.lock();
        turn.again = false;
        turn.waker = Some(cx.waker().clone());
        if turn.busy.is_none() {
            turn.busy = Some(task.clock.busy());
        }
        drop(turn);
        let waker = Waker::from(task.clone());
        let polled = this.future.poll(&mut Context::from_waker(&waker));
        if polled.is_pending() {
            let mut turn = task.lock();
            let busy = if turn.again { None } else { turn.busy.take() };
            drop(turn);
            drop(busy);
        }
        polled
    }
}

/// The threads of the client, with this clock.
pub(super) struct Paused {
    pub(super) threads: Threads,
    pub(super) clock: Clock,
}

impl Driver for Paused {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<()> {
        Box::pin(Sleep { clock: self.clock.clone(), deadline, key: None })
    }

    fn spawn(&self, future: BoxFuture<()>) {
        self.threads.spawn(Box::pin(track(Some(&self.clock), future)));
    }

    fn run_blocking(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        let busy = self.clock.busy();
        self.threads.run_blocking(job.wrapped(move |job| {
            job.run();
            drop(busy);
        }))
    }

    fn may_block(&self) -> bool {
        self.threads.may_block()
    }
}

struct Sleep {
    clock: Clock,
    deadline: Instant,
    key: Option<(Instant, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.clock.lock();
        if state.now >= this.deadline {
            return Poll::Ready(());
        }
        let key = *this.key.get_or_insert_with(|| {
            state.next += 1;
            (this.deadline, state.next)
        });
        state.sleepers.insert(key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waker = self.clock.lock().sleepers.remove(&key);
            drop(waker);
        }
    }
}
