//! Durations, sizes and `off` as people write them. Pure parsing.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Text that is not the value asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseValueError {
    expected: &'static str,
}

impl fmt::Display for ParseValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected)
    }
}

impl std::error::Error for ParseValueError {}

/// A duration: a number and `ms`, `s`, `m` or `h`; a number alone is seconds.
///
/// ```
/// use std::time::Duration;
/// use adapter_web::cli::Period;
///
/// assert_eq!("500ms".parse::<Period>()?.0, Duration::from_millis(500));
/// assert_eq!("1.5s".parse::<Period>()?.to_string(), "1500ms");
/// # Ok::<(), adapter_web::cli::ParseValueError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(pub Duration);

impl FromStr for Period {
    type Err = ParseValueError;

    fn from_str(text: &str) -> Result<Self, ParseValueError> {
        let error = ParseValueError { expected: "a duration like 500ms, 2s, 1m or 1h" };
        let (number, unit) = split(text);
        let nanos: u32 = match unit {
            "ms" => 1_000_000,
            "" | "s" | "m" | "h" => 1_000_000_000,
            _ => return Err(error),
        };
        let seconds_each = match unit {
            "m" => 60,
            "h" => 3600,
            _ => 1,
        };
        let (whole, fraction) = decimal(number).ok_or(error)?;
        let total = u128::from(whole) * u128::from(nanos) + u128::from(fraction) * u128::from(nanos) / FRACTION;
        let total = total * seconds_each;
        let seconds = u64::try_from(total / 1_000_000_000).map_err(|_| error)?;
        // The remainder of a division by a billion fits.
        Ok(Period(Duration::new(seconds, (total % 1_000_000_000) as u32)))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        // Whatever it is, it is read as the same again.
        match u64::try_from(self.0.as_millis()) {
            _ if nanos == 0 => write!(f, "{seconds}s"),
            Ok(millis) if nanos.is_multiple_of(1_000_000) => write!(f, "{millis}ms"),
            _ => write!(f, "{seconds}.{}s", format!("{nanos:09}").trim_end_matches('0')),
        }
    }
}

/// A number of bytes, with `k`, `m` or `g` for powers of 1024.
///
/// ```
/// use adapter_web::cli::Size;
///
/// assert_eq!("64k".parse::<Size>()?.0, 65_536);
/// assert_eq!(Size(1 << 30).to_string(), "1g");
/// # Ok::<(), adapter_web::cli::ParseValueError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = ParseValueError;

    fn from_str(text: &str) -> Result<Self, ParseValueError> {
        let error = ParseValueError { expected: "a size like 4096, 64k, 1m or 1g" };
        let (number, unit) = split(text);
        let shift = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            _ => return Err(error),
        };
        let (whole, fraction) = decimal(number).ok_or(error)?;
        if fraction != 0 {
            return Err(error);
        }
        whole.checked_mul(1 << shift).map(Size).ok_or(error)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = [(30, "g"), (20, "m"), (10, "k")]
            .into_iter()
            .find(|(shift, _)| self.0 != 0 && self.0.trailing_zeros() >= *shift);
        match unit {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A value, or `off` (also `none`) for no limit.
///
/// ```
/// use adapter_web::cli::{OrOff, Size};
///
/// assert_eq!("off".parse::<OrOff<Size>>()?, OrOff(None));
/// assert_eq!("1k".parse::<OrOff<Size>>()?, OrOff(Some(Size(1024))));
/// # Ok::<(), adapter_web::cli::ParseValueError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrOff<T>(pub Option<T>);

impl<T: FromStr> FromStr for OrOff<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text.eq_ignore_ascii_case("off") || text.eq_ignore_ascii_case("none") {
            return Ok(OrOff(None));
        }
        text.parse().map(|value| OrOff(Some(value)))
    }
}

impl<T: fmt::Display> fmt::Display for OrOff<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// The number in front and the unit behind it.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

/// A fraction is kept in billionths.
const FRACTION: u128 = 1_000_000_000;

/// `1`, `1.5`: the whole part and the billionths. No signs, no exponents, no spaces.
fn decimal(text: &str) -> Option<(u64, u32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    Some((whole.parse().ok()?, format!("{fraction:0<9}").parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let millis = |text: &str| text.parse::<Period>().ok().map(|period| period.0.as_millis());
        for (text, expected) in
            [("500ms", 500), ("2s", 2000), ("1m", 60_000), ("1h", 3_600_000), ("0", 0), ("7", 7000), ("0.25s", 250)]
        {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        for bad in ["", "s", "-1s", "1 s", "1d", "1e3", "1.s", ".5s", "1.2.3s", "99999999999999999999s", "1us", "NaN"] {
            assert_eq!(millis(bad), None, "{bad:?}");
        }
        assert!("18446744073709551615h".parse::<Period>().is_err(), "overflow is an error");
    }

    #[test]
    fn sizes() {
        let bytes = |text: &str| text.parse::<Size>().ok().map(|size| size.0);
        for (text, expected) in [("0", 0), ("4096", 4096), ("64k", 65_536), ("1M", 1 << 20), ("2GiB", 2 << 30)] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        for bad in ["", "k", "-1", "1.5k", "1t", "1 k", "18446744073709551615k"] {
            assert_eq!(bytes(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_printed_parses_to_the_same() {
        for size in [0, 1, 1023, 1024, 1536, 65_536, 1 << 30, u64::MAX] {
            assert_eq!(Size(size).to_string().parse(), Ok(Size(size)));
        }
        for millis in [0, 1, 999, 1000, 1500, 75_000] {
            let period = Period(Duration::from_millis(millis));
            assert_eq!(period.to_string().parse(), Ok(period));
            assert_eq!(OrOff(Some(period)).to_string().parse(), Ok(OrOff(Some(period))));
        }
        assert_eq!(OrOff::<Size>(None).to_string().parse(), Ok(OrOff::<Size>(None)));
        assert_eq!("NONE".parse(), Ok(OrOff::<Size>(None)));
    }
}
