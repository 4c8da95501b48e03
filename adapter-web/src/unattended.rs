//! In place of signals, service managers and upgrades, where there are none of Unix's.

use std::io;
use std::time::Duration;

use adapter_core::server::Pulse;
use adapter_core::{Bind, ServeError, ServerHandle, ShutdownTrigger};

use crate::cli::Exit;

/// Where there is no such operator.
pub(crate) struct Operator;

impl Operator {
    pub(crate) fn relieves(&mut self, _: &Stop) -> io::Result<bool> {
        Ok(false)
    }

    pub(crate) fn is_worker(&self) -> bool {
        false
    }

    pub(crate) fn told(&self, exit: Exit) -> Exit {
        exit
    }

    pub(crate) fn bind(&mut self, _: &Stop, binds: Vec<Bind>, _: bool) -> Result<Vec<Bind>, ServeError> {
        Ok(binds)
    }

    pub(crate) fn can_be_upgraded(&self, _: &Stop, _: Option<Duration>) {}

    pub(crate) fn serving(&mut self, _: &Stop, _: Option<Pulse>) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn close(&self) {}
}

/// Where there are no signals.
pub(crate) struct Stop;

impl Stop {
    pub(crate) fn of(_trigger: ShutdownTrigger) -> Self {
        Stop
    }

    pub(crate) fn started(&self, _handle: &ServerHandle) {}

    pub(crate) fn is_forced(&self) -> bool {
        false
    }
}
