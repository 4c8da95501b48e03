use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::checksum::crc32c;
use super::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const TCP4: &[u8] = &[203, 0, 113, 9, 192, 0, 2, 1, 0x12, 0x67, 0x01, 0xbb];

fn ends(source: &str, destination: &str) -> Option<Ends> {
    Some(Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
}

/// A header of version 2.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap();
    [SIGNATURE, &[0x20 | command, family], &length.to_be_bytes(), block].concat()
}

fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &u16::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
}

/// `header`, which has a checksum of zeros at `place`, with the right one.
fn checked(mut header: Vec<u8>, place: usize) -> Vec<u8> {
    let sum = crc32c(&[&header]);
    header[place..place + 4].copy_from_slice(&sum.to_be_bytes());
    header
}

/// A header of version 2 for TCP over IPv4, with `fields` behind the addresses.
fn tcp4(fields: &[u8]) -> Vec<u8> {
    v2(1, 0x11, &[TCP4, fields].concat())
}

fn line(text: &str) -> Result<Option<(Header, usize)>, Malformed> {
    parse(text.as_bytes())
}

#[test]
fn lines_of_version_1() {
    let seen = |text: &str| line(text).unwrap().map(|(header, length)| (header.ends, length == text.len()));
    let four = ends("203.0.113.9:4711", "192.0.2.1:443");
    assert_eq!(seen("PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n"), Some((four, true)));
    assert_eq!(seen("PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\nGET"), Some((four, false)));
    let six = ends("[2001:db8::1]:1", "[::1]:0");
    assert_eq!(seen("PROXY TCP6 2001:db8::1 ::1 1 0\r\n"), Some((six, true)));
    for unknown in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN \r\n", "PROXY UNKNOWN TCP4 1.1.1.1 2.2.2.2 1 2\r\n"] {
        assert_eq!(seen(unknown), Some((None, true)), "{unknown:?}");
    }
    let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(91));
    assert_eq!((longest.len(), seen(&longest)), (107, Some((None, true))));
    for part in ["", "P", "PROXY ", "PROXY TCP4 1.1.1.1 2.2", "PROXY UNKNOWN\r", "PROXY nonsense"] {
        assert_eq!(line(part), Ok(None), "{part:?}");
    }
}

#[test]
fn malformed_lines_are_refused() {
    for text in [
        "PROXY",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
        "PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 00 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n",
        "PROXY TCP4 1.1.1.01 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        "PROXY TCP4\t1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY tcp4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY \r\n",
        "PROXY\r\n\r\n",
        "POST / HTTP/1.1\r\n",
        "PRI * HTTP/2.0",
        "GET",
        "\u{16}\u{3}\u{1}",
    ] {
        let whole = parse(text.as_bytes());
        assert!(whole.is_err() || (text == "PROXY" && whole == Ok(None)), "{text:?}: {whole:?}");
    }
    assert!(parse(b"PROXY TCP4 1.1.1.\xb9 2.2.2.2 1 2\r\n").is_err());
    let long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(92));
    assert_eq!(parse(&long.as_bytes()[..106]), Ok(None));
    assert!(parse(&long.as_bytes()[..107]).is_err() && line(&long).is_err());
}

#[test]
fn headers_of_version_2() {
    let whole = |octets: &[u8]| {
        let (header, length) = parse(octets).unwrap().unwrap();
        assert_eq!(length, octets.len());
        header
    };
    let four = ends("203.0.113.9:4711", "192.0.2.1:443");
    assert_eq!(whole(&tcp4(&[])), Header { ends: four, tls: false });
    let six = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 15], &[1], &[0, 1, 0, 2]].concat();
    assert_eq!(whole(&v2(1, 0x21, &six)).ends, ends("[2001:db8::1]:1", "[::1]:2"));
    // [PRX-07] addresses and nonsense behind LOCAL say nothing
    for block in [&[][..], TCP4, &[0xff; 40]] {
        for family in [0x00, 0x11, 0x21, 0x31, 0x12, 0xff] {
            assert_eq!(whole(&v2(0, family, block)), Header::default());
        }
        assert_eq!(whole(&v2(1, 0x00, block)), Header::default());
    }
    // [PRX-08]
    for (client, tls) in [(1, true), (7, true), (0, false), (6, false)] {
        let nested = field(0x21, b"TLSv1.3");
        let about = field(0x20, &[&[client, 0, 0, 0, 0], &nested[..]].concat());
        assert_eq!(whole(&tcp4(&[about, field(0x02, b"name")].concat())), Header { ends: four, tls });
    }
    // Padding may be there more than once.
    assert_eq!(whole(&tcp4(&[field(4, &[0; 9]), field(4, &[]), field(0xee, b"x")].concat())).ends, four);
}

