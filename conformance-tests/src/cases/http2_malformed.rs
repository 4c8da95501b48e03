//! Requests of HTTP/2 that are malformed, whoever could make sense of them. RFC 9113 §8.1.1, §8.2, §8.3, §8.5; RFC 8441 §4

use super::http2_probe::Comes::{Nothing, Refusal, Reset};
use super::http2_probe::code::PROTOCOL_ERROR;
use super::http2_probe::{Row, go_through, refuses, row};
use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::wire::http2::frame::{END_HEADERS, END_STREAM, kind};
use crate::wire::http2::{AUTHORITY, Http2};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "http2_malformed",
    title: "Malformed requests of HTTP/2",
    cases: &[
        Case::must("fields_have_their_form", "names and values", &["MUX-12", "HDR-10", "HDR-12", "HDR-25"], fields)
            .needs("http2"),
        Case::must("connection_fields_have_no_place", "those of HTTP/1", &["MUX-13"], connection).needs("http2"),
        Case::must("pseudo_fields_are_in_order", "each once, in front, and with a value", &["MUX-14"], pseudo)
            .needs("http2"),
        Case::must("connect_has_its_own", "authority alone, or with a protocol", &["MUX-14"], connect).needs("http2"),
        Case::must("trailers_have_no_pseudo_fields", "however they are encoded", &["MUX-15"], trailers).needs("http2"),
        Case::must("lengths_are_true", "one number, and the one that comes", &["MUX-16"], lengths).needs("http2"),
    ],
};

/// Sends a request with `more` behind its pseudo-header fields.
fn with(to: &mut Http2, more: &[(&str, &str)]) -> Result<u32, Failure> {
    to.request("GET", "/", "body served", more, true)
}

/// Field names and values as no request may have them.
static FIELDS: &[Row] = &[
    row("a name in capitals", "9113 §8.2.1", Refusal, |to| with(to, &[("X-Upper", "1")])),
    row("one capital in a name", "9113 §8.2.1", Refusal, |to| with(to, &[("x-uppeR", "1")])),
    row("an empty name", "9110 §5.1", Refusal, |to| with(to, &[("", "1")])),
    row("a name with a space", "9113 §8.2.1", Refusal, |to| with(to, &[("x bad", "1")])),
    row("a name with a colon", "9113 §8.2.1", Refusal, |to| with(to, &[("x:bad", "1")])),
    row("a name with a NUL", "9113 §8.2.1", Refusal, |to| with(to, &[("x\0bad", "1")])),
    row("a name with a line feed", "9113 §8.2.1", Refusal, |to| with(to, &[("x\nbad", "1")])),
    row("a name with a DEL", "9113 §8.2.1", Refusal, |to| with(to, &[("x\x7fbad", "1")])),
    row("a name beyond ASCII", "9113 §8.2.1", Refusal, |to| with(to, &[("x-ä", "1")])),
    row("a value with a NUL", "9113 §8.2.1", Refusal, |to| with(to, &[("x-bad", "a\0b")])),
    row("a value with a line feed", "9113 §8.2.1", Refusal, |to| with(to, &[("x-bad", "a\nb")])),
    row("a value with a carriage return", "9113 §8.2.1", Refusal, |to| with(to, &[("x-bad", "a\rb")])),
    row("a value with a line", "9113 §10.3", Refusal, |to| with(to, &[("x-bad", "a\r\nx-injected: 1")])),
    row("a value behind a space", "9113 §8.2.1", Refusal, |to| with(to, &[("x-bad", " a")])),
    row("a value behind a tab", "9113 §8.2.1", Refusal, |to| with(to, &[("x-bad", "\ta")])),
    row("a value in front of a space", "9113 §8.2.1", Refusal, |to| with(to, &[("x-bad", "a ")])),
    row("a value in front of a tab", "9113 §8.2.1", Refusal, |to| with(to, &[("x-bad", "a\t")])),
    row("a value of a space", "9113 §8.2.1", Refusal, |to| with(to, &[("x-bad", " ")])),
    row("a cookie behind a space", "9113 §8.2.1", Refusal, |to| with(to, &[("cookie", " a=b"), ("cookie", "c=d")])),
    row("an empty value", "9110 §5.5", Nothing, |to| served(to, &[("x-good", "")])),
    row("blanks within a value", "9110 §5.5", Nothing, |to| served(to, &[("x-good", "a \t b")])),
    row("octets beyond ASCII in a value", "9110 §5.5", Nothing, |to| served(to, &[("x-good", "ä")])),
];

