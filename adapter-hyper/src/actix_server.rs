//! The server on actix-rt: one arbiter (thread, single-thread runtime) per core, nothing shared on the hot path.
//!
//! Threads: `adapter-actix-main` owns the actix system, waits for the shutdown and ends last; each arbiter's thread
//! accepts from a listener of its own (SO_REUSEPORT; a Unix-domain or inherited socket is shared) and serves what it
//! accepted. Only the shutdown, the count of connections and the blocking pool are shared between them.

use std::io;
use std::sync::{Arc, mpsc};

use actix_rt::{Arbiter, System};
use adapter_core::environ::Serving;
use adapter_core::server::{LastReference, Lifecycle};
use adapter_core::{
    DynApplication, Runtime, ServeError, Server, ServerConfig, ServerHandle, ServerInfo, ShutdownTrigger,
};
use adapter_listen::{Listener, bind_all};

use crate::blocking_pool::BlockingPool;
use crate::engine::{Engine, accept};
use crate::host;
use crate::tokio_server::{Accepting, TokioDriver};

/// The server `actix`: one actix-rt arbiter per core.
///
/// `threads` is the number of arbiters, one per core by default. Options: `http2` (`on`, `off`).
#[derive(Clone, Copy, Debug, Default)]
pub struct ActixServer;

impl ActixServer {
    /// The server.
    pub const fn new() -> Self {
        ActixServer
    }
}

impl Server for ActixServer {
    fn info(&self) -> ServerInfo {
        ServerInfo::new("actix", env!("CARGO_PKG_VERSION")).with_capabilities(crate::capabilities())
    }

    fn check(&self, config: &ServerConfig) -> Result<(), ServeError> {
        host::check("actix", config)
    }

    fn start(&self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        let _last = LastReference::of(&application);
        self.begin(application, config)
    }
}

impl ActixServer {
    /// [`Server::start`], which lets go of the application after it.
    fn begin(self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        self.check(&config)?;
        let first = bind_all(&config.binds_or_default(), true)?;
        let addrs: Vec<_> = first.iter().map(|listener| listener.addr().clone()).collect();
        let pool = BlockingPool::new(config.blocking_threads, config.blocking_queue);
        let trigger = config.trigger.clone().unwrap_or_default();
        let info = self.info();
        let shutdown = trigger.clone();
        host::start("adapter-actix-main", addrs, trigger, config.tls.clone(), &application.clone(), move |started| {
            let system = System::new();
            let outcome = system.block_on(async {
                match Cores::start(first, application, &config, info, &pool, shutdown).await {
                    Ok(cores) => {
                        started.tell(Ok(()));
                        cores.run().await
                    }
                    Err(error) => {
                        started.tell(Err(error));
                        Ok(())
                    }
                }
            });
            host::end_pool(&pool);
            outcome
        })
    }
}

/// The arbiters of a running server.
struct Cores {
    arbiters: Vec<Arbiter>,
    lifecycle: Lifecycle,
}

impl Cores {
    /// Starts an arbiter per core, runs the startup hook on the main one, then lets all accept.
    async fn start(
        first: Vec<Listener>,
        application: DynApplication,
        config: &ServerConfig,
        info: ServerInfo,
        pool: &BlockingPool,
        shutdown: ShutdownTrigger,
    ) -> Result<Self, ServeError> {
        let addrs = first.iter().map(|listener| listener.addr().clone()).collect();
        let runtime = Runtime::new(TokioDriver::new(tokio::runtime::Handle::current(), pool.clone()));
        let serving = Serving::new(info.listening(addrs, runtime.clone()), runtime, shutdown, config);
        let lifecycle = Lifecycle::new(application.clone(), serving.clone(), config);
        let engine = Engine::new(application, serving, config)?;
        let count = config.threads.unwrap_or_else(host::cores);
        let mut listeners = vec![first];
        for _ in 1..count {
            listeners.push(listeners[0].iter().map(Listener::sibling).collect::<io::Result<_>>()?);
        }
        lifecycle.startup().await?;
        let mut cores = Cores { arbiters: Vec::with_capacity(count), lifecycle };
        for listeners in listeners {
            if let Err(error) = cores.add(listeners, &engine, config) {
                cores.stop();
                return Err(error.into());
            }
        }
        Ok(cores)
    }

    /// Starts an arbiter that accepts from `listeners`.
    fn add(&mut self, listeners: Vec<Listener>, engine: &Arc<Engine>, config: &ServerConfig) -> io::Result<()> {
        let listeners: Vec<_> = listeners
            .into_iter()
            .map(|listener| {
                let tls = host::tls_of(&listener, config);
                (listener, tls)
            })
            .collect();
        let arbiter = Arbiter::try_new()?;
        let (engine, tracker) = (engine.clone(), self.lifecycle.tracker().clone());
        let (ready, is_ready) = mpsc::sync_channel(1);
        arbiter.spawn_fn(move || {
            let accepting = listeners.into_iter().map(|(listener, tls)| Accepting::new(listener, tls));
            let accepting = accepting.collect::<io::Result<Vec<_>>>();
            let outcome = accepting.map(|accepting| {
                for listener in accepting {
                    let (engine, tracker) = (engine.clone(), tracker.clone());
                    actix_rt::spawn(accept(listener, engine.clone(), engine, tracker, |connection| {
                        drop(actix_rt::spawn(connection));
                    }));
                }
            });
            // `add` waits for it, so somebody receives.
            let _ = ready.send(outcome);
        });
        self.arbiters.push(arbiter);
        is_ready.recv().map_err(|_| io::Error::other("an arbiter ended"))?
    }

    /// Ends every arbiter's thread and waits for it.
    fn stop(self) {
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
        for arbiter in self.arbiters {
            if arbiter.join().is_err() {
                tracing::error!(target: "adapter", "an arbiter panicked");
            }
        }
    }

    /// Until the shutdown has ended and every arbiter's thread is gone.
    async fn run(self) -> Result<(), ServeError> {
        let outcome = self.lifecycle.run().await;
        self.stop();
        outcome
    }
}