#[test]
fn a_checksum_that_is_there_holds() {
    for behind in [&b""[..], &field(0x04, &[0; 5])] {
        let right = checked(tcp4(&[&field(0x03, &[0; 4]), behind].concat()), 31);
        assert!(parse(&right).unwrap().is_some());
        for place in [12, 16, 31, right.len() - 1] {
            let mut wrong = right.clone();
            wrong[place] ^= 1;
            assert!(parse(&wrong).is_err() || wrong[12] == 0x20, "{place}");
        }
    }
    let two = [field(0x03, &[0; 4]), field(0x03, &[0; 4])].concat();
    for fields in [two, field(0x03, &[0; 3]), field(0x03, &[0; 5])] {
        assert!(parse(&tcp4(&fields)).is_err());
    }
}

#[test]
fn malformed_headers_are_refused() {
    let with = |place: usize, octet: u8| {
        let mut header = tcp4(&[]);
        header[place] = octet;
        parse(&header)
    };
    for (place, octet) in [(0, b'\n'), (11, b'\r'), (12, 0x11), (12, 0x31), (12, 0x22), (12, 0x01)] {
        assert!(with(place, octet).is_err(), "{place}");
    }
    // UDP, Unix-domain, and what is nothing.
    for family in [0x02, 0x10, 0x12, 0x13, 0x20, 0x22, 0x31, 0x32, 0x41, 0xff] {
        assert!(with(13, family).is_err(), "{family:#x}");
    }
    assert!(parse(&v2(1, 0x11, &TCP4[..11])).is_err() && parse(&v2(1, 0x21, TCP4)).is_err());
    let about_tls = field(0x20, &[1, 0, 0, 0, 0]);
    for fields in [
        &[0x04][..],
        &[0x04, 0],
        &[0x04, 0, 1],
        &[0x04, 0xff, 0xff, 0],
        &field(0x20, &[1, 0, 0, 0]),
        &field(0x20, &[1, 0, 0, 0, 0, 0x21, 0, 9, b'x']),
        &[&about_tls[..], &about_tls].concat(),
    ] {
        assert!(parse(&tcp4(fields)).is_err(), "{fields:?}");
    }
    // What it declares is refused before it comes.
    let declares = |length: u16| parse(&[SIGNATURE, &[0x20, 0], &length.to_be_bytes()].concat());
    assert_eq!(declares(4096), Ok(None));
    assert!(declares(4097).is_err());
    // And what can't be one at the first octet that says so.
    assert!(parse(b"\r\n\r\nG").is_err());
    assert!(parse(&[SIGNATURE, b"\x11"].concat()).is_err());
}

fn address() -> impl Strategy<Value = (bool, Ends)> {
    let four = (any::<[[u8; 4]; 2]>(), any::<[u16; 2]>()).prop_map(|([a, b], [p, q])| {
        let ends = Ends { source: (Ipv4Addr::from(a), p).into(), destination: (Ipv4Addr::from(b), q).into() };
        (false, ends)
    });
    let six = (any::<[[u16; 8]; 2]>(), any::<[u16; 2]>()).prop_map(|([a, b], [p, q])| {
        let ends = Ends { source: (Ipv6Addr::from(a), p).into(), destination: (Ipv6Addr::from(b), q).into() };
        (true, ends)
    });
    prop_oneof![four, six]
}

fn written_1((six, Ends { source, destination }): &(bool, Ends)) -> Vec<u8> {
    let family = if *six { "TCP6" } else { "TCP4" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

fn written_2((six, Ends { source, destination }): &(bool, Ends), tls: bool, padding: usize) -> Vec<u8> {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mut block = octets(source.ip());
    block.extend(octets(destination.ip()));
    block.extend(source.port().to_be_bytes());
    block.extend(destination.port().to_be_bytes());
    if tls {
        block.extend(field(0x20, &[1, 0, 0, 0, 0]));
    }
    let place = 16 + block.len() + 3;
    block.extend(field(0x03, &[0; 4]));
    block.extend(field(0x04, &vec![7; padding]));
    checked(v2(1, if *six { 0x21 } else { 0x11 }, &block), place)
}

/// What comes of `octets` in pieces that end at `cuts`: the header and what is behind it.
fn read(octets: &[u8], cuts: &[usize]) -> Result<Option<(Header, Vec<u8>)>, Malformed> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (octets.len() + 1)).chain([octets.len()]).collect();
    cuts.sort_unstable();
    let (mut reader, mut from) = (Reader::new(), 0);
    for cut in cuts {
        if let Some((header, mut behind)) = reader.receive(&octets[from..cut])? {
            behind.extend_from_slice(&octets[cut..]);
            return Ok(Some((header, behind)));
        }
        from = cut;
    }
    Ok(None)
}

