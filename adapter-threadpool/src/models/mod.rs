//! The whole server under every order of its threads that the checker tries: `.ci/models`.
//!
//! Engine, connections and adapter-http1 are the real ones; sockets and the poller are memory (`engine/poller/modelled.rs`). Each model ends with what
//! holds for all: who has asked is answered, the drain ends, and nothing is left: no thread, no connection, no future.

mod server;
mod tasks;
mod timers;

use std::sync::Arc;
use std::time::Duration;

use adapter_core::environ::Serving;
use adapter_core::sync::atomic::Ordering;
use adapter_core::sync::thread::{self, JoinHandle};
use adapter_core::{Application, DynApplication, Runtime, ServeError, ServerConfig, ServerInfo, ShutdownTrigger};
use adapter_http1::connection as http1;

use crate::connection::Conn;
use crate::engine::client::Accepted;
use crate::engine::poller::Client;
use crate::engine::runtime::PoolDriver;
use crate::engine::{Engine, Settings, supervisor};

/// A server as `ThreadPoolServer` starts it, but for listeners and hooks.
struct World {
    engine: Arc<Engine>,
    shutdown: ShutdownTrigger,
    supervisor: JoinHandle<Result<(), ServeError>>,
}

impl World {
    /// The checker may have much time pass before a thread goes on: nobody is given up for that.
    fn config() -> ServerConfig {
        let mut config = ServerConfig::default();
        let timeouts = &mut config.timeouts;
        timeouts.graceful_shutdown = Duration::from_secs(3600);
        (timeouts.header_read, timeouts.keep_alive, timeouts.body_read, timeouts.write) = (None, None, None, None);
        config
    }

    /// An engine that does nothing yet.
    fn engine(application: DynApplication, threads: usize, shutdown: ShutdownTrigger) -> Arc<Engine> {
        let settings = Settings {
            timeouts: Self::config().timeouts,
            connections: 8,
            blocking_threads: threads,
            blocking_queue: 8,
            waiting: 8,
        };
        Engine::new(application, settings, threads, shutdown).expect("nothing fails")
    }

    /// With `threads` permits.
    fn start(application: impl Application, threads: usize) -> Self {
        Self::start_with(application, threads, &Self::config())
    }

    /// As `config` has its connections.
    fn start_with(application: impl Application, threads: usize, config: &ServerConfig) -> Self {
        let application = DynApplication::new(application);
        let shutdown = ShutdownTrigger::new();
        let engine = Self::engine(application.clone(), threads, shutdown.clone());
        let runtime = Runtime::new(PoolDriver::new(&engine));
        let info = ServerInfo::new("model", "0").listening(Vec::new(), runtime.clone());
        let serving = Serving::new(info, runtime, shutdown.clone(), config);
        let http1 = Arc::new(http1::Settings::new(application, serving.clone(), config, engine.roster.clone()));
        let connect = move |engine: &_, accepted: Accepted| Conn::open(engine, &http1, None, accepted);
        engine.set_serving(serving, Box::new(connect));
        engine.start_workers();
        let supervised = engine.clone();
        let supervisor = thread::Builder::new().spawn(move || supervisor::run(&supervised)).expect("nothing fails");
        engine.settled.store(true, Ordering::SeqCst);
        supervisor.thread().unpark();
        World { engine, shutdown, supervisor }
    }

    fn runtime(&self) -> &Runtime {
        &self.engine.serving().runtime
    }

    /// A client, whose connection is accepted.
    fn client(&self) -> Client {
        let client = Client::default();
        let mut stream = client.accepted();
        let connect = self.engine.connect();
        self.engine.connections.insert(|token| {
            self.engine.poller.add(&mut stream, token).expect("nothing fails");
            let local = adapter_core::ListenAddr::Tcp(([127, 0, 0, 1], 80).into());
            let stream = Arc::new(stream);
            connect(&self.engine, Accepted { token, stream, peer: None, local, tls: false, proxy: false })
        });
        client
    }

    /// The server ends by itself, and nothing is left of it.
    fn drain(self) {
        self.shutdown.drain();
        self.end();
    }

    fn end(self) {
        let World { engine, supervisor, .. } = self;
        supervisor.join().expect("the supervisor does not panic").expect("the server ends as it should");
        assert_eq!(engine.connections.count(), 0, "connections are left");
        assert_eq!(engine.scheduler.threads(), 0, "threads are left");
        let serving = engine.serving();
        assert_eq!((serving.runtime.tasks().unfinished(), serving.runtime.tasks().alive()), (0, 0), "futures are left");
    }
}
