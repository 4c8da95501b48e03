//! What a proxy writes of the address the client asked for. \[HDR-28\]
//!
//! Taken from the hop whose word of the client holds where every proxy appends, and from the nearest where they don't. What is no
//! host, port or prefix says nothing: an application makes links of these.

use http::uri::Scheme;
use http::{HeaderMap, HeaderName};

use super::elements::{self, host};
use super::{Forwarded, Trust, X_FORWARDED_FOR, X_FORWARDED_PROTO, list};
use crate::config::{ForwardedAlso, ForwardedFields};

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Adds to `found` what `trust` asks for, after a walk of `steps`.
pub(super) fn complete(found: &mut Forwarded, headers: &HeaderMap, trust: &Trust, steps: usize) {
    let said = |name: HeaderName| {
        let hops = list(headers, X_FORWARDED_FOR).count();
        let is_aligned =
            *trust.fields() == ForwardedFields::XForwarded && hops > 0 && list(headers, name.clone()).count() == hops;
        list(headers, name).nth(if is_aligned { steps.saturating_sub(1) } else { 0 })
    };
    // Who writes `Forwarded` says these there, and passes on what a client says elsewhere.
    if *trust.fields() != ForwardedFields::Forwarded {
        if trust.asks_for(ForwardedAlso::Proto) && found.scheme.is_none() {
            found.scheme = said(X_FORWARDED_PROTO).and_then(elements::scheme);
        }
        if trust.asks_for(ForwardedAlso::Host) {
            found.host = said(X_FORWARDED_HOST).and_then(host);
        }
    }
    if trust.asks_for(ForwardedAlso::Port)
        && let Some(port) = said(X_FORWARDED_PORT).and_then(port)
        && let Some(host) = &found.host
        && !has_port(host)
        && port != default_port(found.scheme.as_ref())
    {
        found.host = Some(format!("{host}:{port}").into());
    }
    if trust.asks_for(ForwardedAlso::Prefix) {
        found.prefix = said(X_FORWARDED_PREFIX).and_then(prefix);
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'))
}

fn default_port(scheme: Option<&Scheme>) -> u16 {
    if scheme == Some(&Scheme::HTTPS) { 443 } else { 80 }
}

fn port(text: &[u8]) -> Option<u16> {
    let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().filter(|port| *port != 0)
}

/// A path that can stand in front of another: two slashes would begin a host, and dots would leave it.
fn prefix(text: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(text).ok()?.trim_end_matches('/');
    let is_segment = |segment: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%".contains(&byte);
        !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(allowed)
    };
    let rest = text.strip_prefix('/').filter(|rest| rest.split('/').all(is_segment))?;
    Some(format!("/{rest}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_makes_a_link_is_taken() {
        assert_eq!(prefix(b"/shop/").as_deref(), Some("/shop"));
        assert_eq!(prefix(b"/a/b%20c").as_deref(), Some("/a/b%20c"));
        for bad in
            [&b""[..], b"/", b"shop", b"//evil.example", b"/a//b", b"/../x", b"/a/./b", b"/a?b", b"/a b", b"/\xe9"]
        {
            assert_eq!(prefix(bad), None, "{}", bad.escape_ascii());
        }
        assert_eq!(
            (port(b"8443"), port(b"0"), port(b"+80"), port(b"65536"), port(b"")),
            (Some(8443), None, None, None, None)
        );
        assert!(has_port("[::1]:80") && has_port("a:80") && !has_port("[::1]") && !has_port("a"));
    }
}
