//! What signals do. SIGINT and SIGTERM stop the server: the first one drains, the second forces, the third kills. \[SHU-07\]
//! SIGQUIT forces at once. SIGHUP, SIGUSR1 and SIGUSR2 stop nothing, see [`control`](crate::control).
//!
//! With a delay before the
//! draining the first one begins the delay, and the second ends it. A draining that began without one, behind an upgrade or as the
//! parent of a worker wanted it, is nobody's first signal.
//!
//! One thread (`adapter-signals`) waits for signals, and raises the server's [`ShutdownTrigger`], which wakes the
//! server's own threads. Of a server that still starts the first signal ends the startup (\[LIF-10\]); the second one, for
//! hooks that block, ends the process. The thread ends when [`Signals`] is dropped; the process keeps signal-hook's
//! handlers, which then ignore these signals.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use adapter_core::{ServerHandle, ShutdownTrigger};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::{Handle, Signals as Incoming};
use signal_hook::low_level;

use crate::control::{Ask, Control, name};
use crate::metrics::Readiness;
use crate::stderr;
use crate::steps::{Phase, Step, Steps};
use crate::successor::Listening;
use crate::systemd::Manager;

/// The watching thread.
pub(crate) struct Signals {
    stop: Stop,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// How the server is stopped; cheap to clone.
#[derive(Clone)]
pub(crate) struct Stop(Arc<Mutex<State>>);

struct State {
    trigger: ShutdownTrigger,
    steps: Steps,
    /// Who is told of the end.
    manager: Manager,
    /// What is closed when the draining begins.
    listening: Option<Arc<Listening>>,
    /// Whether somebody else says what signals do.
    is_hushed: bool,
}

impl State {
    fn receive(&mut self, signal: i32, now: Instant) -> Option<Step> {
        self.steps.receive(signal, signal == SIGQUIT, now)
    }

    fn drain(&self) {
        self.close();
        self.trigger.drain();
    }

    /// Before the server closes its own, behind the last one it accepts: then that one is the last in the queue, too.
    fn close(&self) {
        if let Some(listening) = &self.listening {
            listening.close();
        }
    }
}

impl Stop {
    /// For a server that starts with `trigger`, and goes on for `delay` when it is told to drain.
    pub(crate) fn new(trigger: ShutdownTrigger, delay: Duration, manager: Manager) -> Self {
        let state = State { trigger, steps: Steps::new(delay), manager, listening: None, is_hushed: false };
        Stop(Arc::new(Mutex::new(state)))
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
            state.drain();
        }
    }

    /// Closes `listening` when the draining begins.
    pub(crate) fn closes(&self, listening: Option<Arc<Listening>>) {
        self.lock().listening = listening;
    }

    /// Says nothing of signals from now on: the parent of a worker does.
    pub(crate) fn hush(&self) {
        self.lock().is_hushed = true;
    }

    /// Nobody wants this process any more: as SIGTERM, unless it is told to end already.
    pub(crate) fn abandon(&self) {
        let is_wanted = {
            let state = self.lock();
            state.steps.phase <= Phase::Serving && state.steps.interrupted.is_none()
        };
        if is_wanted {
            stderr::say("adapter: the parent of this worker has ended, so it ends\n".into());
            self.act(SIGTERM);
        }
    }

    /// The signal that came before the server had started.
    pub(crate) fn interrupted(&self) -> Option<i32> {
        self.lock().steps.interrupted
    }

    /// Whether the end is to come at once.
    pub(crate) fn is_forced(&self) -> bool {
        self.lock().steps.phase == Phase::Forced
    }

