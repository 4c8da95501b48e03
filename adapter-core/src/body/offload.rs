//! A blocking body as one that event loops may poll.
//!
//! One job on a blocking thread pulls the body and feeds a queue the connection's task sends from; dropping the queue
//! ends the job when its current `next()` returns, and with it the body. \[BOD-15\], \[BOD-10\]

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::body::handover::{Giver, handover};
use crate::body::{Body, Exact, Extras, Frames, Kind};
use crate::error::Error;
use crate::instead::instead;
use crate::runtime::{BlockingJob, Runtime, TaskError, Withdrawal};

impl Body {
    /// This body with whatever blocks in it moved to a blocking thread of `runtime`; others are returned as they are.
    /// For event-loop servers, before they poll. Does not block. With a `limit` it is pulled no further than that many
    /// bytes, and ends in an error if there are fewer (\[FRM-03\], \[FRM-04\]).
    ///
    /// # Errors
    /// [`TaskError::Refused`] as an [`Error`] (503) if the server has no room for more blocking work.
    #[inline]
    pub fn offload(self, runtime: &Runtime, limit: Option<u64>) -> Result<Body, Error> {
        self.offload_with(runtime, limit, ())
    }

    /// As [`offload`](Self::offload); `held` is dropped when the job is over, done or not. For servers that count what runs for
    /// a connection.
    ///
    /// # Errors
    /// As [`offload`](Self::offload).
    pub fn offload_with(self, runtime: &Runtime, limit: Option<u64>, held: impl Send + 'static) -> Result<Body, Error> {
        if !self.is_blocking() || runtime.may_block() {
            return Ok(self);
        }
        let (feed, mut body) = self.split(limit);
        let span = tracing::Span::current();
        let (job, withdrawal) = BlockingJob::withdrawable(move || {
            let _held = held;
            span.in_scope(|| feed.run());
        });
        if runtime.run_blocking_job(job).is_err() {
            let error = Error::new(TaskError::Refused);
            instead(error.status(), body);
            return Err(error);
        }
        if let Kind::Stream(frames) = std::mem::replace(&mut body.kind, Kind::Empty) {
            body.kind = Kind::Stream(Box::pin(Offloaded { frames, _withdrawal: withdrawal }));
        }
        Ok(body)
    }

    /// The same, for a caller that is on a blocking thread already and stays there to feed the body it returns.
    pub(crate) fn split(mut self, limit: Option<u64>) -> (Feed, Body) {
        let (giver, taker) = handover(limit.or(self.len()));
        // The hooks stay with the half the server holds, which knows how the response ends; inspectors with the half
        // the application made, of which a limit may hide a part.
        let mut front = Body { kind: Kind::Stream(Box::pin(taker)), extras: self.extras.take() };
        if let Some(extras) = front.extras.as_mut().filter(|extras| !extras.inspectors.is_empty()) {
            let inspectors = std::mem::take(&mut extras.inspectors);
            // Trailers that come out of this half replace those of the other, which are the same.
            let trailers = extras.trailers.clone();
            self.extras = Some(Box::new(Extras { inspectors, trailers, ..Extras::default() }));
        }
        let source = match limit {
            Some(limit) => Source::Exact(Exact::new(self, limit)),
            None => Source::Body(self),
        };
        (Feed { source, giver }, front)
    }
}

/// The half of an offloaded body that the server holds. Dropped before the other has a thread, it takes it out of the line.
struct Offloaded {
    frames: Frames,
    _withdrawal: Withdrawal,
}

impl http_body::Body for Offloaded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.frames.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.frames.size_hint()
    }
}

/// The blocking half of an offloaded body.
pub(crate) struct Feed {
    source: Source,
    giver: Giver,
}

enum Source {
    Body(Body),
    Exact(Exact),
}

impl Feed {
    /// Pulls the body to its end, or until nobody wants it any more. Blocks.
    pub(crate) fn run(mut self) {
        loop {
            let next = match &mut self.source {
                Source::Body(body) => body.next_frame(),
                Source::Exact(body) => body.next_frame(),
            };
            match next {
                Some(frame) => {
                    let failed = frame.is_err();
                    if !self.giver.give(frame) {
                        return;
                    }
                    // [BOD-13] not asked again after an error
                    if failed {
                        break;
                    }
                }
                None => break,
            }
        }
        // [BOD-09] closed before the server learns of the end
        drop(self.source);
        self.giver.end();
    }

    /// Waits until the server asks for the first frame. `false` if it dropped the body unasked: nothing of it is sent.
    /// Blocks. \[NOB-03\], \[BOD-12\]
    pub(crate) fn wait_until_wanted(&self) -> bool {
        self.giver.wait_until_wanted()
    }
}
