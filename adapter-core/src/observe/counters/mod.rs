//! The observer that is built in: counts, and reads them out.
//!
//! Every thread counts in a shard of its own, with relaxed additions: no lock and no cache line that two threads write on the path
//! of a request. A request is counted in the [series](self::series) of its method, status and so on, which is made when the first one ends and
//! found without a lock after that. What each request costs is told without the detour by [`Observer`].

mod histogram;
mod series;
mod snapshot;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;

pub use self::histogram::{BOUNDS, HistogramSnapshot};
use self::histogram::{Histogram, add, nanos};
pub(crate) use self::series::Key;
use self::series::Requests;
pub use self::snapshot::{RequestsSnapshot, Snapshot};
use super::{ConnectionEnd, ConnectionInfo, Observer, RequestEnd, RequestEnded, RequestStarted, TimeLimit};
use crate::refused::Refused;
use crate::tls::TlsInfo;

/// Status codes of refusals, from 400 on.
const REFUSALS: usize = 200;

/// Counts what a server does. An [`Observer`]; one may be given to several servers, whose counts it adds up.
///
/// ```
/// use std::sync::Arc;
///
/// use adapter_core::ServerConfig;
/// use adapter_core::observe::Counters;
///
/// let counters = Arc::new(Counters::new());
/// let config = ServerConfig::default().observe(counters.clone());
/// // Start a server with it, and any time later:
/// assert_eq!(counters.snapshot().connections_open(), 0);
/// # let _ = config;
/// ```
pub struct Counters {
    shards: Box<[Shard]>,
    requests: Requests,
    refused: Box<[AtomicU64]>,
    draining: AtomicBool,
}

/// What one thread, or a few, have counted.
#[derive(Default)]
#[repr(align(128))]
struct Shard {
    opened: AtomicU64,
    closed: [AtomicU64; ConnectionEnd::ALL.len()],
    accept_failed: AtomicU64,
    handshakes: AtomicU64,
    resumed: AtomicU64,
    handshakes_failed: AtomicU64,
    started: AtomicU64,
    turned_away: AtomicU64,
    received: AtomicU64,
    /// Both without those that were over [at once](Counters::ended_at_once).
    sent: AtomicU64,
    to_first: Histogram,
    upgraded: AtomicU64,
    upgrades_ended: AtomicU64,
    websockets: AtomicU64,
    websockets_closed: AtomicU64,
    queued: AtomicU64,
    begun: AtomicU64,
    ran: AtomicU64,
    dropped: AtomicU64,
    waited: Histogram,
    ran_for: AtomicU64,
    timed_out: [AtomicU64; TimeLimit::ALL.len()],
    panics: AtomicU64,
}

/// The shard, and the part of each series, that one thread counts in, or a few. Of one [`Counters`] only.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CounterPlace(usize);

/// A request that has ended, and what is counted of it.
pub(crate) struct Ended<'a> {
    pub(crate) key: Key,
    pub(crate) route: Option<&'a str>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) to_first: Option<Duration>,
    pub(crate) to_last: Duration,
}

