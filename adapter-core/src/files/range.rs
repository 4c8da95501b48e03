//! Which parts of a file are asked for. RFC 9110 §14. No I/O.

use std::ops::Range;

use http::{HeaderMap, header};

/// Parts that are sent one by one at most; who asks for more gets the whole. RFC 9110 §14.2
const MOST: usize = 32;
/// A gap that is not worth a part of its own: about what stands between two. §15.3.7.2
const GAP: u64 = 80;

/// What a Range field asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parts {
    /// There is none, or one that does not count.
    Whole,
    /// These, at least one, none of them empty.
    Some(Vec<Range<u64>>),
    /// Nothing of what there is: 416.
    Unsatisfiable,
}

/// What `headers` ask for of `length` octets.
pub(super) fn parts(headers: &HeaderMap, length: u64) -> Parts {
    let mut fields = headers.get_all(header::RANGE).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return Parts::Whole };
    match field.to_str().ok().and_then(|set| read(set, length)) {
        // §14.2: a field that is malformed, or in a unit that is not known, is as none
        None => Parts::Whole,
        Some(parts) if parts.is_empty() => Parts::Unsatisfiable,
        Some(parts) => settle(parts, length),
    }
}

/// What of `set` there is, in its order; `None` where it is malformed.
fn read(set: &str, length: u64) -> Option<Vec<Range<u64>>> {
    let (unit, set) = set.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut parts = Vec::new();
    let mut has_any = false;
    for one in set.split(',').map(|one| one.trim_matches([' ', '\t'])).filter(|one| !one.is_empty()) {
        has_any = true;
        let (first, last) = one.split_once('-')?;
        let part = match (first, last) {
            // The last so many. §14.1.2: of nothing that is all there is, which no part can say.
            ("", last) if number(last)? > 0 && length == 0 => return None,
            ("", last) => length.saturating_sub(number(last)?)..length,
            (first, "") => number(first)?..length,
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if last < first {
                    return None;
                }
                first..last.saturating_add(1).min(length)
            }
        };
        if part.start < part.end {
            parts.push(part);
        }
    }
    has_any.then_some(parts)
}

/// Digits, however many: what is beyond a number is beyond any file.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Parts that overlap become one, and those that are too many the whole: a short request is not to make a long answer. RFC 9110 §17.15
fn settle(mut parts: Vec<Range<u64>>, length: u64) -> Parts {
    let touches = |one: &Range<u64>, other: &Range<u64>| {
        one.start <= other.end.saturating_add(GAP) && other.start <= one.end.saturating_add(GAP)
    };
    if parts.len() > MOST {
        return Parts::Whole;
    }
    // They are few.
    while let Some((first, second)) = (0..parts.len())
        .flat_map(|a| (a + 1..parts.len()).map(move |b| (a, b)))
        .find(|(a, b)| touches(&parts[*a], &parts[*b]))
    {
        let other = parts.remove(second);
        let one = &mut parts[first];
        *one = one.start.min(other.start)..one.end.max(other.end);
    }
    match parts.as_slice() {
        // As one part it is still a part: 206.
        [_] => Parts::Some(parts),
        several if several.iter().map(|part| part.end - part.start).sum::<u64>() >= length => Parts::Whole,
        _ => Parts::Some(parts),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(set: &str, length: u64) -> Parts {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, set.parse().unwrap());
        parts(&headers, length)
    }

    fn some(parts: &[(u64, u64)]) -> Parts {
        Parts::Some(parts.iter().map(|(start, end)| *start..*end).collect())
    }

    #[test]
    fn one_part() {
        for (set, expected) in [
            ("bytes=0-0", some(&[(0, 1)])),
            ("bytes=0-499", some(&[(0, 500)])),
            ("bytes=500-", some(&[(500, 1000)])),
            ("bytes=-1", some(&[(999, 1000)])),
            ("bytes=-5000", some(&[(0, 1000)])),
            ("bytes=999-2000", some(&[(999, 1000)])),
            ("bytes=0-99999999999999999999999", some(&[(0, 1000)])),
            ("Bytes=1-2", some(&[(1, 3)])),
            ("bytes= 1-2 , ,", some(&[(1, 3)])),
            ("bytes=1000-", Parts::Unsatisfiable),
            ("bytes=-0", Parts::Unsatisfiable),
            ("bytes=99999999999999999999999-", Parts::Unsatisfiable),
            ("bytes=2000-3000,-0", Parts::Unsatisfiable),
            ("bytes=2000-3000,1-2", some(&[(1, 3)])),
        ] {
            assert_eq!(of(set, 1000), expected, "{set}");
        }
        assert_eq!(of("bytes=0-0", 0), Parts::Unsatisfiable);
        assert_eq!(of("bytes=-0", 0), Parts::Unsatisfiable);
        assert_eq!(of("bytes=-1", 0), Parts::Whole);
    }

    #[test]
    fn what_is_malformed_counts_for_nothing() {
        for set in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=a-b",
            "bytes=1",
            "bytes=2-1",
            "bytes=-",
            "bytes=1-2-3",
            "bytes=+1-2",
            "bytes=1 -2",
            "bytes =1-2",
            " bytes=1-2x",
            "items=0-1",
            "bytes=0-1,x",
            "0-1",
        ] {
            assert_eq!(of(set, 1000), Parts::Whole, "{set}");
        }
        let mut twice = HeaderMap::new();
        twice.append(header::RANGE, "bytes=0-1".parse().unwrap());
        twice.append(header::RANGE, "bytes=5-6".parse().unwrap());
        assert_eq!(parts(&twice, 1000), Parts::Whole);
    }

    #[test]
    fn several_parts_keep_their_order_and_do_not_overlap() {
        assert_eq!(of("bytes=0-9,500-509", 1000), some(&[(0, 10), (500, 510)]));
        assert_eq!(of("bytes=500-509,0-9", 1000), some(&[(500, 510), (0, 10)]));
        assert_eq!(of("bytes=0-9,5-20", 1000), some(&[(0, 21)]));
        assert_eq!(of("bytes=0-9,12-20", 1000), some(&[(0, 21)]), "the gap costs less than a part");
        assert_eq!(of("bytes=0-,0-,0-", 1000), some(&[(0, 1000)]));
        let many: Vec<_> = (0..40).map(|n| format!("{}-{}", n * 200, n * 200 + 1)).collect();
        assert_eq!(of(&format!("bytes={}", many.join(",")), 10_000), Parts::Whole);
    }

    proptest! {
        /// The answer is never longer than the file, and its parts lie within it, apart from each other.
        #[test]
        fn never_more_than_there_is(set in "bytes=[-,0-9]{0,40}", length in 0_u64..2000) {
            if let Parts::Some(parts) = of(&set, length) {
                prop_assert!(!parts.is_empty() && parts.len() <= MOST);
                prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= length));
                prop_assert!(parts.iter().map(|part| part.end - part.start).sum::<u64>() <= length);
                for (n, one) in parts.iter().enumerate() {
                    prop_assert!(parts.iter().skip(n + 1).all(|other| one.end <= other.start || other.end <= one.start));
                }
            }
        }
    }
}
