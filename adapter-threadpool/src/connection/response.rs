//! Sending a response. \[RSP\], \[BOD\], \[FRM\], \[NOB\], \[TRL-04\], \[ERR-04\]
//!
//! Run by the worker that runs the connection. The body is pulled and dropped without the lock. Each chunk is handed
//! to the operating system before the next one is asked for, or taken over by another thread meanwhile, PEP 3333's two
//! choices (\[BOD-04\]): an iterator that has shown itself quick is pulled until [`GATHER`] bytes are there, and if it
//! then takes long after all, the supervisor writes them within a millisecond or two. An async body is pulled until
//! it is pending. Where there is no room the body waits with the connection, and the thread goes on (\[BOD-16\]).

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::close::{self, Closing};
use super::drive::{Flow, Phase, Task, closed, expired, grace, look, stalled};
use super::io::{Flush, Scratch};
use super::{Conn, bit, upgrade};
use crate::engine::{Tick, lock};
use adapter_core::Response;
use adapter_core::contain::discard;
use adapter_core::dispatch::{self, Grace, Outgoing, Piece, is_unanswerable};
use adapter_core::rules::request::Facts;
use adapter_core::rules::response::Framing;
use adapter_http1::encoder;

/// Frames of an async body sent before others get their turn.
const AT_A_TIME: u32 = 64;

/// Bytes of small chunks that go out together.
const GATHER: usize = 64 * 1024;
/// An iterator is quick once that many chunks in a row took less than this each.
const QUICK_CHUNKS: u32 = 8;
const QUICK: Duration = Duration::from_micros(100);

/// A response body on its way.
pub(super) struct Sending {
    body: Outgoing,
    /// Whether the connection ends after it.
    close: bool,
    /// Whether what is gathered goes out before the next pull.
    flush_first: bool,
    /// How many chunks in a row came quickly.
    quick: u32,
    /// Whether the body may be pulled: it has not said that it is pending, or was woken since.
    woken: bool,
    /// Every frame is in the output.
    complete: bool,
    grace: Grace,
}

/// Begins the response: its head goes into the output, and its body too if it is there.
pub(super) fn begin(conn: &Arc<Conn>, task: &mut Task, scratch: &mut Scratch, response: Response, mut facts: Facts) {
    if is_unanswerable(&response) {
        // [ERR-12] answers to earlier requests still go out
        discard("drop of a response", response.into_body());
        finish(conn, task, true);
        return;
    }
    let settings = &conn.engine.settings;
    let most = settings.limits.requests_per_connection;
    // [KAP-12], [SHU-05]
    facts.keep_alive &=
        settings.keep_alive && most.is_none_or(|most| task.requests < most) && !conn.engine.is_draining();
    if facts.keep_alive && conn.has(bit::BODY_OPEN) {
        facts.keep_alive = close::can_drain(conn, &mut lock(&conn.io));
    }
    let (head, body, mut plan) = dispatch::prepare(response, &facts, task.handover.is_some());
    let switches = upgrade::decide(conn, task, head.status, &facts);
    // What follows a 2xx to CONNECT is a tunnel, and never HTTP.
    plan.close |= facts.is_connect && head.status.is_success() && !switches;

    let now = Instant::now();
    let mut rest = Some(body);
    let mut io = lock(&conn.io);
    io.committed = true;
    let buffer = io.output.buffer(&mut scratch.buffers);
    encoder::head_at(buffer, &head, &plan, facts.version, facts.is_head, now);
    if plan.send_body
        && let Framing::Length(length) = plan.framing
        && let Some(body) = rest.as_mut().filter(|body| body.is_full() && body.len() == Some(length))
    {
        // The usual case: one write for all of it.
        if let Some(Ok(frame)) = body.next_frame()
            && let Ok(data) = frame.into_data()
        {
            io.output.append(data, b"");
        }
    } else if let Some(body) = rest.take_if(|_| plan.send_body && plan.framing != Framing::None) {
        drop(io);
        // [RSP-10] an iterator may take its time for the first chunk; a file does not
        let flush_first = body.is_blocking() && body.len().is_none();
        if let Some(body) = Outgoing::new(body, &plan, &facts) {
            let sending = Sending {
                body,
                close: plan.close,
                flush_first,
                quick: 0,
                woken: true,
                complete: false,
                grace: Grace::default(),
            };
            task.phase = Phase::Sending(Box::new(sending));
        }
        return;
    }
    task.clock = Some(now);
    // Whoever still holds the request's handles is cut off.
    io.request += 1;
    drop(io);
    scratch.heads.recycle(head.headers);
    // [NOB-03] dropped, not pulled; its drop is application code
    drop(rest);
    if switches {
        task.phase = Phase::Switching;
    } else {
        finish(conn, task, plan.close);
    }
}

