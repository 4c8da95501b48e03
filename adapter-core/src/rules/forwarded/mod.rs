//! What trusted proxies say of the client. \[HDR-17a\], \[HDR-17b\], \[HDR-21\] to \[HDR-23\]
//!
//! Lists are read from the right, the side our own proxies wrote, as octets and element by element: nothing that stands
//! further left, a client's own claims or its octets, can change what an element says or how it is read. The walk ends
//! at the first element that names no trusted proxy. Where it ends at one that can't be read, or that hides the client
//! (`unknown`, `_hidden`, `unix:`), the client is unknown: the address of a proxy never stands for it, for rules such as
//! "administration from loopback only" would open then.

mod elements;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use http::uri::Scheme;
use http::{HeaderMap, HeaderName, header};

use self::elements::{Element, Node, from_right};
use crate::config::{ForwardedFields, ListenAddr, TrustedProxy};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What a trusted proxy said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forwarded {
    /// The nearest client that is not a trusted proxy, port 0 if it was not told; `None` if nobody knows.
    pub peer: Option<SocketAddr>,
    /// The scheme the client used, if it was told.
    pub scheme: Option<Scheme>,
}

/// Whom the operator trusts, and with which fields.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    fields: ForwardedFields,
    proxies: Vec<TrustedProxy>,
}

impl Trust {
    /// From [`ServerConfig::forwarded`](crate::ServerConfig::forwarded) and
    /// [`ServerConfig::trusted_proxies`](crate::ServerConfig::trusted_proxies).
    pub fn new(fields: ForwardedFields, proxies: &[TrustedProxy]) -> Self {
        Trust { fields, proxies: proxies.to_vec() }
    }

    /// Whether nobody is believed in anything, so that [`evaluate`] need not be asked.
    pub fn is_nobody(&self) -> bool {
        self.proxies.is_empty() || self.fields == ForwardedFields::Off
    }

    fn includes(&self, address: IpAddr) -> bool {
        // An IPv4 address may stand in its mapped form on either side.
        let address = address.to_canonical();
        self.proxies.iter().any(|proxy| matches!(proxy, TrustedProxy::Ip(ip) if ip.to_canonical() == address))
    }

    fn includes_unix(&self) -> bool {
        self.proxies.contains(&TrustedProxy::Unix)
    }

    /// Whether the last hop is trusted. No address on a socket that is not Unix-domain is nobody we know.
    pub(crate) fn includes_hop(&self, peer: Option<SocketAddr>, local: &ListenAddr) -> bool {
        match (peer, local) {
            (Some(peer), _) => self.includes(peer.ip()),
            (None, ListenAddr::Unix(_)) => self.includes_unix(),
            (None, _) => false,
        }
    }
}

/// Evaluates the fields of the family the operator named, if the last hop is trusted. `None`: the last hop speaks for
/// itself, being a stranger or having said nothing.
pub fn evaluate(headers: &HeaderMap, peer: Option<SocketAddr>, local: &ListenAddr, trust: &Trust) -> Option<Forwarded> {
    if trust.is_nobody() || !trust.includes_hop(peer, local) {
        return None;
    }
    match trust.fields {
        // [HDR-21] what the proxy does not write is the client's own, whatever it says
        ForwardedFields::XForwarded => x_forwarded(headers, trust),
        ForwardedFields::Forwarded => {
            let lines = headers.get_all(header::FORWARDED);
            let elements = lines.iter().rev().flat_map(|line| from_right(line.as_bytes())).map(elements::forwarded);
            headers.contains_key(header::FORWARDED).then(|| walk(elements, trust))
        }
        ForwardedFields::Off => None,
    }
}

/// `X-Forwarded-For` and `X-Forwarded-Proto`, lists without quoting and without an RFC.
fn x_forwarded(headers: &HeaderMap, trust: &Trust) -> Option<Forwarded> {
    if !headers.contains_key(X_FORWARDED_FOR) && !headers.contains_key(X_FORWARDED_PROTO) {
        return None;
    }
    let list = |name: HeaderName| {
        let lines = headers.get_all(name).into_iter().rev();
        lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')).map(super::trim).filter(|it| !it.is_empty())
    };
    let protos = || list(X_FORWARDED_PROTO).map(elements::scheme);
    // Proxies that append write both lists, and then their elements belong together. Most write one scheme, replacing
    // what they got: then the nearest one's word is all there is.
    let aligned = list(X_FORWARDED_FOR).count() == protos().count();
    let nearest = protos().next().flatten();
    let mut protos = protos();
    let elements = list(X_FORWARDED_FOR).map(|element| {
        let scheme = if aligned { protos.next().flatten() } else { None };
        Element { node: elements::node(element), scheme }
    });
    let mut found = walk(elements, trust);
    found.scheme = found.scheme.or(nearest);
    Some(found)
}

/// From the element the last hop wrote towards the client, as far as trusted proxies wrote them.
fn walk(elements: impl Iterator<Item = Element>, trust: &Trust) -> Forwarded {
    let mut found = Forwarded::default();
    for Element { node, scheme } in elements {
        found.scheme = scheme.or(found.scheme);
        let (peer, trusted) = match node {
            Node::Address(address) => (Some(address), trust.includes(address.ip())),
            Node::Unix => (None, trust.includes_unix()),
            // [HDR-22]
            Node::Unknown => (None, false),
        };
        found.peer = peer;
        if !trusted {
            break;
        }
    }
    found
}
