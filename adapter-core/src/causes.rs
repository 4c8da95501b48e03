//! Errors of ours that an [`Error`](crate::Error) knows when it finds them among its causes: whose fault they are, and with
//! which status they are answered. They stand below it; the modules they are about give them out.

use std::fmt;

use http::StatusCode;

/// Why there is no stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The server can't hand connections over. \[UPG-25\]
    #[error("this server can't hand a connection over")]
    Unsupported,
    /// The request does not ask for another protocol, or has a body.
    #[error("the request does not ask for another protocol")]
    NotRequested,
    /// Somebody took it before. \[UPG-19a\]
    #[error("the connection was taken already")]
    Taken,
    /// The application answered with a response that does not switch protocols, or failed.
    #[error("the response did not switch protocols")]
    Refused,
    /// The client went away, or the server stopped, before the response head was sent.
    #[error("the client is gone")]
    Disconnected,
}

impl UpgradeError {
    /// The status an error is answered with where the application passes it on.
    pub fn status(&self) -> StatusCode {
        match self {
            UpgradeError::Unsupported => StatusCode::NOT_IMPLEMENTED,
            UpgradeError::NotRequested => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Who broke a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// What is wrapped: its response or its body.
    Application,
    /// What calls: the server, or middleware between it and the lint.
    Server,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Application => "application",
            Side::Server => "server",
        })
    }
}

/// A rule seen broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[{requirement}] {side}: {message}")]
#[non_exhaustive]
pub struct Violation {
    /// The requirement's id in `spec/`.
    pub requirement: &'static str,
    /// Who broke it.
    pub side: Side,
    /// What was seen.
    pub message: String,
}

/// Why a request did not become a WebSocket.
///
/// Passed on with `?`, or as [`response`](Self::response), it is answered as the protocol wants.
#[cfg(feature = "websocket")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The request asks for no WebSocket: serve it as any other, or answer 400. \[UPG-05\]
    #[error("Expected WebSocket request.")]
    NotWebSocket,
    /// The handshake breaks the protocol: 400. \[UPG-03a\]
    #[error("Bad WebSocket handshake: {0}.")]
    Malformed(&'static str),
    /// Another version than 13: 426 with the one spoken here. \[UPG-03b\]
    #[error("WebSocket version 13 is required.")]
    WrongVersion,
    /// The server can't: 501. \[UPG-25\]
    #[error("This server has no WebSockets.")]
    Unsupported,
    /// The connection was taken already: 500, the application's mistake. \[UPG-19a\]
    #[error("the connection was taken already")]
    Taken,
    /// A subprotocol or header field that can't be sent: 500, the application's mistake. \[UPG-07\]
    #[error("{0}")]
    Unsendable(String),
    /// There is no thread for blocking code, and no place to wait for one: 503, which the server answers as to any request that finds none.
    /// \[CON-05\], \[RTM-03\]
    #[error("the server is busy: the queue for blocking work is full")]
    NoPlace,
}

#[cfg(feature = "websocket")]
impl HandshakeError {
    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        match self {
            HandshakeError::NotWebSocket | HandshakeError::Malformed(_) => StatusCode::BAD_REQUEST,
            HandshakeError::WrongVersion => StatusCode::UPGRADE_REQUIRED,
            HandshakeError::Unsupported => StatusCode::NOT_IMPLEMENTED,
            HandshakeError::Taken | HandshakeError::Unsendable(_) => StatusCode::INTERNAL_SERVER_ERROR,
            HandshakeError::NoPlace => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}
