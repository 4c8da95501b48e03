//! Field blocks of HTTP/2 as they are compressed. RFC 7541

use super::http2_probe::Comes::{self, End, Nothing};
use super::http2_probe::code::COMPRESSION_ERROR;
use super::http2_probe::{Row, go_through, row};
use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::setting::SMALL_LIMITS;
use crate::wire::http2::Http2;
use crate::wire::http2::frame::{END_HEADERS, END_STREAM, PRIORITY, kind};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "http2_hpack",
    title: "Field blocks of HTTP/2",
    cases: &[
        Case::must("malformed_blocks_end_it", "the connection, whose tables are lost", &["MUX-11"], malformed)
            .needs("http2"),
        Case::must("tables_are_kept", "indexed, resized, evicted", &["MUX-11"], tables).needs("http2"),
        Case::must("blocks_of_refused_requests_count", "for the tables of later ones", &["MUX-11"], refused)
            .with(&SMALL_LIMITS)
            .needs("http2"),
        Case::should("block_errors_have_their_code", "COMPRESSION_ERROR", &["MUX-10"], codes).needs("http2"),
    ],
};

const LOST: Comes = End(COMPRESSION_ERROR);

/// Sends a request with these octets behind its field block.
fn and(to: &mut Http2, octets: &[u8]) -> Result<u32, Failure> {
    let block = [&to.block("GET", "/", "body never", &[])[..], octets].concat();
    let stream = to.next_stream();
    to.send(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block)?;
    Ok(stream)
}

/// Sends a request with these octets in front of its field block.
fn behind(to: &mut Http2, octets: &[u8]) -> Result<u32, Failure> {
    let block = [octets, &to.block("GET", "/", "body sized", &[])].concat();
    let stream = to.next_stream();
    to.send(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block)?;
    Ok(stream)
}

fn served(to: &mut Http2, octets: &[u8]) -> Result<u32, Failure> {
    let stream = behind(to, octets)?;
    ensure_eq!(to.response(stream)?.body, b"sized", "the response");
    Ok(stream)
}

