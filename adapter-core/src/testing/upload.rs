//! Request bodies: what the client sends piece by piece, and the server's side of it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

use crate::dispatch::Meter;
use crate::request_body::{RequestBody, RequestBodyError, Source};
use crate::rules::request::BodyLength;
use crate::rules::trailers;
use crate::signal::Signal;

type Message = Result<Frame<Bytes>, RequestBodyError>;

/// A request body that is fed while the application reads it; it has no known length.
///
/// ```
/// use adapter_core::{Body, Environ, Error, Request, Response, testing};
///
/// async fn echo(request: Request, _environ: Environ) -> Result<Response, Error> {
///     Ok(Response::new(Body::from(request.into_body())))
/// }
/// let client = testing::Client::new(echo);
/// let (upload, body) = testing::upload();
/// let mut answer = client.post("/", body).open();
/// upload.send("one");
/// assert_eq!(answer.chunk().unwrap().unwrap(), "one");
/// upload.send("two");
/// upload.finish();
/// assert_eq!(answer.finish().text(), "two");
/// ```
pub fn upload() -> (Upload, RequestBody) {
    let (sender, receiver) = async_channel::unbounded();
    (Upload { sender, ended: false }, RequestBody::from_source(Sent(Box::pin(receiver))))
}

/// Feeds the body made by [`upload`]. Dropping it breaks the body off: the reader gets
/// [`RequestBodyError::Disconnected`].
#[derive(Debug)]
pub struct Upload {
    sender: async_channel::Sender<Message>,
    ended: bool,
}

impl Upload {
    /// Sends a piece. Does not block, and does nothing once the application has let go of the body.
    pub fn send(&self, data: impl Into<Bytes>) {
        let _ = self.sender.try_send(Ok(Frame::data(data.into())));
    }

    /// Ends the body.
    pub fn finish(mut self) {
        self.ended = true;
    }

    /// Ends the body with trailers.
    pub fn finish_with_trailers(mut self, trailers: HeaderMap) {
        let _ = self.sender.try_send(Ok(Frame::trailers(trailers)));
        self.ended = true;
    }

    /// Breaks the body off with `error`.
    pub fn fail(mut self, error: RequestBodyError) {
        let _ = self.sender.try_send(Err(error));
        self.ended = true;
    }

    /// Whether the application has let go of the body. \[REQ-20\]
    pub fn is_dropped(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.sender.try_send(Err(RequestBodyError::Disconnected));
        }
    }
}

struct Sent(Pin<Box<async_channel::Receiver<Message>>>);

impl Source for Sent {
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.0.as_mut().poll_next(cx)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

/// The server's side: holds a body to its framing and its limit, as an engine does.
pub(super) struct Incoming {
    body: RequestBody,
    /// Bytes still owed by Content-Length.
    owed: Option<u64>,
    /// Bytes that may still come.
    room: Option<u64>,
    limit: u64,
    gone: Signal,
    /// Where somebody wants to know how much was read.
    meter: Option<Meter>,
}

impl Incoming {
    /// The body the application gets of `body`, which was framed as `length`.
    pub(super) fn wrap(
        body: RequestBody,
        length: BodyLength,
        limit: Option<u64>,
        gone: Signal,
        meter: Option<Meter>,
    ) -> RequestBody {
        let owed = match length {
            BodyLength::Sized(0) => return RequestBody::empty(),
            BodyLength::Sized(length) => Some(length),
            BodyLength::Unknown => None,
        };
        RequestBody::from_source(Incoming { body, owed, room: limit, limit: limit.unwrap_or(u64::MAX), gone, meter })
    }

    fn measure(&mut self, next: Option<Message>) -> Option<Message> {
        let frame = match next {
            None if self.owed.is_some_and(|owed| owed > 0) => return Some(Err(RequestBodyError::Disconnected)),
            Some(Ok(frame)) => frame,
            other => return other,
        };
        match frame.into_data() {
            Ok(mut data) => {
                if let Some(owed) = &mut self.owed {
                    // [REQ-03] what follows is the next request's
                    data.truncate(usize::try_from(*owed).unwrap_or(usize::MAX));
                    *owed -= data.len() as u64;
                }
                if let Some(room) = &mut self.room {
                    // [LIM-03b]
                    let Some(rest) = room.checked_sub(data.len() as u64) else {
                        return Some(Err(RequestBodyError::TooLarge { limit: self.limit }));
                    };
                    *room = rest;
                }
                if let Some(meter) = &self.meter {
                    meter.received(data.len() as u64);
                }
                Some(Ok(Frame::data(data)))
            }
            Err(frame) => {
                let mut fields = frame.into_trailers().unwrap_or_default();
                trailers::sanitize(&mut fields);
                Some(Ok(Frame::trailers(fields)))
            }
        }
    }
}

impl Source for Incoming {
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        if self.owed == Some(0) {
            return Poll::Ready(None);
        }
        if self.gone.is_fired() {
            return Poll::Ready(Some(Err(RequestBodyError::Disconnected)));
        }
        let next = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(self.measure(next))
    }

    fn size_hint(&self) -> SizeHint {
        self.owed.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
