//! A request body whose failure is remembered: axum knows no status for it.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::request_body::{RequestBody, RequestBodyError};

/// Where a body's failure is found.
pub(super) type Failure = OnceLock<RequestBodyError>;

/// `body` for axum, and where its failure will be; nowhere if it is empty, so that it can't fail.
pub(super) fn watched(body: RequestBody, place: &mut Option<Arc<Failure>>) -> ::axum::body::Body {
    if body.is_empty() {
        return ::axum::body::Body::empty();
    }
    let failure = place.insert(Arc::new(Failure::new())).clone();
    ::axum::body::Body::new(Watched { body, failure })
}

struct Watched {
    body: RequestBody,
    failure: Arc<Failure>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let next = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Err(error)) = &next {
            // The first one stays; they are all the same. [REQ-15]
            let _ = self.failure.set(error.clone());
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
