//! SIGINT and SIGTERM stop the server: the first one drains, the second forces, the third kills. \[SHU-07\]
//!
//! One thread (`adapter-signals`) waits for signals, and raises the server's [`ShutdownTrigger`], which wakes the
//! server's own threads. Signals that arrive while the server still starts are kept: one makes it drain as soon as it
//! has started, a second one ends the process at once. The thread ends when [`Signals`] is dropped; the process keeps
//! signal-hook's handlers, which then ignore both signals.

use std::io;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use adapter_core::ShutdownTrigger;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals as Incoming};
use signal_hook::low_level;

/// The watching thread.
pub(crate) struct Signals {
    state: Arc<Mutex<State>>,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    received: u32,
    trigger: Option<ShutdownTrigger>,
}

/// What a signal leads to.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Drain,
    Force,
    Kill,
}

impl State {
    fn receive(&mut self) -> Step {
        self.received += 1;
        match (self.received, &self.trigger) {
            (1, _) => Step::Drain,
            (2, Some(_)) => Step::Force,
            // Still starting: there is nothing to force yet.
            (2, None) | (3.., _) | (0, _) => Step::Kill,
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Signals {
    /// Starts to watch.
    pub(crate) fn watch() -> io::Result<Self> {
        let mut incoming = Incoming::new([SIGINT, SIGTERM])?;
        let handle = incoming.handle();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let thread = thread::Builder::new().name("adapter-signals".into()).spawn(move || {
            for signal in incoming.forever() {
                act(signal, &shared);
            }
        })?;
        Ok(Signals { state, handle, thread: Some(thread) })
    }

    /// The server has started: signals go to `trigger` from now on, one that came before included.
    pub(crate) fn attach(&self, trigger: ShutdownTrigger) {
        let mut state = lock(&self.state);
        if state.received > 0 {
            trigger.trigger();
        }
        state.trigger = Some(trigger);
    }
}

fn act(signal: i32, state: &Mutex<State>) {
    let mut state = lock(state);
    let step = state.receive();
    let name = low_level::signal_name(signal).unwrap_or("signal");
    let says = match step {
        Step::Drain => "draining, once more to force",
        Step::Force => "stopping at once, once more to kill",
        Step::Kill => "killed",
    };
    // Nobody reads stderr: still no reason not to stop.
    let _ = writeln!(io::stderr(), "adapter: {name}: {says}");
    match (step, &state.trigger) {
        (Step::Drain, Some(trigger)) => trigger.trigger(),
        (Step::Force, Some(trigger)) => trigger.force(),
        (Step::Drain | Step::Force, None) => {}
        (Step::Kill, _) => {
            // Ends the process as if nobody had watched, so that the parent sees the signal.
            let _ = low_level::emulate_default_handler(signal);
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It does not panic, and if it did there would be nothing to do about it here.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use adapter_core::server::ShutdownLevel;

    use super::*;

    #[test]
    fn first_drains_second_forces_third_kills() {
        let mut state = State { trigger: Some(ShutdownTrigger::new()), ..State::default() };
        assert_eq!([state.receive(), state.receive(), state.receive()], [Step::Drain, Step::Force, Step::Kill]);
        let mut starting = State::default();
        assert_eq!([starting.receive(), starting.receive()], [Step::Drain, Step::Kill]);
    }

    #[test]
    fn a_signal_before_the_server_started_is_kept() {
        let signals = Signals::watch().expect("signals can be watched");
        lock(&signals.state).receive();
        let trigger = ShutdownTrigger::new();
        signals.attach(trigger.clone());
        assert_eq!(trigger.level(), ShutdownLevel::Draining);
    }
}
