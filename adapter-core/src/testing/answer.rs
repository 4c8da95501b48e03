//! A whole answer.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version, response};

use crate::error::Error;

/// What the client received, to its end or to where it broke off.
#[derive(Debug)]
pub struct Answer {
    pub(super) head: response::Parts,
    pub(super) body: Bytes,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) error: Option<Error>,
    pub(super) hints: Vec<HeaderMap>,
}

impl Answer {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The version of the response line.
    pub fn version(&self) -> Version {
        self.head.version
    }

    /// The fields of the head, as they would go out: with Date and framing.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The value of the first field of that name, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// The whole head, extensions included.
    pub fn head(&self) -> &response::Parts {
        &self.head
    }

    /// The data of the body, as far as it came.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The trailers, where the request asked for them with `TE: trailers`. \[TRL-04\]
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// Whether the body came to its end. Where not, a server closes the connection and the client sees truncation.
    pub fn is_complete(&self) -> bool {
        self.error.is_none()
    }

    /// Why the body broke off.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// The 103 Early Hints that came before it, in order. \[INF-02b\]
    pub fn early_hints(&self) -> &[HeaderMap] {
        &self.hints
    }
}
