//! A response body as hyper polls it: HTTP/1.
//!
//! It lives inside hyper's connection, is polled and dropped by its task. Before it reports a failure it lets everything yielded so far reach the client, which hyper alone would throw away. \[BOD-14\],
//! \[FRM-03\], \[FRM-04\], \[ERR-04\]

use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use adapter_core::body::{Body, Exact};
use adapter_core::dispatch;
use adapter_core::observe::ConnectionEnd;
use adapter_core::rules::response::{Framing, Plan};
use adapter_core::{Bytes, Error};
use http_body::{Body as _, Frame, SizeHint};

use super::in_flight::InFlight;
use super::io::Shared;

/// Octets of a body that hyper gets at a time. It copies what the client does not take at once, however much that is.
pub(super) const PIECE: usize = 64 * 1024;

/// What hyper gets as the body of a response. Small, because hyper moves it about.
pub(super) struct ResponseBody {
    kind: Kind,
    /// The request counts as being answered until this is dropped.
    in_flight: InFlight,
}

enum Kind {
    None,
    /// Not sent, but its length is: hyper takes the length of a 304 only from a body. \[NOB-06b\]
    Unsent(u64),
    /// In memory, as long as was said, and one [`PIECE`]: most bodies.
    Full(Bytes),
    Flowing(Box<Flowing>),
}

/// A body that comes in pieces.
struct Flowing {
    source: Source,
    /// What is left of a piece that is more than one for hyper.
    rest: Bytes,
    /// A failure that waits until what came before it is written.
    failure: Option<Error>,
    waited: bool,
    close_delimited: bool,
}

enum Source {
    Exact(Exact),
    Open(Body),
    /// It has failed.
    Gone,
}

impl ResponseBody {
    /// One that is in memory, and sent.
    #[inline]
    pub(super) fn full(bytes: Bytes, mut in_flight: InFlight) -> Self {
        if let Some(observed) = &mut in_flight.observed {
            observed.sent(bytes.len() as u64);
        }
        ResponseBody { kind: Kind::Full(bytes), in_flight }
    }

    /// The body of a response that is sent by `plan`. The request counts as answered when it is dropped.
    pub(super) fn new(body: Body, plan: &Plan, declared: Option<u64>, mut in_flight: InFlight) -> Self {
        let shared = &in_flight.shared;
        let close_delimited = plan.framing == Framing::Close;
        if close_delimited && plan.send_body {
            // [BOD-14b] until it has ended, whatever it is cut off for
            shared.status.reset.store(true, Relaxed);
        }
        let flowing = |source| {
            Kind::Flowing(Box::new(Flowing {
                source,
                rest: Bytes::new(),
                failure: None,
                waited: false,
                close_delimited,
            }))
        };
        let kind = match (plan.framing, declared) {
            (Framing::None, Some(length)) => Kind::Unsent(length),
            _ if !plan.send_body => Kind::None,
            (Framing::Length(length), _) => match body.try_into_bytes() {
                Ok(bytes) if bytes.len() as u64 == length && bytes.len() <= PIECE => {
                    if let Some(observed) = &mut in_flight.observed {
                        observed.sent(length);
                    }
                    Kind::Full(bytes)
                }
                Ok(bytes) => flowing(Source::Exact(Exact::new(bytes.into(), length))),
                Err(body) => flowing(Source::Exact(Exact::new(body, length))),
            },
            _ => flowing(Source::Open(body)),
        };
        ResponseBody { kind, in_flight }
    }
}

