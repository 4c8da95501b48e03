//! Calling an application so that nothing it does can hurt the server. For server authors.
//!
//! Runs on the task or thread that serves the connection; polls the application there.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::StatusCode;

use crate::application::{DynApplication, Request, Response};
use crate::contain::{self, Contained};
use crate::environ::Environ;
use crate::error::Error;
use crate::request_body::RequestBodyError;
use crate::rules;
use crate::runtime::TaskError;

/// Calls `application`; an error or a panic becomes the response a client gets instead, logged once. \[ERR-01\],
/// \[ERR-02\], \[ERR-03\]
///
/// The future drops the application's own as soon as that is ready, and contains a panic in its drop (\[ERR-08\]).
#[inline]
pub fn call(application: &DynApplication, request: Request, environ: Environ) -> Call {
    // A closure may panic before it has made its future. `catch` logs it, `error_response` does not again.
    let started = contain::catch("handler", || application.call_erased(request, environ));
    let future = started.unwrap_or_else(|panic| {
        let error = Error::new(TaskError::Panicked(panic.message().to_owned()));
        Box::pin(std::future::ready(Err(error)))
    });
    Call(Contained::from_boxed(future))
}

/// The future of [`call`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Call(Contained<Result<Response, Error>>);

impl Future for Call {
    type Output = Response;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        let mut polled = Poll::Pending;
        match self.0.poll_into(cx, &mut polled) {
            Ok(()) => match polled {
                Poll::Ready(Ok(response)) => Poll::Ready(response),
                Poll::Ready(Err(error)) => Poll::Ready(error_response(&error)),
                Poll::Pending => Poll::Pending,
            },
            // logged where it was caught
            Err(_) => Poll::Ready(failure(StatusCode::INTERNAL_SERVER_ERROR)),
        }
    }
}

/// The answer to an error of the application, which is logged. \[ERR-01\], \[ERR-03\]
pub fn error_response(error: &Error) -> Response {
    match error.fault() {
        _ if error.status().is_client_error() => {
            tracing::info!(target: "adapter", error = %error, "the request failed");
        }
        // a panic was logged where it was caught
        _ if matches!(error.downcast_ref::<TaskError>(), Some(TaskError::Panicked(_))) => {}
        fault => tracing::error!(target: "adapter", error = %error, ?fault, "the application failed"),
    }
    // [UPG-03] with what the protocol wants besides the status
    #[cfg(feature = "websocket")]
    if let Some(handshake) = error.downcast_ref::<crate::websocket::HandshakeError>()
        && error.status() == handshake.status()
    {
        return handshake.response();
    }
    let mut response = failure(error.status());
    if let Some(body_error) = error.downcast_ref::<RequestBodyError>() {
        if *body_error == RequestBodyError::Disconnected && error.status() == body_error.status() {
            response.extensions_mut().insert(Unanswerable);
        }
        // [KAP-11] where the body ends is not known
        response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    }
    response
}

/// Marks the answer to a client that is gone.
#[derive(Clone, Copy)]
struct Unanswerable;

/// Whether `response` answers a request whose client went away in the middle of it: there is nobody to read it, and the
/// connection is to be closed without it (\[ERR-12\]). A server that can't tell sends it, as 400.
#[inline]
pub fn is_unanswerable(response: &Response) -> bool {
    !response.extensions().is_empty() && response.extensions().get::<Unanswerable>().is_some()
}

/// A response of the server's own with `status` and a generic text. \[ERR-03\]
pub fn failure(status: StatusCode) -> Response {
    let status =
        if status.is_client_error() || status.is_server_error() { status } else { StatusCode::INTERNAL_SERVER_ERROR };
    rules::plain(status, status.canonical_reason().unwrap_or("Error"))
}
