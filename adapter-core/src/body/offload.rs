//! A blocking body as one that event loops may poll.
//!
//! One job on a blocking thread pulls the body and feeds a channel of [`AHEAD`] frames; dropping the channel ends the
//! job at its next send, and with it the body. \[BOD-15\], \[BOD-10\]

use crate::body::{Body, BodySender, Kind};
use crate::error::Error;
use crate::runtime::{Runtime, TaskError};

/// Frames that may wait between the blocking thread and the connection: one being sent, one ready.
const AHEAD: usize = 2;

impl Body {
    /// This body with whatever blocks in it moved to a blocking thread of `runtime`; others are returned as they are.
    /// For event-loop servers, before they poll. Does not block.
    ///
    /// # Errors
    /// [`TaskError::Refused`] as an [`Error`] (503) if the server has no room for more blocking work.
    #[inline]
    pub fn offload(self, runtime: &Runtime) -> Result<Body, Error> {
        if !self.is_blocking() || runtime.may_block() {
            return Ok(self);
        }
        let (feed, body) = self.split();
        runtime.run_blocking_job(Box::new(move || feed.run())).map_err(|_| TaskError::Refused)?;
        Ok(body)
    }

    /// The same, for a caller that is on a blocking thread already and stays there to feed the body it returns.
    pub(crate) fn split(mut self) -> (Feed, Body) {
        let (sender, mut front) = Body::channel(AHEAD);
        // The hooks stay with the half the server holds, which knows how the response ends; so does the length.
        front.extras = self.extras.take();
        if let Some(length) = self.len() {
            front = front.known(length);
        }
        (Feed { body: self, sender, ended: false }, front)
    }

    /// A channel whose length is known.
    fn known(mut self, length: u64) -> Body {
        let extras = self.extras.take();
        let kind = Kind::Stream(Box::pin(super::exact::Promised::new(self, length)));
        Body { kind, extras }
    }
}

/// The blocking half of an offloaded body.
pub(crate) struct Feed {
    body: Body,
    sender: BodySender,
    ended: bool,
}

impl Feed {
    /// Pulls the body to its end, or until nobody wants it any more. Blocks.
    pub(crate) fn run(mut self) {
        while let Some(frame) = self.body.next_frame() {
            let failed = frame.is_err();
            if self.sender.frame_blocking(frame).is_err() || failed {
                self.ended = true;
                return;
            }
        }
        self.ended = true;
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // A job that is dropped unrun (a server that is being forced down) must not look like the end of the body.
        if !self.ended {
            self.sender.break_off();
        }
    }
}
