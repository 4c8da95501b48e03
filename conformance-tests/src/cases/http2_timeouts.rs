//! Timeouts of connections whose requests end apart from them. KAP-08, KAP-09, LIM-04 to LIM-06

use std::time::Instant;

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::setting::{self, SHORT};
use crate::text;
use crate::wire::http2::Http2;
use crate::wire::http2::frame::kind;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "http2_timeouts",
    title: "Timeouts of HTTP/2",
    cases: &[
        Case::must("silent_connection_ends", "one without a request", &["LIM-04a", "MUX-02"], silent)
            .with(&setting::SHORT_HEADER)
            .needs("http2"),
        Case::must("header_timeout_is_for_heads", "not for what else a client says", &["LIM-04a"], only_heads)
            .with(&setting::SHORT_HEADER)
            .needs("http2"),
        Case::must("idle_connection_is_closed", "with a GOAWAY", &["KAP-08", "MUX-02"], idle)
            .with(&setting::SHORT_IDLE)
            .needs("http2"),
        Case::must("deaf_client_is_closed", "one that answers nothing", &["KAP-08"], deaf)
            .with(&setting::SHORT_IDLE)
            .needs("http2"),
        Case::must("busy_connection_is_not_idle", "with a stream open, or data queued", &["KAP-09"], busy)
            .with(&setting::SHORT_IDLE)
            .needs("http2"),
        Case::must("slow_body_is_a_read_error", "of its stream alone", &["LIM-05", "REQ-11"], slow_body)
            .with(&setting::SHORT_BODY)
            .needs("http2"),
        Case::must("client_that_makes_no_room_ends", "the body is dropped", &["LIM-06"], no_room)
            .with(&setting::SHORT_WRITE)
            .needs("http2"),
        Case::must("stream_without_room_ends", "and the others go on", &["LIM-06", "MUX-01"], no_room_for_one)
            .with(&setting::SHORT_WRITE)
            .needs("http2"),
        Case::must("write_timeout_starts_anew", "a slow application is no slow client", &["LIM-06"], slow_application)
            .with(&setting::SHORT_WRITE)
            .needs("http2"),
    ],
};

fn silent(cx: &mut Context) -> Result<(), Failure> {
    let started = Instant::now();
    Http2::open(cx)?.closed_gracefully()?;
    ensure!(started.elapsed() >= SHORT / 2, "a silent connection ended after {:?} already", started.elapsed());
    let mut talking = Http2::open(cx)?;
    talking.ping()?;
    talking.closed_gracefully()?;
    let mut begun = Http2::open(cx)?;
    begun.begin("/", "body never")?;
    begun.closed_gracefully()?;
    cx.not_called()
}

fn only_heads(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    let stream = http2.get("/", "sleep 900; body late")?;
    ensure_eq!(http2.response(stream)?.body, b"late", "the response of a slow handler");
    // Idle, and not silent: that is the keep-alive timeout's business.
    http2.ping()?;
    cx.pause(900)?;
    http2.ping()?;
    let stream = http2.get("/", "body after")?;
    ensure_eq!(http2.response(stream)?.body, b"after", "the response after a pause");
    ensure!(http2.goaway.is_none(), "a GOAWAY on a connection in use");
    Ok(())
}

fn idle(cx: &mut Context) -> Result<(), Failure> {
    for script in ["body hello", "stream text:hel sleep:50 text:lo", "blocking; iter text:hello"] {
        let mut http2 = Http2::open(cx)?;
        let stream = http2.get("/", script)?;
        ensure_eq!(http2.response(stream)?.body, b"hello", "the response ({script})");
        http2.ping()?;
        http2.closed_gracefully().map_err(|failure| Failure(format!("{script}: {failure}")))?;
    }
    Ok(())
}

fn deaf(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    let stream = http2.get("/", "body hello")?;
    http2.response(stream)?;
    http2.answers_nothing();
    http2.closed_gracefully()
}