/// Fields that are about a connection of HTTP/1.
static CONNECTION: &[Row] = &[
    row("Connection", "9113 §8.2.2", Refusal, |to| with(to, &[("connection", "keep-alive")])),
    row("an empty Connection", "9113 §8.2.2", Refusal, |to| with(to, &[("connection", "")])),
    row("Keep-Alive", "9113 §8.2.2", Refusal, |to| with(to, &[("keep-alive", "timeout=5")])),
    row("Proxy-Connection", "9113 §8.2.2", Refusal, |to| with(to, &[("proxy-connection", "keep-alive")])),
    row("Transfer-Encoding", "9113 §8.2.2", Refusal, |to| with(to, &[("transfer-encoding", "chunked")])),
    row("Upgrade", "9113 §8.2.2", Refusal, |to| with(to, &[("upgrade", "websocket")])),
    row("TE of gzip", "9113 §8.2.2", Refusal, |to| with(to, &[("te", "gzip")])),
    row("TE of trailers and gzip", "9113 §8.2.2", Refusal, |to| with(to, &[("te", "trailers, gzip")])),
    row("TE of trailers", "9113 §8.2.2", Nothing, |to| served(to, &[("te", "trailers")])),
];

fn served(to: &mut Http2, more: &[(&str, &str)]) -> Result<u32, Failure> {
    let stream = with(to, more)?;
    let answer = to.response(stream)?;
    ensure_eq!((answer.status(), &answer.body[..]), (200, &b"served"[..]), "the response");
    Ok(stream)
}

/// The four pseudo-header fields of a request, and others in their place.
fn pseudo_fields(to: &mut Http2, edit: impl Fn(&mut Vec<(&'static str, String)>)) -> Result<u32, Failure> {
    let mut fields = vec![
        (":method", "GET".to_owned()),
        (":scheme", to.scheme().to_owned()),
        (":path", crate::mount::mounted("/")),
        (":authority", AUTHORITY.to_owned()),
        (crate::application::TOKEN, to.token().to_owned()),
        (crate::application::DO, "body never".to_owned()),
    ];
    edit(&mut fields);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, &value[..])).collect();
    to.fields(&fields, true)
}

/// One of them with another value.
fn instead(to: &mut Http2, name: &'static str, value: &str) -> Result<u32, Failure> {
    pseudo_fields(to, |fields| {
        fields.iter_mut().filter(|(field, _)| *field == name).for_each(|(_, old)| value.clone_into(old));
    })
}

/// One of them left out.
fn without(to: &mut Http2, name: &'static str) -> Result<u32, Failure> {
    pseudo_fields(to, |fields| fields.retain(|(field, _)| *field != name))
}

/// One of them twice, side by side.
fn twice(to: &mut Http2, name: &'static str) -> Result<u32, Failure> {
    pseudo_fields(to, |fields| {
        let at = fields.iter().position(|(field, _)| *field == name).unwrap_or_default();
        fields.insert(at, fields[at].clone());
    })
}

/// One of them behind a field that is none.
fn behind(to: &mut Http2, name: &'static str) -> Result<u32, Failure> {
    pseudo_fields(to, |fields| fields.sort_by_key(|(field, _)| *field == name))
}

/// One more in front of the others.
fn also(to: &mut Http2, name: &'static str, value: &str) -> Result<u32, Failure> {
    pseudo_fields(to, |fields| fields.insert(0, (name, value.to_owned())))
}

