//! Listeners with the PROXY protocol: who may speak there, what is a header, and what comes of it. PRX-01 to PRX-11

use std::net::SocketAddr;
use std::time::Duration;

use adapter_core::server::TrustedProxy;
use adapter_core::{Bind, ServeError, ServerConfig};

use super::UNIX;
use crate::application::{Hooks, Records};
use crate::case::{Case, Failure, Group, Level, ensure, ensure_eq};
use crate::context::RequestBuilder;
use crate::lifecycle::{self, Lifecycle, Running};
use crate::setting::SHORT;
use crate::wire::http2::Http2;
use crate::wire::{Connection, ask_unix, patience};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// 203.0.113.9:4711 to 192.0.2.1:443
const TCP4: &[u8] = &[203, 0, 113, 9, 192, 0, 2, 1, 0x12, 0x67, 0x01, 0xbb];
const LINE: &[u8] = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n";
const SOURCE: &str = "203.0.113.9:4711";
const DESTINATION: &str = "192.0.2.1:443";

/// A case that starts a server with such a listener.
const fn case(
    id: &'static str,
    title: &'static str,
    requirements: &'static [&'static str],
    script: fn(&mut Lifecycle<'_>) -> Result<(), Failure>,
) -> Case {
    Case::owned(Level::Must, id, title, requirements, script).needs("proxy-protocol")
}

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "proxy_protocol",
    title: "The PROXY protocol",
    cases: &[
        case("version_1_is_read", "TCP4 and TCP6, for every request of a connection", &["PRX-04", "PRX-10"], version_1),
        case("version_2_is_read", "TCP over IPv4 and IPv6, with fields", &["PRX-05", "PRX-06", "PRX-10"], version_2),
        case("headers_without_addresses", "UNKNOWN, LOCAL: the socket's ends hold", &["PRX-07"], no_addresses),
        case("tls_at_the_proxy_is_https", "by the field about it", &["PRX-08"], https),
        case("no_header_is_closed", "HTTP, TLS, nothing", &["PRX-01"], no_header),
        case("no_header_is_expected_elsewhere", "it is a malformed request", &["PRX-01"], unexpected),
        case("strangers_are_closed", "at once, whatever they send", &["PRX-02"], strangers),
        case("nobody_listed_is_no_start", "a listener with nobody to serve", &["PRX-02"], nobody),
        case("headers_come_in_octets", "each one in a segment of its own", &["PRX-03"], in_octets),
        case("nothing_behind_it_is_lost", "a request in the same segment", &["PRX-03"], in_one),
        case("header_is_in_front_of_http2", "its preface in the same segment, or behind it", &["PRX-03"], http2),
        #[cfg(feature = "tls")]
        case("header_is_in_front_of_tls", "the hello in the same segment, or behind it", &["PRX-03"], tls).with_tls(),
        case("second_header_is_no_header", "but a malformed request", &["PRX-03"], second),
        case("malformed_lines_are_closed", "of 108 octets, of other families", &["PRX-04"], malformed_1),
        case("malformed_version_2_is_closed", "other families, too long", &["PRX-05"], malformed_2),
        case("malformed_fields_are_closed", "too long, a wrong checksum", &["PRX-06"], malformed_fields),
        case("late_headers_are_closed", "silent, half a header, octet by octet", &["PRX-09"], late),
        case("clients_behind_it_are_not_believed", "in forwarded fields", &["PRX-11"], forged),
        case("proxies_behind_it_can_be", "in forwarded fields, if they are trusted", &["PRX-11", "PRX-10"], chained),
        case("unix_peers_announce_too", "where they are listed", &["PRX-02", "PRX-10"], unix)
            .needs("unix-socket")
            .in_plain(UNIX),
    ],
};

/// A header of version 2.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[0x20 | command, family], &(block.len() as u16).to_be_bytes(), block].concat()
}

fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &(value.len() as u16).to_be_bytes()[..], value].concat()
}

/// A header of version 2 for TCP over IPv4 with `fields`.
fn tcp4(fields: &[u8]) -> Vec<u8> {
    v2(1, 0x11, &[TCP4, fields].concat())
}

/// The field with the checksum is the last one of four octets' value: it is put in.
fn checked(mut header: Vec<u8>) -> Vec<u8> {
    let at = header.len() - 4;
    let mut state = u32::MAX;
    for octet in &header {
        state ^= u32::from(*octet);
        for _ in 0..8 {
            state = if state & 1 == 1 { (state >> 1) ^ 0x82f6_3b78 } else { state >> 1 };
        }
    }
    header[at..].copy_from_slice(&(!state).to_be_bytes());
    header
}

