//! What one who wants a server to end gets, the first time, the second, and so on, whatever the operating system calls it: the first
//! drains, the second forces, the third kills. \[SHU-07\]
//!
//! What comes again within a second of the first of its kind is the same one: a terminal sends Ctrl-C to every process of its group,
//! and wrappers such as `npm run` pass it on to the one that has it already.

use std::time::{Duration, Instant};

use crate::cli::Period;

/// Within this time the same signal is one signal.
pub(crate) const ONE: Duration = Duration::from_secs(1);

/// How far a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Starting,
    Serving,
    /// Serving, for the time before the draining.
    Delaying,
    Draining,
    Forced,
}

/// What a signal leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Interrupt,
    Delay,
    Drain,
    /// It drains already.
    Wait,
    Force,
    Kill,
}

impl Step {
    /// It as the operator is told; `delay` is the time before the draining.
    pub(crate) fn says(&self, delay: Duration) -> String {
        match self {
            Step::Interrupt => "stopping before it has started, once more to kill".into(),
            Step::Delay => format!("draining in {}, once more to drain now", Period(delay)),
            Step::Drain => "draining, once more to force".into(),
            Step::Wait => "draining already, once more to force".into(),
            Step::Force => "stopping at once, once more to kill".into(),
            Step::Kill => "killed".into(),
        }
    }
}

/// What has come so far.
#[derive(Debug)]
pub(crate) struct Steps {
    pub(crate) phase: Phase,
    /// How long to go on before draining.
    pub(crate) delay: Duration,
    /// When the last one of each kind counted.
    counted: Vec<(i32, Instant)>,
    /// Whether an operator wants it to end, by now.
    is_asked: bool,
    /// What ended the startup.
    pub(crate) interrupted: Option<i32>,
}

impl Steps {
    /// Of a server that starts.
    pub(crate) fn new(delay: Duration) -> Self {
        Steps { phase: Phase::Starting, delay, counted: Vec::new(), is_asked: false, interrupted: None }
    }

    /// What `signal` leads to; `forces` says that the first one of it does. `None`: it was an earlier one once more.
    pub(crate) fn receive(&mut self, signal: i32, forces: bool, now: Instant) -> Option<Step> {
        match self.counted.iter_mut().find(|(known, _)| *known == signal) {
            Some((_, at)) if now.saturating_duration_since(*at) < ONE => return None,
            Some((_, at)) => *at = now,
            None => self.counted.push((signal, now)),
        }
        let step = match self.phase {
            Phase::Starting if self.interrupted.is_some() => Step::Kill,
            Phase::Starting => Step::Interrupt,
            Phase::Forced => Step::Kill,
            _ if forces => Step::Force,
            Phase::Draining if self.is_asked => Step::Force,
            Phase::Draining => Step::Wait,
            Phase::Serving if !self.delay.is_zero() => Step::Delay,
            Phase::Serving | Phase::Delaying => Step::Drain,
        };
        self.is_asked = true;
        match step {
            Step::Interrupt => self.interrupted = Some(signal),
            Step::Delay => self.phase = Phase::Delaying,
            Step::Drain => self.phase = Phase::Draining,
            Step::Force => self.phase = Phase::Forced,
            Step::Wait | Step::Kill => {}
        }
        Some(step)
    }

    /// The server serves; whether it was told to stop meanwhile, and is to drain.
    pub(crate) fn started(&mut self) -> bool {
        let is_stopped = self.interrupted.is_some();
        self.phase = if is_stopped { Phase::Draining } else { Phase::Serving };
        is_stopped
    }
}
