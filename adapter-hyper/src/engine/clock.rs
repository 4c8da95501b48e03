//! The engine's time: nanoseconds since it was made, in which times are kept, compared and taken from each other.

use std::time::{Duration, Instant};

/// Reads the clock that [`Instant`] reads. Each turn of a connection does: on Linux without the detour by [`Instant`]'s arithmetic,
/// which takes longer than the clock itself.
#[derive(Debug)]
pub(super) struct Clock {
    origin: Instant,
    /// What the clock said then.
    #[cfg(target_os = "linux")]
    said: Option<u64>,
}

impl Clock {
    /// One that begins now.
    pub(super) fn new() -> Self {
        Clock {
            origin: Instant::now(),
            #[cfg(target_os = "linux")]
            said: monotonic(),
        }
    }

    /// Nanoseconds since its beginning; there is room for 584 years.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        #[cfg(target_os = "linux")]
        if let (Some(said), Some(says)) = (self.said, monotonic()) {
            return says.saturating_sub(said);
        }
        self.origin.elapsed().as_nanos() as u64
    }

    /// How long ago `time` was.
    #[inline]
    pub(super) fn since(&self, time: u64) -> Duration {
        Duration::from_nanos(self.now().saturating_sub(time))
    }

    /// When `time` is, for everybody else.
    #[inline]
    pub(super) fn instant(&self, time: u64) -> Instant {
        self.origin + Duration::from_nanos(time)
    }
}

/// The clock of [`Instant`], as std's documentation of it says.
#[cfg(target_os = "linux")]
#[inline]
fn monotonic() -> Option<u64> {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).ok()?;
    Some(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

#[cfg(test)]
mod tests {
    use super::Clock;
    use std::time::{Duration, Instant};

    #[test]
    fn it_is_the_clock_of_instants() {
        let clock = Clock::new();
        for _ in 0..1000 {
            let before = Instant::now();
            let now = clock.now();
            let after = Instant::now();
            // The origin was read in two steps.
            let slack = Duration::from_millis(100);
            assert!(clock.instant(now) + slack >= before && clock.instant(now) <= after + slack);
            assert!(clock.since(now) <= before.elapsed() + slack);
        }
    }

    #[test]
    fn it_never_goes_back() {
        let clock = Clock::new();
        let times: Vec<u64> = (0..1000).map(|_| clock.now()).collect();
        assert!(times.is_sorted());
        assert_eq!(clock.since(u64::MAX), Duration::ZERO);
    }
}
