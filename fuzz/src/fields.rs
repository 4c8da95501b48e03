//! Fields of requests that more is read from than a number: what proxies say, and which parts of a file are asked for.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use adapter_core::rules::forwarded::{Forwarded, Trust, evaluate};
use adapter_core::rules::host;
use adapter_core::testing::Client;
use adapter_core::{Environ, ListenAddr, Request, ServerConfig, files};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The lines of an input, each a field of one of these names: the first octet chooses.
fn fields(lines: &[u8], names: &[&'static str]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines.split(|octet| *octet == b'\n').take(64) {
        if let [name, value @ ..] = line
            && let Ok(value) = HeaderValue::from_bytes(value)
        {
            fields.append(HeaderName::from_static(names[usize::from(*name) % names.len()]), value);
        }
    }
    fields
}

/// What a trusted proxy says: what is read of it is well-formed, and what stands further left than it does not change it.
pub fn forwarded(data: &[u8]) {
    const NAMES: [&str; 7] = [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "forwarded",
        "x-real-ip",
    ];
    let [how, lines @ ..] = data else { return };
    let ways = ["x-forwarded", "forwarded", "x-real-ip", "off"];
    let mut config = ServerConfig::default();
    config.forwarded = ways[usize::from(how & 3)].parse().expect("a way");
    config.trusted_proxies = ["10.0.0.0/8", "fd00::/8"].iter().map(|proxy| proxy.parse().expect("a network")).collect();
    if how & 4 != 0 {
        config.forwarded_also =
            ["proto", "host", "port", "prefix"].iter().map(|also| also.parse().expect("a word")).collect();
    }
    config.trusted_hops = (how & 8 != 0).then_some(u32::from(how >> 4));
    let trust = Trust::new(&config);
    let local = ListenAddr::Tcp(SocketAddr::from(([127, 0, 0, 1], 80)));
    let from = |peer: [u8; 4], headers: &HeaderMap| {
        let (peer, local) = (SocketAddr::from((peer, 4711)), &local);
        evaluate(headers, Some(peer), local, &trust)
    };
    let headers = fields(lines, &NAMES);
    if config.trusted_hops.is_none() {
        assert_eq!(from([192, 0, 2, 1], &headers), None, "a stranger is believed");
    }
    let Some(found) = from([10, 0, 0, 1], &headers) else { return };
    well_formed(&found);
    let is_proxy = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 10,
        IpAddr::V6(ip) => ip.octets()[0] == 0xfd,
    };
    // Whatever a client has sent stands to the left of what its proxy has added.
    if config.trusted_hops.is_none() && found.peer.is_some_and(|peer| !is_proxy(peer.ip())) {
        for claim in ["203.0.113.66", "for=203.0.113.66;host=forged", "for=\"", "\\\"", "unknown", ",,;"] {
            let mut forged = HeaderMap::new();
            for name in ["x-forwarded-for", "forwarded", "x-real-ip"] {
                forged.append(name, HeaderValue::from_static(claim));
            }
            for (name, value) in &headers {
                forged.append(name, value.clone());
            }
            let forged = from([10, 0, 0, 1], &forged).map(|found| found.peer);
            assert_eq!(forged, Some(found.peer), "{claim} in front of {headers:?}");
        }
    }
}

fn well_formed(found: &Forwarded) {
    let is_known = |scheme: &http::uri::Scheme| ["http", "https"].contains(&scheme.as_str());
    assert!(found.scheme.as_ref().is_none_or(is_known), "{found:?}");
    assert!(found.host.as_ref().is_none_or(|host| host::is_valid(host.as_bytes())), "{found:?}");
    assert!(found.prefix.as_ref().is_none_or(|prefix| prefix.starts_with('/') && !prefix.ends_with('/')), "{found:?}");
}

/// A file of a thousand octets, which tell where they are.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/src/octets.txt");
const OCTETS: &[u8] = include_bytes!("octets.txt");

/// A client of an application that sends that file, and the ETag and the Last-Modified it has.
fn sender() -> &'static (Client, [String; 2]) {
    static SENDER: OnceLock<(Client, [String; 2])> = OnceLock::new();
    SENDER.get_or_init(|| {
        let client = Client::new(|request: Request, environ: Environ| files::send(FILE, &request, &environ));
        let whole = client.get("/").send();
        let told = ["etag", "last-modified"].map(|name| whole.header(name).unwrap_or_default().to_owned());
        (client, told)
    })
}

/// Parts of a file, and conditions: what comes is that of the file that it says it is.
pub fn ranges(data: &[u8]) {
    const NAMES: [&str; 6] =
        ["range", "range", "if-range", "if-none-match", "if-modified-since", "if-unmodified-since"];
    let (client, [etag, date]) = sender();
    let mut request = client.get("/");
    for (name, value) in &fields(data, &NAMES) {
        // The real ones are rarely guessed.
        let value = match value.as_bytes() {
            b"E" => etag.as_bytes(),
            b"D" => date.as_bytes(),
            other => other,
        };
        request = request.header(name, HeaderValue::from_bytes(value).expect("it was one"));
    }
    let answer = request.send();
    match answer.status().as_u16() {
        200 => assert_eq!(answer.body()[..], *OCTETS),
        206 => parts(answer.header("content-range"), answer.header("content-type"), answer.body()),
        304 | 412 => assert_eq!(answer.header("content-range"), None),
        416 => assert_eq!(answer.header("content-range"), Some("bytes */1000")),
        other => panic!("{other}"),
    }
}

/// RFC 9110 §15.3.7
fn parts(range: Option<&str>, kind: Option<&str>, body: &[u8]) {
    if let Some(range) = range {
        return assert_eq!(body, &OCTETS[said(range)]);
    }
    let boundary = kind.and_then(|kind| kind.strip_prefix("multipart/byteranges; boundary=")).expect("parts");
    let dash = format!("--{}", boundary.trim_matches('"'));
    let mut rest = body;
    let mut count = 0;
    loop {
        // What is in front of a delimiter, but for the first one, is a line's end.
        rest = rest.strip_prefix(b"\r\n").unwrap_or(rest).strip_prefix(dash.as_bytes()).expect("a delimiter");
        if let Some(end) = rest.strip_prefix(b"--") {
            assert!(end.is_empty() || end == b"\r\n");
            break;
        }
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").expect("the end of fields");
        let fields = String::from_utf8(rest[..end].to_ascii_lowercase()).expect("text");
        let range = said(fields.split("content-range: ").nth(1).and_then(|it| it.lines().next()).expect("a range"));
        let (octets, after) = rest[end + 4..].split_at(range.len());
        assert_eq!(octets, &OCTETS[range]);
        (rest, count) = (after, count + 1);
    }
    assert!(count > 1 && body.len() < 4 * OCTETS.len(), "{count} parts of {} octets in all", body.len());
}

/// `bytes 1-2/1000`
fn said(range: &str) -> std::ops::Range<usize> {
    let (range, length) = range.strip_prefix("bytes ").and_then(|it| it.split_once('/')).expect("a range");
    let (first, last) = range.split_once('-').expect("two numbers");
    assert_eq!(length, "1000");
    first.parse().expect("a number")..last.parse::<usize>().expect("a number") + 1
}
