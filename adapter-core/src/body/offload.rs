//! A blocking body as one that event loops may poll.
//!
//! One job on a blocking thread pulls the body and feeds a queue the connection's task sends from; dropping the queue
//! ends the job when its current `next()` returns, and with it the body. \[BOD-15\], \[BOD-10\]

use crate::body::handover::{Giver, handover};
use crate::body::{Body, Exact, Extras, Kind};
use crate::error::Error;
use crate::runtime::{Runtime, TaskError};

impl Body {
    /// This body with whatever blocks in it moved to a blocking thread of `runtime`; others are returned as they are.
    /// For event-loop servers, before they poll. Does not block. With a `limit` it is pulled no further than that many
    /// bytes, and ends in an error if there are fewer (\[FRM-03\], \[FRM-04\]).
    ///
    /// # Errors
    /// [`TaskError::Refused`] as an [`Error`] (503) if the server has no room for more blocking work.
    #[inline]
    pub fn offload(self, runtime: &Runtime, limit: Option<u64>) -> Result<Body, Error> {
        if !self.is_blocking() || runtime.may_block() {
            return Ok(self);
        }
        let (feed, body) = self.split(limit);
        let span = tracing::Span::current();
        runtime.run_blocking_job(Box::new(move || span.in_scope(|| feed.run()))).map_err(|_| TaskError::Refused)?;
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
