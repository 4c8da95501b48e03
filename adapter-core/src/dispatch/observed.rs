//! A request as the observers see it, from the call of the application to the last octet of the response. \[OBS-04\] to \[OBS-06\]

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::{Extensions, Method, StatusCode, Version};

use crate::environ::{Connection, Environ};
use crate::observe::{Ended, Head, Key, RequestEnd, RequestEnded, RequestStarted, Route, StartedFacts as _, scheme};

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
    /// What is counted of its head.
    key: Key,
    /// What others than [`Counters`](crate::observe::Counters) want to know of it.
    head: Option<(Method, Version, bool)>,
    began: Instant,
    /// The status, and how long after the beginning the response's head was there.
    answered: Option<(StatusCode, Duration)>,
    /// An instant, and how long after the beginning it was.
    seen: (Instant, Duration),
    route: Option<Route>,
    received: u64,
    /// As `received`, where another reads them.
    meter: Option<Meter>,
    sent: u64,
    failed: bool,
    /// There is more to tell of it than to most: others than `Counters` want to know, it has a route, or a meter, or has failed.
    special: bool,
}

impl Observed {
    /// Tells the observers that a request begins, just `now`: before the application is called. `None` where there are none; in a box, so
    /// that nothing is moved about then. Does not block but as they do. \[OBS-04\]
    #[inline]
    pub fn begin<'a>(environ: &Environ, head: impl Into<Head<'a>>, now: Instant) -> Option<Box<Self>> {
        let connection = environ.connection();
        let observers = &connection.serving.observers;
        if observers.is_empty() {
            return None;
        }
        let mut it = SPARE.try_with(Cell::take).ok().flatten().unwrap_or_else(|| Self::fresh(now));
        let head = head.into();
        if let Some(counters) = observers.counters() {
            counters.begun();
            it.key = Key::begun(head.method, head.version, environ.is_https());
        }
        it.began = now;
        it.seen = (now, Duration::ZERO);
        it.connection = Some(connection.clone());
        if observers.has_others() {
            it.begin_for_others(environ, head);
        }
        Some(it)
    }

    #[inline(never)]
    fn begin_for_others(&mut self, environ: &Environ, head: Head<'_>) {
        environ.observers().tell_others(|one| one.request_started(&RequestStarted::new(head, environ)));
        self.head = Some((head.method.clone(), head.version, environ.is_https()));
        self.special = true;
    }

    /// None that anybody asks for.
    #[cold]
    fn fresh(now: Instant) -> Box<Self> {
        Box::new(Observed {
            connection: None,
            key: Key::begun(&Method::GET, Version::HTTP_11, false),
            head: None,
            began: now,
            answered: None,
            seen: (now, Duration::ZERO),
            route: None,
            received: 0,
            meter: None,
            sent: 0,
            failed: false,
            special: false,
        })
    }

    /// The application has answered, with these extensions, which may name the route.
    #[inline]
    pub fn routed(&mut self, extensions: &Extensions) {
        if !extensions.is_empty() {
            self.route = extensions.get::<Route>().cloned();
            self.special |= self.route.is_some();
        }
    }

    /// The head of the response is on its way, just `now`.
    #[inline]
    pub fn answered(&mut self, status: StatusCode, now: Instant) {
        let after = self.after(now);
        self.answered_after(status, after);
    }

    /// [`answered`](Self::answered) for who counts the time from the [beginning](Self::begin) by itself.
    #[inline]
    pub fn answered_after(&mut self, status: StatusCode, after: Duration) {
        self.answered = Some((status, after));
    }

    /// How long after its beginning that is. Most ask twice in one moment.
    #[inline]
    fn after(&mut self, now: Instant) -> Duration {
        if self.seen.0 != now {
            self.seen = (now, now.saturating_duration_since(self.began));
        }
        self.seen.1
    }

    /// So many octets more of the request's body were read.
    #[inline]
    pub fn received(&mut self, octets: u64) {
        self.received += octets;
    }

    /// For who reads the request's body apart from this.
    pub fn meter(&mut self) -> Meter {
        self.special = true;
        self.meter.get_or_insert_default().clone()
    }

    /// So many octets more of the response's body are on their way.
    #[inline]
    pub fn sent(&mut self, octets: u64) {
        self.sent += octets;
    }

    /// The body has failed, and the response is broken off. \[OBS-06\]
    pub fn failed(&mut self) {
        (self.failed, self.special) = (true, true);
    }

    /// The last octet is with the operating system, just `now`. \[OBS-05\]
    #[inline]
    pub fn delivered(mut self: Box<Self>, now: Instant) {
        let after = self.after(now);
        self.delivered_after(after);
    }

    /// [`delivered`](Self::delivered) for who counts the time from the [beginning](Self::begin) by itself. No earlier than its answer.
    pub fn delivered_after(mut self: Box<Self>, after: Duration) {
        match self.answered {
            // Most: nobody but `Counters` wants to know of it, and it went out in one piece.
            Some((status, at)) if !self.special && at >= after => {
                let Some(connection) = self.connection.take() else { return };
                if let Some(counters) = connection.serving.observers.counters() {
                    let key = self.key.ended(Some(status), RequestEnd::Complete);
                    counters.ended_at_once(key, self.received, self.sent, at);
                }
            }
            _ => {
                let after = self.answered.map_or(after, |(_, at)| at.max(after));
                self.tell(if self.failed { RequestEnd::Failed } else { RequestEnd::Complete }, after);
                // What is a request's own goes now.
                (self.route, self.meter, self.head) = (None, None, None);
                (self.failed, self.special) = (false, false);
            }
        }
        // For the next one.
        (self.answered, self.received, self.sent) = (None, 0, 0);
        // Not on a thread that is about to end.
        let _ = SPARE.try_with(|spare| spare.set(Some(self)));
    }

    #[inline(never)]
    fn tell(&mut self, how: RequestEnd, to_last: Duration) {
        let Some(connection) = self.connection.take() else { return };
        let ended = Ended {
            key: self.key.ended(self.answered.map(|(status, _)| status), how),
            route: self.route.as_ref().map(Route::as_str),
            received: self.received + self.meter.as_ref().map_or(0, |meter| meter.0.load(Relaxed)),
            sent: self.sent,
            to_first: self.answered.map(|(_, after)| after),
            to_last,
        };
        if let Some(counters) = connection.serving.observers.counters() {
            counters.ended(&ended);
        }
        self.tell_others(&connection, &ended, how);
    }

    fn tell_others(&self, connection: &Connection, ended: &Ended<'_>, how: RequestEnd) {
        let Some((method, version, is_https)) = &self.head else { return };
        let request = RequestEnded {
            method,
            version: *version,
            scheme: scheme(*is_https),
            route: ended.route,
            status: self.answered.map(|(status, _)| status),
            received: ended.received,
            sent: ended.sent,
            to_first: ended.to_first,
            to_last: ended.to_last,
            how,
        };
        connection.serving.observers.tell_others(|one| one.request_ended(&request));
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let Some(connection) = &self.connection else { return };
        let how = match self.failed {
            true => RequestEnd::Failed,
            false => connection.broken_off().unwrap_or(RequestEnd::ClientGone),
        };
        let now = connection.serving.runtime.now();
        let after = self.after(now);
        self.tell(how, after);
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
