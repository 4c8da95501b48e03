//! Trailer fields, both ways. \[TRL-02\], \[TRL-04\], \[TRL-05\] RFC 9110 §6.5

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, header};

/// Whether a field may stand in a trailer section: not framing, routing, authentication, request modifiers, response
/// control, or the description of the content's form (RFC 9110 §6.5.1).
///
/// ```
/// use adapter_core::{http::header, rules::trailers::is_allowed};
/// assert!(is_allowed(&header::ETAG));
/// assert!(!is_allowed(&header::CONTENT_LENGTH));
/// ```
pub fn is_allowed(name: &HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "transfer-encoding"
            | "content-length"
            | "host"
            | "trailer"
            | "te"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "upgrade"
            | "cache-control"
            | "expect"
            | "max-forwards"
            | "pragma"
            | "range"
            | "if-match"
            | "if-none-match"
            | "if-modified-since"
            | "if-unmodified-since"
            | "if-range"
            | "authorization"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "www-authenticate"
            | "cookie"
            | "set-cookie"
            | "age"
            | "expires"
            | "date"
            | "location"
            | "retry-after"
            | "vary"
            | "warning"
            | "content-encoding"
            | "content-type"
            | "content-range"
    )
}

/// Whether a field value has a blank at its beginning or end, which is malformed in HTTP/2. \[HDR-25\] RFC 9113 §8.2.1
pub fn has_blanks_around(value: &HeaderValue) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    blank(value.as_bytes().first()) || blank(value.as_bytes().last())
}

/// Drops the fields that are not allowed. \[TRL-02\]
pub fn sanitize(trailers: &mut HeaderMap) {
    let forbidden: Vec<HeaderName> = trailers.keys().filter(|name| !is_allowed(name)).cloned().collect();
    for name in forbidden {
        trailers.remove(name);
    }
}

/// A `Trailer` field that announces `trailers`, for a head that has none. RFC 9110 §6.6.2
pub fn announce(head: &mut HeaderMap, trailers: &HeaderMap) {
    if !head.contains_key(header::TRAILER) {
        let names: Vec<&str> = trailers.keys().filter(|name| is_allowed(name)).map(HeaderName::as_str).collect();
        if let Ok(value) = HeaderValue::from_str(&names.join(", "))
            && !names.is_empty()
        {
            head.insert(header::TRAILER, value);
        }
    }
}
