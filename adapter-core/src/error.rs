//! The error an application returns, and whose fault it is.
//!
//! Runs wherever the application runs; nothing here blocks. One table ([`Error::status`]) maps errors to the status
//! a server answers with, so that every server answers alike (\[ERR-01\], \[REQ-11\]).

use std::error::Error as StdError;
use std::fmt;

use http::StatusCode;

use crate::causes::{Side, UpgradeError, Violation};
use crate::request_body::RequestBodyError;
use crate::runtime::TaskError;

type Source = Box<dyn StdError + Send + Sync>;

/// Whose fault an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The client sent something wrong, too much, too slowly, or went away.
    Peer,
    /// The application failed or panicked.
    Application,
    /// The server could not do what the interface promises (no thread free, shutting down), or broke a rule of it.
    Server,
}

/// What an application returns when it has no response.
///
/// Anything that converts into `Box<dyn std::error::Error + Send + Sync>` converts into it, so `?` takes any error and
/// `"text"?` works too. It deliberately does not implement [`std::error::Error`] itself (as `anyhow::Error` does not),
/// use [`Error::source`] to reach the cause.
///
/// The server answers an error that arrives before the response head is committed with [`Error::status`] and a generic
/// body; the details go to the log. \[ERR-03\]
///
/// ```
/// use adapter_core::{Error, Fault};
///
/// fn parse(text: &str) -> Result<u8, Error> {
///     Ok(text.parse::<u8>()?)
/// }
/// let error = parse("many").unwrap_err();
/// assert_eq!(error.status(), 500);
/// assert_eq!(error.fault(), Fault::Application);
/// ```
pub struct Error {
    source: Source,
    status: Option<StatusCode>,
    /// Where it is logged.
    span: Option<Box<tracing::Span>>,
}

impl Error {
    /// An error whose cause is `source`.
    pub fn new(source: impl Into<Source>) -> Self {
        Error { source: source.into(), status: None, span: None }
    }

    /// The same error, answered with `status` instead of the one its cause implies.
    ///
    /// ```
    /// # use adapter_core::{Error, http::StatusCode};
    /// let error = Error::new("the index is rebuilding").with_status(StatusCode::SERVICE_UNAVAILABLE);
    /// assert_eq!(error.status(), 503);
    /// ```
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// To be logged in `span`, unless one was set before: what is said of a body is said by the server, which knows no request.
    #[doc(hidden)]
    pub fn log_in(&mut self, span: &tracing::Span) {
        self.span.get_or_insert_with(|| Box::new(span.clone()));
    }

    /// Logs it by `log`, where it is to be.
    pub(crate) fn logged<T>(&self, log: impl FnOnce() -> T) -> T {
        match &self.span {
            Some(span) => span.in_scope(log),
            None => log(),
        }
    }

    /// The cause.
    pub fn source(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.source
    }

    /// The cause, if it is an `E`; looks through [`std::io::Error`] wrappers and chains of sources.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        let mut next: Option<&(dyn StdError + 'static)> = Some(&*self.source);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<E>() {
                return Some(found);
            }
            // `io::Error::source` skips the error it wraps, so look inside first.
            next = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        None
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        #[cfg(feature = "websocket")]
        if let Some(error) = self.downcast_ref::<crate::causes::HandshakeError>() {
            return match error {
                crate::causes::HandshakeError::NoPlace => Fault::Server,
                error if error.status().is_client_error() => Fault::Peer,
                _ => Fault::Application,
            };
        }
        if let Some(error) = self.downcast_ref::<RequestBodyError>() {
            return if error.status().is_server_error() { Fault::Server } else { Fault::Peer };
        }
        if let Some(violation) = self.downcast_ref::<Violation>() {
            return match violation.side {
                Side::Application => Fault::Application,
                Side::Server => Fault::Server,
            };
        }
        let not_requested = matches!(self.downcast_ref::<UpgradeError>(), Some(UpgradeError::NotRequested));
        if not_requested {
            Fault::Peer
        } else if matches!(self.downcast_ref::<TaskError>(), Some(TaskError::Refused)) {
            Fault::Server
        } else {
            Fault::Application
        }
    }

    /// The status a server answers with if the head is not committed yet.
    ///
    /// A status set by [`Error::with_status`]; else the one of a [`RequestBodyError`] in the chain of causes (400, 408,
    /// 413, 500), of an [`UpgradeError`] (400, 501) or of a WebSocket's `HandshakeError` (400, 426, 501); else 503 where the
    /// server refused to run blocking work; else 500. \[ERR-01\]
    pub fn status(&self) -> StatusCode {
        if let Some(status) = self.status {
            return status;
        }
        if let Some(error) = self.downcast_ref::<RequestBodyError>() {
            return error.status();
        }
        if let Some(error) = self.downcast_ref::<UpgradeError>() {
            return error.status();
        }
        #[cfg(feature = "websocket")]
        if let Some(error) = self.downcast_ref::<crate::causes::HandshakeError>() {
            return error.status();
        }
        match self.downcast_ref::<TaskError>() {
            Some(TaskError::Refused) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Gives up the wrapper, for code that wants a standard error.
    pub fn into_boxed(self) -> Box<dyn StdError + Send + Sync> {
        self.source
    }
}

impl<E: Into<Source>> From<E> for Error {
    fn from(source: E) -> Self {
        Error::new(source)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error").field("status", &self.status()).field("source", &self.source).finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        let mut cause = self.source.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_body_error_keeps_its_status_through_io_and_boxes() {
        let io: std::io::Error = RequestBodyError::TooLarge { limit: 10 }.into();
        let boxed: Box<dyn StdError + Send + Sync> = Box::new(io);
        let error = Error::from(boxed);
        assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(error.fault(), Fault::Peer);
    }

    #[test]
    fn a_servers_violation_is_the_servers_fault() {
        let body = Error::from(RequestBodyError::ServerFault("[REQ-03] too long".into()));
        assert_eq!((body.status(), body.fault()), (StatusCode::INTERNAL_SERVER_ERROR, Fault::Server));
        let violation = |side| Error::from(Violation { requirement: "X", side, message: String::new() });
        assert_eq!(violation(Side::Server).fault(), Fault::Server);
        assert_eq!(violation(Side::Application).fault(), Fault::Application);
    }

    #[test]
    fn strings_and_any_error_convert() {
        fn two(flag: bool) -> Result<(), Error> {
            if flag {
                Err("text")?;
            }
            "x".parse::<u8>()?;
            Ok(())
        }
        assert_eq!(two(true).unwrap_err().to_string(), "text");
        assert_eq!(two(false).unwrap_err().status(), 500);
    }
}
