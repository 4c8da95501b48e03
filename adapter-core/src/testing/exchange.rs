//! One request's way through the rules, the application, and the rules again.
//!
//! Runs where the caller polls it: on the thread of `send`, or on the thread of an open exchange.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header, request, response};
use http_body::{Body as _, Frame};

use super::clock::{Clock, Paused};
use super::pipe::pipe;
use super::upload::Incoming;
use crate::application::{Application, DynApplication, Request, Response};
use crate::body::{Body, Exact};
use crate::contain;
use crate::dispatch::{self, Limit, Observed, OwnAnswer};
use crate::environ::{Connection, Environ, Serving};
use crate::error::Error;
use crate::hints::{EarlyHints, HintError, Sink};
use crate::refused::Asked;
use crate::request_body::RequestBody;
use crate::rules::request::{BodyLength, Facts};
use crate::rules::response::{Framing, Plan, prepare};
use crate::rules::{self, Rejection};
use crate::runtime::Runtime;
use crate::server::{Capabilities, ListenAddr, ServerConfig, ServerInfo, ShutdownTrigger};
use crate::signal::Signal;
use crate::threads::Threads;
use crate::upgrade::{self, Handover, Upgraded};

/// The application and the "server" it runs in.
pub(super) struct Site {
    pub(super) application: DynApplication,
    pub(super) config: ServerConfig,
    pub(super) serving: Arc<Serving>,
    pub(super) may_block: bool,
    pub(super) threads: Threads,
    /// `None`: the time is everybody's.
    pub(super) clock: Option<Clock>,
    claimed: AtomicBool,
    started: Signal,
    failure: OnceLock<String>,
}

impl Site {
    pub(super) fn new(application: DynApplication, config: ServerConfig, may_block: bool, paused: bool) -> Self {
        let shutdown = ShutdownTrigger::new();
        let threads = Threads::with(may_block, &config);
        let clock = paused.then(Clock::new);
        let runtime = match &clock {
            Some(clock) => Runtime::new(Paused { threads: threads.clone(), clock: clock.clone() }),
            None => Runtime::new(threads.clone()),
        };
        let capabilities = Capabilities {
            trailers: true,
            early_hints: true,
            early_hints_http2: true,
            full_duplex: true,
            upgrade: true,
            websocket: true,
            ..Capabilities::none()
        };
        let info = ServerInfo::new("testing", env!("CARGO_PKG_VERSION"))
            .with_capabilities(capabilities)
            .listening(vec![local_addr()], runtime.clone());
        let serving = Serving::new(info, runtime, shutdown, &config);
        Site {
            application,
            config,
            serving,
            may_block,
            threads,
            clock,
            claimed: AtomicBool::new(false),
            started: Signal::new(),
            failure: OnceLock::new(),
        }
    }

    /// Runs the startup hook, the first time; waits for it, the other times. \[LIF-08\]
    pub(super) async fn start(&self) -> Result<(), Error> {
        if self.claimed.swap(true, Ordering::SeqCst) {
            self.started.fired().await;
        } else {
            let outcome = self.application.startup(&self.serving.info).await;
            if let Err(error) = outcome {
                // Told to everybody who asks, and errors can't be cloned.
                let _ = self.failure.set(error.to_string());
            }
            self.started.fire();
        }
        self.failure.get().map_or(Ok(()), |text| Err(Error::new(text.clone())))
    }
}

pub(super) fn local_addr() -> ListenAddr {
    ListenAddr::Tcp(([127, 0, 0, 1], 80).into())
}

/// A request on its way to the site.
pub(super) struct Outbound {
    pub(super) head: request::Parts,
    /// The target, or why a server would refuse it before it looks at anything else.
    pub(super) target: Result<Uri, Rejection>,
    pub(super) body: RequestBody,
    pub(super) peer: Option<std::net::SocketAddr>,
    pub(super) host: bool,
}

impl Outbound {
    /// Adds what every client adds: Host, and the framing of the body.
    fn complete(mut self) -> (request::Parts, Result<RequestBody, Rejection>) {
        match self.target {
            Ok(uri) => self.head.uri = uri,
            Err(rejection) => return (self.head, Err(rejection)),
        }
        let headers = &mut self.head.headers;
        if self.host && !headers.contains_key(header::HOST) {
            headers.insert(header::HOST, HeaderValue::from_static("testing"));
        }
        if !headers.contains_key(header::CONTENT_LENGTH) && !headers.contains_key(header::TRANSFER_ENCODING) {
            match self.body.len() {
                Some(0) => {}
                Some(length) => {
                    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
                }
                None if self.head.version == Version::HTTP_11 => {
                    headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
                }
                None => {}
            }
        }
        (self.head, Ok(self.body))
    }
}

