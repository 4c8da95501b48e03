//! What the servers on the engine share around it, whatever the runtime: the thread that owns a server, serving
//! listeners from startup to shutdown, the end of the blocking pool.

use std::future::Future;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use adapter_core::environ::Serving;
use adapter_core::runtime::Driver;
use adapter_core::server::{LastReference, Lifecycle, ListenAddr, warn_of_blocking};
use adapter_core::signal::Signal;
use adapter_core::tls::Tls;
use adapter_core::{
    DynApplication, Runtime, ServeError, ServerConfig, ServerHandle, ServerInfo, ShutdownTrigger, contain,
};
use adapter_listen::{Listener, Listeners};

use crate::blocking_pool::BlockingPool;
use crate::engine::{Accept, Connect, Engine, OPTIONS, accept, http2_enabled};

/// How long blocking application code that can't be interrupted may hold up the end of a server.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Tells [`start`] how the startup went.
#[derive(Debug)]
pub struct Started(mpsc::SyncSender<Result<(), ServeError>>);

impl Started {
    /// Says it. After an error the thread has nothing to serve; what it returns then counts for nothing.
    pub fn tell(self, outcome: Result<(), ServeError>) {
        // `start` waits for it, so somebody receives.
        let _ = self.0.send(outcome);
    }
}

/// Runs `serve`, which is a server of `application` from startup to end, on a thread called `name`; returns once it has told
/// how the startup went. The handle reloads `tls`, and waits for the thread, which lets go of `application` last: outside of any runtime, see
/// [`LastReference`].
///
/// # Errors
/// Of the startup, or if the thread can't be had.
pub fn start(
    name: &str,
    addrs: Vec<ListenAddr>,
    trigger: ShutdownTrigger,
    tls: Option<Tls>,
    application: &DynApplication,
    serve: impl FnOnce(Started) -> Result<(), ServeError> + Send + 'static,
) -> Result<ServerHandle, ServeError> {
    let (started, has_started) = mpsc::sync_channel(1);
    let (last, ended) = (LastReference::of(application), Signal::new());
    let end = ended.fire_on_drop();
    let main = thread::Builder::new().name(name.into()).spawn(move || {
        let _end = end;
        let outcome = serve(Started(started));
        drop(last);
        outcome
    })?;
    match has_started.recv() {
        Ok(Ok(())) => Ok(ServerHandle::new(addrs, trigger, move || join(main)).with_end(ended).with_tls(tls)),
        Ok(Err(error)) => {
            // The thread has nothing to serve and ends; its own outcome says nothing more.
            let _ = join(main);
            Err(error)
        }
        Err(_) => Err(join(main).err().unwrap_or_else(|| io::Error::other("the server thread ended").into())),
    }
}

/// Refuses what `server` can't follow in `config`.
///
/// # Errors
/// [`ServeError::Config`].
pub fn check(server: &str, config: &ServerConfig) -> Result<(), ServeError> {
    config.validate()?;
    config.refuse_unknown_options(server, OPTIONS)?;
    http2_enabled(config).map(drop)
}

/// Checks what an embedded `server` is told, and binds where it listens. Blocks as binding does: a moment.
///
/// # Errors
/// Wrong use, or an address that can't be bound.
pub fn listen(server: &'static str, config: &ServerConfig, listeners: Listeners) -> Result<Vec<Listener>, ServeError> {
    check(server, config)?;
    listeners.into_bound(config)
}

/// The TLS that the connections of `listener` are under.
pub fn tls_of(listener: &Listener, config: &ServerConfig) -> Option<Tls> {
    config.tls.clone().filter(|_| listener.tls())
}

/// Puts futures on a runtime.
pub trait Spawn: Send + Sync + 'static {
    /// Runs `future` in the background.
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static);
}

/// What [`serve`] serves, and on what.
#[derive(Debug)]
pub struct Hosted<'a, S> {
    /// Bound already.
    pub listeners: Vec<Listener>,
    /// Whom to call.
    pub application: DynApplication,
    /// How.
    pub config: &'a ServerConfig,
    /// Which server does it.
    pub info: ServerInfo,
    /// What applications and the engine get for a runtime.
    pub runtime: Runtime,
    /// Where the tasks of listeners and connections run.
    pub spawn: S,
    /// Ends it.
    pub shutdown: ShutdownTrigger,
}