/// Pseudo-header fields of requests that are no CONNECT.
static PSEUDO: &[Row] = &[
    row("no :method", "9113 §8.3.1", Refusal, |to| without(to, ":method")),
    row("no :scheme", "9113 §8.3.1", Refusal, |to| without(to, ":scheme")),
    row("no :path", "9113 §8.3.1", Refusal, |to| without(to, ":path")),
    row("an empty :method", "9110 §9.1", Refusal, |to| instead(to, ":method", "")),
    row("an empty :path", "9113 §8.3.1", Refusal, |to| instead(to, ":path", "")),
    row("a :path without a slash", "9113 §8.3.1", Refusal, |to| instead(to, ":path", "index.html")),
    row("a :path with a fragment", "9113 §8.3.1", Refusal, |to| instead(to, ":path", "/#fragment")),
    row("a :path of * for a GET", "9113 §8.3.1", Refusal, |to| instead(to, ":path", "*")),
    row("a :method of two words", "9110 §9.1", Refusal, |to| instead(to, ":method", "GET /")),
    row("an :authority with a user", "9113 §8.3.1", Refusal, |to| {
        instead(to, ":authority", &format!("user@{AUTHORITY}"))
    }),
    row("a second :method", "9113 §8.3", Refusal, |to| twice(to, ":method")),
    row("a second :scheme", "9113 §8.3", Refusal, |to| twice(to, ":scheme")),
    row("a second :path", "9113 §8.3", Refusal, |to| twice(to, ":path")),
    row("a second :authority", "9113 §8.3", Refusal, |to| twice(to, ":authority")),
    row("a :method behind a field", "9113 §8.3", Refusal, |to| behind(to, ":method")),
    row("a :path behind a field", "9113 §8.3", Refusal, |to| behind(to, ":path")),
    row("an :authority behind a field", "9113 §8.3", Refusal, |to| behind(to, ":authority")),
    row("an unknown one", "9113 §8.3", Refusal, |to| also(to, ":version", "2")),
    row("one without a name", "9113 §8.3", Refusal, |to| also(to, ":", "2")),
    row("one in capitals", "9113 §8.2.1", Refusal, |to| also(to, ":Path", "/")),
    row("one of responses", "9113 §8.3", Refusal, |to| also(to, ":status", "200")),
    row("a :protocol without CONNECT", "8441 §4", Refusal, |to| also(to, ":protocol", "websocket")),
    row("two fields of Host", "9110 §7.2", Refusal, |to| with(to, &[("host", AUTHORITY), ("host", AUTHORITY)])),
    row("the four of them in another order", "9113 §8.3", Nothing, |to| {
        let stream = pseudo_fields(to, |fields| {
            fields[..4].reverse();
            "body served".clone_into(&mut fields[5].1);
        })?;
        ensure_eq!(to.response(stream)?.body, b"served", "the response");
        Ok(stream)
    }),
];

/// The fields of a CONNECT, and others behind them.
fn connecting(to: &mut Http2, fields: &[(&str, &str)]) -> Result<u32, Failure> {
    let token = to.token().to_owned();
    let ours = [(crate::application::TOKEN, &token[..]), (crate::application::DO, "body never")];
    to.fields(&[&[(":method", "CONNECT")], fields, &ours].concat(), true)
}

static CONNECT: &[Row] = &[
    row("CONNECT without an authority", "9113 §8.5", Refusal, |to| connecting(to, &[])),
    row("CONNECT with a scheme", "9113 §8.5", Refusal, |to| {
        connecting(to, &[(":authority", "far.test:443"), (":scheme", "http")])
    }),
    row("CONNECT with a path", "9113 §8.5", Refusal, |to| {
        connecting(to, &[(":authority", "far.test:443"), (":path", "/")])
    }),
    row("CONNECT with scheme and path", "9113 §8.5", Refusal, |to| {
        connecting(to, &[(":authority", "far.test:443"), (":scheme", "http"), (":path", "/")])
    }),
    row("CONNECT with a protocol, and no path", "8441 §4", Refusal, |to| {
        connecting(to, &[(":protocol", "websocket"), (":authority", AUTHORITY), (":scheme", "http")])
    }),
    row("CONNECT with a protocol, and no scheme", "8441 §4", Refusal, |to| {
        connecting(to, &[(":protocol", "websocket"), (":authority", AUTHORITY), (":path", "/")])
    }),
];

