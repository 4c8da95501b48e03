//! One request on its way to the log.
//!
//! An entry writes itself exactly once, when the last of those lets go of it who know something of its end: the handler, the response's
//! body, and the server that says how the request ended. Where no server says so, the body's end has to do.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use adapter_core::dispatch::{self, Limit, OwnAnswer};
use adapter_core::http::{HeaderMap, HeaderValue, Method, header};
use adapter_core::observe::{ConnectionInfo, End, Ending, RequestEnd, Route, known_method};
use adapter_core::refused::Refused;
use adapter_core::rules::Rejection;
use adapter_core::{Environ, Error, Outcome, Request, Response};
use tracing::Span;

use super::line::{self, Ended, Head};
use super::{Format, request_id, span};
use crate::output::Queue;

/// What nginx logs when the client went away before there was a response.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The one limit that breaks a response off. \[LIM-06\]
const STALLED: &str = "the client took nothing in time (--timeout-write)";

/// A request that is being answered.
pub(super) struct Entry {
    head: Head,
    format: Format,
    /// For how it ends, and when it began.
    environ: Environ,
    span: Span,
    lines: Option<Queue>,
    /// Octets of the request that were read, where the format has them.
    read: Option<Arc<AtomicU64>>,
    /// That of the response, once there is one.
    status: OnceLock<u16>,
    /// Of the application that has answered.
    route: OnceLock<Route>,
    /// How its body ended, and how many octets of it there were.
    body: OnceLock<(Outcome, u64)>,
    /// The response is the server's own, to what the application has failed with.
    own: OnceLock<OwnAnswer>,
    /// The server answered with that in place of what the application had answered.
    instead: OnceLock<OwnAnswer>,
    /// What broke it off, where the format says so.
    failure: OnceLock<String>,
    /// How the request ended, and how long it took.
    ending: OnceLock<(End, Duration)>,
    is_written: AtomicBool,
}