/// The response is complete in the output: on to the next request, or to the end.
fn finish(conn: &Arc<Conn>, task: &mut Task, close: bool) {
    task.since = 0;
    task.phase = if conn.has(bit::BODY_OPEN) {
        close::leave_body(conn, close)
    } else if close {
        Phase::Closing(Closing::orderly())
    } else {
        Phase::Head
    };
}

/// Sends on. Pulls the body only with a permit.
pub(super) fn sending(conn: &Arc<Conn>, task: &mut Task, taken: &mut u32, permit: bool) -> Flow {
    let Phase::Sending(sending) = &mut task.phase else { return Flow::Next };
    let mut frames = 0;
    // The time a chunk takes is counted with that of sending the one before.
    let mut last = Instant::now();
    let mut gathering = false;
    loop {
        // Within a batch of quick chunks nothing else is looked at.
        let deadline = if gathering { 0 } else { look_at(conn, sending, taken) };
        if conn.has(bit::FORCED) {
            return Flow::Next;
        }
        if sending.flush_first || sending.complete || !sending.woken || !permit {
            let mut io = lock(&conn.io);
            let flushed = io.flush(conn);
            let since = io.stalled_since;
            drop(io);
            match flushed {
                Flush::Done => {}
                Flush::Wait if !conn.has(bit::GONE) => {
                    if expired(conn, since) && !permit {
                        // [LIM-06] at once, although the application may be held up
                        conn.cut_off(true);
                        return permit_later(sending, taken);
                    }
                    return match stalled(conn, task, since) {
                        Flow::Park(until) => Flow::Park(crate::engine::earlier(until, deadline)),
                        flow => flow,
                    };
                }
                // [ERR-07], [BOD-10]
                _ if permit => return closed(conn, task),
                _ => return permit_later(sending, taken),
            }
        }
        if sending.complete {
            let close = sending.close;
            if !permit {
                return permit_later(sending, taken);
            }
            // The body is dropped here.
            task.phase = Phase::Head;
            lock(&conn.io).request += 1;
            finish(conn, task, close);
            return Flow::Next;
        }
        if !sending.woken {
            // The application has nothing to send now.
            let until = grace(conn, &mut sending.grace);
            if !conn.has(bit::GONE) && (until == 0 || conn.engine.now() < until) {
                return Flow::Park(crate::engine::earlier(until, deadline));
            }
            return if permit { closed(conn, task) } else { permit_later(sending, taken) };
        }
        if !permit {
            return permit_later(sending, taken);
        }
        let blocking = sending.body.is_blocking();
        if frames >= AT_A_TIME && !blocking {
            return Flow::Again;
        }
        frames += 1;
        let waker = Waker::from(conn.clone());
        let polled = sending.body.poll_piece(&mut Context::from_waker(&waker));
        if blocking {
            let now = Instant::now();
            let quick = now.saturating_duration_since(last) < QUICK;
            sending.quick = if quick { sending.quick + 1 } else { 0 };
            last = now;
        }
        match polled {
            Poll::Pending => sending.woken = false,
            Poll::Ready(Piece::Broken) => {
                // [FRM-07], [ERR-04] no last chunk; where only the end delimits it, not even an orderly end
                let reset = sending.body.breaks_off_by_reset();
                task.phase = Phase::Head;
                finish(conn, task, true);
                task.phase = Phase::Closing(Closing::broken_off(reset));
                return Flow::Next;
            }
            Poll::Ready(piece) => {
                sending.grace.renew();
                encode(conn, sending, piece);
                gathering = blocking && !sending.flush_first && !sending.complete;
            }
        }
    }
}

/// [`look`] for a response body: it may be pulled again if it was woken.
fn look_at(conn: &Conn, sending: &mut Sending, taken: &mut u32) -> Tick {
    let deadline = look(conn, taken);
    sending.woken |= *taken & bit::WOKEN != 0;
    *taken &= !bit::WOKEN;
    deadline
}

/// Comes back with a permit; a wake-up that was seen is not forgotten.
fn permit_later(sending: &Sending, taken: &mut u32) -> Flow {
    if sending.woken {
        *taken |= bit::WOKEN;
    }
    Flow::Permit { is_new: false }
}

/// Puts a piece into the output.
fn encode(conn: &Arc<Conn>, sending: &mut Sending, piece: Piece) {
    let chunked = sending.body.framing() == Framing::Chunked;
    sending.flush_first = true;
    let mut io = lock(&conn.io);
    match piece {
        Piece::Data(data) => {
            if chunked {
                encoder::chunk_size(io.output.appendable(), data.len());
            }
            io.output.append(data, if chunked { encoder::CHUNK_END } else { b"" });
            let blocking = sending.body.is_blocking();
            sending.flush_first = io.output.gathered() >= GATHER || (blocking && sending.quick < QUICK_CHUNKS);
            drop(io);
            if blocking && !sending.flush_first {
                conn.cork();
            }
        }
        Piece::End(trailers) => {
            if chunked {
                encoder::last_chunk(io.output.appendable(), trailers.as_ref());
            }
            sending.complete = true;
        }
        Piece::Broken => {}
    }
}