/// The client, listed, and a listener for it.
fn config() -> ServerConfig {
    let mut config = lifecycle::config();
    config.binds = vec![Bind::Tcp(([127, 0, 0, 1], 0).into()).with_proxy_protocol()];
    config.proxy_protocol_from = vec![[127, 0, 0, 1].into()];
    config
}

/// A server with such a listener, with other changes.
fn started(life: &mut Lifecycle<'_>, change: impl FnOnce(&mut ServerConfig)) -> Result<Running, Failure> {
    let mut config = config();
    change(&mut config);
    life.start(config)
}

/// A connection on which nothing has been said, not even TLS.
fn silent(running: &Running) -> Result<Connection, Failure> {
    running.context.connect_raw()
}

/// Sends a request on the connection; it comes from `peer` to `local`, by `scheme`.
fn asks(
    running: &mut Running,
    connection: &mut Connection,
    fields: &[(&str, &str)],
    (peer, local, scheme): (&str, &str, &str),
) -> Result<(), Failure> {
    running.context.again();
    let request = fields.iter().fold(running.context.get(""), |request, (name, value)| request.field(name, value));
    connection.send(request.bytes())?;
    ensure_eq!(connection.response("GET")?.status(), 200, "the status");
    told(running, connection.local_addr(), (peer, local, scheme))
}

/// The application was told that a request came from `peer` to `local`, by `scheme`, and who the socket's peer is.
fn told(running: &Running, own: Option<SocketAddr>, expected: (&str, &str, &str)) -> Result<(), Failure> {
    let seen = running.seen();
    let call = seen.call()?;
    ensure_eq!((call.env("peer"), call.env("local"), call.env("scheme")), expected, "peer, local address and scheme");
    let own = own.map_or("none".into(), |own| own.to_string());
    ensure_eq!(call.env("socket-peer"), &own[..], "the socket's peer");
    Ok(())
}

/// A request behind `header` comes from `peer` to `local`, by `scheme`.
fn behind(
    running: &mut Running,
    header: &[u8],
    fields: &[(&str, &str)],
    expected: (&str, &str, &str),
) -> Result<Connection, Failure> {
    let mut connection = running.context.connect_behind(header)?;
    asks(running, &mut connection, fields, expected)
        .map_err(|failure| Failure(format!("behind {}: {failure}", header.escape_ascii())))?;
    Ok(connection)
}

/// `octets` are not answered: the connection is closed.
fn closed(running: &mut Running, octets: &[u8]) -> Result<(), Failure> {
    running.context.again();
    let mut connection = silent(running)?;
    // The server may close before it has read everything.
    let _ = connection.send(octets);
    let answer =
        connection.rest().map_err(|failure| Failure(format!("behind {}: {failure}", octets.escape_ascii())))?;
    ensure!(answer.is_empty(), "{} is answered {}", octets.escape_ascii(), answer.escape_ascii());
    ensure!(running.seen().calls().is_empty(), "the application was called behind {}", octets.escape_ascii());
    Ok(())
}

/// Each of `headers`, and a request in the same segment, is closed.
fn all_closed(life: &mut Lifecycle<'_>, headers: &[Vec<u8>]) -> Result<(), Failure> {
    let mut running = started(life, |_| {})?;
    for header in headers {
        let request = running.context.get("").close().bytes();
        closed(&mut running, &[&header[..], &request].concat())?;
    }
    // It serves others.
    let scheme = running.context.scheme();
    behind(&mut running, LINE, &[], (SOURCE, DESTINATION, scheme))?;
    running.stop()
}

fn version_1(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut running = started(life, |_| {})?;
    let scheme = running.context.scheme();
    let mut connection = behind(&mut running, LINE, &[], (SOURCE, DESTINATION, scheme))?;
    asks(&mut running, &mut connection, &[], (SOURCE, DESTINATION, scheme))?;
    let line = b"PROXY TCP6 2001:db8::1 2001:db8::2 65535 1\r\n";
    behind(&mut running, line, &[], ("[2001:db8::1]:65535", "[2001:db8::2]:1", scheme))?;
    let mapped = b"PROXY TCP6 ::ffff:203.0.113.9 ::ffff:192.0.2.1 4711 443\r\n";
    behind(&mut running, mapped, &[], (SOURCE, DESTINATION, scheme))?;
    running.stop()
}