/// Trailers that make their request malformed: what they are, fields of the head that are indexed behind its path, and their block.
const TRAILERS: &[(&str, &[u8], &[u8])] = &[
    ("a literal :path", b"", b"\0\x05:path\x01/"),
    ("an unknown one", b"", b"\0\x02:x\x011"),
    ("a literal :path that is never indexed", b"", b"\x10\x05:path\x01/"),
    ("a literal :path that is indexed from now on", b"", b"\x40\x05:path\x01/"),
    // RFC 7541 appendix B: `:` is 1011100, `a` 00011, and the rest padding.
    (":a in Huffman's code", b"", b"\0\x82\xb8\xff\x011"),
    ("a field of the static table", b"", b"\x82"),
    ("a name of the static table", b"", b"\x04\x01/"),
    ("one of responses", b"", b"\x88"),
    ("one behind another field", b"", b"\0\x07x-check\x011\x84"),
    // The path is number 62, or further behind where others were indexed after it.
    ("a field of the dynamic table", b"", b"\xbe"),
    ("a name of the dynamic table", b"", b"\x0f\x2f\x02/b"),
    ("a field of the dynamic table behind others", b"\x40\x03x-a\x011\x40\x03x-b\x82\x1f\x61\x011", b"\xc0"),
    ("a name in capitals", b"", b"\0\x07X-Check\x011"),
    ("Connection", b"", b"\0\x0aconnection\x05close"),
];

/// Such as are no harm.
const GOOD: &[(&str, &[u8], &[u8])] = &[
    ("a literal", b"", b"\0\x07x-check\x011"),
    ("a field of the dynamic table", b"\x40\x07x-check\x011", b"\xbe"),
    ("a name of the dynamic table", b"\x40\x07x-check\x012", b"\x0f\x2f\x011"),
    // A size of 0 throws the path out, and what is number 62 then is another.
    ("a field of a table that was emptied", b"", b"\x20\x3f\xe1\x1f\x40\x07x-check\x011"),
];

/// Sends a request whose path is indexed, and `indexed` behind it; a body, and trailers of `block`, in two frames where `cut` says so.
fn trailed(http2: &mut Http2, indexed: &[u8], block: &[u8], cut: bool) -> Result<u32, Failure> {
    let mut head = http2.block("POST", "/", "read; body served", &[]);
    let literal = b"\0\x05:path";
    let at = head.windows(literal.len()).position(|window| window == literal).ok_or("no path")?;
    // RFC 7541 §6.2.1, with the name of number 4
    head.splice(at..at + literal.len(), [0x44]);
    head.extend_from_slice(indexed);
    let stream = http2.next_stream();
    http2.send(kind::HEADERS, END_HEADERS, stream, &head)?;
    http2.data(stream, b"abc", false)?;
    let (first, rest) = block.split_at(if cut { 1 } else { block.len() });
    http2.send(kind::HEADERS, END_STREAM | if cut { 0 } else { END_HEADERS }, stream, first)?;
    if cut {
        http2.send(kind::CONTINUATION, END_HEADERS, stream, rest)?;
    }
    Ok(stream)
}

