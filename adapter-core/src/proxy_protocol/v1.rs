//! Version 1: a line of text. \[PRX-04\]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Ends, Header, Malformed};

/// Octets of the line at most, its end included: what the longest one of two IPv6 addresses takes.
pub(super) const MOST: usize = 107;
const BEGINNING: &[u8] = b"PROXY ";

pub(super) fn parse(octets: &[u8]) -> Result<Option<(Header, usize)>, Malformed> {
    let first = octets.len().min(BEGINNING.len());
    if octets.get(..first) != BEGINNING.get(..first) {
        return Err(Malformed("neither \"PROXY \" nor the signature of version 2"));
    }
    let window = octets.get(..MOST).unwrap_or(octets);
    let Some(newline) = window.iter().position(|octet| *octet == b'\n') else {
        return if window.len() < MOST { Ok(None) } else { Err(Malformed("the line is longer than 107 octets")) };
    };
    let line = window.get(..newline).unwrap_or_default();
    let line = line.strip_suffix(b"\r").ok_or(Malformed("the line does not end in CR LF"))?;
    let line = line.strip_prefix(BEGINNING).ok_or(Malformed("the line is incomplete"))?;
    let header = Header { ends: ends(line)?, tls: false };
    Ok(Some((header, newline + 1)))
}

/// What stands behind `PROXY `.
fn ends(line: &[u8]) -> Result<Option<Ends>, Malformed> {
    // Whatever follows it is to be ignored.
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(None);
    }
    let line = str::from_utf8(line).map_err(|_| Malformed("the line is not ASCII"))?;
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let (family, source, destination, source_port, destination_port) = (word(), word(), word(), word(), word());
    let is_over = words.next().is_none();
    let address = match family {
        "TCP4" => ip::<Ipv4Addr>,
        "TCP6" => ip::<Ipv6Addr>,
        _ => return Err(Malformed("the family is neither TCP4, TCP6 nor UNKNOWN")),
    };
    let end = |ip, port| Some(SocketAddr::new(address(ip)?, self::port(port)?));
    match (end(source, source_port), end(destination, destination_port)) {
        (Some(source), Some(destination)) if is_over => Ok(Some(Ends { source, destination })),
        _ => Err(Malformed("the line is not two addresses and two ports")),
    }
}

/// `std` takes no leading zeros, no zones and nothing around an address.
fn ip<T: FromStr + Into<IpAddr>>(text: &str) -> Option<IpAddr> {
    text.parse::<T>().ok().map(Into::into)
}

/// A port in its only form.
fn port(text: &str) -> Option<u16> {
    let is_canonical = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| is_canonical)
}
