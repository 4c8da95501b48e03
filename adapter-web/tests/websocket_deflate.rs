//! permessage-deflate on every server, with a client of its own whose DEFLATE is miniz_oxide. What Autobahn has in its sections 12 and
//! 13 (`.ci/autobahn` runs those) in few messages of each size, and what it lacks: offers that must be declined, blocks that say they
//! are the last, bombs, damage, and RSV1 where it means nothing. \[UPG-11\], \[UPG-24\]; RFC 7692

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::net::SocketAddr;

use adapter_core::websocket::{self, Deflate, Message, Upgrade};
use adapter_core::{Application, BlockingBody, Environ, Error, Request, Response, blocking};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::support::{BINARY, CLOSE, Client, PING, PONG, TEXT, close, each, frame, handshake};

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// What the testbed's `/ws` has at most.
const LIMIT: usize = 16 << 20;

fn keeping() -> Deflate {
    Deflate::default().server_context_takeover(true).client_context_takeover(true).min_message_bytes(0)
}

/// By its path: how it compresses.
fn deflate(path: &str) -> Option<Deflate> {
    match path {
        "/keeping" => Some(keeping()),
        "/narrow" => Some(keeping().server_window_bits(9).client_window_bits(9)),
        "/alone" => Some(Deflate::default().min_message_bytes(0)),
        "/plain" => None,
        _ => Some(Deflate::default()),
    }
}

fn upgrade<B>(request: &Request<B>, environ: &Environ) -> Result<Upgrade, Error> {
    let upgrade = Upgrade::from_request(request, environ)?.max_message_bytes(LIMIT);
    Ok(match deflate(request.uri().path()) {
        Some(deflate) => upgrade.deflate(deflate),
        None => upgrade,
    })
}

async fn echo(request: Request, environ: Environ) -> Result<Response, Error> {
    Ok(upgrade(&request, &environ)?.accept(|mut socket| async move {
        while let Some(message) = socket.recv().await {
            socket.send(message?).await?;
        }
        Ok::<_, websocket::Error>(())
    })?)
}

fn blocking_echo() -> impl Application {
    blocking(|request: Request<BlockingBody>, environ: Environ| {
        let accepted = upgrade(&request, &environ)?.blocking_accept(|mut socket| {
            while let Some(message) = socket.recv() {
                socket.send(message?)?;
            }
            Ok::<_, websocket::Error>(())
        });
        accepted.map_err(Error::from)
    })
}

/// A client that compresses.
struct Peer {
    client: Client,
    answer: Option<String>,
    compress: Compress,
    decompress: Decompress,
}

impl Peer {
    fn open(addr: SocketAddr, path: &str, offer: &str) -> Self {
        let mut client = Client::connect(addr);
        client.send(handshake(path, &format!("Sec-WebSocket-Extensions: {offer}\r\n")).as_bytes());
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{offer}: {head}");
        let named = |line: &str| line.to_lowercase().strip_prefix("sec-websocket-extensions: ").map(str::to_owned);
        let answer = head.lines().find_map(named);
        let (compress, decompress) = (Compress::new(Compression::new(6), false), Decompress::new(false));
        Peer { client, answer, compress, decompress }
    }

    fn agreed(&self, parameter: &str) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.contains(parameter))
    }

    /// The payload of a message, by what was agreed on.
    fn compressed(&mut self, message: &[u8]) -> Vec<u8> {
        if self.agreed("client_max_window_bits") {
            // miniz_oxide has no small windows, but can do without one.
            self.compress = Compress::new(Compression::none(), false);
        }
        if self.agreed("client_no_context_takeover") {
            self.compress.reset();
        }
        let mut output = Vec::with_capacity(message.len() * 2 + 100);
        self.compress.compress_vec(message, &mut output, FlushCompress::Sync).unwrap();
        output.strip_suffix(&TAIL).unwrap().to_vec()
    }

    fn inflated(&mut self, payload: &[u8], most: usize) -> Vec<u8> {
        if self.agreed("server_no_context_takeover") {
            self.decompress.reset(false);
        }
        let mut output = Vec::with_capacity(most + 1);
        let input = [payload, &TAIL].concat();
        self.decompress.decompress_vec(&input, &mut output, FlushDecompress::Sync).unwrap();
        output
    }

    /// Sends a message in fragments of that size, with a ping in the middle.
    fn send(&mut self, opcode: u8, message: &[u8], fragment: usize) {
        let payload = self.compressed(message);
        let pieces: Vec<_> = payload.chunks(fragment.max(1)).collect();
        let mut octets = Vec::new();
        for (n, piece) in pieces.iter().enumerate() {
            if n == pieces.len() / 2 {
                octets.extend(frame(FIN | PING, b"between"));
            }
            let first = if n == 0 { RSV1 | opcode } else { 0 };
            let fin = if n + 1 == pieces.len() { FIN } else { 0 };
            octets.extend(frame(fin | first, piece));
        }
        self.client.send(&octets);
        self.client.expect(PONG, b"between");
    }

    /// The message comes back, compressed if it is worth it.
    fn expect(&mut self, opcode: u8, message: &[u8]) {
        let came = self.client.extended_frame().expect("a message");
        assert_eq!(came.first & !RSV1, FIN | opcode);
        let payload = match came.first & RSV1 {
            0 => came.payload,
            _ => self.inflated(&came.payload, message.len()),
        };
        assert!(payload == message, "{} octets are others", message.len());
    }

    fn end(mut self) {
        self.client.send(&close(1000, ""));
        self.client.expect_close(1000);
    }
}

