//! How the end of a response is marked. FRM-01 to FRM-08

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::wire::Framing;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "framing",
    title: "Framing of responses",
    cases: &[
        Case::must("unknown_length_is_chunked", "chunked with a last chunk to HTTP/1.1", &["FRM-01"], chunked),
        Case::must(
            "unknown_length_closes_http10",
            "the end of the connection to HTTP/1.0",
            &["FRM-02a", "FRM-02b"],
            close_delimited,
        ),
        Case::must("excess_is_clamped", "never more octets than Content-Length says", &["FRM-03a", "FRM-03c"], clamped),
        Case::must(
            "excess_stops_the_body",
            "no further items once Content-Length is reached",
            &["FRM-03b", "BOD-09"],
            stopped,
        ),
        Case::must(
            "shortfall_is_sent_and_closed",
            "fewer octets are all sent, then the connection closes",
            &["FRM-04a"],
            shortfall,
        ),
        Case::must("never_both", "Content-Length or Transfer-Encoding, never both", &["FRM-05"], never_both),
        Case::must(
            "invalid_length_is_500",
            "a Content-Length that is none is answered 500",
            &["FRM-06"],
            invalid_length,
        ),
        Case::must("aborted_has_no_last_chunk", "a broken-off chunked body has no last chunk", &["FRM-07"], aborted),
        Case::must(
            "refusals_are_framed",
            "a refusal has Content-Length and Connection: close",
            &["FRM-08", "ERR-05"],
            refusals,
        ),
    ],
};

fn chunked(cx: &mut Context) -> Result<(), Failure> {
    for script in [
        "stream text:hello",
        "iter text:hel text:lo",
        "channel 1 thread text:hello",
        "status 404; stream text:hello",
        "counted 0; stream text:hello",
    ] {
        for method in ["GET", "POST", "BREW"] {
            let (mut connection, response) = cx.exchange(&cx.request(method, "/").script(script))?;
            ensure_eq!(response.framing, Framing::Chunked, "the framing ({script})");
            ensure_eq!(response.text(), "hello", "the body ({script})");
            ensure!(!response.truncated, "no last chunk ({script})");
            connection.send(cx.get("body next").bytes())?;
            ensure_eq!(connection.response("GET")?.text(), "next", "the next response");
        }
    }
    let (_, response) = cx.answered(&cx.get("stream empty"), 200)?;
    ensure!(response.body.is_empty() && !response.truncated, "an empty stream");
    Ok(())
}

fn close_delimited(cx: &mut Context) -> Result<(), Failure> {
    for script in ["stream text:hel text:lo", "iter text:hello", "channel 1 thread text:hello"] {
        for keep in [false, true] {
            let request = cx.get(script).http10();
            let request = if keep { request.field("connection", "keep-alive") } else { request };
            let (mut connection, response) = cx.answered(&request, 200)?;
            ensure_eq!(response.framing, Framing::Close, "the framing ({script})");
            ensure_eq!(response.text(), "hello", "the body ({script})");
            ensure!(
                !response.head.lists("connection", "keep-alive"),
                "keep-alive with a body that ends with the connection"
            );
            ensure_eq!(connection.was_reset(), Some(false), "whether the connection was reset");
            connection.closed()?;
        }
    }
    Ok(())
}

const LONGER: [&str; 6] = [
    "body hello%20world",
    "stream text:hel text:lo%20 text:world",
    "iter text:hello%20 text:world",
    "channel 1 thread text:hello%20world",
    "hinted 11 11 text:hello%20world",
    "blocking; body hello%20world",
];

fn clamped(cx: &mut Context) -> Result<(), Failure> {
    for body in LONGER {
        let script = match body.strip_prefix("blocking; ") {
            Some(body) => format!("blocking; header content-length 5; {body}"),
            None => format!("header content-length 5; {body}"),
        };
        let mut connection = cx.connect()?;
        connection.send(cx.get(&script).bytes())?;
        let response = connection.response("GET")?;
        ensure_eq!(response.framing, Framing::Length(5), "the framing ({body})");
        ensure_eq!(response.text(), "hello", "the body ({body})");
        connection.send(cx.get("body next").bytes())?;
        let next =
            connection.response("GET").map_err(|failure| Failure(format!("after a clamped {body}: {failure}")))?;
        ensure_eq!(next.text(), "next", "the next response ({body})");
        // To HTTP/1.0 as well, where the rest would be part of the body.
        let (mut connection, response) = cx.answered(&cx.get(&script).http10(), 200)?;
        ensure_eq!(response.text(), "hello", "the body to HTTP/1.0 ({body})");
        connection.closed()?;
    }
    Ok(())
}

