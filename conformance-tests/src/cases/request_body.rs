//! Bodies that are well-formed: what the application reads of them. REQ-01 to REQ-08, REQ-12 to REQ-20, REQ-27

use std::time::Duration;

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::wire::{Connection, Response};
use crate::{setting, text};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "request_body",
    title: "Request body",
    cases: &[
        Case::must("sized_body_is_exact", "a sized body arrives octet by octet", &["REQ-01"], sized_exact),
        Case::must("large_bodies_are_intact", "96 KiB and 1 MiB, sized and chunked", &["REQ-02a"], large),
        Case::must(
            "body_arrives_in_pieces",
            "what has arrived can be read while the rest is to come",
            &["REQ-02b"],
            in_pieces,
        ),
        Case::must(
            "end_is_at_content_length",
            "a pipelined request is no part of the body",
            &["REQ-03"],
            end_at_length,
        ),
        Case::must(
            "no_body_ends_at_once",
            "a request without framing fields has an empty body",
            &["REQ-04", "REQ-07"],
            no_body,
        ),
        Case::must(
            "body_in_a_packet_of_its_own",
            "an unread body that comes behind its head: the next request is answered, or the end was announced",
            &["REQ-29", "REQ-12"],
            own_packet,
        ),
        Case::must("chunks_are_decoded", "sizes in either case and with leading zeros", &["REQ-05"], chunks_decoded),
        Case::must(
            "length_is_known_or_not",
            "the length is a number where the request states it",
            &["REQ-06"],
            length_known,
        )
        .needs("http1"),
        Case::must("end_is_signalled", "every framing has an end, and it stays", &["REQ-07"], end_signalled),
        Case::must("chunk_extensions_are_ignored", "extensions of chunks are no payload", &["REQ-08"], extensions),
        Case::must("unread_body_is_no_request", "a body nobody read is never taken for requests", &["REQ-12"], unread),
        Case::must("unread_large_body_is_no_request", "nor is a large one", &["REQ-12", "KAP-11"], unread_large),
        Case::must(
            "partly_read_body_is_no_request",
            "the response is complete after part of the body",
            &["REQ-13", "REQ-12"],
            partly_read,
        ),
        Case::must(
            "early_response_arrives",
            "a client that is still sending gets the whole response",
            &["REQ-14"],
            early_response,
        ),
        Case::must(
            "late_read_does_not_hang",
            "reading after the response gives an end or an error",
            &["REQ-15"],
            late_read,
        )
        .with(&setting::SHORT_BODY),
        Case::must(
            "unread_body_stalls_the_client",
            "64 MiB are not taken while nobody reads",
            &["REQ-16"],
            back_pressure,
        ),
        Case::must("read_while_writing", "request and response bodies flow at once", &["REQ-17"], full_duplex)
            .needs("full-duplex"),
        Case::must("body_outlives_handler", "the request body as the response body", &["REQ-18"], echo),
        Case::must(
            "blocking_read_holds_up_nobody",
            "blocking reads wait while others are served",
            &["REQ-19", "CON-02"],
            blocking_read,
        ),
        Case::must(
            "dropped_body_is_discarded",
            "dropping the body does not touch the response",
            &["REQ-20", "REQ-12"],
            dropped,
        ),
        Case::must(
            "framing_ignores_the_method",
            "bodies of GET, HEAD, OPTIONS and DELETE are bodies",
            &["REQ-27"],
            any_method,
        ),
    ],
};

/// A request in the shape of a body: if it is served, the framing was lost.
pub(super) fn smuggled(cx: &Context) -> Vec<u8> {
    cx.request("GET", "/smuggled").bytes()
}

/// Checks that `/smuggled` was not served.
pub(super) fn nothing_smuggled(cx: &Context) -> Result<(), Failure> {
    let served = cx.seen()?.calls().iter().any(|call| call.uri == "/smuggled");
    ensure!(!served, "octets of a body were served as a request");
    Ok(())
}