/// Like JSON: what compresses, and differs from message to message.
fn json(length: usize, seed: usize) -> Vec<u8> {
    let rows = (seed..).map(|n| format!("{{\"id\":{n},\"name\":\"row {}\",\"on\":{}}},", n * 7919 % 1009, n % 3 == 0));
    rows.flat_map(String::into_bytes).take(length).collect()
}

#[test]
fn messages_of_all_sizes_by_all_parameters() {
    let offers = [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits",
        "permessage-deflate; server_max_window_bits=9; client_max_window_bits",
        "permessage-deflate; server_max_window_bits=15; client_max_window_bits",
        "permessage-deflate; server_max_window_bits=9; server_no_context_takeover; client_max_window_bits",
        "permessage-deflate; server_max_window_bits=15; server_no_context_takeover; client_no_context_takeover",
    ];
    let sizes = [0, 16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131_072];
    let run = |server: &support::Running, path: &str, offer: &str| {
        let mut peer = Peer::open(server.addr, path, offer);
        assert!(peer.agreed("permessage-deflate"), "{path}: {offer}");
        for (n, size) in sizes.into_iter().enumerate() {
            let fragment = if n % 2 == 0 { usize::MAX } else { 256 };
            for (opcode, seed) in [(TEXT, 0), (BINARY, size + 1)] {
                let message = json(size, seed);
                peer.send(opcode, &message, fragment);
                peer.expect(opcode, &message);
            }
        }
        peer.end();
    };
    each(echo, |server| {
        for offer in offers {
            run(&server, "/keeping", offer);
        }
        run(&server, "/narrow", offers[1]);
        run(&server, "/alone", offers[0]);
    });
    each(blocking_echo(), |server| {
        run(&server, "/keeping", offers[0]);
        run(&server, "/alone", offers[0]);
    });
}

#[test]
fn windows_that_go_on_make_the_second_message_smaller() {
    each(echo, |server| {
        let message = json(2000, 0);
        let sizes = |path: &str| {
            let mut peer = Peer::open(server.addr, path, "permessage-deflate");
            [(); 3].map(|()| {
                let payload = peer.compressed(&message);
                peer.client.send(&frame(FIN | RSV1 | TEXT, &payload));
                let came = peer.client.extended_frame().unwrap();
                assert_eq!(came.first, FIN | RSV1 | TEXT);
                assert!(peer.inflated(&came.payload, 2000) == message);
                came.payload.len()
            })
        };
        let [first, second, third] = sizes("/keeping");
        assert!(first > 200 && second < 100 && third < 100, "{first}, {second}, {third}");
        let [first, second, third] = sizes("/alone");
        assert!(first == second && second == third, "{first}, {second}, {third}");
    });
}

