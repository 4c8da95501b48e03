//! Whether a client has what it asks for. RFC 9110 §13. No I/O.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// What tells one state of a file from another. RFC 9110 §8.8
#[derive(Clone, Debug)]
pub(super) struct Validators {
    /// With its quotes, and `W/` in front of a weak one.
    pub(super) etag: String,
    /// In whole seconds.
    pub(super) modified: Option<SystemTime>,
}

/// What a conditional request comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is answered as if it were none; a part is sent only where `part` says so.
    Send {
        /// A Range field counts.
        part: bool,
    },
    /// 304
    NotModified,
    /// 412
    Failed,
}

impl Validators {
    /// Of a file with that many octets, `modified` then, sent in `coding`, as of `now`. A file that has just been written may be
    /// written again within what its clock can tell: its tag is weak then, which says so. RFC 9110 §8.8.1
    pub(super) fn new(length: u64, modified: Option<SystemTime>, coding: Option<&str>, now: SystemTime) -> Self {
        /// The coarsest clock of a file system in use (FAT).
        const CLOCK: Duration = Duration::from_secs(2);
        let since = modified.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default();
        let is_settled = modified.is_some_and(|at| now.duration_since(at).is_ok_and(|age| age >= CLOCK));
        let weak = if is_settled { "" } else { "W/" };
        let (mark, coding) = coding.map_or(("", ""), |coding| ("-", coding));
        let etag = format!("{weak}\"{length:x}-{:x}{mark}{coding}\"", since.as_nanos());
        // §8.8.2.1: never later than the response itself.
        let modified = modified.map(|at| whole_seconds(at.min(now)));
        Validators { etag, modified }
    }

    /// Puts them into the head of a response.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        if let Ok(etag) = HeaderValue::from_str(&self.etag) {
            headers.insert(header::ETAG, etag);
        }
        if let Some(modified) = self.modified
            && let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(modified))
        {
            headers.insert(header::LAST_MODIFIED, date);
        }
    }

    /// What a request with these fields comes to, in the order of RFC 9110 §13.2.2.
    pub(super) fn judge(&self, method: &Method, headers: &HeaderMap) -> Verdict {
        if headers.contains_key(header::IF_MATCH) {
            if !self.is_among(headers, &header::IF_MATCH, is_strongly) {
                return Verdict::Failed;
            }
        } else if let (Some(date), Some(modified)) = (date(headers, &header::IF_UNMODIFIED_SINCE), self.modified)
            && modified > date
        {
            return Verdict::Failed;
        }
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        if headers.contains_key(header::IF_NONE_MATCH) {
            if self.is_among(headers, &header::IF_NONE_MATCH, is_weakly) {
                return if is_read { Verdict::NotModified } else { Verdict::Failed };
            }
        } else if is_read
            && let (Some(date), Some(modified)) = (date(headers, &header::IF_MODIFIED_SINCE), self.modified)
            && modified <= date
        {
            return Verdict::NotModified;
        }
        Verdict::Send { part: *method == Method::GET && self.is_range_of_this(headers) }
    }

    /// §13.1.5: without If-Range any part may be asked for.
    fn is_range_of_this(&self, headers: &HeaderMap) -> bool {
        let Some(condition) = headers.get(header::IF_RANGE) else { return true };
        let condition = condition.as_bytes().trim_ascii();
        if condition.ends_with(b"\"") {
            return is_strongly(condition, self.etag.as_bytes());
        }
        // A date does only where it is a strong validator, as the tag is then. §8.8.2.2
        let is_strong = !self.etag.starts_with("W/");
        let date = std::str::from_utf8(condition).ok().and_then(|date| httpdate::parse_http_date(date).ok());
        is_strong && date.is_some() && date == self.modified
    }

    fn is_among(&self, headers: &HeaderMap, name: &HeaderName, is: fn(&[u8], &[u8]) -> bool) -> bool {
        headers.get_all(name).iter().any(|value| {
            let value = value.as_bytes().trim_ascii();
            value == b"*" || tags(value).any(|tag| is(tag, self.etag.as_bytes()))
        })
    }
}

fn whole_seconds(at: SystemTime) -> SystemTime {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

/// One that is no date counts for nothing, nor do several. §13.1.3, §13.1.4
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut values = headers.get_all(name).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    httpdate::parse_http_date(value.to_str().ok()?.trim()).ok()
}

/// The entity tags of a list; nothing behind what is none. A tag may have a comma. §8.8.3
fn tags(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        while let Some((b',' | b' ' | b'\t', rest)) = list.split_first() {
            list = rest;
        }
        let opaque = list.strip_prefix(b"W/").unwrap_or(list);
        let inner = opaque.strip_prefix(b"\"")?;
        let end = inner.iter().position(|octet| *octet == b'"')?;
        let length = list.len() - inner.len() + end + 1;
        let tag = list.get(..length)?;
        list = list.get(length..)?;
        Some(tag)
    })
}

