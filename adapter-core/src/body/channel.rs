//! The channel body: the `gevent.queue` of this interface.
//!
//! Senders live on any thread or task; the server's side polls. A full queue makes `send` wait (backpressure), the
//! server dropping the body makes it fail. \[BOD-08\], \[BOD-16\]

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use http_body::Frame;

use crate::body::IntoChunk;
use crate::error::Error;

type Message = Result<Frame<Bytes>, Error>;

pub(super) fn channel(capacity: usize) -> (BodySender, Receiver) {
    let (sender, receiver) = async_channel::bounded(capacity.max(1));
    (BodySender { sender }, Receiver(Box::pin(receiver)))
}

/// Feeds the body made by [`Body::channel`](crate::Body::channel); may be cloned.
///
/// The body ends when the last sender is dropped. A sender that is dropped by a panicking thread breaks the response
/// off instead, so that the client does not take half for the whole.
#[derive(Clone, Debug)]
pub struct BodySender {
    sender: async_channel::Sender<Message>,
}

/// The server no longer wants the body: the client is gone, or the response is not sent (HEAD, shutdown).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is no longer wanted")]
pub struct SendError;

impl BodySender {
    /// Sends a chunk, waiting while the queue is full. Cancel safe: a chunk is sent or not.
    ///
    /// # Errors
    /// [`SendError`] once the body is dropped.
    pub async fn send(&self, chunk: impl IntoChunk) -> Result<(), SendError> {
        self.sender.send(chunk.into_chunk().map(Frame::data)).await.map_err(|_| SendError)
    }

    /// Sends a chunk, blocking the thread while the queue is full. Not for async code.
    ///
    /// # Errors
    /// [`SendError`] once the body is dropped.
    pub fn send_blocking(&self, chunk: impl IntoChunk) -> Result<(), SendError> {
        self.frame_blocking(chunk.into_chunk().map(Frame::data))
    }

    /// Sends a chunk if there is room: `Ok(false)` if there is none. Never waits.
    ///
    /// # Errors
    /// [`SendError`] once the body is dropped.
    pub fn try_send(&self, chunk: impl IntoChunk) -> Result<bool, SendError> {
        match self.sender.try_send(chunk.into_chunk().map(Frame::data)) {
            Ok(()) => Ok(true),
            Err(async_channel::TrySendError::Full(_)) => Ok(false),
            Err(async_channel::TrySendError::Closed(_)) => Err(SendError),
        }
    }

    /// Sends trailers and ends the body.
    ///
    /// # Errors
    /// [`SendError`] once the body is dropped.
    pub async fn send_trailers(self, trailers: HeaderMap) -> Result<(), SendError> {
        self.sender.send(Ok(Frame::trailers(trailers))).await.map_err(|_| SendError)
    }

    /// Breaks the response off: the client sees that it is not complete. Waits while the queue is full.
    pub async fn abort(self, error: impl Into<Error>) {
        // A receiver that is gone has nothing left to break off.
        let _ = self.sender.send(Err(error.into())).await;
    }

    /// Whether the body has been dropped.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) fn frame_blocking(&self, frame: Message) -> Result<(), SendError> {
        self.sender.send_blocking(frame).map_err(|_| SendError)
    }
}

impl Drop for BodySender {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Full or closed: closing without the rest would look like an end, so make room by force.
            let _ = self.sender.force_send(Err(Error::new("the sender of the body panicked")));
        }
    }
}

/// The server's end.
pub(super) struct Receiver(Pin<Box<async_channel::Receiver<Message>>>);

impl Receiver {
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Senders learn of it now, and what is queued is dropped with it.
        self.0.close();
        while self.0.try_recv().is_ok() {}
    }
}
