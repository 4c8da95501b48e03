//! Frames of HTTP/2 by themselves: types, sizes, flags, padding, and which stream they may be on. RFC 9113 §3.4, §4, §5.5, §6

use super::http2_probe::Comes::{End, Nothing, Reset};
use super::http2_probe::{Row, code, ends, go_through, goes_on, open, row, send, set};
use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::wire::http2::Http2;
use crate::wire::http2::frame::{ACK, END_HEADERS, END_STREAM, PADDED, PREFACE, PRIORITY, frame, kind, setting};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "http2_frames",
    title: "Frames of HTTP/2",
    cases: &[
        Case::must("begins_with_settings", "nothing else comes first", &["MUX-03"], begins).needs("http2"),
        Case::must("malformed_frames_end_it", "the connection, or their stream", &["MUX-04"], malformed).needs("http2"),
        Case::must("settings_have_their_values", "or the connection ends", &["MUX-05"], settings).needs("http2"),
        Case::must("settings_are_acknowledged", "each of them", &["MUX-05"], acknowledged).needs("http2"),
        Case::must("field_blocks_are_in_one_piece", "of frames that follow each other", &["MUX-06"], blocks)
            .needs("http2"),
        Case::must("unknown_is_ignored", "frames, flags, settings, priorities", &["MUX-07"], unknown).needs("http2"),
        Case::must("pings_are_answered", "with what they say, and answers are not", &["MUX-07"], pings).needs("http2"),
        Case::should("frame_errors_have_their_code", "in GOAWAY and RST_STREAM", &["MUX-10"], codes).needs("http2"),
    ],
};

use code::{FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR};

const SIZE: crate::cases::http2_probe::Comes = End(FRAME_SIZE_ERROR);
const PROTOCOL: crate::cases::http2_probe::Comes = End(PROTOCOL_ERROR);

/// Frames that are wrong whatever was before.
static MALFORMED: &[Row] = &[
    row("DATA on stream 0", "9113 §6.1", PROTOCOL, |to| send(to, kind::DATA, 0, 0, b"abc")),
    row("DATA of more padding than payload", "9113 §6.1", PROTOCOL, |to| {
        let stream = open(to)?;
        send(to, kind::DATA, PADDED | END_STREAM, stream, b"\x08abcd")
    }),
    row("DATA of as much padding as payload", "9113 §6.1", PROTOCOL, |to| {
        let stream = open(to)?;
        send(to, kind::DATA, PADDED | END_STREAM, stream, b"\x05abcd")
    }),
    row("padded DATA without a length of it", "9113 §6.1", SIZE, |to| {
        let stream = open(to)?;
        send(to, kind::DATA, PADDED, stream, b"")
    }),
    row("DATA larger than allowed", "9113 §4.2", Reset(FRAME_SIZE_ERROR), |to| {
        let stream = open(to)?;
        to.send(kind::DATA, 0, stream, &[0; 16_385])?;
        Ok(stream)
    }),
    row("HEADERS on stream 0", "9113 §6.2", PROTOCOL, |to| {
        let block = to.block("GET", "/", "body never", &[]);
        send(to, kind::HEADERS, END_HEADERS | END_STREAM, 0, &block)
    }),
    row("HEADERS of more padding than payload", "9113 §6.2", PROTOCOL, |to| {
        let block = to.block("GET", "/", "body never", &[]);
        let stream = to.next_stream();
        send(to, kind::HEADERS, END_HEADERS | END_STREAM | PADDED, stream, &[&[255][..], &block[..100]].concat())
    }),
    row("HEADERS too short for their priority", "9113 §6.2", SIZE, |to| {
        let stream = to.next_stream();
        send(to, kind::HEADERS, END_HEADERS | END_STREAM | PRIORITY, stream, &[0, 0, 0])
    }),
    row("HEADERS larger than allowed", "9113 §4.2", SIZE, |to| {
        let mut block = to.block("GET", "/", "body never", &[("x-large", &"a".repeat(16_300))]);
        block.resize(16_385, 0);
        let stream = to.next_stream();
        send(to, kind::HEADERS, END_HEADERS | END_STREAM, stream, &block)
    }),
    row("PRIORITY on stream 0", "9113 §6.3", PROTOCOL, |to| send(to, kind::PRIORITY, 0, 0, &[0, 0, 0, 0, 1])),
    row("PRIORITY of four octets", "9113 §6.3", Reset(FRAME_SIZE_ERROR), |to| {
        let stream = open(to)?;
        to.send(kind::PRIORITY, 0, stream, &[0; 4])?;
        Ok(stream)
    }),
    row("RST_STREAM on stream 0", "9113 §6.4", PROTOCOL, |to| send(to, kind::RST_STREAM, 0, 0, &[0, 0, 0, 8])),
    row("RST_STREAM of three octets", "9113 §6.4", SIZE, |to| {
        let stream = open(to)?;
        send(to, kind::RST_STREAM, 0, stream, &[0, 0, 8])
    }),
    row("SETTINGS on a stream", "9113 §6.5", PROTOCOL, |to| send(to, kind::SETTINGS, 0, 1, &setting(3, 100))),
    row("SETTINGS of five octets", "9113 §6.5", SIZE, |to| send(to, kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0])),
    row("SETTINGS larger than allowed", "9113 §4.2", SIZE, |to| {
        send(to, kind::SETTINGS, 0, 0, &setting(99, 1).repeat(2731))
    }),
    row("an ACK of SETTINGS with settings", "9113 §6.5", SIZE, |to| {
        send(to, kind::SETTINGS, ACK, 0, &setting(3, 100))
    }),
    row("a push", "9113 §8.4", PROTOCOL, |to| {
        let stream = open(to)?;
        let block = to.block("GET", "/", "body never", &[]);
        send(to, kind::PUSH_PROMISE, END_HEADERS, stream, &[&[0, 0, 0, 2][..], &block].concat())
    }),
    row("PING on a stream", "9113 §6.7", PROTOCOL, |to| {
        let stream = open(to)?;
        send(to, kind::PING, 0, stream, b"12345678")
    }),
    row("PING of six octets", "9113 §6.7", SIZE, |to| send(to, kind::PING, 0, 0, b"123456")),
    row("PING of nine octets", "9113 §6.7", SIZE, |to| send(to, kind::PING, 0, 0, b"123456789")),
    row("GOAWAY on a stream", "9113 §6.8", PROTOCOL, |to| {
        let stream = open(to)?;
        send(to, kind::GOAWAY, 0, stream, &[0; 8])
    }),
    row("GOAWAY of seven octets", "9113 §6.8", SIZE, |to| send(to, kind::GOAWAY, 0, 0, &[0; 7])),
    row("WINDOW_UPDATE of three octets", "9113 §6.9", SIZE, |to| send(to, kind::WINDOW_UPDATE, 0, 0, &[0, 0, 1])),
];

