//! Which proxies are believed, and by which fields. \[HDR-17a\], \[HDR-17b\], \[HDR-21\] to \[HDR-23\], \[HDR-26\] to \[HDR-28\]

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::HeaderName;
use ipnet::{IpNet, Ipv4Net};

/// The fields the operator's proxies write. Only these are believed: what a proxy does not write it passes on as it
/// came, in a client's own words.
///
/// Parses from `x-forwarded`, `forwarded`, `off`, `x-real-ip`, and `header:NAME` for any other field with the client's address.
///
/// ```
/// use adapter_core::server::ForwardedFields;
///
/// let named: ForwardedFields = "header:CF-Connecting-IP".parse()?;
/// assert_eq!(named.to_string(), "header:cf-connecting-ip");
/// assert!("x-forwraded".parse::<ForwardedFields>().is_err());
/// # Ok::<(), adapter_core::server::ParseForwardedError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForwardedFields {
    /// `X-Forwarded-For` and `X-Forwarded-Proto`, as nginx, HAProxy, Caddy, Traefik and cloud load balancers do.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// One field that has the client's address and nothing else, such as `X-Real-IP`. The proxy has to overwrite what a client
    /// sends there. \[HDR-26\]
    Named(HeaderName),
    /// None at all.
    Off,
}

/// Text that names no forwarded fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected x-forwarded, forwarded, x-real-ip, header:NAME or off")]
#[non_exhaustive]
pub struct ParseForwardedError;

impl FromStr for ForwardedFields {
    type Err = ParseForwardedError;

    fn from_str(text: &str) -> Result<Self, ParseForwardedError> {
        let named = |name: &str| name.parse().map(ForwardedFields::Named).map_err(|_| ParseForwardedError);
        match text {
            "x-forwarded" => Ok(ForwardedFields::XForwarded),
            "forwarded" => Ok(ForwardedFields::Forwarded),
            "off" => Ok(ForwardedFields::Off),
            "x-real-ip" => named(text),
            // So that a misspelt word is no field that clients may write.
            _ => named(text.strip_prefix("header:").ok_or(ParseForwardedError)?),
        }
    }
}

impl fmt::Display for ForwardedFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardedFields::XForwarded => f.write_str("x-forwarded"),
            ForwardedFields::Forwarded => f.write_str("forwarded"),
            ForwardedFields::Named(name) if name == "x-real-ip" => f.write_str("x-real-ip"),
            ForwardedFields::Named(name) => write!(f, "header:{name}"),
            ForwardedFields::Off => f.write_str("off"),
        }
    }
}

/// What a proxy writes besides, to be asked for one by one: few proxies write all of it, and the rest is a client's own.
/// \[HDR-28\]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForwardedAlso {
    /// `X-Forwarded-Proto`, where the address comes from a field of another name.
    Proto,
    /// `X-Forwarded-Host`, or `host=` of `Forwarded`: the host the client asked for.
    Host,
    /// `X-Forwarded-Port`: the port the client asked for.
    Port,
    /// `X-Forwarded-Prefix`: what the proxy took away from the beginning of the path.
    Prefix,
}

/// Text that names nothing a proxy could write besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected proto, host, port or prefix")]
#[non_exhaustive]
pub struct ParseForwardedAlsoError;

impl FromStr for ForwardedAlso {
    type Err = ParseForwardedAlsoError;

    fn from_str(text: &str) -> Result<Self, ParseForwardedAlsoError> {
        match text {
            "proto" => Ok(ForwardedAlso::Proto),
            "host" => Ok(ForwardedAlso::Host),
            "port" => Ok(ForwardedAlso::Port),
            "prefix" => Ok(ForwardedAlso::Prefix),
            _ => Err(ParseForwardedAlsoError),
        }
    }
}