/// Blocks that can't be read.
static MALFORMED: &[Row] = &[
    row("the index 0", "7541 §6.1", LOST, |to| and(to, b"\x80")),
    row("an index beyond the tables", "7541 §2.3.3", LOST, |to| and(to, b"\xbe")),
    row("a name beyond the tables", "7541 §2.3.3", LOST, |to| and(to, b"\x7e\x01a")),
    row("an index far beyond the tables", "7541 §2.3.3", LOST, |to| and(to, b"\xff\xff\xff\x7f")),
    row("a number without an end", "7541 §5.1", LOST, |to| {
        and(to, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
    }),
    row("a number that is cut off", "7541 §5.1", LOST, |to| and(to, b"\xff\xff")),
    row("a field without a value", "7541 §6.2.2", LOST, |to| and(to, b"\0\x01x")),
    row("a string longer than the block", "7541 §5.2", LOST, |to| and(to, b"\0\x01x\x05abc")),
    row("a string of 2^28 octets", "7541 §5.2", LOST, |to| and(to, b"\0\x01x\x7f\x81\xff\xff\x7f")),
    // The code of `a` is 00011.
    row("padding of zeros", "7541 §5.2", LOST, |to| and(to, b"\0\x01x\x81\x18")),
    row("padding of eight ones", "7541 §5.2", LOST, |to| and(to, b"\0\x01x\x82\x1f\xff")),
    row("padding of three octets", "7541 §5.2", LOST, |to| and(to, b"\0\x01x\x84\x1f\xff\xff\xff")),
    row("the end of a string within it", "7541 §5.2", LOST, |to| and(to, b"\0\x01x\x84\xff\xff\xff\xff")),
    row("a size behind a field", "7541 §4.2", LOST, |to| and(to, b"\x20")),
    row("a size beyond the setting", "7541 §6.3", LOST, |to| behind(to, b"\x3f\xe2\x1f")),
    row("a size far beyond the setting", "7541 §6.3", LOST, |to| behind(to, b"\x3f\xff\xff\xff\x07")),
];

static SIZES: &[Row] = &[
    row("a size of 0", "7541 §6.3", Nothing, |to| served(to, b"\x20")),
    row("the size of the setting", "7541 §6.3", Nothing, |to| served(to, b"\x3f\xe1\x1f")),
    row("a size of 0, and a larger one", "7541 §4.2", Nothing, |to| served(to, b"\x20\x3f\xe1\x1f")),
];

fn malformed(cx: &mut Context) -> Result<(), Failure> {
    go_through(cx, MALFORMED, false)
}

fn codes(cx: &mut Context) -> Result<(), Failure> {
    go_through(cx, MALFORMED, true)
}

/// What the application sees of x-seen in a request with these octets behind its field block.
fn seen(cx: &mut Context, http2: &mut Http2, octets: &[u8]) -> Result<Vec<String>, Failure> {
    cx.again();
    http2.again(cx);
    let block = [&http2.block("GET", "/", "body seen", &[])[..], octets].concat();
    let stream = http2.next_stream();
    http2.send(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block)?;
    ensure_eq!(http2.response(stream)?.body, b"seen", "the response");
    Ok(cx.seen()?.call()?.texts("x-seen"))
}

/// A literal x-seen that is indexed from now on.
fn literal(value: &str) -> Vec<u8> {
    assert!(value.len() < 127, "a short value");
    [&b"\x40\x06x-seen"[..], &[value.len() as u8], value.as_bytes()].concat()
}

fn tables(cx: &mut Context) -> Result<(), Failure> {
    go_through(cx, SIZES, false)?;
    let mut http2 = Http2::open(cx)?;
    ensure_eq!(seen(cx, &mut http2, &literal("one"))?, ["one"], "a literal");
    ensure_eq!(seen(cx, &mut http2, b"\xbe")?, ["one"], "an indexed field");
    ensure_eq!(seen(cx, &mut http2, &literal("two"))?, ["two"], "another literal");
    ensure_eq!(seen(cx, &mut http2, b"\xbe\xbf")?, ["two", "one"], "both, the last one first");
    ensure_eq!(seen(cx, &mut http2, b"\x7e\x05three")?, ["three"], "a name that is indexed");
    ensure_eq!(
        seen(cx, &mut http2, b"\x0f\x2f\x04four\xbe")?,
        ["four", "three"],
        "a name that is used, and not indexed"
    );
    // "go" is 100110 and 00111.
    ensure_eq!(seen(cx, &mut http2, b"\x7e\x82\x98\xff")?, ["go"], "a value in Huffman's code");
    // A field of 4096 octets is all of the table: 32 more than its text. RFC 7541 §4.1
    let large = "v".repeat(4096 - 32 - 6);
    let coded = [&b"\x40\x06x-seen\x7f"[..], &number(large.len() - 127), large.as_bytes()].concat();
    ensure_eq!(seen(cx, &mut http2, &coded)?, [&large[..]], "a field as large as the table");
    ensure_eq!(seen(cx, &mut http2, b"\xbe")?, [&large[..]], "that field, indexed");
    // One that is larger empties the table, and is none of it. RFC 7541 §4.4
    let larger = format!("{large}x");
    let coded = [&b"\x40\x06x-seen\x7f"[..], &number(larger.len() - 127), larger.as_bytes()].concat();
    ensure_eq!(seen(cx, &mut http2, &coded)?, [&larger[..]], "a field larger than the table");
    ensure_eq!(seen(cx, &mut http2, &[literal("new"), literal("newer")].concat())?, ["new", "newer"], "two literals");
    ensure_eq!(seen(cx, &mut http2, b"\xbf\xbe")?, ["new", "newer"], "two in a table that was emptied");
    Ok(())
}

/// RFC 9113 §4.3: a block is decompressed, whatever becomes of its request.
fn refused(cx: &mut Context) -> Result<(), Failure> {
    type Send = fn(&mut Http2, &[u8]) -> Result<u32, Failure>;
    let requests: [(&str, Send); 6] = [
        ("a name in capitals", |to, last| and(to, &[b"\0\x05X-Bad\x011", last].concat())),
        ("a connection field", |to, last| and(to, &[b"\0\x0aconnection\x05close", last].concat())),
        ("a pseudo-header field behind another", |to, last| and(to, &[b"\0\x05:path\x01/", last].concat())),
        ("a head that is too large", |to, last| {
            let large = [&b"\0\x01x\x7f"[..], &number(9_000 - 127), &[b'x'; 9_000]].concat();
            and(to, &[&large, last].concat())
        }),
        // RFC 7540 §5.3.1 has it as an error of the stream, RFC 9113 has not.
        ("a priority that depends on its own stream", |to, last| {
            let block = to.block("GET", "/", "body refused", &[]);
            let stream = to.next_stream();
            let payload = [&stream.to_be_bytes()[..], &[15], &block, last].concat();
            to.send(kind::HEADERS, END_HEADERS | END_STREAM | PRIORITY, stream, &payload)?;
            Ok(stream)
        }),
        ("trailers", |to, last| {
            let stream = to.request("POST", "/", "read; body refused", &[], false)?;
            to.send(kind::HEADERS, END_HEADERS | END_STREAM, stream, &[b"\0\x05:path\x01/", last].concat())?;
            Ok(stream)
        }),
    ];
    for (what, send) in requests {
        let mut http2 = Http2::open(cx)?;
        ensure_eq!(seen(cx, &mut http2, &literal("first"))?, ["first"], "a literal");
        let stream = send(&mut http2, &literal("second"))?;
        if let Err(failure) = http2.end(stream) {
            // RFC 9113 §5.4.2: it may be an error of the connection, and then nothing comes behind it
            ensure!(http2.goaway.is_some_and(|(_, code)| code != 0), "{what}: {failure}");
            continue;
        }
        let indexed =
            seen(cx, &mut http2, b"\xbe\xbf").map_err(|failure| Failure(format!("behind {what}: {failure}")))?;
        ensure_eq!(indexed, ["second", "first"], "what is indexed behind {what}");
    }
    Ok(())
}

/// The rest of a number beyond its prefix. RFC 7541 §5.1
fn number(mut rest: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    while rest >= 128 {
        octets.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    octets.push(rest as u8);
    octets
}
