//! Servers a case starts and stops itself, with the records at hand without going over the wire.
//!
//! Only for servers in this process. Whatever is still running when the case ends is forced to stop.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use adapter_core::{Application, DynApplication, ServeError, Server, ServerConfig, ServerHandle, ShutdownTrigger};

use crate::application::{Conformance, Hooks, LIFESPAN, Records};
use crate::case::{Failure, ensure};
use crate::context::{Context, Seen};
use crate::front::{self, Front};
use crate::secure;
use crate::setting::DEFAULT;
use crate::wire::{Endpoint, Transcript, patience};

/// What an owned case works with.
pub struct Lifecycle<'s> {
    server: &'s dyn Server,
    transcript: Transcript,
    triggers: Vec<ShutdownTrigger>,
    records: Vec<Records>,
}

/// A server the case started.
pub struct Running {
    /// For talking to it.
    pub context: Context,
    /// What its application saw.
    pub records: Records,
    /// The addresses it is bound to.
    pub addresses: Vec<SocketAddr>,
    /// Stops it.
    pub trigger: ShutdownTrigger,
    handle: ServerHandle,
    /// Who stands in front of a gateway.
    front: Option<Front>,
}

/// The default configuration of the suite.
pub fn config() -> ServerConfig {
    DEFAULT.config()
}

impl<'s> Lifecycle<'s> {
    /// For one case of `server`.
    pub fn new(server: &'s dyn Server, transcript: Transcript) -> Self {
        Lifecycle { server, transcript, triggers: Vec::new(), records: Vec::new() }
    }

    /// The server.
    pub fn server(&self) -> &'s dyn Server {
        self.server
    }

    /// Starts the conformance application with a configuration of the case's own.
    ///
    /// # Errors
    /// The server does not start.
    pub fn start(&mut self, config: ServerConfig) -> Result<Running, Failure> {
        self.start_with(Records::default(), Hooks::default(), config)
            .map_err(|error| format!("the server did not start: {error}").into())
    }

    /// [`start`](Self::start) with hooks, and the server's own error.
    ///
    /// # Errors
    /// What the server says.
    pub fn start_with(&mut self, records: Records, hooks: Hooks, config: ServerConfig) -> Result<Running, ServeError> {
        let application = Conformance::with_hooks(records.clone(), hooks).mount();
        self.start_application(application, records, config)
    }

    /// Starts any application.
    ///
    /// # Errors
    /// What the server says.
    pub fn start_application(
        &mut self,
        application: DynApplication,
        records: Records,
        config: ServerConfig,
    ) -> Result<Running, ServeError> {
        let tls = config.tls.as_ref().and_then(|_| secure::client());
        let handle = self.server.start(application, config)?;
        let trigger = handle.trigger();
        self.triggers.push(trigger.clone());
        self.records.push(records.clone());
        let addresses: Vec<SocketAddr> =
            handle.local_addrs().iter().filter_map(adapter_core::ListenAddr::tcp).collect();
        let front = front::before(&self.server.info(), handle.local_addrs()).map_err(std::io::Error::other)?;
        let own = addresses.first().copied().unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        let first = front.as_ref().map_or(own, |front| front.address);
        let context = Context::new(Endpoint { tls, ..first.into() }, self.transcript.clone());
        Ok(Running { context, records, addresses, trigger, handle, front })
    }

    /// Checks that lint saw none of the servers do anything wrong. \[TST-02\]
    ///
    /// # Errors
    /// What they did wrong.
    pub(crate) fn no_violations(&self) -> Result<(), Failure> {
        let found: Vec<String> = self.records.iter().flat_map(Records::all_violations).collect();
        ensure!(found.is_empty(), "lint saw the server break a rule: {}", found.join("\n"));
        Ok(())
    }

    /// An application of the suite without records of its own.
    pub fn erased(application: impl Application) -> DynApplication {
        DynApplication::new(application)
    }
}

impl Drop for Lifecycle<'_> {
    fn drop(&mut self) {
        self.triggers.iter().for_each(ShutdownTrigger::force);
    }
}

impl Running {
    /// Triggers the graceful shutdown.
    pub fn trigger(&self) {
        self.trigger.trigger();
    }

    /// What happened to the hooks.
    pub fn lifespan(&self) -> Seen {
        Seen::new(self.records.events(LIFESPAN))
    }

    /// What the application saw under the case's token, without asking the server.
    pub fn seen(&self) -> Seen {
        Seen::new(self.records.events(self.context.token()))
    }

    /// Waits until `event` is recorded under the case's token, without asking the server.
    ///
    /// # Errors
    /// It does not come.
    pub fn wait_for(&self, event: &str) -> Result<Seen, Failure> {
        wait_for(&self.records, self.context.token(), event)
    }

    /// Opens a gate without asking the server.
    pub fn open(&self, gate: &str) {
        self.records.open(self.context.token(), gate);
    }

    /// Waits for the server to end, at most for the client's patience.
    ///
    /// # Errors
    /// It does not end.
    pub fn wait(self) -> Result<Result<(), ServeError>, Failure> {
        let Running { handle, front, .. } = self;
        let ended = in_time("the server to end", move || handle.wait());
        drop(front);
        ended
    }

    /// Stops the server gracefully and waits for its end.
    ///
    /// # Errors
    /// It does not end, or not well.
    pub fn stop(self) -> Result<(), Failure> {
        self.trigger();
        self.wait()?.map_err(|error| format!("the server ended with an error: {error}").into())
    }
}

/// Waits until `event` is recorded under `token`.
///
/// # Errors
/// It does not come.
pub fn wait_for(records: &Records, token: &str, event: &str) -> Result<Seen, Failure> {
    wait_for_times(records, token, event, 1)
}

/// Waits until `event` is recorded `count` times under `token`.
///
/// # Errors
/// It does not come as often.
pub fn wait_for_times(records: &Records, token: &str, event: &str, count: usize) -> Result<Seen, Failure> {
    let (watched, key, prefix) = (records.clone(), token.to_owned(), event.to_owned());
    let waited = in_time(event, move || futures_lite::future::block_on(watched.wait(&key, &prefix, count)));
    let seen = Seen::new(records.events(token));
    waited.map(|()| seen.clone()).map_err(|failure| Failure(format!("{failure}; recorded was {}", seen.summary())))
}

/// Runs `work` on a thread of its own and gives up waiting for it after the client's patience.
///
/// # Errors
/// It takes longer.
pub fn in_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    within(patience(), what, work)
}

/// Runs `work` on a thread of its own and gives up waiting for it after `limit`.
///
/// # Errors
/// It takes longer.
pub fn within<T: Send + 'static>(
    limit: Duration,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(limit).map_err(|error| match error {
        mpsc::RecvTimeoutError::Timeout => format!("waited longer than {limit:?} for {what}").into(),
        mpsc::RecvTimeoutError::Disconnected => format!("a panic while waiting for {what}").into(),
    })
}

/// How many connections of the server that listens at `address` its process still holds; 0 where `/proc` does not tell.
pub fn server_sockets(address: SocketAddr) -> usize {
    const LISTEN: &str = "0A";
    let Ok(table) = std::fs::read_to_string("/proc/net/tcp") else { return 0 };
    let port = format!(":{:04X}", address.port());
    let held = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // A socket without an inode belongs to the kernel alone: it waits for the last acknowledgements.
        matches!(words[..], [_, local, _, state, _, _, _, _, _, inode, ..]
            if local.ends_with(&port) && state != LISTEN && inode != "0")
    };
    table.lines().filter(held).count()
}