/// Octets that are nearly a header, and some that are nothing.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let words = prop_oneof![
        Just("PROXY "),
        Just("TCP4"),
        Just("TCP6"),
        Just("UNKNOWN"),
        Just(" "),
        Just("\r\n"),
        Just("1.2.3.4"),
        Just("::1"),
        Just("0"),
        Just("65535"),
        Just("08"),
        Just("\n"),
    ];
    let text = vec(words, 0..14).prop_map(|words| format!("PROXY {}", words.concat()).into_bytes());
    let changed = (address(), any::<bool>(), 0..40_usize, vec((any::<usize>(), any::<u8>()), 0..3)).prop_map(
        |(address, first, padding, changes)| {
            let mut octets = if first { written_1(&address) } else { written_2(&address, true, padding) };
            for (place, octet) in changes {
                let place = place % octets.len();
                octets[place] = octet;
            }
            octets
        },
    );
    let binary = (any::<u8>(), any::<u8>(), vec(any::<u8>(), 0..80))
        .prop_map(|(command, family, block)| v2(command & 1, family & 0x31, &block));
    prop_oneof![text, changed, binary, vec(any::<u8>(), 0..200)]
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        address in address(), tls: bool, padding in 0..3000_usize,
        behind in vec(any::<u8>(), 0..40), cuts in vec(any::<usize>(), 0..6),
    ) {
        let ends = Some(address.1);
        let first = [written_1(&address), behind.clone()].concat();
        prop_assert_eq!(read(&first, &cuts), Ok(Some((Header { ends, tls: false }, behind.clone()))));
        let second = [written_2(&address, tls, padding), behind.clone()].concat();
        prop_assert_eq!(read(&second, &cuts), Ok(Some((Header { ends, tls }, behind))));
    }

    #[test]
    fn pieces_change_nothing(octets in nearly(), cuts in vec(any::<usize>(), 0..6)) {
        let whole = read(&octets, &[]);
        prop_assert_eq!(&read(&octets, &cuts), &whole);
        let every: Vec<usize> = (0..octets.len()).collect();
        prop_assert_eq!(&read(&octets, &every), &whole);
        // What is whole or malformed stays so.
        if whole != Ok(None) {
            let more = [&octets[..], b"more"].concat();
            prop_assert_eq!(read(&more, &[]).map(|found| found.map(|it| it.0)), whole.map(|found| found.map(|it| it.0)));
        }
    }

    /// The crate `ppp` accepts whatever is accepted here, and reads the same; of lines it accepts no other.
    #[test]
    fn ppp_agrees(octets in nearly()) {
        use ppp::{HeaderResult, v1, v2};
        macro_rules! both {
            ($it:expr) => {
                Some(Ends {
                    source: ($it.source_address, $it.source_port).into(),
                    destination: ($it.destination_address, $it.destination_port).into(),
                })
            };
        }
        let theirs = HeaderResult::parse(&octets);
        match parse(&octets) {
            Ok(None) => prop_assert!(!matches!(theirs, HeaderResult::V1(Ok(_)) | HeaderResult::V2(Ok(_))), "{theirs:?}"),
            Ok(Some((header, length))) => {
                let (ends, theirs_length) = match &theirs {
                    HeaderResult::V1(Ok(theirs)) => {
                        let ends = match theirs.addresses {
                            v1::Addresses::Tcp4(it) => both!(it),
                            v1::Addresses::Tcp6(it) => both!(it),
                            v1::Addresses::Unknown => None,
                        };
                        (ends, theirs.header.len())
                    }
                    HeaderResult::V2(Ok(theirs)) => {
                        let ends = match theirs.addresses {
                            v2::Addresses::IPv4(it) => both!(it),
                            v2::Addresses::IPv6(it) => both!(it),
                            _ => None,
                        };
                        (ends.filter(|_| theirs.command == v2::Command::Proxy), theirs.header.len())
                    }
                    // It looks into what LOCAL leaves alone, and into what follows UNKNOWN.
                    _ => {
                        prop_assert_eq!(header, Header::default());
                        return Ok(());
                    }
                };
                prop_assert_eq!(theirs_length, length);
                prop_assert_eq!(header.ends, ends);
            }
            // It takes LF alone behind UNKNOWN, and does not look at fields.
            Err(_) => {
                let named = matches!(&theirs, HeaderResult::V1(Ok(it)) if it.addresses != v1::Addresses::Unknown);
                prop_assert!(!named, "{theirs:?}");
            }
        }
    }
}
