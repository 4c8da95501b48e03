//! The request target: which forms are allowed, and what the application sees of them. RFC 9112 §3.2
//!
//! The application always sees origin-form (path and query as received), `*`, or authority-form with CONNECT, and
//! `Host` as the authority, whatever form and version the client used. \[TGT-04\], \[TGT-10\] to \[TGT-16\]

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode, Uri, header, request};

use super::Rejection;

/// \[TGT-13\], \[TGT-14\], \[TGT-16\], \[TGT-24\]: refuses a target of the wrong form for its method, or over the limit.
///
/// # Errors
/// The rejection.
#[inline]
pub fn check(method: &Method, uri: &Uri, limit: usize) -> Result<(), Rejection> {
    let bad = |requirement, reason| Err(Rejection::new(StatusCode::BAD_REQUEST, requirement, reason));
    let path_and_query = uri.path_and_query().map_or("", PathAndQuery::as_str);
    if path_and_query.len() > limit {
        return Err(Rejection::new(StatusCode::URI_TOO_LONG, "TGT-24", "the request target is too long"));
    }
    if *method == Method::CONNECT {
        // [TGT-14] RFC 9112 §3.2.3; with `:protocol` HTTP/2 brings scheme and path too (RFC 8441 §4).
        let Some(authority) = uri.authority() else { return bad("TGT-14", "CONNECT needs an authority") };
        // [TGT-14] RFC 9110 §9.3.6: an empty or invalid port is refused; an extended CONNECT is for a path
        let tunnel = uri.path_and_query().is_none();
        return if tunnel && authority.port_u16().is_none() { bad("TGT-14", "CONNECT needs a port") } else { Ok(()) };
    }
    match path_and_query.as_bytes() {
        [b'*'] if *method == Method::OPTIONS => Ok(()),
        // [TGT-13] RFC 9112 §3.2.4
        [b'*', ..] => bad("TGT-13", "\"*\" is for OPTIONS"),
        [b'/', ..] => Ok(()),
        // [TGT-11] absolute-form without a path
        [] | [b'?', ..] if uri.scheme().is_some() => Ok(()),
        [] if uri.authority().is_some() => bad("TGT-14", "authority-form is for CONNECT"),
        _ => bad("TGT-16", "the request target is not absolute"),
    }
}

/// Rewrites an absolute-form target (or HTTP/2's pseudo-fields) to origin-form, its authority to `Host`. \[TGT-10\],
/// \[TGT-11\] RFC 9112 §3.2.2, RFC 9113 §8.3.1
///
/// ```
/// use adapter_core::{http::Request, rules::target::normalize};
/// let (mut head, ()) = Request::get("http://a.example:81/x?y").header("host", "b").body(()).unwrap().into_parts();
/// normalize(&mut head);
/// assert_eq!(head.uri, "/x?y");
/// assert_eq!(head.headers["host"], "a.example:81");
/// ```
#[inline]
pub fn normalize(head: &mut request::Parts) {
    if head.uri.scheme().is_some() || head.uri.authority().is_some() {
        normalize_any(head);
    }
}

#[inline(never)]
fn normalize_any(head: &mut request::Parts) {
    if head.method == Method::CONNECT {
        // It stays in authority-form; its Host says the same all the same. [HDR-19]
        if let Some(value) = head.uri.authority().and_then(|authority| host_value(authority.as_str())) {
            head.headers.insert(header::HOST, value);
        }
    } else {
        to_origin_form(head);
    }
}

/// The target was checked: userinfo is the only part of an authority that a Host may not have.
fn host_value(authority: &str) -> Option<HeaderValue> {
    let user = authority.bytes().rposition(|octet| octet == b'@').map_or(0, |at| at + 1);
    let host = authority.get(user..).unwrap_or_default();
    HeaderValue::from_str(host).ok()
}

/// The same for an extended CONNECT, which has scheme, authority and path as any other request and is meant for the
/// path. For servers that know one from a tunnel by its `:protocol`. RFC 8441 §4
pub fn normalize_extended_connect(head: &mut request::Parts) {
    to_origin_form(head);
}

fn to_origin_form(head: &mut request::Parts) {
    let mut parts = std::mem::take(&mut head.uri).into_parts();
    if let Some(value) = parts.authority.take().and_then(|authority| host_value(authority.as_str())) {
        head.headers.insert(header::HOST, value);
    }
    parts.scheme = None;
    let path = match parts.path_and_query.take() {
        Some(path) if path.as_str().starts_with(['/', '*']) => path,
        // [TGT-11] `http://a` and `http://a?q` ask for `/` and `/?q`
        Some(path) if path.as_str().starts_with('?') => {
            PathAndQuery::try_from(format!("/{}", path.as_str())).unwrap_or_else(|_| PathAndQuery::from_static("/"))
        }
        _ => PathAndQuery::from_static("/"),
    };
    head.uri = Uri::from(path);
}

/// A target has a fragment. \[TGT-17b\] RFC 9112 §3.2
pub const FRAGMENT: Rejection = Rejection::new(StatusCode::BAD_REQUEST, "TGT-17b", "a fragment in the request target");

/// What the `http` crate's parser takes but a request target must not hold, looked for in the raw octets: fragments
/// and controls. For servers that parse heads themselves. \[TGT-17\], \[TGT-18\]
///
/// # Errors
/// The rejection.
pub fn check_raw(target: &[u8]) -> Result<(), Rejection> {
    let bad = |requirement, reason| Err(Rejection::new(StatusCode::BAD_REQUEST, requirement, reason));
    if target.contains(&b'#') {
        return Err(FRAGMENT);
    }
    if target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        return bad("TGT-18", "a control character in the request target");
    }
    Ok(())
}
