//! What an operator has to do with a server beyond its signals: the service manager, the program's next version, the
//! parent of a worker, and who scrapes its metrics.
//!
//! Called by the main thread, between the start of a server and its end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use adapter_core::server::Pulse;
use adapter_core::{Bind, ServeError};
use adapter_listen::blocking::bind_tcp;

use crate::cli::Exit;
use crate::control::Upgrade;
use crate::metrics::{Endpoint, Site};
use crate::renewal;
use crate::signals::Stop;
use crate::successor::{self, Listening, Predecessor};
use crate::systemd::Manager;
use crate::workers::attend;

/// What an operator has to do with a server beyond its signals.
pub(crate) struct Operator {
    manager: Manager,
    upgrade: Arc<OnceLock<Upgrade>>,
    /// Held while a successor is being started.
    upgrading: Arc<Mutex<()>>,
    /// How often a worker says that it lives.
    beat: Option<Duration>,
    listening: Option<Arc<Listening>>,
    /// Whom this process is to relieve, or to work for, until it does.
    before: Option<Predecessor>,
    metrics: Option<Endpoint>,
    /// Its listeners, for a successor.
    metrics_at: Vec<OwnedFd>,
}

impl Operator {
    /// Before anything is bound. An `upgrade` is known once the server serves; a worker has a `beat`.
    pub(crate) fn new(manager: Manager, upgrade: Arc<OnceLock<Upgrade>>, beat: Option<Duration>) -> Self {
        Operator {
            manager,
            upgrade,
            upgrading: Arc::default(),
            beat,
            listening: None,
            before: None,
            metrics: None,
            metrics_at: Vec::new(),
        }
    }

    /// Whether this process serves for another one, which says where.
    pub(crate) fn is_worker(&self) -> bool {
        self.beat.is_some()
    }

    /// Whether another process has started this one to take over from it, or to work for it. Asked once.
    pub(crate) fn relieves(&mut self, stop: &Stop) -> io::Result<bool> {
        self.before = Predecessor::of_this_process()?;
        if let Some(parent) = self.before.as_ref().filter(|_| self.is_worker()) {
            let stop = stop.clone();
            attend::watch(parent.stream()?, move || stop.abandon())?;
        }
        Ok(self.before.is_some())
    }

    /// Has `site` told at `bind`, from now on, or from when the process before is relieved where it is told there yet. Gives the addresses.
    ///
    /// # Errors
    /// It can't be bound; or no thread can be had.
    pub(crate) fn open_metrics(&mut self, bind: &Bind, site: Site) -> Result<Vec<SocketAddr>, ServeError> {
        let handed = self.before.as_mut().map(|before| before.metrics(bind)).unwrap_or_default();
        let waits = !handed.is_empty();
        let listeners = if waits { handed } else { bind_tcp(std::slice::from_ref(bind))? };
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        let copies = listeners.iter().map(TcpListener::try_clone).collect::<io::Result<Vec<_>>>()?;
        self.metrics_at = copies.into_iter().map(OwnedFd::from).collect();
        let mut endpoint = Endpoint::new(listeners, site)?;
        if !waits {
            endpoint.start()?;
        }
        self.metrics = Some(endpoint);
        Ok(addresses)
    }

    /// Binds, or takes over from the process that started this one for it.
    pub(crate) fn bind(&mut self, stop: &Stop, binds: Vec<Bind>, are_activated: bool) -> Result<Vec<Bind>, ServeError> {
        let (binds, listening) = Listening::bind(&binds, are_activated, self.before.as_mut())?;
        let listening = listening.with_metrics(std::mem::take(&mut self.metrics_at));
        self.listening = Some(Arc::new(listening));
        stop.closes(self.listening.clone());
        Ok(binds)
    }

    /// The server serves: SIGUSR2 upgrades it from now on. Not a worker, whose parent is upgraded.
    pub(crate) fn can_be_upgraded(&self, stop: &Stop, hooks: Option<Duration>) {
        if self.is_worker() {
            return;
        }
        // Where the program has no name, it can't be started anew.
        if let (Some(listening), Ok(program)) = (self.listening.clone(), successor::Program::this()) {
            let (stop, manager) = (stop.clone(), self.manager.clone());
            let metrics = self.metrics.as_ref().map(Endpoint::release);
            let patience = start_patience(hooks.unwrap_or_default());
            let upgrading = self.upgrading.clone();
            let upgrade = move |say: &dyn Fn(&str)| {
                // Until it is said, too: the end of the process waits for this.
                let _upgrading = upgrading.lock();
                let tell = |process| manager.main_is(process);
                let said = match renewal::start(&program, &listening, patience, || stop.is_stopping(), tell) {
                    Ok(process) => {
                        // Before the drain, which is nobody's business any more.
                        if let Some(metrics) = &metrics {
                            metrics.release();
                        }
                        stop.hand_over();
                        format!("process {process} serves; draining")
                    }
                    Err(why) if stop.is_stopping() => format!("the new program does not serve: {why}"),
                    Err(why) => format!("serving on, for the new program does not: {why}"),
                };
                say(&said);
            };
            let _ = self.upgrade.set(Upgrade(Box::new(upgrade)));
        }
    }

    /// Tells everybody that the server serves.
    ///
    /// # Errors
    /// Nobody wants it to serve any more; or no thread can be had.
    pub(crate) fn serving(&mut self, stop: &Stop, pulse: Option<Pulse>) -> io::Result<()> {
        if let Some(beat) = self.beat {
            // Its parent is watched.
            return self.work(beat, stop, pulse.unwrap_or_default());
        }
        self.relieve()?;
        if let Some(metrics) = &mut self.metrics {
            metrics.start()?;
        }
        self.manager.ready("serving");
        pulse.map_or(Ok(()), |pulse| self.manager.feed_watchdog(pulse))
    }

    fn relieve(&mut self) -> io::Result<Option<Predecessor>> {
        if let Some(before) = &mut self.before {
            before.relieve()?;
        }
        Ok(self.before.take())
    }

    /// Tells the parent, and from now on that this worker lives.
    fn work(&mut self, beat: Duration, stop: &Stop, pulse: Pulse) -> io::Result<()> {
        let Some(parent) = self.relieve()? else { return Ok(()) };
        let (stops, retires) = (stop.clone(), stop.clone());
        attend::beat(parent.stream()?, beat, pulse, move || stops.is_stopping(), move || retires.hand_over())
    }

    /// `exit`, which is the parent's to say where this is a worker that does not serve.
    pub(crate) fn told(&self, exit: Exit) -> Exit {
        match &self.before {
            Some(parent) if self.beat.is_some() && exit.signal().is_none() && parent.tell(exit.text()).is_ok() => {
                exit.told()
            }
            _ => exit,
        }
    }

    /// Lets go of the sockets: the server is draining.
    pub(crate) fn close(&self) {
        if let Some(listening) = &self.listening {
            listening.close();
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // One that does not serve yet is ended first: it has the listeners, and nobody else would.
        let _upgraded = self.upgrading.lock();
        // Threads that last as long as the process know it, too.
        if let Some(listening) = &self.listening {
            // Paths are the other one's still where it was not relieved.
            if self.before.is_some() { listening.leave() } else { listening.end() }
        }
    }
}

/// How long a process may take to serve, with hooks that may take `hooks`.
pub(crate) fn start_patience(hooks: Duration) -> Duration {
    hooks.saturating_add(Duration::from_secs(60))
}
