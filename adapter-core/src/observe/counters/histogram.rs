//! Durations, counted in buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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

/// A histogram of durations.
#[derive(Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

/// A duration with its place in a histogram.
#[derive(Clone, Copy)]
pub(super) struct Sample {
    nanos: u64,
    bucket: usize,
}

impl From<Duration> for Sample {
    #[inline]
    fn from(duration: Duration) -> Self {
        let nanos = nanos(duration);
        Sample { nanos, bucket: NANOS.iter().position(|bound| nanos <= *bound).unwrap_or(NANOS.len()) }
    }
}

/// There is room for 584 years.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "nobody waits so long")]
pub(super) fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

#[inline]
pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Histogram {
    #[inline]
    pub(super) fn record(&self, sample: Sample) {
        if let Some(bucket) = self.buckets.get(sample.bucket) {
            add(bucket, 1);
        }
        add(&self.nanos, sample.nanos);
    }
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
    /// What is in `other`, too.
    pub(super) fn add(&mut self, other: &HistogramSnapshot) {
        for (all, bucket) in self.buckets.iter_mut().zip(&other.buckets) {
            *all += bucket;
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
    }

    pub(super) fn of<'a>(parts: impl Iterator<Item = &'a Histogram>) -> Self {
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
