//! Responses as bytes: heads, chunk framing, trailers, informational responses. \[RSP-02\], \[RSP-06\], \[RSP-11\],
//! \[FRM-01\], \[FRM-05\], \[TRL-04\], \[INF-02\], \[EXP-01\]
//!
//! Pure functions that append to a buffer. What may be in a head was decided by `rules::response::plan`.

use std::time::Instant;

use adapter_core::rules::date;
use adapter_core::rules::response::{Framing, Plan};
use adapter_core::rules::trailers;
use http::{HeaderMap, StatusCode, Version, header, response};

/// `100 Continue`, whole. \[EXP-01\] RFC 9110 §15.2.1
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// The end of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Appends a response head that `plan` was made for.
///
/// \[RSP-13\]: the version is the request's (a 1.0 client gets 1.0 back), whatever the application said.
pub fn head(out: &mut Vec<u8>, head: &response::Parts, plan: &Plan, version: Version, is_head: bool) {
    head_at(out, head, plan, version, is_head, Instant::now());
}

/// [`head`] for who has just looked at the clock: `now` is the time of the call.
pub fn head_at(out: &mut Vec<u8>, head: &response::Parts, plan: &Plan, version: Version, is_head: bool, now: Instant) {
    status_line(out, version, head.status);
    let mut dated = false;
    let sized = matches!(plan.framing, Framing::Length(_));
    for (name, value) in &head.headers {
        dated |= *name == header::DATE;
        // Written below, so that it need not be a field first.
        if !(sized && *name == header::CONTENT_LENGTH) {
            field(out, name.as_str(), value.as_bytes());
        }
    }
    if let Framing::Length(length) = plan.framing {
        // [BOD-01], [BOD-02], [BOD-17]
        content_length(out, length);
    }
    // [RSP-06] RFC 9110 §6.6.1: an origin server with a clock dates every response
    if !dated {
        out.extend_from_slice(b"date: ");
        date::with(now, |date| out.extend_from_slice(date));
        out.extend_from_slice(b"\r\n");
    }
    // [FRM-01], [FRM-05] RFC 9112 §6.1; [NOB-04] not in answer to HEAD, which has no coding to undo
    if plan.framing == Framing::Chunked && !is_head {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    // [KAP-03] RFC 9112 §9.3: a 1.0 client must be told that its wish is granted
    if version == Version::HTTP_10 && !plan.close {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends an informational response. \[INF-02\] RFC 8297
pub fn informational(out: &mut Vec<u8>, status: StatusCode, headers: &HeaderMap) {
    status_line(out, Version::HTTP_11, status);
    for (name, value) in headers {
        field(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn status_line(out: &mut Vec<u8>, version: Version, status: StatusCode) {
    // The most frequent one by far.
    if version == Version::HTTP_11 && status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The reason phrase of `status`. It may be empty (RFC 9112 §4), but some clients want one. \[RSP-02\]
pub fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Unknown")
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn content_length(out: &mut Vec<u8>, length: u64) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    let mut rest = length;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Appends the size line of a chunk of `length` bytes, which must not be 0. RFC 9112 §7.1
pub fn chunk_size(out: &mut Vec<u8>, length: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut line = [0; 18];
    let mut at = 16;
    line[16..].copy_from_slice(b"\r\n");
    let mut rest = length;
    loop {
        at -= 1;
        line[at] = DIGITS[rest & 15];
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&line[at..]);
}

/// Appends a chunk of `data`, which must not be empty. RFC 9112 §7.1
pub fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    out.reserve(data.len() + 20);
    chunk_size(out, data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(CHUNK_END);
}

/// Appends the last chunk and the trailers that may be sent. \[TRL-04\] RFC 9112 §7.1.2
pub fn last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        if trailers::is_allowed(name) {
            field(out, name.as_str(), value.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use adapter_core::rules::{request, response};
    use adapter_core::{Body, Limits, Response};
    use http::Request;

    use super::*;

    fn encoded(request: Request<()>, response: Response) -> String {
        let (parts, ()) = request.into_parts();
        let facts = request::check(&parts, &Limits::default()).unwrap();
        let (mut parts, body) = response.into_parts();
        let plan = response::plan(&mut parts, body.len(), &facts).unwrap();
        let mut out = Vec::new();
        head(&mut out, &parts, &plan, facts.version, facts.is_head);
        String::from_utf8(out).unwrap()
    }

    fn get(version: Version) -> http::request::Builder {
        Request::get("/").version(version).header("host", "h")
    }

    #[test]
    fn a_head_is_what_it_should_be() {
        let mut response = Response::new(Body::from("12345"));
        response.headers_mut().insert("date", "today".parse().unwrap());
        let text = encoded(get(Version::HTTP_11).body(()).unwrap(), response);
        assert_eq!(text, "HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 5\r\n\r\n");
    }

    #[test]
    fn an_unregistered_status_has_a_phrase_and_order_is_kept() {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(299).unwrap();
        for value in ["a=1", "b=2"] {
            response.headers_mut().append("set-cookie", value.parse().unwrap());
        }
        let text = encoded(get(Version::HTTP_11).body(()).unwrap(), response);
        assert!(text.starts_with("HTTP/1.1 299 Unknown\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n"), "{text}");
        assert_eq!(text.matches("date: ").count(), 1);
    }

    #[test]
    fn old_clients_are_told_that_the_connection_stays() {
        let request = || get(Version::HTTP_10).header("connection", "keep-alive").body(()).unwrap();
        let text = encoded(request(), Response::new(Body::from("x")));
        assert!(text.starts_with("HTTP/1.0 200 OK\r\n") && text.contains("connection: keep-alive\r\n"), "{text}");
        let text = encoded(request(), Response::new(Body::from_iterator(["x"])));
        assert!(text.contains("connection: close\r\n") && !text.contains("keep-alive"), "{text}");
        assert!(!text.contains("transfer-encoding"), "{text}");
    }

    #[test]
    fn chunk_sizes_are_hexadecimal() {
        for length in [1, 15, 16, 255, 4096, usize::MAX] {
            let mut out = Vec::new();
            chunk_size(&mut out, length);
            assert_eq!(out, format!("{length:x}\r\n").into_bytes());
        }
        let mut out = Vec::new();
        chunk(&mut out, b"abcdefghijklmnop");
        assert_eq!(out, b"10\r\nabcdefghijklmnop\r\n");
    }
}
