//! Calling an application so that nothing it does can hurt the server. For server authors.
//!
//! Runs on the task or thread that serves the connection; polls the application there.

mod exchange;
mod limit;
mod observed;
mod outgoing;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderName, StatusCode, request, response};

use crate::answers;
use crate::application::{DynApplication, Handler, Request, Response};
use crate::body::Body;
use crate::contain::{self, Panic};
use crate::environ::{Connection, Environ};
use crate::error::{Error, Fault};
use crate::observe::TimeLimit;
use crate::rejection::Rejection;
use crate::request_body::RequestBodyError;
use crate::rules;
use crate::rules::request::Facts;
use crate::rules::response::{Framing, Plan};
use crate::rules::trailers;
use crate::runtime::{Runtime, TaskError};

pub use self::exchange::{Client, Exchange, GRACE, Grace};
pub use self::limit::Limit;
pub use self::observed::{Meter, Observed};
pub use self::outgoing::{Outgoing, Piece, offload};
pub use crate::instead::{NO_PLACE, OwnAnswer, TOO_LATE, answered_instead, instead};

/// Calls `application`; an error or a panic becomes the response a client gets instead, logged once. \[ERR-01\],
/// \[ERR-02\], \[ERR-03\]
///
/// The future drops the application's own as soon as that is ready, and contains a panic in its drop (\[ERR-08\]).
#[inline]
pub fn call(application: &DynApplication, mut request: Request, environ: Environ) -> Call {
    // [LIM-12]
    request.body_mut().set_min_rate(environ.connection().serving.min_rate);
    Call(Some(application.call_erased(&mut Some((request, environ)))))
}

/// The future of [`call`].
#[must_use = "futures do nothing unless polled"]
pub struct Call(
    /// `None` once it has answered or panicked, which is logged where it was caught.
    Option<Pin<Box<dyn Handler>>>,
);

impl Call {
    /// As `poll`, for a server that wants to save a move: ready means that `answer` has the response.
    ///
    /// Called again whenever the waker of `cx` was woken, until it is ready; asked once more after that, the response is a
    /// 500. Blocks only as the application's own future does. Cancel safe: a [`Call`] that is dropped drops the
    /// application's future (\[DIS-01\]). Never panics: the application's panics and errors are logged and answered.
    #[inline]
    pub fn poll_into(&mut self, cx: &mut Context<'_>, answer: &mut Option<Response>) -> Poll<()> {
        let mut answered = false;
        let mut error = None;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            if let Some(handler) = &mut self.0 {
                error = ready!(handler.as_mut().poll_into(cx, answer)).err();
            }
            answered = true;
            // [ERR-08] as soon as it has answered
            self.0 = None;
            Poll::Ready(())
        }));
        match outcome {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => {}
            Err(payload) => {
                let panic = self.panicked(if answered { "drop of a handler" } else { "handler" }, payload);
                if answer.is_none() && error.is_none() {
                    *answer = Some(OwnAnswer::new(StatusCode::INTERNAL_SERVER_ERROR, panic.to_string()).into());
                }
            }
        }
        if error.is_some() || answer.is_none() {
            let fault = || failure(StatusCode::INTERNAL_SERVER_ERROR);
            *answer = Some(error.map_or_else(fault, |error| error_response(&error)));
        }
        Poll::Ready(())
    }

    /// The answer to who waited too long: drops the application's future and logs that, once and in the same words on
    /// every server. Does not block but as that drop does. \[LIM-09\]
    #[cold]
    pub fn time_out(&mut self, limit: &Limit) -> Response {
        // First: who is to be told of its end may be the handler's.
        let answer = limit.response();
        if let Some(handler) = self.0.take() {
            instead(&Limit::own_answer(), handler);
        }
        limit.tell();
        answer
    }

    /// The answer in place of `response`, which came after its time: the handler blocked, and could not be stopped. Drops it.
    /// \[LIM-09\]
    pub fn is_late(&mut self, limit: &Limit, response: Response) -> Response {
        let answer = self.time_out(limit);
        instead(&Limit::own_answer(), response);
        answer
    }

    /// \[ERR-02\], \[ERR-08\]
    #[cold]
    fn panicked(&mut self, place: &'static str, payload: Box<dyn Any + Send>) -> Panic {
        let panic = contain::report(place, payload);
        self.drop_handler();
        panic
    }

    fn drop_handler(&mut self) {
        if let Some(handler) = self.0.take() {
            contain::discard("drop of a handler", handler);
        }
    }
}

