//! How long a thread waits for a client that sends little. \[LIM-12\]
//!
//! Waiting spends time, and octets that come earn it: a client that sends at least the rate is waited for as long as it likes, one that
//! sends less runs out. It begins with a little, so that a body may be late, and can't save up more than a pause in the network takes.

use std::time::Duration;

/// What a body begins with.
const FIRST: u32 = 5_000_000;
/// What it can have at most.
const MOST: u32 = 60_000_000;

/// The time one body has left, and how it earns more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Octets a second; 0 asks for none.
    rate: u32,
    /// Microseconds.
    left: u32,
}

impl Pace {
    /// Waits as long as it takes.
    pub(super) const ANY: Pace = Pace { rate: 0, left: 0 };

    /// At least `rate` octets a second.
    pub(super) fn of(rate: Option<u32>) -> Self {
        rate.map_or(Pace::ANY, |rate| Pace { rate, left: FIRST })
    }

    /// For how long the next octets are waited for; `None`: as long as it takes.
    pub(super) fn left(&self) -> Option<Duration> {
        (self.rate > 0).then(|| Duration::from_micros(self.left.into()))
    }

    /// `octets` came after a wait.
    pub(super) fn came(&mut self, octets: usize, waited: Duration) {
        if self.rate > 0 {
            let spent = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
            let earned = (octets as u64).saturating_mul(1_000_000) / u64::from(self.rate);
            let left = u64::from(self.left).saturating_sub(spent).saturating_add(earned);
            self.left = left.min(MOST.into()) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn who_sends_the_rate_is_waited_for() {
        let mut pace = Pace::of(Some(240));
        for _ in 0..10_000 {
            assert!(pace.left().unwrap() >= SECOND);
            pace.came(240, SECOND);
        }
        assert_eq!(pace.left(), Some(5 * SECOND));
    }

    #[test]
    fn who_sends_less_runs_out() {
        let mut pace = Pace::of(Some(240));
        let mut waited = Duration::ZERO;
        while pace.left().unwrap() >= SECOND {
            pace.came(1, SECOND);
            waited += SECOND;
        }
        assert_eq!(waited, 5 * SECOND);
        pace.came(1, Duration::MAX);
        assert!(pace.left().unwrap() < SECOND);
    }

    #[test]
    fn nobody_saves_up_for_longer_than_a_minute() {
        let mut pace = Pace::of(Some(1));
        pace.came(usize::MAX, Duration::ZERO);
        assert_eq!(pace.left(), Some(60 * SECOND));
        let mut fast = Pace::of(Some(u32::MAX));
        fast.came(1 << 20, 2 * SECOND);
        assert!(fast.left().unwrap() < 4 * SECOND);
    }

    #[test]
    fn none_is_no_limit() {
        let mut pace = Pace::of(None);
        pace.came(0, Duration::MAX);
        assert_eq!(pace.left(), None);
    }
}
