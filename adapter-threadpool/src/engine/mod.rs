//! What the threads of one server share: poller, queue, timers, connections, tasks.
//!
//! *Threads*: workers (see [`worker`]), of which at most one leads, that is waits in the poller, and at most
//! `threads` are inside application code; and one supervisor (see [`supervisor`]), which sleeps while nothing happens.
//! *Locks*: every part has its own, held for a few instructions; application code never runs under one.

pub(crate) mod accept;
pub(crate) mod client;
pub(crate) mod connections;
pub(crate) mod hooks;
pub(crate) mod poller;
pub(crate) mod runtime;
pub(crate) mod schedule;
pub(crate) mod supervisor;
pub(crate) mod tasks;
pub(crate) mod timers;
pub(crate) mod worker;

use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use adapter_core::environ::Serving;
use adapter_core::server::Roster;
use adapter_core::sync::atomic::AtomicBool;
use adapter_core::sync::{self, Mutex, MutexGuard};
use adapter_core::{DynApplication, ShutdownTrigger, Timeouts};

use self::accept::Acceptor;
use self::client::{Client, Connect, Uncorked};
use self::connections::Connections;
use self::poller::Poller;
use self::schedule::Scheduler;
use self::tasks::Tasks;
use self::timers::Timers;

/// A point in time, in nanoseconds since the engine was made; 0 is "never".
pub(crate) type Tick = u64;

/// What a server was told, in the form its threads want.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) timeouts: Timeouts,
    /// Connections at most.
    pub(crate) connections: usize,
    /// Threads that run blocking jobs of the runtime at most.
    pub(crate) blocking_threads: usize,
    /// Blocking jobs that wait at most.
    pub(crate) blocking_queue: usize,
    /// Requests that wait at most for a thread; 0 where the policy is to refuse.
    pub(crate) waiting: usize,
}

/// One server at work.
pub(crate) struct Engine {
    pub(crate) settings: Settings,
    pub(crate) application: DynApplication,
    pub(crate) shutdown: ShutdownTrigger,
    pub(crate) scheduler: Scheduler,
    pub(crate) poller: Poller,
    pub(crate) timers: Timers,
    pub(crate) connections: Connections,
    pub(crate) acceptor: Acceptor,
    pub(crate) tasks: Tasks,
    /// Who is connected, to make room.
    pub(crate) roster: Arc<Roster>,
    /// Connections with output that waits for application code; see [`Client::uncork`].
    pub(crate) corked: Mutex<Vec<Arc<dyn Client>>>,
    serving: OnceLock<(Arc<Serving>, Box<Connect>)>,
    /// The startup hook has succeeded, so that the shutdown hook is owed.
    pub(crate) started: AtomicBool,
    /// Whether the server accepts, or has failed to start: before that its end does not begin.
    pub(crate) settled: AtomicBool,
    origin: Instant,
}

impl Engine {
    pub(crate) fn new(
        application: DynApplication,
        settings: Settings,
        threads: usize,
        shutdown: ShutdownTrigger,
    ) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Engine {
            application,
            shutdown,
            scheduler: Scheduler::new(threads, settings.blocking_threads, settings.waiting, settings.blocking_queue),
            poller: Poller::new()?,
            timers: Timers::default(),
            connections: Connections::new(settings.connections),
            acceptor: Acceptor::default(),
            tasks: Tasks::default(),
            roster: Arc::default(),
            corked: Mutex::default(),
            serving: OnceLock::new(),
            started: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            origin: sync::now(),
            settings,
        }))
    }

    /// Set once, before anything is accepted.
    pub(crate) fn set_serving(&self, serving: Arc<Serving>, connect: Box<Connect>) {
        // Only `start` calls it, once.
        let _ = self.serving.set((serving, connect));
    }

    pub(crate) fn serving(&self) -> &Arc<Serving> {
        &self.begun().0
    }

    /// What makes connections.
    pub(crate) fn connect(&self) -> &Connect {
        &*self.begun().1
    }

    fn begun(&self) -> &(Arc<Serving>, Box<Connect>) {
        self.serving.get().expect("invariant: set before the first accept")
    }

    /// Now. Never 0.
    pub(crate) fn now(&self) -> Tick {
        self.tick(sync::now())
    }

    pub(crate) fn tick(&self, instant: Instant) -> Tick {
        nanos(instant.saturating_duration_since(self.origin)).max(1)
    }

    /// Writes output that application code has held up since the last call; whether it is to come again. For the
    /// supervisor.
    pub(crate) fn uncork(&self) -> bool {
        let corked = std::mem::take(&mut *lock(&self.corked));
        if corked.is_empty() {
            return false;
        }
        let mut soon = false;
        let again: Vec<_> = corked
            .into_iter()
            .filter(|conn| {
                let left = conn.clone().uncork();
                soon |= left == Uncorked::Soon;
                left != Uncorked::Done
            })
            .collect();
        lock(&self.corked).extend(again);
        soon
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A duration as ticks.
pub(crate) fn nanos(duration: Duration) -> Tick {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

/// `now` and an optional duration: the deadline, or never.
pub(crate) fn after(now: Tick, duration: Option<Duration>) -> Tick {
    // Never so late that a sum of two would overflow.
    duration.map_or(0, |duration| now.saturating_add(nanos(duration).min(u64::MAX / 2)))
}

/// The earlier of two deadlines, of which each may be "never".
pub(crate) fn earlier(a: Tick, b: Tick) -> Tick {
    match (a, b) {
        (0, other) | (other, 0) => other,
        (a, b) => a.min(b),
    }
}

/// Locks; a panic elsewhere while it was held is no reason to stop (what is behind it is checked by its users).
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