fn sized_exact(cx: &mut Context) -> Result<(), Failure> {
    let all: Vec<u8> = (0..=255).collect();
    for body in [&b"x"[..], b"\r\n\r\n", b"0\r\n\r\n", &all, &text::pattern(4095), &text::pattern(65_537)] {
        cx.again();
        cx.answered(&cx.post("read", body), 200)?;
        cx.seen()?.read_all(body)?;
    }
    Ok(())
}

fn large(cx: &mut Context) -> Result<(), Failure> {
    for length in [96 * 1024, 1024 * 1024, 3 * 1024 * 1024 + 1] {
        let body = text::pattern(length);
        cx.again();
        cx.answered(&cx.post("read", &body), 200)?;
        cx.seen()?.read_all(&body)?;
        cx.again();
        let chunks: Vec<&[u8]> = body.chunks(10_007).collect();
        cx.answered(&cx.request("POST", "/").script("read").chunked(&chunks), 200)?;
        cx.seen()?.read_all(&body)?;
    }
    Ok(())
}

fn in_pieces(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    let request = cx.request("POST", "/").script("chunks 5; read; body done").field("content-length", "10");
    connection.send(request.tail("01234").bytes())?;
    cx.wait_for("chunk 5")?;
    connection.send("56789")?;
    ensure_eq!(connection.response("POST")?.text(), "done", "the response");
    cx.again();
    let request = cx.request("POST", "/").script("chunks 5; read; body done").field("transfer-encoding", "chunked");
    connection.send(request.tail("5\r\n01234\r\n").bytes())?;
    cx.wait_for("chunk 5")?;
    connection.send("1\r\n5\r\n0\r\n\r\n")?;
    ensure_eq!(connection.response("POST")?.text(), "done", "the response to a chunked body");
    Ok(())
}

fn end_at_length(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    let mut bytes = cx.post("read; body one", "12345").bytes();
    bytes.extend_from_slice(&cx.request("GET", "/second").script("read; body two").bytes());
    connection.send(bytes)?;
    ensure_eq!(connection.response("POST")?.text(), "one", "the first response");
    ensure_eq!(connection.response("GET")?.text(), "two", "the second response");
    let ends = cx.seen()?.details("read-end");
    ensure_eq!(
        ends.iter().map(|end| end.split(' ').next().unwrap_or("")).collect::<Vec<_>>(),
        ["5", "0"],
        "lengths read"
    );
    Ok(())
}

fn no_body(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
        cx.again();
        connection.send(cx.request(method, "/").script("read; body done").bytes())?;
        ensure_eq!(connection.response(method)?.text(), "done", "the response to {method}");
        cx.seen()?.read_all(b"")?;
    }
    cx.again();
    connection.send(cx.post("read; body done", "").bytes())?;
    ensure_eq!(connection.response("POST")?.text(), "done", "the response to a length of 0");
    cx.seen()?.read_all(b"")
}

fn chunks_decoded(cx: &mut Context) -> Result<(), Failure> {
    for wire in [
        "a\r\n0123456789\r\n0\r\n\r\n",
        "A\r\n0123456789\r\n0\r\n\r\n",
        "000a\r\n0123456789\r\n000\r\n\r\n",
        "1\r\n0\r\n1\r\n1\r\n8\r\n23456789\r\n0\r\n\r\n",
        "00000000000a\r\n0123456789\r\n0\r\n\r\n",
    ] {
        cx.again();
        let request = cx.request("POST", "/").script("read").field("transfer-encoding", "chunked").tail(wire);
        cx.answered(&request, 200)?;
        cx.seen()?.read_all(b"0123456789").map_err(|failure| Failure(format!("{wire:?}: {failure}")))?;
    }
    // The name of the coding is compared in any case, and payload may look like framing.
    cx.again();
    let payload = "0\r\n\r\n5\r\n";
    let wire = format!("{:x}\r\n{payload}\r\n0\r\n\r\n", payload.len());
    cx.answered(&cx.request("POST", "/").script("read").field("Transfer-Encoding", "Chunked").tail(wire), 200)?;
    cx.seen()?.read_all(payload.as_bytes())
}

