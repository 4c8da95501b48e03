//! Bodies whose framing is wrong, ambiguous or cut short. REQ-09 to REQ-11, REQ-21 to REQ-26, REQ-28

use super::request_body::{nothing_smuggled, smuggled};
use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "request_framing",
    title: "Framing of requests",
    cases: &[
        Case::must(
            "malformed_chunk_is_an_error",
            "broken chunked coding is a read error, then the connection closes",
            &["REQ-09", "REQ-11", "KAP-11"],
            malformed_chunk,
        ),
        Case::must(
            "malformed_chunk_after_data_is_an_error",
            "also behind a good chunk, with a blocking reader",
            &["REQ-09"],
            malformed_later,
        ),
        Case::must(
            "truncated_body_is_an_error",
            "an early end of the stream is a read error, not the end",
            &["REQ-10", "REQ-11"],
            truncated,
        ),
        Case::must(
            "length_and_coding_end_the_connection",
            "Content-Length with Transfer-Encoding smuggles nothing",
            &["REQ-21"],
            length_and_coding,
        ),
        Case::must(
            "conflicting_lengths_are_refused",
            "two different Content-Length values are answered 400",
            &["REQ-22a"],
            conflicting_lengths,
        ),
        Case::must(
            "equal_lengths_are_one_or_none",
            "the same value twice is used once, or answered 400",
            &["REQ-22b"],
            equal_lengths,
        ),
        Case::must(
            "malformed_lengths_are_refused",
            "signs, hex, lists, spaces and overflow are answered 400",
            &["REQ-23"],
            malformed_lengths,
        ),
        Case::must(
            "coding_must_end_in_chunked",
            "identity, misspelt and hidden codings are answered 400",
            &["REQ-24"],
            coding_ends_in_chunked,
        ),
        Case::must("unknown_coding_is_501", "gzip before chunked is answered 501", &["REQ-25a"], unknown_coding),
        Case::must("chunked_twice_is_refused", "chunked, chunked is answered 400", &["REQ-25b"], chunked_twice),
        Case::must(
            "coding_in_http10_ends_the_connection",
            "Transfer-Encoding in HTTP/1.0 is refused, or the last request",
            &["REQ-26"],
            coding_in_http10,
        ),
        Case::must(
            "bare_lf_in_chunks_is_malformed",
            "a LF without CR in chunk framing is a read error",
            &["REQ-28a"],
            bare_lf,
        ),
        Case::should(
            "bare_lf_after_last_chunk_is_malformed",
            "a LF without CR does not end a chunked body",
            &["REQ-28b"],
            bare_lf_at_the_end,
        ),
    ],
};

/// A chunked body of these octets is a read error of the kind malformed, and the connection closes after the response.
fn is_malformed(cx: &mut Context, script: &str, wire: &[u8]) -> Result<(), Failure> {
    cx.again();
    let mut connection = cx.connect()?;
    connection.send(cx.request("POST", "/").script(script).field("transfer-encoding", "chunked").tail(wire).bytes())?;
    let about = |failure: Failure| Failure(format!("{}: {failure}", wire.escape_ascii()));
    let response = connection.response("POST").map_err(about)?;
    ensure_eq!(response.text(), "handled", "the response after a malformed body");
    let seen = cx.seen()?;
    ensure!(!seen.has("read-end"), "{}: the application saw an end", wire.escape_ascii());
    ensure_eq!(seen.details("read-error"), ["malformed"], "{}: the read error", wire.escape_ascii());
    connection.closed().map_err(about)?;
    nothing_smuggled(cx)
}

fn malformed_chunk(cx: &mut Context) -> Result<(), Failure> {
    for wire in [
        &b"g\r\nhello\r\n0\r\n\r\n"[..],
        b"\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5 5\r\nhello\r\n0\r\n\r\n",
        b"5,\r\nhello\r\n0\r\n\r\n",
        b"10000000000000000\r\nhello\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello!!\r\n0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\rhello\r\n0\r\n\r\n",
        b";a\r\nhello\r\n0\r\n\r\n",
    ] {
        is_malformed(cx, "read; body handled", wire)?;
    }
    Ok(())
}

