//! Limits on sizes and counts, both sides of each. LIM-01 to LIM-03, LIM-07, LIM-08, LIM-10, TGT-24

use std::time::{Duration, Instant};

use adapter_core::Limits;

use crate::case::{Case, Failure, Group, Level, ensure, ensure_eq};
use crate::context::Context;
use crate::lifecycle::{self, Lifecycle};
use crate::setting;
use crate::text;
use crate::wire::Connection;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "limits",
    title: "Limits",
    cases: &[
        Case::must("large_head_is_431", "a head over its limit is answered 431", &["LIM-01", "KAP-11"], head)
            .with(&setting::SMALL_LIMITS),
        Case::must("head_at_its_limit_is_served", "and one octet more is 431", &["LIM-01"], head_at)
            .with(&setting::SMALL_LIMITS),
        Case::must("endless_head_is_431", "also one that never ends", &["LIM-01"], endless_head)
            .with(&setting::SMALL_LIMITS),
        Case::must("head_below_its_limit_is_served", "a head just below the limit is served", &["LIM-01"], head_below)
            .with(&setting::SMALL_LIMITS),
        Case::must("many_fields_are_431", "more fields than allowed are answered 431", &["LIM-02", "KAP-11"], fields)
            .with(&setting::SMALL_LIMITS),
        Case::must("fields_at_their_limit_are_served", "exactly as many as allowed are served", &["LIM-02"], fields_at)
            .with(&setting::SMALL_LIMITS),
        Case::must(
            "declared_body_too_large_is_413",
            "by its Content-Length, without calling and without reading",
            &["LIM-03a", "LIM-03c"],
            declared,
        )
        .with(&setting::SMALL_LIMITS),
        Case::must("declared_body_gets_no_continue", "nor is it asked for", &["LIM-03a", "EXP-02a"], declared_expect)
            .with(&setting::SMALL_LIMITS),
        Case::must(
            "body_at_its_limit_is_served",
            "a body of exactly the limit is read",
            &["LIM-03a", "LIM-03b"],
            at_limit,
        )
        .with(&setting::SMALL_LIMITS),
        Case::must(
            "growing_body_is_too_large",
            "a chunked body over the limit is a read error",
            &["LIM-03b", "LIM-03c", "REQ-11"],
            growing,
        )
        .with(&setting::SMALL_LIMITS),
        Case::must(
            "unread_growing_body_is_no_request",
            "nor is the rest of it taken for requests",
            &["LIM-03c", "REQ-12"],
            growing_unread,
        )
        .with(&setting::SMALL_LIMITS),
        Case::owned(
            Level::Must,
            "connections_are_capped",
            "beyond the cap 503 or a wait, then service as before",
            &["LIM-07"],
            capped,
        ),
        Case::owned(
            Level::Must,
            "ended_connections_make_room",
            "also where the client stays",
            &["LIM-07", "KAP-13"],
            ended_makes_room,
        ),
        Case::owned(
            Level::Must,
            "idle_connections_make_room",
            "at the cap the longest-idle connection is closed for one that waits, and no other",
            &["LIM-07"],
            idle_makes_room,
        ),
        Case::must(
            "chunk_extensions_are_bounded",
            "endless extensions are a read error",
            &["LIM-08a"],
            chunk_extensions,
        ),
        Case::must(
            "chunk_size_lines_are_bounded",
            "endless zeros and blanks are a read error",
            &["LIM-08a"],
            chunk_size_lines,
        ),
        Case::must(
            "ordinary_chunks_are_not_charged",
            "their number, leading zeros and signatures are no matter",
            &["LIM-08c"],
            ordinary_chunks,
        ),
        Case::must("trailers_are_bounded", "endless trailers are a read error", &["LIM-08b"], trailers),
        Case::must("largest_limits_are_kept", "also as large as any may be", &["LIM-02", "TGT-24"], largest)
            .with(&setting::LARGE_LIMITS),
        Case::must(
            "huge_names_are_refused",
            "a field name no map can hold is refused",
            &["LIM-01", "HDR-06"],
            huge_name,
        )
        .with(&setting::LARGE_LIMITS),
        Case::should("defaults_are_finite", "an endless head ends without any configuration", &["LIM-10"], defaults),
    ],
};