/// Startup, accepting, draining, shutdown, on the runtime that polls it. `register` makes the runtime's listener, `connect`
/// what makes its connections. `started` is told how the startup went; after an error nothing else happens.
///
/// # Errors
/// Of the shutdown hook.
pub async fn serve<S: Spawn + Clone, L: Accept + Sync, C: Connect<L::Transport> + Clone>(
    hosted: Hosted<'_, S>,
    register: impl FnMut(Listener) -> io::Result<L>,
    connect: impl FnOnce(&Arc<Engine>) -> C,
    started: impl FnOnce(Result<(), ServeError>),
) -> Result<(), ServeError> {
    let Hosted { listeners, application, config, info, runtime, spawn, shutdown } = hosted;
    let addrs = listeners.iter().map(|listener| listener.addr().clone()).collect();
    let serving = Serving::new(info.listening(addrs, runtime.clone()), runtime, shutdown, config);
    let lifecycle = Lifecycle::new(application.clone(), serving.clone(), config);
    let prepared = async {
        let engine = Engine::new(application, serving, config)?;
        let listeners = listeners.into_iter().map(register).collect::<io::Result<Vec<_>>>()?;
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
    let connect = connect(&engine);
    for listener in listeners {
        let (tracker, connections) = (lifecycle.tracker().clone(), spawn.clone());
        let spawning = move |connection| connections.spawn(connection);
        spawn.spawn(accept(listener, engine.clone(), connect.clone(), tracker, spawning));
    }
    started(Ok(()));
    lifecycle.run().await
}

/// Ends the blocking pool, as far as application code lets it. Blocks.
pub fn end_pool(pool: &BlockingPool) {
    if !pool.stop(PATIENCE) {
        warn_of_blocking();
    }
}

/// The end of a server that is a future, also where that is dropped: before its first poll, halfway, or when it is ready.
///
/// Make it before the future, with the application, and keep it in there. Its drop forces the shutdown, drops what was
/// spawned, and has a thread end the blocking pool and let go of the application, since both may block. Does not block.
#[derive(Debug)]
pub struct Embedded {
    trigger: ShutdownTrigger,
    runtime: Option<Runtime>,
    pool: Option<BlockingPool>,
    last: Option<LastReference>,
}

impl Embedded {
    /// For a server of `application` that is stopped by `trigger`.
    pub fn new(application: &DynApplication, trigger: ShutdownTrigger) -> Self {
        Embedded { trigger, runtime: None, pool: None, last: Some(LastReference::of(application)) }
    }

    /// `driver`'s runtime, and the pool that it uses, as they are to be ended.
    pub fn runtime(&mut self, driver: impl Driver, pool: &BlockingPool) -> Runtime {
        self.pool = Some(pool.clone());
        self.runtime.insert(Runtime::new(driver)).clone()
    }
}

impl Embedded {
    /// Ready when the pool has ended, as far as application code lets it, and the application is dropped: for the end of a
    /// future that was not dropped.
    pub async fn end(mut self) {
        self.begin_end().fired().await;
    }

    /// Has a thread do it; the signal says when it is done.
    fn begin_end(&mut self) -> Signal {
        self.trigger.force();
        if let Some(runtime) = self.runtime.take() {
            runtime.tasks().close();
        }
        let (pool, last, done) = (self.pool.take(), self.last.take(), Signal::new());
        let told = done.fire_on_drop();
        let end = move || {
            let _told = told;
            if let Some(pool) = pool {
                end_pool(&pool);
            }
            if let Some(last) = last {
                // What is left of connections is on its way out of somebody else's runtime.
                last.drop_as_last(PATIENCE);
            }
        };
        // Without a thread it is all dropped here, contained.
        let _ = contain::catch("end of a server", || thread::Builder::new().name("adapter-end".into()).spawn(end));
        done
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if self.last.is_some() {
            self.begin_end();
        }
    }
}

/// Waits for the thread of a server.
///
/// # Errors
/// Its own, or that it panicked.
pub fn join(thread: thread::JoinHandle<Result<(), ServeError>>) -> Result<(), ServeError> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the server thread panicked").into()))
}

/// One per core.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
