//! Names of fields, made of octets for little. \[HDR-12\]

use http::header::InvalidHeaderName;
use http::{HeaderName, header};

/// Names that are none of `http`'s own, for a thread that parses many heads: each would be an allocation, and clients send the same
/// ones again and again.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// By a hash of what was written; empty until there is one. Whoever chooses names that meet in one place has no use of it, and
    /// costs no more than without.
    places: Vec<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    written: Box<str>,
    name: HeaderName,
    /// Another one came in its place, and it has not come again since.
    doubted: bool,
}

/// A power of two.
const PLACES: usize = 128;
/// Octets of a name that is kept.
const KEPT: usize = 40;

impl Names {
    /// The name that `text` is.
    ///
    /// # Errors
    /// It is none.
    #[inline]
    pub(crate) fn name(&mut self, text: &str) -> Result<HeaderName, InvalidHeaderName> {
        match by_sight(text) {
            Some(name) => Ok(name),
            None => self.other(text),
        }
    }

    fn other(&mut self, text: &str) -> Result<HeaderName, InvalidHeaderName> {
        if let Some(Some(known)) = self.places.get_mut(place(text.as_bytes()))
            && *known.written == *text
        {
            known.doubted = false;
            return Ok(known.name.clone());
        }
        let name = HeaderName::from_bytes(text.as_bytes())?;
        self.keep(text, &name);
        Ok(name)
    }

    #[inline(never)]
    fn keep(&mut self, text: &str, name: &HeaderName) {
        if text.len() > KEPT {
            return;
        }
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
        }
        let Some(place) = self.places.get_mut(place(text.as_bytes())) else { return };
        match place {
            // Two that come in turn would be made and kept each time.
            Some(known) if !known.doubted => known.doubted = true,
            _ => *place = Some(Known { written: text.into(), name: name.clone(), doubted: false }),
        }
    }
}

/// Where a name is kept, by its length, its first and its last octets.
#[inline]
fn place(text: &[u8]) -> usize {
    let (first, last) = match (text.first_chunk(), text.last_chunk()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => (text.iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet)), 0),
    };
    let mixed = (first ^ last.rotate_left(29) ^ text.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize % PLACES
}

/// What nearly every request has is known by sight, as clients write it: that costs a fifth of making a name of octets.
#[inline]
fn by_sight(text: &str) -> Option<HeaderName> {
    Some(match text {
        "host" | "Host" => header::HOST,
        "user-agent" | "User-Agent" => header::USER_AGENT,
        "accept" | "Accept" => header::ACCEPT,
        "accept-encoding" | "Accept-Encoding" => header::ACCEPT_ENCODING,
        "accept-language" | "Accept-Language" => header::ACCEPT_LANGUAGE,
        "connection" | "Connection" => header::CONNECTION,
        "cookie" | "Cookie" => header::COOKIE,
        "content-type" | "Content-Type" => header::CONTENT_TYPE,
        "content-length" | "Content-Length" => header::CONTENT_LENGTH,
        "referer" | "Referer" => header::REFERER,
        "x-forwarded-for" | "X-Forwarded-For" => const { HeaderName::from_static("x-forwarded-for") },
        "x-forwarded-proto" | "X-Forwarded-Proto" => const { HeaderName::from_static("x-forwarded-proto") },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Known by sight, known from before, or not, a name is the same.
    #[test]
    fn names_are_what_they_say() {
        let mut names = Names::default();
        for known in [
            "host",
            "user-agent",
            "accept",
            "accept-encoding",
            "accept-language",
            "connection",
            "cookie",
            "content-type",
            "content-length",
            "referer",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-own",
            "etag",
        ] {
            let capitals: Vec<_> =
                known.split('-').map(|word| format!("{}{}", word[..1].to_ascii_uppercase(), &word[1..])).collect();
            for text in [known.to_owned(), capitals.join("-"), known.to_ascii_uppercase()] {
                for _ in 0..3 {
                    let name = names.name(&text).unwrap();
                    assert_eq!(name, HeaderName::from_bytes(known.as_bytes()).unwrap(), "{text}");
                }
            }
        }
        for malformed in ["", "a b", "h\u{f6}st", "host:", "Host "] {
            for _ in 0..3 {
                assert!(names.name(malformed).is_err(), "{malformed:?}");
            }
        }
    }

    #[test]
    fn what_comes_again_is_kept_and_what_does_not_makes_room() {
        let meeting: Vec<String> =
            (0..).map(|n| format!("x-{n}")).filter(|it| place(it.as_bytes()) == 7).take(2).collect();
        let (mut names, [one, other]) = (Names::default(), [&meeting[0], &meeting[1]]);
        let kept = |names: &Names| names.places[7].as_ref().unwrap().written.clone();
        for text in [one, other, one, other, one, other] {
            names.name(text).unwrap();
            assert_eq!(*kept(&names), **one);
        }
        names.name(other).unwrap();
        assert_eq!(*kept(&names), **other);
        names.name(&"x".repeat(KEPT + 1)).unwrap();
        assert_eq!(names.places.iter().flatten().count(), 1);
    }

    proptest! {
        #[test]
        fn any_name_is_what_http_makes_of_it(texts in prop::collection::vec("[a-zA-Z-]{0,3}|[ -~]{0,12}", 0..200)) {
            let mut names = Names::default();
            for text in &texts {
                let name = names.name(text).ok();
                prop_assert_eq!(name, HeaderName::from_bytes(text.as_bytes()).ok());
            }
        }
    }
}
