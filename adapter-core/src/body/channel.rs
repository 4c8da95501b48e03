//! The channel body: the `gevent.queue` of this interface.
//!
//! Senders live on any thread or task; the server's side polls. A full queue makes `send` wait (backpressure), the
//! server dropping the body makes it fail. \[BOD-08\], \[BOD-16\]

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use http_body::Frame;

use crate::body::IntoChunk;
use crate::error::Error;
use crate::sync::async_channel;
use crate::sync::atomic::{AtomicBool, Ordering};

type Message = Result<Frame<Bytes>, Error>;

pub(super) fn channel(capacity: usize) -> (BodySender, Receiver) {
    let (sender, receiver) = async_channel::bounded(capacity.max(1));
    let broken = Arc::new(AtomicBool::new(false));
    (BodySender { sender, broken: broken.clone() }, Receiver { queue: Box::pin(receiver), broken })
}

/// Feeds the body made by [`Body::channel`](crate::Body::channel); may be cloned.
///
/// The body ends when the last sender is dropped. A sender that is dropped by a panicking thread breaks the response
/// off instead, so that the client does not take half for the whole.
#[derive(Clone, Debug)]
pub struct BodySender {
    sender: async_channel::Sender<Message>,
    /// The body is to end in an error once the queue is empty.
    broken: Arc<AtomicBool>,
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

    /// Sends a chunk, blocking the thread while the queue is full: a client that reads slowly holds it, until the write
    /// timeout ends that client's connection. An iterator ([`Body::from_iterator`](crate::Body::from_iterator)) has no thread
    /// then. Not for async code.
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

    /// Ends the body in an error after what is queued, however full the queue is. Does not wait.
    pub(super) fn break_off(&self) {
        self.broken.store(true, Ordering::Release);
        self.sender.close();
    }

    pub(super) fn frame_blocking(&self, frame: Message) -> Result<(), SendError> {
        self.sender.send_blocking(frame).map_err(|_| SendError)
    }
}

impl Drop for BodySender {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.break_off();
        }
    }
}

/// The server's end.
pub(super) struct Receiver {
    queue: Pin<Box<async_channel::Receiver<Message>>>,
    broken: Arc<AtomicBool>,
}

impl Receiver {
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.queue.as_mut().poll_next(cx).map(|next| match next {
            // Without this an end that nobody meant would look like the end of the body. [BOD-14]
            None if self.broken.load(Ordering::Acquire) => {
                Some(Err(Error::new("what fed the body stopped before its end")))
            }
            next => next,
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Senders learn of it now, and what is queued is dropped with it.
        self.queue.close();
        while self.queue.try_recv().is_ok() {}
    }
}

#[cfg(all(test, adapter_model))]
mod models;
