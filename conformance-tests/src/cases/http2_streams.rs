//! Streams of HTTP/2 beside each other, and their ends. BOD-10, BOD-16, CON-01, CON-08, CON-11, DIS-01, SHU-02

use std::time::Instant;

use super::disconnect::BOUND;
use crate::case::{Case, Failure, Group, Level, ensure, ensure_eq};
use crate::context::Context;
use crate::lifecycle::{self, Lifecycle};
use crate::text;
use crate::wire::http2::Http2;
use crate::wire::http2::frame::kind;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "http2_streams",
    title: "Streams of HTTP/2",
    cases: &[
        Case::must("reset_drops_the_handler", "at once", &["DIS-01a", "DIS-01c", "DIS-07a"], reset_handler)
            .needs("http2"),
        Case::must("reset_drops_the_body", "at once", &["BOD-10", "DIS-07a"], reset_body).needs("http2"),
        Case::must("reset_is_a_read_error", "for who reads the body", &["REQ-10", "DIS-05e"], reset_upload)
            .needs("http2"),
        Case::must("lost_connection_drops_all", "every stream of it", &["DIS-01c", "BOD-10"], lost).needs("http2"),
        Case::must("streams_do_not_mix", "many at once, slow ones among them", &["CON-01", "CON-08"], streams)
            .needs("http2"),
        Case::must("unread_body_holds_up_nobody", "beside it and after it", &["REQ-12", "REQ-14"], unread)
            .needs("http2"),
        Case::must("application_is_held_up", "by a client that makes no room", &["BOD-16"], held_up).needs("http2"),
        Case::owned(
            Level::Must,
            "slow_streams_hold_no_thread",
            "blocking bodies that get no room leave the threads to others",
            &["CON-11"],
            slow_streams,
        )
        .needs("http2"),
        Case::owned(Level::Must, "goaway_tells_what_was_served", "and nothing above it is", &["MUX-02"], goaway)
            .needs("http2"),
        Case::owned(
            Level::Must,
            "shutdown_completes_streams",
            "and then closes",
            &["SHU-02", "SHU-03", "MUX-02"],
            shutdown,
        )
        .needs("http2"),
    ],
};

fn reset_handler(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    let beside = http2.get("/", "gate go; body beside")?;
    cx.wait_for("at go")?;
    let first = cx.token().to_owned();
    for script in ["watch; gate never", "watch; pending", "watch; read; pending"] {
        cx.again();
        http2.again(cx);
        let stream = http2.request("POST", "/", script, &[], false)?;
        cx.wait_for("call")?;
        let started = Instant::now();
        http2.reset(stream)?;
        // A reader is told, and may go on for the bound.
        cx.wait_for("handler-cancelled").map_err(|failure| Failure(format!("{script}: {failure}")))?;
        ensure!(started.elapsed() < BOUND, "{script}: the handler was dropped after {:?}", started.elapsed());
        cx.wait_for_times("saw-disconnect true", 2)?;
    }
    cx.control(&format!("open {first} go"))?;
    ensure_eq!(http2.response(beside)?.body, b"beside", "the response on a stream beside it");
    Ok(())
}

fn reset_body(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    for script in ["stream text:hello gate:never", "stream text:hello pending", "channel 1 task text:hello gate:never"]
    {
        cx.again();
        http2.again(cx);
        let stream = http2.get("/", script)?;
        http2.take(stream, 5)?;
        let started = Instant::now();
        http2.reset(stream)?;
        // The feeder of a channel learns of it when it sends the next item.
        if script.starts_with("channel") {
            cx.open("never")?;
        }
        cx.wait_for("body-dropped").map_err(|failure| Failure(format!("{script}: {failure}")))?;
        ensure!(started.elapsed() < BOUND, "{script}: the body was dropped after {:?}", started.elapsed());
    }
    Ok(())
}

