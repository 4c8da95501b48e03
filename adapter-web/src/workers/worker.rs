//! One worker as its parent sees it: a process, what it says, and what it was told.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Plan;
use super::attend::RETIRE;
use crate::successor::{Listening, Program, Role};

/// Octets of the reason why a worker does not serve, at most.
const REASON: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Serving,
    /// It was told to end.
    Leaving,
}

/// What a worker says, by a number that is never used again, unlike that of its process.
pub(super) struct Said(pub(super) u64, pub(super) u8);

pub(super) struct Worker {
    pub(super) id: u64,
    child: Child,
    stream: UnixStream,
    /// Gives the reason why it does not serve, if it said one.
    listener: JoinHandle<String>,
    pub(super) phase: Phase,
    pub(super) has_served: bool,
    /// When its phase began.
    pub(super) since: Instant,
    /// When it last said something.
    pub(super) heard: Instant,
    /// Whom it is to replace when it serves.
    pub(super) replaces: Option<u64>,
}

impl Worker {
    /// Starts `program` as a worker that says each `beat` that it lives. What it says comes to `events`, from a thread of
    /// its own.
    ///
    /// # Errors
    /// The operating system's; nothing is left of it then.
    pub(super) fn start<E: From<Said> + Send + 'static>(
        id: u64,
        program: &Program,
        listening: &Listening,
        beat: Duration,
        events: Sender<E>,
    ) -> io::Result<Self> {
        let (mut child, stream) = program.spawn(listening, Role::Worker { beat })?;
        let listener = stream.try_clone().and_then(|stream| {
            let listen = move || listen(stream, |said| events.send(Said(id, said).into()).is_ok());
            thread::Builder::new().name("adapter-worker-watch".into()).spawn(listen)
        });
        match listener {
            Ok(listener) => {
                let (phase, now) = (Phase::Starting, Instant::now());
                Ok(Worker {
                    id,
                    child,
                    stream,
                    listener,
                    phase,
                    has_served: false,
                    since: now,
                    heard: now,
                    replaces: None,
                })
            }
            Err(error) => {
                let _ = child.kill();
                // Killed, it ends.
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// The number of its process.
    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Its status, once it has ended.
    pub(super) fn status(&mut self) -> Option<ExitStatus> {
        // The one error there can be is that it is no child.
        self.child.try_wait().ok().flatten()
    }

    /// Of one that has ended: the reason why it did not serve, if it said one.
    pub(super) fn last_words(self) -> String {
        // Also where a process that it has left behind holds the other end. What was written before is still read.
        let _ = self.stream.shutdown(Shutdown::Both);
        self.listener.join().unwrap_or_default()
    }

    /// Lets it go on, for its being ready was heard.
    pub(super) fn go_on(&mut self) {
        // One that is gone by now is told by SIGCHLD.
        let _ = self.stream.write_all(b"g");
    }

    pub(super) fn send(&self, signal: Signal) {
        // Until it is waited for, its number is nobody else's.
        if let Some(process) = i32::try_from(self.process()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(process, signal);
        }
    }

    /// Tells it by `signal` to end, as an operator wants.
    pub(super) fn leave(&mut self, signal: Signal) {
        self.leaves();
        self.send(signal);
    }

    /// Tells it to drain, for it is not needed any more. Whether it hears that or is gone already is told by its end.
    pub(super) fn retire(&mut self) {
        self.leaves();
        if !self.has_served || self.stream.write_all(&[RETIRE]).is_err() {
            self.send(Signal::TERM);
        }
    }

    fn leaves(&mut self) {
        if self.phase != Phase::Leaving {
            (self.phase, self.since) = (Phase::Leaving, Instant::now());
        }
    }

    /// Serves, as it says.
    pub(super) fn serves(&mut self) {
        (self.phase, self.since, self.has_served) = (Phase::Serving, Instant::now(), true);
    }

    /// When it is killed if it goes on as it does, and why.
    pub(super) fn deadline(&self, plan: &Plan) -> Option<(Instant, &'static str)> {
        let from = |at: Instant, limit: Option<Duration>, why| Some((at.checked_add(limit?)?, why));
        let silent = || from(self.heard, plan.silence.filter(|_| self.has_served), "hangs");
        let late = match self.phase {
            Phase::Starting => from(self.since, plan.start, "is not ready in time"),
            Phase::Serving => None,
            Phase::Leaving => from(self.since, plan.leave, "does not end"),
        };
        silent().into_iter().chain(late).min()
    }

    /// Ends it at once. SIGCHLD follows.
    pub(super) fn kill(&mut self) {
        (self.since, self.heard) = (Instant::now(), Instant::now());
        let _ = self.child.kill();
    }
}

/// Hands octets to `say`, until the other end is closed or nobody listens. Gives the reason why the worker does not serve.
fn listen(mut stream: UnixStream, say: impl Fn(u8) -> bool) -> String {
    let mut octet = [0];
    while let Ok(1..) = stream.read(&mut octet) {
        if octet == *b"e" {
            let mut reason = Vec::new();
            let _ = stream.take(REASON).read_to_end(&mut reason);
            return String::from_utf8_lossy(&reason).into_owned();
        }
        if !say(octet[0]) {
            break;
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_reason_is_what_comes_behind_an_e_and_has_an_end() {
        let heard = |said: &[u8]| {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(said).unwrap();
            drop(theirs);
            let octets = RefCell::new(Vec::new());
            let reason = listen(ours, |octet| {
                octets.borrow_mut().push(octet);
                true
            });
            (octets.into_inner(), reason)
        };
        assert_eq!(heard(b"rpp"), (b"rpp".to_vec(), String::new()));
        assert_eq!(heard(b"eno \xff luck"), (vec![], "no \u{fffd} luck".into()));
        assert_eq!(heard(&[b"re".as_slice(), &[b'x'; 9000]].concat()).1.len(), 4096);
    }
}
