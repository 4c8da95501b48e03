//! A body whose application code runs in a tokio runtime, whoever pulls it. Feature `tokio`.

use std::pin::Pin;
use std::task::{Context, Poll};

use ::tokio::runtime::Handle;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{Body, Chunks, Frames, Kind};
use crate::carried::{Carried, Within};
use crate::error::Error;

impl Body {
    /// Enters the runtime around each piece, the drop, and the hooks. What holds no code of an application's stays as it
    /// is: bytes, files, channels.
    pub(crate) fn enter(&mut self, handle: &Handle) {
        if matches!(self.kind, Kind::Stream(_) | Kind::Iter(_)) {
            let carried = Carried::from(handle);
            self.kind = match std::mem::replace(&mut self.kind, Kind::Empty) {
                Kind::Stream(frames) => Kind::Stream(Box::pin(carried.with(frames))),
                Kind::Iter(chunks) => Kind::Iter(Box::new(carried.with(chunks))),
                other => other,
            };
        }
        if let Some(extras) = &mut self.extras {
            extras.finish.enter(&Carried::from(handle));
        }
    }
}

impl http_body::Body for Within<Frames> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.using(|frames| frames.as_mut().poll_frame(cx)).unwrap_or(Poll::Ready(None))
    }

    fn is_end_stream(&self) -> bool {
        self.value().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.value().map_or_else(SizeHint::new, http_body::Body::size_hint)
    }
}

impl Iterator for Within<Chunks> {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.using(Iterator::next)?
    }
}