fn reset_upload(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    let (cancel, no_error) = (8_u32, 0_u32);
    for (script, code) in [
        ("chunk; read; record over; pending", cancel),
        ("blocking; chunk; read; disconnected?; record over", cancel),
        // It is as little of an end. RFC 9113 §8.1 has it for servers.
        ("chunk; read; record over; pending", no_error),
        ("blocking; chunk; read; record over", no_error),
    ] {
        cx.again();
        http2.again(cx);
        let stream = http2.request("POST", "/", script, &[], false)?;
        http2.data(stream, b"hello", false)?;
        cx.wait_for("chunk")?;
        http2.send(kind::RST_STREAM, 0, stream, &code.to_be_bytes())?;
        if script.contains("disconnected?") {
            // [DIS-05e]
            ensure_eq!(cx.wait_for("flag")?.details("flag"), ["true"], "the flag behind a read that fails");
        } else if script.starts_with("blocking") {
            cx.wait_for("read-error")?;
        } else {
            // It is told, or dropped with its handler.
            cx.wait_for("handler-cancelled")?;
        }
        let seen = cx.seen()?;
        ensure!(!seen.has("read-end"), "an upload that was reset came to a proper end ({script})");
        ensure!(
            seen.details("read-error").iter().all(|kind| kind == "disconnected"),
            "another error: {}",
            seen.summary()
        );
    }
    Ok(())
}

fn lost(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    for _ in 0..5 {
        http2.get("/", "gate never")?;
    }
    let body = http2.get("/", "stream text:x gate:never")?;
    http2.take(body, 1)?;
    cx.wait_for_times("at never", 6)?;
    let started = Instant::now();
    http2.lose();
    cx.wait_for_times("handler-cancelled", 5)?;
    cx.wait_for("body-dropped")?;
    ensure!(started.elapsed() < BOUND, "a lost connection was noticed after {:?}", started.elapsed());
    Ok(())
}

fn streams(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    let slow = http2.get("/", "gate go; body slow")?;
    cx.wait_for("at go")?;
    let mut open = Vec::new();
    for number in 0..60 {
        let script = match number % 3 {
            0 => format!("body answer-{number}"),
            1 => format!("stream text:answer- sleep:10 text:{number}"),
            _ => format!("blocking; iter text:answer- text:{number}"),
        };
        open.push((number, http2.get("/", &script)?));
    }
    for (number, stream) in open {
        let answer = http2.response(stream)?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        ensure_eq!(text, format!("answer-{number}"), "the response on stream {stream}");
    }
    cx.open("go")?;
    ensure_eq!(http2.response(slow)?.body, b"slow", "the slow response");
    Ok(())
}

fn unread(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    // A body that is not read, up to the room there is for it, holds up neither its response nor others.
    for round in 0..10 {
        let stream = http2.request("POST", "/", "body early", &[], false)?;
        http2.data(stream, &text::pattern(10_000), false)?;
        ensure_eq!(http2.head(stream)?.status, 200, "the status of an early response ({round})");
        ensure_eq!(http2.take(stream, 5)?, b"early", "an early response ({round})");
        // Its end, or a reset without an error: RFC 9113 §8.1
        let answer = http2.end(stream)?;
        ensure!(
            answer.ended || matches!(answer.reset, Some(0 | 8)),
            "the early response was reset: {:?}",
            answer.reset
        );
        http2.reset(stream)?;
        let next = http2.post("read; body next", &text::pattern(20_000))?;
        ensure_eq!(http2.response(next)?.body, b"next", "a request after it ({round})");
    }
    Ok(())
}

fn held_up(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    http2.stingy();
    let stream = http2.get("/", "stream forever:size:65536")?;
    http2.head(stream)?;
    let mut asked = 0;
    // Held up is who is asked for nothing more for a while.
    loop {
        cx.pause(300)?;
        let now = cx.seen()?.count("asked");
        if now == asked {
            break;
        }
        asked = now;
    }
    ensure!(asked <= 256 + 2, "{asked} items of 64 KiB were asked for, for a client that makes no room");
    http2.reset(stream)?;
    cx.wait_for("body-dropped")?;
    Ok(())
}