/// §8.8.3.2
fn is_strongly(one: &[u8], other: &[u8]) -> bool {
    one == other && !one.starts_with(b"W/")
}

fn is_weakly(one: &[u8], other: &[u8]) -> bool {
    let opaque = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    opaque(one) == opaque(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn judged(validators: &Validators, method: Method, fields: &[(&str, &str)]) -> Verdict {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        validators.judge(&method, &headers)
    }

    fn date(seconds: u64) -> String {
        httpdate::fmt_http_date(at(seconds))
    }

    #[test]
    fn a_tag_tells_length_time_and_coding_apart() {
        let tag = |length, modified, coding| Validators::new(length, Some(at(modified)), coding, at(NOW)).etag;
        let one = tag(5, NOW - 60, None);
        assert!(one.starts_with('"') && one.ends_with('"'), "{one}");
        for other in [tag(6, NOW - 60, None), tag(5, NOW - 61, None), tag(5, NOW - 60, Some("br"))] {
            assert_ne!(one, other);
        }
        assert!(tag(5, NOW - 1, None).starts_with("W/"), "it may be written once more within the same second");
        assert!(tag(5, NOW + 60, None).starts_with("W/"), "its time is to come");
        assert_eq!(Validators::new(5, Some(at(NOW + 60)), None, at(NOW)).modified, Some(at(NOW)));
    }

    /// RFC 9110 §13.2.2, row by row.
    #[test]
    fn conditions_have_an_order() {
        use Verdict::{Failed, NotModified, Send};
        let of = Validators::new(5, Some(at(NOW - 60)), None, at(NOW));
        let tag = of.etag.as_str();
        let weak = format!("W/{tag}");
        let (before, same, after) = (date(NOW - 61), date(NOW - 60), date(NOW - 59));
        let list = format!("\"a,b\" , W/\"x\",{tag}");
        let send = Send { part: true };
        let rows: &[(&[(&str, &str)], Verdict)] = &[
            (&[], send),
            (&[("if-none-match", tag)], NotModified),
            (&[("if-none-match", &weak)], NotModified),
            (&[("if-none-match", &list)], NotModified),
            (&[("if-none-match", "*")], NotModified),
            (&[("if-none-match", "\"other\"")], send),
            (&[("if-none-match", "nonsense")], send),
            (&[("if-none-match", "\"a\""), ("if-none-match", tag)], NotModified),
            // The tag counts, the date does not.
            (&[("if-none-match", "\"other\""), ("if-modified-since", &after)], send),
            (&[("if-modified-since", &same)], NotModified),
            (&[("if-modified-since", &after)], NotModified),
            (&[("if-modified-since", &before)], send),
            (&[("if-modified-since", "yesterday")], send),
            (&[("if-match", tag)], send),
            (&[("if-match", "*")], send),
            (&[("if-match", &weak)], Failed),
            (&[("if-match", "\"other\"")], Failed),
            (&[("if-match", tag), ("if-none-match", tag)], NotModified),
            (&[("if-match", tag), ("if-unmodified-since", &before)], send),
            (&[("if-unmodified-since", &before)], Failed),
            (&[("if-unmodified-since", &same)], send),
            (&[("if-unmodified-since", "never")], send),
            (&[("if-range", tag)], send),
            (&[("if-range", &weak)], Send { part: false }),
            (&[("if-range", "\"other\"")], Send { part: false }),
            (&[("if-range", &same)], send),
            (&[("if-range", &after)], Send { part: false }),
            (&[("if-range", "nonsense")], Send { part: false }),
        ];
        for (fields, expected) in rows {
            assert_eq!(judged(&of, Method::GET, fields), *expected, "{fields:?}");
            let of_head = if *expected == send { Send { part: false } } else { *expected };
            assert_eq!(judged(&of, Method::HEAD, fields), of_head, "HEAD {fields:?}");
        }
    }

    #[test]
    fn a_weak_tag_is_never_good_for_a_part() {
        let of = Validators::new(5, Some(at(NOW)), None, at(NOW));
        for condition in [of.etag.clone(), date(NOW)] {
            assert_eq!(
                judged(&of, Method::GET, &[("if-range", &condition)]),
                Verdict::Send { part: false },
                "{condition}"
            );
        }
        assert_eq!(judged(&of, Method::GET, &[("if-none-match", &of.etag)]), Verdict::NotModified);
        assert_eq!(judged(&of, Method::GET, &[("if-match", &of.etag)]), Verdict::Failed);
    }
}