fn length_known(cx: &mut Context) -> Result<(), Failure> {
    for (request, length) in [
        (cx.post("length; read", "12345"), "5"),
        (cx.post("length; read", ""), "0"),
        (cx.get("length; read"), "0"),
        (cx.request("POST", "/").script("length; read").chunked(&["12345"]), "unknown"),
        (cx.post("blocking; length; read", "1234"), "4"),
    ] {
        let before = cx.seen()?.details("length").len();
        cx.answered(&request, 200)?;
        ensure_eq!(cx.seen()?.details("length").get(before).map(String::as_str), Some(length), "the length reported");
    }
    Ok(())
}

fn end_signalled(cx: &mut Context) -> Result<(), Failure> {
    let script = "read; read; body done";
    for request in [
        cx.get(script),
        cx.post(script, "abc"),
        cx.request("POST", "/").script(script).chunked(&["a", "bc"]),
        cx.request("POST", "/").script(script).chunked::<&str>(&[]),
        cx.post(script, "abc").http10(),
        cx.post("blocking; read; read", "abc"),
    ] {
        let before = cx.seen()?.count("read-end");
        cx.answered(&request, 200)?;
        let ends = cx.seen()?.details("read-end");
        ensure_eq!(ends.len(), before + 2, "ends seen by two reads");
        ensure!(ends[before + 1].starts_with("0 "), "the second read gave octets: {ends:?}");
    }
    Ok(())
}

fn extensions(cx: &mut Context) -> Result<(), Failure> {
    for wire in [
        "5;a\r\nhello\r\n0\r\n\r\n",
        "5;a=b\r\nhello\r\n0;last\r\n\r\n",
        "5;a=b;c=\"d e;f\"\r\nhello\r\n0\r\n\r\n",
        "5 ;a=b\r\nhello\r\n0\r\n\r\n",
    ] {
        cx.again();
        let request = cx.request("POST", "/").script("read").field("transfer-encoding", "chunked").tail(wire);
        cx.answered(&request, 200)?;
        cx.seen()?.read_all(b"hello").map_err(|failure| Failure(format!("{wire:?}: {failure}")))?;
    }
    Ok(())
}

/// Sends `request`, whose body holds a smuggled request, and then another request: the response is complete, and what
/// follows is the second response or the end of the connection.
fn then_next(cx: &Context, request: &[u8]) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    let mut bytes = request.to_vec();
    bytes.extend_from_slice(&cx.request("GET", "/next").script("body next").bytes());
    // The server may close before it has taken everything.
    let _ = connection.send(bytes);
    let response = connection.response("POST")?;
    ensure_eq!(response.text(), "answered", "the response");
    ensure!(!response.truncated, "the response is not complete");
    next_or_closed(&mut connection, &response)?;
    nothing_smuggled(cx)
}

/// After `response` comes the one to the next request, or the end of the connection.
fn next_or_closed(connection: &mut Connection, response: &Response) -> Result<(), Failure> {
    let announced = response.head.lists("connection", "close");
    let rest = connection.peek_end()?;
    if announced || rest {
        return connection.closed();
    }
    ensure_eq!(connection.response("GET")?.text(), "next", "the response to the next request");
    Ok(())
}

fn unread(cx: &mut Context) -> Result<(), Failure> {
    let body = smuggled(cx);
    then_next(cx, &cx.post("body answered", &body).bytes())?;
    then_next(cx, &cx.request("POST", "/").script("body answered").chunked(&[&body, &body]).bytes())?;
    then_next(cx, &cx.post("blocking; body answered", &body).bytes())
}

fn unread_large(cx: &mut Context) -> Result<(), Failure> {
    let body = smuggled(cx).repeat(8 * 1024 * 1024 / 100);
    let mut connection = cx.connect()?;
    let sending = connection.send_in_background(cx.post("body answered", body).bytes())?;
    let response = connection.response("POST")?;
    ensure_eq!(response.text(), "answered", "the response");
    // Either everything is discarded and the connection goes on, or it is closed.
    sending.finish();
    // A connection that was closed may refuse this, which reading then shows.
    let _ = connection.send(cx.request("GET", "/next").script("body next").bytes());
    next_or_closed(&mut connection, &response)?;
    nothing_smuggled(cx)
}

