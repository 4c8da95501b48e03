//! What trusted proxies say of the client. \[HDR-17\] RFC 7239, and the `X-Forwarded-*` fields it replaces

use std::net::{IpAddr, SocketAddr};

use http::uri::Scheme;
use http::{HeaderMap, HeaderName, header};

/// What a trusted proxy said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forwarded {
    /// The nearest client that is not a trusted proxy; port 0 if it was not told.
    pub peer: Option<SocketAddr>,
    /// The scheme the client used.
    pub scheme: Option<Scheme>,
}

/// Evaluates `Forwarded`, or else `X-Forwarded-For` and `X-Forwarded-Proto`, if `peer` is one of `trusted`.
///
/// Both lists are read from the right, the side our own proxies wrote: the first address that is not trusted is the
/// client's, and what stands left of it is its own claim and is ignored.
pub fn evaluate(headers: &HeaderMap, peer: Option<SocketAddr>, trusted: &[IpAddr]) -> Option<Forwarded> {
    let is_trusted = |address: &SocketAddr| trusted.contains(&address.ip().to_canonical());
    // A Unix-domain peer has no address; it is as near as a proxy can be, and trusted if any proxy is.
    if !peer.as_ref().is_none_or(is_trusted) {
        return None;
    }
    let mut found = Forwarded::default();
    if headers.contains_key(header::FORWARDED) {
        for element in elements(headers, header::FORWARDED).into_iter().rev() {
            let pairs = || element.split(';').filter_map(|pair| pair.trim().split_once('='));
            let value = |wanted: &str| {
                pairs().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim_matches('"'))
            };
            found.scheme = value("proto").and_then(scheme).or(found.scheme);
            match value("for").and_then(address) {
                Some(address) => found.peer = Some(address),
                None => break,
            }
            if !found.peer.as_ref().is_some_and(is_trusted) {
                break;
            }
        }
    } else {
        for element in elements(headers, HeaderName::from_static("x-forwarded-for")).into_iter().rev() {
            let Some(address) = address(&element) else { break };
            found.peer = Some(address);
            if !is_trusted(&address) {
                break;
            }
        }
        let protos = elements(headers, HeaderName::from_static("x-forwarded-proto"));
        found.scheme = protos.last().and_then(|proto| scheme(proto));
    }
    (found != Forwarded::default()).then_some(found)
}

fn elements(headers: &HeaderMap, name: HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|element| element.trim().to_owned()).collect()
}

fn scheme(text: &str) -> Option<Scheme> {
    match text.to_ascii_lowercase().as_str() {
        "http" => Some(Scheme::HTTP),
        "https" => Some(Scheme::HTTPS),
        _ => None,
    }
}

/// `1.2.3.4`, `1.2.3.4:5`, `[::1]:5`, `[::1]`, `::1`.
fn address(text: &str) -> Option<SocketAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    text.parse().ok().or_else(|| bare.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &'static str, value: &str, peer: &str) -> Option<Forwarded> {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        evaluate(&headers, peer.parse().ok(), &["127.0.0.1".parse().unwrap(), "10.0.0.1".parse().unwrap()])
    }

    #[test]
    fn strangers_are_not_believed() {
        assert_eq!(found("x-forwarded-for", "1.1.1.1", "9.9.9.9:1"), None);
    }

    #[test]
    fn the_rightmost_stranger_is_the_client() {
        let peer = |value| found("x-forwarded-for", value, "127.0.0.1:1").unwrap().peer.unwrap().to_string();
        assert_eq!(peer("6.6.6.6, 1.1.1.1, 10.0.0.1"), "1.1.1.1:0");
        assert_eq!(peer("1.1.1.1:99"), "1.1.1.1:99");
        let both = found("forwarded", "for=6.6.6.6, for=\"[2001:db8::1]:4711\";proto=https", "127.0.0.1:1").unwrap();
        assert_eq!(both.peer.unwrap().to_string(), "[2001:db8::1]:4711");
        assert_eq!(both.scheme, Some(Scheme::HTTPS));
        assert_eq!(found("x-forwarded-proto", "HTTPS", "127.0.0.1:1").unwrap().scheme, Some(Scheme::HTTPS));
    }
}
