//! The server with threads of its own, and the entry for programs that run async-io already.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use adapter_core::signal::Signal;
use adapter_core::{
    Application, DynApplication, Runtime, ServeError, Server, ServerConfig, ServerHandle, ServerInfo, ShutdownTrigger,
};
use adapter_hyper::blocking_pool::BlockingPool;
use adapter_hyper::engine::OPTIONS;
use adapter_hyper::host::{self, Hosted, Spawn};
use adapter_listen::{Listener, bind_all};
use async_executor::Executor;

use crate::readiness::Watch;
use crate::runtime::{On, SmolDriver};
use crate::transport::Accepting;

/// The server `smol`: hyper on async-io and async-executor.
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
        ServerInfo::new("smol", env!("CARGO_PKG_VERSION")).with_capabilities(adapter_hyper::capabilities())
    }

    fn start(&self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        config.validate()?;
        config.refuse_unknown_options("smol", OPTIONS)?;
        let listeners = bind_all(&config.binds_or_default(), false)?;
        let addrs = listeners.iter().map(|listener| listener.addr().clone()).collect();
        let pool = BlockingPool::new(config.blocking_threads, config.blocking_queue);
        let trigger = ShutdownTrigger::new();
        let info = self.info();
        let shutdown = trigger.clone();
        host::start("adapter-smol-main", addrs, trigger, move |started| {
            let mut threads = Threads::new();
            let executor = Arc::new(Executor::new());
            for _ in 0..config.threads.unwrap_or_else(host::cores) {
                if let Err(error) = threads.add(&executor) {
                    threads.stop();
                    started.tell(Err(error.into()));
                    return Ok(());
                }
            }
            let on = On::new(&executor);
            let serving = serve_with(listeners, application, &config, info, on, &pool, shutdown, |o| started.tell(o));
            // This thread only waits; the executor's threads see to IO and timers.
            let outcome = futures_lite::future::block_on(serving);
            threads.stop();
            // [SHU-09] with it go the tasks that are left
            drop(executor);
            host::end_pool(&pool);
            outcome
        })
    }
}

/// The executor threads of a server.
struct Threads {
    stop: Signal,
    threads: Vec<thread::JoinHandle<()>>,
    alive: mpsc::Sender<()>,
    ended: mpsc::Receiver<()>,
}

impl Threads {
    fn new() -> Self {
        let (alive, ended) = mpsc::channel();
        Threads { stop: Signal::new(), threads: Vec::new(), alive, ended }
    }

    /// Starts one more thread that runs `executor`'s tasks.
    fn add(&mut self, executor: &Arc<Executor<'static>>) -> io::Result<()> {
        let (executor, stop, alive) = (executor.clone(), self.stop.clone(), self.alive.clone());
        self.threads.push(thread::Builder::new().name("adapter-smol".into()).spawn(move || {
            async_io::block_on(executor.run(stop.fired()));
            drop(executor);
            drop(alive);
        })?);
        Ok(())
    }

    /// Ends the threads and waits for them, as far as application code lets it.
    fn stop(self) {
        let Threads { stop, threads, alive, ended } = self;
        stop.fire();
        drop(alive);
        let deadline = Instant::now() + host::PATIENCE;
        if let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(deadline - Instant::now()) {
            tracing::warn!(target: "adapter", "application code still blocks an executor thread after the shutdown");
            return;
        }
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!(target: "adapter", "an executor thread panicked");
            }
        }
    }
}

/// Serves in a program that runs async-io
pub async fn serve(
    listener: std::net::TcpListener,
    application: impl Application,
    mut config: ServerConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    config.binds = vec![listener.into()];
    config.validate()?;
    config.refuse_unknown_options("smol", OPTIONS)?;
    let listeners = bind_all(&config.binds, false)?;
    let pool = BlockingPool::new(config.blocking_threads, config.blocking_queue);
    let executor = Arc::new(Executor::new());
    let on = On::new(&executor);
    let trigger = ShutdownTrigger::new();
    let stop = trigger.clone();
    on.spawn(async move {
        shutdown.await;
        stop.trigger();
    });
    let application = DynApplication::new(application);
    let mut failed = None;
    let served =
        serve_with(listeners, application, &config, SmolServer.info(), on, &pool, trigger, |o| failed = o.err());
    let served = executor.run(served).await;
    let outcome = failed.map_or(served, Err);
    host::end_pool_in_background(pool)?;
    outcome
}

async fn serve_with<S: Spawn + Clone>(
    listeners: Vec<Listener>,
    application: DynApplication,
    config: &ServerConfig,
    info: ServerInfo,
    spawn: S,
    pool: &BlockingPool,
    shutdown: ShutdownTrigger,
    started: impl FnOnce(Result<(), ServeError>),
) -> Result<(), ServeError> {
    let watch = match Watch::new() {
        Ok(watch) => watch,
        Err(error) => {
            started(Err(error.into()));
            return Ok(());
        }
    };
    let runtime = Runtime::new(SmolDriver::new(spawn.clone(), pool.clone()));
    let watching = watch.clone();
    spawn.spawn(async move {
        if let Err(error) = watching.run().await {
            tracing::error!(target: "adapter", %error, "epoll failed");
        }
    });
    let hosted = Hosted { listeners, application, config, info, runtime, spawn, shutdown };
    host::serve(hosted, |listener| Accepting::new(listener, watch.clone()), started).await
}
