//! The cases of the Autobahn test suite against an echo, sections 1 to 7 and 9, by a raw client. Compression (12, 13) is in
//! `adapter-web/tests/websocket_deflate.rs`.
//!
//! A case is what the client sends and what must come back, in the numbering of that suite. 6.4 wants the connection to
//! fail as soon as the text can't be UTF-8 any more; it fails at the end of the frame, which the suite calls non-strict.
//! \[UPG-09\] to \[UPG-14\], \[UPG-24\]

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use adapter_core::websocket::{self, Upgrade};
use adapter_core::{Environ, Error, Request, Response};

use crate::support::{BINARY, CLOSE, Client, PING, PONG, Running, TEXT, close, frame, serve, text};

/// As the testbed's `/ws`.
async fn echo(request: Request, environ: Environ) -> Result<Response, Error> {
    let upgrade = Upgrade::from_request(&request, &environ)?.max_message_bytes(16 << 20);
    Ok(upgrade.accept(|mut socket| async move {
        while let Some(message) = socket.recv().await {
            socket.send(message?).await?;
        }
        Ok::<_, websocket::Error>(())
    })?)
}

/// What must come back, in order.
enum Back {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    /// A close frame with this code, then the end.
    Closed(u16),
    /// A close frame without a code, then the end.
    ClosedBare,
}

use Back::{Binary, Closed, ClosedBare, Pong, Text};

/// How a case's octets are cut: all at once, or in pieces of this length.
fn run(server: &Running, case: &str, octets: &[u8], back: &[Back], chop: Option<usize>) {
    let mut client = Client::open(server.addr, "/ws");
    let mut writer = client.stream.try_clone().unwrap();
    let (case_name, pieces) = (case.to_owned(), octets.to_vec());
    let size = chop.unwrap_or(octets.len()).max(1);
    let sending = std::thread::spawn(move || {
        for piece in pieces.chunks(size) {
            // The server may have failed the connection before all is sent.
            if std::io::Write::write_all(&mut writer, piece).is_err() {
                break;
            }
        }
        case_name
    });
    let mut closed = false;
    for expected in back {
        match expected {
            Text(payload) => client.expect(TEXT, payload),
            Binary(payload) => client.expect(BINARY, payload),
            Pong(payload) => client.expect(PONG, payload),
            Closed(code) => {
                let frame = client.frame().unwrap_or_else(|| panic!("{case}: ended without a close frame"));
                assert_eq!(frame.close().map(|(code, _)| code), Some(*code), "{case}");
                client.expect_end();
                closed = true;
            }
            ClosedBare => {
                client.expect(CLOSE, b"");
                client.expect_end();
                closed = true;
            }
        }
    }
    let case = sending.join().unwrap();
    if !closed {
        client.send(&close(1000, "done"));
        let frame = client.frame().unwrap_or_else(|| panic!("{case}: no answer to the close"));
        assert_eq!(frame.close().map(|(code, _)| code), Some(1000), "{case}");
        client.expect_end();
    }
}