fn malformed_later(cx: &mut Context) -> Result<(), Failure> {
    let mut wire = b"5\r\nhello\r\nzz\r\n".to_vec();
    is_malformed(cx, "read; body handled", &wire)?;
    is_malformed(cx, "blocking; read; body handled", &wire)?;
    wire.extend_from_slice(&smuggled(cx));
    is_malformed(cx, "read; body handled", &wire)
}

fn truncated(cx: &mut Context) -> Result<(), Failure> {
    let sized = |cx: &Context| cx.request("POST", "/").script("read").field("content-length", "10");
    let chunked = |cx: &Context| cx.request("POST", "/").script("read").field("transfer-encoding", "chunked");
    for which in 0..6 {
        cx.again();
        let request = match which {
            0 => sized(cx),
            1 => sized(cx).tail("012"),
            2 => chunked(cx),
            3 => chunked(cx).tail("5\r\nhel"),
            4 => chunked(cx).tail("5\r\nhello\r\n"),
            _ => chunked(cx).tail("5\r\nhello\r\n0\r\n"),
        };
        let mut connection = cx.connect()?;
        connection.send(request.bytes())?;
        connection.finish();
        let seen = cx.wait_for("read-error").map_err(|failure| Failure(format!("request {which}: {failure}")))?;
        ensure_eq!(seen.details("read-error"), ["disconnected"], "request {which}: the read error");
        ensure!(!seen.has("read-end"), "request {which}: the application saw an end");
    }
    Ok(())
}

/// Sends octets that hold a smuggled request; the first answer is one of `statuses`, the connection closes after it,
/// and nothing was smuggled.
fn last_one(cx: &Context, bytes: &[u8], statuses: &[u16]) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(bytes)?;
    let response = connection.response("POST")?;
    ensure!(statuses.contains(&response.status()), "expected one of {statuses:?}, seen {}", response.status());
    connection.closed()?;
    nothing_smuggled(cx)
}

fn length_and_coding(cx: &mut Context) -> Result<(), Failure> {
    let smuggled = smuggled(cx);
    let ambiguous = |cx: &Context, first: [&str; 2], second: [&str; 2]| {
        cx.request("POST", "/").script("read").field(first[0], first[1]).field(second[0], second[1])
    };
    let (coding, length) = (["transfer-encoding", "chunked"], smuggled.len() + 5);
    let length = ["content-length", &length.to_string()];
    for (first, second) in [(coding, length), (length, coding)] {
        // By the coding the body ends at the last chunk; by the length it covers what is behind it.
        let request = ambiguous(cx, first, second).tail("0\r\n\r\n").tail(&smuggled);
        last_one(cx, &request.bytes(), &[200, 400])?;
        let small = ["content-length", "3"];
        let (first, second) = if first == coding { (first, small) } else { (small, second) };
        let request = ambiguous(cx, first, second).tail("5\r\nhello\r\n0\r\n\r\n").tail(&smuggled);
        last_one(cx, &request.bytes(), &[200, 400])?;
    }
    for end in cx.seen()?.details("read-end") {
        ensure!(end.starts_with("0 ") || end.starts_with("5 "), "the length won: {end}");
    }
    Ok(())
}

fn conflicting_lengths(cx: &mut Context) -> Result<(), Failure> {
    for lines in [
        "content-length: 3\r\ncontent-length: 4",
        "content-length: 4\r\nContent-Length: 3",
        "content-length: 0\r\ncontent-length: 3",
        "content-length: 3, 4",
    ] {
        cx.refused(format!("POST / HTTP/1.1\r\nhost: a\r\n{{t}}{lines}\r\n\r\nabcd"), &[400])
            .map_err(|failure| Failure(format!("{lines:?}: {failure}")))?;
    }
    Ok(())
}

