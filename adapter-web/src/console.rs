//! In place of signals, service managers and upgrades, where there are none of Unix's: on Windows what the console says.
//!
//! Ctrl-C and Ctrl-Break stop the server as signals do elsewhere, step by step. A console that is closed, a user who logs off, and a
//! system that shuts down drain it at once: Windows gives a few seconds, and ends the process then. \[SHU-07\]
//!
//! One thread (`adapter-console`) waits for that, as long as the process lives.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use adapter_core::server::Pulse;
use adapter_core::{Bind, ServeError, ServerHandle, ShutdownTrigger};

use crate::cli::Exit;
use crate::stderr;
use crate::steps::{Phase, Step, Steps};

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

/// What the console says, by the numbers that Windows has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    CtrlC = 0,
    CtrlBreak = 1,
    /// Closed, logged off or shut down: the process has not long to live.
    End = 2,
}

/// How the server is stopped; cheap to clone.
#[derive(Clone)]
pub(crate) struct Stop(Arc<Mutex<State>>);

struct State {
    trigger: ShutdownTrigger,
    steps: Steps,
}

impl Stop {
    /// For a server that starts with `trigger`, and goes on for `delay` when it is told to drain. Starts to watch the console.
    ///
    /// # Errors
    /// The operating system's: no thread, no console's events.
    pub(crate) fn watch(trigger: ShutdownTrigger, delay: Duration) -> io::Result<Self> {
        let stop = Stop::new(trigger, delay);
        #[cfg(windows)]
        events::watch(stop.clone())?;
        Ok(stop)
    }

    fn new(trigger: ShutdownTrigger, delay: Duration) -> Self {
        Stop(Arc::new(Mutex::new(State { trigger, steps: Steps::new(delay) })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server serves. One that was told to stop meanwhile drains.
    pub(crate) fn started(&self, handle: &ServerHandle) {
        let mut state = self.lock();
        // A server that does not know of the configuration's has one of its own.
        state.trigger = handle.trigger();
        if state.steps.started() {
            state.trigger.drain();
        }
    }

    /// Whether the end is to come at once.
    pub(crate) fn is_forced(&self) -> bool {
        self.lock().steps.phase == Phase::Forced
    }

    #[cfg_attr(not(windows), allow(dead_code, reason = "only Windows has consoles that say something"))]
    fn act(&self, event: Event) {
        let mut state = self.lock();
        if event == Event::End && state.steps.phase < Phase::Draining {
            state.steps.delay = Duration::ZERO;
        } else if event == Event::End {
            return;
        }
        let Some(step) = state.steps.receive(event as i32, false, Instant::now()) else { return };
        let name = match event {
            Event::CtrlC => "Ctrl-C",
            Event::CtrlBreak => "Ctrl-Break",
            Event::End => "the console is closed",
        };
        stderr::say(format!("adapter: {name}: {}\n", step.says(state.steps.delay)));
        match step {
            Step::Interrupt | Step::Drain => state.trigger.drain(),
            Step::Delay => {
                let (stop, delay) = (self.clone(), state.steps.delay);
                let waiting = move || {
                    thread::sleep(delay);
                    stop.end_delay();
                };
                // It ends with the process.
                if thread::Builder::new().name("adapter-drain-delay".into()).spawn(waiting).is_err() {
                    drop(state);
                    self.end_delay();
                }
            }
            Step::Wait => {}
            Step::Force => state.trigger.force(),
            Step::Kill => {
                stderr::flush(|| false);
                // As Windows ends what takes no notice of Ctrl-C (STATUS_CONTROL_C_EXIT).
                std::process::exit(0xc000_013a_u32.cast_signed());
            }
        }
    }

    fn end_delay(&self) {
        let mut state = self.lock();
        if state.steps.phase == Phase::Delaying {
            state.steps.phase = Phase::Draining;
            state.trigger.drain();
        }
    }
}

#[cfg(windows)]
mod events {
    use std::io;
    use std::thread;

    use futures_lite::future::{block_on, or};
    use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_logoff, ctrl_shutdown};

    use super::{Event, Stop};

    /// Tells `stop` what the console says. None of it needs a runtime of tokio's.
    pub(super) fn watch(stop: Stop) -> io::Result<()> {
        let (mut c, mut pause) = (ctrl_c()?, ctrl_break()?);
        let (mut close, mut logoff, mut shutdown) = (ctrl_close()?, ctrl_logoff()?, ctrl_shutdown()?);
        thread::Builder::new().name("adapter-console".into()).spawn(move || {
            loop {
                let event = block_on(or(
                    or(async { c.recv().await.map(|()| Event::CtrlC) }, async {
                        pause.recv().await.map(|()| Event::CtrlBreak)
                    }),
                    or(
                        async { close.recv().await.map(|()| Event::End) },
                        or(async { logoff.recv().await.map(|()| Event::End) }, async {
                            shutdown.recv().await.map(|()| Event::End)
                        }),
                    ),
                ));
                match event {
                    Some(event) => stop.act(event),
                    None => return,
                }
            }
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use adapter_core::server::ShutdownLevel;

    use super::*;

    fn serving(delay: u64) -> (Stop, ShutdownTrigger) {
        let trigger = ShutdownTrigger::new();
        let stop = Stop::new(trigger.clone(), Duration::from_secs(delay));
        assert!(!stop.lock().steps.started());
        (stop, trigger)
    }

    #[test]
    fn first_drains_second_forces() {
        let (stop, trigger) = serving(0);
        stop.act(Event::CtrlC);
        assert_eq!(trigger.level(), ShutdownLevel::Draining);
        // The same one, passed on.
        stop.act(Event::CtrlC);
        assert!(!stop.is_forced());
        stop.act(Event::CtrlBreak);
        assert_eq!((trigger.level(), stop.is_forced()), (ShutdownLevel::Forced, true));
    }

    #[test]
    fn a_console_that_closes_drains_without_delay_and_forces_nothing() {
        let (stop, trigger) = serving(3600);
        stop.act(Event::CtrlC);
        assert_eq!(trigger.level(), ShutdownLevel::Running);
        stop.act(Event::End);
        assert_eq!(trigger.level(), ShutdownLevel::Draining);
        stop.act(Event::End);
        assert_eq!((trigger.level(), stop.is_forced()), (ShutdownLevel::Draining, false));
    }

    #[test]
    fn one_before_the_server_started_is_kept() {
        let trigger = ShutdownTrigger::new();
        let stop = Stop::new(ShutdownTrigger::new(), Duration::ZERO);
        stop.act(Event::CtrlC);
        stop.started(&ServerHandle::new(Vec::new(), trigger.clone(), || Ok(())));
        assert_eq!(trigger.level(), ShutdownLevel::Draining);
    }
}
