//! From hyper's request to the application and back to hyper's response.
//!
//! One [`Service`] per connection, called by hyper in the connection's task; the application's future is polled there.
//! The rules are `adapter_core::rules`; this file only applies them in order.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use adapter_core::dispatch::{self, Call};
use adapter_core::rules::request::Facts;
use adapter_core::rules::{self, Rejection, response};
use adapter_core::server::ShutdownLevel;
use adapter_core::signal::Signal;
use adapter_core::upgrade::switches;
use adapter_core::{Environ, Request, Response, Sleep, contain};
use http::{HeaderValue, StatusCode, Version, header};
use hyper::body::Incoming;

use super::io::Shared;
use super::request_body::request_body;
use super::response_body::{InFlight, ResponseBody};
use super::transport::Transport;
use super::upgrade::Switch;

/// Serves the requests of one connection.
pub(super) struct Service<I> {
    pub(super) shared: Arc<Shared<I>>,
    /// Requests end apart from their connection: HTTP/2.
    pub(super) multiplexed: bool,
}

impl<I: Transport> hyper::service::Service<http::Request<Incoming>> for Service<I> {
    type Response = http::Response<ResponseBody<I>>;
    type Error = Gone;
    type Future = Answer<I>;

    fn call(&self, request: http::Request<Incoming>) -> Answer<I> {
        let engine = &self.shared.engine;
        let (in_flight, count) = InFlight::begin(&self.shared);
        // [KAP-12]
        let last = engine.limits.requests_per_connection.is_some_and(|most| count >= most);
        let (mut head, incoming) = request.into_parts();
        let facts = match rules::request::check(&head, &engine.limits) {
            Ok(facts) => facts,
            Err(rejection) => {
                tracing::debug!(target: "adapter", %rejection, "request refused");
                let facts = Facts::of_rejected(&head);
                return Answer::new(facts, in_flight, State::Refused(Box::new(rejection)));
            }
        };
        rules::target::normalize(&mut head);
        let (switch, offer) = Switch::offer(&mut head, &facts).unzip();
        let body = request_body(
            incoming,
            &self.shared,
            engine.limits.body_bytes,
            engine.timeouts.body_read,
            &engine.serving.runtime,
        );
        let received_at = engine.epoch + Duration::from_nanos(self.shared.status.now());
        let mut environ = Environ::new(self.shared.environ.clone(), received_at).with_forwarded(&head.headers);
        if let Some(offer) = offer {
            environ = environ.with_upgrade(offer);
        }
        let mut abandoned = None;
        if self.multiplexed {
            let signal = Signal::new();
            environ = environ.with_disconnect(signal.clone());
            abandoned = Some(signal);
        }
        let call = dispatch::call(&engine.application, Request::from_parts(head, body), environ);
        let limit = engine.timeouts.handler.map(|limit| engine.serving.runtime.sleep(limit));
        let mut answer = Answer::new(facts, in_flight, State::Calling(call, limit));
        answer.abandoned = abandoned;
        answer.last = last;
        answer.switch = switch;
        answer
    }
}

/// The response to one request, to come.
pub(super) struct Answer<I> {
    facts: Facts,
    /// Taken by the response.
    in_flight: Option<InFlight<I>>,
    /// Fired if the client goes away before the response is complete.
    abandoned: Option<Signal>,
    last: bool,
    /// For the application to take the connection over.
    switch: Option<Box<Switch>>,
    state: State,
}

enum State {
    Refused(Box<Rejection>),
    Calling(Call, Option<Sleep>),
}

impl<I: Transport> Answer<I> {
    fn new(facts: Facts, in_flight: InFlight<I>, state: State) -> Self {
        Answer { facts, in_flight: Some(in_flight), abandoned: None, last: false, switch: None, state }
    }