fn head(cx: &mut Context) -> Result<(), Failure> {
    let value = "v".repeat(9000);
    cx.refused(format!("GET / HTTP/1.1\r\nhost: a\r\n{{t}}x-large: {value}\r\n\r\n"), &[431])?;
    let name = "n".repeat(9000);
    cx.refused(format!("GET / HTTP/1.1\r\nhost: a\r\n{{t}}{name}: v\r\n\r\n"), &[431])?;
    let many = (0..19).map(|index| format!("x-{index}: {}\r\n", "v".repeat(600))).collect::<String>();
    cx.refused(format!("GET / HTTP/1.1\r\nhost: a\r\n{{t}}{many}\r\n"), &[431]).map(drop)
}

fn head_at(cx: &mut Context) -> Result<(), Failure> {
    const LIMIT: usize = 8192;
    // In one field, and in several.
    for (fields, length) in [(1, LIMIT), (8, LIMIT), (1, LIMIT + 1), (8, LIMIT + 1)] {
        cx.again();
        let mut head = cx.raw("GET / HTTP/1.1\r\nhost: a\r\n{t}");
        for index in 1..=fields {
            let end = length - 2 - (fields - index) * (LIMIT / 10);
            let name = format!("x-{index}: ");
            head.extend_from_slice(name.as_bytes());
            head.resize(end - 2, b'v');
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        ensure_eq!(head.len(), length, "the octets that this case sends");
        let mut connection = cx.connect()?;
        connection.send(head)?;
        let (status, expected) = (connection.response("GET")?.status(), if length > LIMIT { 431 } else { 200 });
        ensure_eq!(status, expected, "the status for {length} octets in {fields} fields");
        if length > LIMIT { cx.not_called() } else { cx.seen()?.call().map(drop) }?;
    }
    Ok(())
}

fn endless_head(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    let mut bytes = cx.raw("GET / HTTP/1.1\r\nhost: a\r\n{t}x-endless: ");
    bytes.extend_from_slice(&vec![b'v'; 200_000]);
    let sending = connection.send_in_background(bytes)?;
    let response = connection.response("GET")?;
    ensure_eq!(response.status(), 431, "the status");
    sending.finish();
    cx.not_called()
}

fn head_below(cx: &mut Context) -> Result<(), Failure> {
    let value = "v".repeat(7500);
    cx.answered(&cx.get("body x").field("x-large", &value), 200)?;
    ensure_eq!(cx.seen()?.call()?.texts("x-large"), [value], "the large field");
    Ok(())
}

fn many(cx: &Context, count: usize) -> Vec<u8> {
    let rest = (2..count).map(|index| format!("x-{index}: v\r\n")).collect::<String>();
    cx.raw(format!("GET / HTTP/1.1\r\nhost: a\r\n{{t}}{rest}\r\n"))
}

fn fields(cx: &mut Context) -> Result<(), Failure> {
    for count in [21, 22, 100, 200] {
        let rest = (2..count).map(|index| format!("x-{index}: v\r\n")).collect::<String>();
        cx.refused(format!("GET / HTTP/1.1\r\nhost: a\r\n{{t}}{rest}\r\n"), &[431])
            .map_err(|failure| Failure(format!("{count} fields: {failure}")))?;
    }
    Ok(())
}

fn fields_at(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(many(cx, 20))?;
    ensure_eq!(connection.response("GET")?.status(), 200, "the status for 20 fields");
    ensure_eq!(cx.seen()?.call()?.fields.len(), 20, "the fields delivered");
    Ok(())
}

fn largest(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(many(cx, Limits::MOST_HEADERS))?;
    ensure_eq!(connection.response("GET")?.status(), 200, "the status for as many fields as may be");
    // Beyond what fits an `http::HeaderMap`, too.
    for count in [Limits::MOST_HEADERS + 1, 24_576, 24_577, 40_000] {
        let rest = (2..count).map(|index| format!("a{index}:\r\n")).collect::<String>();
        cx.refused_while_sending(format!("GET / HTTP/1.1\r\nhost: a\r\n{{t}}{rest}\r\n"), &[431])
            .map_err(|failure| Failure(format!("{count} fields: {failure}")))?;
    }
    let target = |length: usize| format!("/{}", "t".repeat(length - 1));
    cx.again();
    let mounted = crate::mount::prefix().len();
    cx.answered(&cx.get("").target(&target(Limits::MOST_TARGET_BYTES - mounted)), 200)?;
    for length in [Limits::MOST_TARGET_BYTES + 1, 65_536, 70_000, 500_000] {
        cx.refused_while_sending(format!("GET {} HTTP/1.1\r\nhost: a\r\n{{t}}\r\n", target(length)), &[414])
            .map_err(|failure| Failure(format!("a target of {length} octets: {failure}")))?;
    }
    Ok(())
}

fn huge_name(cx: &mut Context) -> Result<(), Failure> {
    for length in [65_536, 70_000, 500_000] {
        let name = "n".repeat(length);
        cx.refused_while_sending(format!("GET / HTTP/1.1\r\nhost: a\r\n{{t}}{name}: v\r\n\r\n"), &[400, 431])
            .map_err(|failure| Failure(format!("a name of {length} octets: {failure}")))?;
    }
    cx.answered(&cx.get(""), 200).map(drop)
}

fn declared(cx: &mut Context) -> Result<(), Failure> {
    for length in ["65537", "1000000", "4611686018427387904"] {
        // The head alone: the answer must not wait for the body.
        let response =
            cx.refused(format!("POST / HTTP/1.1\r\nhost: a\r\n{{t}}content-length: {length}\r\n\r\n"), &[413])?;
        ensure!(response.interim.is_empty(), "an interim response");
    }
    // And it arrives when the body is on its way.
    let mut connection = cx.connect()?;
    let sending = connection.send_in_background(cx.post("read", vec![b'x'; 300_000]).bytes())?;
    let response = connection.response("POST")?;
    ensure_eq!(response.status(), 413, "the status");
    ensure!(!response.truncated, "the response is not complete");
    sending.finish();
    connection.closed()?;
    cx.not_called()
}

fn declared_expect(cx: &mut Context) -> Result<(), Failure> {
    let response =
        cx.refused("POST / HTTP/1.1\r\nhost: a\r\n{t}expect: 100-continue\r\ncontent-length: 65537\r\n\r\n", &[413])?;
    ensure!(response.interim.is_empty(), "a 100 before the 413");
    Ok(())
}

fn at_limit(cx: &mut Context) -> Result<(), Failure> {
    let body = text::pattern(65_536);
    cx.answered(&cx.post("read", &body), 200)?;
    cx.seen()?.read_all(&body)?;
    cx.again();
    let chunks: Vec<&[u8]> = body.chunks(5000).collect();
    cx.answered(&cx.request("POST", "/").script("read").chunked(&chunks), 200)?;
    cx.seen()?.read_all(&body)
}

fn growing(cx: &mut Context) -> Result<(), Failure> {
    for script in ["read; body handled", "blocking; read; body handled"] {
        cx.again();
        let mut connection = cx.connect()?;
        let request = cx.request("POST", "/").script(script).chunked(&vec![vec![b'x'; 1000]; 80]);
        let sending = connection.send_in_background(request.bytes())?;
        ensure_eq!(connection.response("POST")?.text(), "handled", "the response");
        sending.finish();
        let seen = cx.seen()?;
        ensure_eq!(seen.details("read-error"), ["too-large"], "the read error");
        ensure!(!seen.has("read-end"), "the application saw an end");
        connection.closed()?;
    }
    Ok(())
}

fn growing_unread(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    let smuggled = super::request_body::smuggled(cx);
    let request = cx.request("POST", "/").script("body answered").chunked(&vec![smuggled; 1500]);
    let sending = connection.send_in_background(request.bytes())?;
    ensure_eq!(connection.response("POST")?.text(), "answered", "the response");
    sending.finish();
    connection.closed()?;
    super::request_body::nothing_smuggled(cx)
}

fn capped(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut config = lifecycle::config();
    config.limits.connections = 3;
    let running = life.start(config)?;
    let cx = &running.context;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut connection = cx.connect()?;
        connection.send(cx.get("body held").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "held", "a response below the cap");
        // Not idle: the next request has begun.
        connection.send(&cx.get("sleep 20; body held").bytes()[..20])?;
        held.push(connection);
    }
    let mut waiting: Vec<Connection> = Vec::new();
    for _ in 0..5 {
        // A connection beyond the cap may be refused at any stage; what it must not do is be served now.
        let Ok(mut connection) = cx.connect() else { continue };
        let _ = connection.send(cx.request("GET", "/beyond").script("body beyond").bytes());
        waiting.push(connection);
    }
    // Who would serve them has the time to.
    std::thread::sleep(Duration::from_millis(300));
    // Those below it are served meanwhile.
    for connection in &mut held {
        let request = [&cx.get("sleep 20; body held").bytes()[20..], &cx.get("body held").bytes()[..20]].concat();
        connection.send(request)?;
        ensure_eq!(connection.response("GET")?.text(), "held", "a response at the cap");
    }
    let early = running.seen().calls().iter().filter(|call| call.uri == "/beyond").count();
    ensure_eq!(early, 0, "requests served beyond the cap");
    drop(held);
    for connection in &mut waiting {
        // One that was refused with a 503 or closed is none that waits.
        if let Ok(response) = connection.response("GET") {
            ensure!(matches!(response.status(), 200 | 503), "expected 200 or 503, seen {}", response.status());
        }
        connection.finish();
    }
    drop(waiting);
    let mut connection = cx.connect()?;
    connection.send(cx.get("body after").bytes())?;
    ensure_eq!(connection.response("GET")?.text(), "after", "service after the cap");
    Ok(())
}