fn own_packet(cx: &mut Context) -> Result<(), Failure> {
    for script in ["status 404; body answered", "drop-request; sleep 5; body answered", "blocking; body answered"] {
        for length in [2, 200_000, 1_000_000] {
            for kind in ["sized", "chunked", "HTTP/1.0"] {
                let body = text::pattern(length);
                let request = cx.request("POST", "/").script(script);
                let (request, body) = match kind {
                    "chunked" => {
                        let wire = [format!("{length:x}\r\n").as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
                        (request.field("transfer-encoding", "chunked"), wire)
                    }
                    "sized" => (request.field("content-length", length.to_string()), body),
                    _ => {
                        let request = request.http10().field("connection", "keep-alive");
                        (request.field("content-length", length.to_string()), body)
                    }
                };
                let what = |failure| Failure(format!("{kind}, {length} octets ({script}): {failure}"));
                let mut connection = cx.connect()?;
                connection.send(request.bytes())?;
                cx.pause(5)?;
                let sending = connection.send_in_background(body)?;
                let response = connection.response("POST").map_err(what)?;
                ensure_eq!(response.text(), "answered", "the response");
                sending.finish();
                let kept = response.head.lists("connection", "keep-alive") || kind != "HTTP/1.0";
                if response.head.lists("connection", "close") || !kept {
                    connection.closed().map_err(what)?;
                    ensure_eq!(connection.was_reset(), Some(false), "whether the connection was reset");
                    continue;
                }
                connection.send(cx.request("GET", "/next").script("body next").bytes()).map_err(what)?;
                ensure_eq!(connection.response("GET").map_err(what)?.text(), "next", "the next response");
            }
        }
    }
    Ok(())
}

fn partly_read(cx: &mut Context) -> Result<(), Failure> {
    let mut body = b"first".to_vec();
    body.extend_from_slice(&smuggled(cx));
    then_next(cx, &cx.post("chunks 3; body answered", &body).bytes())?;
    then_next(cx, &cx.request("POST", "/").script("chunks 3; body answered").chunked(&[&b"first"[..], &body]).bytes())?;
    then_next(cx, &cx.post("blocking; chunk; body answered", &body).bytes())
}

fn early_response(cx: &mut Context) -> Result<(), Failure> {
    for _ in 0..4 {
        cx.again();
        let mut connection = cx.connect()?;
        let body = text::pattern(4 * 1024 * 1024);
        let sending = connection.send_in_background(cx.post("status 403; size 200000", body).bytes())?;
        let response = connection.response("POST")?;
        ensure_eq!(response.status(), 403, "the status");
        ensure!(!response.truncated && response.body == text::pattern(200_000), "the response is not complete");
        sending.finish();
    }
    Ok(())
}

fn late_read(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    let request = cx.request("POST", "/").script("read-later go; body answered").field("content-length", "10");
    connection.send(request.tail("01234").bytes())?;
    ensure_eq!(connection.response("POST")?.text(), "answered", "the response");
    cx.open("go")?;
    cx.wait_for("read-data")?;
    // The same after a request whose body had arrived in full.
    cx.again();
    cx.answered(&cx.post("read-later go; body answered", "0123456789"), 200)?;
    cx.open("go")?;
    cx.wait_for("read-data")?;
    Ok(())
}

fn back_pressure(cx: &mut Context) -> Result<(), Failure> {
    const ALL: usize = 64 * 1024 * 1024;
    let mut connection = cx.connect()?;
    let request =
        cx.request("POST", "/").script("gate go; read; body answered").field("content-length", ALL.to_string());
    connection.send(request.bytes())?;
    let body = text::pattern(ALL);
    let sent = connection.send_what_fits(&body, Duration::from_millis(700));
    ensure!(sent < ALL, "the server took {sent} octets of a body nobody reads");
    cx.open("go")?;
    connection.send(&body[sent..])?;
    ensure_eq!(connection.response("POST")?.text(), "answered", "the response");
    cx.seen()?.read_all(&body)
}

fn full_duplex(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.request("POST", "/").script("echo").field("transfer-encoding", "chunked").bytes())?;
    ensure_eq!(connection.head()?.status, 200, "the status before any of the body was sent");
    for piece in ["one", "two", "three"] {
        connection.send(format!("{:x}\r\n{piece}\r\n", piece.len()))?;
        let mut echoed = Vec::new();
        while echoed.len() < piece.len() {
            match connection.chunk()? {
                Some(chunk) if !chunk.is_empty() => echoed.extend_from_slice(&chunk),
                _ => return Err(format!("the response ended before {piece:?} came back").into()),
            }
        }
        ensure_eq!(String::from_utf8_lossy(&echoed), piece, "what came back");
    }
    connection.send("0\r\n\r\n")?;
    ensure_eq!(connection.chunk()?, Some(Vec::new()), "the last chunk");
    Ok(())
}

