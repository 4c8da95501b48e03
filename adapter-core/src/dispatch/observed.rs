//! A request as the observers see it, from the call of the application to the last octet of the response. \[OBS-04\] to \[OBS-06\]

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use http::{Extensions, Method, StatusCode, Version};

use crate::environ::{Connection, Environ};
use crate::observe::{ConnectionEnd, Head, RequestEnd, RequestEnded, RequestStarted, Route, StartedFacts as _, scheme};

thread_local! {
    /// One between two uses: most requests end where they began, before the next one begins.
    static SPARE: Cell<Option<Box<Observed>>> = const { Cell::new(None) };
}

/// A request whose end somebody wants to know. For server authors.
///
/// Made when the application is called, told of the response on its way, and [delivered](Self::delivered) at its end. Dropped before
/// that, it ends as a request whose client is gone; or as its connection does, where that [says](Connection::ends) something else.
#[derive(Debug)]
pub struct Observed {
    /// `None` once its end is told.
    connection: Option<Arc<Connection>>,
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
}

impl Observed {
    /// Tells the observers that a request begins, just `now`: before the application is called. `None` where there are none; in a box, so
    /// that nothing is moved about then. Does not block but as they do. \[OBS-04\]
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
        connection.serving.observers.tell(|one| one.request_started(&RequestStarted::new(head, environ)));
        let mut it = SPARE.try_with(Cell::take).ok().flatten().unwrap_or_else(|| Box::new(Self::ended(now)));
        it.is_https = environ.is_https();
        it.method.clone_from(head.method);
        it.version = head.version;
        it.began = now;
        it.connection = Some(connection);
        it
    }

    /// None that anybody asks for.
    fn ended(now: Instant) -> Self {
        Observed {
            connection: None,
            is_https: false,
            method: Method::GET,
            version: Version::HTTP_11,
            began: now,
            answered: None,
            route: None,
            received: 0,
            meter: None,
            sent: 0,
            failed: false,
        }
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
    pub fn delivered(mut self: Box<Self>, now: Instant) {
        let how = if self.failed { RequestEnd::Failed } else { RequestEnd::Complete };
        self.tell(how, now);
        // For the next one; what is a request's own goes now.
        self.answered = None;
        if self.route.is_some() || self.meter.is_some() {
            (self.route, self.meter) = (None, None);
        }
        (self.received, self.sent, self.failed) = (0, 0, false);
        // Not on a thread that is about to end.
        let _ = SPARE.try_with(|spare| spare.set(Some(self)));
    }

    fn tell(&mut self, how: RequestEnd, now: Instant) {
        let Some(connection) = self.connection.take() else { return };
        let to_last = now.saturating_duration_since(self.began);
        let to_first = match self.answered {
            // Most: it went out in one piece.
            Some((_, at)) if at == now => Some(to_last),
            answered => answered.map(|(_, at)| at.saturating_duration_since(self.began)),
        };
        let ended = RequestEnded {
            method: &self.method,
            version: self.version,
            scheme: scheme(self.is_https),
            route: self.route.as_ref().map(Route::as_str),
            status: self.answered.map(|(status, _)| status),
            received: self.received + self.meter.as_ref().map_or(0, |meter| meter.0.load(Relaxed)),
            sent: self.sent,
            to_first,
            to_last,
            how,
        };
        connection.serving.observers.tell(|one| one.request_ended(&ended));
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let Some(connection) = &self.connection else { return };
        let how = match connection.end() {
            _ if self.failed => RequestEnd::Failed,
            Some(ConnectionEnd::Stalled) => RequestEnd::TimedOut,
            Some(ConnectionEnd::Forced) => RequestEnd::Forced,
            _ => RequestEnd::ClientGone,
        };
        let now = connection.serving.runtime.now();
        self.tell(how, now);
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
