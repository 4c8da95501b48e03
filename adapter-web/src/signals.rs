//! SIGINT, SIGTERM and SIGHUP stop the server: the first one drains, the second forces, the third kills. \[SHU-07\]
//!
//! A signal that comes again within a second of the first of its kind is the same one: a terminal sends Ctrl-C to every
//! process of its group, and wrappers such as `npm run` pass it on to the one that has it already. SIGHUP, which the end
//! of a terminal sends, is left alone where it was ignored from the start (`nohup`); it drains and never forces, and what
//! comes within a second of it is the same: service managers send it along with SIGTERM.
//!
//! Where there are certificates to be read again, SIGHUP does that instead, whenever it comes and also under `nohup`.
//! Reading files may take its time, and must not hold up a SIGTERM: it is done on a thread of its own (`adapter-reload`),
//! which lasts as long as the process.
//!
//! One thread (`adapter-signals`) waits for signals, and raises the server's [`ShutdownTrigger`], which wakes the
//! server's own threads. Signals that arrive while the server still starts are kept: one makes it drain as soon as it
//! has started, a second one ends the process at once. The thread ends when [`Signals`] is dropped; the process keeps
//! signal-hook's handlers, which then ignore both signals.

use std::io;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use adapter_core::ShutdownTrigger;
use adapter_core::tls::Tls;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals as Incoming};
use signal_hook::low_level;

use crate::cli::Exit;
use crate::stderr;

/// Within this time the same signal is one signal.
const ONE: Duration = Duration::from_secs(1);

