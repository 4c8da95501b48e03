//! What observers hear of requests that the application never sees. With octets of HTTP/2 by hand: an ordinary client would not send them.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::future::pending;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, mpsc};

use adapter_core::observe::{Observer, RequestEnded, RequestStarted};
use adapter_core::refused::Refused;
use adapter_core::{Body, Environ, Error, Request, Response, ServerConfig};

use crate::support::{PATIENCE, config, servers, start};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;

/// Tells a test what it hears, a line each.
struct Told(mpsc::Sender<String>);

impl Observer for Told {
    fn request_started(&self, request: &RequestStarted<'_>) {
        let _ = self.0.send(format!("started {} {}", request.head.method, request.head.uri));
    }

    fn request_ended(&self, request: &RequestEnded<'_>) {
        let _ = self.0.send(format!("ended {}", request.how.name()));
    }

    fn request_refused(&self, refused: &Refused<'_>) {
        let line = refused.line().map_or("-".into(), |line| String::from_utf8_lossy(&line).into_owned());
        let rejection = refused.rejection();
        let octets = if refused.bytes() == 0 { String::new() } else { format!(" with {} octets", refused.bytes()) };
        let _ = self.0.send(format!("{} {} {line}{octets}", rejection.status.as_u16(), rejection.reason));
    }
}

fn observed() -> (ServerConfig, mpsc::Receiver<String>) {
    let (told, heard) = mpsc::channel();
    (config().observe(Arc::new(Told(told))), heard)
}

/// Octets of a frame.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A field, as a literal.
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// HEADERS of a request of /x with `more` fields.
fn request(stream: u8, flags: u8, more: &[u8]) -> Vec<u8> {
    // GET, http, /x, a
    let block = [b"\x82\x86\x04\x02/x\x01\x01a", more].concat();
    frame(HEADERS, flags | END_HEADERS, stream, &block)
}

struct Client {
    socket: TcpStream,
    seen: Vec<u8>,
}

/// A frame that came: its type, stream and payload.
type Came = (u8, u32, Vec<u8>);

impl Client {
    fn connect(addr: std::net::SocketAddr) -> Self {
        let mut socket = TcpStream::connect(addr).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        Client { socket, seen: Vec::new() }
    }

    fn send(&mut self, octets: &[u8]) {
        self.socket.write_all(octets).unwrap();
    }

    /// The next frame that is about a stream, or the end of the connection; `None`: its stream has ended.
    fn next(&mut self) -> Option<Came> {
        loop {
            if let Some((&[a, b, c, kind, _, d, e, f, g], rest)) = self.seen.split_first_chunk::<9>() {
                let length = u32::from_be_bytes([0, a, b, c]) as usize;
                if let Some(payload) = rest.get(..length) {
                    let came = (kind, u32::from_be_bytes([d, e, f, g]), payload.to_vec());
                    self.seen.drain(..9 + length);
                    if came.1 != 0 || kind == GOAWAY {
                        return Some(came);
                    }
                    continue;
                }
            }
            let mut buffer = [0; 4096];
            match self.socket.read(&mut buffer) {
                Ok(count) if count > 0 => self.seen.extend_from_slice(&buffer[..count]),
                _ => return None,
            }
        }
    }

    /// The code of the reset or GOAWAY that is the next frame of `kind`, and its stream.
    fn error(&mut self, kind: u8) -> (u32, u32) {
        loop {
            let came = self.next().expect("an end too early");
            if came.0 == kind {
                let at = if kind == GOAWAY { 4 } else { 0 };
                let stream = if kind == GOAWAY { u32::from_be_bytes(came.2[..4].try_into().unwrap()) } else { came.1 };
                return (u32::from_be_bytes(came.2[at..at + 4].try_into().unwrap()), stream);
            }
        }
    }
}

async fn answers(_: Request, _: Environ) -> Result<Response, Error> {
    Ok(Response::new(Body::from("served")))
}

/// [OBS-07] h2 resets them before anybody sees them.
#[test]
fn streams_that_h2_refuses_are_told() {
    for server in servers() {
        let (config, heard) = observed();
        let server = start(&*server, answers, config);
        let next = || heard.recv_timeout(PATIENCE).expect("nothing is told");
        let mut client = Client::connect(server.addr);
        client.send(&request(1, END_STREAM, &field("connection", "close")));
        assert_eq!(client.error(RST_STREAM), (PROTOCOL_ERROR, 1));
        assert_eq!(next(), "400 the request is malformed -");
        // Among others, one of which turns out later to be malformed; and in two pieces.
        let wrong = request(9, END_STREAM, &field("upgrade", "x"));
        let octets = [
            request(3, END_STREAM, &[]),
            request(5, END_STREAM, &field("te", "gzip")),
            request(7, 0, &field("content-length", "2")),
            frame(DATA, END_STREAM, 7, b"abc"),
            wrong[..20].to_vec(),
        ];
        client.send(&octets.concat());
        let mut told: Vec<String> = (0..5).map(|_| next()).collect();
        told.sort();
        let expected = ["400 the request is malformed -", "ended client_gone", "ended complete", "started GET /x"];
        assert_eq!(told[..4], expected);
        client.send(&wrong[20..]);
        assert_eq!(next(), "400 the request is malformed -");
        drop(client);
        server.stop();
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [""; 0]);
    }
}