/// Number, frames, and what comes back.
type Case = (&'static str, Vec<Vec<u8>>, Vec<Back>);

fn cases(server: &Running, list: &[Case]) {
    for (case, frames, back) in list {
        let octets = frames.concat();
        run(server, case, &octets, back, None);
        if octets.len() < 2000 {
            // every octet by itself
            run(server, case, &octets, back, Some(1));
        }
    }
}

const FIN: u8 = 0x80;

#[test]
fn section_1_framing() {
    let server = serve(echo);
    let mut list = Vec::new();
    for length in [0, 125, 126, 127, 128, 65535, 65536] {
        list.push(("1.1", vec![text(&"*".repeat(length))], vec![Text(vec![b'*'; length])]));
        list.push(("1.2", vec![frame(FIN | BINARY, &vec![0xfe; length])], vec![Binary(vec![0xfe; length])]));
    }
    cases(&server, &list);
    run(&server, "1.1.8", &text(&"*".repeat(65536)), &[Text(vec![b'*'; 65536])], Some(997));
    run(&server, "1.2.8", &frame(FIN | BINARY, &[0xfe; 65536]), &[Binary(vec![0xfe; 65536])], Some(997));
}

#[test]
fn section_2_pings_and_pongs() {
    let server = serve(echo);
    let ping = |payload: &[u8]| frame(FIN | PING, payload);
    let ten: Vec<_> = (0..10).map(|n| ping(format!("payload-{n}").as_bytes())).collect();
    let ten_back = || (0..10).map(|n| Pong(format!("payload-{n}").into_bytes())).collect();
    cases(
        &server,
        &[
            ("2.1", vec![ping(b"")], vec![Pong(vec![])]),
            ("2.2", vec![ping(b"Hello, world!")], vec![Pong(b"Hello, world!".to_vec())]),
            (
                "2.3",
                vec![ping(b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff")],
                vec![Pong(b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff".to_vec())],
            ),
            ("2.4", vec![ping(&[0xfe; 125])], vec![Pong(vec![0xfe; 125])]),
            ("2.5", vec![ping(&[0xfe; 126])], vec![Closed(1002)]),
            ("2.7", vec![frame(FIN | PONG, b"")], vec![]),
            ("2.8", vec![frame(FIN | PONG, b"unsolicited")], vec![]),
            ("2.9", vec![frame(FIN | PONG, b"unsolicited"), ping(b"ping")], vec![Pong(b"ping".to_vec())]),
            ("2.10", ten, ten_back()),
        ],
    );
}

#[test]
fn section_3_reserved_bits() {
    let server = serve(echo);
    let hello = || text("Hello, world!");
    let back = || Text(b"Hello, world!".to_vec());
    cases(
        &server,
        &[
            ("3.1", vec![frame(FIN | 0x40 | TEXT, b"Hello, world!")], vec![Closed(1002)]),
            ("3.2", vec![hello(), frame(FIN | 0x20 | TEXT, b"x"), frame(FIN | PING, b"")], vec![back(), Closed(1002)]),
            ("3.3", vec![hello(), frame(FIN | 0x30 | TEXT, b"x"), frame(FIN | PING, b"")], vec![back(), Closed(1002)]),
            ("3.5", vec![frame(FIN | 0x50 | BINARY, &[0; 8])], vec![Closed(1002)]),
            ("3.6", vec![frame(FIN | 0x60 | PING, b"Hello")], vec![Closed(1002)]),
            ("3.7", vec![frame(FIN | 0x70 | CLOSE, b"")], vec![Closed(1002)]),
        ],
    );
}

#[test]
fn section_4_opcodes() {
    let server = serve(echo);
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let frames = vec![text("Hello"), frame(FIN | opcode, b"x"), frame(FIN | PING, b"")];
        cases(&server, &[("4", frames, vec![Text(b"Hello".to_vec()), Closed(1002)])]);
        cases(&server, &[("4", vec![frame(FIN | opcode, b"")], vec![Closed(1002)])]);
    }
}

#[test]
fn section_5_fragmentation() {
    let server = serve(echo);
    let first = |payload: &[u8]| frame(TEXT, payload);
    let middle = |payload: &[u8]| frame(0, payload);
    let last = |payload: &[u8]| frame(FIN, payload);
    let ping = || frame(FIN | PING, b"ping");
    let pong = || Pong(b"ping".to_vec());
    let whole = || Text(b"fragment1fragment2".to_vec());
    let five = |text: &str| Text(text.as_bytes().to_vec());
    cases(
        &server,
        &[
            ("5.1", vec![frame(PING, b"frag"), last(b"ment")], vec![Closed(1002)]),
            ("5.2", vec![frame(PONG, b"frag"), last(b"ment")], vec![Closed(1002)]),
            ("5.3", vec![first(b"fragment1"), last(b"fragment2")], vec![whole()]),
            ("5.6", vec![first(b"fragment1"), ping(), last(b"fragment2")], vec![pong(), whole()]),
            ("5.9", vec![last(b"nothing to continue"), text("Hello")], vec![Closed(1002)]),
            ("5.12", vec![middle(b"nothing to continue"), text("Hello")], vec![Closed(1002)]),
            (
                "5.15",
                vec![first(b"fragment1"), last(b"fragment2"), middle(b"f3"), last(b"f4")],
                vec![whole(), Closed(1002)],
            ),
            ("5.18", vec![first(b"fragment1"), frame(FIN | TEXT, b"fragment2")], vec![Closed(1002)]),
            (
                "5.19",
                vec![first(b"f1"), middle(b"f2"), ping(), middle(b"f3"), middle(b"f4"), ping(), last(b"f5")],
                vec![pong(), pong(), five("f1f2f3f4f5")],
            ),
            ("empty fragments", vec![first(b""), middle(b""), last(b"")], vec![Text(vec![])]),
        ],
    );
}

#[test]
fn section_6_utf8() {
    let server = serve(echo);
    let greek = "Hello-µ@ßöäüàá-UTF-8!!";
    let mut list = vec![
        ("6.1.1", vec![text("")], vec![Text(vec![])]),
        ("6.1.2", vec![frame(TEXT, b""), frame(0, b""), frame(FIN, b"")], vec![Text(vec![])]),
        (
            "6.1.3",
            vec![frame(TEXT, b""), frame(0, b"middle frame payload"), frame(FIN, b"")],
            vec![Text(b"middle frame payload".to_vec())],
        ),
        ("6.2.1", vec![text(greek)], vec![Text(greek.into())]),
        (
            "6.2.2",
            vec![frame(TEXT, &greek.as_bytes()[..12]), frame(FIN, &greek.as_bytes()[12..])],
            vec![Text(greek.into())],
        ),
    ];
    // 6.2.3: each octet a fragment
    let bytes = greek.as_bytes();
    let mut fragments = vec![frame(TEXT, &bytes[..1])];
    fragments.extend(bytes[1..].iter().map(|byte| frame(0, &[*byte])));
    fragments.push(frame(FIN, b""));
    list.push(("6.2.3", fragments, vec![Text(greek.into())]));
    cases(&server, &list);

    let valid: &[&[u8]] = &[
        "κόσμε".as_bytes(),
        b"\xce\xba",
        b"\x00",
        b"\x7f",
        b"\xc2\x80",
        b"\xdf\xbf",
        b"\xe0\xa0\x80",
        b"\xed\x9f\xbf",
        b"\xee\x80\x80",
        b"\xef\xbf\xbd",
        b"\xef\xbf\xbe",
        b"\xef\xbf\xbf",
        b"\xf0\x90\x80\x80",
        b"\xf4\x8f\xbf\xbf",
        b"\xf0\x9f\xbf\xbe",
    ];
    for payload in valid {
        cases(&server, &[("6.7, 6.9, 6.22", vec![frame(FIN | TEXT, payload)], vec![Text(payload.to_vec())])]);
    }
    let invalid: &[&[u8]] = &[
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64",
        b"\xce",
        b"\xce\xba\xe1",
        b"\xce\xba\xe1\xbd",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xf7\xbf\xbf\xbf",
        b"\xfb\xbf\xbf\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\x80",
        b"\xbf",
        b"\x80\xbf\x80\xbf",
        b"\xc0 \xc1 \xc2 ",
        b"\xe0 \xe1 ",
        b"\xf0 \xf1 ",
        b"\xf8 ",
        b"\xfc ",
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xfe",
        b"\xff",
        b"\xfe\xfe\xff\xff",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xc1\xbf",
        b"\xe0\x9f\xbf",
        b"\xf0\x8f\xbf\xbf",
        b"\xed\xa0\x80",
        b"\xed\xad\xbf",
        b"\xed\xae\x80",
        b"\xed\xbf\xbf",
        b"\xed\xa0\x80\xed\xb0\x80",
        b"\xed\xaf\xbf\xed\xbf\xbf",
    ];
    for payload in invalid {
        cases(&server, &[("6.3 to 6.21", vec![frame(FIN | TEXT, payload)], vec![Closed(1007)])]);
        // 6.4: in fragments, and the end never comes
        let split = payload.len() / 2;
        let whole_message = vec![frame(TEXT, &payload[..split]), frame(FIN, &payload[split..])];
        cases(&server, &[("6.3.2", whole_message, vec![Closed(1007)])]);
    }
    // 6.4.1: fails at the end of the frame, not of the message
    let broken = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90";
    run(&server, "6.4.1", &frame(TEXT, broken), &[Closed(1007)], None);
}

#[test]
fn section_7_closing() {
    let server = serve(echo);
    let hello = || text("Hello World!");
    let back = || Text(b"Hello World!".to_vec());
    let done = || close(1000, "");
    cases(
        &server,
        &[
            ("7.1.1", vec![hello(), done()], vec![back(), Closed(1000)]),
            ("7.1.2", vec![done(), done()], vec![Closed(1000)]),
            ("7.1.3", vec![done(), frame(FIN | PING, b"")], vec![Closed(1000)]),
            ("7.1.4", vec![done(), hello()], vec![Closed(1000)]),
            ("7.1.5", vec![frame(TEXT, b"fragment1"), done(), frame(FIN, b"fragment2")], vec![Closed(1000)]),
            ("7.3.1", vec![frame(FIN | CLOSE, b"")], vec![ClosedBare]),
            ("7.3.2", vec![frame(FIN | CLOSE, b"a")], vec![Closed(1002)]),
            ("7.3.3", vec![close(1000, "")], vec![Closed(1000)]),
            ("7.3.4", vec![close(1000, "Hello World!")], vec![Closed(1000)]),
            ("7.3.5", vec![close(1000, &"*".repeat(123))], vec![Closed(1000)]),
            ("7.3.6", vec![close(1000, &"*".repeat(124))], vec![Closed(1002)]),
            ("7.5.1", vec![frame(FIN | CLOSE, b"\x03\xe8\xce\xba\xe1\xbd\xb9\xed\xa0\x80edited")], vec![Closed(1007)]),
        ],
    );
    let big = vec![b'B'; 256 * 1024];
    let frames = [frame(FIN | TEXT, &big), done(), frame(FIN | PING, b"")].concat();
    run(&server, "7.1.6", &frames, &[Text(big), Closed(1000)], None);
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999] {
        cases(&server, &[("7.7", vec![close(code, "")], vec![Closed(code)])]);
    }
    // 1014 is a gateway's, and tungstenite refuses it
    for code in [0, 999, 1004, 1005, 1006, 1014, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        cases(&server, &[("7.9, 7.13", vec![close(code, "")], vec![Closed(1002)])]);
    }
}

#[test]
fn section_9_limits() {
    let server = serve(echo);
    for size in [64 << 10, 1 << 20, 4 << 20, 16 << 20] {
        let data: Vec<u8> = (0..size).map(|n: usize| b'a' + (n % 26) as u8).collect();
        run(&server, "9.1", &frame(FIN | TEXT, &data), &[Text(data.clone())], None);
        run(&server, "9.2", &frame(FIN | BINARY, &data), &[Binary(data.clone())], None);
    }
    let data = vec![b'x'; 1 << 20];
    for fragment in [64, 1 << 10, 64 << 10] {
        let mut octets = frame(TEXT, &data[..fragment]);
        for piece in data[fragment..].chunks(fragment) {
            octets.extend(frame(0, piece));
        }
        octets.extend(frame(FIN, b""));
        run(&server, "9.3", &octets, &[Text(data.clone())], None);
    }
    run(&server, "9.5", &frame(FIN | TEXT, &data), &[Text(data.clone())], Some(512));
    let one_more = frame(FIN | BINARY, &vec![0; (16 << 20) + 1]);
    run(&server, "too big", &one_more, &[Closed(1009)], None);
    let header_only = &one_more[..14];
    run(&server, "too big by its header", header_only, &[Closed(1009)], None);
    // 9.7: round trips
    let mut client = Client::open(server.addr, "/ws");
    for n in 0..1000 {
        let message = format!("{n:016}");
        client.send(&text(&message));
        client.expect(TEXT, message.as_bytes());
    }
}

#[test]
fn frames_that_are_not_masked_fail() {
    let server = serve(echo);
    run(&server, "unmasked", b"\x81\x05Hello", &[Closed(1002)], None);
    run(&server, "unmasked", b"\x81\x00", &[Closed(1002)], None);
    let top_bit = [0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    run(&server, "a length with the highest bit", &top_bit, &[Closed(1002)], None);
}
