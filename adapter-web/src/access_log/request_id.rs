//! What a request is called: by its client or proxy (`x-request-id`), by us, or by a trace (`traceparent`). Pure, but for one counter.
//!
//! What a client says is believed as a name and for nothing else: it is bounded, visible ASCII, and in no place where it could be more
//! than text. Two requests may have the same one, if clients like.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use adapter_core::dispatch;
use adapter_core::http::{HeaderMap, HeaderName, HeaderValue};
use adapter_core::refused::Refused;

/// The field of a request's id.
pub(super) static REQUEST_ID: HeaderName = dispatch::REQUEST_ID;

/// Octets of an id of others at most.
const MOST: usize = 128;

/// The id that `headers` have, or a fresh one, which they have from then on: what the application sends on is called the same. And whether
/// it is theirs.
pub(super) fn of(headers: &mut HeaderMap) -> (HeaderValue, bool) {
    let mut theirs = headers.get_all(&REQUEST_ID).iter();
    if let (Some(id), None) = (theirs.next(), theirs.next())
        && is_sane(id.as_bytes())
    {
        return (id.clone(), true);
    }
    let id = fresh();
    headers.insert(&REQUEST_ID, id.clone());
    (id, false)
}

/// The id that a refused request came with, if it can be one.
pub(super) fn of_refused<'a>(refused: &Refused<'a>) -> Option<&'a str> {
    let (id, is_only) = refused.field(&REQUEST_ID)?;
    std::str::from_utf8(id).ok().filter(|_| is_only && is_sane(id))
}

fn is_sane(id: &[u8]) -> bool {
    (1..=MOST).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// Random for the process, and a number: unique, and nothing that can be guessed from outside.
fn fresh() -> HeaderValue {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = format!("{:016x}{:08x}", *PROCESS, NEXT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

/// The trace of `headers`, by the field `traceparent` of W3C Trace Context, if it has one that can be read.
pub(super) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut theirs = headers.get_all("traceparent").iter();
    let (Some(parent), None) = (theirs.next(), theirs.next()) else { return None };
    // `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`; later versions may have more behind it
    let parent = parent.to_str().ok()?;
    let hex = |text: &str| text.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'));
    let names =
        |text: &str, length: usize| text.len() == length && hex(text) && text.bytes().any(|octet| octet != b'0');
    let mut parts = parent.splitn(5, '-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_known = version.len() == 2 && hex(version) && version != "ff" && (version != "00" || parts.next().is_none());
    let is_whole = names(trace, 32) && names(span, 16) && flags.len() == 2 && hex(flags);
    (is_known && is_whole).then_some(trace)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn headers(fields: &[(&'static str, &[u8])]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap()))
            .collect()
    }

    #[test]
    fn sane_ids_are_taken_over_and_others_replaced() {
        for id in [b"a".as_slice(), b"3f2b-11/x=\"", &[b'x'; 128]] {
            let (is, is_theirs) = of(&mut headers(&[("x-request-id", id)]));
            assert!(is == id && is_theirs);
        }
        for ids in [vec![], vec![b"".as_slice()], vec![b"a b"], vec![&[b'x'; 129]], vec![b"a\xff"], vec![b"a", b"a"]] {
            let fields: Vec<_> = ids.iter().map(|id| ("x-request-id", *id)).collect();
            let mut headers = headers(&fields);
            let (id, is_theirs) = of(&mut headers);
            assert!(!is_theirs && id.len() == 24 && !ids.contains(&id.as_bytes()), "{id:?}");
            let seen: Vec<_> = headers.get_all(&REQUEST_ID).iter().collect();
            assert_eq!(seen, [&id]);
        }
    }

    #[test]
    fn fresh_ids_are_different_ones() {
        let ids: HashSet<_> = (0..1000).map(|_| fresh()).collect();
        assert_eq!(ids.len(), 1000);
    }

    #[test]
    fn traces_are_read_as_the_standard_has_them() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let trace = |text: &str| trace_id(&headers(&[("traceparent", text.as_bytes())])).map(str::to_owned);
        assert_eq!(trace(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
        assert_eq!(trace(&format!("cc-{id}-00f067aa0ba902b7-01-what-else")).as_deref(), Some(id));
        for wrong in [
            "".to_owned(),
            id.to_owned(),
            format!("00-{id}-00f067aa0ba902b7-01-more"),
            format!("ff-{id}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{id}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            format!("00-{id}-00f067aa0ba902b7-1"),
            format!("0-{id}-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(trace(&wrong), None, "{wrong}");
        }
        let twice = format!("00-{id}-00f067aa0ba902b7-01");
        assert_eq!(trace_id(&headers(&[("traceparent", twice.as_bytes()), ("traceparent", twice.as_bytes())])), None);
    }

    proptest! {
        #[test]
        fn any_value_is_an_id_or_none(value in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let mut headers = HeaderMap::new();
                headers.insert(&REQUEST_ID, value.clone());
                headers.insert("traceparent", value);
                prop_assert!(is_sane(of(&mut headers).0.as_bytes()));
                prop_assert!(trace_id(&headers).is_none_or(|id| id.len() == 32));
            }
        }
    }
}