/// [OBS-06], [MUX-16] Who sends more than it has declared is not gone: that is answered, by a reset, and the application's answer to it is
/// the last word, as it is in HTTP/1.1.
#[test]
fn a_body_that_is_too_long_is_no_client_that_is_gone() {
    let reads = |request: Request, _: Environ| async {
        Ok::<_, Error>(Response::new(Body::from(request.into_body().bytes(4096).await?)))
    };
    for server in servers() {
        let (config, heard) = observed();
        let server = start(&*server, reads, config);
        let next = || heard.recv_timeout(PATIENCE).expect("nothing is told");
        let mut client = Client::connect(server.addr);
        client.send(&request(1, 0, &field("content-length", "2")));
        assert_eq!(next(), "started GET /x");
        client.send(&frame(DATA, 0, 1, b"abc"));
        assert_eq!(client.error(RST_STREAM), (PROTOCOL_ERROR, 1));
        assert_eq!(next(), "ended complete");
        // One that is reset by its client is.
        client.send(&request(3, 0, &field("content-length", "2")));
        assert_eq!(next(), "started GET /x");
        client.send(&frame(RST_STREAM, 0, 3, &PROTOCOL_ERROR.to_be_bytes()));
        assert_eq!(next(), "ended client_gone");
    }
}

/// [OBS-07], [MUX-19] h2 ends the connection.
#[test]
fn heads_that_end_their_connection_are_told() {
    let endless = [
        frame(HEADERS, END_STREAM, 1, b"\x82\x86\x84"),
        frame(CONTINUATION, 0, 1, &field("x", "1")).repeat(20),
        frame(CONTINUATION, END_HEADERS, 1, &[]),
    ];
    let cases = [
        frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x80"),
        endless.concat(),
        endless[..2].concat(),
        [frame(HEADERS, END_STREAM, 1, b"\x82\x86\x84"), frame(DATA, 0, 1, b"x")].concat(),
        frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0; 16_385]),
    ];
    for server in servers() {
        for octets in &cases {
            let (config, heard) = observed();
            let server = start(&*server, answers, config);
            let mut client = Client::connect(server.addr);
            client.send(octets);
            assert_ne!(client.error(GOAWAY).0, NO_ERROR);
            let told = heard.recv_timeout(PATIENCE).expect("nothing is told");
            assert_eq!(told, "400 the request ends its connection -");
            drop(client);
            server.stop();
            assert_eq!(heard.try_iter().collect::<Vec<_>>(), [""; 0]);
        }
        // Behind a request that is answered there is none.
        let (config, heard) = observed();
        let server = start(&*server, answers, config);
        let mut client = Client::connect(server.addr);
        client.send(&request(1, END_STREAM, &[]));
        while client.next().expect("an answer").0 != DATA {}
        client.send(&frame(PING, 0, 1, &[0; 8]));
        assert_ne!(client.error(GOAWAY).0, NO_ERROR);
        drop(client);
        server.stop();
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["started GET /x", "ended complete"]);
    }
}

