//! The server on tokio's multi-thread runtime, and the entry for programs that run tokio.
//!
//! Threads: `adapter-hyper` starts the runtime, waits for the shutdown and ends last; `threads` runtime threads serve;
//! the blocking pool's threads come and go. The accept loop is a task; each connection is a task.

mod runtime;
mod transport;

use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::thread;

use adapter_core::environ::Serving;
use adapter_core::{
    Application, DynApplication, ServeError, Server, ServerConfig, ServerHandle, ServerInfo, ShutdownTrigger,
};
use adapter_listen::{Listener, bind_all};

pub(crate) use self::runtime::TokioDriver;
pub(crate) use self::transport::Accepting;
use crate::blocking_pool::BlockingPool;
use crate::engine::{Engine, Lifecycle, OPTIONS, accept};

/// The server `hyper`: hyper on tokio's multi-thread runtime.
///
/// `threads` is the number of runtime threads, one per core by default. Options: `http2` (`on`, `off`).
#[derive(Clone, Copy, Debug, Default)]
pub struct HyperServer;

impl HyperServer {
    /// The server.
    pub const fn new() -> Self {
        HyperServer
    }
}

impl Server for HyperServer {
    fn info(&self) -> ServerInfo {
        ServerInfo::new("hyper", env!("CARGO_PKG_VERSION")).with_capabilities(crate::capabilities())
    }

    fn start(&self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        config.validate()?;
        config.refuse_unknown_options("hyper", OPTIONS)?;
        let listeners = bind_all(&config.binds_or_default(), false)?;
        let addrs: Vec<_> = listeners.iter().map(|listener| listener.addr().clone()).collect();
        let threads = config.threads.unwrap_or_else(cores);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("adapter-hyper")
            .enable_io()
            .enable_time()
            .build()?;
        let pool = BlockingPool::new(config.blocking_threads, config.blocking_queue);
        let trigger = ShutdownTrigger::new();
        let info = self.info();
        let (started, has_started) = mpsc::sync_channel(1);
        let shutdown = trigger.clone();
        let main = thread::Builder::new().name("adapter-hyper-main".into()).spawn(move || {
            let driver = TokioDriver::new(runtime.handle().clone(), pool.clone());
            let serving = serve_with(listeners, application, &config, info, driver, shutdown, move |outcome| {
                // `start` waits for it, so somebody receives.
                let _ = started.send(outcome);
            });
            let outcome = runtime.block_on(serving);
            runtime.shutdown_timeout(crate::PATIENCE);
            end_pool(&pool);
            outcome
        })?;
        match has_started.recv() {
            Ok(Ok(())) => Ok(ServerHandle::new(addrs, trigger, move || join(main))),
            Ok(Err(error)) => {
                // The thread has nothing to serve and ends; its own outcome says nothing more.
                let _ = join(main);
                Err(error)
            }
            Err(_) => Err(join(main).err().unwrap_or_else(|| io::Error::other("the server thread ended").into())),
        }
    }
}

/// Serves on the tokio runtime that polls this future, until `shutdown` is ready; then drains and returns.
///
/// `listener` is bound and non-blocking or not, as made by `std`, and replaces `config.binds`; `config.threads` does not
/// apply. Dropping the future closes the listener and lets connections go on without anybody waiting for them.
///
/// # Errors
/// As [`Server::start`] and [`ServerHandle::wait`].
///
/// # Panics
/// Outside a tokio runtime with IO and time enabled.
///
/// ```no_run
/// # use adapter_core::{Body, Environ, Error, Request, Response, ServerConfig};
/// # async fn app(_request: Request, _environ: Environ) -> Result<Response, Error> { Ok(Response::default()) }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = std::net::TcpListener::bind("127.0.0.1:8080")?;
/// let ctrl_c = async { /* tokio::signal::ctrl_c().await */ };
/// adapter_hyper::serve(listener, app, ServerConfig::default(), ctrl_c).await?;
/// # Ok(()) }
/// ```
pub async fn serve(
    listener: std::net::TcpListener,
    application: impl Application,
    mut config: ServerConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    config.binds = vec![listener.into()];
    config.validate()?;
    config.refuse_unknown_options("hyper", OPTIONS)?;
    let listeners = bind_all(&config.binds, false)?;
    let pool = BlockingPool::new(config.blocking_threads, config.blocking_queue);
    let driver = TokioDriver::new(tokio::runtime::Handle::current(), pool.clone());
    let trigger = ShutdownTrigger::new();
    let stop = {
        let trigger = trigger.clone();
        tokio::spawn(async move {
            shutdown.await;
            trigger.trigger();
        })
    };
    let application = DynApplication::new(application);
    let info = HyperServer.info();
    let mut failed = None;
    let served =
        serve_with(listeners, application, &config, info, driver, trigger, |outcome| failed = outcome.err()).await;
    let outcome = failed.map_or(served, Err);
    stop.abort();
    // Joining threads blocks, so a thread does it; blocking code that goes on keeps its thread until it ends.
    thread::Builder::new().name("adapter-hyper-end".into()).spawn(move || end_pool(&pool))?;
    outcome
}

/// Startup, accepting, draining, shutdown, on the runtime that polls it. `started` is told how the startup went; after
/// an error nothing else happens.
async fn serve_with(
    listeners: Vec<Listener>,
    application: DynApplication,
    config: &ServerConfig,
    info: ServerInfo,
    driver: TokioDriver,
    shutdown: ShutdownTrigger,
    started: impl FnOnce(Result<(), ServeError>),
) -> Result<(), ServeError> {
    let addrs = listeners.iter().map(|listener| listener.addr().clone()).collect();
    let runtime = adapter_core::Runtime::new(driver);
    let serving = Serving::new(info.listening(addrs, runtime.clone()), runtime, shutdown, config);
    let lifecycle = Lifecycle::new(application.clone(), serving.clone(), config);
    let prepared = async {
        let engine = Engine::new(application, serving, config)?;
        let listeners = listeners.into_iter().map(Accepting::new).collect::<io::Result<Vec<_>>>()?;
        lifecycle.startup().await?;
        Ok((engine, listeners))
    };
    let (engine, listeners) = match prepared.await {
        Ok(prepared) => prepared,
        Err(error) => {
            started(Err(error));
            return Ok(());
        }
    };
    for listener in listeners {
        let tracker = lifecycle.tracker().clone();
        tokio::spawn(accept(listener, engine.clone(), tracker, |connection| drop(tokio::spawn(connection))));
    }
    started(Ok(()));
    lifecycle.run().await
}

/// Waits for the thread of a server.
pub(crate) fn join(thread: thread::JoinHandle<Result<(), ServeError>>) -> Result<(), ServeError> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the server thread panicked").into()))
}

/// Ends the blocking pool, as far as application code lets it.
pub(crate) fn end_pool(pool: &BlockingPool) {
    if !pool.stop(crate::PATIENCE) {
        tracing::warn!(target: "adapter", "blocking application code still runs after the shutdown");
    }
}

/// One per core.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
