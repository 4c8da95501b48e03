//! A request as the observers see it, from the call of the application to the last octet of the response. \[OBS-04\] to \[OBS-06\]

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::{Extensions, Method, StatusCode, Version};

use crate::environ::{Connection, Environ};
use crate::instead::OwnAnswer;
use crate::observe::{
    CounterPlace, End, Ended, Ending, Head, Key, RequestEnd, RequestEnded, RequestStarted, Route, StartedFacts as _,
    left, scheme,
};

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
    /// Of the response.
    status: Option<StatusCode>,
    /// How long after the beginning the response's head was there; `None` where it goes out with the last octet.
    to_first: Option<Duration>,
    /// Where [`Counters`](crate::observe::Counters) count it.
    place: CounterPlace,
    route: Option<Route>,
    ending: Option<Ending>,
    received: u64,
    /// As `received`, where another reads them.
    meter: Option<Meter>,
    sent: u64,
    /// How it ends, where that is known before.
    how: Option<RequestEnd>,
    /// There is more to tell of it than to most: others than `Counters` want to know, it has a route, an ending or a meter, or has
    /// failed.
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
            it.place = counters.begun();
            it.key = Key::begun(head.method, head.version, environ.is_https());
        }
        it.began = now;
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
            status: None,
            to_first: None,
            place: CounterPlace::default(),
            route: None,
            ending: None,
            received: 0,
            meter: None,
            sent: 0,
            how: None,
            special: false,
        })
    }

    /// The application has answered, with these extensions, which may name the [`Route`] and somebody who asks for the [`Ending`]; or the
    /// server has in its place.
    #[inline(always)]
    pub fn extended(&mut self, extensions: &Extensions) {
        // As most are.
        if !extensions.is_empty() {
            self.extended_by(extensions);
        }
    }

    #[inline(never)]
    fn extended_by(&mut self, extensions: &Extensions) {
        (self.route, self.ending) = (extensions.get().cloned(), extensions.get().cloned());
        if self.route.is_none() && extensions.get::<OwnAnswer>().is_some() {
            self.look_for_route();
        }
        self.special |= self.route.is_some() || self.ending.is_some();
        if OwnAnswer::refuses(extensions) {
            self.refused();
        }
    }

    /// The handler that had it may have ended without an answer.
    #[cold]
    fn look_for_route(&mut self) {
        self.route = self.connection.as_ref().and_then(|it| left(it.request(self.began)));
    }

    /// There is no thread for what blocks of it, and no place to wait for one: the server answers that, whatever becomes of the answer.
    /// \[OBS-07\]
    #[cold]
    pub fn refused(&mut self) {
        (self.how, self.special) = (Some(RequestEnd::Refused), true);
    }

    /// The head of the response is on its way, just `now`, and its body will follow.
    #[inline]
    pub fn answered(&mut self, status: StatusCode, now: Instant) {
        self.answered_after(status, now.saturating_duration_since(self.began));
    }

    /// [`answered`](Self::answered) for who counts the time from the [beginning](Self::begin) by itself.
    #[inline]
    pub fn answered_after(&mut self, status: StatusCode, after: Duration) {
        (self.status, self.to_first) = (Some(status), Some(after));
    }

    /// The response is whole, and goes out as one: the time to its head is that to its last octet, unless it [waits](Self::waits).
    #[inline]
    pub fn answered_at_once(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// The client takes its time for the response; as of `now`, its head is on its way.
    pub fn waits(&mut self, now: Instant) {
        self.waits_after(now.saturating_duration_since(self.began));
    }

    /// [`waits`](Self::waits) for who counts the time from the [beginning](Self::begin) by itself.
    pub fn waits_after(&mut self, after: Duration) {
        if self.status.is_some() {
            self.to_first.get_or_insert(after);
        }
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
        (self.how, self.special) = (Some(RequestEnd::Failed), true);
    }

    /// The same as [`failed`](Self::failed), because its client [is gone](super::is_disconnect). Does not block.
    pub fn left(&mut self) {
        (self.how, self.special) = (Some(RequestEnd::ClientGone), true);
    }

    /// The client has not taken the response in time, and its stream alone is given up: dropped then, it ends as that. Does not block. \[OBS-06\]
    pub fn timed_out(&mut self) {
        (self.how, self.special) = (Some(RequestEnd::TimedOut), true);
    }

    /// The last octet is with the operating system, just `now`. \[OBS-05\]
    #[inline]
    pub fn delivered(self: Box<Self>, now: Instant) {
        let after = now.saturating_duration_since(self.began);
        self.delivered_after(after);
    }

    /// [`delivered`](Self::delivered) for who counts the time from the [beginning](Self::begin) by itself. No earlier than its answer.
    #[inline]
    pub fn delivered_after(mut self: Box<Self>, after: Duration) {
        match self.status {
            // Most: nobody but `Counters` wants to know of it, and it went out in one piece.
            Some(status) if !self.special && self.to_first.is_none() => {
                let Some(connection) = self.connection.take() else { return };
                if let Some(counters) = connection.serving.observers.counters() {
                    let key = self.key.ended(Some(status), RequestEnd::Complete);
                    counters.ended_at_once(key, self.place, self.received, self.sent, after);
                }
            }
            _ => self.delivered_specially(after),
        }
        // For the next one.
        (self.status, self.received, self.sent) = (None, 0, 0);
        // Not on a thread that is about to end.
        let _ = SPARE.try_with(|spare| spare.set(Some(self)));
    }

    #[inline(never)]
    fn delivered_specially(&mut self, after: Duration) {
        let after = self.to_first.map_or(after, |at| at.max(after));
        // What was given up and has gone out all the same is whole.
        let how = self.how.filter(|how| *how != RequestEnd::TimedOut);
        self.tell(how.unwrap_or(RequestEnd::Complete), after);
        // What is a request's own goes now.
        (self.to_first, self.route, self.ending, self.meter, self.head) = (None, None, None, None, None);
        (self.how, self.special) = (None, false);
    }

    #[inline(never)]
    fn tell(&mut self, how: RequestEnd, to_last: Duration) {
        let Some(connection) = self.connection.take() else { return };
        let ended = Ended {
            key: self.key.ended(self.status, how),
            route: self.route.as_ref().map(Route::as_str),
            received: self.received + self.meter.as_ref().map_or(0, |meter| meter.0.load(Relaxed)),
            sent: self.sent,
            to_first: self.status.map(|_| self.to_first.unwrap_or(to_last)),
            to_last,
        };
        if let Some(counters) = connection.serving.observers.counters() {
            counters.ended(&ended);
        }
        self.tell_others(&connection, &ended, how);
        if let Some(ending) = self.ending.take() {
            ending.tell(End { how, status: self.status, sent: self.sent });
        }
    }

    fn tell_others(&self, connection: &Connection, ended: &Ended<'_>, how: RequestEnd) {
        let Some((method, version, is_https)) = &self.head else { return };
        let request = RequestEnded {
            method,
            version: *version,
            scheme: scheme(*is_https),
            route: ended.route,
            status: self.status,
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
        if self.status.is_none() && self.route.is_none() {
            self.look_for_route();
        }
        let Some(connection) = &self.connection else { return };
        let how = self.how.or_else(|| connection.broken_off()).unwrap_or(RequestEnd::ClientGone);
        let after = connection.serving.runtime.now().saturating_duration_since(self.began);
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
