//! The observer that is built in: counts, and reads them out.
//!
//! Every thread counts in a shard of its own, with relaxed additions: no lock and no cache line that two threads write on the path
//! of a request. A request is counted in the [`Series`] of its method, status and so on, which is made when the first one ends and
//! found without a lock after that.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::{StatusCode, Version};

use super::{
    ConnectionEnd, ConnectionInfo, METHODS, Observer, RequestEnd, RequestEnded, RequestStarted, TimeLimit,
    method_number, scheme,
};
use crate::refused::Refused;
use crate::tls::TlsInfo;

/// Where the buckets of a histogram end, in seconds, as the conventions of OpenTelemetry advise for the durations of requests. The
/// last one has no end.
pub const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// The same in nanoseconds.
const NANOS: [u64; 14] = [
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    7_500_000_000,
    10_000_000_000,
];
const BUCKETS: usize = BOUNDS.len() + 1;

/// Places for [`Series`], a power of two. Those that find none are counted without their route, and then as one.
const PLACES: usize = 2048;
/// Places that are looked at for one.
const PROBES: usize = 16;
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
    series: Box<[OnceLock<Series>]>,
    /// Requests for which there is no series.
    others: AtomicU64,
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
    ended: AtomicU64,
    received: AtomicU64,
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

/// A histogram of durations.
#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

/// The part of a series that one thread counts in.
#[derive(Default)]
#[repr(align(64))]
struct Part(Histogram);

/// Requests that are alike.
struct Series {
    key: Key,
    route: Option<Box<str>>,
    parts: Box<[Part]>,
}

