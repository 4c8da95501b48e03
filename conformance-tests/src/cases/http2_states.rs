//! Frames of HTTP/2 on streams where they have no place, and flow control. RFC 9113 §5.1, §5.2, §6.4, §6.9, §8.1

use super::http2_probe::Comes::{End, Nothing, Reset};
use super::http2_probe::{Row, answered, asked, cancelled, code, go_through, open, row, send, set};
use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::wire::http2::Http2;
use crate::wire::http2::frame::{END_HEADERS, END_STREAM, kind};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "http2_states",
    title: "States of streams of HTTP/2",
    cases: &[
        Case::must("frames_out_of_place_end_it", "the stream, or the connection", &["MUX-08"], states).needs("http2"),
        Case::must("late_frames_are_ignored", "on streams that are closed", &["MUX-08"], late).needs("http2"),
        Case::must("goaway_of_the_client_ends_nothing", "that has begun", &["MUX-02"], goaway).needs("http2"),
        Case::must("windows_are_kept", "what overflows them is an error", &["MUX-09"], windows).needs("http2"),
        Case::must("windows_are_obeyed", "also where the client changes them", &["MUX-09"], obeyed).needs("http2"),
        Case::should("state_errors_have_their_code", "in GOAWAY and RST_STREAM", &["MUX-10"], codes).needs("http2"),
    ],
};

use code::{FLOW_CONTROL_ERROR, PROTOCOL_ERROR, STREAM_CLOSED};

/// Frames on streams that are not in a state for them.
static STATES: &[Row] = &[
    row("DATA on an idle stream", "9113 §5.1", End(PROTOCOL_ERROR), |to| send(to, kind::DATA, END_STREAM, 1, b"abc")),
    row("RST_STREAM on an idle stream", "9113 §6.4", End(PROTOCOL_ERROR), |to| {
        send(to, kind::RST_STREAM, 0, 1, &[0, 0, 0, 8])
    }),
    row("WINDOW_UPDATE on an idle stream", "9113 §5.1", End(PROTOCOL_ERROR), |to| {
        send(to, kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])
    }),
    row("a request on an even stream", "9113 §5.1.1", End(PROTOCOL_ERROR), |to| {
        let block = to.block("GET", "/", "body never", &[]);
        send(to, kind::HEADERS, END_HEADERS | END_STREAM, 2, &block)
    }),
    row("a request on a stream below the last one", "9113 §5.1.1", End(PROTOCOL_ERROR), |to| {
        let (skipped, block) = (to.next_stream(), to.block("GET", "/", "body never", &[]));
        asked(to)?;
        send(to, kind::HEADERS, END_HEADERS | END_STREAM, skipped, &block)
    }),
    row("DATA behind the end of the request", "9113 §5.1", Reset(STREAM_CLOSED), |to| {
        let stream = asked(to)?;
        to.send(kind::DATA, 0, stream, b"abc")?;
        Ok(stream)
    }),
    row("HEADERS behind the end of the request", "9113 §5.1", Reset(STREAM_CLOSED), |to| {
        let stream = asked(to)?;
        to.trailers(stream, &[("x-late", "1")])?;
        Ok(stream)
    }),
    row("DATA on a stream that is closed", "9113 §5.1", Reset(STREAM_CLOSED), |to| {
        let stream = answered(to)?;
        to.send(kind::DATA, END_STREAM, stream, b"abc")?;
        Ok(stream)
    }),
    row("HEADERS on a stream that is closed", "9113 §5.1", Reset(STREAM_CLOSED), |to| {
        let stream = answered(to)?;
        to.trailers(stream, &[("x-late", "1")])?;
        Ok(stream)
    }),
    row("a CONTINUATION on a stream that is closed", "9113 §6.10", End(PROTOCOL_ERROR), |to| {
        let stream = answered(to)?;
        send(to, kind::CONTINUATION, END_HEADERS, stream, &[])
    }),
    row("DATA on a stream that the client has reset", "9113 §5.1", Reset(STREAM_CLOSED), |to| {
        let stream = cancelled(to)?;
        to.send(kind::DATA, END_STREAM, stream, b"abc")?;
        Ok(stream)
    }),
    row("HEADERS on a stream that the client has reset", "9113 §5.1", Reset(STREAM_CLOSED), |to| {
        let stream = cancelled(to)?;
        to.trailers(stream, &[("x-late", "1")])?;
        Ok(stream)
    }),
    row("a second head without the end of the stream", "9113 §8.1", Reset(PROTOCOL_ERROR), |to| {
        let stream = open(to)?;
        to.send(kind::HEADERS, END_HEADERS, stream, &[])?;
        Ok(stream)
    }),
    row("DATA behind trailers", "9113 §5.1", Reset(STREAM_CLOSED), |to| {
        let stream = open(to)?;
        to.trailers(stream, &[("x-check", "1")])?;
        to.send(kind::DATA, END_STREAM, stream, b"abc")?;
        Ok(stream)
    }),
];

