//! What to do when `accept` fails: never end the server. \[ERR-06\]

use std::fmt::Display;
use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What an error of `accept` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptError {
    /// No connection waits: wait for readiness.
    WouldBlock,
    /// This one connection failed (it was reset while it waited, or a signal came): accept the next at once.
    Retry,
    /// The process or the system is out of descriptors or memory: try again after this pause.
    Backoff(Duration),
}

/// Classifies an error of `accept`. Linux passes network errors of the new connection too (accept(2)); those concern
/// one connection only. What is not known is treated as lack of resources, so that it can't spin.
pub fn classify(error: &io::Error) -> AcceptError {
    match error.kind() {
        io::ErrorKind::WouldBlock => AcceptError::WouldBlock,
        io::ErrorKind::Interrupted
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::TimedOut => AcceptError::Retry,
        _ => AcceptError::Backoff(Duration::from_millis(50)),
    }
}

/// How often an error is logged, at most.
const QUIET: Duration = Duration::from_secs(1);

/// Logs what keeps `listener` from accepting: each kind once a second at most in this process, for it comes again with every attempt, and
/// on every listener. Does not block. \[ERR-06\]
pub fn complain(error: &io::Error, listener: &dyn Display) {
    static LAST: Mutex<Vec<(io::ErrorKind, Option<i32>, Instant)>> = Mutex::new(Vec::new());
    let now = Instant::now();
    // Whoever holds it is saying something of the kind.
    let Ok(mut last) = LAST.try_lock() else { return };
    // Kinds are few.
    last.retain(|(.., at)| now.saturating_duration_since(*at) < QUIET);
    let (kind, code) = (error.kind(), error.raw_os_error());
    if !last.iter().any(|known| (known.0, known.1) == (kind, code)) {
        last.push((kind, code, now));
        drop(last);
        tracing::warn!(target: "adapter", %error, %listener, "can't accept; trying again");
    }
}

/// Whether a client waits at `listener`, without accepting it. Does not block; where that can't be known, somebody may.
#[cfg(unix)]
pub fn is_awaited(listener: &impl std::os::fd::AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let at_once = Timespec::default();
    poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&at_once)).is_ok_and(|ready| ready > 0)
}

/// Whether a client waits at a listener: that is not known here.
#[cfg(not(unix))]
pub fn is_awaited<L>(_: &L) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_descriptors_backs_off() {
        const EMFILE: i32 = 24;
        assert!(matches!(classify(&io::Error::from_raw_os_error(EMFILE)), AcceptError::Backoff(_)));
        assert_eq!(classify(&io::ErrorKind::ConnectionAborted.into()), AcceptError::Retry);
    }
}