/// Settings that have no such value.
static SETTINGS: &[Row] = &[
    row("ENABLE_PUSH of 2", "9113 §6.5.2", PROTOCOL, |to| set(to, 2, 2)),
    row("INITIAL_WINDOW_SIZE of 2^31", "9113 §6.5.2", End(FLOW_CONTROL_ERROR), |to| set(to, 4, 1 << 31)),
    row("MAX_FRAME_SIZE of 16383", "9113 §6.5.2", PROTOCOL, |to| set(to, 5, 16_383)),
    row("MAX_FRAME_SIZE of 2^24", "9113 §6.5.2", PROTOCOL, |to| set(to, 5, 1 << 24)),
    row("ENABLE_CONNECT_PROTOCOL of 2", "8441 §3", PROTOCOL, |to| set(to, 8, 2)),
    row("a setting of each kind", "9113 §6.5.2", Nothing, |to| {
        let values =
            [(1, 4096), (1, 0), (2, 0), (3, 0), (4, 65_535), (5, 16_384), (5, 0xff_ffff), (6, 1 << 20), (8, 0)];
        let settings: Vec<u8> = values.into_iter().flat_map(|(id, value)| setting(id, value)).collect();
        send(to, kind::SETTINGS, 0, 0, &settings)
    }),
];

