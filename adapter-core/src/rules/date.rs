//! The Date field, rendered once a second per thread. \[RSP-06\] RFC 9110 §6.6.1

use std::cell::RefCell;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;

/// Length of an IMF-fixdate.
const LENGTH: usize = 29;

struct Cached {
    second: u64,
    text: [u8; LENGTH],
}

thread_local! {
    static CACHED: RefCell<Cached> = const { RefCell::new(Cached { second: 0, text: [0; LENGTH] }) };
}

/// Calls `use_it` with the current date as an IMF-fixdate, 29 bytes of ASCII.
pub fn with_now<T>(use_it: impl FnOnce(&[u8]) -> T) -> T {
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    CACHED.with_borrow_mut(|cached| {
        if cached.second != second || cached.text[0] == 0 {
            // 29 bytes are written to a slice of 29 for every date up to the year 9999.
            let _ = write!(&mut cached.text[..], "{}", httpdate::HttpDate::from(now));
            cached.second = second;
        }
        use_it(&cached.text)
    })
}

/// The current date as a field value.
pub fn header_value() -> HeaderValue {
    with_now(|text| HeaderValue::from_bytes(text).unwrap_or_else(|_| HeaderValue::from_static("")))
}

#[cfg(test)]
mod tests {
    #[test]
    fn is_a_date_of_today() {
        let value = super::header_value();
        let parsed = httpdate::parse_http_date(value.to_str().unwrap()).unwrap();
        assert!(parsed.elapsed().unwrap().as_secs() < 3);
    }
}
