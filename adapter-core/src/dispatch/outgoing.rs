//! The body of a response on its way, without I/O. \[BOD-14\], \[FRM-03\], \[FRM-04\], \[ERR-04\], \[TRL-04\]

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Version, response};
use http_body::Body as _;

use super::{Observed, error_response, is_disconnect, log_broken};
use crate::body::{Body, Exact, FilePart};
use crate::contain;
use crate::rules;
use crate::rules::request::Facts;
use crate::rules::response::{Framing, Plan};
use crate::runtime::Runtime;

/// A body that is sent in pieces. For server authors.
///
/// Dropping it drops the application's body, which is told that the response broke off if it did.
#[derive(Debug)]
pub struct Outgoing {
    source: Source,
    framing: Framing,
    /// There is room for trailers, and the client takes them.
    trailers: bool,
    blocking: bool,
    /// It has failed because the client is gone.
    is_left: bool,
}

#[derive(Debug)]
enum Source {
    Open(Body),
    Exact(Exact),
}

/// What is to be sent next.
#[derive(Debug)]
pub enum Piece {
    /// Data, at least one octet.
    Data(Bytes),
    /// The end, with trailers if there are some and the client wants them.
    End(Option<HeaderMap>),
    /// The body failed, which was logged: what is sent of the response must be seen not to be all, see
    /// [`Outgoing::breaks_off_by_reset`].
    Broken,
}

impl Outgoing {
    /// `body` as `plan` has it sent. `None`: nothing is, and the body was dropped. \[NOB-03\], \[BOD-12\]
    pub fn new(body: Body, plan: &Plan, facts: &Facts) -> Option<Self> {
        if !plan.send_body || plan.framing == Framing::None {
            contain::discard("drop of a body", body);
            return None;
        }
        let blocking = body.is_blocking();
        // [TRL-04], [TRL-05] in HTTP/1.1 only chunks have room for them
        let trailers = facts.trailers && (plan.framing == Framing::Chunked || facts.version >= Version::HTTP_2);
        let source = match plan.framing {
            Framing::Length(length) if trailers => Source::Exact(Exact::new(body, length).with_trailers()),
            Framing::Length(length) => Source::Exact(Exact::new(body, length)),
            _ => Source::Open(body),
        };
        Some(Outgoing { source, framing: plan.framing, trailers, blocking, is_left: false })
    }

    /// How it is framed.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether [`poll_piece`](Self::poll_piece) blocks: what is there goes out before. \[BOD-04\]
    pub fn is_blocking(&self) -> bool {
        self.blocking
    }

    /// What comes next, if it is a part of a file that can be sent as it is; to be told to [`file_sent`](Self::file_sent) then. One
    /// that turns out to be shorter is for [`poll_piece`](Self::poll_piece) to find out. Does not block, never panics.
    pub fn file_part(&self) -> Option<FilePart<'_>> {
        match &self.source {
            Source::Exact(body) => body.file_part(),
            Source::Open(_) => None,
        }
    }

    /// The first `count` octets of [`file_part`](Self::file_part) are sent.
    pub fn file_sent(&mut self, count: u64) {
        if let Source::Exact(body) = &mut self.source {
            body.file_sent(count);
        }
    }

    /// The next piece, until [`Piece::End`] or [`Piece::Broken`]; not to be asked after that. Blocks only as the body does
    /// ([`is_blocking`](Self::is_blocking)), and never panics. Cancel safe.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        loop {
            let next = match &mut self.source {
                Source::Open(body) => Pin::new(body).poll_frame(cx),
                Source::Exact(body) => Pin::new(body).poll_frame(cx),
            };
            let frame = match ready!(next) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    log_broken(&error);
                    self.is_left = is_disconnect(&error);
                    return Poll::Ready(Piece::Broken);
                }
                None => return Poll::Ready(Piece::End(None)),
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Piece::Data(data)),
                Err(frame) if self.trailers => return Poll::Ready(Piece::End(frame.into_trailers().ok())),
                Err(_) => {}
            }
        }
    }

    /// Whether the next piece is known to be [`Piece::End`], without trailers: that need not be asked for. Does not block.
    pub fn is_at_end(&self) -> bool {
        match &self.source {
            Source::Open(body) => body.is_end_stream(),
            Source::Exact(body) => body.is_end_stream(),
        }
    }

    /// Whether the body has failed because its client is gone, whose request it reads: then that is how the request has ended. Asked behind
    /// [`Piece::Broken`]. Does not block, never panics. \[OBS-06\]
    pub fn is_left(&self) -> bool {
        self.is_left
    }

    /// Whether a body that fails has to be broken off by a reset: where the end of the connection is the end of the body, an
    /// orderly one would look like it. \[BOD-14b\], \[FRM-07\]
    pub fn breaks_off_by_reset(&self) -> bool {
        self.framing == Framing::Close
    }
}

/// Moves what blocks in `body` to a thread of `runtime` where the caller may not block, see
/// [`Body::offload_with`]; where there is no room for it, `head` and `plan` become those of a 503, which `observed` is told. `held` is
/// dropped when that work is over, or there is none. Does not block. \[BOD-15\]
pub fn offload(
    head: &mut response::Parts,
    body: Body,
    plan: &mut Plan,
    facts: &Facts,
    runtime: &Runtime,
    held: impl Send + 'static,
    observed: Option<&mut Observed>,
) -> Body {
    if !plan.send_body || !body.is_blocking() {
        return body;
    }
    body.offload_with(runtime, plan.framing.length(), held).unwrap_or_else(|error| {
        if let Some(observed) = observed {
            observed.refused();
        }
        let (refused, body) = error_response(&error).into_parts();
        *head = refused;
        *plan = rules::response::plan(head, body.len(), facts).expect("invariant: our own response is sendable");
        body
    })
}
