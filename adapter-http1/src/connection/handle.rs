//! A connection as the other threads of a server see it, while one of them is in application code for it.

use std::sync::{Arc, TryLockError};
use std::time::Instant;

use adapter_core::contain::catch;
use adapter_core::observe::ConnectionEnd;

use super::Shared;
use super::io::Flush;
use super::transport::Transport;

/// A [`Connection`](super::Connection) from outside: what can be done for it, and against it, while the thread that runs it is in
/// application code. Keeps no more of it alive than its buffers.
pub struct Handle<T: Transport>(Arc<Shared<T>>);

/// What is left of output that application code holds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing.
    Nothing,
    /// It waits for the client to take something, until then: the connection's own turn, or another look, is due.
    Waits(Option<Instant>),
    /// Somebody else is at it: look again soon.
    Busy,
}

/// What there is of application code with a time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// It has until then: look again.
    At(Instant),
    /// It is answered in its place, of which so much is left.
    Answered(Held),
}

impl<T: Transport> Handle<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Handle(shared)
    }

    /// Writes what is gathered, see [`Transport::hold`], and cuts off a client that has taken nothing of it for too long. Does
    /// not block. \[BOD-04\], \[LIM-06\]
    pub fn flush(&self, now: Instant) -> Held {
        let shared = &*self.0;
        let mut io = match shared.io.try_lock() {
            Ok(io) => io,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Held::Busy,
        };
        let flushed = io.flush(now);
        if flushed == Flush::Done && io.answered_late {
            io.end_output();
        }
        if flushed != Flush::Wait {
            return Held::Nothing;
        }
        let since = io.stalled_since.unwrap_or(now);
        let deadline = shared.settings.timeouts.write.and_then(|limit| since.checked_add(limit));
        if deadline.is_none_or(|deadline| now < deadline) || io.takes_something(now) {
            return Held::Waits(deadline);
        }
        drop(io);
        shared.cut_off_stalled();
        Held::Nothing
    }

    /// Answers a request in place of application code that holds the connection's thread beyond its time limit. `None` where there is no
    /// such code, [`Late::At`] before the time, and [`Late::Answered`] with what is left of the output. Does not block but as the
    /// observers of the server do. \[LIM-09\]
    pub fn answer_late(&self, now: Instant) -> Option<Late> {
        let mut io = self.0.io();
        let limit = io.limit().cloned()?;
        if now < limit.until() {
            return Some(Late::At(limit.until()));
        }
        // [DIS-05b] as if it had been dropped when its client left
        if io.lift_limit(now) {
            return None;
        }
        drop(io);
        // Logged without the lock: the code may come back meanwhile, and finds that it is late by itself.
        let response = limit.answer(now)?;
        let mut io = self.0.io();
        let is_same = io.limit().is_some_and(|there| Arc::ptr_eq(there, &limit));
        let reader = if is_same { io.answer_instead(response, now) } else { None };
        drop(io);
        if let Some(reader) = reader {
            // It may be anybody's.
            let _ = catch("waker", || reader.wake());
        }
        Some(Late::Answered(self.flush(now)))
    }

    /// The client's stream has ended, or the connection is `broken`: tells the application at once where it has read all that came
    /// before. Of a stream that it has taken it reads the end itself. Does not block. \[DIS-01\]
    pub fn tell_end(&self, broken: bool) {
        let now = self.0.now();
        let mut io = self.0.io();
        io.ended_at.get_or_insert(now);
        let is_told = broken || (io.upload.is_none() && !io.taken);
        drop(io);
        if is_told {
            self.0.environ.disconnected.fire();
        }
    }

    /// Closes the transport under whoever uses it, with a reset but for a stream that the application has taken. What the
    /// application has of the connection learns that it is over, and is still to be dropped. Does not block. \[SHU-06\]
    pub fn cut(&self) {
        let io = self.0.io();
        // Where its head is still here it is a response like any other.
        let reset = !io.taken || !io.output.is_empty();
        drop(io);
        self.0.environ.ends(ConnectionEnd::Forced);
        self.0.cut_off(reset);
    }
}

impl<T: Transport> std::fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}