    /// Whether the server is told to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().steps.phase != Phase::Serving
    }

    /// Whether requests are to be sent here.
    pub(crate) fn readiness(&self) -> Readiness {
        let state = self.lock();
        match state.steps.phase {
            Phase::Starting if state.steps.interrupted.is_none() => Readiness::Starting,
            // The service goes on, where another process serves.
            _ if state.trigger.is_handed_over() => Readiness::Serving,
            // The program may have had it drain.
            Phase::Serving if !state.trigger.draining().is_fired() => Readiness::Serving,
            _ => Readiness::Draining,
        }
    }

    /// Drains: another process serves, and has to do with the service manager from now on.
    pub(crate) fn hand_over(&self) {
        let mut state = self.lock();
        state.manager = Manager::default();
        if state.steps.phase == Phase::Serving {
            state.steps.phase = Phase::Draining;
            state.close();
            state.trigger.hand_over();
        }
    }

    fn act(&self, signal: i32) {
        let mut state = self.lock();
        let Some(step) = state.receive(signal, Instant::now()) else { return };
        let name = name(signal);
        let says = step.says(state.steps.delay);
        if !state.is_hushed {
            stderr::say(format!("adapter: {name}: {says}\n"));
        }
        state.manager.stopping();
        match step {
            Step::Interrupt | Step::Drain => state.drain(),
            Step::Delay => {
                let (stop, delay) = (self.clone(), state.steps.delay);
                let waiting = move || {
                    thread::sleep(delay);
                    let mut state = stop.lock();
                    if state.steps.phase == Phase::Delaying {
                        state.steps.phase = Phase::Draining;
                        state.drain();
                    }
                };
                // It ends with the process.
                if thread::Builder::new().name("adapter-drain-delay".into()).spawn(waiting).is_err() {
                    state.steps.phase = Phase::Draining;
                    state.drain();
                }
            }
            Step::Wait => {}
            Step::Force => {
                state.close();
                state.trigger.force();
            }
            Step::Kill => {
                stderr::flush(|| false);
                // Ends the process as if nobody had watched, so that the parent sees the signal.
                let _ = low_level::emulate_default_handler(signal);
            }
        }
    }
}

impl Signals {
    /// Starts to watch: what ends the server goes to `stop`, the rest to `control`.
    ///
    /// # Errors
    /// The operating system's: no thread, no pipe.
    pub(crate) fn watch(stop: Stop, control: Control) -> io::Result<Self> {
        let mut incoming = Incoming::new([SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2])?;
        let handle = incoming.handle();
        let stops = stop.clone();
        let thread = thread::Builder::new().name("adapter-signals".into()).spawn(move || {
            for signal in incoming.forever() {
                match signal {
                    SIGHUP => control.ask(Ask::Reload),
                    SIGUSR2 => control.ask(Ask::Upgrade),
                    SIGUSR1 => control.ask(Ask::Reopen),
                    _ => stops.act(signal),
                }
            }
        })?;
        Ok(Signals { stop, handle, thread: Some(thread) })
    }

    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
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
    use std::sync::mpsc;

    use adapter_core::server::ShutdownLevel;
    use adapter_core::tls::Tls;

    use super::*;
    use crate::steps::ONE;

    fn state(phase: Phase, delay: u64) -> State {
        let stop = Stop::new(ShutdownTrigger::new(), Duration::from_secs(delay), Manager::default());
        let mut state = Arc::into_inner(stop.0).and_then(|state| state.into_inner().ok()).expect("nobody else's");
        state.steps.phase = phase;
        state
    }

    #[test]
    fn first_drains_second_forces_third_kills() {
        let now = Instant::now();
        let mut serving = state(Phase::Serving, 0);
        let steps = [SIGINT, SIGTERM].map(|signal| serving.receive(signal, now));
        assert_eq!(steps, [Some(Step::Drain), Some(Step::Force)]);
        assert_eq!(serving.receive(SIGINT, now + ONE), Some(Step::Kill));
        let steps = [SIGINT, SIGTERM].map(|signal| state(Phase::Starting, 0).receive(signal, now));
        assert_eq!(steps, [Some(Step::Interrupt), Some(Step::Interrupt)]);
        let mut starting = state(Phase::Starting, 0);
        let steps = [SIGINT, SIGTERM].map(|signal| starting.receive(signal, now));
        assert_eq!(steps, [Some(Step::Interrupt), Some(Step::Kill)]);
    }

