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

use http::{HeaderValue, header};

pub use crate::rejection::Rejection;

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
