//! An async response body that is polled, and dropped, inside its request's span.

use std::pin::Pin;
use std::task::{Context, Poll};

use adapter_core::{Body, Bytes, Error};
use http_body::{Frame, SizeHint};
use tracing::Span;

/// A body in a span. `None` only while it is being dropped.
pub(super) struct InSpan {
    body: Option<Body>,
    span: Span,
}

impl InSpan {
    /// `body` inside `span`. Bodies that run no application code when polled are returned as they are, and so are
    /// blocking ones, which are pulled on another thread and must stay recognisable to the server.
    pub(super) fn wrap(body: Body, span: Span) -> Body {
        if span.is_disabled() || body.is_full() || body.is_blocking() {
            return body;
        }
        let trailers = body.trailers().cloned();
        let wrapped = Body::from_http_body(InSpan { body: Some(body), span });
        match trailers {
            Some(trailers) => wrapped.with_trailers(trailers),
            None => wrapped,
        }
    }
}

impl http_body::Body for InSpan {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let _entered = this.span.enter();
        match &mut this.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::new, http_body::Body::size_hint)
    }
}

impl Drop for InSpan {
    fn drop(&mut self) {
        let _entered = self.span.enter();
        self.body = None;
    }
}