fn equal_lengths(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    let request = cx.request("POST", "/").script("read; body done");
    let request = request.field("content-length", "3").field("content-length", "3").tail("abc");
    connection.send(request.bytes())?;
    connection.send(cx.get("body next").bytes())?;
    let response = connection.response("POST")?;
    if response.status() == 400 {
        connection.closed()?;
        return cx.not_called();
    }
    ensure_eq!(response.text(), "done", "the response");
    ensure!(cx.seen()?.details("read-end").iter().any(|end| end.starts_with("3 ")), "the body was not 3 octets");
    ensure_eq!(connection.response("GET")?.text(), "next", "the response to the next request");
    Ok(())
}

fn malformed_lengths(cx: &mut Context) -> Result<(), Failure> {
    for length in [
        "+3",
        "-3",
        "0x3",
        "3a",
        "a",
        "3,3a",
        "3 3",
        "3.0",
        "1e1",
        "",
        "99999999999999999999",
        "18446744073709551616",
        "\"3\"",
        "3;",
        "٣",
    ] {
        cx.refused(format!("POST / HTTP/1.1\r\nhost: a\r\n{{t}}content-length: {length}\r\n\r\nabc"), &[400])
            .map_err(|failure| Failure(format!("content-length {length:?}: {failure}")))?;
    }
    Ok(())
}

/// A request with this Transfer-Encoding is refused.
fn coding_refused(cx: &mut Context, lines: &str, statuses: &[u16]) -> Result<(), Failure> {
    let body = "5\r\nhello\r\n0\r\n\r\n";
    cx.refused(format!("POST / HTTP/1.1\r\nhost: a\r\n{{t}}{lines}\r\n\r\n{body}"), statuses)
        .map(drop)
        .map_err(|failure| Failure(format!("{lines:?}: {failure}")))
}

fn coding_ends_in_chunked(cx: &mut Context) -> Result<(), Failure> {
    for value in [
        "identity",
        "gzip",
        "xchunked",
        "chunkedx",
        "chunke",
        "chunked, identity",
        "chunked, gzip",
        "",
        ",",
        "\"chunked\"",
        "chunked;q=1",
        "chunked\x0b",
        "\x0bchunked",
        "chunked\0",
        "chun ked",
        "identity, xchunked",
    ] {
        coding_refused(cx, &format!("transfer-encoding: {value}"), &[400])?;
    }
    coding_refused(cx, "transfer-encoding: chunked\r\ntransfer-encoding: identity", &[400])?;
    coding_refused(cx, "transfer-encoding:\r\n chunked", &[400])
}

fn unknown_coding(cx: &mut Context) -> Result<(), Failure> {
    for lines in [
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: gzip,chunked",
        "transfer-encoding: br\r\ntransfer-encoding: chunked",
        "transfer-encoding: x-own, chunked",
        "transfer-encoding: identity, chunked",
    ] {
        coding_refused(cx, lines, &[501])?;
    }
    Ok(())
}

fn chunked_twice(cx: &mut Context) -> Result<(), Failure> {
    for lines in [
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: Chunked,chunked",
    ] {
        coding_refused(cx, lines, &[400])?;
    }
    Ok(())
}

fn coding_in_http10(cx: &mut Context) -> Result<(), Failure> {
    let mut bytes = cx
        .raw("POST / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n{t}transfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    bytes.extend_from_slice(&smuggled(cx));
    last_one(cx, &bytes, &[200, 400])
}

fn bare_lf(cx: &mut Context) -> Result<(), Failure> {
    for wire in [
        &b"5\nhello\r\n0\r\n\r\n"[..],
        b"5\r\nhello\n0\r\n\r\n",
        b"5;a=b\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\n\r\n",
        b"5\nhello\n0\n\n",
    ] {
        is_malformed(cx, "read; body handled", wire)?;
    }
    Ok(())
}

fn bare_lf_at_the_end(cx: &mut Context) -> Result<(), Failure> {
    // A LF there may still begin a trailer line, so the parser is given the rest of one.
    is_malformed(cx, "read; body handled", b"5\r\nhello\r\n0\r\n\nx: y\r\n\r\n")
}
