//! Version 2: binary, with fields of type, length and value (TLV) behind the addresses. \[PRX-05\], \[PRX-06\]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::checksum::crc32c;
use super::{Ends, Header, Malformed};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length.
pub(super) const FIXED: usize = 16;
/// What is declared behind that at most. The wire has room for 65,535, which no proxy needs.
pub(super) const MOST_DECLARED: usize = 4096;

const CRC32C: u8 = 0x03;
const SSL: u8 = 0x20;
/// `PP2_CLIENT_SSL`.
const CLIENT_SSL: u8 = 0x01;

pub(super) fn parse(octets: &[u8]) -> Result<Option<(Header, usize)>, Malformed> {
    let first = octets.len().min(SIGNATURE.len());
    if octets.get(..first) != SIGNATURE.get(..first) {
        return Err(Malformed("neither \"PROXY \" nor the signature of version 2"));
    }
    if octets.get(12).is_some_and(|octet| !matches!(octet, 0x20 | 0x21)) {
        return Err(Malformed("neither LOCAL nor PROXY of version 2"));
    }
    let Some(&[command, family, high, low]) = octets.get(12..FIXED) else { return Ok(None) };
    let declared = usize::from(u16::from_be_bytes([high, low]));
    if declared > MOST_DECLARED {
        return Err(Malformed("it declares more than 4096 octets"));
    }
    let Some(whole) = octets.get(..FIXED + declared) else { return Ok(None) };
    // [PRX-07] LOCAL: the proxy speaks for itself, and what follows says nothing, addresses too
    let header = if command == 0x20 { Header::default() } else { proxied(whole, family)? };
    Ok(Some((header, whole.len())))
}

/// What a header with the command PROXY says.
fn proxied(whole: &[u8], family: u8) -> Result<Header, Malformed> {
    let short = Malformed("it is too short for its addresses");
    let block = whole.get(FIXED..).unwrap_or_default();
    let (ends, length) = match family {
        // Nothing is known of what follows, not even where the addresses end.
        0x00 | 0x01 => return Ok(Header::default()),
        0x11 => (ends::<4>(block).ok_or(short)?, 12),
        0x21 => (ends::<16>(block).ok_or(short)?, 36),
        _ => return Err(Malformed("it is not for TCP over IPv4 or IPv6")),
    };
    let tls = Fields::read(whole, FIXED + length)?.tls.unwrap_or(false);
    Ok(Header { ends: Some(ends), tls })
}

/// Two addresses of `N` octets, then two ports.
fn ends<const N: usize>(block: &[u8]) -> Option<Ends>
where
    [u8; N]: Address,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let &[a, b, c, d] = rest.first_chunk::<4>()?;
    Some(Ends {
        source: SocketAddr::new(source.ip(), u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination.ip(), u16::from_be_bytes([c, d])),
    })
}

trait Address {
    fn ip(&self) -> IpAddr;
}

impl Address for [u8; 4] {
    fn ip(&self) -> IpAddr {
        Ipv4Addr::from(*self).into()
    }
}

impl Address for [u8; 16] {
    fn ip(&self) -> IpAddr {
        Ipv6Addr::from(*self).into()
    }
}

/// What is known of the fields.
#[derive(Default)]
struct Fields {
    /// Whether the client speaks TLS, if that is said.
    tls: Option<bool>,
    checked: bool,
}

impl Fields {
    /// Reads those of `whole`, which begin at `from`.
    fn read(whole: &[u8], from: usize) -> Result<Self, Malformed> {
        let mut fields = Fields::default();
        let mut rest = whole.get(from..).unwrap_or_default();
        while !rest.is_empty() {
            let (kind, value, after) = field(rest)?;
            match kind {
                CRC32C if std::mem::replace(&mut fields.checked, true) => return Err(Malformed("two checksums")),
                CRC32C => check(whole, whole.len() - after.len(), value)?,
                SSL if fields.tls.is_some() => return Err(Malformed("two fields about TLS")),
                SSL => fields.tls = Some(speaks_tls(value)?),
                // Its name (AUTHORITY), ALPN and the like.
                _ => {}
            }
            rest = after;
        }
        Ok(fields)
    }
}

/// The type and value of the first field in `octets`, and what is behind it.
fn field(octets: &[u8]) -> Result<(u8, &[u8], &[u8]), Malformed> {
    let long = Malformed("a field is longer than what it is in");
    let (&[kind, high, low], rest) = octets.split_first_chunk::<3>().ok_or(long)?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low]))).ok_or(long)?;
    Ok((kind, value, rest))
}

/// The checksum `value`, which ends at `end` of `whole`, is over all of that, with zeros in its own place.
fn check(whole: &[u8], end: usize, value: &[u8]) -> Result<(), Malformed> {
    let wrong = Malformed("the checksum is wrong");
    let said = u32::from_be_bytes(*<&[u8; 4]>::try_from(value).map_err(|_| wrong)?);
    let before = whole.get(..end - 4).unwrap_or_default();
    let behind = whole.get(end..).unwrap_or_default();
    if crc32c(&[before, &[0; 4], behind]) == said { Ok(()) } else { Err(wrong) }
}

/// The field about TLS: what the client speaks, whether its certificate holds, and fields of its own.
fn speaks_tls(value: &[u8]) -> Result<bool, Malformed> {
    let Some((&[client, ..], mut rest)) = value.split_first_chunk::<5>() else {
        return Err(Malformed("the field about TLS is too short"));
    };
    while !rest.is_empty() {
        (_, _, rest) = field(rest)?;
    }
    Ok(client & CLIENT_SSL != 0)
}
