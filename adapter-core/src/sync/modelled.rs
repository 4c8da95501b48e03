//! The same by shuttle, and what it lacks: events, channels, and time.
//!
//! *Time* stands still but where a wait with a limit runs out, which it may whenever the checker likes ([`Condvar::wait_timeout`]). *Events* stand
//! for event_listener, with what its documentation says; as there, who waits is woken under the event's own lock, so that a waker that takes
//! another is seen to.

#![allow(missing_docs, missing_debug_implementations, clippy::missing_panics_doc, clippy::missing_errors_doc)]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, LockResult, PoisonError, TryLockError, TryLockResult};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use shuttle::rand::Rng;
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler};
pub use shuttle::sync::atomic;
use shuttle::thread::ThreadId;
pub use shuttle::thread_local;
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

pub mod async_channel;

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

std::thread_local! {
    /// What has run out so far. All threads of a model are one of the system's.
    static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// How many locks each thread of the model holds.
    static HELD: RefCell<HashMap<ThreadId, usize>> = RefCell::default();
}

/// How many locks of the code the thread holds. That of an [`Event`] is the library's, and not counted.
pub fn locks_held() -> usize {
    let me = shuttle::thread::current().id();
    HELD.with_borrow(|held| held.get(&me).copied().unwrap_or(0))
}

/// shuttle's, whose holders are known.
#[derive(Debug, Default)]
pub struct Mutex<T>(shuttle::sync::Mutex<T>);

#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// `None` while a condition is waited for.
    guard: Option<shuttle::sync::MutexGuard<'a, T>>,
    holder: ThreadId,
}

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Mutex(shuttle::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        match self.0.lock() {
            Ok(guard) => Ok(MutexGuard::of(self, guard)),
            Err(poisoned) => Err(PoisonError::new(MutexGuard::of(self, poisoned.into_inner()))),
        }
    }

    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Ok(MutexGuard::of(self, guard)),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
            Err(TryLockError::Poisoned(poisoned)) => {
                Err(TryLockError::Poisoned(PoisonError::new(MutexGuard::of(self, poisoned.into_inner()))))
            }
        }
    }

    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.0.get_mut()
    }
}

impl<'a, T> MutexGuard<'a, T> {
    fn of(mutex: &'a Mutex<T>, guard: shuttle::sync::MutexGuard<'a, T>) -> Self {
        let holder = shuttle::thread::current().id();
        HELD.with_borrow_mut(|held| *held.entry(holder).or_default() += 1);
        MutexGuard { mutex, guard: Some(guard), holder }
    }

    /// Gives the lock away.
    fn into_inner(mut self) -> (&'a Mutex<T>, shuttle::sync::MutexGuard<'a, T>) {
        (self.mutex, self.guard.take().expect("only its end takes it"))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().expect("only its end takes it")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect("only its end takes it")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| {
            if let Some(held) = held.get_mut(&self.holder) {
                *held -= 1;
            }
        });
    }
}

/// The model's time.
pub fn now() -> Instant {
    *BEGAN + PASSED.get()
}

/// It is `time`, at least.
pub fn pass_to(time: Instant) {
    pass(time.saturating_duration_since(now()));
}

/// A limit has run out.
fn pass(limit: Duration) {
    PASSED.set(PASSED.get() + limit);
}

/// Whether a wait with a limit ran out.
#[derive(Clone, Copy, Debug)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub fn timed_out(self) -> bool {
        self.0
    }
}

#[derive(Default)]
pub struct Condvar(shuttle::sync::Condvar);

impl Condvar {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }

    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let (mutex, guard) = guard.into_inner();
        let guard = self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
        Ok(MutexGuard::of(mutex, guard))
    }

    /// Runs out, or waits for ever: so a notification that is missing is not made up for by the limit.
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        if shuttle::rand::thread_rng().gen_bool(0.75) {
            let guard = self.wait(guard).unwrap_or_else(PoisonError::into_inner);
            return Ok((guard, WaitTimeoutResult(false)));
        }
        let mutex = guard.into_inner().0;
        shuttle::thread::yield_now();
        pass(limit);
        let guard = mutex.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((guard, WaitTimeoutResult(true)))
    }
}

/// event_listener's `Event`.
#[derive(Clone, Default)]
pub struct Event(Arc<shuttle::sync::Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    last: u64,
    /// Who has not been notified.
    listeners: BTreeMap<u64, Option<Waker>>,
}

impl Event {
    pub fn listen(&self) -> EventListener {
        let mut waiting = self.0.lock().expect("no model goes on behind a panic");
        waiting.last += 1;
        let id = waiting.last;
        waiting.listeners.insert(id, None);
        EventListener { event: self.clone(), id }
    }

    /// All that listen, whatever `most` says: nobody notifies fewer.
    pub fn notify(&self, most: usize) {
        assert_eq!(most, usize::MAX, "not modelled");
        let mut waiting = self.0.lock().expect("no model goes on behind a panic");
        let listeners = std::mem::take(&mut waiting.listeners);
        for waker in listeners.into_values().flatten() {
            waker.wake();
        }
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Event")
    }
}

/// event_listener's `EventListener`.
#[derive(Debug)]
pub struct EventListener {
    event: Event,
    id: u64,
}