fn stopped(cx: &mut Context) -> Result<(), Failure> {
    for kind in ["stream", "iter"] {
        cx.again();
        // The gate is never opened: asking for a third item would hang.
        let script = format!("header content-length 5; {kind} text:he text:llo gate:never text:x");
        let (mut connection, response) = cx.answered(&cx.get(&script), 200)?;
        ensure_eq!(response.text(), "hello", "the body");
        let seen = cx.wait_for("body-dropped").map_err(|failure| Failure(format!("{kind}: {failure}")))?;
        ensure_eq!(seen.count("body-dropped"), 1, "how often the body was dropped");
        ensure_eq!(seen.count("asked"), 2, "items asked for ({kind})");
        connection.send(cx.get("body next").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "next", "the next response");
    }
    Ok(())
}

fn shortfall(cx: &mut Context) -> Result<(), Failure> {
    for body in [
        "body abc",
        "stream text:a text:bc",
        "iter text:abc",
        "channel 1 thread text:abc",
        "hinted 3 3 text:abc",
        "body",
        "stream",
        "size 70000",
    ] {
        let mut connection = cx.connect()?;
        connection.send(cx.get(&format!("header content-length 100000; {body}")).bytes())?;
        // A server that keeps the connection would answer this within the first response's body.
        let _ = connection.send(cx.get("body smuggled-into-a-body").bytes());
        let response = connection.response("GET")?;
        ensure!(response.truncated, "a body that is too short looks complete ({body})");
        let expected = match body {
            "body" | "stream" => 0,
            "size 70000" => 70_000,
            _ => 3,
        };
        ensure_eq!(response.body.len(), expected, "octets sent before the close ({body})");
        connection.closed()?;
    }
    Ok(())
}

fn never_both(cx: &mut Context) -> Result<(), Failure> {
    for script in [
        "header transfer-encoding chunked; header content-length 5; body hello",
        "header transfer-encoding chunked; header content-length 5; stream text:hello",
        "header transfer-encoding chunked; body hello",
        "header content-length 5; stream text:hello",
        "header transfer-encoding gzip; stream text:hello",
    ] {
        let mut connection = cx.connect()?;
        for _ in 0..2 {
            connection.send(cx.get(script).bytes())?;
            // Reading fails where there are both.
            ensure_eq!(connection.response("GET")?.text(), "hello", "the body ({script})");
        }
    }
    Ok(())
}

fn invalid_length(cx: &mut Context) -> Result<(), Failure> {
    for lengths in ["x", "-1", "+5", "5x", "0x5", "5,%205", "%205%205", "", "99999999999999999999"] {
        for body in ["body hello", "stream text:hello"] {
            let (_, response) = cx.exchange(&cx.get(&format!("header content-length {lengths}; {body}")))?;
            // An empty word is no value of the script; the field is empty then.
            ensure_eq!(response.status(), 500, "the status for Content-Length {lengths:?}");
            ensure!(!response.text().contains("hello"), "the body was sent");
        }
    }
    for script in [
        "header content-length 5; header content-length 6; body hello",
        "header content-length 6; header content-length 5; stream text:hello",
    ] {
        let (_, response) = cx.exchange(&cx.get(script))?;
        ensure_eq!(response.status(), 500, "the status for two that differ");
    }
    Ok(())
}

fn aborted(cx: &mut Context) -> Result<(), Failure> {
    for script in [
        "stream text:a error",
        "iter text:a error",
        "channel 1 thread text:a error",
        "channel 1 thread text:a panic",
        "stream error",
        "stream text:a panic",
    ] {
        let mut connection = cx.connect()?;
        connection.send(cx.get(script).bytes())?;
        connection.head()?;
        let rest = connection.rest()?;
        ensure!(!rest.ends_with(b"0\r\n\r\n"), "a broken-off body ends in a last chunk ({script})");
    }
    Ok(())
}

fn refusals(cx: &mut Context) -> Result<(), Failure> {
    for (bytes, status) in [
        ("GET / HTTP/1.1\r\n{t}\r\n", 400),
        ("GE T / HTTP/1.1\r\nhost: a\r\n{t}\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n{t}\r\n", 400),
        ("GET * HTTP/1.1\r\nhost: a\r\n{t}\r\n", 400),
        ("POST / HTTP/1.1\r\nhost: a\r\n{t}transfer-encoding: gzip, chunked\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nhost: a\r\n{t}content-length: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\n{t}expect: x\r\n\r\n", 417),
    ] {
        let response = cx.refused(bytes, &[status])?;
        ensure!(
            matches!(response.framing, Framing::Length(_)),
            "a {status} of the server without Content-Length ({bytes:?})"
        );
        ensure!(
            response.head.lists("connection", "close"),
            "a {status} of the server without Connection: close ({bytes:?})"
        );
        ensure!(!response.truncated, "a {status} of the server that is not complete");
    }
    Ok(())
}