/// A peer that is believed.
///
/// Parses from an IP address, a network such as `10.0.0.0/8`, `unix`, or `*`.
///
/// ```
/// use adapter_core::server::TrustedProxy;
///
/// assert_eq!("::ffff:10.0.0.1".parse::<TrustedProxy>()?.to_string(), "10.0.0.1");
/// assert_eq!("10.1.2.3/8".parse::<TrustedProxy>()?.to_string(), "10.0.0.0/8");
/// assert_eq!("unix".parse::<TrustedProxy>()?, TrustedProxy::Unix);
/// # Ok::<(), adapter_core::server::ParseTrustedProxyError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrustedProxy {
    /// Peers of that address; IPv4 and its form mapped into IPv6 are the same.
    Ip(IpAddr),
    /// Peers of a network.
    Network(Network),
    /// Peers on a Unix-domain socket, which have no address.
    Unix,
    /// Whoever connects by TCP. Addresses in their fields are no proxies because of it: behind two proxies, list the other one.
    Any,
}

/// Addresses with a common beginning: `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

impl Network {
    /// Whether `address` is one of them. IPv4 and its form mapped into IPv6 are the same.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = ParseTrustedProxyError;

    fn from_str(text: &str) -> Result<Self, ParseTrustedProxyError> {
        let net = text.parse::<IpNet>().map_err(|_| ParseTrustedProxyError)?.trunc();
        // ::ffff:10.0.0.0/104
        if let (IpAddr::V4(address), IpNet::V6(mapped)) = (net.addr().to_canonical(), net)
            && let Some(length) = mapped.prefix_len().checked_sub(96)
            && let Ok(net) = Ipv4Net::new(address, length)
        {
            return Ok(Network(net.into()));
        }
        Ok(Network(net))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Into<IpAddr>> From<T> for TrustedProxy {
    fn from(address: T) -> Self {
        TrustedProxy::Ip(address.into().to_canonical())
    }
}

/// Text that names no proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an IP address, a network such as 10.0.0.0/8, \"unix\" for peers on Unix-domain sockets, or \"*\"")]
#[non_exhaustive]
pub struct ParseTrustedProxyError;

impl FromStr for TrustedProxy {
    type Err = ParseTrustedProxyError;

    fn from_str(text: &str) -> Result<Self, ParseTrustedProxyError> {
        match text {
            "unix" => Ok(TrustedProxy::Unix),
            "*" => Ok(TrustedProxy::Any),
            _ if text.contains('/') => text.parse().map(TrustedProxy::Network),
            _ => text.parse::<IpAddr>().map(TrustedProxy::from).map_err(|_| ParseTrustedProxyError),
        }
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrustedProxy::Ip(address) => address.fmt(f),
            TrustedProxy::Network(network) => network.fmt(f),
            TrustedProxy::Unix => f.write_str("unix"),
            TrustedProxy::Any => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_canonical_on_both_sides() {
        let net = |text: &str| text.parse::<Network>().unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(net("10.0.0.0/8").contains(ip("::ffff:10.9.9.9")) && !net("10.0.0.0/8").contains(ip("11.0.0.1")));
        assert!(net("::ffff:10.0.0.0/104").contains(ip("10.9.9.9")));
        assert_eq!(net("::ffff:10.0.0.0/104"), net("10.0.0.0/8"));
        assert!(net("fd00::/8").contains(ip("fd12::1")) && !net("fd00::/8").contains(ip("10.0.0.1")));
        // All of IPv6, whatever it has mapped into it.
        assert!(!net("::/0").contains(ip("10.0.0.1")) && net("0.0.0.0/0").contains(ip("10.0.0.1")));
        for bad in ["10.0.0.0/33", "10.0.0.0/", "/8", "10.0.0.0/8/8", "x/8", "10.0.0/8"] {
            assert!(bad.parse::<TrustedProxy>().is_err(), "{bad}");
        }
    }

    #[test]
    fn fields_are_named_or_refused() {
        for text in ["x-forwarded", "forwarded", "off", "x-real-ip", "header:true-client-ip"] {
            assert_eq!(text.parse::<ForwardedFields>().unwrap().to_string(), text);
        }
        for bad in ["", "x-forwarded-for", "header:", "header:a b", "both"] {
            assert!(bad.parse::<ForwardedFields>().is_err(), "{bad}");
        }
    }
}