    #[test]
    fn a_draining_that_nobody_asked_for_is_no_first_signal() {
        let stop = Stop::new(ShutdownTrigger::new(), Duration::from_secs(3600), Manager::default());
        stop.lock().steps.phase = Phase::Serving;
        stop.hand_over();
        let now = Instant::now();
        let steps = [0, 1, 2].map(|at| stop.lock().receive(SIGTERM, now + at * ONE));
        assert_eq!(steps, [Some(Step::Wait), Some(Step::Force), Some(Step::Kill)]);
        let mut draining = state(Phase::Draining, 0);
        assert_eq!(draining.receive(SIGQUIT, now), Some(Step::Force));
    }

    #[test]
    fn quit_forces_at_once() {
        let now = Instant::now();
        for phase in [Phase::Serving, Phase::Delaying, Phase::Draining] {
            let mut state = state(phase, 0);
            assert_eq!(state.receive(SIGQUIT, now), Some(Step::Force));
            assert_eq!(state.receive(SIGQUIT, now), None);
            assert_eq!(state.receive(SIGTERM, now), Some(Step::Kill));
        }
    }

    #[test]
    fn a_delay_is_ended_by_the_second() {
        let now = Instant::now();
        let mut state = state(Phase::Serving, 3600);
        let steps = [0, 1, 2, 3].map(|at| state.receive(SIGTERM, now + at * ONE));
        assert_eq!(steps, [Some(Step::Delay), Some(Step::Drain), Some(Step::Force), Some(Step::Kill)]);
    }

    #[test]
    fn a_signal_passed_on_is_the_same_one() {
        let now = Instant::now();
        let later = |millis| now + Duration::from_millis(millis);
        let mut serving = state(Phase::Serving, 0);
        assert_eq!(serving.receive(SIGINT, now), Some(Step::Drain));
        assert_eq!([0, 20, 999].map(|after| serving.receive(SIGINT, later(after))), [None, None, None]);
        assert_eq!(serving.receive(SIGINT, later(1000)), Some(Step::Force));
        assert_eq!(serving.receive(SIGINT, later(1020)), None);
        assert_eq!(serving.receive(SIGINT, later(2000)), Some(Step::Kill));
        // Two kinds, each passed on.
        let mut serving = state(Phase::Serving, 0);
        let steps = [SIGINT, SIGTERM, SIGINT, SIGTERM].map(|signal| serving.receive(signal, now));
        assert_eq!(steps, [Some(Step::Drain), Some(Step::Force), None, None]);
    }

    /// Certificates that tell when they are read, and can't be.
    #[derive(Debug)]
    struct Told(mpsc::SyncSender<()>);

    impl adapter_core::tls::Acceptor for Told {
        fn accept(&self, _http2: bool) -> Box<dyn adapter_core::tls::Session> {
            unreachable!("nobody connects")
        }

        fn reload(&self) -> Result<(), adapter_core::Error> {
            self.0.send(()).map_err(adapter_core::Error::new)?;
            Err(adapter_core::Error::new("broken"))
        }
    }

    #[test]
    fn hang_up_reads_certificates_again_and_stops_nothing() {
        let (sender, reloaded) = mpsc::sync_channel(0);
        let control = Control::start(Some(Tls::new(Told(sender))), None, None, Manager::default()).expect("a thread");
        let stop = Stop::new(ShutdownTrigger::new(), Duration::ZERO, Manager::default());
        let signals = Signals::watch(stop, control).expect("signals can be watched");
        for _ in 0..2 {
            low_level::raise(SIGHUP).expect("a signal of this process's");
            reloaded.recv_timeout(Duration::from_secs(30)).expect("read again");
        }
        assert_eq!(signals.stop().lock().steps.phase, Phase::Starting);
    }

    #[test]
    fn a_signal_before_the_server_started_is_kept() {
        let (stop, trigger) =
            (Stop::new(ShutdownTrigger::new(), Duration::ZERO, Manager::default()), ShutdownTrigger::new());
        assert_eq!(stop.lock().receive(SIGTERM, Instant::now()), Some(Step::Interrupt));
        assert_eq!(stop.interrupted(), Some(SIGTERM));
        // A server that does not know how to be interrupted.
        let handle = ServerHandle::new(Vec::new(), trigger.clone(), || Ok(()));
        stop.started(&handle);
        assert_eq!(trigger.level(), ShutdownLevel::Draining);
        assert_eq!(stop.lock().receive(SIGINT, Instant::now()), Some(Step::Force));
    }
}
