//! What can go wrong with a request body, told apart. \[REQ-11\]

use std::io;

use http::StatusCode;

/// Why a request body could not be read to its end. Always the client's fault, or its network's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestBodyError {
    /// The client went away, or ended its stream, before the end of the body (\[REQ-10\]).
    #[error("the request body broke off: the client is gone")]
    Disconnected,
    /// The framing, or a trailer, is wrong (\[REQ-09\], \[TRL-03\]). Says what.
    #[error("the request body is malformed: {0}")]
    Malformed(String),
    /// More than the server's or the caller's limit (\[LIM-03\]).
    #[error("the request body is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The client took too long to send the next piece (\[LIM-05\]).
    #[error("the request body did not arrive in time")]
    TimedOut,
}

impl RequestBodyError {
    /// The status a server answers with when a handler passes this error on: 400, 413 or 408.
    pub fn status(&self) -> StatusCode {
        match self {
            RequestBodyError::Disconnected | RequestBodyError::Malformed(_) => StatusCode::BAD_REQUEST,
            RequestBodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            RequestBodyError::TimedOut => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

impl From<RequestBodyError> for io::Error {
    fn from(error: RequestBodyError) -> Self {
        let kind = match error {
            RequestBodyError::Disconnected => io::ErrorKind::UnexpectedEof,
            RequestBodyError::Malformed(_) => io::ErrorKind::InvalidData,
            RequestBodyError::TooLarge { .. } => io::ErrorKind::QuotaExceeded,
            RequestBodyError::TimedOut => io::ErrorKind::TimedOut,
        };
        io::Error::new(kind, error)
    }
}
