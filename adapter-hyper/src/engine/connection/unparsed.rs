//! Why hyper has refused a head, as the servers say that have a parser of their own. \[ERR-05\], \[OBS-07\]
//!
//! hyper tells kinds of errors, and leaves the octets where they are that its parser has refused: that of the other servers is asked about
//! them. What hyper refuses behind its parser shows in its words alone, which may change: then there is a reason for all of it.

use adapter_core::Limits;
use adapter_core::rules::{Rejection, request};
use adapter_http1::head;
use http::StatusCode;

/// What is told of a head that hyper has answered because of `error`, if it has; `left` begins with it, unless that was found behind
/// hyper's parser: then it has `lengths` lines of Content-Length. Also whether it does begin with it.
pub(super) fn why(error: &hyper::Error, left: &[u8], lengths: u8, limits: &Limits) -> Option<(Rejection, bool)> {
    if !error.is_parse() {
        return None;
    }
    if error.is_parse_version_h2() {
        return Some((head::parse(left, limits).err()?, true));
    }
    let said = error.to_string();
    let known = match (said.contains("content-length"), said.contains("transfer-encoding")) {
        (true, _) if lengths > 1 => Some(request::LENGTHS_DIFFER),
        (true, _) => Some(request::NO_LENGTH),
        (_, true) if said.contains("unexpected") => Some(request::CODED_TOO_EARLY),
        (_, true) => Some(request::NOT_CHUNKED),
        _ => None,
    };
    if let Some(rejection) = known {
        return Some((rejection, false));
    }
    let (status, requirement, reason) = if let Err(rejection) = head::parse(left, limits) {
        return Some((rejection, true));
    } else {
        match (said.contains("URI"), error.is_parse_too_large()) {
            (true, true) => (StatusCode::URI_TOO_LONG, "TGT-24", "the request target is too long"),
            (true, false) => (StatusCode::BAD_REQUEST, "TGT-16", "the request target is malformed"),
            // The head is not: a Content-Length of 2^64 - 2 and above.
            (false, true) => (StatusCode::PAYLOAD_TOO_LARGE, "LIM-03a", "the request body is too large"),
            (false, false) => (StatusCode::BAD_REQUEST, "ERR-05", "the request head can't be parsed"),
        }
    };
    Some((Rejection::new(status, requirement, reason), false))
}
