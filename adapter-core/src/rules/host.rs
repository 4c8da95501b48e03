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
    // One pass over the usual name or IPv4 address, up to a port.
    let end = value.iter().position(|byte| !REG_NAME[usize::from(*byte)]).unwrap_or(value.len());
    let rest = value.get(end..).unwrap_or_default();
    match rest {
        [] => true,
        [b':', ..] => is_port(rest),
        [b'[', literal @ ..] if rest.len() == value.len() => match literal.iter().position(|byte| *byte == b']') {
            Some(end) => is_ip_literal(&literal[..end]) && is_port(&literal[end + 1..]),
            None => false,
        },
        [b'%', ..] => {
            let (host, port) = value.split_at(value.iter().position(|byte| *byte == b':').unwrap_or(value.len()));
            is_reg_name(host) && is_port(port)
        }
        _ => false,
    }
}

/// Whether two hosts with ports, both valid, are the same authority: in any case, and with or without the port that
/// `scheme` stands for. RFC 3986 §3.2.2, §3.2.3, RFC 9110 §4.2.3
pub(crate) fn is_same(a: &[u8], b: &[u8], scheme: Option<&str>) -> bool {
    let default = match scheme {
        Some("http") => 80,
        Some("https") => 443,
        _ => 0,
    };
    let split = |authority: &[u8]| {
        // The colons of an IPv6 address are inside brackets.
        let colon = authority.iter().rposition(|byte| *byte == b':' || *byte == b']');
        let colon = colon.filter(|at| authority.get(*at) == Some(&b':'));
        let (host, port) = authority.split_at(colon.unwrap_or(authority.len()));
        let digits = port.get(1..).filter(|digits| !digits.is_empty());
        let port = digits.map(|digits| digits.iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0')));
        (host.to_ascii_lowercase(), port.unwrap_or(default))
    };
    split(a) == split(b)
}

/// Octets of a `reg-name` that need no look at their neighbours: unreserved and sub-delims (RFC 3986 §3.2.2), without
/// the comma: a list of hosts is no host.
const REG_NAME: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        allowed[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~!$&'()*+;=";
    let mut index = 0;
    while index < others.len() {
        allowed[others[index] as usize] = true;
        index += 1;
    }
    allowed
};

/// `IPv6address / IPvFuture` (RFC 3986 §3.2.2). Zone identifiers mean nothing to others and are no part of a Host.
fn is_ip_literal(text: &[u8]) -> bool {
    match text {
        [b'v' | b'V', rest @ ..] => {
            let mut halves = rest.splitn(2, |byte| *byte == b'.');
            let version = halves.next().unwrap_or_default();
            let address = halves.next().unwrap_or_default();
            let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:".contains(byte);
            !version.is_empty()
                && version.iter().all(u8::is_ascii_hexdigit)
                && !address.is_empty()
                && address.iter().all(is_allowed)
        }
        _ => std::str::from_utf8(text).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok()),
    }
}

/// `*( unreserved / pct-encoded / sub-delims )` (RFC 3986 §3.2.2)
fn is_reg_name(host: &[u8]) -> bool {
    let mut rest = host;
    loop {
        rest = match rest {
            [] => return true,
            [b'%', a, b, rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest,
            [byte, rest @ ..] if REG_NAME[usize::from(*byte)] => rest,
            _ => return false,
        }
    }
}

/// Empty, or `":" *DIGIT` up to 65535 (RFC 3986 §3.2.3 allows the empty port).
fn is_port(port: &[u8]) -> bool {
    match port {
        [] | [b':'] => true,
        [b':', digits @ ..] if digits.len() <= 5 => {
            let mut number = 0;
            for digit in digits {
                let value = digit.wrapping_sub(b'0');
                if value > 9 {
                    return false;
                }
                number = number * 10 + u32::from(value);
            }
            number <= 65_535
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
        (1, Some(_)) => bad("HDR-08a", "Host is malformed"),
        _ => bad("HDR-07", "more than one Host"),
    }
}