fn busy(cx: &mut Context) -> Result<(), Failure> {
    const SIZE: usize = 1 << 20;
    let mut http2 = Http2::open(cx)?;
    let handler = http2.get("/", "gate go; body handled")?;
    let body = http2.get("/", "stream text:one gate:go text:two")?;
    http2.take(body, 3)?;
    for _ in 0..2 {
        let other = http2.get("/", "body other")?;
        ensure_eq!(http2.response(other)?.body, b"other", "a response beside them");
        cx.pause(900)?;
    }
    cx.open("go")?;
    ensure_eq!(http2.response(handler)?.body, b"handled", "a slow handler's response");
    ensure_eq!(http2.response(body)?.body, b"two", "the rest of a slow body");
    ensure!(http2.goaway.is_none(), "a GOAWAY on a connection in use");
    // All of it is in the server's hands, and most of it has to wait. A connection for each: between two requests it is idle.
    for script in [format!("size {SIZE}"), format!("stream size:{SIZE}")] {
        let mut http2 = Http2::open(cx)?;
        http2.stingy();
        let stream = http2.get("/", &script)?;
        http2.head(stream)?;
        cx.pause(900)?;
        http2.generous(stream)?;
        let answer = http2.response(stream)?;
        ensure!(answer.body == text::pattern(SIZE), "{} of {SIZE} octets came ({script})", answer.body.len());
        ensure!(http2.goaway.is_none(), "a GOAWAY on a connection in use ({script})");
    }
    Ok(())
}

fn slow_body(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    for script in ["read; body handled", "blocking; read; body handled"] {
        cx.again();
        http2.again(cx);
        let slow = http2.request("POST", "/", script, &[], false)?;
        http2.data(slow, b"abc", false)?;
        let seen = cx.wait_for("read-error")?;
        ensure_eq!(seen.details("read-error"), ["timed-out"], "the read error ({script})");
        ensure!(!seen.has("read-end"), "the application saw an end ({script})");
        let answer = http2.end(slow)?;
        ensure_eq!(answer.body, b"handled", "the response ({script})");
        let next = http2.post("read; body next", b"abc")?;
        ensure_eq!(http2.response(next)?.body, b"next", "a response beside it ({script})");
    }
    Ok(())
}

fn no_room(cx: &mut Context) -> Result<(), Failure> {
    for body in
        ["stream forever:size:65536", "iter forever:size:65536", "channel 1 thread forever:size:65536", "size 1000000"]
    {
        cx.again();
        let mut http2 = Http2::open(cx)?;
        http2.stingy();
        let stream = http2.get("/", &format!("{body}; hook"))?;
        http2.head(stream)?;
        let seen = cx.wait_for("hook").map_err(|failure| Failure(format!("{body}: {failure}")))?;
        if !body.starts_with("size") {
            ensure!(seen.details("hook")[0].starts_with("aborted"), "the hook said {:?}", seen.details("hook"));
            cx.wait_for("body-dropped")?;
        }
        http2.ends().map_err(|failure| Failure(format!("{body}: {failure}")))?;
    }
    Ok(())
}

fn no_room_for_one(cx: &mut Context) -> Result<(), Failure> {
    for body in ["stream forever:size:65536", "iter forever:size:65536", "size 1000000"] {
        cx.again();
        let mut http2 = Http2::open(cx)?;
        http2.again(cx);
        http2.stingy();
        let stalled = http2.get("/", &format!("{body}; hook"))?;
        // All that there is room for on the stream, and so on the connection, which gets more.
        http2.take(stalled, 65_535)?;
        http2.send(kind::WINDOW_UPDATE, 0, 0, &(1_u32 << 20).to_be_bytes())?;
        let beside =
            http2.get("/", "stream text:a sleep:300 text:b sleep:300 text:c sleep:300 text:d sleep:300 text:e")?;
        let answer = http2.end(stalled)?;
        ensure!(answer.reset.is_some(), "the stream that stalls was not reset ({body})");
        let seen = cx.wait_for("hook")?;
        if !body.starts_with("size") {
            ensure!(seen.details("hook")[0].starts_with("aborted"), "the hook said {:?}", seen.details("hook"));
        }
        ensure_eq!(http2.response(beside)?.body, b"abcde", "the response beside it ({body})");
        ensure!(http2.goaway.is_none(), "a GOAWAY on a connection in use ({body})");
    }
    Ok(())
}

fn slow_application(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    for script in ["sleep 900; body ab", "stream text:a sleep:900 text:b", "iter text:a sleep:900 text:b"] {
        let stream = http2.get("/", script)?;
        ensure_eq!(http2.response(stream)?.body, b"ab", "the body of a slow application ({script})");
    }
    Ok(())
}