fn version_2(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut running = started(life, |_| {})?;
    let scheme = running.context.scheme();
    let mut connection = behind(&mut running, &tcp4(&[]), &[], (SOURCE, DESTINATION, scheme))?;
    asks(&mut running, &mut connection, &[], (SOURCE, DESTINATION, scheme))?;
    let some = [field(0x01, b"h2"), field(0x02, b"name.test"), field(0x04, &[0; 3]), field(0xee, b"x")].concat();
    let checksum = checked(tcp4(&[&some[..], &field(0x03, &[0; 4])].concat()));
    for header in [tcp4(&some), checksum, tcp4(&field(0x04, &[0; 4081]))] {
        behind(&mut running, &header, &[], (SOURCE, DESTINATION, scheme))?;
    }
    let block = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0x20, 1, 0xd, 0xb8], &[0; 11], &[2, 0, 9, 0, 1]].concat();
    behind(&mut running, &v2(1, 0x21, &block), &[], ("[2001:db8::1]:9", "[2001:db8::2]:1", scheme))?;
    running.stop()
}

fn no_addresses(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut running = started(life, |_| {})?;
    let scheme = running.context.scheme();
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 203.0.113.9 192.0.2.1 4711 443\r\n".to_vec(),
        v2(0, 0x00, &[]),
        v2(0, 0x11, TCP4),
        v2(0, 0x31, &[0xff; 300]),
        v2(1, 0x00, TCP4),
    ] {
        let mut connection = running.context.connect_behind(&header)?;
        let own = connection.local_addr().map_or("none".into(), |own| own.to_string());
        let local = running.context.address().to_string();
        asks(&mut running, &mut connection, &[], (&own, &local, scheme))
            .map_err(|failure| Failure(format!("behind {}: {failure}", header.escape_ascii())))?;
    }
    running.stop()
}

fn https(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut running = started(life, |_| {})?;
    let own = running.context.scheme();
    for (client, scheme) in [(1, "https"), (7, "https"), (0, own), (6, own)] {
        let about = field(0x20, &[&[client, 0, 0, 0, 0][..], &field(0x21, b"TLSv1.3")].concat());
        behind(&mut running, &tcp4(&about), &[], (SOURCE, DESTINATION, scheme))?;
    }
    running.stop()
}

fn no_header(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut running = started(life, |_| {})?;
    let get = running.context.get("").bytes();
    let post = running.context.post("", "x").bytes();
    for octets in
        [&get[..], &post, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"\r\n\r\n\0\r\nGET"]
    {
        closed(&mut running, octets)?;
    }
    let mut nothing = silent(&running)?;
    nothing.finish();
    nothing.closed()?;
    running.stop()
}

fn unexpected(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut config = lifecycle::config();
    config.proxy_protocol_from = vec![[127, 0, 0, 1].into()];
    let running = life.start(config)?;
    for header in [LINE, &tcp4(&[])] {
        let mut connection = running.context.connect()?;
        connection.send(header)?;
        let _ = connection.send(running.context.get("").bytes());
        refused(&mut connection)?;
    }
    ensure!(running.seen().calls().is_empty(), "the application was called");
    running.stop()
}

/// A malformed request was answered, or closed.
fn refused(connection: &mut Connection) -> Result<(), Failure> {
    let answer = connection.rest()?;
    ensure!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "),
        "a header that nobody expects is answered {}",
        answer.escape_ascii()
    );
    Ok(())
}

fn strangers(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut running = started(life, |config| {
        config.proxy_protocol_from = vec![[10, 0, 0, 1].into(), TrustedProxy::Unix];
        // It counts for forwarded fields alone where there is a list.
        config.trusted_proxies = vec![[127, 0, 0, 1].into()];
    })?;
    let request = running.context.get("").bytes();
    closed(&mut running, &[LINE, &request].concat())?;
    closed(&mut running, &request)?;
    // Not after a timeout.
    silent(&running)?.closed()?;
    running.stop()
}

fn nobody(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut config = config();
    config.proxy_protocol_from.clear();
    match life.start_with(Records::default(), Hooks::default(), config) {
        Err(ServeError::Config { .. }) => Ok(()),
        Err(other) => Err(format!("expected the error of a setting, seen: {other}").into()),
        Ok(running) => {
            running.stop()?;
            Err("the server has started".into())
        }
    }
}

