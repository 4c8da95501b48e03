//! How long to wait before another worker is started in place of one that ended.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// So long without an end, all is well again.
const WELL: Duration = Duration::from_secs(60);

/// Not at all the first time, then one second, and twice as long each time while workers keep ending.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    last: Option<(Instant, Duration)>,
}

impl Backoff {
    /// A worker ended at `now`: how long to wait.
    pub(super) fn ended(&mut self, now: Instant) -> Duration {
        let pause = match self.last {
            Some((at, pause)) if now.saturating_duration_since(at) < pause + WELL => (pause * 2).clamp(FIRST, LONGEST),
            _ => Duration::ZERO,
        };
        self.last = Some((now, pause));
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_half_a_minute_and_begin_anew_when_all_is_well() {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        let mut seconds = Vec::new();
        for _ in 0..8 {
            let pause = backoff.ended(now);
            seconds.push(pause.as_secs());
            now += pause + Duration::from_millis(10);
        }
        assert_eq!(seconds, [0, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(backoff.ended(now + WELL), Duration::ZERO);
    }
}