fn echo(cx: &mut Context) -> Result<(), Failure> {
    for length in [0, 1, 100_000] {
        let body = text::pattern(length);
        let (_, response) = cx.answered(&cx.post("echo", &body), 200)?;
        ensure!(response.body == body, "the echo of a sized body of {length} differs");
        let chunks: Vec<&[u8]> = body.chunks(9_999).collect();
        let (_, response) = cx.answered(&cx.request("POST", "/").script("echo").chunked(&chunks), 200)?;
        ensure!(response.body == body, "the echo of a chunked body of {length} differs");
        let (_, response) = cx.answered(&cx.post("blocking; echo", &body), 200)?;
        ensure!(response.body == body, "the blocking echo of a body of {length} differs");
    }
    Ok(())
}

fn blocking_read(cx: &mut Context) -> Result<(), Failure> {
    // More of them than an event loop has threads.
    let mut waiting = Vec::new();
    for _ in 0..6 {
        let mut connection = cx.connect()?;
        let request = cx.request("POST", "/").script("blocking; chunk; read; body read").field("content-length", "10");
        connection.send(request.tail("0").bytes())?;
        waiting.push(connection);
    }
    cx.wait_for_times("chunk", 6)?;
    for script in ["body served", "sleep 10; body served", "blocking; body served"] {
        let (_, response) = cx.answered(&cx.get(script), 200)?;
        ensure_eq!(response.text(), "served", "the response while blocking reads wait");
    }
    for connection in &mut waiting {
        connection.send("123456789")?;
        ensure_eq!(connection.response("POST")?.text(), "read", "the response after the rest");
    }
    Ok(())
}

fn dropped(cx: &mut Context) -> Result<(), Failure> {
    let body = smuggled(cx);
    then_next(cx, &cx.post("drop-request; body answered", &body).bytes())?;
    then_next(cx, &cx.post("chunks 3; drop-request; body answered", &body).bytes())?;
    then_next(cx, &cx.request("POST", "/").script("drop-request; body answered").chunked(&[&body]).bytes())
}

fn any_method(cx: &mut Context) -> Result<(), Failure> {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PATCH", "BREW"] {
        let mut connection = cx.connect()?;
        for request in [
            cx.request(method, "/").script("read; status 200").body(smuggled(cx)),
            cx.request(method, "/").script("read; status 200").chunked(&[smuggled(cx)]),
        ] {
            let before = cx.seen()?.count("read-end");
            connection.send(request.bytes())?;
            ensure_eq!(connection.response(method)?.status(), 200, "the status of {method}");
            let length = smuggled(cx).len().to_string();
            let end = cx.seen()?.details("read-end").get(before).cloned().unwrap_or_default();
            ensure!(end.starts_with(&format!("{length} ")), "{method}: read {end:?}, expected {length} octets");
        }
        connection.send(cx.get("body next").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "next", "the response after {method} with a body");
    }
    nothing_smuggled(cx)
}