/// What may cross on the way, or means nothing any more.
static LATE: &[Row] = &[
    row("WINDOW_UPDATE behind the end of the response", "9113 §5.1", Nothing, |to| {
        let stream = answered(to)?;
        send(to, kind::WINDOW_UPDATE, 0, stream, &[0, 0, 0, 1])
    }),
    row("RST_STREAM behind the end of the response", "9113 §5.1", Nothing, |to| {
        let stream = answered(to)?;
        send(to, kind::RST_STREAM, 0, stream, &[0, 0, 0, 8])
    }),
    row("PRIORITY behind the end of the response", "9113 §5.1", Nothing, |to| {
        let stream = answered(to)?;
        send(to, kind::PRIORITY, 0, stream, &[0, 0, 0, 0, 1])
    }),
    row("WINDOW_UPDATE behind a reset", "9113 §5.1", Nothing, |to| {
        let stream = cancelled(to)?;
        send(to, kind::WINDOW_UPDATE, 0, stream, &[0, 0, 0, 1])
    }),
    row("a second RST_STREAM", "9113 §5.1", Nothing, |to| {
        let stream = cancelled(to)?;
        to.reset(stream)?;
        Ok(stream)
    }),
    row("a stream that was left out", "9113 §5.1.1", Nothing, |to| {
        to.next_stream();
        to.next_stream();
        answered(to)
    }),
    row("trailers without a field", "9113 §8.1", Nothing, |to| {
        let stream = to.request("POST", "/", "echo", &[], false)?;
        to.data(stream, b"abc", false)?;
        to.trailers(stream, &[])?;
        ensure_eq!(to.response(stream)?.body, b"abc", "the response");
        Ok(stream)
    }),
];

/// A window of 2^31 - 1 octets, which one more makes too large.
const MOST: [u8; 4] = [0x7f, 0xff, 0xff, 0xff];

/// What makes windows too large or nothing larger, and what goes beyond them.
static WINDOWS: &[Row] = &[
    row("WINDOW_UPDATE of 0 on the connection", "9113 §6.9", End(PROTOCOL_ERROR), |to| {
        send(to, kind::WINDOW_UPDATE, 0, 0, &[0; 4])
    }),
    row("WINDOW_UPDATE of 0 on a stream", "9113 §6.9", Reset(PROTOCOL_ERROR), |to| {
        let stream = open(to)?;
        to.send(kind::WINDOW_UPDATE, 0, stream, &[0; 4])?;
        Ok(stream)
    }),
    row("a window of the connection beyond 2^31 - 1", "9113 §6.9.1", End(FLOW_CONTROL_ERROR), |to| {
        send(to, kind::WINDOW_UPDATE, 0, 0, &MOST)
    }),
    row("a window of a stream beyond 2^31 - 1", "9113 §6.9.1", Reset(FLOW_CONTROL_ERROR), |to| {
        let stream = open(to)?;
        to.send(kind::WINDOW_UPDATE, 0, stream, &MOST)?;
        Ok(stream)
    }),
    row("settings that make a window too large", "9113 §6.9.2", End(FLOW_CONTROL_ERROR), |to| {
        let stream = open(to)?;
        to.send(kind::WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0, 0])?;
        set(to, 4, 0x10_0000)
    }),
    row("DATA beyond the window of the stream", "9113 §5.2, §6.9", Reset(FLOW_CONTROL_ERROR), |to| {
        let stream = open(to)?;
        let settings = to.settings()?;
        let window = settings.iter().find(|(id, _)| *id == 4).map_or(65_535, |(_, window)| *window);
        // Where the connection's window is smaller, that is what ends.
        for _ in 0..window / 16_384 + 2 {
            to.send(kind::DATA, 0, stream, &[0; 16_384])?;
        }
        Ok(stream)
    }),
];