fn trailers(cx: &mut Context) -> Result<(), Failure> {
    for cut in [false, true] {
        for (what, indexed, block) in TRAILERS {
            cx.again();
            let mut http2 = Http2::open(cx)?;
            let stream = trailed(&mut http2, indexed, block, cut)?;
            refuses(&mut http2, stream).map_err(|failure| Failure(format!("{what} (cut: {cut}): {failure}")))?;
            let seen = cx.seen()?;
            ensure!(!seen.has("read-end"), "{what} (cut: {cut}): the body came to a proper end: {}", seen.summary());
        }
        for (what, indexed, block) in GOOD {
            let mut http2 = Http2::open(cx)?;
            // Twice, so that what is indexed by the trailers is there behind them.
            for _ in 0..2 {
                cx.again();
                http2.again(cx);
                let stream = trailed(&mut http2, indexed, block, cut)?;
                let answer = http2.response(stream).map_err(|failure| Failure(format!("{what}: {failure}")))?;
                ensure_eq!(answer.body, b"served", "the response ({what})");
                ensure_eq!(cx.seen()?.details("trailer"), ["x-check 1"], "the trailers of the request ({what})");
            }
        }
    }
    Ok(())
}

/// Sends a request with a body that is declared as `length` octets, and is `body`.
fn long(to: &mut Http2, length: &str, body: &[u8]) -> Result<u32, Failure> {
    let stream = to.request("POST", "/", "gate never", &[("content-length", length)], false)?;
    to.send(kind::DATA, END_STREAM, stream, body)?;
    Ok(stream)
}

static LENGTHS: &[Row] = &[
    row("a length that is no number", "9110 §8.6", Refusal, |to| with(to, &[("content-length", "abc")])),
    row("an empty length", "9110 §8.6", Refusal, |to| with(to, &[("content-length", "")])),
    row("a length with a sign", "9110 §8.6", Refusal, |to| with(to, &[("content-length", "+0")])),
    row("two lengths", "9110 §8.6", Refusal, |to| with(to, &[("content-length", "0"), ("content-length", "1")])),
    row("a length without a body", "9113 §8.1.1", Reset(PROTOCOL_ERROR), |to| {
        to.request("POST", "/", "gate never", &[("content-length", "5")], true)
    }),
    row("a body that is too short", "9113 §8.1.1", Reset(PROTOCOL_ERROR), |to| long(to, "5", b"abc")),
    row("a body that is too long", "9113 §8.1.1", Reset(PROTOCOL_ERROR), |to| long(to, "2", b"abc")),
    row("a body in pieces that is too short", "9113 §8.1.1", Reset(PROTOCOL_ERROR), |to| {
        let stream = to.request("POST", "/", "gate never", &[("content-length", "5")], false)?;
        to.data(stream, b"ab", false)?;
        to.data(stream, b"cd", true)?;
        Ok(stream)
    }),
    row("a body where none was declared", "9113 §8.1.1", Reset(PROTOCOL_ERROR), |to| long(to, "0", b"abc")),
    row("a body that is cut off by trailers", "9113 §8.1.1", Reset(PROTOCOL_ERROR), |to| {
        let stream = to.request("POST", "/", "gate never", &[("content-length", "5")], false)?;
        to.data(stream, b"abc", false)?;
        to.trailers(stream, &[("x-check", "1")])?;
        Ok(stream)
    }),
    row("a body as long as declared, in pieces", "9113 §8.1.1", Nothing, |to| {
        let stream = to.request("POST", "/", "echo", &[("content-length", "5")], false)?;
        to.data(stream, b"ab", false)?;
        to.data(stream, b"", false)?;
        to.data(stream, b"cde", false)?;
        to.trailers(stream, &[("x-check", "1")])?;
        ensure_eq!(to.response(stream)?.body, b"abcde", "the response");
        Ok(stream)
    }),
];

fn lengths(cx: &mut Context) -> Result<(), Failure> {
    go_through(cx, LENGTHS, false)
}

fn fields(cx: &mut Context) -> Result<(), Failure> {
    go_through(cx, FIELDS, false)
}

fn connection(cx: &mut Context) -> Result<(), Failure> {
    go_through(cx, CONNECTION, false)
}

fn pseudo(cx: &mut Context) -> Result<(), Failure> {
    go_through(cx, PSEUDO, false)
}

fn connect(cx: &mut Context) -> Result<(), Failure> {
    go_through(cx, CONNECT, false)
}
