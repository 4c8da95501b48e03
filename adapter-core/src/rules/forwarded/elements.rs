//! Elements of `Forwarded` and of the `X-Forwarded-*` lists: octets in, what they say out. Linear in their length.

use std::iter;
use std::net::{IpAddr, SocketAddr};

use http::uri::Scheme;

use crate::rules::trim;

/// What one hop wrote of the one before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) node: Node,
    pub(super) scheme: Option<Scheme>,
    /// The host it was asked for, if it is one.
    pub(super) host: Option<Box<str>>,
}

/// Who sent the request to that hop.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Node {
    Address(SocketAddr),
    /// A Unix-domain socket, which nginx writes as `unix:`.
    Unix,
    /// Hidden, not told, or not to be read.
    Unknown,
}

/// The elements of a line of `Forwarded` from its right end, empty ones left out (RFC 9110 §5.6.1).
///
/// Commas in quoted strings separate nothing. Read from the right, a quoted string begins at the nearest quote that no
/// backslash precedes; what stands left of it can't reach into it, as it could from the left by a quote left open.
/// Where a quoted string has no beginning, the rest of the line is one element, which can't be read.
pub(super) fn from_right(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    iter::from_fn(move || {
        let line = rest?;
        let (mut quoted, mut end) = (false, line.len());
        while let Some(at) = end.checked_sub(1) {
            match line.get(at) {
                Some(b'"') if !quoted || !is_escaped(line, at) => quoted = !quoted,
                Some(b',') if !quoted => {
                    rest = line.get(..at);
                    return line.get(at + 1..);
                }
                _ => {}
            }
            end = at;
        }
        rest = None;
        Some(line)
    })
    .map(trim)
    .filter(|element| !element.is_empty())
}

/// Whether an odd number of backslashes precedes. Each run of them is looked at once, for it ends in one quote.
fn is_escaped(line: &[u8], at: usize) -> bool {
    let before = line.get(..at).unwrap_or_default();
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// An element of `Forwarded`: `for=192.0.2.43;proto=https;by=…`. RFC 7239 §4
///
/// One that is not formed so, or that says a thing twice, says nothing: it may be a client's words that got out of
/// their quotes.
pub(super) fn forwarded(element: &[u8]) -> Element {
    parameters(element).unwrap_or(Element { node: Node::Unknown, scheme: None, host: None })
}

fn parameters(mut element: &[u8]) -> Option<Element> {
    let (mut node, mut proto, mut asked, mut others) = (None, None, None, Vec::<Vec<u8>>::new());
    while !element.is_empty() {
        let equals = element.iter().position(|byte| matches!(byte, b'=' | b';'))?;
        if element.get(equals) == Some(&b';') {
            // RFC 7239 §4 allows empty parameters
            if !trim(element.get(..equals)?).is_empty() {
                return None;
            }
            element = element.get(equals + 1..)?;
            continue;
        }
        let name = trim(element.get(..equals)?).to_ascii_lowercase();
        let (value, rest) = value(element.get(equals + 1..)?)?;
        element = rest;
        let again = match name.as_slice() {
            b"" => return None,
            b"for" => node.replace(self::node(&value)).is_some(),
            b"proto" => proto.replace(scheme(&value)).is_some(),
            b"host" => asked.replace(host(&value)).is_some(),
            // by, secret and whatever comes; more of them than any proxy writes are no proxy's.
            _ if others.len() >= 16 || others.contains(&name) => true,
            _ => {
                others.push(name);
                false
            }
        };
        if again {
            return None;
        }
    }
    Some(Element { node: node.unwrap_or(Node::Unknown), scheme: proto.flatten(), host: asked.flatten() })
}

/// A token or quoted string, unquoted, and what follows the semicolon behind it. Proxies write addresses of IPv6 and
/// ports without the quotes they need, so a token may be any visible characters here.
fn value(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let rest = match text.strip_prefix(b"\"") {
        Some(quoted) => {
            let mut octets = quoted.iter().enumerate();
            loop {
                match octets.next()? {
                    (at, b'"') => break quoted.get(at + 1..)?,
                    (_, b'\\') => value.push(*octets.next()?.1),
                    (_, octet) => value.push(*octet),
                }
            }
        }
        None => {
            let end = text.iter().position(|byte| *byte == b';').unwrap_or(text.len());
            let (token, rest) = text.split_at_checked(end)?;
            let token = trim(token);
            if token.is_empty() || !token.iter().all(|byte| byte.is_ascii_graphic() && !b"\"\\,".contains(byte)) {
                return None;
            }
            value.extend_from_slice(token);
            rest
        }
    };
    let rest = trim(rest);
    if rest.is_empty() { Some((value, rest)) } else { Some((value, rest.strip_prefix(b";")?)) }
}

/// `1.2.3.4`, `1.2.3.4:5`, `[::1]:5`, `[::1]`, `::1`; the port may be hidden (`:_port`, RFC 7239 §6).
pub(super) fn node(element: &[u8]) -> Node {
    if element.starts_with(b"unix:") {
        return Node::Unix;
    }
    let address = |text: &str| {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Some(SocketAddr::new(ip, 0));
        }
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        let text = match text.split_once(":_") {
            Some((text, hidden)) if !hidden.is_empty() => text,
            _ => text,
        };
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let ip = match bare {
            Some(text) => IpAddr::V6(text.parse().ok()?),
            None => IpAddr::V4(text.parse().ok()?),
        };
        Some(SocketAddr::new(ip, 0))
    };
    match std::str::from_utf8(element).ok().and_then(address) {
        Some(address) => Node::Address(SocketAddr::new(address.ip().to_canonical(), address.port())),
        None => Node::Unknown,
    }
}

/// A host, with or without a port. RFC 9110 §7.2
pub(super) fn host(text: &[u8]) -> Option<Box<str>> {
    let is_host = !text.is_empty() && crate::rules::host::is_valid(text);
    std::str::from_utf8(text).ok().filter(|_| is_host).map(Into::into)
}

/// A scheme of HTTP; proxies that know WebSockets apart write `ws` and `wss`.
pub(super) fn scheme(text: &[u8]) -> Option<Scheme> {
    match text.to_ascii_lowercase().as_slice() {
        b"http" | b"ws" => Some(Scheme::HTTP),
        b"https" | b"wss" => Some(Scheme::HTTPS),
        _ => None,
    }
}