fn ended_makes_room(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut config = lifecycle::config();
    config.limits.connections = 1;
    config.timeouts.header_read = Some(Duration::from_millis(300));
    let running = life.start(config)?;
    let cx = &running.context;
    // Each has its answer, and the end of the server's direction, and does not close.
    let late = "GET / HT".to_owned().into_bytes();
    let refused = cx.raw("GET / HTTP/1.1\r\nhost: a b\r\n{t}\r\n");
    let unreadable = b"GET /\x01 HTTP/1.1\r\nhost: a\r\n\r\n".to_vec();
    let last = cx.get("body last; header connection close").bytes();
    for request in [late, refused, unreadable, last] {
        let mut stays = cx.connect()?;
        stays.send(request)?;
        stays.rest()?;
        let (_, response) = cx.answered(&cx.get("body next; header connection close"), 200)?;
        ensure_eq!(response.text(), "next", "the response to who waited for its place");
    }
    Ok(())
}

fn idle_makes_room(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    const CAP: usize = 10;
    let mut config = lifecycle::config();
    config.limits.connections = CAP;
    let running = life.start(config)?;
    let cx = &running.context;
    let mut held = Vec::new();
    for index in 0..CAP {
        let mut connection = cx.connect()?;
        connection.send(cx.get("body held").bytes())?;
        ensure_eq!(connection.response("GET")?.text(), "held", "response {index} below the cap");
        held.push(connection);
    }
    // The first three are in the middle of a request: in its head, in its body, in the handler.
    let head = cx.get("body late").bytes();
    held[0].send(&head[..20])?;
    held[1].send(cx.request("POST", "/").script("read; body late").field("content-length", "5").bytes())?;
    held[2].send(cx.get("gate go; body late").bytes())?;
    running.wait_for("at go")?;
    for index in 0..2 {
        let asked = Instant::now();
        let mut late = cx.connect()?;
        late.send(cx.get("body in; header connection close").bytes())?;
        ensure_eq!(late.response("GET")?.text(), "in", "the response to connection {index} beyond the cap");
        ensure!(asked.elapsed() < Duration::from_secs(10), "it took {:?}", asked.elapsed());
        late.closed()?;
        // The longest idle one is gone for it, or was for the one before.
        held[3].closed()?;
    }
    held[0].send(&head[20..])?;
    held[1].send("hello")?;
    running.open("go");
    for connection in &mut held[..3] {
        ensure_eq!(connection.response("GET")?.text(), "late", "a response to one that was not idle");
    }
    // Not more than was needed.
    let last = &mut held[CAP - 1];
    last.send(cx.get("body last").bytes())?;
    ensure_eq!(last.response("GET")?.text(), "last", "the response to the last that was idle");
    silent_make_room(life)
}