/// [ERR-05], [OBS-07] What hyper refuses is answered and told as on the other servers, also behind another request.
#[test]
fn reasons_are_told_apart() {
    for server in servers() {
        let (mut config, heard) = observed();
        config.limits.head_bytes = 8192;
        let server = start(&*server, answers, config);
        let long = "x".repeat(9000);
        for (head, status, reason, line) in [
            ("GET /a b HTTP/1.1\r\n\r\n", 400, "the request line or a line end is malformed", "GET /a b HTTP/1.1"),
            ("G\0T / HTTP/1.1\r\n\r\n", 400, "the request line or a line end is malformed", "G\0T / HTTP/1.1"),
            ("GET / HTTP/1.7\r\n\r\n", 505, "only HTTP/1.0 and HTTP/1.1 are served", "GET / HTTP/1.7"),
            ("GET / HTTP/1.1\r\na(: b\r\n\r\n", 400, "a header name is malformed", "GET / HTTP/1.1"),
            ("GET / HTTP/1.1\r\na: \0\r\n\r\n", 400, "a header value is malformed", "GET / HTTP/1.1"),
            (&format!("GET / HTTP/1.1\r\na: {long}\r\n\r\n"), 431, "the request head is too large", "GET / HTTP/1.1"),
            (
                &format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101)),
                431,
                "the request has too many header lines",
                "GET / HTTP/1.1",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
                400,
                "Content-Length is not a number",
                "POST / HTTP/1.1",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n",
                400,
                "the last transfer coding is not chunked",
                "POST / HTTP/1.1",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                400,
                "Content-Length twice, and not the same",
                "POST / HTTP/1.1",
            ),
            (
                "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
                400,
                "Transfer-Encoding before HTTP/1.1",
                "POST / HTTP/1.0",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n",
                413,
                "the request body is too large",
                "POST / HTTP/1.1",
            ),
            // It is gone where the log is told.
            ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "a fragment in the request target", "GET / HTTP/1.1"),
            ("GET a[ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "the request target is malformed", "GET a[ HTTP/1.1"),
        ] {
            let mut socket = TcpStream::connect(server.addr).unwrap();
            socket.write_all(head.as_bytes()).unwrap();
            let told = format!("{status} {reason} {line} with {} octets", reason.len());
            assert_eq!(heard.recv_timeout(PATIENCE), Ok(told), "{head:?}");
            let mut came = String::new();
            socket.read_to_string(&mut came).unwrap();
            assert!(came.starts_with(&format!("HTTP/1.1 {status} ")), "{came:?}");
            assert!(came.ends_with(&format!("\r\n\r\n{reason}")) && came.contains("\r\ndate: "), "{came:?}");
        }
        let mut socket = TcpStream::connect(server.addr).unwrap();
        socket.write_all(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\na(: b\r\n\r\n").unwrap();
        let told = [(); 3].map(|()| heard.recv_timeout(PATIENCE).expect("nothing is told"));
        assert!(told.contains(&"400 a header name is malformed GET /2 HTTP/1.1 with 26 octets".to_owned()), "{told:?}");
        let mut came = String::new();
        socket.read_to_string(&mut came).unwrap();
        let statuses: Vec<_> = came.match_indices("HTTP/1.1 ").map(|(at, _)| &came[at + 9..at + 12]).collect();
        assert_eq!(statuses, ["200", "400"], "{came:?}");
        // [NOB-01]
        let mut socket = TcpStream::connect(server.addr).unwrap();
        socket.write_all(b"HEAD / HTTP/1.1\r\na(: b\r\n\r\n").unwrap();
        let mut came = String::new();
        socket.read_to_string(&mut came).unwrap();
        assert!(came.starts_with("HTTP/1.1 400 ") && came.ends_with("\r\n\r\n"), "{came:?}");
    }
}

/// \[TGT-20\] as on the servers that have never known it.
#[test]
fn http2_that_is_off_is_answered() {
    for server in servers() {
        let (mut config, heard) = observed();
        config.options.insert("http2".into(), "off".into());
        let server = start(&*server, answers, config);
        let mut client = Client::connect(server.addr);
        let mut came = String::new();
        client.socket.read_to_string(&mut came).unwrap();
        assert!(came.starts_with("HTTP/1.1 505 HTTP Version Not Supported\r\n"), "{came:?}");
        let told = heard.recv_timeout(PATIENCE).expect("nothing is told");
        assert_eq!(told, "505 only HTTP/1.0 and HTTP/1.1 are served PRI * HTTP/2.0 with 37 octets");
    }
}

/// What is refused has its target as what is served.
#[test]
fn a_refused_target_is_path_and_query() {
    for server in servers() {
        let (config, heard) = observed();
        let server = start(&*server, answers, config);
        let mut client = Client::connect(server.addr);
        client.send(&request(1, END_STREAM, &field("host", "b")));
        let told = heard.recv_timeout(PATIENCE).expect("nothing is told");
        assert_eq!(told, "400 Host is not the authority GET /x HTTP/2.0 with 25 octets");
    }
}

/// [MUX-16] whether its body comes with it, later or not at all: h2 takes an empty length for 0, and resets the stream where it can see more.
#[test]
fn an_empty_length_is_reset() {
    for server in servers() {
        let (config, heard) = observed();
        let server = start(&*server, answers, config);
        let mut client = Client::connect(server.addr);
        let data = |stream| frame(DATA, END_STREAM, stream, b"abc");
        let empty = field("content-length", "");
        for (stream, flags, data) in [(1, END_STREAM, vec![]), (3, 0, vec![]), (5, 0, data(5))] {
            client.send(&[request(stream, flags, &empty), data].concat());
            let came = client.next().unwrap();
            assert_eq!((came.0, came.1), (RST_STREAM, stream.into()));
            assert_eq!(came.2, PROTOCOL_ERROR.to_be_bytes());
            let told = heard.recv_timeout(PATIENCE).expect("nothing is told");
            assert_eq!(told, "400 Content-Length is not a number GET /x HTTP/2.0");
        }
        drop(client);
        server.stop();
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [""; 0]);
    }
}

/// RFC 9113 §6.8: a client is to know what of its requests may have been seen.
#[test]
fn a_forced_end_says_which_streams_were_seen() {
    for server in servers() {
        let (config, heard) = observed();
        let server = start(&*server, |_: Request, _: Environ| pending::<Result<Response, Error>>(), config);
        let mut client = Client::connect(server.addr);
        client.send(&[request(1, END_STREAM, &[]), request(3, END_STREAM, &[])].concat());
        for _ in 0..2 {
            assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), "started GET /x");
        }
        server.trigger().force();
        assert_eq!(client.error(GOAWAY), (NO_ERROR, 3));
        assert_eq!(client.next(), None);
        server.wait();
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["ended forced"; 2]);
    }
}
