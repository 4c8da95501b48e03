//! Why hyper has refused a head, as the servers say that have a parser of their own. \[ERR-05\], \[OBS-07\]
//!
//! hyper tells kinds of errors, and leaves the octets where they are that its parser has refused: that of the other servers is asked about
//! them. What hyper refuses behind its parser shows in its words alone, which may change: then there is a reason for all of it.

use adapter_core::Limits;
use adapter_core::rules::Rejection;
use adapter_http1::head;
use http::StatusCode;

/// What is told of a head that hyper has answered because of `error`, if it has; `left` begins with it, unless that was found behind
/// hyper's parser. Also whether it does.
pub(super) fn why(error: &hyper::Error, left: &[u8], limits: &Limits) -> Option<(Rejection, bool)> {
    if !error.is_parse() {
        return None;
    }
    if error.is_parse_version_h2() {
        return Some((head::parse(left, limits).err()?, true));
    }
    let said = error.to_string();
    let (status, requirement, reason) = if said.contains("content-length") {
        (StatusCode::BAD_REQUEST, "REQ-23", "Content-Length is malformed")
    } else if said.contains("transfer-encoding") {
        (StatusCode::BAD_REQUEST, "REQ-24", "Transfer-Encoding is malformed")
    } else if let Err(rejection) = head::parse(left, limits) {
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
