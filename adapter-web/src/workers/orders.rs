//! What the parent of workers is asked for: by signals, and by what can't be.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};
use signal_hook::low_level::signal_name;

use super::parent::{BEAT, Event, Parent, Stage, say};
use super::worker::{Phase, Worker};
use crate::cli::{Exit, MOST_WORKERS};
use crate::renewal;
use crate::systemd::Manager;

impl Parent {
    pub(super) fn signal(&mut self, signal: i32) {
        let name = signal_name(signal).unwrap_or("signal");
        match signal {
            SIGCHLD => self.reap(),
            SIGHUP if self.stage == Stage::Serving => {
                self.manager.reloading();
                say("SIGHUP: starting new workers, one by one");
                let serving = self.workers.iter().filter(|worker| worker.phase == Phase::Serving);
                self.roll = serving.map(|worker| worker.id).collect();
            }
            SIGUSR1 => self.pass_on(Signal::USR1),
            SIGUSR2 if self.stage == Stage::Serving && !self.is_upgrading => self.upgrade(),
            SIGTTIN | SIGTTOU if self.stage == Stage::Serving => {
                let count = self.plan.count;
                self.plan.count = match signal {
                    SIGTTIN => (count + 1).min(MOST_WORKERS),
                    _ => (count - 1).max(1),
                };
                say(&format!("{name}: {}", workers(self.plan.count)));
            }
            SIGINT | SIGTERM | SIGQUIT if self.is_asked => self.stop(signal),
            SIGINT | SIGTERM | SIGQUIT => {
                say(&format!("{name}: stopping {}, once more to force", workers(self.workers.len())));
                self.manager.stopping();
                self.is_asked = true;
                if self.stage == Stage::Starting {
                    self.ended = Err(Exit::signalled(signal));
                }
                self.stop(signal);
            }
            _ => say(&format!("{name}: not now")),
        }
    }

    /// Ends as `exit` says, once all have ended.
    pub(super) fn fail(&mut self, exit: Exit) {
        self.ended = Err(exit);
        self.stop(SIGTERM);
    }

    /// Passes `signal` on, which ends workers, and starts nobody any more.
    fn stop(&mut self, signal: i32) {
        self.begin_end();
        let signal = match signal {
            SIGINT => Signal::INT,
            SIGQUIT => Signal::QUIT,
            _ => Signal::TERM,
        };
        self.workers.iter_mut().for_each(|worker| worker.leave(signal));
    }

    fn begin_end(&mut self) {
        if self.stage != Stage::Stopping {
            self.stage = Stage::Stopping;
            self.stops.store(true, Ordering::SeqCst);
            // Whoever connects when no worker accepts any more is refused, and does not wait for nobody.
            self.listening.close();
        }
    }

    fn pass_on(&self, signal: Signal) {
        // To one that starts it would be the end.
        self.workers.iter().filter(|worker| worker.has_served).for_each(|worker| worker.send(signal));
    }

    /// Starts the program anew, whose workers then serve.
    fn upgrade(&mut self) {
        let (program, listening) = (self.program.clone(), self.listening.clone());
        let (manager, stops, events) = (self.manager.clone(), self.stops.clone(), self.events.clone());
        // It says itself when its workers take too long.
        let patience = self.plan.start.map_or(Duration::MAX, |start| start.saturating_add(BEAT * 10));
        say("SIGUSR2: starting the program anew");
        self.is_upgrading = true;
        let work = move || {
            let tell = |process| manager.main_is(process);
            let outcome = renewal::start(&program, &listening, patience, || stops.load(Ordering::SeqCst), tell);
            let _ = events.send(Event::Upgraded(outcome));
        };
        if let Err(error) = thread::Builder::new().name("adapter-upgrade".into()).spawn(work) {
            self.upgraded(Err(error.to_string()));
        }
    }

    pub(super) fn upgraded(&mut self, outcome: Result<u32, String>) {
        self.is_upgrading = false;
        match outcome {
            Ok(process) => {
                say(&format!("SIGUSR2: process {process} serves; draining"));
                // It is the other one's from now on.
                self.manager = Manager::default();
                self.begin_end();
                self.workers.iter_mut().for_each(Worker::retire);
            }
            Err(why) if self.stage == Stage::Stopping => {
                say(&format!("SIGUSR2: the new program does not serve: {why}"));
            }
            Err(why) => say(&format!("SIGUSR2: serving on, for the new program does not: {why}")),
        }
    }
}

fn workers(count: usize) -> String {
    format!("{count} worker{}", if count == 1 { "" } else { "s" })
}
