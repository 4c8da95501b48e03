//! What to do when `accept` fails: never end the server. \[ERR-06\]

use std::io;
use std::time::Duration;

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
