//! The engine's own answers, in HTTP/1.1, to heads that become no request: what the other servers say. \[ERR-05\]
//!
//! hyper answers what it refuses by itself, with a status that is not always the one for it and without a word. It has no hook for that, so
//! its answer is taken back before it goes out.

use adapter_core::dispatch;
use adapter_core::rules::Rejection;
use adapter_http1::{encoder, head};

/// Octets of an answer of hyper's own at most.
const LONGEST: usize = 256;

/// Puts the answer to a head behind `out` that is refused because of `rejection`; `line` is how it begins.
#[cold]
pub(super) fn write(out: &mut Vec<u8>, rejection: &Rejection, line: &[u8]) {
    // [NOB-01] that to a HEAD has no body either
    let facts = head::facts_of_rejected(line);
    let (parts, body, plan) = dispatch::prepare(rejection.response(), &facts, false);
    encoder::head(out, &parts, &plan, facts.version, facts.is_head);
    if plan.send_body {
        out.extend_from_slice(&body.try_into_bytes().unwrap_or_default());
    }
}

/// Takes hyper's own answer off the end of `out`, if it stands there.
#[cold]
pub(super) fn take_back(out: &mut Vec<u8>) -> bool {
    let from = out.len().saturating_sub(LONGEST);
    let last = out.get(from..).unwrap_or_default();
    let Some(at) = memchr::memmem::rfind(last, b"HTTP/1.1 4") else { return false };
    let is_hypers = last.get(at..).is_some_and(is_hypers);
    if is_hypers {
        out.truncate(from + at);
    }
    is_hypers
}

/// Whether that is all of an answer as hyper makes them. One of the application's may look the same: it is asked where hyper has
/// refused something.
fn is_hypers(answer: &[u8]) -> bool {
    let Some(fields) = answer.strip_suffix(b"\r\n\r\n") else { return false };
    fields.split(|octet| *octet == b'\n').skip(1).all(|field| {
        let field = field.strip_suffix(b"\r").unwrap_or(field);
        field == b"connection: close" || field == b"content-length: 0" || field.starts_with(b"date: ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYPERS: &[u8] =
        b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: Tue, 01 Dec 2026 12:00:00 GMT\r\n\r\n";

    #[test]
    fn hypers_answer_is_taken_back_and_nothing_else() {
        for before in [b"".as_slice(), b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", &[b'x'; 4 * LONGEST], HYPERS]
        {
            let mut out = [before, HYPERS].concat();
            assert!(take_back(&mut out));
            assert_eq!(out, before);
        }
        for other in [
            b"".as_slice(),
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nx: y\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
        ] {
            let mut out = other.to_vec();
            assert!(!take_back(&mut out));
            assert_eq!(out, other);
        }
    }

    #[test]
    fn an_answer_says_why_but_not_to_a_head() {
        let answer = |line: &[u8]| {
            let mut out = Vec::new();
            write(&mut out, &head::LATE, line);
            String::from_utf8(out).unwrap_or_default()
        };
        assert!(answer(b"GET /").starts_with("HTTP/1.1 408 Request Timeout\r\n"));
        assert!(answer(b"GET /").ends_with("\r\n\r\nthe request head did not arrive in time"));
        assert!(answer(b"GET /").contains("\r\nconnection: close\r\n") && answer(b"GET /").contains("\r\ndate: "));
        assert!(answer(b"HEAD /").ends_with("\r\n\r\n"));
    }
}
