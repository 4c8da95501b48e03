//! Serving on whichever executor, and the entries for programs that run smol already.

use std::future::{Future, pending};
use std::sync::Arc;

use adapter_core::runtime::BoxFuture;
use adapter_core::signal::Signal;
use adapter_core::{
    Application, DynApplication, Runtime, ServeError, Server, ServerConfig, ServerInfo, ShutdownTrigger,
};
use adapter_hyper::blocking_pool::BlockingPool;
use adapter_hyper::engine::{Connect, Engine};
use adapter_hyper::host::{self, Embedded, Hosted, Spawn};
use adapter_listen::{Listener, Listeners};
use async_executor::Executor;
use futures_lite::future::or;

use crate::SmolServer;
use crate::connection::Connecting;
use crate::runtime::{Own, SmolDriver, Theirs};
use crate::socket::Watch;
use crate::transport::{Accepting, Stream};

/// Serves inside this future, until `shutdown` is ready; then drains and returns.
///
/// The future carries an executor for its connections and for what the application spawns: whoever polls it runs them,
/// one at a time. So it needs no executor around it (`smol::block_on`, `async_io::block_on` and any other will do), and it
/// occupies at most one thread. To spread connections over the threads of your executor, see [`serve_on`].
///
/// `listeners` is one of `std`'s, bound, non-blocking or not; or a [`Bind`](adapter_core::Bind), or several of either. They
/// replace `config.binds`, and `config.threads` does not apply. [`Listeners::bind`] tells the addresses beforehand.
/// Blocking applications, iterators and files run on a pool of threads, which ends with the server.
///
/// Dropping the future is the end at once, as the second call of a [`ShutdownTrigger`]: the listeners, every connection and
/// what the application spawned are dropped with it; the shutdown hook is not called. For a graceful end make `shutdown`
/// ready, and go on polling.
///
/// The application itself is dropped on a thread that may block, before the future is ready.
///
/// # Errors
/// As [`Server::start`] and [`ServerHandle::wait`](adapter_core::ServerHandle::wait).
///
/// ```
/// # use adapter_core::{Body, Environ, Error, Request, Response, ServerConfig};
/// async fn app(_request: Request, _environ: Environ) -> Result<Response, Error> {
///     Ok(Response::new(Body::from("Hello, World!\n")))
/// }
///
/// async_io::block_on(async {
///     let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
///     let shutdown = async { /* a signal, a channel, */ };
///     adapter_smol::serve(listener, app, ServerConfig::default(), shutdown).await
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
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
    let executor = Arc::new(Executor::new());
    let spawn = Own::new(&executor);
    let serving = serve_spawning(spawn, listeners.into(), DynApplication::new(application), config, shutdown);
    async move { executor.run(serving).await }
}

/// As [`serve`], with every connection and everything the application spawns handed to `spawn`, which puts it on your
/// executor, as in `|task| smol::spawn(task).detach()`.
///
/// Dropping the future is the end at once here, too: connections and what the application spawned are dropped when your
/// executor gets to them.
///
/// # Errors
/// As [`serve`].
///
/// ```
/// # use adapter_core::{Body, Environ, Error, Request, Response, ServerConfig};
/// # async fn app(_request: Request, _environ: Environ) -> Result<Response, Error> { Ok(Response::default()) }
/// static EXECUTOR: async_executor::Executor<'static> = async_executor::Executor::new();
///
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let spawn = |task| EXECUTOR.spawn(task).detach();
/// let shutdown = async { /* a signal, a channel, */ };
/// let serving = adapter_smol::serve_on(spawn, listener, app, ServerConfig::default(), shutdown);
/// async_io::block_on(EXECUTOR.run(serving))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn serve_on<A, S>(
    spawn: impl Fn(BoxFuture<()>) + Send + Sync + 'static,
    listeners: impl Into<Listeners>,
    application: A,
    config: ServerConfig,
    shutdown: S,
) -> impl Future<Output = Result<(), ServeError>>
where
    A: Application,
    S: Future<Output = ()>,
{
    serve_spawning(Theirs::new(spawn), listeners.into(), DynApplication::new(application), config, shutdown)
}

fn serve_spawning<S: Future<Output = ()>>(
    spawn: impl Spawn + Clone,
    listeners: Listeners,
    application: DynApplication,
    config: ServerConfig,
    shutdown: S,
) -> impl Future<Output = Result<(), ServeError>> {
    let trigger = ShutdownTrigger::new();
    // Before the future, which may never be polled.
    let embedded = Embedded::new(&application, trigger.clone());
    async move {
        let mut embedded = embedded;
        let serving = async {
            let listeners = host::listen("smol", &config, listeners)?;
            let pool = BlockingPool::new(config.blocking_threads, config.blocking_queue);
            let runtime = embedded.runtime(SmolDriver::new(spawn.clone(), pool.clone()), &pool);
            let stop = async {
                shutdown.await;
                trigger.trigger();
                pending().await
            };
            let (shutdown, mut failed) = (trigger.clone(), None);
            let info = SmolServer.info();
            let serve = Serve { info, listeners, application, config: &config, spawn, runtime, shutdown };
            let served = or(serve.run(http, |outcome| failed = outcome.err()), stop).await;
            failed.map_or(served, Err)
        };
        let outcome = serving.await;
        embedded.end().await;
        outcome
    }
}

/// Makes connections of HTTP.
pub(crate) fn http(engine: &Arc<Engine>, application: DynApplication, config: &ServerConfig) -> Connecting {
    Connecting::new(engine, application, config)
}

/// Everything [`SmolServer`] and [`serve`] do alike.
pub(crate) struct Serve<'a, S> {
    pub(crate) info: ServerInfo,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) application: DynApplication,
    pub(crate) config: &'a ServerConfig,
    pub(crate) spawn: S,
    pub(crate) runtime: Runtime,
    pub(crate) shutdown: ShutdownTrigger,
}

impl<S: Spawn + Clone> Serve<'_, S> {
    /// As [`host::serve`]; `connect` makes what makes the connections.
    pub(crate) async fn run<C: Connect<Stream> + Clone>(
        self,
        connect: impl FnOnce(&Arc<Engine>, DynApplication, &ServerConfig) -> C,
        started: impl FnOnce(Result<(), ServeError>),
    ) -> Result<(), ServeError> {
        let Serve { info, listeners, application, config, spawn, runtime, shutdown } = self;
        let end = End { shutdown: shutdown.clone(), ended: Signal::new() };
        let watch = match Watch::new() {
            Ok(watch) => watch,
            Err(error) => {
                started(Err(error.into()));
                return Ok(());
            }
        };
        let (watching, ended) = (watch.clone(), end.ended.fired());
        spawn.spawn(or(
            async {
                ended.await;
            },
            async move {
                if let Err(error) = watching.run().await {
                    tracing::error!(target: "adapter", %error, "waiting for sockets failed; connections stand still");
                }
            },
        ));
        let ours = application.clone();
        let hosted = Hosted { listeners, application, config, info, runtime, spawn, shutdown };
        let connect = |engine: &Arc<Engine>| connect(engine, ours, config);
        let register = |listener| {
            let tls = host::tls_of(&listener, config);
            Accepting::new(listener, tls, watch.clone())
        };
        host::serve(hosted, register, connect, started).await
    }
}

/// Ends what was spawned, also when the future that serves is dropped.
struct End {
    shutdown: ShutdownTrigger,
    ended: Signal,
}

impl Drop for End {
    fn drop(&mut self) {
        self.shutdown.force();
        self.ended.fire();
    }
}