fn slow_streams(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    const LENGTH: usize = 64 * 65_536;
    let mut config = lifecycle::config();
    config.threads = Some(2);
    config.blocking_threads = 2;
    let running = life.start(config)?;
    let mut http2 = Http2::open(&running.context)?;
    http2.stingy();
    let mut streams = Vec::new();
    for script in ["iter times:64:size:65536", "blocking; iter times:64:size:65536"].iter().cycle().take(6) {
        let stream = http2.get("/", script)?;
        http2.head(stream)?;
        streams.push(stream);
    }
    let mut others = Http2::open(&running.context)?;
    for script in ["blocking; body quick", "iter text:quick", "blocking; iter text:quick"].iter().cycle().take(6) {
        let stream = others.get("/", script)?;
        ensure_eq!(others.response(stream)?.body, b"quick", "a response beside streams without room");
    }
    for stream in streams {
        http2.generous(stream)?;
        let answer = http2.response(stream)?;
        ensure_eq!(answer.body.len(), LENGTH, "the length of a body that was read late");
    }
    running.stop()
}

fn goaway(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = life.start(lifecycle::config())?;
    let mut http2 = Http2::open(&running.context)?;
    let busy = http2.get("/", "gate go; body busy")?;
    running.wait_for("at go")?;
    running.trigger();
    while http2.goaway.is_none() {
        http2.read()?;
    }
    // They cross what the server says on their way, or have not heard.
    let mut late = Vec::new();
    for _ in 0..3 {
        late.extend([http2.get("/", "body late")?, http2.get("/", "blocking; body late")?]);
        let pongs = http2.pongs.len();
        http2.ping()?;
        http2.pong(pongs + 1)?;
    }
    running.open("go");
    ensure_eq!(http2.response(busy)?.body, b"busy", "a response under way");
    http2.closed_gracefully()?;
    let (last, _) = http2.goaway.ok_or("no GOAWAY")?;
    let mut served = 1;
    ensure!(busy <= last, "stream {busy} was served, and GOAWAY names {last} as the last one");
    for stream in late {
        let answer = http2.answer(stream)?;
        // RFC 9113 §6.8: what is above the last one was not acted on, and can be sent again; so REFUSED_STREAM says, too
        let refused = stream > last || answer.reset == Some(7);
        ensure!(refused != answer.ended, "stream {stream}, {last} being the last one: {answer:?}");
        served += usize::from(answer.ended);
    }
    ensure_eq!(running.seen().calls().len(), served, "calls of the application, which are not to be sent again");
    running.wait()?.map_err(|error| error.to_string().into())
}

fn shutdown(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = life.start(lifecycle::config())?;
    let cx = &running.context;
    let mut busy = Http2::open(cx)?;
    let handler = busy.get("/", "gate go; sleep 200; body handled")?;
    let body = busy.get("/", "stream text:one gate:go sleep:200 text:two")?;
    busy.take(body, 3)?;
    running.wait_for("at go")?;
    lifecycle::wait_for_times(&running.records, cx.token(), "at go", 2)?;
    let mut idle = Http2::open(cx)?;
    let stream = idle.get("/", "body hello")?;
    idle.response(stream)?;
    running.trigger();
    // [SHU-03] promptly, though another one is busy
    idle.closed_gracefully().map_err(|failure| Failure(format!("an idle connection: {failure}")))?;
    running.open("go");
    ensure_eq!(busy.response(handler)?.body, b"handled", "a handler under way");
    ensure_eq!(busy.response(body)?.body, b"two", "a body under way");
    busy.closed_gracefully().map_err(|failure| Failure(format!("a busy connection: {failure}")))?;
    running.wait()?.map_err(|error| error.to_string().into())
}