fn in_octets(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut running = started(life, |_| {})?;
    let scheme = running.context.scheme();
    for header in [LINE.to_vec(), tcp4(&field(0x04, &[0; 20]))] {
        let mut connection = running.context.connect_in_pieces(header.chunks(1))?;
        asks(&mut running, &mut connection, &[], (SOURCE, DESTINATION, scheme))?;
    }
    running.stop()
}

fn in_one(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    // In plain, whatever the suite speaks.
    let mut running = started(life, |config| config.tls = None)?;
    for header in [LINE.to_vec(), tcp4(&[]), tcp4(&field(0x04, &[0; 3000]))] {
        running.context.again();
        let mut connection = silent(&running)?;
        let request: RequestBuilder = running.context.post("body echo", "whole");
        connection.send([&header[..], &request.bytes()].concat())?;
        ensure_eq!(connection.response("POST")?.status(), 200, "the status");
        told(&running, connection.local_addr(), (SOURCE, DESTINATION, "http"))?;
        asks(&mut running, &mut connection, &[], (SOURCE, DESTINATION, "http"))?;
    }
    running.stop()
}

fn http2(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    if !life.server().info().capabilities.http2 {
        return Ok(());
    }
    let mut running = started(life, |config| config.tls = None)?;
    for (first, then) in [(tcp4(&[]), vec![]), (vec![], LINE.to_vec())] {
        running.context.again();
        // The preface goes with what is sent then.
        let mut connection = running.context.connect_behind(&first)?;
        let own = connection.local_addr();
        connection.hold(then);
        let mut http2 = Http2::over(connection, &running.context)?;
        let stream = http2.get("/", "body served")?;
        ensure_eq!(http2.response(stream)?.body, b"served", "the response over HTTP/2");
        told(&running, own, (SOURCE, DESTINATION, "http"))?;
        running.context.again();
        http2.again(&running.context);
        let stream = http2.get("/", "body again")?;
        ensure_eq!(http2.response(stream)?.body, b"again", "the second response over HTTP/2");
        told(&running, own, (SOURCE, DESTINATION, "http"))?;
    }
    running.stop()
}

#[cfg(feature = "tls")]
fn tls(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let can = life.server().info().capabilities;
    if !can.tls {
        return Ok(());
    }
    let tls = crate::secure::config()?;
    let mut running = started(life, |config| {
        config.tls = Some(tls);
        config.binds = config.binds.drain(..).map(Bind::with_tls).collect();
    })?;
    for header in [LINE.to_vec(), tcp4(&field(0x20, &[0, 0, 0, 0, 0]))] {
        let mut connection = behind(&mut running, &header, &[], (SOURCE, DESTINATION, "https"))?;
        asks(&mut running, &mut connection, &[], (SOURCE, DESTINATION, "https"))?;
        if can.http2 {
            running.context.again();
            let connection = running.context.connect_http2_behind(&header)?;
            let own = connection.local_addr();
            let mut http2 = Http2::over(connection, &running.context)?;
            let stream = http2.get("/", "body served")?;
            ensure_eq!(http2.response(stream)?.body, b"served", "the response over HTTP/2");
            told(&running, own, (SOURCE, DESTINATION, "https"))?;
        }
        // The hello in the same segment is answered by a handshake.
        let mut connection = silent(&running)?;
        connection.send([&header[..], &super::tls::client()?.hello()?].concat())?;
        let answer = connection.take(3, "the handshake")?;
        ensure!(answer.starts_with(b"\x16\x03"), "a hello behind the header is answered {}", answer.escape_ascii());
    }
    // The header comes in the clear.
    running.context.again();
    let mut inside = running.context.connect_behind(b"")?;
    let _ = inside.send([LINE, &running.context.get("").bytes()].concat());
    ensure!(inside.rest()?.is_empty(), "a header within TLS is answered");
    ensure!(running.seen().calls().is_empty(), "the application was called behind a header within TLS");
    running.stop()
}

fn second(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = started(life, |_| {})?;
    for header in [LINE.to_vec(), tcp4(&[])] {
        let mut connection = running.context.connect_behind(&header)?;
        connection.send([LINE, &running.context.get("").bytes()].concat())?;
        let answer = connection.rest()?;
        ensure!(answer.starts_with(b"HTTP/1.1 400 "), "a second header is answered {}", answer.escape_ascii());
    }
    ensure!(running.seen().calls().is_empty(), "the application was called");
    running.stop()
}

