//! axum's bodies as the interface's: one that has all of its bytes at hand is taken as bytes, which servers send the cheapest
//! way; most of axum's are.

use std::pin::Pin;
use std::task::{Context, Poll};

use ::axum::body::Body as AxumBody;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use crate::body::Body;

/// A body that says it is longer is left alone until it is wanted: it need not have its bytes yet.
const SHORT: u64 = 64 * 1024;

/// `body`, which a handler has just returned, polled once if it says that it is short.
pub(super) fn taken(mut body: AxumBody, cx: &mut Context<'_>) -> Body {
    let length = match body.size_hint().exact() {
        Some(0) if body.is_end_stream() => return Body::empty(),
        Some(length @ 1..=SHORT) => length,
        _ => return body.into(),
    };
    match Pin::new(&mut body).poll_frame(cx) {
        Poll::Pending => body.into(),
        Poll::Ready(None) => Body::empty(),
        Poll::Ready(Some(first)) => match first.map(Frame::into_data) {
            Ok(Ok(data)) if data.len() as u64 == length && body.is_end_stream() => data.into(),
            Ok(Ok(data)) => begun(Ok(Frame::data(data)), body),
            Ok(Err(frame)) => begun(Ok(frame), body),
            Err(error) => begun(Err(error), body),
        },
    }
}

fn begun(first: Result<Frame<Bytes>, ::axum::Error>, rest: AxumBody) -> Body {
    Body::from_http_body(Begun { first: Some(first), rest })
}

/// A body whose first frame, or error, was taken from it already.
struct Begun {
    first: Option<Result<Frame<Bytes>, ::axum::Error>>,
    rest: AxumBody,
}

impl http_body::Body for Begun {
    type Data = Bytes;
    type Error = ::axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ::axum::Error>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.rest.size_hint();
        let data = match &self.first {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len) as u64,
            _ => 0,
        };
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(data));
        }
        hint.set_lower(hint.lower().saturating_add(data));
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http::HeaderMap;

    use super::*;
    use crate::error::Error;

    /// Yields these frames, and says that `length` octets come.
    struct Frames(Vec<Result<Frame<Bytes>, &'static str>>, u64);

    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            let next = self.0.pop();
            if let Some(Ok(frame)) = &next {
                self.1 -= frame.data_ref().map_or(0, Bytes::len) as u64;
            }
            Poll::Ready(next)
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_empty()
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.1)
        }
    }

    fn take(body: AxumBody) -> Body {
        taken(body, &mut Context::from_waker(Waker::noop()))
    }

    fn frames(mut frames: Vec<Result<Frame<Bytes>, &'static str>>, length: u64) -> Body {
        frames.reverse();
        take(AxumBody::new(Frames(frames, length)))
    }

    fn rest(mut body: Body) -> (Vec<u8>, Option<HeaderMap>, Option<Error>) {
        let (mut data, mut trailers) = (Vec::new(), None);
        while let Some(frame) = body.next_frame() {
            match frame.map(Frame::into_data) {
                Ok(Ok(piece)) => data.extend_from_slice(&piece),
                Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
                Err(error) => return (data, trailers, Some(error)),
            }
        }
        (data, trailers, None)
    }

    #[test]
    fn bytes_are_taken_as_bytes() {
        assert_eq!(take(AxumBody::from("short")).try_into_bytes().ok().as_deref(), Some(&b"short"[..]));
        assert_eq!(take(AxumBody::empty()).len(), Some(0));
        let long = take(AxumBody::from(vec![1; 100_000]));
        assert_eq!(long.len(), Some(100_000));
        assert!(long.try_into_bytes().is_err(), "left alone");
    }

    #[test]
    fn nothing_is_lost_of_others() {
        let data = |text: &'static str| Ok(Frame::data(Bytes::from(text)));
        let two = frames(vec![data("ab"), data("cde")], 5);
        assert_eq!(two.len(), Some(5));
        assert_eq!(rest(two).0, b"abcde");
        let mut fields = HeaderMap::new();
        fields.insert("x-sum", "1".parse().unwrap());
        let trailed = frames(vec![data("ab"), Ok(Frame::trailers(fields.clone()))], 2);
        let (octets, trailers, error) = rest(trailed);
        assert_eq!((octets.as_slice(), trailers), (&b"ab"[..], Some(fields)));
        assert!(error.is_none());
        let (octets, _, error) = rest(frames(vec![data("ab"), Err("broken")], 5));
        assert!(octets == b"ab" && error.is_some());
        let (octets, _, error) = rest(frames(vec![Err("broken")], 5));
        assert!(octets.is_empty() && error.is_some());
    }
}