/// The number of this thread: threads that serve at once have different ones.
#[inline]
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    // A thread that ends is counted with others.
    NUMBER
        .try_with(|number| {
            if number.get() == usize::MAX {
                number.set(NEXT.fetch_add(1, Ordering::Relaxed) & (usize::MAX >> 1));
            }
            number.get()
        })
        .unwrap_or_default()
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl Counters {
    /// With all counts zero. Takes about 30 KiB, and a few KiB for each combination of method, status and so on that is met.
    pub fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(4, usize::from);
        // More than serve at once, so that two rarely share one.
        let shards = (threads * 2).next_power_of_two().min(64);
        Counters {
            shards: (0..shards).map(|_| Shard::default()).collect(),
            requests: Requests::new(shards),
            refused: (0..REFUSALS).map(|_| AtomicU64::new(0)).collect(),
            draining: AtomicBool::new(false),
        }
    }

    /// Where this thread counts.
    #[inline]
    fn place(&self) -> CounterPlace {
        // There are a power of two of them, and at least one.
        CounterPlace(thread_number() & (self.shards.len() - 1))
    }

    #[inline]
    fn shard(&self) -> &Shard {
        &self.shards[self.place().0]
    }

    /// A request begins. As [`request_started`](Observer::request_started), which needs more. Says where its end is best counted.
    #[inline]
    pub(crate) fn begun(&self) -> CounterPlace {
        let place = self.place();
        add(&self.shards[place.0].started, 1);
        place
    }

    /// A request without a route has ended, and the head of its response went out with the last octet, as most do.
    #[inline]
    pub(crate) fn ended_at_once(&self, key: Key, place: CounterPlace, received: u64, sent: u64, took: Duration) {
        if !self.requests.record_at_once(key, place, took, sent) {
            self.ended_late(key, received, sent, took);
        } else if received > 0 {
            add(&self.shard().received, received);
        }
    }

    /// The first of its kind, or one for which there is no room of its own.
    #[cold]
    #[inline(never)]
    fn ended_late(&self, key: Key, received: u64, sent: u64, took: Duration) {
        let (route, to_first, to_last) = (None, Some(took), took);
        self.ended(&Ended { key, route, received, sent, to_first, to_last });
    }

    /// A request has ended. As [`request_ended`](Observer::request_ended), which needs more.
    pub(crate) fn ended(&self, request: &Ended<'_>) {
        if request.key.how() == RequestEnd::Refused {
            self.refused(request.key.status());
            add(&self.shard().turned_away, 1);
            return;
        }
        let place = self.place();
        self.requests.record_routed(request.key, request.route, place, request.to_last);
        let shard = &self.shards[place.0];
        if let Some(to_first) = request.to_first {
            shard.to_first.record(to_first.into());
        }
        add(&shard.received, request.received);
        add(&shard.sent, request.sent);
    }

    fn refused(&self, status: Option<StatusCode>) {
        let place = status.and_then(|status| usize::from(status.as_u16()).checked_sub(400));
        if let Some(count) = place.and_then(|place| self.refused.get(place)) {
            add(count, 1);
        }
    }

    /// What has been counted so far. Other threads go on meanwhile: what belongs together may differ by the requests of a moment. Does
    /// not block.
    pub fn snapshot(&self) -> Snapshot {
        let total =
            |of: fn(&Shard) -> &AtomicU64| self.shards.iter().map(|shard| of(shard).load(Ordering::Relaxed)).sum();
        let histogram = |of: fn(&Shard) -> &Histogram| HistogramSnapshot::of(self.shards.iter().map(of));
        let listed =
            |of: &dyn Fn(&Shard) -> &AtomicU64| self.shards.iter().map(|shard| of(shard).load(Ordering::Relaxed)).sum();
        // What ends is read before what begins, so that no difference is below zero.
        let connections_closed =
            ConnectionEnd::ALL.iter().enumerate().map(|(n, why)| (*why, listed(&|shard| &shard.closed[n]))).collect();
        let (requests, requests_uncategorized) = self.requests.snapshot();
        let (at_once, sent_at_once) = self.requests.at_once();
        let mut to_first = histogram(|it| &it.to_first);
        to_first.add(&at_once);
        let requests_turned_away = total(|it| &it.turned_away);
        let requests_ended =
            requests.iter().map(|it| it.durations.count).sum::<u64>() + requests_uncategorized + requests_turned_away;
        let (upgrades_ended, websockets_closed) = (total(|it| &it.upgrades_ended), total(|it| &it.websockets_closed));
        let (blocking_ended, blocking_dropped) = (total(|it| &it.ran), total(|it| &it.dropped));
        let blocking_started = total(|it| &it.begun);
        Snapshot {
            connections_closed,
            requests_ended,
            requests_turned_away,
            upgrades_ended,
            websockets_closed,
            blocking_ended,
            blocking_dropped,
            blocking_started,
            connections_opened: total(|it| &it.opened),
            accepts_failed: total(|it| &it.accept_failed),
            handshakes: total(|it| &it.handshakes),
            handshakes_resumed: total(|it| &it.resumed),
            handshakes_failed: total(|it| &it.handshakes_failed),
            requests_started: total(|it| &it.started),
            requests,
            requests_uncategorized,
            refused: (400..)
                .zip(&self.refused)
                .map(|(status, count)| (status, count.load(Ordering::Relaxed)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            octets_received: total(|it| &it.received),
            octets_sent: total(|it| &it.sent) + sent_at_once,
            to_first,
            upgrades: total(|it| &it.upgraded),
            websockets: total(|it| &it.websockets),
            blocking_queued: total(|it| &it.queued),
            blocking_waited: histogram(|it| &it.waited),
            blocking_ran: Duration::from_nanos(total(|it| &it.ran_for)),
            timeouts: TimeLimit::ALL
                .iter()
                .enumerate()
                .map(|(n, limit)| (*limit, listed(&|shard| &shard.timed_out[n])))
                .collect(),
            panics: total(|it| &it.panics),
            is_draining: self.draining.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

impl Observer for Counters {
    fn connection_opened(&self, _: ConnectionInfo) {
        add(&self.shard().opened, 1);
    }

    fn connection_closed(&self, _: ConnectionInfo, why: ConnectionEnd) {
        add(&self.shard().closed[why as usize], 1);
    }

    fn accept_failed(&self, _: &io::Error) {
        add(&self.shard().accept_failed, 1);
    }

    fn handshake_done(&self, _: ConnectionInfo, tls: &TlsInfo) {
        let shard = self.shard();
        add(&shard.handshakes, 1);
        add(&shard.resumed, u64::from(tls.resumed));
    }

    fn handshake_failed(&self, _: ConnectionInfo, _: &dyn fmt::Display) {
        add(&self.shard().handshakes_failed, 1);
    }

    fn request_started(&self, _: &RequestStarted<'_>) {
        self.begun();
    }

    fn request_ended(&self, request: &RequestEnded<'_>) {
        let begun = Key::begun(request.method, request.version, request.scheme == "https");
        self.ended(&Ended {
            key: begun.ended(request.status, request.how),
            route: request.route,
            received: request.received,
            sent: request.sent,
            to_first: request.to_first,
            to_last: request.to_last,
        });
    }

    fn request_refused(&self, refused: &Refused<'_>) {
        self.refused(Some(refused.rejection().status));
    }

    fn upgraded(&self) {
        add(&self.shard().upgraded, 1);
    }

    fn upgrade_ended(&self) {
        add(&self.shard().upgrades_ended, 1);
    }

    fn websocket_opened(&self) {
        add(&self.shard().websockets, 1);
    }

    fn websocket_closed(&self, _: Option<u16>) {
        add(&self.shard().websockets_closed, 1);
    }

    fn blocking_queued(&self) {
        add(&self.shard().queued, 1);
    }

    fn blocking_started(&self, waited: Duration) {
        let shard = self.shard();
        shard.waited.record(waited.into());
        add(&shard.begun, 1);
    }

    fn blocking_ended(&self, run: Duration) {
        let shard = self.shard();
        add(&shard.ran_for, nanos(run));
        add(&shard.ran, 1);
    }

    fn blocking_dropped(&self) {
        add(&self.shard().dropped, 1);
    }

    fn timed_out(&self, limit: TimeLimit) {
        add(&self.shard().timed_out[limit as usize], 1);
    }

    fn panicked(&self, _: &'static str) {
        add(&self.shard().panics, 1);
    }

    fn drain_started(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
