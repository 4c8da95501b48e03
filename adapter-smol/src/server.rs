//! The server with threads of its own. \[LIF-01\], \[SHU-09\], \[REG-03\]
//!
//! `adapter-smol-main` starts the executor's threads, runs the hooks, waits for the shutdown and ends last; it never
//! drives the reactor, which would make it wake the others for their own events.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use adapter_core::server::LastReference;
use adapter_core::signal::Signal;
use adapter_core::{DynApplication, Runtime, ServeError, Server, ServerConfig, ServerHandle, ServerInfo};
use adapter_hyper::blocking_pool::BlockingPool;
use adapter_hyper::engine::{Connect, Engine};
use adapter_hyper::host;
use adapter_listen::bind_all;
use async_executor::Executor;

use crate::runtime::{Own, SmolDriver};
use crate::serve::{Serve, http};
use crate::transport::Stream;

/// The server `smol`, on async-executor and async-io.
///
/// `threads` is the number of executor threads, one per core by default. Options: `http2` (`on`, `off`).
#[derive(Clone, Copy, Debug, Default)]
pub struct SmolServer;

impl SmolServer {
    /// The server.
    pub const fn new() -> Self {
        SmolServer
    }
}

impl Server for SmolServer {
    fn info(&self) -> ServerInfo {
        let mut can = adapter_hyper::capabilities();
        can.early_hints = true;
        ServerInfo::new("smol", env!("CARGO_PKG_VERSION")).with_capabilities(can)
    }

    fn check(&self, config: &ServerConfig) -> Result<(), ServeError> {
        host::check("smol", config)
    }

    fn start(&self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        let _last = LastReference::of(&application);
        // Dropped before it, should the start fail. [LIF-09]
        let application = application;
        self.check(&config)?;
        start(self.info(), application, config, http)
    }
}

/// Starts a server on `smol`'s threads and sockets whose connections are what `connect` makes: HTTP, or another protocol. `config` has been
/// looked at. For servers; see [`Server::start`].
///
/// # Errors
/// As [`Server::start`].
pub fn start<C: Connect<Stream> + Clone>(
    info: ServerInfo,
    application: DynApplication,
    config: ServerConfig,
    connect: impl FnOnce(&Arc<Engine>, DynApplication, &ServerConfig) -> C + Send + 'static,
) -> Result<ServerHandle, ServeError> {
    let _last = LastReference::of(&application);
    // Dropped before it, should the start fail. [LIF-09]
    let application = application;
    let listeners = bind_all(&config.binds_or_default(), false)?;
    let addrs = listeners.iter().map(|listener| listener.addr().clone()).collect();
    let trigger = config.trigger.clone().unwrap_or_default();
    let shutdown = trigger.clone();
    host::start("adapter-smol-main", addrs, trigger, config.tls.clone(), &application.clone(), move |started| {
        let executor = Arc::new(Executor::new());
        let threads = match Threads::start(config.threads.unwrap_or_else(host::cores), &executor) {
            Ok(threads) => threads,
            Err(error) => {
                started.tell(Err(error.into()));
                return Ok(());
            }
        };
        let pool = BlockingPool::new(config.blocking_threads, config.blocking_queue);
        let spawn = Own::new(&executor);
        let runtime = Runtime::new(SmolDriver::new(spawn.clone(), pool.clone()));
        let serve = Serve { info, listeners, application, config: &config, spawn, runtime, shutdown };
        let outcome = futures_lite::future::block_on(serve.run(connect, |outcome| started.tell(outcome)));
        threads.stop();
        // [RTM-05] with it go the tasks that are left
        drop(executor);
        host::end_pool(&pool);
        outcome
    })
}

/// The executor's threads.
struct Threads {
    stop: Signal,
    threads: Vec<thread::JoinHandle<()>>,
    /// Disconnected when all have ended.
    ended: mpsc::Receiver<()>,
}

impl Threads {
    /// Starts `count` threads that run the tasks of `executor`.
    fn start(count: usize, executor: &Arc<Executor<'static>>) -> io::Result<Self> {
        let (alive, ended) = mpsc::channel();
        let mut threads = Threads { stop: Signal::new(), threads: Vec::with_capacity(count), ended };
        for _ in 0..count {
            match threads.add(executor.clone(), alive.clone()) {
                Ok(thread) => threads.threads.push(thread),
                Err(error) => {
                    drop(alive);
                    threads.stop();
                    return Err(error);
                }
            }
        }
        Ok(threads)
    }

    fn add(&self, executor: Arc<Executor<'static>>, alive: mpsc::Sender<()>) -> io::Result<thread::JoinHandle<()>> {
        let stop = self.stop.clone();
        thread::Builder::new().name("adapter-smol".into()).spawn(move || {
            async_io::block_on(executor.run(stop.fired()));
            drop((executor, alive));
        })
    }

    /// Ends the threads and waits for them, as far as application code lets it.
    fn stop(self) {
        self.stop.fire();
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(host::PATIENCE) {
            tracing::warn!(target: "adapter", "application code still blocks an executor thread after the shutdown");
            return;
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!(target: "adapter", "an executor thread panicked");
            }
        }
    }
}