impl Future for EventListener {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.event.0.lock().expect("no model goes on behind a panic");
        match waiting.listeners.get_mut(&self.id) {
            Some(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}

impl Drop for EventListener {
    fn drop(&mut self) {
        let mut waiting = self.event.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.listeners.remove(&self.id);
    }
}

/// event_listener's `Listener`.
pub trait Listener {
    fn wait(self);
}

impl Listener for EventListener {
    fn wait(self) {
        shuttle::future::block_on(self);
    }
}

/// Runs a future on the thread. Who wakes it holds no lock of the code.
pub fn block_on<F: Future>(future: F) -> F::Output {
    run(future, true)
}

/// [`block_on`] for a future that may be woken under a lock. A wake-up is one step.
pub fn block_on_any<F: Future>(future: F) -> F::Output {
    run(future, false)
}

fn run<F: Future>(future: F, is_watched: bool) -> F::Output {
    struct Woken {
        thread: Waker,
        is_watched: bool,
        /// shuttle's own is used up where the thread waits for a lock while it polls.
        is_woken: std::sync::atomic::AtomicBool,
    }

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.wake_by_ref();
        }

        fn wake_by_ref(self: &Arc<Self>) {
            assert!(!self.is_watched || locks_held() == 0, "woken under a lock");
            self.is_woken.store(true, atomic::Ordering::SeqCst);
            self.thread.wake_by_ref();
        }
    }

    let mut future = std::pin::pin!(future);
    let mut woken = None;
    shuttle::future::block_on(std::future::poll_fn(|cx| {
        let new = || Arc::new(Woken { thread: cx.waker().clone(), is_watched, is_woken: Default::default() });
        let woken = woken.get_or_insert_with(new);
        let waker = Waker::from(woken.clone());
        loop {
            woken.is_woken.store(false, atomic::Ordering::SeqCst);
            let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
            if polled.is_ready() || !woken.is_woken.load(atomic::Ordering::SeqCst) {
                return polled;
            }
        }
    }))
}

/// Runs `model` under `schedules` schedules by chance, and as many by probabilistic concurrency testing (Burckhardt et al., 2010), which finds
/// what needs up to three turns at the wrong time; `ADAPTER_TIMES` as many where it is set. Panics where one fails, and says how to have it
/// again.
pub fn explore(schedules: usize, model: impl Fn() + Send + Sync + 'static) {
    let times = std::env::var("ADAPTER_TIMES").map_or(1, |times| times.parse().expect("ADAPTER_TIMES is a number"));
    let schedules = times * schedules;
    let (model, begun) = (Arc::new(model), Instant::now());
    let (random, pct) = (model.clone(), model);
    Runner::new(RandomScheduler::new(schedules), config()).run(move || random());
    Runner::new(PctScheduler::new(3, schedules), config()).run(move || pct());
    say(2 * schedules, "schedules", begun);
}

/// Runs `model` under every schedule there is; panics where there are `most` or more. Nothing in it may go by chance.
pub fn exhaust(most: usize, model: impl Fn() + Send + Sync + 'static) {
    let begun = Instant::now();
    let all = Runner::new(DfsScheduler::new(Some(most), false), config()).run(model);
    assert!(all < most, "there are more schedules than {most}");
    say(all, "schedules, all there are,", begun);
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.failure_persistence = FailurePersistence::File(Some(std::env::temp_dir()));
    config.max_steps = MaxSteps::FailAfter(100_000);
    config
}

fn say(count: usize, what: &str, begun: Instant) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    println!("{test}: {count} {what} in {:.1} s", begun.elapsed().as_secs_f64());
}

pub mod thread {
    //! std's, for what is used of it.

    use std::io;
    use std::num::NonZeroUsize;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    pub use shuttle::thread::{Thread, current, park, spawn, yield_now};

    /// Limits below are those of who looks again, which may come late, and above of who waits for something.
    const SHORT: Duration = Duration::from_millis(100);

    /// Two, as small as makes a difference.
    pub fn available_parallelism() -> io::Result<NonZeroUsize> {
        Ok(NonZeroUsize::MIN.saturating_add(1))
    }

    /// A short limit runs out. A long one may, but nothing that is missing is made up for by it.
    pub fn park_timeout(limit: Duration) {
        if limit < SHORT {
            super::pass(SHORT);
            yield_now();
        } else {
            park();
        }
    }

    #[derive(Debug)]
    pub struct JoinHandle<T> {
        thread: shuttle::thread::JoinHandle<T>,
        is_finished: Arc<AtomicBool>,
    }

    impl<T> JoinHandle<T> {
        pub fn join(self) -> std::thread::Result<T> {
            self.thread.join()
        }

        pub fn is_finished(&self) -> bool {
            self.is_finished.load(Ordering::SeqCst)
        }

        pub fn thread(&self) -> &Thread {
            self.thread.thread()
        }
    }

    #[derive(Debug, Default)]
    pub struct Builder(shuttle::thread::Builder);

    impl Builder {
        pub fn new() -> Self {
            Self::default()
        }

        #[must_use]
        pub fn name(self, name: String) -> Self {
            Builder(self.0.name(name))
        }

        pub fn spawn<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
            let is_finished = Arc::<AtomicBool>::default();
            let finished = is_finished.clone();
            let thread = self.0.spawn(move || {
                let result = work();
                finished.store(true, Ordering::SeqCst);
                result
            })?;
            Ok(JoinHandle { thread, is_finished })
        }
    }
}