/// What comes between the frames of one field block, or without one.
static BLOCKS: &[Row] = &[
    row("a PRIORITY within a field block", "9113 §6.2", PROTOCOL, |to| {
        within(to, |to, stream| to.send(kind::PRIORITY, 0, stream, &[0, 0, 0, 0, 1]))
    }),
    row("a PING within a field block", "9113 §6.10", PROTOCOL, |to| {
        within(to, |to, _| to.send(kind::PING, 0, 0, b"12345678"))
    }),
    row("HEADERS of another stream within a field block", "9113 §6.2", PROTOCOL, |to| {
        within(to, |to, _| to.get("/", "body never").map(drop))
    }),
    row("an unknown frame within a field block", "9113 §5.5", PROTOCOL, |to| {
        within(to, |to, stream| to.send(0x16, 0, stream, b"12345678"))
    }),
    row("a CONTINUATION of another stream", "9113 §6.10", PROTOCOL, |to| {
        within(to, |to, stream| to.send(kind::CONTINUATION, END_HEADERS, stream + 2, &[]))
    }),
    row("a CONTINUATION on stream 0", "9113 §6.10", PROTOCOL, |to| {
        within(to, |to, _| to.send(kind::CONTINUATION, END_HEADERS, 0, &[]))
    }),
    row("a CONTINUATION behind a whole field block", "9113 §6.10", PROTOCOL, |to| {
        let stream = open(to)?;
        send(to, kind::CONTINUATION, END_HEADERS, stream, &[])
    }),
    row("a CONTINUATION behind one that ends the field block", "9113 §6.10", PROTOCOL, |to| {
        let stream = cut(to, 2)?;
        send(to, kind::CONTINUATION, END_HEADERS, stream, &[])
    }),
    row("a CONTINUATION behind DATA", "9113 §6.10", PROTOCOL, |to| {
        let stream = open(to)?;
        to.data(stream, b"abc", false)?;
        send(to, kind::CONTINUATION, END_HEADERS, stream, &[])
    }),
    row("a CONTINUATION of nothing", "9113 §6.10", PROTOCOL, |to| send(to, kind::CONTINUATION, END_HEADERS, 1, &[])),
    row("a field block in two frames", "9113 §6.10", Nothing, |to| served(to, 2)),
    row("a field block in four frames", "9113 §6.10", Nothing, |to| served(to, 4)),
];

/// Begins a field block, lets `then` do something, and ends it.
fn within(to: &mut Http2, then: fn(&mut Http2, u32) -> Result<(), Failure>) -> Result<u32, Failure> {
    let block = to.block("GET", "/", "body never", &[]);
    let (first, rest) = block.split_at(block.len() / 2);
    let stream = to.next_stream();
    to.send(kind::HEADERS, END_STREAM, stream, first)?;
    then(to, stream)?;
    to.send(kind::CONTINUATION, END_HEADERS, stream, rest)?;
    Ok(0)
}

/// A request whose field block is in `count` frames.
fn cut(to: &mut Http2, count: usize) -> Result<u32, Failure> {
    let block = to.block("GET", "/", "body whole", &[]);
    let stream = to.next_stream();
    let size = block.len() / (count - 1);
    let mut pieces = block.chunks(size).peekable();
    let mut kind = (kind::HEADERS, END_STREAM);
    while let Some(piece) = pieces.next() {
        let last = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        to.send(kind.0, kind.1 | last, stream, piece)?;
        kind = (kind::CONTINUATION, 0);
    }
    if kind.0 == kind::HEADERS {
        return Err("a field block of one frame".into());
    }
    Ok(stream)
}

fn served(to: &mut Http2, count: usize) -> Result<u32, Failure> {
    let stream = cut(to, count)?;
    ensure_eq!(to.response(stream)?.body, b"whole", "the response");
    Ok(stream)
}

/// What nobody knows, and what nobody minds.
static UNKNOWN: &[Row] = &[
    row("a frame of an unknown type", "9113 §4.1", Nothing, |to| send(to, 0x16, 0xff, 0, b"12345678")),
    row("a frame of an unknown type on an idle stream", "9113 §5.5", Nothing, |to| send(to, 0x16, 0, 99, b"")),
    row("undefined flags", "9113 §4.1", Nothing, |to| send(to, kind::PRIORITY, 0xff, 1, &[0, 0, 0, 0, 1])),
    row("the reserved bit", "9113 §4.1", Nothing, |to| send(to, kind::WINDOW_UPDATE, 0, 1 << 31, &[0, 0, 0, 1])),
    row("an unknown setting", "9113 §6.5.2", Nothing, |to| set(to, 0xff, 1)),
    row("no settings", "9113 §6.5", Nothing, |to| send(to, kind::SETTINGS, 0, 0, b"")),
    row("PRIORITY on an idle stream", "9113 §5.1", Nothing, |to| send(to, kind::PRIORITY, 0, 99, &[0, 0, 0, 0, 1])),
    row("PRIORITY of a stream that depends on an idle one", "9113 §6.3", Nothing, |to| {
        let stream = open(to)?;
        send(to, kind::PRIORITY, 0, stream, &[0x80, 0, 0, 99, 255])
    }),
    row("HEADERS with padding and a priority", "9113 §6.2", Nothing, |to| {
        let block = to.block("GET", "/", "body padded", &[]);
        let stream = to.next_stream();
        let payload = [&[3, 0, 0, 0, 0, 15][..], &block, &[0; 3]].concat();
        to.send(kind::HEADERS, END_HEADERS | END_STREAM | PADDED | PRIORITY, stream, &payload)?;
        ensure_eq!(to.response(stream)?.body, b"padded", "the response");
        Ok(stream)
    }),
    row("DATA with padding", "9113 §6.1", Nothing, |to| {
        let stream = to.request("POST", "/", "echo", &[("content-length", "3")], false)?;
        to.send(kind::DATA, PADDED, stream, b"\x04ab\0\0\0\0")?;
        to.send(kind::DATA, PADDED, stream, b"\0")?;
        to.send(kind::DATA, PADDED | END_STREAM, stream, b"\0c")?;
        ensure_eq!(to.response(stream)?.body, b"abc", "the response");
        Ok(stream)
    }),
];