/// The watching thread.
pub(crate) struct Signals {
    state: Arc<Mutex<State>>,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    received: u32,
    /// When the last one of each kind counted.
    counted: Vec<(i32, Instant)>,
    /// When the server was told to end by SIGHUP.
    hung_up: Option<Instant>,
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
    /// `None`: it was an earlier one once more.
    fn receive(&mut self, signal: i32, now: Instant) -> Option<Step> {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < ONE;
        if self.received > 0 && (signal == SIGHUP || self.hung_up.is_some_and(is_recent)) {
            return None;
        }
        if signal == SIGHUP {
            self.hung_up = Some(now);
        }
        match self.counted.iter_mut().find(|(known, _)| *known == signal) {
            Some((_, at)) if is_recent(*at) => return None,
            Some((_, at)) => *at = now,
            None => self.counted.push((signal, now)),
        }
        self.received += 1;
        Some(match (self.received, &self.trigger) {
            (1, _) => Step::Drain,
            (2, Some(_)) => Step::Force,
            // Still starting: there is nothing to force yet.
            (2, None) | (3.., _) | (0, _) => Step::Kill,
        })
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Signals {
    /// Starts to watch. SIGHUP is for `reloads`, if there is something to reload.
    pub(crate) fn watch(reloads: Option<Tls>) -> io::Result<Self> {
        let reload = reloads.map(reloader).transpose()?;
        let hang_up = (reload.is_some() || !is_ignored(SIGHUP)).then_some(SIGHUP);
        let mut incoming = Incoming::new([SIGINT, SIGTERM].into_iter().chain(hang_up))?;
        let handle = incoming.handle();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let thread = thread::Builder::new().name("adapter-signals".into()).spawn(move || {
            for signal in incoming.forever() {
                match &reload {
                    // Full: one that has not begun yet does for this one, too.
                    Some(reload) if signal == SIGHUP => drop(reload.try_send(())),
                    _ => act(signal, &shared),
                }
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

    /// Whether the end is to come at once.
    pub(crate) fn is_forced(&self) -> bool {
        lock(&self.state).received > 1
    }
}

/// A thread that reads certificates again each time it is told to.
fn reloader(tls: Tls) -> io::Result<SyncSender<()>> {
    let (sender, asked) = mpsc::sync_channel(1);
    thread::Builder::new().name("adapter-reload".into()).spawn(move || {
        while let Ok(()) = asked.recv() {
            match tls.reload() {
                Ok(()) => stderr::say("adapter: SIGHUP: read the certificates again\n".into()),
                // Without a line break, whatever the names of files have in them.
                Err(error) => {
                    let line = Exit::failed(error);
                    stderr::say(format!("adapter: SIGHUP: serving the certificates from before: {}\n", line.text()));
                }
            }
        }
    })?;
    Ok(sender)
}

/// Whether the parent of this process had `signal` ignored. Where the system does not tell, it had not.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    ignored & (1 << (signal - 1)) != 0
}

fn act(signal: i32, state: &Mutex<State>) {
    let mut state = lock(state);
    let Some(step) = state.receive(signal, Instant::now()) else { return };
    let name = low_level::signal_name(signal).unwrap_or("signal");
    let says = match step {
        Step::Drain => "draining, once more to force",
        Step::Force => "stopping at once, once more to kill",
        Step::Kill => "killed",
    };
    stderr::say(format!("adapter: {name}: {says}\n"));
    match (step, &state.trigger) {
        (Step::Drain, Some(trigger)) => trigger.trigger(),
        (Step::Force, Some(trigger)) => trigger.force(),
        (Step::Drain | Step::Force, None) => {}
        (Step::Kill, _) => {
            stderr::flush(|| false);
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
        let now = Instant::now();
        let mut state = State { trigger: Some(ShutdownTrigger::new()), ..State::default() };
        let steps = [SIGINT, SIGTERM].map(|signal| state.receive(signal, now));
        assert_eq!(steps, [Some(Step::Drain), Some(Step::Force)]);
        assert_eq!(state.receive(SIGINT, now + ONE), Some(Step::Kill));
        let mut starting = State::default();
        let steps = [SIGINT, SIGTERM].map(|signal| starting.receive(signal, now));
        assert_eq!(steps, [Some(Step::Drain), Some(Step::Kill)]);
    }

    #[test]
    fn a_signal_passed_on_is_the_same_one() {
        let now = Instant::now();
        let later = |millis| now + Duration::from_millis(millis);
        let mut state = State { trigger: Some(ShutdownTrigger::new()), ..State::default() };
        assert_eq!(state.receive(SIGINT, now), Some(Step::Drain));
        assert_eq!([0, 20, 999].map(|after| state.receive(SIGINT, later(after))), [None, None, None]);
        assert_eq!(state.receive(SIGINT, later(1000)), Some(Step::Force));
        assert_eq!(state.receive(SIGINT, later(1020)), None);
        assert_eq!(state.receive(SIGINT, later(2000)), Some(Step::Kill));
        // A service manager's.
        for (first, second) in [(SIGHUP, SIGTERM), (SIGTERM, SIGHUP), (SIGHUP, SIGHUP)] {
            let mut state = State { trigger: Some(ShutdownTrigger::new()), ..State::default() };
            assert_eq!(state.receive(first, now), Some(Step::Drain));
            assert_eq!(state.receive(second, later(20)), None);
            assert_eq!(state.receive(SIGHUP, later(3000)), None, "it never forces");
            assert_eq!(state.receive(SIGTERM, later(3000)), Some(Step::Force));
        }
        // Two kinds, each passed on.
        let mut state = State { trigger: Some(ShutdownTrigger::new()), ..State::default() };
        let steps = [SIGINT, SIGTERM, SIGINT, SIGTERM].map(|signal| state.receive(signal, now));
        assert_eq!(steps, [Some(Step::Drain), Some(Step::Force), None, None]);
    }

    /// Certificates that tell when they are read, and can't be.
    #[derive(Debug)]
    struct Told(SyncSender<()>);

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
        let signals = Signals::watch(Some(Tls::new(Told(sender)))).expect("signals can be watched");
        for _ in 0..2 {
            low_level::raise(SIGHUP).expect("a signal of this process's");
            reloaded.recv_timeout(Duration::from_secs(30)).expect("read again");
        }
        assert_eq!(lock(&signals.state).received, 0);
    }

    #[test]
    fn a_signal_before_the_server_started_is_kept() {
        let signals = Signals::watch(None).expect("signals can be watched");
        lock(&signals.state).receive(SIGTERM, Instant::now());
        let trigger = ShutdownTrigger::new();
        signals.attach(trigger.clone());
        assert_eq!(trigger.level(), ShutdownLevel::Draining);
    }
}
