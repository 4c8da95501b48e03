//! Startup, accepting, draining, shutdown: the same on every runtime.
//!
//! The runtime-specific server awaits [`Lifecycle::startup`], spawns an [`accept`] loop per listener, awaits
//! [`Lifecycle::run`]. \[LIF-01\] to \[LIF-08\], \[SHU-01\] to \[SHU-09\], \[ERR-06\], \[LIM-07\]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use adapter_core::environ::Serving;
use adapter_core::server::ShutdownLevel;
use adapter_core::{Application, DynApplication, Error, Runtime, ServeError, ServerConfig};
use adapter_listen::{AcceptError, classify};

use super::tracker::Listening;
use super::{Accept, Connection, Engine, Tracker};

/// How long after a forced shutdown the tasks may take to notice.
const FORCED: Duration = Duration::from_secs(1);

/// The life of a server around its connections.
#[derive(Debug)]
pub struct Lifecycle {
    application: DynApplication,
    serving: Arc<Serving>,
    tracker: Tracker,
    graceful: Duration,
    hooks: Option<Duration>,
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
        }
    }

    /// The count of connections, for the accept loops.
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// Runs the startup hook. \[LIF-01\], \[LIF-02\]
    ///
    /// # Errors
    /// The hook's own, or that it was late.
    pub async fn startup(&self) -> Result<(), ServeError> {
        self.hook("startup", ServeError::Startup, self.application.startup(&self.serving.info)).await
    }

    /// Waits for the shutdown, then for the connections to drain, forces what is left at the deadline, runs the
    /// shutdown hook. The accept loops end by themselves.
    ///
    /// # Errors
    /// Of the shutdown hook. \[LIF-06\]
    pub async fn run(&self) -> Result<(), ServeError> {
        let shutdown = &self.serving.shutdown;
        shutdown.reached(ShutdownLevel::Draining).await;
        let drained = self.tracker.below(1);
        let forced = async {
            shutdown.reached(ShutdownLevel::Forced).await;
        };
        // [SHU-06], [SHU-07] whichever comes first: all done, the deadline, the second trigger
        let ended = futures_lite::future::or(drained, forced);
        if self.serving.runtime.timeout(self.graceful, ended).await.is_err() {
            tracing::warn!(target: "adapter", open = self.tracker.open(), "the shutdown deadline has passed; forcing");
        }
        shutdown.force();
        // [SHU-09]
        let gone = async {
            self.tracker.below(1).await;
            self.tracker.closed().await;
        };
        if self.serving.runtime.timeout(FORCED, gone).await.is_err() {
            tracing::error!(target: "adapter", open = self.tracker.open(), "connections did not end");
        }
        self.hook("shutdown", ServeError::Shutdown, self.application.shutdown()).await
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

/// Accepts until the shutdown begins, then closes the listener. At most `limit` connections are open at once; the next
/// ones wait in the kernel's queue. `spawn` runs a connection's future.
pub fn accept<L: Accept, S: Fn(Connection<L::Transport>)>(
    listener: L,
    engine: Arc<Engine>,
    tracker: Tracker,
    spawn: S,
) -> impl Future<Output = ()> + use<L, S> {
    /// Dropped in this order: the socket is closed before it is counted as closed.
    struct Open<L> {
        listener: L,
        _counted: Listening,
    }
    // Counted here and not at the first poll, which a shutdown may precede.
    let open = Open { listener, _counted: tracker.listening() };
    async move {
        let open = open;
        let listener = &open.listener;
        let runtime = engine.serving.runtime.clone();
        let shutdown = engine.serving.shutdown.clone();
        let accepting = async {
            loop {
                tracker.below(engine.limits.connections).await;
                match listener.accept().await {
                    Ok((io, peer)) => {
                        // Another listener may have taken the last place meanwhile: then this one waits here.
                        let guard = tracker.enter(engine.limits.connections).await;
                        spawn(engine.connection(io, peer, listener.addr().clone(), guard));
                    }
                    Err(error) => pause(&runtime, &error).await,
                }
            }
        };
        let draining = async {
            shutdown.reached(ShutdownLevel::Draining).await;
        };
        futures_lite::future::or(draining, accepting).await;
    }
}

/// \[ERR-06\] never ends the server
async fn pause(runtime: &Runtime, error: &io::Error) {
    if let AcceptError::Backoff(pause) = classify(error) {
        tracing::warn!(target: "adapter", %error, "can't accept; trying again");
        runtime.sleep(pause).await;
    }
}
