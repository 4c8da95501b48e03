//! `threadpool`, `hyper` and `smol` take the same octets the same way: generated requests, and the fuzz corpus.

#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test, and a file of the fuzz targets")]

#[path = "../../fuzz/src/differential.rs"]
mod differential;

use std::path::Path;

use differential::expand;
use proptest::prelude::*;
use proptest::sample::select;

#[test]
fn they_agree_on_the_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut count = 0;
    let mut wrong = Vec::new();
    for target in ["connection", "head", "differential"] {
        for entry in std::fs::read_dir(corpus.join(target)).unwrap() {
            let path = entry.unwrap().path();
            if let Err(disagreement) = differential::check(&std::fs::read(&path).unwrap()) {
                wrong.push(format!("{}: {disagreement}", path.file_name().unwrap().display()));
            }
            count += 1;
        }
    }
    assert!(count > 50, "only {count} inputs");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

const METHODS: &[&str] = &["GET", "POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "get", "M-SEARCH", "G#T", "G@T", ""];
const TARGETS: &[&str] = &[
    "/",
    "/a",
    "/ab",
    "/abc?x=1&y",
    "*",
    "h:80",
    "h",
    "http://h/",
    "http://h",
    "http://h?q",
    "http://u@h/x",
    "//h/x",
    "/%zz",
    "/%41",
    "/a b",
    "/\u{e9}",
    "/a\tb",
    "",
    "?q",
    "/..",
    "https://[::1]:1/x",
    "/|",
    "/{x}",
    "/a#b",
    "#",
    "/\"<>`",
];
const VERSIONS: &[&str] =
    &["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.10", ""];
const FIELDS: &[&str] = &[
    "Host: h",
    "Host: h",
    "Host: h",
    "Host: h",
    "host:h:80",
    "Host:",
    "Host: a b",
    "Host: [::1]",
    "Host : h",
    "Host: h/x",
    "Host: a,b",
    "Content-Length: 3",
    "Content-Length: 3",
    "Content-Length: 03",
    "Content-Length: +3",
    "Content-Length: 3, 3",
    "Content-Length: ",
    "Content-Length: 0",
    "Content-Length: 99999",
    "Content-Length: 18446744073709551616",
    "Content-Length: 0x3",
    "Content-Length: 2",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: Chunked",
    "transfer-encoding: gzip, chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding:",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding: ,chunked",
    "Connection: close",
    "Connection: keep-alive",
    "connection: Keep-Alive, close",
    "Connection: te",
    "Connection: x, Close",
    "Expect: 100-continue",
    "Expect: foo",
    "Expect:",
    "TE: trailers",
    "TE: gzip;q=1",
    "X-A: \u{e9}",
    "X-A:\t1 \t",
    " folded",
    "X A: 1",
    ":x",
    "X-A",
    "X-A: a\u{1}b",
    "Accept: */*",
    "Cookie: a=b",
    "Keep-Alive: 1",
    "Trailer: x-t",
];
const BODIES: &[&str] = &[
    "",
    "abc",
    "abc",
    "abcd",
    "ab",
    "3\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n",
    "03 ; a=b\r\nabc\r\n0\r\n\r\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "3\r\nab",
    "0\r\n\r\n",
    "g\r\n\r\n",
    "3\r\nabc0\r\n\r\n",
    "3;a=\"\r\n\"\r\nabc\r\n0\r\n\r\n",
    "ffffffffffffffffff\r\n",
    "-3\r\nabc\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n0\r\ncontent-length: 1\r\n\r\n",
    "3\r\nabc\r\n0\r\nx t: 1\r\n\r\n",
    " 3\r\nabc\r\n0\r\n\r\n",
    "A\r\n0123456789\r\n000\r\n\r\n",
];

prop_compose! {
    fn request()(
        method in select(METHODS), target in select(TARGETS), version in select(VERSIONS),
        plain in any::<bool>(),
        fields in proptest::collection::vec(select(FIELDS), 0..5), line_end in select(&["\r\n", "\r\n", "\r\n", "\n"][..]),
        body in select(BODIES),
    ) -> Vec<u8> {
        let mut octets = Vec::new();
        // Half of them have a good first line and a Host, so that what follows is looked at.
        let (method, target, version) = if plain { ("POST", "/x", "HTTP/1.1") } else { (method, target, version) };
        octets.extend_from_slice(format!("{method} {target} {version}{line_end}").as_bytes());
        for field in plain.then_some("Host: h").into_iter().chain(fields) {
            octets.extend_from_slice(format!("{field}{line_end}").as_bytes());
        }
        octets.extend_from_slice(format!("{line_end}{body}").as_bytes());
        octets
    }
}

prop_compose! {
    /// A few requests, some of them damaged.
    fn connection()(
        requests in proptest::collection::vec(request(), 1..4), damage in proptest::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>(), 0..3_u8)),
    ) -> Vec<u8> {
        let mut octets = requests.concat();
        if let Some((at, byte, how)) = damage {
            let at = at.index(octets.len());
            match how {
                0 => octets[at] = byte,
                1 => octets.insert(at, byte),
                _ => drop(octets.remove(at)),
            }
        }
        octets
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn they_agree_on_generated_requests(octets in connection()) {
        if let Err(disagreement) = differential::check(&octets) {
            prop_assert!(false, "{}", disagreement);
        }
    }
}

prop_compose! {
    /// A request that is long in one way or another, written short: see `fuzz/src/expand.rs`.
    fn long_request()(
        target in select(&["/x", "/xy", "/xyz"][..]), kind in 0..5_u8, times in any::<u8>(), length in 1..200_usize,
        zeros in 0..15_usize, extension in 0..80_usize, fields in 0..120_u8,
    ) -> Vec<u8> {
        let mut octets = format!("POST {target} HTTP/1.1\r\nHost: h\r\n").into_bytes();
        let piece = "x".repeat(length);
        match kind {
            0 => {
                let whole = expand::count(times).min(4000) * length;
                octets.extend_from_slice(format!("Content-Length: {whole}\r\n\r\n").as_bytes());
                let times = (0..=times).rev().find(|times| expand::count(*times) <= 4000).unwrap_or(0);
                octets.extend_from_slice(&expand::repeated(times, piece.as_bytes()));
            }
            1 | 2 => {
                let extension = if extension > 0 { format!(";{}", "e".repeat(extension - 1)) } else { String::new() };
                let length = if kind == 1 { length.min(99) } else { 1 };
                let size = format!("{}{length:x}", "0".repeat(zeros));
                let chunk = format!("{size}{extension}\r\n{}\r\n", "x".repeat(length));
                octets.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                octets.extend_from_slice(&expand::repeated(times, chunk.as_bytes()));
                octets.extend_from_slice(b"0\r\n\r\n");
            }
            3 => {
                for field in 0..fields {
                    octets.extend_from_slice(format!("x-{field}: {piece}\r\n").as_bytes());
                }
                octets.extend_from_slice(b"\r\n");
            }
            _ => {
                octets = expand::repeated(times.min(160), b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
            }
        }
        octets
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn they_agree_on_what_is_long(requests in proptest::collection::vec(long_request(), 1..4)) {
        if let Err(disagreement) = differential::check(&requests.concat()) {
            prop_assert!(false, "{}", disagreement);
        }
    }
}

/// The handler was dropped where the end of the body and that of the stream came at once: hyper was told of the latter
/// while it was thought to wait for the body.
#[test]
fn a_body_may_end_with_its_stream() {
    for octets in [
        &b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n"[..],
        b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ] {
        for _ in 0..200 {
            differential::check(octets).unwrap();
        }
    }
}
