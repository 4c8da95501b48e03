//! The Date field, rendered once a second per thread. \[RSP-06\] RFC 9110 §6.6.1

use std::cell::RefCell;
use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::HeaderValue;

/// Length of an IMF-fixdate.
const LENGTH: usize = 29;

struct Cached {
    /// Until when the text holds; `None` if there is no text yet.
    until: Option<Instant>,
    text: [u8; LENGTH],
    /// The same, once somebody has asked for it.
    value: Option<HeaderValue>,
}

thread_local! {
    static CACHED: RefCell<Cached> = const { RefCell::new(Cached { until: None, text: [0; LENGTH], value: None }) };
}

/// Calls `use_it` with the current date as an IMF-fixdate, 29 bytes of ASCII.
pub fn with_now<T>(use_it: impl FnOnce(&[u8]) -> T) -> T {
    with(Instant::now(), use_it)
}

/// [`with_now`] for who has just looked at the clock: `now` is the time of the call.
#[inline]
pub fn with<T>(now: Instant, use_it: impl FnOnce(&[u8]) -> T) -> T {
    with_cached(now, |cached| use_it(&cached.text))
}

#[inline]
fn with_cached<T>(now: Instant, use_it: impl FnOnce(&mut Cached) -> T) -> T {
    CACHED.with_borrow_mut(|cached| {
        if cached.until.is_none_or(|until| now >= until) {
            render(cached, now);
        }
        use_it(cached)
    })
}

#[cold]
fn render(cached: &mut Cached, now: Instant) {
    let date = SystemTime::now();
    let into_second = date.duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    // 29 bytes are written to a slice of 29 for every date up to the year 9999.
    let _ = write!(&mut cached.text[..], "{}", httpdate::HttpDate::from(date));
    cached.value = None;
    cached.until = now.checked_add(Duration::from_nanos(u64::from(1_000_000_000 - into_second)));
}

/// The current date as a field value, of which all of this second are clones.
pub fn header_value() -> HeaderValue {
    with_cached(Instant::now(), |cached| {
        let text = || HeaderValue::from_bytes(&cached.text).unwrap_or_else(|_| HeaderValue::from_static(""));
        cached.value.get_or_insert_with(text).clone()
    })
}

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, SystemTime, UNIX_EPOCH};

    #[test]
    fn is_rendered_again_in_the_next_second() {
        let seen = |at| super::with(at, <[u8]>::to_vec);
        let now = Instant::now();
        super::CACHED.with_borrow_mut(|cached| {
            cached.until = Some(now + Duration::from_millis(1));
            cached.text = [b'x'; super::LENGTH];
        });
        assert_eq!(seen(now), [b'x'; super::LENGTH]);
        assert_ne!(seen(now + Duration::from_millis(1)), [b'x'; super::LENGTH]);
        // As a field value, too.
        super::CACHED.with_borrow_mut(|cached| {
            cached.value = Some(http::HeaderValue::from_static("x"));
            cached.until = Some(now);
        });
        let value = super::header_value();
        super::CACHED.with_borrow(|cached| assert_eq!(value.as_bytes(), cached.text));
    }

    #[test]
    fn holds_for_the_rest_of_the_second_and_no_longer() {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let second = Duration::from_secs(1);
        super::CACHED.with_borrow_mut(|cached| {
            loop {
                let (before, now) = (clock(), Instant::now());
                super::render(cached, now);
                let (after, left) = (clock(), cached.until.unwrap() - now);
                // Not where another second has begun meanwhile.
                if before.as_secs() == after.as_secs() {
                    let rest = |at: Duration| second - Duration::from_nanos(at.subsec_nanos().into());
                    assert!(rest(after) <= left && left <= rest(before), "{left:?}");
                    break;
                }
            }
        });
    }

    #[test]
    fn is_a_date_of_today() {
        let value = super::header_value();
        let parsed = httpdate::parse_http_date(value.to_str().unwrap()).unwrap();
        assert!(parsed.elapsed().unwrap().as_secs() < 3);
    }
}
