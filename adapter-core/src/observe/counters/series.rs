//! Requests that are alike, counted together: found without a lock, made when the first one ends.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode, Version};

use super::CounterPlace;
use super::histogram::{Histogram, HistogramSnapshot, add};
use super::snapshot::RequestsSnapshot;
use crate::observe::{METHODS, OTHER, RequestEnd, method_number, scheme};

/// Places for [`Series`], a power of two. Those that find none are counted without their route, and then as one.
pub(super) const PLACES: usize = 2048;
/// Places that are looked at for one.
const PROBES: usize = 16;

/// All the series.
pub(super) struct Requests {
    places: Box<[OnceLock<Series>; PLACES]>,
    /// Requests for which there is no series.
    others: AtomicU64,
    /// Into how many parts each is divided, a power of two.
    parts: usize,
}

/// Requests that are alike.
struct Series {
    key: Key,
    route: Option<Box<str>>,
    parts: Box<[Part]>,
}

/// The part of a series that one thread counts in.
#[derive(Default)]
#[repr(align(64))]
struct Part {
    durations: Histogram,
    /// Octets of response bodies, of requests that were over [at once](Key::at_once).
    sent: AtomicU64,
}

impl Part {
    #[inline]
    fn record_at_once(&self, took: Duration, sent: u64) {
        self.durations.record(took.into());
        add(&self.sent, sent);
    }
}

impl Requests {
    pub(super) fn new(parts: usize) -> Self {
        let places: Box<[_]> = (0..PLACES).map(|_| OnceLock::new()).collect();
        let places = places.try_into().ok().expect("invariant: there are so many");
        Requests { places, others: AtomicU64::new(0), parts }
    }

    /// One more without a route, that was over at once, `took` so long and sent so many octets; `false` where there is no room for it.
    #[inline]
    pub(super) fn record_at_once(&self, key: Key, place: CounterPlace, took: Duration, sent: u64) -> bool {
        let key = key.at_once();
        // Most are in their first place; and none of these has a route.
        let Some(series) = self.places[key.place()].get().filter(|series| series.key == key) else {
            return self.record_elsewhere(key, place, took, sent);
        };
        series.part(place).map(|part| part.record_at_once(took, sent)).is_some()
    }

    #[cold]
    #[inline(never)]
    fn record_elsewhere(&self, key: Key, place: CounterPlace, took: Duration, sent: u64) -> bool {
        let part = self.series(key, None).and_then(|series| series.part(place));
        part.map(|part| part.record_at_once(took, sent)).is_some()
    }

    /// One more, that may have a `route`.
    #[inline(never)]
    pub(super) fn record_routed(&self, key: Key, route: Option<&str>, place: CounterPlace, took: Duration) {
        let series = self.series(key, route).or_else(|| self.series(key, None));
        match series.and_then(|series| series.part(place)) {
            Some(part) => part.durations.record(took.into()),
            None => add(&self.others, 1),
        }
    }

    /// The series of `key` and `route`, made if there is none; `None` where there is no room.
    #[inline(never)]
    fn series(&self, key: Key, route: Option<&str>) -> Option<&Series> {
        // FNV-1a: short, and an application's routes are no enemies.
        let octets = route.unwrap_or_default().bytes();
        let place = octets.fold(key.place(), |hash, octet| (hash ^ usize::from(octet)).wrapping_mul(0x0100_0193));
        (0..PROBES).find_map(|probe| {
            let place = self.places.get(place.wrapping_add(probe) & (PLACES - 1))?;
            // Another thread may make another one here meanwhile.
            let series = place.get().unwrap_or_else(|| place.get_or_init(|| Series::new(key, route, self.parts)));
            series.is(key, route).then_some(series)
        })
    }

    /// Each series, and how many requests are in none.
    pub(super) fn snapshot(&self) -> (Vec<RequestsSnapshot>, u64) {
        let mut all: Vec<RequestsSnapshot> = Vec::new();
        for series in self.places.iter().filter_map(OnceLock::get) {
            let one = series.snapshot();
            // Over at once or not is of no interest to who reads it.
            match all.iter_mut().find(|other| other.is_alike(&one)) {
                Some(other) => other.durations.add(&one.durations),
                None => all.push(one),
            }
        }
        (all, self.others.load(Ordering::Relaxed))
    }

    /// What those that were over at once took, and what they sent.
    pub(super) fn at_once(&self) -> (HistogramSnapshot, u64) {
        let parts = || {
            let series = self.places.iter().filter_map(OnceLock::get).filter(|series| series.key.is_at_once());
            series.flat_map(|series| &series.parts)
        };
        let sent = parts().map(|part| part.sent.load(Ordering::Relaxed)).sum();
        (HistogramSnapshot::of(parts().map(|part| &part.durations)), sent)
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

    #[inline]
    fn part(&self, place: CounterPlace) -> Option<&Part> {
        self.parts.get(place.0)
    }

    fn snapshot(&self) -> RequestsSnapshot {
        RequestsSnapshot {
            method: self.key.method(),
            status: self.key.status(),
            version: self.key.version(),
            scheme: self.key.scheme(),
            route: self.route.as_deref().map(str::to_owned),
            how: self.key.how(),
            durations: HistogramSnapshot::of(self.parts.iter().map(|part| &part.durations)),
        }
    }
}

/// What makes requests alike, but for the route: method, status, version, scheme, and how they ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(u64);

impl Key {
    const AT_ONCE: u64 = 1 << 20;

    /// Of a request that has not ended yet.
    #[inline]
    pub(crate) fn begun(method: &Method, version: Version, is_https: bool) -> Self {
        let version = match version {
            Version::HTTP_10 => 0,
            Version::HTTP_2 => 2,
            _ => 1,
        };
        Key((method_number(method) as u64) << 10 | version << 14 | u64::from(is_https) << 16)
    }

    /// Of the same one, at its end.
    #[inline]
    pub(crate) fn ended(self, status: Option<StatusCode>, how: RequestEnd) -> Self {
        Key(self.0 | status.map_or(0, |status| u64::from(status.as_u16())) | (how as u64) << 17)
    }

    pub(super) fn status(self) -> Option<StatusCode> {
        StatusCode::from_u16((self.0 & 0x3ff) as u16).ok()
    }

    pub(super) fn method(self) -> &'static str {
        METHODS.get((self.0 >> 10 & 0xf) as usize).copied().unwrap_or(OTHER)
    }

    pub(super) fn version(self) -> &'static str {
        match self.0 >> 14 & 0b11 {
            0 => "1.0",
            2 => "2",
            _ => "1.1",
        }
    }

    pub(super) fn scheme(self) -> &'static str {
        scheme(self.0 >> 16 & 1 == 1)
    }

    /// Of one whose head went out with the last octet: the time to the first is that to the last.
    #[inline]
    fn at_once(self) -> Self {
        Key(self.0 | Self::AT_ONCE)
    }

    fn is_at_once(self) -> bool {
        self.0 & Self::AT_ONCE != 0
    }

    pub(super) fn how(self) -> RequestEnd {
        RequestEnd::ALL.get((self.0 >> 17 & 0b111) as usize).copied().unwrap_or(RequestEnd::Complete)
    }

    /// Where it is looked for first, without a route.
    #[inline]
    fn place(self) -> usize {
        (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize & (PLACES - 1)
    }
}
