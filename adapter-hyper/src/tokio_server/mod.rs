//! The server on tokio's multi-thread runtime, and the entry for programs that run tokio.
//!
//! Threads: `adapter-hyper` starts the runtime, waits for the shutdown and ends last; `threads` runtime threads serve;
//! the blocking pool's threads come and go. The accept loop is a task; each connection is a task.

mod runtime;
mod transport;

use std::future::Future;

use adapter_core::server::LastReference;
use adapter_core::{
    Application, DynApplication, Runtime, ServeError, Server, ServerConfig, ServerHandle, ServerInfo, ShutdownTrigger,
};
use adapter_listen::{Listeners, bind_all};

pub(crate) use self::runtime::TokioDriver;
pub(crate) use self::transport::Accepting;
use crate::blocking_pool::BlockingPool;
use crate::host::{self, Embedded, Hosted, Spawn};

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

    fn check(&self, config: &ServerConfig) -> Result<(), ServeError> {
        host::check("hyper", config)
    }

    fn start(&self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        let _last = LastReference::of(&application);
        self.begin(application, config)
    }
}

impl HyperServer {
    /// [`Server::start`], which lets go of the application after it.
    fn begin(self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        self.check(&config)?;
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
        let trigger = config.trigger.clone().unwrap_or_default();
        let info = self.info();
        let shutdown = trigger.clone();
        host::start("adapter-hyper-main", addrs, trigger, config.tls.clone(), &application.clone(), move |started| {
            let services = Runtime::new(TokioDriver::new(runtime.handle().clone(), pool.clone()));
            let hosted =
                Hosted { listeners, application, config: &config, info, runtime: services, spawn: Current, shutdown };
            let register = |listener| Accepting::of(listener, &config);
            let outcome =
                runtime.block_on(host::serve(hosted, register, Clone::clone, |outcome| started.tell(outcome)));
            runtime.shutdown_timeout(host::PATIENCE);
            host::end_pool(&pool);
            outcome
        })
    }
}

/// Serves on the tokio runtime that polls this future, until `shutdown` is ready; then drains and returns.
///
/// `listeners` is one of `std`'s, bound, non-blocking or not; or a [`Bind`](adapter_core::Bind), or several of either. They
/// replace `config.binds`, and `config.threads` does not apply. [`Listeners::bind`] tells the addresses beforehand.
///
/// Dropping the future is the end at once, as the second call of a [`ShutdownTrigger`]: the listeners are closed, the
/// connections and what the application spawned are dropped, as soon as the runtime gets to them; the shutdown hook is not
/// called. For a graceful end make `shutdown` ready, and go on polling.
///
/// The application itself is dropped on a thread that may block, before the future is ready.
///
/// # Errors
/// As [`Server::start`] and [`ServerHandle::wait`].
///
/// # Panics
/// When polled outside a tokio runtime with IO and time enabled.
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
pub fn serve<A, S>(
    listeners: impl Into<Listeners>,
    application: A,
    config: ServerConfig,
    shutdown: S,
) -> impl Future<Output = Result<(), ServeError>>
where
    A: Application,
    S: Future<Output = ()>,
{
    let (listeners, application, trigger) =
        (listeners.into(), DynApplication::new(application), ShutdownTrigger::new());
    // Before the future, which may never be polled.
    let embedded = Embedded::new(&application, trigger.clone());
    async move {
        let mut embedded = embedded;
        let serving = async {
            let listeners = host::listen("hyper", &config, listeners)?;
            let pool = BlockingPool::new(config.blocking_threads, config.blocking_queue);
            let runtime = embedded.runtime(TokioDriver::new(tokio::runtime::Handle::current(), pool.clone()), &pool);
            let stop = async {
                shutdown.await;
                trigger.trigger();
                std::future::pending().await
            };
            let (info, shutdown, mut failed) = (HyperServer.info(), trigger.clone(), None);
            let hosted = Hosted { listeners, application, config: &config, info, runtime, spawn: Current, shutdown };
            let register = |listener| Accepting::of(listener, &config);
            let serving = host::serve(hosted, register, Clone::clone, |outcome| failed = outcome.err());
            let served = futures_lite::future::or(serving, stop).await;
            failed.map_or(served, Err)
        };
        let outcome = serving.await;
        embedded.end().await;
        outcome
    }
}

/// The tokio runtime that polls.
#[derive(Clone, Copy)]
struct Current;

impl Spawn for Current {
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(future));
    }
}