impl Future for Call {
    type Output = Response;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        let mut answer = None;
        self.poll_into(cx, &mut answer).map(|()| answer.expect("invariant: ready means that there is an answer"))
    }
}

impl Drop for Call {
    #[inline]
    fn drop(&mut self) {
        if self.0.is_some() {
            self.drop_handler();
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call")
    }
}

/// Waits for `call`, at most until its `limit`; then the answer is 503 and the handler is dropped. Cancel safe, as [`Call`]. For
/// servers that have no timers of their own beside their connections. \[LIM-09\]
pub async fn within(runtime: &Runtime, limit: Option<Arc<Limit>>, mut call: Call) -> Response {
    let Some(limit) = limit else { return call.await };
    let left = limit.until().saturating_duration_since(runtime.now());
    match runtime.timeout(left, &mut call).await {
        // Code that blocks holds up the clock, too.
        Ok(response) if runtime.now() >= limit.until() => call.is_late(&limit, response),
        Ok(response) => response,
        Err(_) => call.time_out(&limit),
    }
}

/// The answer to an error of the application, which is logged. \[ERR-01\], \[ERR-03\]
pub fn error_response(error: &Error) -> Response {
    let mut response = answer_to(error);
    let extensions = response.extensions_mut();
    if extensions.get::<OwnAnswer>().is_none() {
        let reason = match error.downcast_ref::<TaskError>() {
            // In what it had run on another thread, which is nothing to who asks what has happened.
            Some(TaskError::Panicked(message)) => Panic::said(message).to_string(),
            _ => error.to_string(),
        };
        extensions.insert(OwnAnswer::new(error.status(), reason));
    }
    response
}

fn answer_to(error: &Error) -> Response {
    // [RTM-03] unless the application has a status for it
    if is_no_place(error) && error.status() == NO_PLACE.status {
        return OwnAnswer::refusal(*error.logged(no_place)).into();
    }
    error.logged(|| match error.fault() {
        _ if is_disconnect(error) => tracing::debug!(target: "adapter", error = %error, "the client is gone"),
        _ if error.status().is_client_error() => {
            tracing::info!(target: "adapter", error = %error, "the request failed");
        }
        // a panic was logged where it was caught
        _ if matches!(error.downcast_ref::<TaskError>(), Some(TaskError::Panicked(_))) => {}
        Fault::Server => tracing::error!(target: "adapter", error = %error, "the server failed the application"),
        fault => tracing::error!(target: "adapter", error = %error, ?fault, "the application failed"),
    });
    // [UPG-03] with what the protocol wants besides the status
    #[cfg(feature = "websocket")]
    if let Some(handshake) = error.downcast_ref::<crate::causes::HandshakeError>()
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

/// Whether `error` is that there was no thread for blocking work, and no place to wait for one.
fn is_no_place(error: &Error) -> bool {
    #[cfg(feature = "websocket")]
    if let Some(handshake) = error.downcast_ref::<crate::causes::HandshakeError>() {
        return *handshake == crate::causes::HandshakeError::NoPlace;
    }
    matches!(error.downcast_ref::<TaskError>(), Some(TaskError::Refused))
}

/// [`NO_PLACE`], to be answered: says so in the log, once for each call, in the span of the request.
#[cold]
fn no_place() -> &'static Rejection {
    tracing::warn!(target: "adapter", "no thread is free and no place to wait; answered 503");
    &NO_PLACE
}

/// [`NO_PLACE`], to be answered to `request` on `connection`: says so in the log, once for each call. Does not block but as the log
/// does. For servers that refuse before they call the application, where there is no span of the request yet. \[CON-05\]
#[cold]
pub fn no_place_for(connection: &Connection, request: &request::Parts) -> &'static Rejection {
    warn_of(connection, request, "no thread is free and no place to wait; answered 503");
    &NO_PLACE
}

/// [`TOO_LATE`], to be answered to `request` on `connection`, which has waited for a thread: says so to the log and the observers, once for
/// each call. Does not block but as they do. \[LIM-09\]
#[cold]
pub fn too_late_for(connection: &Connection, request: &request::Parts) -> &'static Rejection {
    connection.timed_out(TimeLimit::Handler);
    warn_of(connection, request, "no thread was free in time (--timeout-handler); answered 503");
    &TOO_LATE
}

fn warn_of(connection: &Connection, request: &request::Parts, text: &str) {
    let (peer, method, path) = (connection.told(), &request.method, request.uri.path());
    let request_id = request.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    tracing::warn!(target: "adapter", peer, %method, path, request_id, "{text}");
}

