//! HTTP/2: h2's connection, and each of its streams from the head to the application and back. RFC 9113
//!
//! h2 has the frames, the compression of fields, the states of streams and the windows. What it lets pass that it should not is
//! stopped below it (`inflow::arriving`); deadlines, drains and the end are the supervisor's, as in HTTP/1.

mod bell;
mod incoming;
mod leftover;
mod outgoing;
mod piece;
mod refusals;
mod reply;
mod stream;
mod tunnel;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use h2::Reason;
use h2::server::{self, Builder};

use self::bell::Bell;
use self::piece::Piece;
use self::refusals::Refusals;
use super::STREAMS;
use super::io::{FrameHandle, Shared};

/// Octets that a client may send ahead of the application, on a stream and in all. RFC 9113 §5.2
const WINDOW: u32 = 1024 * 1024;
/// Octets of one response that h2 holds at most, beyond what the client has room for. \[BOD-16\]
const HELD: usize = 128 * 1024;
/// Streams that h2 ends because their client broke a rule, before it ends the connection.
const ERRORS: usize = 1024;
/// Requests that are begun in one turn of the connection's task, before others get theirs.
const AT_A_TIME: u32 = 64;
/// An application that takes longer, in nanoseconds, holds up the other requests of its connection: so many that come behind it get
/// tasks of their own, and other threads may see to them.
const QUICK: u64 = 200_000;
const APART: u32 = 64;

/// Frames, streams and windows of every connection, with heads of up to `head_bytes`.
pub(super) fn settings(head_bytes: usize) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buffer_size(HELD)
        .max_local_error_reset_streams(Some(ERRORS))
        .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS);
    // [UPG-26] RFC 8441 §3
    builder.enable_connect_protocol();
    builder
}

/// The streams of one connection. Its octets go by [`FrameHandle`].
pub(super) struct Http2 {
    state: State,
    /// A GOAWAY is to follow the handshake.
    is_closing: bool,
    /// Requests that are to have a task of their own from the start.
    apart: u32,
    refusals: Refusals,
    bell: Arc<Bell>,
    /// Rings it.
    ring: Waker,
}

enum State {
    Handshake(server::Handshake<FrameHandle, Piece>),
    Open(server::Connection<FrameHandle, Piece>),
}

impl Http2 {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let handshake = shared.engine.http2.handshake(FrameHandle(shared.clone()));
        let bell = Bell::new();
        let ring = Waker::from(bell.clone());
        shared.set_supervisor(Some(ring.clone()));
        Http2 {
            state: State::Handshake(handshake),
            is_closing: false,
            apart: 0,
            refusals: Refusals::default(),
            bell,
            ring,
        }
    }

    /// Reads and writes frames, and begins the requests that have come. Ready when the connection has ended, with an error where the
    /// client broke a rule or is gone.
    pub(super) fn poll(&mut self, shared: &Arc<Shared>, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.bell.wakes(cx.waker());
        let mut ring = Context::from_waker(&self.ring);
        if let State::Handshake(handshake) = &mut self.state {
            let mut connection = ready!(Pin::new(handshake).poll(&mut ring))?;
            if self.is_closing {
                connection.graceful_shutdown();
            }
            self.state = State::Open(connection);
        }
        let State::Open(connection) = &mut self.state else { return Poll::Pending };
        for _ in 0..AT_A_TIME {
            let (request, respond) = match connection.poll_accept(&mut ring) {
                Poll::Ready(Some(Ok(next))) => next,
                // It has looked at all that came, unless it can't write.
                Poll::Pending => {
                    self.refusals.tell(shared);
                    return Poll::Pending;
                }
                Poll::Ready(ended) => {
                    let ended = ended.map_or(Ok(()), |ended| ended.map(drop));
                    self.refusals.tell_at_end(shared, &ended);
                    return Poll::Ready(ended);
                }
            };
            self.refusals.is_given();
            if self.apart > 0 {
                self.apart -= 1;
                stream::serve(shared, request, respond);
            } else {
                let took = self.bell.muted(|| stream::serve_here(shared, request, respond, cx));
                if took > QUICK {
                    self.apart = APART;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The connection ends at once: tells its client so, and which streams were seen, as far as that goes without waiting. RFC 9113 §6.8
    pub(super) fn leave(&mut self) {
        if let State::Open(connection) = &mut self.state {
            connection.abrupt_shutdown(Reason::NO_ERROR);
            // What does not go out now is lost with the connection.
            let _: Poll<_> = connection.poll_closed(&mut Context::from_waker(&self.ring));
        }
    }

    /// Tells the client that the connection ends; what has begun by then goes on. RFC 9113 §6.8
    pub(super) fn graceful_shutdown(&mut self) {
        match &mut self.state {
            State::Handshake(_) => self.is_closing = true,
            State::Open(connection) => connection.graceful_shutdown(),
        }
    }
}
