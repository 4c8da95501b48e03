//! A body held to a declared length: more is cut, less is an error. \[FRM-03\], \[FRM-04\], \[FIL-02\]

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::body::{Body, FilePart};
use crate::error::Error;

/// A body that ended before its declared length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body ended {missing} bytes before its Content-Length")]
pub struct LengthError {
    /// How many bytes were missing.
    pub missing: u64,
}

/// A [`Body`] of exactly `length` bytes, for servers: it never yields more, stops pulling once it has them all, and
/// ends in an error if there are fewer.
#[derive(Debug)]
pub struct Exact {
    body: Body,
    remaining: u64,
    /// Whether trailers can be sent behind the last byte.
    trailers: bool,
    /// Trailers were given, and nothing comes any more.
    ended: bool,
    /// The body failed or was too short: nothing comes any more.
    failed: bool,
    logged: bool,
}

impl Exact {
    /// Holds `body` to `length` bytes.
    pub fn new(body: Body, length: u64) -> Self {
        Exact { body, remaining: length, trailers: false, ended: false, failed: false, logged: false }
    }

    /// The same, with the trailers that the body may have behind its bytes: for HTTP/2, where a declared length does not
    /// exclude them (RFC 9113 §8.1). \[TRL-04\]
    #[must_use]
    pub fn with_trailers(mut self) -> Self {
        self.trailers = true;
        self
    }

    /// The bytes still owed.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Whether pulling it blocks the thread, see [`Body::is_blocking`].
    pub fn is_blocking(&self) -> bool {
        self.body.is_blocking()
    }

    /// As [`Body::file_part`], as much of it as is owed. Does not block, never panics.
    pub fn file_part(&self) -> Option<FilePart<'_>> {
        let part = self.body.file_part().filter(|_| !self.failed)?;
        let length = part.length.min(self.remaining);
        (length > 0).then_some(FilePart { length, ..part })
    }

    /// As [`Body::file_sent`]. Does not block, never panics.
    pub fn file_sent(&mut self, count: u64) {
        let count = count.min(self.remaining);
        self.remaining -= count;
        self.body.file_sent(count);
    }

    /// The next frame for a caller that may block, as [`Body::next_frame`].
    pub fn next_frame(&mut self) -> Option<Result<Frame<Bytes>, Error>> {
        if self.is_over() {
            return None;
        }
        let next = self.body.next_frame();
        self.measure(next)
    }

    /// [BOD-13] whether the body is not to be asked any more.
    fn is_over(&mut self) -> bool {
        if self.failed {
            return true;
        }
        let over = self.remaining == 0 && !self.awaits_trailers();
        if over {
            self.stop();
        }
        over
    }

    fn awaits_trailers(&self) -> bool {
        self.trailers && !self.ended && self.body.may_have_trailers()
    }

    fn measure(&mut self, next: Option<Result<Frame<Bytes>, Error>>) -> Option<Result<Frame<Bytes>, Error>> {
        match next {
            None if self.remaining == 0 => {
                self.ended = true;
                None
            }
            // An end is too early while bytes are owed.
            None => {
                self.failed = true;
                let mut error = Error::new(LengthError { missing: self.remaining });
                self.body.fail(&mut error);
                Some(Err(error))
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if self.remaining == 0 && !data.is_empty() => {
                    self.excess();
                    self.ended = true;
                    self.stop();
                    None
                }
                Ok(mut data) => {
                    if data.len() as u64 > self.remaining {
                        data.truncate(self.remaining as usize);
                        self.excess();
                    }
                    self.remaining -= data.len() as u64;
                    Some(Ok(Frame::data(data)))
                }
                Err(frame) if self.trailers && self.remaining == 0 => {
                    self.ended = true;
                    Some(Ok(frame))
                }
                // In HTTP/1.1 trailers need chunked framing; a declared length has none. [TRL-05]
                Err(_) => self.measure(None),
            },
            error => {
                self.failed = true;
                error
            }
        }
    }

    /// All declared bytes are out: what the body has beyond them is dropped unpulled.
    fn stop(&mut self) {
        if self.body.len().is_some_and(|more| more > 0) {
            self.excess();
        }
        if !self.body.is_full() {
            self.body.close();
        }
        self.body.complete();
    }

    fn excess(&mut self) {
        if !std::mem::replace(&mut self.logged, true) {
            self.body.logged(|| {
                tracing::error!(target: "adapter", "[FRM-03] the body is longer than its Content-Length; the rest is not sent");
            });
        }
    }
}

impl http_body::Body for Exact {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.is_over() {
            return Poll::Ready(None);
        }
        let next = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(self.measure(next))
    }

    fn is_end_stream(&self) -> bool {
        self.failed || (self.remaining == 0 && !self.awaits_trailers())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

impl Drop for Exact {
    fn drop(&mut self) {
        if self.remaining == 0 && !self.failed {
            self.body.complete();
        }
    }
}
