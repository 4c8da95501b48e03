//! The PROXY protocol, versions 1 and 2, as whoever accepts connections reads it: what a proxy says of its client in front of
//! everything else, TLS too. \[PRX-03\] to \[PRX-08\]
//!
//! Without I/O: octets go in, a [`Header`] comes out, and how many octets it took. By the specification of HAProxy
//! (`proxy-protocol.txt`), and strictly: what is malformed ends the connection, and nothing is ever guessed. Nothing here panics
//! or keeps more than [`MOST`] octets and one piece.

mod checksum;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

/// Octets of a header at most: its first 16, and what version 2 may declare behind them (\[PRX-05\]).
pub const MOST: usize = v2::FIXED + v2::MOST_DECLARED;

/// What a header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// The two ends of the client's connection; `None` where the header names none (`UNKNOWN`, `LOCAL`, an unspecified family):
    /// then the connection's own hold.
    pub ends: Option<Ends>,
    /// Whether the client speaks TLS with the proxy.
    pub tls: bool,
}

/// The two ends of a client's connection to a proxy, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// What it has connected to.
    pub destination: SocketAddr,
}

/// Octets that are no header, for the log of whoever runs the server. The sender is told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no header of the PROXY protocol: {0}")]
pub struct Malformed(&'static str);

/// The header at the beginning of `octets`, and how many of them it is; `None` where more are needed, which there never are with
/// [`MOST`] of them. Costs no more than a look at the first 107 octets until the header is whole.
///
/// ```
/// use adapter_core::proxy_protocol::parse;
///
/// let (header, length) = parse(b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\nGET / ...")?.expect("it is whole");
/// assert_eq!(header.ends.map(|ends| ends.source.to_string()).as_deref(), Some("203.0.113.9:4711"));
/// assert_eq!(length, 43);
/// assert_eq!(parse(b"PROXY TCP4 203.0.")?, None);
/// assert!(parse(b"GET / HTTP/1.1\r\n").is_err());
/// # Ok::<(), adapter_core::proxy_protocol::Malformed>(())
/// ```
///
/// # Errors
/// They don't begin with one, whatever comes behind them.
pub fn parse(octets: &[u8]) -> Result<Option<(Header, usize)>, Malformed> {
    match octets.first() {
        None => Ok(None),
        Some(b'P') => v1::parse(octets),
        Some(_) => v2::parse(octets),
    }
}

/// A header as it comes, in pieces of any size.
#[derive(Debug, Default)]
pub struct Reader {
    octets: Vec<u8>,
}

impl Reader {
    /// Before the first octet.
    pub fn new() -> Self {
        Reader::default()
    }

    /// Takes what has come; the header once it is whole, with what came behind it.
    ///
    /// # Errors
    /// See [`parse`].
    pub fn receive(&mut self, octets: &[u8]) -> Result<Option<(Header, Vec<u8>)>, Malformed> {
        self.octets.extend_from_slice(octets);
        let Some((header, length)) = parse(&self.octets)? else { return Ok(None) };
        let mut behind = std::mem::take(&mut self.octets);
        behind.drain(..length.min(behind.len()));
        Ok(Some((header, behind)))
    }
}
