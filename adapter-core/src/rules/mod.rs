//! The HTTP rules every server needs and none may get differently, as pure functions.
//!
//! A server's path of a request through them:
//! 1. [`cookies::join`] and then [`request::check`] on the parsed head: refuse it with a [`Rejection`], or learn its
//!    [`request::Facts`];
//! 2. [`target::normalize`] gives the application the same target and `Host` on every server;
//! 3. the application is called, see [`crate::dispatch`];
//! 4. [`response::prepare`] makes the head sendable and says how the body is framed.
//!
//! Nothing here does I/O, keeps state or panics on any input. A stranger's server may use all of it.

pub mod cookies;
pub mod date;
pub mod forwarded;
pub mod host;
pub mod request;
pub mod response;
pub mod target;
pub mod trailers;

#[cfg(test)]
mod tests;

use http::{HeaderValue, StatusCode, header};

use crate::application::Response;
use crate::body::Body;

/// Why a request is answered by the server alone. The connection is closed after the answer where its end is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejection {
    /// The status of the answer.
    pub status: StatusCode,
    /// What is wrong, in a few words; the body of the answer.
    pub reason: &'static str,
    /// The requirement it breaks.
    pub requirement: &'static str,
}

impl Rejection {
    /// A rejection of a server's own, for what it finds while it parses.
    pub const fn new(status: StatusCode, requirement: &'static str, reason: &'static str) -> Self {
        Rejection { status, reason, requirement }
    }

    /// The answer: sized, plain text, and the last one of its connection. \[FRM-08\], \[KAP-11\]
    pub fn response(&self) -> Response {
        let mut response = plain(self.status, self.reason);
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} [{}] {}", self.status.as_u16(), self.requirement, self.reason)
    }
}

/// A plain-text response of the server's own.
pub(crate) fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The Content-Length in `headers`, if it is one valid number.
pub fn declared_length(headers: &http::HeaderMap) -> Option<u64> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).into_iter();
    let length = request::parse_length(values.next()?.as_bytes());
    length.filter(|_| values.next().is_none())
}

/// The members of a comma-separated list field, trimmed, empty ones left out (RFC 9110 §5.6.1). Not for fields whose
/// members may hold quoted commas.
pub fn list_members(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// Without spaces and tabs around.
fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}