    /// Makes `answer` sendable. In the form `poll` returns it, which saves a move.
    #[inline]
    fn finish(&mut self, answer: &mut Option<Response>) -> Poll<Result<http::Response<ResponseBody<I>>, Gone>> {
        let in_flight = self.in_flight.take().expect("a response is made once");
        let runtime = &in_flight.shared().engine.serving.runtime;
        let (mut head, mut body) = answer.take().expect("invariant: there is an answer").into_parts();
        if !head.extensions.is_empty() {
            // [ERR-08] whatever the application keeps there is dropped where its panic is contained
            let extensions = std::mem::take(&mut head.extensions);
            let _ = contain::catch("drop of response extensions", || drop(extensions));
        }
        let mut length = body.len();
        // [TRL-04] trailers need chunks
        if let Some(trailers) = body.trailers()
            && self.facts.trailers
        {
            rules::trailers::announce(&mut head.headers, trailers);
            length = None;
            head.headers.remove(header::CONTENT_LENGTH);
        }
        // [SHU-05] also where the handler itself began the shutdown
        if self.last || in_flight.shared().engine.serving.shutdown.level() != ShutdownLevel::Running {
            head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let mut plan = response::plan(&mut head, length, &self.facts).unwrap_or_else(|invalid| {
            tracing::error!(target: "adapter", error = %invalid, "the application made an impossible response");
            (head, body) = dispatch::failure(StatusCode::INTERNAL_SERVER_ERROR).into_parts();
            response::plan(&mut head, body.len(), &self.facts).expect("invariant: our own response is sendable")
        });
        if plan.send_body && body.is_blocking() {
            // [BOD-15] what blocks leaves the event loop
            body = body.offload(runtime, plan.framing.length()).unwrap_or_else(|error| {
                let (refused, body) = dispatch::error_response(&error).into_parts();
                head = refused;
                plan = response::plan(&mut head, body.len(), &self.facts)
                    .expect("invariant: our own response is sendable");
                body
            });
        }
        // [UPG-06] what nobody took, or what is not answered by a switch, goes on as HTTP
        if let Some(switch) = self.switch.take()
            && switches(head.status, &self.facts)
        {
            if self.facts.version < Version::HTTP_2 {
                in_flight.shared().set_switch(switch);
            } else {
                switch.accompany(in_flight.shared(), self.abandoned.take());
            }
        }
        if head.version == Version::HTTP_10 && !plan.close {
            // hyper says keep-alive to HTTP/1.0 only in a response that could be 1.1
            head.version = Version::HTTP_11;
        }
        if !plan.send_body || self.facts.version >= Version::HTTP_2 {
            // hyper takes the length from a body that is sent, in HTTP/2 only if it is not empty. [BOD-17a]
            plan.declare_length(&mut head.headers);
        }
        let declared =
            if head.status == StatusCode::NOT_MODIFIED { rules::declared_length(&head.headers) } else { None };
        let abandoned = self.abandoned.take();
        let body = ResponseBody::new(body, &plan, declared, in_flight, abandoned);
        Poll::Ready(Ok(http::Response::from_parts(head, body)))
    }
}

impl<I: Transport> Future for Answer<I> {
    type Output = Result<http::Response<ResponseBody<I>>, Gone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answer = None;
        match &mut self.state {
            State::Refused(rejection) => answer = Some(rejection.response()),
            State::Calling(call, limit) => {
                if call.poll_into(cx, &mut answer).is_pending() {
                    let Some(limit) = limit else { return Poll::Pending };
                    ready!(Pin::new(limit).poll(cx));
                    // [LIM-09] the handler is dropped with this future
                    tracing::error!(target: "adapter", "[LIM-09] the application did not answer in time");
                    answer = Some(dispatch::failure(StatusCode::SERVICE_UNAVAILABLE));
                }
            }
        }
        if answer.as_ref().is_none_or(dispatch::is_unanswerable) {
            return Poll::Ready(Err(Gone));
        }
        self.finish(&mut answer)
    }
}

/// \[ERR-12\] there is nobody to answer; hyper closes the connection, or resets the stream.
#[derive(Debug)]
pub(super) struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client is gone")
    }
}

impl std::error::Error for Gone {}

impl<I> Drop for Answer<I> {
    fn drop(&mut self) {
        // [DIS-01] dropped before it answered: the stream was reset, or the connection is gone
        if let Some(signal) = self.abandoned.take() {
            signal.fire();
        }
    }
}
