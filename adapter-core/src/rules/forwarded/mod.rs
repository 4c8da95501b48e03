//! What trusted proxies say of the client. \[HDR-17a\], \[HDR-17b\], \[HDR-21\] to \[HDR-23\], \[HDR-26\] to \[HDR-28\]
//!
//! Lists are read from the right, the side our own proxies wrote, as octets and element by element: nothing that stands
//! further left, a client's own claims or its octets, can change what an element says or how it is read. The walk ends
//! at the first element that names no trusted proxy, or after as many as there are hops. Fewer than that name nobody. Where it ends at one that can't be read,
//! or that hides the client (`unknown`, `_hidden`, `unix:`), the client is unknown: the address of a proxy never stands for it, for
//! rules such as "administration from loopback only" would open then.

mod also;
mod elements;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use http::uri::Scheme;
use http::{HeaderMap, HeaderName, header};

use self::elements::{Element, Node, from_right};
pub use crate::config::Trust;
use crate::config::{ForwardedAlso, ForwardedFields, ListenAddr};

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
    /// The host the client asked for, with the port if it is another than the scheme's, if that was asked for and told.
    pub host: Option<Box<str>>,
    /// What was taken away from the path: `/x`, never ending in `/`; if that was asked for and told.
    pub prefix: Option<Box<str>>,
}

/// Evaluates the fields the operator named, if the last hop is trusted. `None`: the last hop speaks for
/// itself, being a stranger or having said nothing.
pub fn evaluate(headers: &HeaderMap, peer: Option<SocketAddr>, local: &ListenAddr, trust: &Trust) -> Option<Forwarded> {
    if trust.is_nobody() || !trust.includes_hop(peer, local) {
        return None;
    }
    let (mut found, steps) = match trust.fields() {
        // [HDR-21] what the proxy does not write is the client's own, whatever it says
        ForwardedFields::XForwarded => x_forwarded(headers, trust)?,
        ForwardedFields::Forwarded => {
            let lines = headers.get_all(header::FORWARDED);
            let elements = lines.iter().rev().flat_map(|line| from_right(line.as_bytes())).map(elements::forwarded);
            headers.contains_key(header::FORWARDED).then(|| walk(elements, trust))?
        }
        ForwardedFields::Named(name) => named(headers, name, trust)?,
        ForwardedFields::Off => return None,
    };
    // [HDR-27] it has not come through all of them, so that what it says may be anybody's
    let is_list = !matches!(trust.fields(), ForwardedFields::Named(_));
    if is_list && trust.hops().is_some_and(|hops| steps < hops) {
        return Some(Forwarded::default());
    }
    if trust.asks_for_more() {
        also::complete(&mut found, headers, trust, steps);
    }
    Some(found)
}

/// The elements of a list without quoting and without an RFC, from its right end.
fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(name).into_iter().rev();
    lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')).map(super::trim).filter(|it| !it.is_empty())
}

/// `X-Forwarded-For` and `X-Forwarded-Proto`.
fn x_forwarded(headers: &HeaderMap, trust: &Trust) -> Option<(Forwarded, usize)> {
    if !headers.contains_key(X_FORWARDED_FOR) && !headers.contains_key(X_FORWARDED_PROTO) {
        return None;
    }
    let protos = || list(headers, X_FORWARDED_PROTO).map(elements::scheme);
    // Proxies that append write both lists, and then their elements belong together. Most write one scheme, replacing
    // what they got: then the nearest one's word is all there is.
    let aligned = list(headers, X_FORWARDED_FOR).count() == protos().count();
    let nearest = protos().next().flatten();
    let mut protos = protos();
    let elements = list(headers, X_FORWARDED_FOR).map(|element| {
        let scheme = if aligned { protos.next().flatten() } else { None };
        Element { node: elements::node(element), scheme, host: None }
    });
    let (mut found, steps) = walk(elements, trust);
    found.scheme = found.scheme.or(nearest);
    Some((found, steps))
}

/// \[HDR-26\] the address of one field. Of several lines the last is the proxy's, and a list is no address.
fn named(headers: &HeaderMap, name: &HeaderName, trust: &Trust) -> Option<(Forwarded, usize)> {
    let line = headers.get_all(name).iter().next_back()?;
    let node = elements::node(super::trim(line.as_bytes()));
    Some(walk([Element { node, scheme: None, host: None }].into_iter(), trust))
}

/// From the element the last hop wrote towards the client, as far as trusted proxies wrote them; and how many that were.
fn walk(elements: impl Iterator<Item = Element>, trust: &Trust) -> (Forwarded, usize) {
    let mut found = Forwarded::default();
    let mut steps = 0;
    for Element { node, scheme, host } in elements {
        steps += 1;
        found.scheme = scheme.or(found.scheme);
        found.host = host.filter(|_| trust.asks_for(ForwardedAlso::Host)).or(found.host);
        let (peer, trusted) = match node {
            Node::Address(address) => (Some(address), trust.includes(address.ip())),
            Node::Unix => (None, trust.includes_unix()),
            // [HDR-22]
            Node::Unknown => (None, false),
        };
        found.peer = peer;
        // [HDR-27]
        let goes_on = trust.hops().map_or(trusted, |hops| steps < hops);
        if !goes_on {
            break;
        }
    }
    (found, steps)
}
