//! What is sent and received, and how a WebSocket ended.

use std::fmt;

use bytes::Bytes;

/// A message. Pings and pongs are not among them: they are answered inside.
///
/// ```
/// use adapter_core::websocket::Message;
/// assert_eq!(Message::from("hi").as_text(), Some("hi"));
/// assert_eq!(Message::from(vec![0, 1]).len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 text.
    Text(String),
    /// Octets.
    Binary(Bytes),
}

impl Message {
    /// Its payload.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// The text of a text message.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }

    /// Bytes of its payload.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether its payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Message::Text(text)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Message::Text(text.to_owned())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Message::Binary(bytes)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Message::Binary(bytes.into())
    }
}

/// Close codes of RFC 6455 §7.4.1 and the IANA registry.
pub mod code {
    /// Done.
    pub const NORMAL: u16 = 1000;
    /// The server is stopping, or the page was left.
    pub const GOING_AWAY: u16 = 1001;
    /// A violation of the protocol.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// A kind of message that is not taken.
    pub const UNSUPPORTED: u16 = 1003;
    /// Never sent: the close frame had no code.
    pub const NO_STATUS: u16 = 1005;
    /// Never sent: there was no close frame.
    pub const ABNORMAL: u16 = 1006;
    /// A text that is not UTF-8.
    pub const INVALID_DATA: u16 = 1007;
    /// Against the rules of the application.
    pub const POLICY: u16 = 1008;
    /// A message that is too big.
    pub const TOO_BIG: u16 = 1009;
    /// The code that ran the WebSocket failed.
    pub const INTERNAL_ERROR: u16 = 1011;
    /// The server restarts: another process takes its place, and the client may come back at once.
    pub const SERVICE_RESTART: u16 = 1012;
    /// The server has no room.
    pub const TRY_AGAIN_LATER: u16 = 1013;

    /// Whether a close frame may hold `code`. \[UPG-11a\] RFC 6455 §7.4
    pub fn is_sendable(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// How a WebSocket ended: the first close frame, whoever sent it, or what stands for a missing one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Close {
    /// The close code. [`code::NO_STATUS`] if the frame had none, [`code::ABNORMAL`] if there was no frame. \[UPG-12b\],
    /// \[UPG-12c\]
    pub code: u16,
    /// The reason, often empty.
    pub reason: String,
    /// Whether the client began it, rather than the application or the server.
    pub by_peer: bool,
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "closed by the {} with {}", if self.by_peer { "client" } else { "server" }, self.code)?;
        if !self.reason.is_empty() {
            write!(f, " ({})", self.reason)?;
        }
        Ok(())
    }
}

/// Why a message was not received or sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The WebSocket is closed, or closing. \[UPG-14\]
    #[error("the WebSocket is {0}")]
    Closed(Close),
    /// The connection ended without a close frame. \[UPG-12c\]
    #[error("the connection was lost")]
    Lost,
    /// The client broke the protocol and was told so with this close code. \[UPG-11\]
    #[error("the client broke the protocol: {reason} ({code})")]
    Protocol {
        /// 1002, 1007 or 1009.
        code: u16,
        /// What it did.
        reason: &'static str,
    },
    /// The client did not read, or did not answer, for too long, and was disconnected. \[UPG-20\], \[UPG-23b\]
    #[error("the client was disconnected: {0}")]
    Unresponsive(&'static str),
    /// A close code that must not be sent.
    #[error("{0} is no close code that may be sent")]
    InvalidCode(u16),
}
