//! From hyper's request to the application and back to hyper's response: HTTP/1.
//!
//! One [`Service`] per connection, called by hyper in the connection's task; the application's future is polled there.
//! The rules are `adapter_core::rules`; this file only applies them in order.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use adapter_core::dispatch::{self, Call, Limit, Observed};
use adapter_core::observe::ConnectionEnd;
use adapter_core::rules::request::Facts;
use adapter_core::rules::{self, Rejection, response};
use adapter_core::server::ShutdownLevel;
use adapter_core::upgrade::switches;
use adapter_core::{Environ, Request, RequestBody, Response, Sleep, contain, refused};
use adapter_http1::encoder;
use http::{StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;

use super::in_flight::InFlight;
use super::io::Shared;
use super::request_body::request_body;
use super::response_body::{PIECE, ResponseBody};
use super::switch::Switch;

/// Serves the requests of one connection.
pub(super) struct Service {
    pub(super) shared: Arc<Shared>,
}

impl hyper::service::Service<http::Request<Incoming>> for Service {
    type Response = http::Response<ResponseBody>;
    type Error = NoAnswer;
    type Future = Answer;

    #[inline]
    fn call(&self, request: http::Request<Incoming>) -> Answer {
        let engine = &self.shared.engine;
        let (mut in_flight, count) = InFlight::begin(&self.shared);
        // [KAP-12]
        let last = engine.limits.requests_per_connection.is_some_and(|most| count >= most);
        let received_at = engine.clock.instant(self.shared.status.now());
        let environ = Environ::new(self.shared.environ.clone(), received_at).with_forwarded(request.headers());
        match rules::request::check_simple(&request, &engine.limits) {
            Some(facts) if !last && engine.timeouts.handler.is_none() && !self.has_fragment() => {
                in_flight.observed = Observed::begin(&environ, &request, received_at);
                let request = request.map(|_| RequestBody::empty());
                let call = dispatch::call(&engine.application, request, environ);
                Answer { facts, in_flight: Some(in_flight), call: Some(call), rare: None }
            }
            _ => self.call_any(request, environ, last, in_flight),
        }
    }
}

impl Service {
    /// Whether the target of the request just seen had a fragment when it came. \[TGT-17b\]
    #[inline]
    fn has_fragment(&self) -> bool {
        let status = &self.shared.status;
        status.fragment.load(Relaxed) == status.requests()
    }

    /// [`call`](hyper::service::Service::call) for whatever request there is; apart, because most need nothing of it.
    #[inline(never)]
    fn call_any(
        &self,
        request: http::Request<Incoming>,
        mut environ: Environ,
        last: bool,
        mut in_flight: InFlight,
    ) -> Answer {
        let engine = &self.shared.engine;
        let (mut head, incoming) = request.into_parts();
        rules::cookies::join(&mut head);
        let checked = match self.has_fragment() {
            true => Err(rules::target::FRAGMENT),
            false => rules::request::check(&head, &engine.limits),
        };
        let mut facts = match checked {
            Ok(facts) => facts,
            Err(rejection) => {
                self.shared.environ.refused(&rejection, refused::Asked::Head(&head));
                self.shared.status.is_refused.store(true, Relaxed);
                self.shared.environ.ends(ConnectionEnd::Refused);
                let facts = Facts::of_rejected(&head);
                let rare = Rare { refused: Some(rejection), ..Rare::default() };
                return Answer { facts, in_flight: Some(in_flight), call: None, rare: Some(Box::new(rare)) };
            }
        };
        facts.keep_alive &= !last;
        let announced =
            [header::CONTENT_LENGTH, header::TRANSFER_ENCODING].iter().any(|name| head.headers.contains_key(name));
        rules::target::normalize(&mut head);
        let (switch, offer) = Switch::offer(&mut head, &facts).unzip();
        in_flight.observed = Observed::begin(&environ, &head, environ.received_at());
        let body = request_body(incoming, &self.shared, &facts, in_flight.observed.as_deref_mut());
        if let Some(offer) = offer {
            environ = environ.with_upgrade(offer);
        }
        if announced {
            self.shared.socket().inflow.begin_body(facts.body);
        }
        let mut request = Request::from_parts(head, body);
        let limit = Limit::set(engine.timeouts.handler, environ.received_at(), &mut request, &environ);
        let limit = limit.map(|limit| (engine.serving.runtime.sleep_until(limit.until()), limit));
        let call = dispatch::call(&engine.application, request, environ);
        let is_rare = limit.is_some() || switch.is_some();
        let rare = is_rare.then(|| Box::new(Rare { refused: None, limit, switch }));
        Answer { facts, in_flight: Some(in_flight), call: Some(call), rare }
    }
}

/// The response to one request, to come.
pub(super) struct Answer {
    facts: Facts,
    /// `None` for a request that was refused. Dropped before the end is told: the handler may say which route it was.
    call: Option<Call>,
    /// Taken by the response.
    in_flight: Option<InFlight>,
    rare: Option<Box<Rare>>,
}

/// What most requests have no need of.
#[derive(Default)]
struct Rare {
    refused: Option<Rejection>,
    /// Until when there has to be an answer. \[LIM-09\]
    limit: Option<(Sleep, Arc<Limit>)>,
    /// For the application to take the connection over.
    switch: Option<Box<Switch>>,
}

impl Answer {
    /// The response of the server alone, if there is one.
    #[inline(never)]
    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<Response> {
        let Some(rare) = &mut self.rare else { return Poll::Pending };
        if let Some(rejection) = &rare.refused {
            return Poll::Ready(rejection.response());
        }
        let (Some((sleep, limit)), Some(call)) = (&mut rare.limit, &mut self.call) else { return Poll::Pending };
        ready!(Pin::new(sleep).poll(cx));
        Poll::Ready(call.time_out(limit))
    }

    /// The application's answer is the server's instead where it has blocked beyond its time. \[LIM-09\]
    #[cold]
    fn see_if_late(&mut self, answer: &mut Option<Response>) {
        let runtime = self.in_flight.as_ref().map(|in_flight| &in_flight.shared.engine.serving.runtime);
        if let (Some(rare), Some(call), Some(runtime)) = (&self.rare, &mut self.call, runtime)
            && let Some((_, limit)) = &rare.limit
            && runtime.now() >= limit.until()
        {
            *answer = answer.take().map(|response| call.is_late(limit, response));
        }
    }

    /// Makes `answer` sendable. In the form `poll` returns it, which saves a move.
    #[inline]
    fn finish(&mut self, answer: &mut Option<Response>) -> Poll<Result<http::Response<ResponseBody>, NoAnswer>> {
        let mut in_flight = self.in_flight.take().expect("a response is made once");
        if in_flight.shared.engine.serving.shutdown.level() != ShutdownLevel::Running {
            // [SHU-05] also where the handler itself began the shutdown
            self.facts.keep_alive = false;
        }
        if let Some(upload) = in_flight.shared.upload() {
            // [KAP-11] said before it is done
            self.facts.keep_alive &= upload.can_be_left(in_flight.shared.socket().body_left());
        }
        let is_usual = |response: &Response| {
            let length = response.body().len().filter(|_| response.body().is_bytes());
            response.extensions().is_empty()
                && (response.status() == StatusCode::OK || response.status().canonical_reason().is_some())
                && length
                    .is_some_and(|length| length <= PIECE as u64 && response::is_simple(response, &self.facts, length))
        };
        if self.rare.is_none() && answer.as_ref().is_some_and(is_usual) {
            let (mut head, body) = answer.take().expect("invariant: there is an answer").into_parts();
            in_flight.date(&mut head.headers);
            in_flight.answered_at_once(head.status);
            in_flight.shared.status.commit(false);
            let body = ResponseBody::full(body.try_into_bytes().unwrap_or_default(), in_flight);
            Poll::Ready(Ok(http::Response::from_parts(head, body)))
        } else {
            self.finish_any(answer.take(), in_flight)
        }
    }

    /// [`finish`](Self::finish) for whatever response there is; apart, because most need nothing of it.
    #[inline(never)]
    fn finish_any(
        &mut self,
        answer: Option<Response>,
        mut in_flight: InFlight,
    ) -> Poll<Result<http::Response<ResponseBody>, NoAnswer>> {
        let Some(answer) = answer.filter(|answer| !dispatch::is_unanswerable(answer)) else {
            return Poll::Ready(Err(NoAnswer));
        };
        let runtime = &in_flight.shared.engine.serving.runtime;
        let mut rare = self.rare.take().unwrap_or_default();
        let (mut head, mut body) = answer.into_parts();
        if let Some(observed) = &mut in_flight.observed {
            observed.extended(&head.extensions);
        }
        if !head.extensions.is_empty() {
            // [ERR-08] whatever the application keeps there is dropped where its panic is contained
            body.logged(|| contain::discard("drop of response extensions", std::mem::take(&mut head.extensions)));
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
        let planned = body.logged(|| response::plan(&mut head, length, &self.facts));
        let mut plan = planned.unwrap_or_else(|invalid| {
            (head, body) = dispatch::unsendable(&invalid, &head, std::mem::take(&mut body)).into_parts();
            response::plan(&mut head, body.len(), &self.facts).expect("invariant: our own response is sendable")
        });
        if body.is_blocking() {
            let counted = in_flight.shared.environ.count_blocking_job();
            let observed = in_flight.observed.as_deref_mut();
            body = dispatch::offload(&mut head, body, &mut plan, &self.facts, runtime, counted, observed);
        }
        // [UPG-06] what nobody took, or what is not answered by a switch, goes on as HTTP
        if let Some(switch) = rare.switch.take()
            && switches(head.status, &self.facts)
        {
            in_flight.shared.set_switch(switch);
        }
        if head.version == Version::HTTP_10 && !plan.close {
            // hyper says keep-alive to HTTP/1.0 only in a response that could be 1.1
            head.version = Version::HTTP_11;
        }
        if !plan.send_body {
            // hyper takes the length from a body that is sent. [BOD-17a]
            plan.declare_length(&mut head.headers);
        }
        let declared =
            if head.status == StatusCode::NOT_MODIFIED { rules::declared_length(&head.headers) } else { None };
        if head.status.canonical_reason().is_none() {
            // hyper has a word of its own for it.
            head.extensions.insert(ReasonPhrase::from_static(encoder::reason(head.status).as_bytes()));
        }
        in_flight.date(&mut head.headers);
        in_flight.answered(head.status);
        in_flight.shared.status.commit(plan.close);
        let body = ResponseBody::new(body, &plan, declared, in_flight);
        Poll::Ready(Ok(http::Response::from_parts(head, body)))
    }
}

impl Future for Answer {
    type Output = Result<http::Response<ResponseBody>, NoAnswer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answer = None;
        let called = self.call.as_mut().is_some_and(|call| call.poll_into(cx, &mut answer).is_ready());
        if !called {
            answer = Some(ready!(self.poll_own(cx)));
        } else if self.rare.is_some() {
            self.see_if_late(&mut answer);
        }
        self.finish(&mut answer)
    }
}

/// \[ERR-12\] There is nobody to answer, and hyper closes the connection.
#[derive(Debug)]
pub(super) struct NoAnswer;

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client is gone")
    }
}

impl std::error::Error for NoAnswer {}