/// So do those on which nothing has come at all.
fn silent_make_room(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut config = lifecycle::config();
    config.limits.connections = 3;
    config.timeouts.header_read = Some(Duration::from_secs(60));
    let running = life.start(config)?;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(running.context.connect()?);
    }
    let asked = Instant::now();
    let mut late = running.context.connect()?;
    late.send(running.context.get("body in; header connection close").bytes())?;
    ensure_eq!(late.response("GET")?.text(), "in", "the response to one beyond those that are silent");
    // Which of them is a matter of when each was accepted.
    ensure!(asked.elapsed() < Duration::from_secs(10), "it took {:?}", asked.elapsed());
    Ok(())
}

/// A chunked body with this at its end is a read error.
fn bounded(cx: &mut Context, wire: Vec<u8>) -> Result<(), Failure> {
    cx.again();
    let mut connection = cx.connect()?;
    let request = cx.request("POST", "/").script("read; body handled").field("transfer-encoding", "chunked").tail(wire);
    let sending = connection.send_in_background(request.bytes())?;
    let seen = cx.wait_for("read-error")?;
    let kinds = seen.details("read-error");
    ensure!(kinds == ["malformed"] || kinds == ["too-large"], "the read error is {kinds:?}");
    let _ = connection.rest();
    sending.finish();
    Ok(())
}

