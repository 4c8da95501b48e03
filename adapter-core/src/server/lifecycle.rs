//! What a server does around its connections: startup hook, waiting for the shutdown, draining, forcing, shutdown hook.
//!
//! Futures for whatever thread or task the server has for them; nothing here accepts, starts a thread or ends a
//! connection. \[LIF-01\] to \[LIF-08\], \[SHU-02\], \[SHU-06\] to \[SHU-09\], \[RTM-05b\]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::application::{Application, DynApplication};
use crate::config::ServerConfig;
use crate::environ::Serving;
use crate::error::Error;
use crate::serve_error::ServeError;
use crate::shutdown::ShutdownLevel;
use crate::tracker::Tracker;

/// How long after a forced shutdown the tasks may take to notice.
const FORCED: Duration = Duration::from_secs(1);

/// The life of a server around its connections: await [`startup`](Self::startup), accept, await [`run`](Self::run).
///
/// The server counts its connections and listeners with [`tracker`](Self::tracker), stops accepting and closes idle
/// connections when [`Serving::shutdown`] reaches [`ShutdownLevel::Draining`], and drops everything at
/// [`ShutdownLevel::Forced`].
#[derive(Debug)]
pub struct Lifecycle {
    application: DynApplication,
    serving: Arc<Serving>,
    tracker: Tracker,
    graceful: Duration,
    hooks: Option<Duration>,
    /// Somebody may trigger the shutdown while the server starts.
    interruptible: bool,
}

impl Lifecycle {
    /// The life of a server that serves `application`.
    pub fn new(application: DynApplication, serving: Arc<Serving>, config: &ServerConfig) -> Self {
        Lifecycle {
            application,
            serving,
            tracker: Tracker::default(),
            graceful: config.timeouts.graceful_shutdown,
            hooks: config.timeouts.hooks,
            interruptible: config.trigger.is_some(),
        }
    }

    /// The count of connections, for the accept loops.
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// Runs the startup hook. \[LIF-01\], \[LIF-02\]
    ///
    /// # Errors
    /// The hook's own, that it was late, or that [`ServerConfig::trigger`] was used before it returned: it is dropped then
    /// (\[LIF-10\]).
    pub async fn startup(&self) -> Result<(), ServeError> {
        let interrupted = async {
            if !self.interruptible {
                std::future::pending::<()>().await;
            }
            self.serving.shutdown.reached(ShutdownLevel::Draining).await;
            Err(ServeError::Interrupted)
        };
        let hook = self.hook("startup", ServeError::Startup, self.application.startup(&self.serving.info));
        let outcome = futures_lite::future::or(hook, interrupted).await;
        if outcome.is_err() {
            // [LIF-02] nothing of it goes on
            self.serving.runtime.tasks().close();
        }
        outcome
    }

    /// Waits for the shutdown, then for the connections to drain and for what was spawned to end, forces what is left at the
    /// deadline, runs the shutdown hook. The accept loops end by themselves.
    ///
    /// # Errors
    /// Of the shutdown hook. \[LIF-06\]
    pub async fn run(&self) -> Result<(), ServeError> {
        let shutdown = &self.serving.shutdown;
        shutdown.reached(ShutdownLevel::Draining).await;
        drain(&self.serving, &self.tracker, self.graceful).await;
        let outcome = self.hook("shutdown", ServeError::Shutdown, self.application.shutdown()).await;
        // [RTM-05b] of what the hook itself began nobody waits
        self.serving.runtime.tasks().close();
        outcome
    }

    async fn hook(
        &self,
        hook: &'static str,
        failed: fn(Error) -> ServeError,
        future: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), ServeError> {
        let future = std::panic::AssertUnwindSafe(future);
        let contained = futures_lite::FutureExt::catch_unwind(future);
        let outcome = match self.hooks {
            Some(limit) => {
                self.serving.runtime.timeout(limit, contained).await.map_err(|_| ServeError::HookTimeout { hook })?
            }
            None => contained.await,
        };
        match outcome {
            Ok(result) => result.map_err(failed),
            Err(_) => Err(failed(Error::new("the hook panicked"))),
        }
    }
}

/// From the beginning of a shutdown to the moment before its hook: nothing runs any more then but blocking code.
pub(crate) async fn drain(serving: &Serving, tracker: &Tracker, graceful: Duration) {
    let Serving { shutdown, runtime, .. } = serving;
    serving.drain_started();
    let tasks = runtime.tasks();
    let done = async {
        // [SHU-13] who closes a listener first accepts those that wait there
        tracker.closed().await;
        while tracker.open() + tasks.unfinished() > 0 {
            tracker.below(1).await;
            tasks.finished().await;
        }
    };
    let forced = async {
        shutdown.reached(ShutdownLevel::Forced).await;
    };
    // [SHU-06], [SHU-07] whichever comes first: all done, the deadline, the second trigger
    let in_time = runtime.timeout(graceful, futures_lite::future::or(done, forced)).await.is_ok();
    warn_of_rest(in_time, tracker.open(), tasks.unfinished());
    shutdown.force();
    // [RTM-05b], [RTM-06]
    tasks.end();
    // [SHU-09]
    let gone = async {
        tracker.below(1).await;
        tracker.closed().await;
        tasks.gone().await;
    };
    if runtime.timeout(FORCED, gone).await.is_err() {
        let (open, tasks) = (tracker.open(), tasks.alive());
        tracing::error!(target: "adapter", open, tasks, "connections or spawned tasks did not end");
    }
    serving.drain_ended(in_time);
}

/// Says that code that blocks has not returned when the server ends. For servers without a [`Lifecycle`]. \[SHU-09\]
pub fn warn_of_blocking() {
    tracing::warn!(target: "adapter", "blocking application code still runs after the shutdown");
}

/// Says in one line, at the end of the draining, what a graceful shutdown would have waited for and now does not. For servers
/// without a [`Lifecycle`]. \[SHU-06\], \[RTM-05b\]
pub fn warn_of_rest(in_time: bool, open: usize, tasks: usize) {
    if !in_time {
        tracing::warn!(target: "adapter", open, tasks, "the shutdown deadline has passed; forcing");
    } else if tasks > 0 {
        tracing::warn!(target: "adapter", open, tasks, "the shutdown was forced; spawned tasks are dropped, blocking code is left behind");
    }
}