/// Whether `error` is that the client is gone, which is no event: of an application that reads its request. For servers. Does not
/// block, never panics. \[ERR-07b\]
pub fn is_disconnect(error: &Error) -> bool {
    matches!(error.downcast_ref::<RequestBodyError>(), Some(RequestBodyError::Disconnected))
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
    answers::plain(status, status.canonical_reason().unwrap_or("Error"))
}

impl From<OwnAnswer> for Response {
    fn from(answer: OwnAnswer) -> Self {
        let mut response = answer.rejection().map_or_else(|| failure(answer.status()), Rejection::response);
        response.extensions_mut().insert(answer);
        response
    }
}

/// Takes a response apart and makes it sendable, as [`rules::response::plan`] does; one that can't be sent is logged and
/// becomes a 500. \[FRM-06\], \[NOB-08\], \[TRL-04\]
///
/// A 101 is a 500 too, unless the connection was `offered`: see [`upgrade`](crate::upgrade#for-server-authors).
#[inline]
pub fn prepare(response: Response, facts: &Facts, offered: bool) -> (response::Parts, Body, Plan) {
    if let Some(length) = response.body().len().filter(|_| response.body().is_bytes())
        && response.extensions().is_empty()
        && let Some(plan) = rules::response::simple(&response, facts, length)
    {
        let (head, body) = response.into_parts();
        return (head, body, plan);
    }
    prepare_any(response, facts, offered)
}

/// [`prepare`] for whatever response there is; apart, because most need nothing of it.
#[inline(never)]
fn prepare_any(response: Response, facts: &Facts, offered: bool) -> (response::Parts, Body, Plan) {
    let (mut head, body) = response.into_parts();
    if !head.extensions.is_empty() {
        // [ERR-08] they are the application's, and nobody asks for them any more
        body.logged(|| contain::discard("drop of a response", std::mem::take(&mut head.extensions)));
    }
    let answer = if head.status != StatusCode::SWITCHING_PROTOCOLS || offered {
        let with_trailers = facts.trailers && body.trailers().is_some();
        // [TRL-04] trailers need chunked framing
        let length = if with_trailers { None } else { body.len() };
        if with_trailers {
            head.headers.remove(http::header::CONTENT_LENGTH);
        }
        match body.logged(|| rules::response::plan(&mut head, length, facts)) {
            Ok(plan) => {
                if with_trailers
                    && plan.framing == Framing::Chunked
                    && let Some(fields) = body.trailers()
                {
                    trailers::announce(&mut head.headers, fields);
                }
                return (head, body, plan);
            }
            Err(invalid) => unsendable(&invalid, &head, body),
        }
    } else {
        unsendable(&"[NOB-08] 101 to a request that can't be upgraded", &head, body)
    };
    let (mut head, body) = answer.into_parts();
    let plan =
        rules::response::plan(&mut head, body.len(), facts).expect("invariant: the server's own response is valid");
    (head, body, plan)
}

/// By which a request is named, in logs and by proxies; of no RFC.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The answer in place of a response that can't be sent, for `why`, which is logged: with the request's name, where its `head` has
/// that. Drops its `body`. Blocks only as that drop does; its panic is contained. For servers. \[FRM-06\], \[NOB-08\]
#[cold]
pub fn unsendable(why: &dyn fmt::Display, head: &response::Parts, body: Body) -> Response {
    body.logged(|| tracing::error!(target: "adapter", error = %why, "the application's response can't be sent"));
    let reason = format!("the application's response can't be sent: {why}");
    let answer = OwnAnswer::new(StatusCode::INTERNAL_SERVER_ERROR, reason);
    instead(&answer, body);
    let mut response = Response::from(answer);
    if let Some(id) = head.headers.get(REQUEST_ID) {
        response.headers_mut().insert(REQUEST_ID, id.clone());
    }
    response
}

/// Logs that a response broke off because its body failed with `error`: one line, and a fault of the application's unless
/// it is the client's. \[ERR-04c\], \[FRM-04b\]
pub fn log_broken(error: &Error) {
    error.logged(|| {
        if error.downcast_ref::<Panic>().is_some() {
            // Logged where it was caught.
        } else if is_disconnect(error) {
            tracing::debug!(target: "adapter", %error, "the client is gone");
        } else if error.fault() == Fault::Peer {
            tracing::info!(target: "adapter", %error, "a response broke off");
        } else {
            tracing::error!(target: "adapter", %error, "a response broke off");
        }
    });
}