fn chunk_extensions(cx: &mut Context) -> Result<(), Failure> {
    let mut wire = b"5;".to_vec();
    wire.extend_from_slice(&vec![b'e'; 2 * 1024 * 1024]);
    bounded(cx, wire)?;
    // Also spread over many chunks.
    let one = format!("1;{}\r\nx\r\n", "e".repeat(1000));
    bounded(cx, one.repeat(2000).into_bytes())
}

fn chunk_size_lines(cx: &mut Context) -> Result<(), Failure> {
    for (before, filler) in [("", "0"), ("1", " "), ("1", "\t"), ("5\r\nhello\r\n", "0"), ("5 ", " ")] {
        let mut wire = before.as_bytes().to_vec();
        wire.extend_from_slice(filler.repeat(2 * 1024 * 1024).as_bytes());
        bounded(cx, wire).map_err(|failure| Failure(format!("{before:?} and endless {filler:?}: {failure}")))?;
    }
    // Also spread over many chunks.
    for one in [format!("{}1\r\nx\r\n", "0".repeat(1000)), format!("1{}\r\nx\r\n", " ".repeat(1000))] {
        bounded(cx, one.repeat(2000).into_bytes())?;
    }
    Ok(())
}

fn ordinary_chunks(cx: &mut Context) -> Result<(), Failure> {
    let signature = format!(";chunk-signature={}", "e".repeat(64));
    for (count, size, zeros, extension) in [
        (20_000, 16, 0, ""),
        (100_000, 1, 0, ""),
        (200, 8 * 1024, 0, ""),
        (4_000, 16, 14, ""),
        (1_000, 1024, 0, &signature),
        (4_000, 1, 0, &signature),
        (4_000, 3, 0, "  "),
    ] {
        cx.again();
        let body = text::pattern(count * size);
        let mut wire = Vec::new();
        for chunk in body.chunks(size) {
            wire.extend_from_slice(format!("{}{size:x}{extension}\r\n", "0".repeat(zeros)).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n\r\n");
        let request = cx.request("POST", "/").script("read").field("transfer-encoding", "chunked").tail(wire);
        let what = |failure| Failure(format!("{count} chunks of {size}, {zeros} zeros, {extension:?}: {failure}"));
        cx.answered(&request, 200).map_err(what)?;
        cx.seen()?.read_all(&body).map_err(what)?;
    }
    Ok(())
}

fn trailers(cx: &mut Context) -> Result<(), Failure> {
    let mut wire = b"0\r\nx-long: ".to_vec();
    wire.extend_from_slice(&vec![b'v'; 2 * 1024 * 1024]);
    bounded(cx, wire)?;
    let many = (0..20_000).map(|index| format!("x-{index}: v\r\n")).collect::<String>();
    bounded(cx, format!("0\r\n{many}\r\n").into_bytes())
}

fn defaults(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    let mut bytes = cx.raw("GET / HTTP/1.1\r\nhost: a\r\n{t}x-endless: ");
    bytes.extend_from_slice(&vec![b'v'; 16 * 1024 * 1024]);
    let sending = connection.send_in_background(bytes)?;
    ensure_eq!(connection.response("GET")?.status(), 431, "the status of an endless head");
    sending.finish();
    let many = (0..10_000).map(|index| format!("x-{index}: v\r\n")).collect::<String>();
    let mut connection = cx.connect()?;
    let sending = connection.send_in_background(cx.raw(format!("GET / HTTP/1.1\r\nhost: a\r\n{{t}}{many}\r\n")))?;
    ensure_eq!(connection.response("GET")?.status(), 431, "the status of ten thousand fields");
    sending.finish();
    let target = "a".repeat(60_000);
    cx.refused(format!("GET /{target} HTTP/1.1\r\nhost: a\r\n{{t}}\r\n"), &[414, 431]).map(drop)
}