/// The hints of one exchange.
#[derive(Clone, Default)]
pub(super) struct Hints(Arc<HintsState>);

#[derive(Default)]
struct HintsState {
    sent: Mutex<Vec<HeaderMap>>,
    committed: AtomicBool,
}

impl Hints {
    pub(super) fn list(&self) -> Vec<HeaderMap> {
        self.0.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sink for Hints {
    fn send(&self, headers: &HeaderMap) -> Result<(), HintError> {
        if self.0.committed.load(Ordering::Acquire) {
            return Err(HintError::TooLate); // [INF-03]
        }
        self.0.sent.lock().unwrap_or_else(PoisonError::into_inner).push(headers.clone());
        Ok(())
    }
}

/// A response with its head committed.
pub(super) struct Reply {
    pub(super) head: response::Parts,
    pub(super) body: Outgoing,
    /// The client's end of a connection that was taken over.
    pub(super) stream: Option<Upgraded>,
    /// Where somebody wants to know how it ends.
    observed: Option<Box<Observed>>,
}

impl Reply {
    /// The next frame that goes out. With `may_block` the thread pulls what blocks itself.
    pub(super) async fn next(&mut self, site: &Site) -> Option<Result<Frame<Bytes>, Error>> {
        let next = self.body.next(site.may_block).await;
        match (&next, &mut self.observed) {
            (_, None) => {}
            (Some(Ok(frame)), Some(observed)) => observed.sent(frame.data_ref().map_or(0, |data| data.len() as u64)),
            (Some(Err(error)), Some(observed)) if dispatch::is_disconnect(error) => observed.left(),
            (Some(Err(_)), Some(observed)) => observed.failed(),
            (None, observed) => {
                if let Some(observed) = observed.take() {
                    observed.delivered(site.serving.runtime.now());
                }
            }
        }
        next
    }
}

/// Answers one request.
pub(super) async fn respond(site: &Site, outbound: Outbound, gone: Signal, hints: Hints) -> Reply {
    let peer = outbound.peer;
    let local = if peer.is_some() { local_addr() } else { ListenAddr::Unix(Default::default()) };
    let connection = Arc::new(Connection::new(site.serving.clone(), peer, local));
    let (mut head, body) = outbound.complete();
    rules::cookies::join(&mut head);
    let checked = body.and_then(|body| Ok((body, rules::request::check(&head, &site.config.limits)?)));
    let (body, facts) = match checked {
        Ok(accepted) => accepted,
        Err(rejection) => {
            connection.refused(&rejection, Asked::Head(&head));
            return refuse(site, &head, rejection);
        }
    };
    rules::target::normalize(&mut head);

    let mut environ = Environ::new(connection, site.serving.runtime.now())
        .with_disconnect(gone.clone())
        .with_forwarded(&head.headers);
    if facts.version >= Version::HTTP_11 {
        environ = environ.with_early_hints(EarlyHints::new(hints.clone()));
    }
    let mut handover = None;
    if (facts.upgrade && facts.body == BodyLength::Sized(0)) || facts.is_connect {
        let (ours, offer) = upgrade::channel();
        handover = Some(ours);
        environ = environ.with_upgrade(offer);
    }
    let mut observed = Observed::begin(&environ, &head, environ.received_at());
    let meter = observed.as_mut().map(|observed| observed.meter());
    let body = Incoming::wrap(body, facts.body, site.config.limits.body_bytes, gone.clone(), meter);
    let mut request = Request::from_parts(head, body);
    let limit = Limit::set(site.config.timeouts.handler, site.serving.runtime.now(), &mut request, &environ);
    let call = dispatch::call(&site.application, request, environ);
    let response = dispatch::within(&site.serving.runtime, limit, call).await;
    hints.0.committed.store(true, Ordering::Release);
    if let Some(observed) = &mut observed {
        observed.extended(response.extensions());
    }
    let mut reply = commit(site, response, &facts);
    if let Some(observed) = &mut observed {
        if OwnAnswer::refuses(&reply.head.extensions) {
            observed.refused();
        }
        observed.answered(reply.head.status, site.serving.runtime.now());
    }
    reply.observed = observed;
    let switches = upgrade::switches(reply.head.status, &facts);
    reply.stream = handover.filter(|ours| switches && ours.is_taken()).map(|ours| hand_over(site, ours, gone));
    if let Some(observed) = reply.observed.take_if(|_| reply.stream.is_some()) {
        observed.delivered(site.serving.runtime.now());
    }
    reply
}

/// Gives the application its end of a stream, and returns the client's. At the force both are severed, as by a server.
fn hand_over(site: &Site, handover: Handover, gone: Signal) -> Upgraded {
    let (one, other) = pipe(64 * 1024);
    let ((stream, tether), (client, client_tether)) = (Upgraded::new(one, ""), Upgraded::new(other, ""));
    handover.complete(stream);
    let accompany = async move {
        tether.await;
        gone.fire();
        client_tether.await;
    };
    site.serving.runtime.drive(accompany);
    client
}

fn refuse(site: &Site, head: &request::Parts, rejection: Rejection) -> Reply {
    let facts = Facts {
        version: head.version,
        is_head: head.method == Method::HEAD,
        is_connect: head.method == Method::CONNECT,
        body: BodyLength::Sized(0),
        keep_alive: false,
        trailers: false,
        expects_continue: false,
        upgrade: false,
    };
    commit(site, rejection.response(), &facts)
}

/// What a server does with a response before it writes.
fn commit(site: &Site, response: Response, facts: &Facts) -> Reply {
    let (mut head, mut body) = response.into_parts();
    let plan = match body.logged(|| prepare(&mut head, body.len(), facts)) {
        Ok(plan) => plan,
        Err(error) => {
            return commit(site, dispatch::unsendable(&error, &head, body), facts);
        }
    };
    if plan.send_body && body.is_blocking() {
        body = match body.offload(&site.serving.runtime, plan.framing.length()) {
            Ok(body) => body,
            Err(error) => return commit(site, dispatch::error_response(&error), facts),
        };
    }
    finish_head(&mut head, &body, plan, facts);
    Reply { body: Outgoing::new(body, plan, facts), head, stream: None, observed: None }
}

/// What the rules leave to the engine: version, Date, Transfer-Encoding, Trailer.
fn finish_head(head: &mut response::Parts, body: &Body, plan: Plan, facts: &Facts) {
    head.version = facts.version; // [RSP-13]
    if !head.headers.contains_key(header::DATE) {
        head.headers.insert(header::DATE, rules::date::header_value()); // [RSP-06]
    }
    if plan.framing == Framing::Chunked && plan.send_body && facts.version == Version::HTTP_11 {
        head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if let (Framing::Chunked, Some(trailers)) = (plan.framing, body.trailers())
        && facts.trailers
    {
        rules::trailers::announce(&mut head.headers, trailers);
    }
}

/// The body as it leaves the server.
pub(super) enum Outgoing {
    None,
    Exact(Exact),
    /// `trailers`: whether they may go out.
    Open {
        body: Body,
        trailers: bool,
    },
}

impl Outgoing {
    fn new(body: Body, plan: Plan, facts: &Facts) -> Self {
        match plan.framing {
            _ if !plan.send_body => {
                // [NOB-03], [BOD-12] dropped unpulled
                contain::discard("drop of a body", body);
                Outgoing::None
            }
            // [TRL-04] RFC 9113 §8.1
            Framing::Length(length) if facts.version >= Version::HTTP_2 => {
                Outgoing::Exact(Exact::new(body, length).with_trailers())
            }
            Framing::Length(length) => Outgoing::Exact(Exact::new(body, length)),
            framing => Outgoing::Open { body, trailers: framing == Framing::Chunked && facts.trailers },
        }
    }

    /// The next frame that goes out. With `may_block` the thread pulls what blocks itself.
    pub(super) async fn next(&mut self, may_block: bool) -> Option<Result<Frame<Bytes>, Error>> {
        loop {
            let next = match self {
                Outgoing::None => None,
                Outgoing::Exact(body) if may_block && body.is_blocking() => body.next_frame(),
                Outgoing::Exact(body) => std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)).await,
                Outgoing::Open { body, .. } if may_block && body.is_blocking() => body.next_frame(),
                Outgoing::Open { body, .. } => body.frame().await,
            };
            match next {
                Some(Ok(frame)) if frame.is_trailers() => {
                    let mut fields = frame.into_trailers().unwrap_or_default();
                    rules::trailers::sanitize(&mut fields);
                    // [TRL-05a], [TRL-05b] dropped where nobody asked
                    if matches!(self, Outgoing::Open { trailers: true, .. } | Outgoing::Exact(_)) {
                        return Some(Ok(Frame::trailers(fields)));
                    }
                }
                Some(Err(error)) => {
                    // [ERR-04c]
                    dispatch::log_broken(&error);
                    return Some(Err(error));
                }
                next => return next,
            }
        }
    }
}
