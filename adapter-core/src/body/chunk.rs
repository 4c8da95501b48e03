//! What the pieces of a body may be, and foreign streams and bodies as frames.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_core::Stream;
use http_body::{Frame, SizeHint};

use crate::error::Error;

/// An item of a body: bytes or text, or a `Result` of them.
pub trait IntoChunk {
    /// The bytes, or why there are none.
    ///
    /// # Errors
    /// The item's own, which breaks the response off.
    fn into_chunk(self) -> Result<Bytes, Error>;
}

macro_rules! into_chunk {
    ($($type:ty),*) => {$(
        impl IntoChunk for $type {
            fn into_chunk(self) -> Result<Bytes, Error> {
                Ok(Bytes::from(self))
            }
        }
    )*};
}
into_chunk!(Bytes, String, Vec<u8>, &'static str, &'static [u8]);

impl<T: IntoChunk, E: Into<Error>> IntoChunk for Result<T, E> {
    fn into_chunk(self) -> Result<Bytes, Error> {
        self.map_err(Into::into)?.into_chunk()
    }
}

impl IntoChunk for Infallible {
    fn into_chunk(self) -> Result<Bytes, Error> {
        match self {}
    }
}

pin_project_lite::pin_project! {
    /// A stream of chunks as a body.
    pub(super) struct StreamBody<S> {
        #[pin]
        stream: S,
    }
}

impl<S> StreamBody<S> {
    pub(super) fn new(stream: S) -> Self {
        StreamBody { stream }
    }
}

impl<S> http_body::Body for StreamBody<S>
where
    S: Stream,
    S::Item: IntoChunk,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.project().stream.poll_next(cx).map(|next| next.map(|item| item.into_chunk().map(Frame::data)))
    }
}

pin_project_lite::pin_project! {
    /// Somebody's body, with its data copied to `Bytes` (which costs nothing if it is `Bytes`).
    pub(super) struct ForeignBody<B> {
        #[pin]
        body: B,
    }
}

impl<B> ForeignBody<B> {
    pub(super) fn new(body: B) -> Self {
        ForeignBody { body }
    }
}

impl<B> http_body::Body for ForeignBody<B>
where
    B: http_body::Body,
    B::Error: Into<Error>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.project().body.poll_frame(cx).map(|next| {
            next.map(|frame| {
                frame.map(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))).map_err(Into::into)
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
