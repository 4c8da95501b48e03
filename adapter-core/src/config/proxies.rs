//! Which proxies are believed, and by which fields. \[HDR-17a\], \[HDR-17b\], \[HDR-21\] to \[HDR-23\]

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The fields the operator's proxies write. Only these are believed: what a proxy does not write it passes on as it
/// came, in a client's own words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForwardedFields {
    /// `X-Forwarded-For` and `X-Forwarded-Proto`, as nginx, HAProxy, Caddy, Traefik and cloud load balancers do.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// None at all.
    Off,
}

/// A peer that is believed.
///
/// Parses from an IP address, or `unix`.
///
/// ```
/// use adapter_core::server::TrustedProxy;
///
/// assert_eq!("::ffff:10.0.0.1".parse::<TrustedProxy>()?.to_string(), "10.0.0.1");
/// assert_eq!("unix".parse::<TrustedProxy>()?, TrustedProxy::Unix);
/// # Ok::<(), adapter_core::server::ParseTrustedProxyError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrustedProxy {
    /// Peers of that address; IPv4 and its form mapped into IPv6 are the same.
    Ip(IpAddr),
    /// Peers on a Unix-domain socket, which have no address.
    Unix,
}

impl<T: Into<IpAddr>> From<T> for TrustedProxy {
    fn from(address: T) -> Self {
        TrustedProxy::Ip(address.into().to_canonical())
    }
}

/// Text that names no proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an IP address, or \"unix\" for peers on Unix-domain sockets")]
#[non_exhaustive]
pub struct ParseTrustedProxyError;

impl FromStr for TrustedProxy {
    type Err = ParseTrustedProxyError;

    fn from_str(text: &str) -> Result<Self, ParseTrustedProxyError> {
        if text == "unix" {
            return Ok(TrustedProxy::Unix);
        }
        text.parse::<IpAddr>().map(TrustedProxy::from).map_err(|_| ParseTrustedProxyError)
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrustedProxy::Ip(address) => address.fmt(f),
            TrustedProxy::Unix => f.write_str("unix"),
        }
    }
}
