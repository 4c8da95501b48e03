//! What can go wrong with a request body, told apart. \[REQ-11\]

use std::io;

use http::StatusCode;

/// Why a request body could not be read to its end. The client's fault, or its network's, unless it says otherwise.
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
    /// The server, or middleware, delivered something that can't be: [`lint`](crate::lint) says what.
    #[error("the request body was not delivered as it should be: {0}")]
    ServerFault(String),
}

impl RequestBodyError {
    /// The status a server answers with when a handler passes this error on: 400, 413, 408, or 500 for the server's own
    /// fault.
    pub fn status(&self) -> StatusCode {
        match self {
            RequestBodyError::Disconnected | RequestBodyError::Malformed(_) => StatusCode::BAD_REQUEST,
            RequestBodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            RequestBodyError::TimedOut => StatusCode::REQUEST_TIMEOUT,
            RequestBodyError::ServerFault(_) => StatusCode::INTERNAL_SERVER_ERROR,
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
            RequestBodyError::ServerFault(_) => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