impl Flowing {
    fn poll_frame(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if shared.status.holds_body() {
            return Poll::Pending;
        }
        if !self.rest.is_empty() {
            let piece = self.rest.split_to(self.rest.len().min(PIECE));
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if self.failure.is_none() {
            let next = match &mut self.source {
                Source::Exact(body) => ready!(Pin::new(body).poll_frame(cx)),
                Source::Open(body) => ready!(Pin::new(body).poll_frame(cx)),
                Source::Gone => None,
            };
            let error = match next {
                Some(Err(error)) => error,
                Some(Ok(frame)) => {
                    return Poll::Ready(Some(Ok(frame.map_data(|mut bytes| {
                        self.rest = bytes.split_off(bytes.len().min(PIECE));
                        bytes
                    }))));
                }
                None => return Poll::Ready(None),
            };
            dispatch::log_broken(&error);
            self.source = Source::Gone;
            self.failure = Some(error);
        }
        self.poll_failure(cx, shared)
    }

    /// The failure, once all that came before it is with the operating system.
    fn poll_failure(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        // hyper flushes to the socket when this returns pending, the supervisor flushes the socket after that: look
        // again at the next poll, or when the socket takes more.
        if !std::mem::replace(&mut self.waited, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !shared.is_flushed() {
            return Poll::Pending;
        }
        shared.socket().break_off();
        Poll::Ready(self.failure.take().map(Err))
    }

    fn is_end_stream(&self) -> bool {
        self.failure.is_none() && self.is_whole()
    }

    /// Whether its end, which that of the connection tells, has come.
    fn ends_with_connection(&self) -> bool {
        self.close_delimited && !matches!(self.source, Source::Gone) && self.is_whole()
    }

    /// Whether the application has given all of it, and hyper has that.
    fn is_whole(&self) -> bool {
        self.rest.is_empty()
            && match &self.source {
                Source::Exact(body) => body.is_end_stream(),
                Source::Open(body) => body.is_end_stream(),
                Source::Gone => true,
            }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Exact(body) => {
                let left = body.size_hint().exact().map(|left| left + self.rest.len() as u64);
                left.map_or_else(SizeHint::new, SizeHint::with_exact)
            }
            // A length we did not promise must not be promised by hyper: trailers need chunks.
            Source::Open(_) => SizeHint::new(),
            Source::Gone => SizeHint::with_exact(0),
        }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Kind::Flowing(flowing) = &mut this.kind {
            let next = ready!(flowing.poll_frame(cx, &this.in_flight.shared));
            let count = next.as_ref().and_then(|next| next.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
            this.in_flight.shared.status.body_given(count);
            if let Some(observed) = &mut this.in_flight.observed {
                match &next {
                    Some(Ok(_)) => observed.sent(count as u64),
                    Some(Err(error)) if dispatch::is_disconnect(error) => observed.left(),
                    Some(Err(_)) => {
                        observed.failed();
                        this.in_flight.shared.environ.ends(ConnectionEnd::Failed);
                    }
                    None => {}
                }
            }
            return Poll::Ready(next.map(|frame| frame.map_err(BodyError)));
        }
        Poll::Ready(match std::mem::replace(&mut this.kind, Kind::None) {
            Kind::Full(bytes) if !bytes.is_empty() => Some(Ok(Frame::data(bytes))),
            _ => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::None => true,
            Kind::Unsent(_) => false,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Flowing(flowing) => flowing.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::None => SizeHint::with_exact(0),
            Kind::Unsent(length) => SizeHint::with_exact(*length),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Flowing(flowing) => flowing.size_hint(),
        }
    }
}

impl ResponseBody {
    /// hyper has all that there is of it.
    fn is_whole(&self) -> bool {
        match &self.kind {
            Kind::None | Kind::Unsent(_) => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Flowing(flowing) => flowing.is_end_stream(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Kind::Flowing(flowing) = &self.kind
            && flowing.ends_with_connection()
        {
            self.in_flight.shared.status.reset.store(false, Relaxed);
        }
        let Some(observed) = self.in_flight.observed.take().filter(|_| self.is_whole()) else { return };
        self.in_flight.shared.socket().deliver(observed, self.in_flight.begun);
    }
}

/// hyper wants a standard error.
#[derive(Debug)]
pub(super) struct BodyError(Error);

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for BodyError {}
