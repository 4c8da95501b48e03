//! The process that starts workers and watches them, event by event.

use std::collections::VecDeque;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::Plan;
use super::backoff::Backoff;
use super::worker::{Phase, Said, Worker};
use crate::cli::Exit;
use crate::stderr;
use crate::successor::{Listening, Predecessor, Program};
use crate::systemd::Manager;

/// How often a worker says that it lives, at least.
pub(super) const BEAT: Duration = Duration::from_secs(1);

/// What happened.
pub(super) enum Event {
    Signal(i32),
    Said(Said),
    /// Another process serves in place of this one, or does not.
    Upgraded(Result<u32, String>),
}

impl From<Said> for Event {
    fn from(said: Said) -> Self {
        Event::Said(said)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not all have served yet.
    Starting,
    Serving,
    Stopping,
}

pub(super) struct Parent {
    pub(super) plan: Plan,
    pub(super) program: Program,
    pub(super) listening: Arc<Listening>,
    pub(super) manager: Manager,
    /// Whom this process is to relieve, until it does.
    pub(super) before: Option<Predecessor>,
    pub(super) events: Sender<Event>,
    pub(super) workers: Vec<Worker>,
    pub(super) next: u64,
    /// Those that are to be replaced.
    pub(super) roll: VecDeque<u64>,
    pub(super) stage: Stage,
    /// For those who ask from other threads.
    pub(super) stops: Arc<AtomicBool>,
    pub(super) is_upgrading: bool,
    /// Whether an operator wants all to end.
    pub(super) is_asked: bool,
    pub(super) backoff: Backoff,
    /// Nobody is started before.
    pub(super) again: Option<Instant>,
    /// When the service manager is told the next time that all is well.
    pub(super) feed: Option<Instant>,
    /// How it ends.
    pub(super) ended: Result<(), Exit>,
}

/// Starts workers as `plan` says, and watches them until a signal has ended all. `before` is relieved when all serve.
///
/// # Errors
/// [`Exit`]: as the worker that did not start; status 1 if one did not end well; by the signal that came before all served.
pub(crate) fn run(
    plan: Plan,
    listening: Arc<Listening>,
    manager: Manager,
    before: Option<Predecessor>,
) -> Result<(), Exit> {
    // Without a bound, so that no thread waits for this one; workers are few, and say an octet a beat.
    let (events, receiver) = channel();
    let kinds = [SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU, SIGCHLD];
    let mut incoming = Signals::new(kinds)?;
    let handle = incoming.handle();
    let signals = events.clone();
    thread::Builder::new().name("adapter-signals".into()).spawn(move || {
        for signal in incoming.forever() {
            if signals.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    let parent = Parent {
        plan,
        program: Program::this()?,
        listening,
        manager,
        before,
        events,
        workers: Vec::new(),
        next: 0,
        roll: VecDeque::new(),
        stage: Stage::Starting,
        stops: Arc::default(),
        is_upgrading: false,
        is_asked: false,
        backoff: Backoff::default(),
        again: None,
        feed: None,
        ended: Ok(()),
    };
    let ended = parent.watch(&receiver);
    handle.close();
    ended
}

impl Parent {
    fn watch(mut self, events: &Receiver<Event>) -> Result<(), Exit> {
        loop {
            self.fill();
            if self.stage == Stage::Stopping && self.workers.is_empty() && !self.is_upgrading {
                // Paths are the other one's still where it was not relieved.
                if self.before.is_some() {
                    self.listening.leave();
                } else {
                    self.listening.end();
                }
                return self.ended;
            }
            let wait = self.next_deadline().map_or(BEAT, |at| at.saturating_duration_since(Instant::now())).min(BEAT);
            let began = Instant::now();
            // This has a sender itself, so that the one error is that the time is over.
            if let Ok(event) = events.recv_timeout(wait) {
                self.happened(event);
            }
            // Nobody is silent who has said something.
            events.try_iter().for_each(|event| self.happened(event));
            if began.elapsed() > wait + BEAT {
                // This process was held up, or stopped itself: nobody could be heard.
                self.workers.iter_mut().for_each(|worker| worker.heard = Instant::now());
            }
            self.kill_silent();
            self.feed();
        }
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Signal(signal) => self.signal(signal),
            Event::Said(Said(id, said)) => self.said(id, said),
            Event::Upgraded(outcome) => self.upgraded(outcome),
        }
    }

    /// As many as there are to be, and those that replace others one by one.
    fn fill(&mut self) {
        if self.stage == Stage::Stopping {
            return;
        }
        while self.present() < self.plan.count && self.again.is_none_or(|at| at <= Instant::now()) {
            if let Err(error) = self.start(None) {
                let why = format!("a worker can't be started: {error}");
                if self.stage == Stage::Starting {
                    return self.fail(Exit::failed(why));
                }
                self.pause(&why);
            }
        }
        if self.present() > self.plan.count
            && let Some(worker) = self.workers.iter_mut().rev().find(|worker| worker.phase == Phase::Serving)
        {
            say(&format!("worker {} is one too many", worker.process()));
            worker.retire();
        }
        let is_replacing = self.workers.iter().any(|worker| worker.phase == Phase::Starting);
        // Another process is about to replace them all.
        if self.stage == Stage::Serving && !is_replacing && !self.is_upgrading {
            self.roll();
        }
    }

    /// Starts the next one that replaces another one.
    fn roll(&mut self) {
        while let Some(old) = self.roll.pop_front() {
            if !self.workers.iter().any(|worker| worker.id == old && worker.phase == Phase::Serving) {
                if self.roll.is_empty() {
                    self.end_roll("all workers are new");
                }
                continue;
            }
            if let Err(error) = self.start(Some(old)) {
                self.end_roll(&format!("the workers from before go on: {error}"));
            }
            return;
        }
    }

    fn end_roll(&mut self, said: &str) {
        self.roll.clear();
        say(&format!("SIGHUP: {said}"));
        self.manager.ready("serving");
    }

    /// Those that serve or will, without those that are to replace one of these.
    fn present(&self) -> usize {
        let stays = |id: u64| self.workers.iter().any(|worker| worker.id == id && worker.phase != Phase::Leaving);
        let counts = |worker: &&Worker| worker.phase != Phase::Leaving && !worker.replaces.is_some_and(stays);
        self.workers.iter().filter(counts).count()
    }

    fn start(&mut self, replaces: Option<u64>) -> io::Result<()> {
        let beat = self.plan.silence.map_or(BEAT, |silence| (silence / 4).clamp(Duration::from_millis(1), BEAT));
        let mut worker = Worker::start(self.next, &self.program, &self.listening, beat, self.events.clone())?;
        worker.replaces = replaces;
        self.next += 1;
        self.workers.push(worker);
        Ok(())
    }

    /// Starts nobody for a while.
    fn pause(&mut self, why: &str) {
        let pause = self.backoff.ended(Instant::now());
        self.again = Instant::now().checked_add(pause);
        let when = if pause.is_zero() { "now".into() } else { format!("in {} s", pause.as_secs()) };
        say(&format!("{why}; another one {when}"));
    }

    fn said(&mut self, id: u64, said: u8) {
        let Some(worker) = self.workers.iter_mut().find(|worker| worker.id == id) else { return };
        if said == b'r' {
            // Also one that was told to end meanwhile, which waits for it.
            worker.go_on();
        }
        worker.heard = Instant::now();
        if (worker.phase, said) != (Phase::Starting, b'r') {
            return;
        }
        worker.serves();
        say(&format!("worker {} serves", worker.process()));
        if let Some(replaced) = worker.replaces.take() {
            let is_old = |worker: &&mut Worker| worker.id == replaced && worker.phase == Phase::Serving;
            if let Some(old) = self.workers.iter_mut().find(is_old) {
                old.retire();
            }
            if self.roll.is_empty() {
                self.end_roll("all workers are new");
            }
        }
        let serving = self.workers.iter().filter(|worker| worker.phase == Phase::Serving).count();
        if self.stage == Stage::Starting && serving >= self.plan.count {
            self.all_serve();
        }
    }

    /// Tells everybody.
    fn all_serve(&mut self) {
        if let Some(before) = &mut self.before
            && let Err(error) = before.relieve()
        {
            return self.fail(Exit::failed(error));
        }
        self.before = None;
        self.stage = Stage::Serving;
        self.plan.lines.drain(..).for_each(stderr::say);
        self.manager.ready("serving");
    }

    /// Sees to those that have ended.
    pub(super) fn reap(&mut self) {
        let mut at = 0;
        while let Some(worker) = self.workers.get_mut(at) {
            match worker.status() {
                Some(status) => {
                    let worker = self.workers.remove(at);
                    self.ended(worker, status);
                }
                None => at += 1,
            }
        }
    }

    fn ended(&mut self, worker: Worker, status: ExitStatus) {
        let (process, phase, has_served, replaces) =
            (worker.process(), worker.phase, worker.has_served, worker.replaces);
        let reason = worker.last_words();
        let why = match &*reason {
            "" if has_served => format!("worker {process} ended ({status})"),
            "" => format!("worker {process} ended before it served ({status})"),
            reason => format!("worker {process} did not start: {reason}"),
        };
        match phase {
            // One that was told to end before it served has ended as it was told to.
            Phase::Leaving if status.success() || !has_served => say(&format!("worker {process} ended")),
            Phase::Leaving => {
                say(&format!("worker {process} did not end well ({status})"));
                if self.stage == Stage::Stopping && self.ended.is_ok() {
                    self.ended = Err(Exit::failed("not all workers ended well"));
                }
            }
            Phase::Starting | Phase::Serving if self.stage == Stage::Starting => {
                let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
                self.fail(match status.signal() {
                    // A terminal's comes to all.
                    Some(signal @ (SIGINT | SIGTERM | SIGQUIT)) => Exit::signalled(signal),
                    // As if it were this process.
                    _ if !reason.is_empty() => Exit::as_of(code, reason),
                    _ => Exit::as_of(code, why),
                });
            }
            Phase::Starting if replaces.is_some() => self.end_roll(&format!("the workers from before go on: {why}")),
            Phase::Starting | Phase::Serving => self.pause(&why),
        }
    }

    fn kill_silent(&mut self) {
        let now = Instant::now();
        for worker in &mut self.workers {
            if let Some((_, why)) = worker.deadline(&self.plan).filter(|(deadline, _)| *deadline <= now) {
                say(&format!("worker {} {why}; killed", worker.process()));
                worker.kill();
            }
        }
    }

    /// What `kill_silent` and `fill` wait for, and the service manager.
    fn next_deadline(&self) -> Option<Instant> {
        let workers =
            self.workers.iter().filter_map(|worker| worker.deadline(&self.plan)).map(|(deadline, _)| deadline);
        let again = self.again.filter(|at| self.stage != Stage::Stopping && *at > Instant::now());
        workers.chain(again).chain(self.feed).min()
    }

    /// Those that hang are killed before the service manager would lose its patience with all.
    fn feed(&mut self) {
        let Some(period) = self.manager.watchdog() else { return };
        let now = Instant::now();
        if self.stage != Stage::Starting && self.feed.is_none_or(|at| at <= now) {
            self.manager.feed();
            self.feed = now.checked_add(period);
        }
    }
}

/// In one line, whatever a worker says.
pub(super) fn say(line: &str) {
    stderr::say(format!("adapter: {}\n", Exit::failed(line).text()));
}
