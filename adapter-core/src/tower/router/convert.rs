//! Bodies and errors to and from axum's, so that its handlers return ours and ours return its.

use std::pin::Pin;
use std::task::{Context, Poll};

use ::axum::response::{IntoResponse, Response};
use ::tokio::runtime::Handle;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::super::BoxError;
use crate::body::Body;
use crate::dispatch;
use crate::error::Error;
use crate::request_body::RequestBody;
use crate::runtime::{BlockingJob, Runtime};

/// As [`Body::from_http_body`].
impl From<::axum::body::Body> for Body {
    fn from(body: ::axum::body::Body) -> Self {
        Body::from_http_body(body)
    }
}

/// With its length, its trailers and its hooks. Iterators and files, which block, are pulled on a thread for blocking work
/// of the tokio runtime this happens in, begun when the first piece is wanted; outside of any they block who polls them.
impl From<Body> for ::axum::body::Body {
    fn from(body: Body) -> Self {
        let body = match body.try_into_bytes() {
            Ok(data) => return data.into(),
            Err(body) => body,
        };
        let body = match Handle::try_current() {
            Ok(handle) if body.is_blocking() => {
                let runtime = Runtime::tokio(handle);
                let (feed, body) = body.split(None, &runtime, ());
                // [BOD-12] not for HEAD. A runtime that has shut down drops it, which breaks the body off.
                drop(runtime.run_blocking_job(BlockingJob::new(move || feed.run_when_wanted())));
                body
            }
            _ => body,
        };
        ::axum::body::Body::new(Boxed(body))
    }
}

/// To be passed on to another service, or back as a response.
impl From<RequestBody> for ::axum::body::Body {
    fn from(body: RequestBody) -> Self {
        ::axum::body::Body::new(body)
    }
}

/// A response of 200 with this body and no Content-Type.
impl IntoResponse for Body {
    fn into_response(self) -> Response {
        http::Response::new(self.into())
    }
}

/// The answer a server would give to a native application's error, which is logged: [`Error::status`], a generic text.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        dispatch::error_response(&self).map(Into::into)
    }
}

/// A body with the error type of the tower world, which [`Error`] can't be: anything that converts into a `BoxError`
/// converts into an [`Error`].
struct Boxed(Body);

impl http_body::Body for Boxed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.0).poll_frame(cx).map(|next| next.map(|frame| frame.map_err(Error::into_boxed)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
