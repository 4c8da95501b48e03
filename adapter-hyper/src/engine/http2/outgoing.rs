//! The body of a response on its way to h2, as fast as the client makes room. \[BOD-04\], \[BOD-14\], \[BOD-16\], \[FRM-03\], \[LIM-06\], \[MUX-09\]
//!
//! h2 would take whatever it is given and hold it until there is room. So a piece is given when there is, and as much of it; what is
//! left waits here, and that a client makes no room is seen. One that makes none at all is given up by its connection; one that does for
//! other streams, here.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use adapter_core::dispatch::{self, Observed};
use adapter_core::observe::TimeLimit;
use adapter_core::rules::trailers;
use adapter_core::{Bytes, Sleep};
use h2::{Reason, SendStream};
use http::StatusCode;

use super::piece::{Piece, Queue};
use crate::engine::io::Shared;

/// Room that is asked for at a time, a frame: other streams want some, too.
const FRAME: usize = 16 * 1024;
/// Pieces of one body before others get their turn.
const AT_A_TIME: u32 = 16;

/// A body that comes in pieces.
pub(super) struct Outgoing {
    /// What the head said.
    pub(super) status: StatusCode,
    body: dispatch::Outgoing,
    pub(super) send: SendStream<Piece>,
    /// What h2 holds of it.
    pub(super) queue: Arc<Queue>,
    /// A piece for which there is no room yet.
    rest: Bytes,
    waits: Option<Waits>,
    /// It has failed: the stream is reset once all that came before is on its way.
    failed: bool,
}

/// How a body has ended.
#[derive(PartialEq, Eq)]
pub(super) enum End {
    /// h2 has all of it.
    Whole,
    /// It has failed, and the stream is reset.
    Failed,
    /// The client has reset the stream, is gone, or was given up.
    Gone,
}

/// The client makes no room for a piece.
struct Waits {
    shared: Arc<Shared>,
    since: u64,
    /// Until it has done so for too long.
    sleep: Option<(Duration, Sleep)>,
}

impl Waits {
    fn begin(shared: &Arc<Shared>) -> Self {
        let now = shared.engine.clock.now();
        shared.status.stream_waits(now);
        // The connection has a deadline now.
        shared.wake_supervisor();
        let sleep = shared.engine.timeouts.write.map(|limit| (limit, shared.engine.serving.runtime.sleep(limit)));
        Waits { shared: shared.clone(), since: now, sleep }
    }

    /// Ready when the client has taken nothing of this stream for the write timeout, and something of others.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Waits { shared, since, sleep: Some((limit, sleep)) } = self else { return Poll::Pending };
        loop {
            ready!(Pin::new(&mut *sleep).poll(cx));
            // What was written just behind the beginning may be of this stream.
            if shared.status.written_since(*since + limit.as_nanos() as u64 / 2) {
                return Poll::Ready(());
            }
            // Then the connection has ended, or is about to.
            *since = shared.engine.clock.now();
            *sleep = shared.engine.serving.runtime.sleep(*limit);
        }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.shared.status.stream_goes_on();
    }
}

impl Outgoing {
    pub(super) fn new(
        status: StatusCode,
        body: dispatch::Outgoing,
        send: SendStream<Piece>,
        shared: &Arc<Shared>,
    ) -> Self {
        Outgoing { status, body, send, queue: Queue::new(shared), rest: Bytes::new(), waits: None, failed: false }
    }

    /// Sends on, and says when it is over; `observed` is told of what is sent.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Arc<Shared>,
        observed: &mut Option<Box<Observed>>,
    ) -> Poll<End> {
        if self.failed {
            return self.poll_failure(cx);
        }
        // Also wakes the task when there is room, or the client is gone.
        if self.send.poll_reset(cx).is_ready() {
            return Poll::Ready(End::Gone);
        }
        for _ in 0..AT_A_TIME {
            if !self.rest.is_empty() {
                let room = match self.poll_room(cx) {
                    Poll::Ready(Some(room)) => room,
                    Poll::Ready(None) => return Poll::Ready(End::Gone),
                    Poll::Pending => {
                        ready!(self.waits.get_or_insert_with(|| Waits::begin(shared)).poll_late(cx));
                        shared.environ.timed_out(TimeLimit::Write);
                        if let Some(observed) = observed {
                            observed.timed_out();
                        }
                        self.send.send_reset(Reason::CANCEL);
                        return Poll::Ready(End::Gone);
                    }
                };
                self.waits = None;
                let piece = self.rest.split_to(room.min(self.rest.len()));
                if let Some(observed) = observed {
                    observed.sent(piece.len() as u64);
                }
                let is_last = self.rest.is_empty() && self.body.is_at_end();
                if self.send.send_data(self.queue.piece(piece), is_last).is_err() {
                    return Poll::Ready(End::Gone);
                }
                if is_last {
                    return Poll::Ready(End::Whole);
                }
                continue;
            }
            match ready!(self.body.poll_piece(cx)) {
                dispatch::Piece::Data(data) => {
                    self.send.reserve_capacity(data.len().min(FRAME));
                    self.rest = data;
                }
                dispatch::Piece::End(fields) => {
                    let ended = match fields {
                        Some(mut fields) => {
                            trailers::sanitize(&mut fields);
                            self.send.send_trailers(fields)
                        }
                        None => self.send.send_data(self.queue.piece(Bytes::new()), true),
                    };
                    return Poll::Ready(if ended.is_ok() { End::Whole } else { End::Gone });
                }
                dispatch::Piece::Broken => {
                    if let Some(observed) = observed {
                        if self.body.is_left() { observed.left() } else { observed.failed() }
                    }
                    self.failed = true;
                    return self.poll_failure(cx);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// For how much of the piece there is room; `None` where there will be none.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        loop {
            let room = self.send.capacity();
            if room > 0 {
                return Poll::Ready(Some(room));
            }
            // What was asked for before is used up.
            self.send.reserve_capacity(self.rest.len().min(FRAME));
            if self.send.capacity() > 0 {
                continue;
            }
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(None),
            }
        }
    }

    /// All that came before goes out first: a reset would overtake it. \[BOD-14\]
    fn poll_failure(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.send.poll_reset(cx).is_ready() {
            return Poll::Ready(End::Gone);
        }
        ready!(self.queue.poll_empty(cx));
        self.send.send_reset(Reason::INTERNAL_ERROR);
        Poll::Ready(End::Failed)
    }
}

#[cfg(all(test, adapter_model))]
mod models;
