//! The deadline a client sets by `grpc-timeout`: what it no longer waits for is dropped, and ends with DEADLINE_EXCEEDED.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tonic::Status;

/// A layer, by `axum::middleware::from_fn`.
pub(crate) async fn keep(request: Request, next: Next) -> Response {
    let Some(deadline) = of(request.headers()).and_then(|timeout| Instant::now().checked_add(timeout)) else {
        return next.run(request).await;
    };
    match timeout_at(deadline, next.run(request)).await {
        Ok(response) => {
            response.map(|body| Body::new(Limited { body: Some(body), end: Box::pin(sleep_until(deadline)) }))
        }
        Err(_) => exceeded().into_http(),
    }
}

fn exceeded() -> Status {
    Status::deadline_exceeded("the deadline has passed")
}

/// At most eight digits and a unit: `100m` are 100 ms. What is none is no deadline, as tonic has it.
fn of(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// A stream of messages until the deadline, then the status.
struct Limited {
    /// `None` once the deadline has passed.
    body: Option<Body>,
    end: Pin<Box<Sleep>>,
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let limited = self.get_mut();
        let Some(body) = &mut limited.body else { return Poll::Ready(None) };
        // Before the next message, and by the clock: a stream that always has one would never wait for a timer.
        if limited.end.as_mut().poll(cx).is_pending() && Instant::now() < limited.end.deadline() {
            return Pin::new(body).poll_frame(cx);
        }
        limited.body = None;
        let mut trailers = HeaderMap::new();
        // It has neither a message nor details that could not be sent.
        let _ = exceeded().add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_digits_and_a_unit() {
        let of = |value: &str| of(&HeaderMap::from_iter([("grpc-timeout".parse().ok()?, value.parse().ok()?)]));
        assert_eq!(of("100m"), Some(Duration::from_millis(100)));
        assert_eq!(of("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!([of("1S"), of("1000000u")], [Some(Duration::from_secs(1)); 2]);
        for wrong in ["", "m", "100", "-1S", "+1S", "1.5S", "123456789S", "1ü", "1 S"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_stream_that_always_has_a_message_ends_too() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let first = runtime.block_on(async {
            let messages = tokio_stream::iter(std::iter::repeat(Ok::<_, Status>(Bytes::from_static(b"message"))));
            let end = Box::pin(sleep_until(Instant::now()));
            let mut limited = Limited { body: Some(Body::from_stream(messages)), end };
            std::future::poll_fn(|cx| Pin::new(&mut limited).poll_frame(cx)).await
        });
        let trailers = first.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "4");
    }
}
