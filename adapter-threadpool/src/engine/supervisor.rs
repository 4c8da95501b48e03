//! The thread that watches the others, and ends them.
//!
//! It sleeps while nothing happens. While there is activity it looks every millisecond whether a call holds up others
//! ([`Engine::watch`]) and whether the server is to stop; the shutdown trigger wakes it at once. \[SHU-01\] to
//! \[SHU-10\], \[LIF-06\], \[DIS-08\]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use adapter_core::ServeError;
use adapter_core::server::{ShutdownLevel, warn_of_blocking, warn_of_rest};
use adapter_core::sync::thread::{self, Thread};
use adapter_core::sync::{self, atomic::Ordering};

use super::{Engine, accept, hooks, lock};

/// How often it looks while there is activity.
const TICK: Duration = Duration::from_millis(1);
/// How long code may take that does not block.
const MOMENT: Duration = Duration::from_millis(50);
/// How long forced connections may take to end by themselves.
const FORCED_WAIT: Duration = Duration::from_millis(500);
/// How long threads may take to end, with what those have had of it that hold a forced connection.
const LAST_WAIT: Duration = Duration::from_secs(1);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The life of the supervisor; returns when the server is gone.
pub(crate) fn run(engine: &Arc<Engine>) -> Result<(), ServeError> {
    engine.scheduler.set_supervisor(thread::current());
    until(engine, ShutdownLevel::Draining, None, || false);
    // [LIF-10] the hook is on its way out
    pause(engine, Duration::MAX, || engine.settled.load(Ordering::SeqCst));

    // [SHU-01], [SHU-03] to [SHU-05]
    engine.serving().drain_started();
    accept::close(engine);
    for conn in engine.connections.all() {
        conn.drain();
    }
    let deadline = sync::now().checked_add(engine.settings.timeouts.graceful_shutdown);
    let tasks = engine.serving().runtime.tasks().clone();
    until(engine, ShutdownLevel::Forced, deadline, || engine.connections.count() + tasks.unfinished() == 0);

    // [SHU-06], [DIS-08]
    let (open, spawned) = (engine.connections.count(), tasks.unfinished());
    let in_time = engine.shutdown.level() == ShutdownLevel::Forced;
    let forced = sync::now();
    if open > 0 {
        engine.shutdown.force();
        engine.scheduler.lift_cap();
        for conn in engine.connections.all() {
            conn.force();
        }
    }
    if open + spawned > 0 {
        // Code that blocks is a task of its own elsewhere. What is polled just now comes back.
        pause(engine, MOMENT, || engine.scheduler.inside() == 0);
        warn_of_rest(in_time, open, spawned + engine.scheduler.inside());
    }
    let mut waited = Duration::ZERO;
    if open > 0 {
        pause(engine, FORCED_WAIT, || engine.connections.count() == 0);
        waited = sync::now().saturating_duration_since(forced);
        // What is left is held by application code that does not return; the sockets go all the same.
        for conn in engine.connections.all() {
            conn.abandon();
        }
    }
    engine.shutdown.force();
    // [RTM-05b], [RTM-06]
    tasks.end();
    if tasks.alive() > 0 {
        if spawned > 0 {
            engine.scheduler.lift_cap();
        }
        pause(engine, FORCED_WAIT, || tasks.alive() == 0);
    }

    engine.serving().drain_ended(open + spawned == 0);
    // [LIF-06], [LIF-07]
    let result = if engine.started.load(Ordering::SeqCst) { shutdown_hook(engine) } else { Ok(()) };
    tasks.close();
    engine.tasks.close();
    engine.stop_workers();
    pause(engine, LAST_WAIT.saturating_sub(waited), || engine.scheduler.threads() == 0);
    match engine.scheduler.threads() {
        0 => engine.scheduler.join(),
        _ => {
            engine.scheduler.reap();
            warn_of_blocking();
        }
    }
    engine.timers.clear();
    // They keep the engine, and it would keep them.
    let corked = std::mem::take(&mut *lock(&engine.corked));
    drop(corked);
    result
}

fn shutdown_hook(engine: &Arc<Engine>) -> Result<(), ServeError> {
    let outcome = hooks::shutdown(engine);
    let mut result = None;
    pause(engine, engine.settings.timeouts.hooks.unwrap_or(Duration::MAX), || match outcome.try_recv() {
        Err(TryRecvError::Empty) => false,
        outcome => {
            result = Some(outcome);
            true
        }
    });
    match result {
        Some(Ok(outcome)) => outcome.map_err(ServeError::Shutdown),
        Some(Err(_)) | None => Err(ServeError::HookTimeout { hook: "shutdown" }),
    }
}

/// Watches until the shutdown has reached `level`, the deadline has passed, or `done`.
fn until(engine: &Arc<Engine>, level: ShutdownLevel, deadline: Option<Instant>, mut done: impl FnMut() -> bool) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut reached = pin!(engine.shutdown.reached(level));
    while reached.as_mut().poll(&mut cx).is_pending() && !done() {
        if deadline.is_some_and(|deadline| sync::now() >= deadline) {
            return;
        }
        // While it waits for an end it looks on, whatever happens.
        if engine.watch() || level > ShutdownLevel::Draining { thread::park_timeout(TICK) } else { thread::park() }
    }
}

/// Watches until `done`, at most for `limit`.
fn pause(engine: &Arc<Engine>, limit: Duration, mut done: impl FnMut() -> bool) {
    let start = sync::now();
    while !done() && sync::now().saturating_duration_since(start) < limit {
        engine.watch();
        thread::park_timeout(TICK);
    }
}
