//! The server on tokio's multi-thread runtime, and the entry for programs that run tokio.
//!
//! Threads: `adapter-hyper` starts the runtime, waits for the shutdown and ends last; `threads` runtime threads serve;
//! the blocking pool's threads come and go. The accept loop is a task; each connection is a task.

mod runtime;
mod transport;

use std::future::Future;

use adapter_core::{
    Application, DynApplication, ServeError, Server, ServerConfig, ServerHandle, ServerInfo, ShutdownTrigger,
};
use adapter_listen::{Listener, bind_all};

pub(crate) use self::runtime::TokioDriver;
pub(crate) use self::transport::Accepting;
use crate::blocking_pool::BlockingPool;
use crate::engine::OPTIONS;
use crate::host::{self, Hosted, Spawn};

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
        let threads = config.threads.unwrap_or_else(host::cores);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("adapter-hyper")
            .enable_io()
            .enable_time()
            .build()?;
        let pool = BlockingPool::new(config.blocking_threads, config.blocking_queue);
        let trigger = ShutdownTrigger::new();
        let info = self.info();
        let shutdown = trigger.clone();
        host::start("adapter-hyper-main", addrs, trigger, &application.clone(), move |started| {
            let driver = TokioDriver::new(runtime.handle().clone(), pool.clone());
            let serving =
                serve_with(listeners, application, &config, info, driver, shutdown, |outcome| started.tell(outcome));
            let outcome = runtime.block_on(serving);
            runtime.shutdown_timeout(host::PATIENCE);
            host::end_pool(&pool);
            outcome
        })
    }
}

/// Serves on the tokio runtime that polls this future, until `shutdown` is ready; then drains and returns.
///
/// `listener` is bound and non-blocking or not, as made by `std`, and replaces `config.binds`; `config.threads` does not
/// apply. Dropping the future begins the shutdown without anybody waiting for its end: the listener is closed, idle
/// connections too, requests under way are answered; the shutdown hook is not called.
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
    let _end = End(trigger.clone());
    let stop = async {
        shutdown.await;
        trigger.trigger();
        std::future::pending().await
    };
    let application = DynApplication::new(application);
    let last = application.clone();
    let info = HyperServer.info();
    let mut failed = None;
    let serving =
        serve_with(listeners, application, &config, info, driver, trigger.clone(), |outcome| failed = outcome.err());
    let served = futures_lite::future::or(serving, stop).await;
    // Blocking code that goes on keeps its thread until it ends.
    host::end_pool_in_background(pool, last)?;
    failed.map_or(served, Err)
}

/// Ends what [`serve`] spawned, also when its future is dropped.
struct End(ShutdownTrigger);

impl Drop for End {
    fn drop(&mut self) {
        self.0.trigger();
    }
}

/// As [`host::serve`], on the tokio runtime that polls it.
async fn serve_with(
    listeners: Vec<Listener>,
    application: DynApplication,
    config: &ServerConfig,
    info: ServerInfo,
    driver: TokioDriver,
    shutdown: ShutdownTrigger,
    started: impl FnOnce(Result<(), ServeError>),
) -> Result<(), ServeError> {
    let runtime = adapter_core::Runtime::new(driver);
    let hosted = Hosted { listeners, application, config, info, runtime, spawn: Current, shutdown };
    host::serve(hosted, Accepting::new, started).await
}

/// The tokio runtime that polls.
#[derive(Clone, Copy)]
struct Current;

impl Spawn for Current {
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(future));
    }
}
