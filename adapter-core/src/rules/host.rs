//! The Host field. \[HDR-06\] to \[HDR-09\] RFC 9112 §3.2

use http::StatusCode;

use super::Rejection;

/// Whether `value` is an allowed Host value: empty, or `uri-host [ ":" port ]` (RFC 9110 §7.2, RFC 3986 §3.2.2).
///
/// ```
/// use adapter_core::rules::host::is_valid;
/// for good in ["", "a", "a.example:80", "[::1]:8080", "127.0.0.1", "a_b", "x%41"] { assert!(is_valid(good.as_bytes())); }
/// for bad in ["a b", "a/b", "u@h", "a,b", "a:b", "a:99999", "[::1", "::1", "a:", "http://a"] {
///     assert_eq!(is_valid(bad.as_bytes()), bad == "a:", "{bad}");
/// }
/// ```
pub fn is_valid(value: &[u8]) -> bool {
    let (host, port) = match value {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            if !rest[..end].iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b'v'))
                || end == 0
            {
                return false;
            }
            (&b""[..], &rest[end + 1..])
        }
        _ => value.split_at(value.iter().position(|byte| *byte == b':').unwrap_or(value.len())),
    };
    is_reg_name(host) && is_port(port)
}

/// `*( unreserved / pct-encoded / sub-delims )` (RFC 3986 §3.2.2), without the comma: a list of hosts is no host.
fn is_reg_name(host: &[u8]) -> bool {
    let mut rest = host;
    loop {
        rest = match rest {
            [] => return true,
            [b'%', a, b, rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest,
            [byte, rest @ ..] if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(byte) => rest,
            _ => return false,
        }
    }
}

/// Empty, or `":" *DIGIT` up to 65535 (RFC 3986 §3.2.3 allows the empty port).
fn is_port(port: &[u8]) -> bool {
    match port {
        [] | [b':'] => true,
        [b':', digits @ ..] => {
            digits.len() <= 5
                && digits.iter().all(u8::is_ascii_digit)
                && digits.iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0')) <= 65_535
        }
        _ => false,
    }
}

/// \[HDR-06\] to \[HDR-08\]: what is wrong with `count` Host lines of which the first is `value`.
pub(crate) fn check(count: usize, value: Option<&[u8]>, required: bool) -> Result<(), Rejection> {
    let bad = |requirement, reason| Err(Rejection::new(StatusCode::BAD_REQUEST, requirement, reason));
    match (count, value) {
        (0, _) if required => bad("HDR-06", "Host is missing"),
        (0 | 1, None) => Ok(()),
        (1, Some(value)) if is_valid(value) => Ok(()),
        (1, Some(_)) => bad("HDR-08", "Host is malformed"),
        _ => bad("HDR-07", "more than one Host"),
    }
}