impl Entry {
    /// A request that has just arrived; it has an id from then on. Clones reference counts, not texts.
    pub(super) fn begin(request: &mut Request, environ: &Environ, format: Format, lines: Option<Queue>) -> Self {
        let (now, (id, has_own_id)) = (SystemTime::now(), request_id::of(request.headers_mut()));
        let span = span::of(request, environ, &id);
        let read = (format == Format::Json).then(|| request.body_mut().count_read());
        let head = Head {
            peer: environ.peer_addr(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            agent: format.has_agent().then(|| agent(request.headers())),
            id,
            has_own_id,
            // It may have waited for a thread.
            received: now.checked_sub(environ.received_at().elapsed()).unwrap_or(now),
        };
        Entry {
            head,
            format,
            environ: environ.clone(),
            span,
            lines,
            read,
            status: OnceLock::new(),
            route: OnceLock::new(),
            own: OnceLock::new(),
            body: OnceLock::new(),
            instead: OnceLock::new(),
            failure: OnceLock::new(),
            ending: OnceLock::new(),
            is_written: AtomicBool::new(false),
        }
    }

    /// Is told where the server answers because time is over: that may be from another thread, while code holds this one.
    pub(super) fn look_at_limit(self: &Arc<Self>, request: &Request) {
        let Some(limit) = request.extensions().get::<Arc<Limit>>() else { return };
        let entry = Arc::downgrade(self);
        let ending = move || {
            let entry = entry.upgrade()?;
            Some(Ending::new(move |end| {
                let _ = entry.own.set(Limit::own_answer());
                entry.ended(end);
                entry.write();
            }))
        };
        limit.name(&self.span, (request_id::REQUEST_ID.clone(), self.head.id.clone()), ending);
    }

    /// The span of this request.
    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// The handler is dropped before it has answered, which may be because the server has.
    pub(super) fn left(&self) {
        if let Some(own) = dispatch::answered_instead() {
            let _ = self.instead.set(own);
        }
    }

    /// The response is known. It gets the request's id, unless it has one, and says later how it ended.
    pub(super) fn answered(self: Arc<Self>, mut response: Response) -> Response {
        // One that nobody is there to read is none. [ERR-12]
        if !dispatch::is_unanswerable(&response) && !self.is_left_behind() {
            let _ = self.status.set(response.status().as_u16());
        }
        if let Some(route) = response.extensions().get::<Route>() {
            let _ = self.route.set(route.clone());
        }
        if let Some(own) = response.extensions().get::<OwnAnswer>() {
            let _ = self.own.set(own.clone());
            self.find_route();
        }
        // What is refused has none, wherever that is found out.
        if self.own.get().is_none_or(|own| own.rejection().is_none()) {
            response.headers_mut().entry(&request_id::REQUEST_ID).or_insert_with(|| self.head.id.clone());
        }
        let has_length = response.headers().contains_key(header::CONTENT_LENGTH);
        let entry = self;
        let told = entry.clone();
        response.extensions_mut().insert(Ending::new(move |end| told.ended(end)));
        response.map(|body| {
            let (span, told) = (entry.span.clone(), entry.clone());
            let body = body.in_span(span).on_finish(move |outcome, octets| entry.finished(outcome, octets));
            // What is there fails by a length that is not its own alone.
            let may_fail = !body.is_full() || has_length;
            if may_fail { body.on_failure(move |error| told.failed(error)) } else { body }
        })
    }

    /// The handler that was to answer has ended without.
    fn find_route(&self) {
        if let Some(route) = self.environ.route_left() {
            let _ = self.route.set(route);
        }
    }

    /// The server is done with the response's body.
    fn finished(&self, outcome: Outcome, octets: u64) {
        // Each is said once.
        let _ = self.body.set((outcome, octets));
        if let Some(own) = dispatch::answered_instead() {
            let _ = self.instead.set(own);
        }
    }

    /// The response is broken off by `error`.
    fn failed(&self, error: &Error) {
        if self.format == Format::Json {
            let _ = self.failure.set(error.to_string());
        }
    }

    /// The server is done with the request.
    fn ended(&self, end: End) {
        let _ = self.ending.set((end, self.environ.received_at().elapsed()));
    }

    /// Whether the server has given its connection up.
    pub(super) fn is_left_behind(&self) -> bool {
        self.environ.broken_off().is_some()
    }

    /// Writes the line, if nobody has.
    pub(super) fn write(&self) {
        if self.is_written.swap(true, Ordering::Relaxed) {
            return;
        }
        // [LIM-09] who answered matters: the client still waited
        let dropped = || self.body.get().is_none().then(dispatch::answered_instead).flatten();
        let instead = self.instead.get().cloned().or_else(dropped);
        if let Some(rejection) = instead.as_ref().or(self.own.get()).and_then(OwnAnswer::rejection) {
            return self.write_refused(rejection);
        }
        let (how, status, bytes, took) = match self.ending.get() {
            Some((End { how, status, sent, .. }, took)) => (*how, status.map(|status| status.as_u16()), *sent, *took),
            None => {
                let (how, status, bytes) = self.seen(instead.as_ref());
                (how, status, bytes, self.environ.received_at().elapsed())
            }
        };
        span::named(&self.span, known_method(&self.head.method), self.route.get());
        span::answered(&self.span, status);
        let status = status.unwrap_or(CLIENT_CLOSED_REQUEST);
        tracing::info!(
            target: super::TARGET,
            parent: &self.span,
            status,
            bytes,
            complete = how == RequestEnd::Complete,
            elapsed_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "answered"
        );
        if let Some(lines) = &self.lines {
            let read = self.read.as_ref().map_or(0, |read| read.load(Ordering::Relaxed));
            let why = match how {
                RequestEnd::Failed => self.failure.get().map(String::as_str),
                RequestEnd::TimedOut => Some(STALLED),
                RequestEnd::Complete => instead.as_ref().or(self.own.get()).map(OwnAnswer::reason),
                _ => None,
            };
            let took = Some(took);
            lines.send(self.head.line(self.format, &Ended { status, read, bytes, took, how: how.name(), why }));
        }
    }

    /// How it ended, where nobody has told that: status and octets of the body, too. `instead` is what the server has answered.
    fn seen(&self, instead: Option<&OwnAnswer>) -> (RequestEnd, Option<u16>, u64) {
        let is_head = self.head.method == Method::HEAD;
        if let Some(own) = instead {
            let body = Response::from(own.clone()).into_body();
            return (
                RequestEnd::Complete,
                Some(own.status().as_u16()),
                if is_head { 0 } else { body.len().unwrap_or(0) },
            );
        }
        let (outcome, bytes) = self.body.get().copied().unwrap_or((Outcome::Aborted, 0));
        let status = self.status.get().copied();
        // A body that must not be sent is dropped unpulled, and nothing is missing from the response then.
        let bodiless = is_head || matches!(status, Some(204 | 205 | 304));
        let how = match self.environ.broken_off() {
            _ if status.is_some() && (bodiless || outcome == Outcome::Complete) => RequestEnd::Complete,
            Some(how) => how,
            None if status.is_none() => RequestEnd::ClientGone,
            None => RequestEnd::Failed,
        };
        (how, status, bytes)
    }

    /// As [`refused`], of one that the server has refused behind its call.
    #[cold]
    fn write_refused(&self, rejection: &Rejection) {
        let Rejection { status, reason, requirement, .. } = *rejection;
        let status = status.as_u16();
        let bytes = if self.head.method == Method::HEAD { 0 } else { reason.len() as u64 };
        span::named(&self.span, known_method(&self.head.method), self.route.get());
        span::answered(&self.span, Some(status));
        tracing::info!(target: super::TARGET, parent: &self.span, status, bytes, requirement, reason, "refused");
        if let Some(lines) = &self.lines {
            let read = self.read.as_ref().map_or(0, |read| read.load(Ordering::Relaxed));
            let how = RequestEnd::Refused.name();
            lines.send(self.head.line(self.format, &Ended { status, read, bytes, took: None, how, why: Some(reason) }));
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.status.get().is_none() {
            self.find_route();
        }
        self.write();
    }
}

fn agent(headers: &HeaderMap) -> [Option<HeaderValue>; 2] {
    [header::REFERER, header::USER_AGENT].map(|name| headers.get(name).cloned())
}

/// The line and the event of a request the server answered by itself.
pub(super) fn refused(refused: &Refused<'_>, format: Format, lines: Option<&Queue>) {
    let rejection = refused.rejection();
    let id = request_id::of_refused(refused);
    let mut asked = String::new();
    line::escape(&mut asked, refused.line().as_deref().unwrap_or(b"-"));
    tracing::info!(
        target: super::TARGET,
        status = rejection.status.as_u16(),
        bytes = refused.bytes(),
        peer = %Peer(refused.peer()),
        request = %asked,
        request_id = id,
        requirement = rejection.requirement,
        reason = rejection.reason,
        "refused"
    );
    if let Some(lines) = lines {
        lines.send(line::refused(format, refused, id));
    }
}

/// The line of a TLS handshake that has failed; the event is the server's.
pub(super) fn handshake(connection: ConnectionInfo, why: &dyn fmt::Display, format: Format, lines: Option<&Queue>) {
    if let Some(lines) = lines {
        lines.send(line::handshake(format, connection.peer, why));
    }
}

/// Address and port, `-` for Unix-domain sockets.
struct Peer(Option<SocketAddr>);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(peer) => peer.fmt(f),
            None => f.write_str("-"),
        }
    }
}
