//! One request on its way to the log.
//!
//! An entry writes itself exactly once: when the response body ends, or when it is dropped before that.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use adapter_core::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use adapter_core::observe::{ConnectionInfo, RequestEnd, Route, known_method};
use adapter_core::refused::Refused;
use adapter_core::{Environ, Outcome, Request, Response, dispatch};
use tracing::Span;

use super::line::{self, End, Head};
use super::{Format, request_id, span};
use crate::output::Queue;

/// What nginx logs when the client went away before there was a response.
const CLIENT_CLOSED_REQUEST: u16 = 499;

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
    /// `None` until there is a response.
    status: Option<u16>,
    ended: bool,
}

impl Entry {
    /// A request that has just arrived; it has an id from then on. Clones reference counts, not texts.
    pub(super) fn begin(request: &mut Request, environ: &Environ, format: Format, lines: Option<Queue>) -> Self {
        let id = request_id::of(request.headers_mut());
        let span = span::of(request, environ, &id);
        let read = (format == Format::Json).then(|| request.body_mut().count_read());
        let head = Head {
            peer: environ.peer_addr(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            agent: format.has_agent().then(|| agent(request.headers())),
            id,
            received: SystemTime::now(),
        };
        Entry { head, format, environ: environ.clone(), span, lines, read, status: None, ended: false }
    }

    /// The span of this request.
    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// The response head is known, and gets the request's id, unless it has one.
    pub(super) fn answered(mut self, response: &mut Response) -> Self {
        self.status = Some(response.status().as_u16());
        if let Some(route) = response.extensions().get::<Route>() {
            span::routed(&self.span, known_method(&self.head.method), route);
        }
        response.headers_mut().entry(&request_id::REQUEST_ID).or_insert_with(|| self.head.id.clone());
        self
    }

    /// The server is done with the response body.
    pub(super) fn end(mut self, outcome: Outcome, bytes: u64) {
        if let Some(status) = dispatch::answered_instead() {
            return self.write_instead(status);
        }
        // A body that must not be sent is dropped unpulled, and nothing is missing from the response then.
        let bodiless = self.head.method == Method::HEAD || matches!(self.status, Some(204 | 205 | 304));
        self.write(bodiless || outcome == Outcome::Complete, bytes);
    }

    /// The server answers with `status` and a text of its own.
    fn write_instead(&mut self, status: StatusCode) {
        self.status = Some(status.as_u16());
        let body = dispatch::failure(status).into_body();
        self.write(true, if self.head.method == Method::HEAD { 0 } else { body.len().unwrap_or(0) });
    }

    fn write(&mut self, complete: bool, bytes: u64) {
        self.ended = true;
        let (status, took) = (self.status.unwrap_or(CLIENT_CLOSED_REQUEST), self.environ.received_at().elapsed());
        span::answered(&self.span, self.status);
        tracing::info!(
            target: super::TARGET,
            parent: &self.span,
            status,
            bytes,
            complete,
            elapsed_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "answered"
        );
        if let Some(lines) = &self.lines {
            let how = match self.environ.broken_off() {
                _ if complete => RequestEnd::Complete,
                Some(how) => how,
                None if self.status.is_none() => RequestEnd::ClientGone,
                None => RequestEnd::Failed,
            };
            let how = how.name();
            let read = self.read.as_ref().map_or(0, |read| read.load(Ordering::Relaxed));
            lines.send(self.head.line(self.format, &End { status, read, bytes, took, how }));
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.ended {
            // [LIM-09] who answered matters: the client still waited
            match dispatch::answered_instead() {
                Some(status) => self.write_instead(status),
                None => self.write(false, 0),
            }
        }
    }
}

fn agent(headers: &HeaderMap) -> [Option<HeaderValue>; 2] {
    [header::REFERER, header::USER_AGENT].map(|name| headers.get(name).cloned())
}

/// The line and the event of a request the server answered by itself.
pub(super) fn refused(refused: &Refused<'_>, format: Format, lines: Option<&Queue>) {
    let rejection = refused.rejection();
    let mut asked = String::new();
    line::escape(&mut asked, refused.line().as_deref().unwrap_or(b"-"));
    tracing::info!(
        target: super::TARGET,
        status = rejection.status.as_u16(),
        bytes = refused.bytes(),
        peer = %Peer(refused.peer()),
        request = %asked,
        requirement = rejection.requirement,
        reason = rejection.reason,
        "refused"
    );
    if let Some(lines) = lines {
        lines.send(line::refused(format, refused));
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
