//! The public server: configuration in, handle out.
//!
//! `start` runs on the caller's thread: it binds, starts the pool, runs the startup hook on it and only then accepts.
//! \[LIF-01\] to \[LIF-05\], \[SHU-09\], \[SHU-11\], \[REG-03\]

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use adapter_core::environ::Serving;
use adapter_core::server::LastReference;
use adapter_core::signal::Signal;
use adapter_core::sync::atomic::Ordering;
use adapter_core::sync::thread;
use adapter_core::{
    Capabilities, Concurrency, DynApplication, Runtime, ServeError, Server, ServerConfig, ServerHandle, ServerInfo,
};
use adapter_http1::connection as http1;

use crate::connection::Conn;
use crate::engine::client::Accepted;
use crate::engine::runtime::PoolDriver;
use crate::engine::{Engine, Settings, accept, hooks, supervisor};

/// Threads inside the application at most, if the configuration does not say.
const THREADS: usize = 256;
/// The option that says what happens to requests when every thread is in the application.
const AT_CAPACITY: &str = "at-capacity";

/// The thread-pool server. See the [crate documentation](crate).
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadPoolServer(());

impl ThreadPoolServer {
    /// The server.
    pub fn new() -> Self {
        ThreadPoolServer(())
    }
}

impl Server for ThreadPoolServer {
    fn info(&self) -> ServerInfo {
        let mut can = Capabilities::none();
        can.trailers = true;
        can.early_hints = true;
        can.full_duplex = true;
        can.unix_socket = cfg!(unix);
        can.upgrade = true;
        can.websocket = true;
        can.tls = true;
        can.proxy_protocol = true;
        ServerInfo::new("threadpool", env!("CARGO_PKG_VERSION"))
            .with_capabilities(can)
            .with_concurrency(Concurrency::threads_and_tasks())
    }

    fn check(&self, config: &ServerConfig) -> Result<(), ServeError> {
        config.validate()?;
        config.refuse_unknown_options("threadpool", &[AT_CAPACITY])?;
        waiting(config).map(drop)
    }

    fn start(&self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        let _last = LastReference::of(&application);
        self.begin(application, config)
    }
}

impl ThreadPoolServer {
    /// [`Server::start`], which lets go of the application after it.
    fn begin(self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        self.check(&config)?;
        let waiting = waiting(&config)?;
        let listeners = adapter_listen::bind_all(&config.binds_or_default(), false)?;
        let addrs: Vec<_> = listeners.iter().map(|listener| listener.addr().clone()).collect();

        let shutdown = config.trigger.clone().unwrap_or_default();
        let settings = Settings {
            timeouts: config.timeouts.clone(),
            connections: config.limits.connections,
            blocking_threads: config.blocking_threads,
            blocking_queue: config.blocking_queue,
            waiting,
        };
        let threads = config.threads.unwrap_or(THREADS);
        let last = LastReference::of(&application);
        let engine = Engine::new(application.clone(), settings, threads, shutdown.clone())?;
        let runtime = Runtime::new(PoolDriver::new(&engine));
        let info = self.info().listening(addrs.clone(), runtime.clone());
        let serving = Serving::new(info.clone(), runtime, shutdown.clone(), &config);
        let http1 = Arc::new(http1::Settings::new(application, serving.clone(), &config, engine.roster.clone()));
        let tls = config.tls.clone();
        let connect = move |engine: &_, accepted: Accepted| {
            let tls = tls.as_ref().filter(|_| accepted.tls);
            Conn::open(engine, &http1, tls, accepted)
        };
        engine.set_serving(serving, Box::new(connect));

        let (sender, outcome) = sync_channel(1);
        let ended = Signal::new();
        let end = ended.fire_on_drop();
        let supervised = engine.clone();
        engine.start_workers();
        let supervisor = thread::Builder::new().name("adapter-supervisor".into()).spawn(move || {
            let result = supervisor::run(&supervised);
            drop(supervised);
            drop(last);
            // Nobody may be waiting.
            let _ = sender.send(result);
            drop(end);
        })?;

        let started = startup(&engine, info).and_then(|()| accept::listen(&engine, listeners).map_err(Into::into));
        if started.is_err() {
            // [LIF-02] nothing was accepted
            shutdown.force();
        }
        engine.settled.store(true, Ordering::SeqCst);
        supervisor.thread().unpark();
        if let Err(error) = started {
            drop(engine);
            let _ = outcome.recv();
            let _ = supervisor.join();
            return Err(error);
        }
        drop(engine);
        Ok(ServerHandle::new(addrs, shutdown, move || {
            let result = outcome.recv().unwrap_or_else(|_| Err(std::io::Error::other("the supervisor failed").into()));
            let _ = supervisor.join();
            result
        })
        .with_end(ended)
        .with_tls(config.tls))
    }
}

/// How many requests may wait for a thread.
fn waiting(config: &ServerConfig) -> Result<usize, ServeError> {
    match config.options.get(AT_CAPACITY).map(String::as_str) {
        None | Some("wait") => Ok(config.blocking_queue),
        Some("refuse") => Ok(0),
        Some(other) => Err(ServeError::config(AT_CAPACITY, format!("{other:?} is neither \"wait\" nor \"refuse\""))),
    }
}

/// \[LIF-01\], \[LIF-02\], \[LIF-07\], \[LIF-10\]
fn startup(engine: &Arc<Engine>, info: ServerInfo) -> Result<(), ServeError> {
    let outcome = hooks::startup(engine, info);
    let limit = engine.settings.timeouts.hooks.unwrap_or(Duration::MAX);
    match outcome.recv_timeout(limit) {
        Ok(Ok(())) => {
            engine.started.store(true, Ordering::SeqCst);
            Ok(())
        }
        // Nobody but the configuration's trigger can have ended it.
        Ok(Err(error)) if error.downcast_ref::<hooks::Interrupted>().is_some() => Err(ServeError::Interrupted),
        Ok(Err(error)) => Err(ServeError::Startup(error)),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Err(ServeError::HookTimeout { hook: "startup" })
        }
    }
}
