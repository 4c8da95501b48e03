//! The benchmark routes as a bare hyper service, shared with the peer `smol-hyper`.
//! `GET /` allocates no box: only the other routes pay for a boxed body.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Request, Response, StatusCode};
use peer_support::{HELLO, number};

/// What differs between runtimes.
pub trait Runtime {
    /// Waits without holding a thread.
    fn sleep(milliseconds: u64) -> impl Future<Output = ()> + Send;
    /// Sleeps on a thread of the blocking pool.
    fn sleep_blocking(milliseconds: u64) -> impl Future<Output = ()> + Send;
}

type Answer = Response<Either<Full<Bytes>, UnsyncBoxBody<Bytes, hyper::Error>>>;

/// Answers one request.
pub async fn answer<R: Runtime>(request: Request<Incoming>) -> Result<Answer, Infallible> {
    let query = request.uri().query();
    Ok(match request.uri().path() {
        "/" => text(HELLO),
        "/sleep" => {
            R::sleep(number(query, "ms")).await;
            text(HELLO)
        }
        "/sleep-blocking" => {
            R::sleep_blocking(number(query, "ms")).await;
            text(HELLO)
        }
        "/stream" => {
            let chunk = Bytes::from(vec![b'x'; number(query, "size") as usize]);
            boxed(Repeat { chunk, left: number(query, "n") }.map_err(|never| match never {}))
        }
        "/count" => count(request.into_body()).await,
        "/echo" => boxed(request.into_body()),
        _ => {
            let mut response = text("not found");
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    })
}

/// Reads the body, and answers with its length.
async fn count(mut body: Incoming) -> Answer {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame.ok().and_then(|frame| frame.into_data().ok()).map_or(0, |data| data.len());
    }
    text(length.to_string())
}

fn text(body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(body.into())));
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn boxed(body: impl Body<Data = Bytes, Error = hyper::Error> + Send + 'static) -> Answer {
    Response::new(Either::Right(body.boxed_unsync()))
}

/// The same chunk, `left` times; of no declared length, so it leaves chunked.
struct Repeat {
    chunk: Bytes,
    left: u64,
}

impl Body for Repeat {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(self.chunk.clone()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
