//! The body of a request on a stream: with the limit, the timeout, and errors told apart.
//!
//! \[LIM-03\], \[LIM-05\], \[REQ-09\] to \[REQ-20\], \[EXP-01a\], \[TRL-02\], \[TRL-03\], \[MUX-16\]

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use adapter_core::dispatch::Observed;
use adapter_core::request_body::Source;
use adapter_core::rules::request::{BodyLength, Facts};
use adapter_core::rules::trailers;
use adapter_core::signal::Signal;
use adapter_core::{Bytes, RequestBody, RequestBodyError};
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::leftover::read_away;
use super::reply::Reply;
use crate::engine::io::Shared;
use crate::engine::measured::{Measured, trailing};

/// The body that `recv` brings. `reply` is where a client is told to send it; `gone` fires before a read says that it is gone.
pub(super) fn request_body(
    recv: RecvStream,
    reply: &Arc<Reply>,
    gone: Signal,
    shared: &Arc<Shared>,
    facts: &Facts,
    observed: Option<&mut Observed>,
) -> RequestBody {
    if recv.is_end_stream() {
        return RequestBody::empty();
    }
    reply.body_is_open(true);
    RequestBody::from_source(Incoming {
        recv: Some(recv),
        reply: reply.clone(),
        asks: facts.expects_continue,
        gone,
        measured: Measured::new(shared, observed),
        left: match facts.body {
            BodyLength::Sized(length) => Some(length),
            BodyLength::Unknown => None,
        },
    })
}

struct Incoming {
    /// `None` once the application has seen the end, or an error. Without it h2 throws away what still comes.
    recv: Option<RecvStream>,
    reply: Arc<Reply>,
    /// The client waits for a 100 before it sends the body.
    asks: bool,
    gone: Signal,
    measured: Measured,
    /// What is to come by the declared length. h2 holds the client to it.
    left: Option<u64>,
}

impl Source for Incoming {
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = &mut *self;
        let Some(recv) = &mut this.recv else { return Poll::Ready(None) };
        let Poll::Ready(next) = poll_next(recv, cx) else {
            // [EXP-01a] RFC 9110 §10.1.1: not where some of the body is here already
            if std::mem::take(&mut this.asks) {
                this.reply.say_continue();
            }
            let late = ready!(this.measured.poll_late(cx));
            return Poll::Ready(Some(Err(this.fail(late))));
        };
        this.measured.heard();
        this.asks = false;
        let is_last = recv.is_end_stream();
        Poll::Ready(match next {
            Next::Data(data) => {
                if let Err(error) = this.measured.count(data.len()) {
                    return Poll::Ready(Some(Err(this.fail(error))));
                }
                this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                if is_last {
                    this.end();
                }
                Some(Ok(Frame::data(data)))
            }
            // [TRL-03] RFC 9113 §8.1, §8.2.1
            Next::End(Some(fields)) if fields.values().any(trailers::has_blanks_around) => {
                Some(Err(this.fail(RequestBodyError::Malformed("a trailer has blanks around its value".into()))))
            }
            Next::End(fields) => {
                this.end();
                fields.map(|fields| Ok(trailing(fields)))
            }
            Next::Failed(error) => {
                let error = classify(&error);
                if error == RequestBodyError::Disconnected {
                    // [DIS-05e]
                    this.gone.fire();
                } else {
                    this.reply.body_is_malformed();
                }
                Some(Err(this.fail(error)))
            }
        })
    }

    fn is_late(&self) {
        self.measured.is_late();
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.recv, self.left) {
            (None, _) => SizeHint::with_exact(0),
            (Some(recv), _) if recv.is_end_stream() => SizeHint::with_exact(0),
            (_, Some(left)) => SizeHint::with_exact(left),
            (_, None) => SizeHint::new(),
        }
    }
}

impl Incoming {
    /// All of it was read.
    fn end(&mut self) {
        self.recv = None;
        self.reply.body_is_open(false);
    }

    /// Nothing more can be read of it.
    fn fail(&mut self, error: RequestBodyError) -> RequestBodyError {
        match error {
            RequestBodyError::Disconnected | RequestBodyError::Malformed(_) => self.recv = None,
            _ => self.leave(),
        }
        error
    }

    /// The application reads no further.
    fn leave(&mut self) {
        if let Some(recv) = self.recv.take().filter(|recv| !recv.is_end_stream()) {
            read_away(recv, self.reply.clone(), &self.measured.shared);
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.leave();
    }
}

enum Next {
    Data(Bytes),
    /// With trailers, if there are some.
    End(Option<HeaderMap>),
    Failed(h2::Error),
}

fn poll_next(recv: &mut RecvStream, cx: &mut Context<'_>) -> Poll<Next> {
    match ready!(recv.poll_data(cx)) {
        Some(Ok(data)) => {
            // The application has it, and so there is room for more; a stream that was reset meanwhile wants none.
            // [REQ-16] RFC 9113 §5.2
            let _ = recv.flow_control().release_capacity(data.len());
            Poll::Ready(Next::Data(data))
        }
        Some(Err(error)) => Poll::Ready(Next::Failed(error)),
        None => Poll::Ready(match ready!(recv.poll_trailers(cx)) {
            Ok(fields) => Next::End(fields),
            Err(error) => Next::Failed(error),
        }),
    }
}

/// What went wrong, from what h2 tells.
fn classify(error: &h2::Error) -> RequestBodyError {
    // A stream that h2 has reset by itself: its length is not the declared one, or its trailers are none. [MUX-15], [MUX-16]
    if error.is_reset() && error.is_library() {
        RequestBodyError::Malformed(error.to_string())
    } else {
        RequestBodyError::Disconnected
    }
}