fn malformed_1(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(92));
    let lines = [
        &long[..],
        "PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 4711\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 4711 443 \r\n",
        "PROXY TCP4  203.0.113.9 192.0.2.1 4711 443\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 04711 443\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 4711 65536\r\n",
        "PROXY TCP4 203.0.113.09 192.0.2.1 4711 443\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 4711 443\r\n",
        "PROXY TCP6 203.0.113.9 192.0.2.1 4711 443\r\n",
        "PROXY UDP4 203.0.113.9 192.0.2.1 4711 443\r\n",
        "proxy TCP4 203.0.113.9 192.0.2.1 4711 443\r\n",
        "PROXY\r\n",
    ];
    all_closed(life, &lines.map(|line| line.as_bytes().to_vec()))
}

fn malformed_2(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let with = |place: usize, octet: u8| {
        let mut header = tcp4(&[]);
        header[place] = octet;
        header
    };
    all_closed(
        life,
        &[
            with(12, 0x11),
            with(12, 0x22),
            // UDP, Unix-domain.
            with(13, 0x12),
            v2(1, 0x31, &[0; 216]),
            v2(1, 0x11, &TCP4[..11]),
            v2(1, 0x21, TCP4),
            tcp4(&field(0x04, &[0; 4082])),
            v2(0, 0x00, &[0; 4097]),
        ],
    )
}

fn malformed_fields(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut wrong = checked(tcp4(&field(0x03, &[0; 4])));
    if let Some(last) = wrong.last_mut() {
        *last ^= 1;
    }
    let about_tls = field(0x20, &[1, 0, 0, 0, 0]);
    all_closed(
        life,
        &[
            wrong,
            tcp4(&field(0x03, &[0; 4])),
            tcp4(&field(0x03, &[0; 2])),
            tcp4(&[field(0x03, &[0; 4]), field(0x03, &[0; 4])].concat()),
            tcp4(&[0x04, 0]),
            tcp4(&[0x04, 0, 9, 1]),
            tcp4(&field(0x20, &[1])),
            tcp4(&field(0x20, &[1, 0, 0, 0, 0, 0x21, 0, 9])),
            tcp4(&[&about_tls[..], &about_tls].concat()),
        ],
    )
}

fn late(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut running = started(life, |config| config.timeouts.header_read = Some(SHORT))?;
    for octets in [&b""[..], &LINE[..20], &tcp4(&[])[..20]] {
        closed(&mut running, octets)?;
    }
    let mut dripping = silent(&running)?;
    let until = std::time::Instant::now() + patience();
    let header = tcp4(&field(0x04, &[0; 4000]));
    let mut octets = header.iter();
    while dripping.arrived().is_empty() && dripping.was_reset().is_none() {
        ensure!(std::time::Instant::now() < until, "octet by octet it stays open");
        let octet = octets.next().ok_or("the whole header is taken, octet by octet")?;
        if dripping.send([*octet]).is_err() {
            break;
        }
        let _ = dripping.stays_silent(Duration::from_millis(10), "within a header");
    }
    ensure!(running.seen().calls().is_empty(), "the application was called");
    running.stop()
}

fn forged(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut running = started(life, |config| config.trusted_proxies = config.proxy_protocol_from.clone())?;
    let scheme = running.context.scheme();
    let fields = [("x-forwarded-for", "127.0.0.1"), ("x-forwarded-proto", "https"), ("forwarded", "for=10.0.0.1")];
    // The port of the local address tells nothing of the scheme.
    behind(&mut running, LINE, &fields, (SOURCE, DESTINATION, scheme))?;
    behind(&mut running, &tcp4(&[]), &fields, (SOURCE, DESTINATION, scheme))?;
    running.stop()
}

fn chained(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut running = started(life, |config| config.trusted_proxies = vec![[203, 0, 113, 9].into()])?;
    let fields = [("x-forwarded-for", "6.6.6.6, 198.51.100.7"), ("x-forwarded-proto", "https")];
    behind(&mut running, LINE, &fields, ("198.51.100.7:0", DESTINATION, "https"))?;
    running.stop()
}

fn unix(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = folder.path().join("socket");
    let running = started(life, |config| {
        config.binds.push(Bind::Unix(path.clone()).with_proxy_protocol());
        config.proxy_protocol_from.push(TrustedProxy::Unix);
    })?;
    ask_unix(&path, &[LINE, &running.context.get("").close().bytes()].concat())?;
    told(&running, None, (SOURCE, DESTINATION, "http"))?;
    running.stop()
}
