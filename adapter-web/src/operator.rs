//! What an operator has to do with a server beyond its signals: the service manager, and the program's next version.
//!
//! Called by the main thread, between the start of a server and its end.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use adapter_core::server::Pulse;
use adapter_core::{Bind, ServeError};

use crate::control::Upgrade;
use crate::signals::Stop;
use crate::successor::{self, Listening, Predecessor};
use crate::systemd::Manager;

/// What an operator has to do with a server beyond its signals: the service manager, and the program's next version.
pub(crate) struct Operator {
    manager: Manager,
    upgrade: Arc<OnceLock<Upgrade>>,
    listening: Option<Arc<Listening>>,
    /// Whom this process relieves.
    before: Option<Predecessor>,
}

impl Operator {
    /// Before anything is bound. An `upgrade` is known once the server serves.
    pub(crate) fn new(manager: Manager, upgrade: Arc<OnceLock<Upgrade>>) -> Self {
        Operator { manager, upgrade, listening: None, before: None }
    }

    /// Whether another process has started this one to take over from it. Asked once.
    pub(crate) fn relieves(&mut self) -> io::Result<bool> {
        self.before = Predecessor::of_this_process()?;
        Ok(self.before.is_some())
    }

    /// Binds, or takes over from the process that started this one for it.
    pub(crate) fn bind(&mut self, stop: &Stop, binds: Vec<Bind>, are_activated: bool) -> Result<Vec<Bind>, ServeError> {
        let (binds, listening) = Listening::bind(&binds, are_activated, self.before.as_mut())?;
        self.listening = Some(Arc::new(listening));
        stop.closes(self.listening.clone());
        Ok(binds)
    }

    /// Tells everybody that the server serves.
    pub(crate) fn serving(&mut self, stop: &Stop, pulse: Option<Pulse>, hooks: Option<Duration>) -> io::Result<()> {
        // Where the program has no name, it can't be started anew.
        if let (Some(listening), Ok(program)) = (self.listening.clone(), successor::Program::this()) {
            let (stop, manager) = (stop.clone(), self.manager.clone());
            let patience = hooks.unwrap_or_default().saturating_add(Duration::from_secs(60));
            let upgrade = move || {
                let tell = |process| manager.main_is(process);
                match successor::start(&program, &listening, patience, || stop.is_stopping(), tell) {
                    Ok(process) => {
                        stop.hand_over();
                        format!("process {process} serves; draining")
                    }
                    Err(why) => format!("serving on, for the new program does not: {why}"),
                }
            };
            let _ = self.upgrade.set(Upgrade(Box::new(upgrade)));
        }
        if let Some(before) = self.before.take() {
            before.relieve()?;
        }
        self.manager.ready("serving");
        pulse.map_or(Ok(()), |pulse| self.manager.feed_watchdog(pulse))
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
        // Threads that last as long as the process know it, too.
        if let Some(listening) = &self.listening {
            listening.end();
        }
    }
}
