//! The engine's time: nanoseconds since it was made, in which times are kept, compared and taken from each other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use adapter_core::sync;

/// How often the time of day is looked at.
const LOOK: u64 = 1_000_000_000;
/// hyper's text of a Date holds until the time of day is so much later.
const HOLDS: u64 = 1_000_000_000;

/// Reads the clock that [`Instant`] reads. Each turn of a connection does: on Linux without the detour by [`Instant`]'s arithmetic,
/// which takes longer than the clock itself.
#[derive(Debug)]
pub(super) struct Clock {
    origin: Instant,
    /// What the clock said then.
    #[cfg(all(target_os = "linux", not(adapter_model)))]
    said: Option<u64>,
    time_of_day: TimeOfDay,
}

/// Whether the time of day goes on. Threads that look at once may each see a part of it; the next look is a second away.
#[derive(Debug, Default)]
struct TimeOfDay {
    /// When it is looked at again.
    next: AtomicU64,
    /// The latest that was seen, in nanoseconds of the epoch.
    latest: AtomicU64,
    is_set_back: AtomicBool,
}

impl Clock {
    /// One that begins now.
    pub(super) fn new() -> Self {
        Clock {
            origin: sync::now(),
            #[cfg(all(target_os = "linux", not(adapter_model)))]
            said: monotonic(),
            time_of_day: TimeOfDay::default(),
        }
    }

    /// Nanoseconds since its beginning; there is room for 584 years.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        #[cfg(all(target_os = "linux", not(adapter_model)))]
        if let (Some(said), Some(says)) = (self.said, monotonic()) {
            return says.saturating_sub(said);
        }
        sync::now().saturating_duration_since(self.origin).as_nanos() as u64
    }

    /// How long ago `time` was.
    #[inline]
    pub(super) fn since(&self, time: u64) -> Duration {
        Duration::from_nanos(self.now().saturating_sub(time))
    }

    /// Whether the time of day was set back, and is not yet there again, so that hyper's text of it stands still. Machines start with a
    /// wrong clock, and it is set right when there is a network. `now` is about now; it is noticed within a second.
    #[inline]
    pub(super) fn is_set_back(&self, now: u64) -> bool {
        let it = &self.time_of_day;
        if now >= it.next.load(Relaxed) {
            it.next.store(now + LOOK, Relaxed);
            it.look(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64);
        }
        it.is_set_back.load(Relaxed)
    }

    /// When `time` is, for everybody else.
    #[inline]
    pub(super) fn instant(&self, time: u64) -> Instant {
        self.origin + Duration::from_nanos(time)
    }
}

impl TimeOfDay {
    /// It is `time`.
    #[cold]
    fn look(&self, time: u64) {
        let latest = self.latest.fetch_max(time, Relaxed);
        let was_set_back = time < latest || self.is_set_back.load(Relaxed) && time < latest + HOLDS;
        self.is_set_back.store(was_set_back, Relaxed);
    }
}

/// The clock of [`Instant`], as std's documentation of it says.
#[cfg(all(target_os = "linux", not(adapter_model)))]
#[inline]
fn monotonic() -> Option<u64> {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).ok()?;
    Some(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

#[cfg(test)]
mod tests {
    use super::{Clock, HOLDS, TimeOfDay};
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::{Duration, Instant};

    #[test]
    fn it_is_the_clock_of_instants() {
        let made = Instant::now();
        let clock = Clock::new();
        // Its origin was read in two steps.
        let slack = made.elapsed();
        for _ in 0..1000 {
            let before = Instant::now();
            let now = clock.now();
            let after = Instant::now();
            assert!(clock.instant(now) + slack >= before && clock.instant(now) <= after + slack);
            assert!(clock.since(now) <= before.elapsed() + slack);
        }
    }

    #[test]
    fn a_time_of_day_that_is_set_back_is_noticed_until_it_is_there_again() {
        let day = TimeOfDay::default();
        let looks = [
            (5, false),
            (9, false),
            (9, false),
            (3, true),
            (4, true),
            (9, true),
            (9 + HOLDS, false),
            (10 + HOLDS, false),
        ];
        for (time, is_set_back) in looks {
            day.look(time);
            assert_eq!(day.is_set_back.load(Relaxed), is_set_back, "at {time}");
        }
        assert!(!Clock::new().is_set_back(0));
    }

    #[test]
    fn it_never_goes_back() {
        let clock = Clock::new();
        let times: Vec<u64> = (0..1000).map(|_| clock.now()).collect();
        assert!(times.is_sorted());
        assert_eq!(clock.since(u64::MAX), Duration::ZERO);
    }
}
