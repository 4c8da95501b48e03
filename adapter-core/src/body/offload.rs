//! A blocking body as one that event loops may poll.
//!
//! A job on a blocking thread pulls the body and feeds a queue the connection's task sends from; dropping the queue
//! ends the job when its current `next()` returns, and with it the body. While the client takes nothing the body has no
//! thread; another job goes on with it, maybe on another one. \[BOD-15\], \[BOD-10\], \[BOD-21\], \[CON-11\]

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::body::handover::{Feeder, Given, Giver, Message, handover};
use crate::body::{Body, Exact, Extras, Frames, Kind};
use crate::carried::Carried;
use crate::error::Error;
use crate::instead::{NO_PLACE, OwnAnswer, instead};
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

    /// As [`offload`](Self::offload); `held` is dropped when the blocking half is over, done or not. For servers that count what
    /// runs for a connection.
    ///
    /// # Errors
    /// As [`offload`](Self::offload).
    pub fn offload_with(self, runtime: &Runtime, limit: Option<u64>, held: impl Send + 'static) -> Result<Body, Error> {
        if !self.is_blocking() || runtime.may_block() {
            return Ok(self);
        }
        let (feed, mut body) = self.split(limit, runtime, held);
        let (job, withdrawal) = BlockingJob::withdrawable(move || {
            let carried = feed.pulled.carried.clone();
            carried.within(|| feed.run());
        });
        if runtime.run_blocking_job(job).is_err() {
            let mut error = Error::new(TaskError::Refused);
            if let Some(span) = body.span() {
                error.log_in(span);
            }
            instead(&OwnAnswer::refusal(NO_PLACE), body);
            return Err(error);
        }
        if let Kind::Stream(frames) = std::mem::replace(&mut body.kind, Kind::Empty) {
            body.kind = Kind::Stream(Box::pin(Offloaded { frames, _withdrawal: withdrawal }));
        }
        Ok(body)
    }

    /// The same, for a caller that is on a blocking thread already and feeds the body it returns.
    pub(crate) fn split(mut self, limit: Option<u64>, runtime: &Runtime, held: impl Send + 'static) -> (Feed, Body) {
        let (giver, taker) = handover(limit.or(self.len()), runtime);
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
        let carried = Carried::here();
        let carried = match front.span() {
            Some(span) => carried.in_span(span.clone()),
            None => carried,
        };
        let pulled = Pulled { source, next: None, carried, _held: Box::new(held) };
        (Feed { pulled, giver }, front)
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

/// The blocking half of an offloaded body, on a thread.
pub(crate) struct Feed {
    pulled: Pulled,
    giver: Giver<Pulled>,
}

/// The same without one.
struct Pulled {
    source: Source,
    /// A frame for which there was no room.
    next: Option<Message>,
    /// Where the application's code runs, on whatever thread.
    carried: Carried,
    _held: Box<dyn Send>,
}

enum Source {
    Body(Body),
    Exact(Exact),
}

impl Pulled {
    fn next(&mut self) -> Option<Message> {
        self.next.take().or_else(|| match &mut self.source {
            Source::Body(body) => body.next_frame(),
            Source::Exact(body) => body.next_frame(),
        })
    }
}

impl Feed {
    /// Pulls the body to its end, until nobody wants it any more, or until the client takes nothing: then it goes on by
    /// itself when it does. Blocks, but not for the client.
    pub(crate) fn run(self) {
        let Feed { mut pulled, mut giver } = self;
        while let Some(frame) = pulled.next() {
            let failed = frame.is_err();
            match giver.give(frame) {
                // [BOD-13] not asked again after an error
                Given::Taken if failed => break,
                Given::Taken => {}
                Given::Unwanted => return,
                Given::Full(frame) => {
                    pulled.next = Some(frame);
                    match giver.park(pulled) {
                        Some(back) => (giver, pulled) = back,
                        None => return,
                    }
                }
            }
        }
        // [BOD-09] closed before the server learns of the end
        drop(pulled);
        giver.end();
    }

    /// The same from when the server asks for the first frame on; if it drops the body unasked, nothing is pulled.
    /// \[NOB-03\], \[BOD-12\]
    pub(crate) fn run_when_wanted(mut self) {
        loop {
            match self.giver.wait_until_wanted() {
                Some(true) => return self.run(),
                Some(false) => return,
                None => match self.giver.park(self.pulled) {
                    Some((giver, pulled)) => self = Feed { pulled, giver },
                    None => return,
                },
            }
        }
    }
}

impl Feeder for Pulled {
    fn go_on(self, giver: Giver<Self>) {
        let carried = self.carried.clone();
        carried.within(|| Feed { pulled: self, giver }.run());
    }

    fn let_go(self) {
        let carried = self.carried.clone();
        carried.within(|| drop(self));
    }
}
