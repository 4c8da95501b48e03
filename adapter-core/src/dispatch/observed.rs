//! A request as the observers see it, from the call of the application to the last octet of the response. \[OBS-04\] to \[OBS-06\]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use http::{Extensions, Method, StatusCode, Version};

use crate::environ::{Connection, Environ};
use crate::observe::{ConnectionEnd, Head, RequestEnd, RequestEnded, RequestStarted, Route};

/// A request whose end somebody wants to know. For server authors.
///
/// Made when the application is called, told of the response on its way, and [delivered](Self::delivered) at its end. Dropped before
/// that, it ends as a request whose client is gone; or as its connection does, where that [says](Connection::ends) something else.
#[derive(Debug)]
pub struct Observed {
    connection: Arc<Connection>,
    /// What a trusted proxy says, if one does.
    is_https: bool,
    method: Method,
    version: Version,
    began: Instant,
    /// The time of the response's head.
    answered: Option<(StatusCode, Instant)>,
    route: Option<Route>,
    received: u64,
    /// As `received`, where another reads them.
    meter: Option<Meter>,
    sent: u64,
    failed: bool,
    /// The time of its end, once it has ended well.
    delivered: Option<Instant>,
}

impl Observed {
    /// Tells the observers that a request begins, just `now`: before the application is called. `None` where there are none; in a box, so that
    /// nothing is moved about then. Does not block but as they do. \[OBS-04\]
    #[inline]
    pub fn begin<'a>(environ: &Environ, head: impl Into<Head<'a>>, now: Instant) -> Option<Box<Self>> {
        if environ.connection().serving.observers.is_empty() {
            return None;
        }
        Some(Self::begun(environ, head.into(), now))
    }

    #[inline(never)]
    fn begun(environ: &Environ, head: Head<'_>, now: Instant) -> Box<Self> {
        let connection = environ.connection().clone();
        let scheme = environ.scheme();
        let started = RequestStarted::new(head, scheme, environ.peer_addr());
        connection.serving.observers.tell(|one| one.request_started(&started));
        Box::new(Observed {
            is_https: *scheme == http::uri::Scheme::HTTPS,
            method: head.method.clone(),
            version: head.version,
            began: now,
            answered: None,
            route: None,
            received: 0,
            meter: None,
            sent: 0,
            failed: false,
            delivered: None,
            connection,
        })
    }

    /// The application has answered, with these extensions, which may name the route.
    #[inline]
    pub fn routed(&mut self, extensions: &Extensions) {
        if !extensions.is_empty() {
            self.route = extensions.get::<Route>().cloned();
        }
    }

    /// The head of the response is on its way.
    #[inline]
    pub fn answered(&mut self, status: StatusCode, now: Instant) {
        self.answered = Some((status, now));
    }

    /// So many octets more of the request's body were read.
    #[inline]
    pub fn received(&mut self, octets: u64) {
        self.received += octets;
    }

    /// For who reads the request's body apart from this.
    pub fn meter(&mut self) -> Meter {
        self.meter.get_or_insert_default().clone()
    }

    /// So many octets more of the response's body are on their way.
    #[inline]
    pub fn sent(&mut self, octets: u64) {
        self.sent += octets;
    }

    /// The body has failed, and the response is broken off. \[OBS-06\]
    pub fn failed(&mut self) {
        self.failed = true;
    }

    /// The last octet is with the operating system. \[OBS-05\]
    #[inline]
    #[expect(clippy::boxed_local, reason = "it is in one already")]
    pub fn delivered(mut self: Box<Self>, now: Instant) {
        self.delivered = Some(now);
    }

    fn how(&self) -> RequestEnd {
        match self.connection.end() {
            _ if self.failed => RequestEnd::Failed,
            _ if self.delivered.is_some() => RequestEnd::Complete,
            Some(ConnectionEnd::Stalled) => RequestEnd::TimedOut,
            Some(ConnectionEnd::Forced) => RequestEnd::Forced,
            _ => RequestEnd::ClientGone,
        }
    }
}

/// Counts the octets of a request's body. For server authors; clones are the same count.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<AtomicU64>);

impl Meter {
    /// So many octets more were read.
    pub fn received(&self, octets: u64) {
        self.0.fetch_add(octets, Relaxed);
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let now = self.delivered.unwrap_or_else(|| self.connection.serving.runtime.now());
        let ended = RequestEnded {
            method: &self.method,
            version: self.version,
            scheme: if self.is_https { &http::uri::Scheme::HTTPS } else { &http::uri::Scheme::HTTP },
            route: self.route.as_ref().map(Route::as_str),
            status: self.answered.map(|(status, _)| status),
            received: self.received + self.meter.as_ref().map_or(0, |meter| meter.0.load(Relaxed)),
            sent: self.sent,
            to_first: self.answered.map(|(_, at)| at.saturating_duration_since(self.began)),
            to_last: now.saturating_duration_since(self.began),
            how: self.how(),
        };
        self.connection.serving.observers.tell(|one| one.request_ended(&ended));
    }
}