#[inline]
fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Histogram {
    #[inline]
    fn record(&self, duration: Duration) {
        let nanos = duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()));
        let bucket = NANOS.iter().position(|bound| nanos <= *bound).unwrap_or(NANOS.len());
        if let Some(bucket) = self.buckets.get(bucket) {
            add(bucket, 1);
        }
        add(&self.nanos, nanos);
    }
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
            series: (0..PLACES).map(|_| OnceLock::new()).collect(),
            others: AtomicU64::new(0),
            refused: (0..REFUSALS).map(|_| AtomicU64::new(0)).collect(),
            draining: AtomicBool::new(false),
        }
    }

    #[inline]
    fn shard(&self) -> &Shard {
        // There are a power of two of them, and at least one.
        &self.shards[thread_number() & (self.shards.len() - 1)]
    }

    /// The series of `key` and `route`, made if there is none; `None` where there is no room.
    #[inline]
    fn series(&self, key: Key, route: Option<&str>) -> Option<&Series> {
        let hash = key.hash(route);
        (0..PROBES).find_map(|probe| {
            let place = self.series.get(hash.wrapping_add(probe) & (PLACES - 1))?;
            // Another thread may make another one here meanwhile.
            let series =
                place.get().unwrap_or_else(|| place.get_or_init(|| Series::new(key, route, self.shards.len())));
            series.is(key, route).then_some(series)
        })
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
        let (requests_ended, upgrades_ended, websockets_closed) =
            (total(|it| &it.ended), total(|it| &it.upgrades_ended), total(|it| &it.websockets_closed));
        let (blocking_ended, blocking_dropped) = (total(|it| &it.ran), total(|it| &it.dropped));
        let blocking_started = total(|it| &it.begun);
        Snapshot {
            connections_closed,
            requests_ended,
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
            requests: self.series.iter().filter_map(OnceLock::get).map(Series::snapshot).collect(),
            requests_uncategorized: self.others.load(Ordering::Relaxed),
            refused: (400..)
                .zip(&self.refused)
                .map(|(status, count)| (status, count.load(Ordering::Relaxed)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            octets_received: total(|it| &it.received),
            octets_sent: total(|it| &it.sent),
            to_first: histogram(|it| &it.to_first),
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

/// What makes requests alike, but for the route: method, status, version, scheme, and how they ended.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key(u64);

impl Key {
    #[inline]
    fn of(request: &RequestEnded<'_>) -> Self {
        let method = method_number(request.method);
        let version = match request.version {
            Version::HTTP_10 => 0,
            Version::HTTP_2 => 2,
            _ => 1,
        };
        let status = request.status.map_or(0, |status| u64::from(status.as_u16()));
        let https = u64::from(request.scheme == "https");
        Key(status | (method as u64) << 10 | version << 14 | https << 16 | (request.how as u64) << 17)
    }

    fn status(self) -> Option<StatusCode> {
        StatusCode::from_u16((self.0 & 0x3ff) as u16).ok()
    }

    fn method(self) -> &'static str {
        METHODS.get((self.0 >> 10 & 0xf) as usize).copied().unwrap_or("_OTHER")
    }

    fn version(self) -> &'static str {
        match self.0 >> 14 & 0b11 {
            0 => "1.0",
            2 => "2",
            _ => "1.1",
        }
    }

    fn scheme(self) -> &'static str {
        scheme(self.0 >> 16 & 1 == 1)
    }

    fn how(self) -> RequestEnd {
        RequestEnd::ALL.get((self.0 >> 17) as usize).copied().unwrap_or(RequestEnd::Complete)
    }

    #[inline]
    fn hash(self, route: Option<&str>) -> usize {
        // FNV-1a: short, and an application's routes are no enemies.
        let octets = route.unwrap_or_default().bytes();
        let hash = octets.fold(self.0 ^ 0xcbf2_9ce4_8422_2325, |hash, octet| {
            (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
        });
        let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as usize
    }
}

impl Series {
    #[cold]
    fn new(key: Key, route: Option<&str>, parts: usize) -> Self {
        Series { key, route: route.map(Into::into), parts: (0..parts).map(|_| Part::default()).collect() }
    }

    #[inline]
    fn is(&self, key: Key, route: Option<&str>) -> bool {
        self.key == key && self.route.as_deref() == route
    }

    fn snapshot(&self) -> RequestsSnapshot {
        RequestsSnapshot {
            method: self.key.method(),
            status: self.key.status(),
            version: self.key.version(),
            scheme: self.key.scheme(),
            route: self.route.as_deref().map(str::to_owned),
            how: self.key.how(),
            durations: HistogramSnapshot::of(self.parts.iter().map(|part| &part.0)),
        }
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
        add(&self.shard().started, 1);
    }

    #[inline]
    fn request_ended(&self, request: &RequestEnded<'_>) {
        let number = thread_number();
        let shard = &self.shards[number & (self.shards.len() - 1)];
        let key = Key::of(request);
        let series = self.series(key, request.route).or_else(|| self.series(key, None));
        match series.and_then(|series| series.parts.get(number & (series.parts.len() - 1))) {
            Some(part) => part.0.record(request.to_last),
            None => add(&self.others, 1),
        }
        if let Some(to_first) = request.to_first {
            shard.to_first.record(to_first);
        }
        if request.received > 0 {
            add(&shard.received, request.received);
        }
        add(&shard.sent, request.sent);
        add(&shard.ended, 1);
    }

    fn request_refused(&self, refused: &Refused<'_>) {
        let status = usize::from(refused.rejection().status.as_u16());
        if let Some(count) = status.checked_sub(400).and_then(|place| self.refused.get(place)) {
            add(count, 1);
        }
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
        shard.waited.record(waited);
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

/// What [`Counters`] have counted. Counts begin with the counters and only grow.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// Connections that were accepted.
    pub connections_opened: u64,
    /// Those that are closed, by the reason.
    pub connections_closed: Vec<(ConnectionEnd, u64)>,
    /// Attempts to accept one that failed.
    pub accepts_failed: u64,
    /// TLS handshakes that have succeeded.
    pub handshakes: u64,
    /// Those of them that went on with a session of before.
    pub handshakes_resumed: u64,
    /// TLS handshakes that have failed.
    pub handshakes_failed: u64,
    /// Requests the application was called with.
    pub requests_started: u64,
    /// Those that are over.
    pub requests_ended: u64,
    /// The same by what they have in common.
    pub requests: Vec<RequestsSnapshot>,
    /// Those for which there was no room in [`requests`](Self::requests).
    pub requests_uncategorized: u64,
    /// Requests that the server has answered by itself, by the status.
    pub refused: Vec<(u16, u64)>,
    /// Octets of request bodies.
    pub octets_received: u64,
    /// Octets of response bodies.
    pub octets_sent: u64,
    /// From the whole head of a request to that of its response.
    pub to_first: HistogramSnapshot,
    /// Connections and streams that applications took over.
    pub upgrades: u64,
    /// Those that are over.
    pub upgrades_ended: u64,
    /// WebSockets that were opened.
    pub websockets: u64,
    /// Those that are over.
    pub websockets_closed: u64,
    /// Blocking work that was accepted.
    pub blocking_queued: u64,
    /// That has begun.
    pub blocking_started: u64,
    /// That has ended.
    pub blocking_ended: u64,
    /// That never began, and never will.
    pub blocking_dropped: u64,
    /// How long it waited for a thread.
    pub blocking_waited: HistogramSnapshot,
    /// How long it ran, all in all.
    pub blocking_ran: Duration,
    /// Time limits that took effect.
    pub timeouts: Vec<(TimeLimit, u64)>,
    /// Panics of application code in this process.
    pub panics: u64,
    /// Whether the server drains.
    pub is_draining: bool,
}

impl Snapshot {
    /// Connections that are open.
    pub fn connections_open(&self) -> u64 {
        self.connections_opened.saturating_sub(self.connections_closed.iter().map(|(_, count)| count).sum())
    }

    /// Requests that are under way.
    pub fn requests_active(&self) -> u64 {
        self.requests_started.saturating_sub(self.requests_ended)
    }

    /// Connections and streams that applications have taken over.
    pub fn upgrades_open(&self) -> u64 {
        self.upgrades.saturating_sub(self.upgrades_ended)
    }

    /// WebSockets that are open.
    pub fn websockets_open(&self) -> u64 {
        self.websockets.saturating_sub(self.websockets_closed)
    }

    /// Blocking work that waits for a thread.
    pub fn blocking_waiting(&self) -> u64 {
        self.blocking_queued.saturating_sub(self.blocking_started + self.blocking_dropped)
    }

    /// Blocking work that runs.
    pub fn blocking_running(&self) -> u64 {
        self.blocking_started.saturating_sub(self.blocking_ended)
    }
}

/// Requests that are alike.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RequestsSnapshot {
    /// The method, as [`known_method`](super::known_method) names it.
    pub method: &'static str,
    /// The status; `None` for those without a response.
    pub status: Option<StatusCode>,
    /// The version of HTTP: `1.0`, `1.1` or `2`.
    pub version: &'static str,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The route, where the application has named it.
    pub route: Option<String>,
    /// How they ended.
    pub how: RequestEnd,
    /// How long they took, to the last octet.
    pub durations: HistogramSnapshot,
}

/// A histogram of durations.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct HistogramSnapshot {
    /// How many are in each bucket: up to each of [`BOUNDS`], and above the last.
    pub buckets: Vec<u64>,
    /// All of them.
    pub count: u64,
    /// All of them added up.
    pub sum: Duration,
}

impl HistogramSnapshot {
    fn of<'a>(parts: impl Iterator<Item = &'a Histogram>) -> Self {
        let (mut buckets, mut sum) = (vec![0; BUCKETS], 0_u64);
        for part in parts {
            for (all, bucket) in buckets.iter_mut().zip(&part.buckets) {
                *all += bucket.load(Ordering::Relaxed);
            }
            sum = sum.saturating_add(part.nanos.load(Ordering::Relaxed));
        }
        HistogramSnapshot { count: buckets.iter().sum(), buckets, sum: Duration::from_nanos(sum) }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn request<'a>(method: &'a Method, status: u16, route: Option<&'a str>, millis: u64) -> RequestEnded<'a> {
        RequestEnded {
            method,
            version: Version::HTTP_11,
            scheme: "http",
            route,
            status: StatusCode::from_u16(status).ok(),
            received: 1,
            sent: 2,
            to_first: Some(Duration::from_millis(millis)),
            to_last: Duration::from_millis(millis),
            how: RequestEnd::Complete,
        }
    }

    #[test]
    fn requests_are_counted_by_what_they_have_in_common() {
        let counters = Counters::new();
        let odd = Method::from_bytes(b"BREW").unwrap();
        for millis in [1, 5, 6, 20_000] {
            counters.request_ended(&request(&Method::GET, 200, None, millis));
        }
        counters.request_ended(&request(&Method::GET, 200, Some("/x"), 1));
        counters.request_ended(&request(&odd, 418, None, 1));
        let snapshot = counters.snapshot();
        let mut found: Vec<_> = snapshot
            .requests
            .iter()
            .map(|it| (it.method, it.status.map(|it| it.as_u16()), it.route.as_deref(), it.durations.count))
            .collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [("GET", Some(200), None, 4), ("GET", Some(200), Some("/x"), 1), ("_OTHER", Some(418), None, 1)]
        );
        let plain = snapshot.requests.iter().find(|it| it.durations.count == 4).unwrap();
        assert_eq!(plain.durations.buckets[..2], [2, 1]);
        assert_eq!(plain.durations.buckets[14], 1);
        assert_eq!(plain.durations.sum, Duration::from_millis(20_012));
        assert_eq!((snapshot.octets_received, snapshot.octets_sent, snapshot.requests_ended), (6, 12, 6));
    }

    #[test]
    fn threads_count_apart_and_are_added_up() {
        let counters = Counters::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counters.request_started(&started(&Request::default()));
                        counters.request_ended(&request(&Method::GET, 200, Some("/a"), 1));
                    }
                });
            }
        });
        let snapshot = counters.snapshot();
        assert_eq!((snapshot.requests_started, snapshot.requests_ended, snapshot.requests_active()), (8000, 8000, 0));
        assert_eq!(snapshot.requests.iter().map(|it| it.durations.count).sum::<u64>(), 8000);
    }

    type Request = http::Request<()>;

    #[derive(Debug)]
    struct Nothing;

    impl crate::observe::StartedFacts for Nothing {
        fn is_https(&self) -> bool {
            false
        }

        fn peer(&self) -> Option<std::net::SocketAddr> {
            None
        }
    }

    fn started(request: &Request) -> RequestStarted<'_> {
        RequestStarted::new(request.into(), &Nothing)
    }

    #[test]
    fn more_routes_than_there_is_room_for_are_counted_all_the_same() {
        let counters = Counters::new();
        for route in 0..3 * PLACES {
            counters.request_ended(&request(&Method::GET, 200, Some(&format!("/{route}")), 1));
        }
        let snapshot = counters.snapshot();
        let counted: u64 = snapshot.requests.iter().map(|it| it.durations.count).sum();
        assert_eq!(counted + snapshot.requests_uncategorized, 3 * PLACES as u64);
        assert!(snapshot.requests.len() <= PLACES);
    }

    #[test]
    fn keys_keep_what_is_in_them() {
        for how in RequestEnd::ALL {
            for (status, version) in [(200, Version::HTTP_10), (599, Version::HTTP_2), (999, Version::HTTP_11)] {
                let ended = RequestEnded { how: *how, version, ..request(&Method::TRACE, status, None, 1) };
                let key = Key::of(&ended);
                assert_eq!(
                    (key.method(), key.status(), key.scheme(), key.how()),
                    ("TRACE", ended.status, "http", *how)
                );
                assert_eq!(
                    key.version(),
                    match version {
                        Version::HTTP_10 => "1.0",
                        Version::HTTP_2 => "2",
                        _ => "1.1",
                    }
                );
            }
        }
    }
}