#[test]
fn offers_are_answered_and_others_declined() {
    each(echo, |server| {
        for (path, offer, answer) in [
            ("/keeping", "permessage-deflate", Some("permessage-deflate")),
            ("/keeping", "x-webkit-deflate-frame, permessage-deflate", Some("permessage-deflate")),
            (
                "/",
                "permessage-deflate; client_max_window_bits",
                Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
            ),
            (
                "/narrow",
                "permessage-deflate; server_max_window_bits=\"10\"; client_max_window_bits",
                Some("permessage-deflate; server_max_window_bits=9; client_max_window_bits=9"),
            ),
            (
                "/keeping",
                "permessage-deflate; server_max_window_bits=8, permessage-deflate; mem=1, permessage-deflate",
                Some("permessage-deflate"),
            ),
            ("/keeping", "permessage-deflate; server_max_window_bits=8", None),
            ("/keeping", "permessage-deflate; server_max_window_bits=16", None),
            ("/keeping", "permessage-deflate; server_max_window_bits=010", None),
            ("/keeping", "permessage-deflate; server_max_window_bits", None),
            ("/keeping", "permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
            ("/keeping", "permessage-deflate; client_no_context_takeover=1", None),
            ("/keeping", "permessage-bzip2", None),
            ("/plain", "permessage-deflate", None),
            ("/plain", "permessage deflate", None),
        ] {
            let mut peer = Peer::open(server.addr, path, offer);
            assert_eq!(peer.answer.as_deref(), answer, "[UPG-24] {offer}");
            peer.client.send(&frame(FIN | TEXT, b"plain"));
            peer.expect(TEXT, b"plain");
            if answer.is_none() {
                peer.client.send(&frame(FIN | RSV1 | TEXT, &[0]));
                peer.client.expect_close(1002);
            } else {
                peer.end();
            }
        }
        let mut client = Client::connect(server.addr);
        client.send(handshake("/", "Sec-WebSocket-Extensions: permessage deflate\r\n").as_bytes());
        assert!(client.head().starts_with("HTTP/1.1 400 "), "RFC 6455 §9.1");
    });
}

#[test]
fn what_autobahn_does_not_send() {
    each(echo, |server| {
        let open = || Peer::open(server.addr, "/alone", "permessage-deflate");
        let stream = |payload: &[u8], flush: FlushCompress| {
            let mut output = Vec::with_capacity(payload.len() + 1000);
            Compress::new(Compression::new(6), false).compress_vec(payload, &mut output, flush).unwrap();
            output
        };
        let last = stream(b"Hello", FlushCompress::Finish);
        let flushed = stream(b"Hello", FlushCompress::Sync);
        let hello = flushed.strip_suffix(&TAIL).unwrap();
        let mut peer = open();
        for (payload, text) in [
            // RFC 7692 §7.2.3.4: a block that says it is the last
            ([&last[..], &[0]].concat(), "Hello"),
            ([&last[..], &last, hello].concat(), "HelloHelloHello"),
            // the tail where it was, and more empty blocks
            (flushed.clone(), "Hello"),
            ([&flushed[..], &[0, 0, 0, 0xff, 0xff].repeat(1000), &[0]].concat(), "Hello"),
            (vec![0], ""),
        ] {
            for fragment in [1, payload.len()] {
                let pieces: Vec<_> = payload.chunks(fragment).collect();
                for (n, piece) in pieces.iter().enumerate() {
                    let first = if n == 0 { RSV1 | TEXT } else { 0 };
                    let fin = if n + 1 == pieces.len() { FIN } else { 0 };
                    peer.client.send(&frame(fin | first, piece));
                }
                peer.expect(TEXT, text.as_bytes());
            }
        }
        peer.end();
        let bomb = {
            let zeros = vec![0; LIMIT + 1];
            let octets = stream(&zeros, FlushCompress::Sync);
            assert!(octets.len() < 100_000, "{}", octets.len());
            octets
        };
        let half = &hello[..hello.len() / 2];
        for (what, octets, code) in [
            ("a bomb", frame(FIN | RSV1 | BINARY, &bomb), 1009),
            ("a text that is none", frame(FIN | RSV1 | TEXT, &[0, 1, 0, 0xfe, 0xff, 0xff, 0]), 1007),
            ("no stream", frame(FIN | RSV1 | BINARY, b"Hello"), 1007),
            ("half a stream", frame(FIN | RSV1 | TEXT, half), 1007),
            ("what came before is referred to", frame(FIN | RSV1 | TEXT, &[0xf2, 0, 0x11, 0, 0]), 1007),
            ("RSV1 on a ping", frame(FIN | RSV1 | PING, b""), 1002),
            ("RSV1 on a pong", frame(FIN | RSV1 | PONG, b""), 1002),
            ("RSV1 on a close", frame(FIN | RSV1 | CLOSE, b"\x03\xe8"), 1002),
            ("RSV1 on the second fragment", [frame(RSV1 | TEXT, half), frame(FIN | RSV1, half)].concat(), 1002),
            ("RSV1 on the second fragment only", [frame(TEXT, b"a"), frame(FIN | RSV1, b"b")].concat(), 1002),
            ("RSV2 beside it", frame(FIN | RSV1 | 0x20 | TEXT, hello), 1002),
        ] {
            let mut peer = open();
            peer.client.send(&octets);
            let said = peer.client.extended_frame().unwrap_or_else(|| panic!("{what}: no close frame"));
            assert_eq!(said.close().map(|(code, _)| code), Some(code), "{what}");
            peer.client.expect_end();
        }
    });
}

#[test]
fn what_is_small_or_noise_is_sent_as_it_is() {
    each(
        |request: Request, environ: Environ| async move {
            let accepted = upgrade(&request, &environ)?.accept(|mut socket| async move {
                socket.send("x".repeat(127)).await?;
                socket.send("x".repeat(128)).await?;
                let mut state = 0x2545_f491_4f6c_dd1d_u64;
                let mut noise = || {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state as u8
                };
                socket.send(Message::from((0..2000).map(|_| noise()).collect::<Vec<_>>())).await
            });
            accepted.map_err(Error::from)
        },
        |server| {
            let mut peer = Peer::open(server.addr, "/", "permessage-deflate");
            let firsts = [(); 3].map(|()| peer.client.extended_frame().unwrap().first);
            assert_eq!(firsts, [FIN | TEXT, FIN | RSV1 | TEXT, FIN | BINARY]);
        },
    );
}
