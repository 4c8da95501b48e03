//! Tables of what a client of HTTP/2 may send that is wrong or odd, and what has to come of it. For cases about the protocol
//! itself: one case goes through many rows, each on a connection of its own, and names the one that fails.

use crate::case::{Failure, ensure, ensure_eq};
use crate::context::Context;
use crate::wire::http2::Http2;
use crate::wire::http2::frame::{kind, setting};

/// Codes of errors. RFC 9113 §7
pub(super) mod code {
    pub(in super::super) const PROTOCOL_ERROR: u32 = 1;
    pub(in super::super) const FLOW_CONTROL_ERROR: u32 = 3;
    pub(in super::super) const STREAM_CLOSED: u32 = 5;
    pub(in super::super) const FRAME_SIZE_ERROR: u32 = 6;
    pub(in super::super) const COMPRESSION_ERROR: u32 = 9;
    pub(in super::super) const ENHANCE_YOUR_CALM: u32 = 11;
}

/// What has to come of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Comes {
    /// The connection ends, with this code.
    End(u32),
    /// The stream is reset with this code, or the connection ends.
    Reset(u32),
    /// The request is answered 400, its stream is reset, or the connection ends; it does not reach the application.
    Refusal,
    /// The connection goes on as if nothing had been, or it had been for the better.
    Nothing,
}

/// One row: what is sent, and what has to come of it.
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) rfc: &'static str,
    pub(super) comes: Comes,
    /// Sends it, and says on which stream; 0 where it is about none.
    pub(super) send: fn(&mut Http2) -> Result<u32, Failure>,
}

/// A [`Row`].
pub(super) const fn row(
    what: &'static str,
    rfc: &'static str,
    comes: Comes,
    send: fn(&mut Http2) -> Result<u32, Failure>,
) -> Row {
    Row { what, rfc, comes, send }
}

/// Rows that are named where several fail.
const NAMED: usize = 5;

/// Goes through the table. `exact`: an error has to have the code that the RFC names, and not only one.
pub(super) fn go_through(cx: &mut Context, table: &[Row], exact: bool) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for row in table {
        cx.again();
        if let Err(failure) = try_row(cx, row, exact) {
            failures.push(format!("{} (RFC {}): {failure}", row.what, row.rfc));
        }
        if failures.len() == NAMED {
            break;
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure(failures.join("\n"))) }
}

fn try_row(cx: &mut Context, row: &Row, exact: bool) -> Result<(), Failure> {
    let mut http2 = Http2::open(cx)?;
    let sent = (row.send)(&mut http2);
    match row.comes {
        // The server may have closed before all of it was sent.
        Comes::End(code) => ends(&mut http2, exact.then_some(code)),
        Comes::Reset(code) => resets(&mut http2, sent?, exact.then_some(code)),
        Comes::Refusal => {
            let lives = refuses(&mut http2, sent?)?;
            cx.not_called()?;
            if lives { goes_on(&mut http2) } else { Ok(()) }
        }
        Comes::Nothing => sent.and_then(|_| goes_on(&mut http2)),
    }
}

/// That the connection has ended as one that has failed.
fn is_an_error(http2: &Http2, expected: Option<u32>) -> Result<(), Failure> {
    // RFC 9113 §5.4.1: a GOAWAY should come first
    let Some((_, code)) = http2.goaway else { return Ok(()) };
    ensure!(code != 0, "the connection ended without an error");
    ensure_eq!(code, expected.unwrap_or(code), "the code of the GOAWAY");
    Ok(())
}

/// That the connection ends, and a PING behind what was sent is not answered any more.
pub(super) fn ends(http2: &mut Http2, expected: Option<u32>) -> Result<(), Failure> {
    let _ = http2.ping();
    while !http2.has_ended()? {
        http2.read()?;
        ensure!(http2.pongs.is_empty(), "the connection goes on");
    }
    is_an_error(http2, expected)
}

/// That the stream is reset, and others go on; or that the connection ends.
fn resets(http2: &mut Http2, stream: u32, expected: Option<u32>) -> Result<(), Failure> {
    loop {
        if let Some(code) = http2.answer(stream)?.reset {
            ensure!(code != 0, "the stream was reset without an error");
            ensure_eq!(code, expected.unwrap_or(code), "the code of the RST_STREAM");
            return goes_on(http2);
        }
        if http2.has_ended()? {
            return is_an_error(http2, expected);
        }
        http2.read()?;
    }
}

/// That the request is refused: RFC 9113 §8.1.1 has the stream reset, with or without an answer. Says whether the connection goes on.
pub(super) fn refuses(http2: &mut Http2, stream: u32) -> Result<bool, Failure> {
    loop {
        let answer = http2.answer(stream)?;
        if let Some(code) = answer.reset {
            ensure!(code != 0 || answer.status() == 400, "the stream was reset without an error");
            return Ok(true);
        }
        ensure!(matches!(answer.status(), 0 | 400), "the status is {}", answer.status());
        if answer.ended {
            return Ok(true);
        }
        if http2.has_ended()? {
            return is_an_error(http2, None).map(|()| false);
        }
        http2.read()?;
    }
}

/// That PING and requests are answered.
pub(super) fn goes_on(http2: &mut Http2) -> Result<(), Failure> {
    let before = http2.pongs.len();
    http2.ping()?;
    http2.pong(before + 1)?;
    let stream = http2.get("/", "body next")?;
    ensure_eq!(http2.response(stream)?.body, b"next", "the next response");
    ensure!(http2.goaway.is_none(), "a GOAWAY: {:?}", http2.goaway);
    Ok(())
}

/// A stream that is open both ways.
pub(super) fn open(http2: &mut Http2) -> Result<u32, Failure> {
    http2.request("POST", "/", "gate never", &[], false)
}

/// A stream whose request is complete, and whose response is not.
pub(super) fn asked(http2: &mut Http2) -> Result<u32, Failure> {
    http2.get("/", "gate never")
}

/// A stream whose response is complete, too.
pub(super) fn answered(http2: &mut Http2) -> Result<u32, Failure> {
    let stream = http2.get("/", "body first")?;
    http2.response(stream)?;
    Ok(stream)
}

/// A stream that the client has reset.
pub(super) fn cancelled(http2: &mut Http2) -> Result<u32, Failure> {
    let stream = open(http2)?;
    http2.reset(stream)?;
    Ok(stream)
}

/// Sends a SETTINGS frame with one setting.
pub(super) fn set(http2: &mut Http2, id: u16, value: u32) -> Result<u32, Failure> {
    http2.send(kind::SETTINGS, 0, 0, &setting(id, value))?;
    Ok(0)
}

/// Sends a frame that is about no stream of ours.
pub(super) fn send(http2: &mut Http2, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<u32, Failure> {
    http2.send(kind, flags, stream, payload)?;
    Ok(0)
}