fn begins(cx: &mut Context) -> Result<(), Failure> {
    let first = [
        ("PING", frame(kind::PING, 0, 0, b"12345678")),
        ("WINDOW_UPDATE", frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("an ACK of SETTINGS", frame(kind::SETTINGS, ACK, 0, &[])),
        ("an unknown frame", frame(0x16, 0, 0, &[])),
        ("PRIORITY", frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
    ];
    for (what, octets) in first {
        // What follows would be right.
        let octets = [PREFACE, &octets, &frame(kind::SETTINGS, 0, 0, &[])].concat();
        begins_wrong(cx, &octets).map_err(|failure| Failure(format!("{what} first: {failure}")))?;
    }
    let mut http2 = Http2::silent(cx.connect_http2()?, cx);
    let request = frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &http2.block("GET", "/", "body never", &[]));
    http2.next_stream();
    // The server may close before it is sent.
    let _ = http2.octets(&[PREFACE, &request].concat());
    ends(&mut http2, None).map_err(|failure| Failure(format!("a request first: {failure}")))?;
    cx.not_called()?;
    // No preface at all; a server may take it for HTTP/1, and refuse it.
    for preface in [&PREFACE.to_ascii_lowercase()[..], b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n"] {
        let mut http2 = Http2::silent(cx.connect_http2()?, cx);
        let _ = http2.octets(&[preface, &frame(kind::SETTINGS, 0, 0, &[]), &request].concat());
        http2.ends()?;
        cx.not_called()?;
    }
    // In pieces of one octet, and without a setting.
    let mut http2 = Http2::silent(cx.connect_http2()?, cx);
    for octet in [PREFACE, &frame(kind::SETTINGS, 0, 0, &[])].concat() {
        http2.octets(&[octet])?;
    }
    goes_on(&mut http2)
}

fn begins_wrong(cx: &Context, octets: &[u8]) -> Result<(), Failure> {
    let mut http2 = Http2::silent(cx.connect_http2()?, cx);
    let _ = http2.octets(octets);
    ends(&mut http2, None)
}

fn malformed(cx: &mut Context) -> Result<(), Failure> {
    go_through(cx, MALFORMED, false)
}

fn settings(cx: &mut Context) -> Result<(), Failure> {
    go_through(cx, SETTINGS, false)
}

fn acknowledged(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    goes_on(&mut http2)?;
    let before = http2.acknowledged;
    for _ in 0..3 {
        set(&mut http2, 3, 100)?;
    }
    goes_on(&mut http2)?;
    ensure!(before == 1 && http2.acknowledged == 4, "{} of 4 SETTINGS were acknowledged", http2.acknowledged);
    Ok(())
}

fn blocks(cx: &mut Context) -> Result<(), Failure> {
    go_through(cx, BLOCKS, false)
}

fn unknown(cx: &mut Context) -> Result<(), Failure> {
    go_through(cx, UNKNOWN, false)
}

fn pings(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    http2.send(kind::PING, ACK, 0, b"no-one's")?;
    for payload in [b"12345678", b"\0\0\0\0\0\0\0\0", b"\xff\xff\xff\xff\xff\xff\xff\xff"] {
        http2.pongs.clear();
        http2.send(kind::PING, 0x80, 0, payload)?;
        http2.pong(1)?;
        ensure_eq!(http2.pongs, [payload.to_vec()], "the answer to a PING");
    }
    goes_on(&mut http2)
}

fn codes(cx: &mut Context) -> Result<(), Failure> {
    [MALFORMED, SETTINGS, BLOCKS].into_iter().try_for_each(|table| go_through(cx, table, true))
}