fn states(cx: &mut Context) -> Result<(), Failure> {
    go_through(cx, STATES, false)
}

fn late(cx: &mut Context) -> Result<(), Failure> {
    go_through(cx, LATE, false)
}

fn goaway(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    let handler = http2.get("/", "gate go; body handled")?;
    let body = http2.get("/", "stream text:one gate:go text:two")?;
    let upload = http2.request("POST", "/", "echo", &[], false)?;
    http2.take(body, 3)?;
    cx.wait_for_times("at go", 2)?;
    // No stream of the server's was seen, and no error.
    http2.send(kind::GOAWAY, 0, 0, &[0; 8])?;
    http2.ping()?;
    http2.pong(1)?;
    http2.data(upload, b"abc", true)?;
    ensure_eq!(http2.response(upload)?.body, b"abc", "an upload behind it");
    cx.open("go")?;
    ensure_eq!(http2.response(handler)?.body, b"handled", "a handler under way");
    ensure_eq!(http2.response(body)?.body, b"two", "a body under way");
    Ok(())
}

fn windows(cx: &mut Context) -> Result<(), Failure> {
    go_through(cx, WINDOWS, false)
}

fn codes(cx: &mut Context) -> Result<(), Failure> {
    [STATES, WINDOWS].into_iter().try_for_each(|table| go_through(cx, table, true))
}

/// Makes room for `count` octets on the stream.
fn room(http2: &mut Http2, stream: u32, count: u32) -> Result<(), Failure> {
    http2.send(kind::WINDOW_UPDATE, 0, stream, &count.to_be_bytes())
}

/// That `count` octets of the response have come, and no more while the server answers a PING.
fn has_come(http2: &mut Http2, stream: u32, count: usize, when: &str) -> Result<(), Failure> {
    while http2.answer(stream)?.body.len() < count {
        http2.read()?;
    }
    let pongs = http2.pongs.len();
    http2.ping()?;
    http2.pong(pongs + 1)?;
    ensure_eq!(http2.answer(stream)?.body.len(), count, "octets of a response {when}");
    Ok(())
}

fn obeyed(cx: &mut Context) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    http2.stingy();
    set(&mut http2, 4, 0)?;
    let stream = http2.get("/", "body hello-world")?;
    http2.head(stream)?;
    has_come(&mut http2, stream, 0, "without a window")?;
    room(&mut http2, stream, 1)?;
    has_come(&mut http2, stream, 1, "with a window of 1")?;
    // RFC 9113 §6.9.2: the windows there are grow and shrink with it, below zero.
    set(&mut http2, 4, 5)?;
    has_come(&mut http2, stream, 6, "with an initial window of 5")?;
    set(&mut http2, 4, 2)?;
    room(&mut http2, stream, 3)?;
    has_come(&mut http2, stream, 6, "with a window of 0 that was -3")?;
    room(&mut http2, stream, 1)?;
    has_come(&mut http2, stream, 7, "with a window of 1")?;
    room(&mut http2, stream, 100)?;
    ensure_eq!(http2.response(stream)?.body, b"hello-world", "the response");
    // A window of the connection that is used up holds up all of them.
    set(&mut http2, 4, 1 << 20)?;
    let large = http2.get("/", "size 100000")?;
    http2.head(large)?;
    let left = 65_535 - b"hello-world".len();
    has_come(&mut http2, large, left, "within the window of the connection")?;
    let second = http2.get("/", "body late")?;
    http2.head(second)?;
    has_come(&mut http2, second, 0, "without a window of the connection")?;
    room(&mut http2, 0, 1 << 20)?;
    ensure!(http2.response(large)?.body.len() == 100_000, "a response that was held up is not whole");
    ensure_eq!(http2.response(second)?.body, b"late", "the response behind it");
    Ok(())
}
