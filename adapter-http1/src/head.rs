//! Request heads: httparse, then `rules`. \[TGT\], \[HDR\], \[REQ-21\] to \[REQ-27\], \[LIM-01\], \[LIM-02\]
//!
//! Stateless: the caller gives all bytes of the connection that are not consumed yet, and gives more when told that
//! they are not enough. A bare LF ends a line here, as httparse has it (\[HDR-14\]), and empty lines before a request
//! count for nothing but its size (\[TGT-22\]).

use std::mem::MaybeUninit;

use adapter_core::Limits;
use adapter_core::rules::request::{self, BodyLength};
use adapter_core::rules::{Rejection, target};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version, header};

use crate::names::Names;

/// A head that is complete and acceptable.
#[derive(Debug)]
pub struct Head {
    /// Method, target, version and fields, as the application sees them.
    pub parts: http::request::Parts,
    /// What the server needs to answer it.
    pub facts: request::Facts,
    /// How many bytes of the input it took, empty lines before it included.
    pub length: usize,
}

/// Header lines that are parsed without an allocation for their index.
const INLINE_HEADERS: usize = 128;

/// What was parsed in vain of a head that comes in pieces: a client that sends octet by octet must not make that cost the square
/// of the head.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempts(usize);

impl Attempts {
    /// Whether parsing `input` may give something else than it did before. Short heads are always parsed, so that what is wrong
    /// is seen at once.
    pub fn is_worth_another(&mut self, input: &[u8], limits: &Limits) -> bool {
        const SHORT: usize = 2048;
        if self.0 == 0 || input.len() <= SHORT {
            return !input.is_empty();
        }
        let before = std::mem::replace(&mut self.0, input.len());
        let crossed = |limit: usize| before < limit && input.len() >= limit;
        input.get(before..).unwrap_or_default().contains(&b'\n')
            || crossed(too_long_from(limits))
            || crossed(limits.head_bytes)
    }

    /// `input` was parsed, and is not complete.
    pub fn was_in_vain(&mut self, input: &[u8]) {
        self.0 = input.len();
    }
}

/// Parses the head at the start of `input`; `Ok(None)` if it is not complete.
///
/// # Errors
/// What to answer instead of calling the application.
pub fn parse(input: &[u8], limits: &Limits) -> Result<Option<Head>, Rejection> {
    let mut place = None;
    let found = parse_into(input, limits, &mut Spare::default(), &mut place)?;
    Ok(found.zip(place).map(|(Found { facts, length }, parts)| Head { parts, facts, length }))
}

/// What one head can use of the memory of another. A worker thread has one: it saves four allocations a request, and one for each field whose
/// name is not common.
#[derive(Debug, Default)]
pub struct Spare {
    /// The octets of heads, one behind the other; target and values of a head share them.
    block: BytesMut,
    /// An empty map, with room if there was one to be had.
    headers: HeaderMap,
    names: Names,
}

impl Spare {
    /// Bytes of a block. Whoever keeps a value of a head keeps its block, so it is not large.
    const BLOCK: usize = 4 * 1024;
    /// Fields of a map that is worth keeping at most.
    const FIELDS: usize = 64;

    /// Takes a map that is not used any more, that of a response that has been encoded.
    #[inline]
    pub fn recycle(&mut self, mut headers: HeaderMap) {
        if self.headers.capacity() == 0 && headers.capacity() <= Self::FIELDS {
            headers.clear();
            // Without room there is nothing to drop, which costs 60 instructions to find out.
            std::mem::forget(std::mem::replace(&mut self.headers, headers));
        }
    }
}

/// What is known of a head beside its parts.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// What the server needs to answer it.
    pub facts: request::Facts,
    /// How many octets of the input it took, empty lines before it included.
    pub length: usize,
}

/// [`parse`], for who has many heads to parse: the parts are put in `place`, as they are large to move. Without a result what is there
/// is of no use.
///
/// # Errors
/// As [`parse`].
pub fn parse_into(
    input: &[u8],
    limits: &Limits,
    spare: &mut Spare,
    place: &mut Option<http::request::Parts>,
) -> Result<Option<Found>, Rejection> {
    if limits.header_count <= INLINE_HEADERS {
        let mut headers = [const { MaybeUninit::uninit() }; INLINE_HEADERS];
        // `header_count` is at most the length of the array
        parse_lines(input, limits, spare, headers.get_mut(..limits.header_count).unwrap_or_default(), place)
    } else {
        let mut headers = vec![MaybeUninit::uninit(); limits.header_count];
        parse_lines(input, limits, spare, &mut headers, place)
    }
}

fn parse_lines<'i>(
    input: &'i [u8],
    limits: &Limits,
    spare: &mut Spare,
    headers: &mut [MaybeUninit<httparse::Header<'i>>],
    place: &mut Option<http::request::Parts>,
) -> Result<Option<Found>, Rejection> {
    let mut request = httparse::Request::new(&mut []);
    match httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut request, input, headers) {
        Ok(httparse::Status::Complete(length)) if length <= limits.head_bytes => {
            let facts = convert(input, length, &request, limits, spare, place)?;
            Ok(Some(Found { facts, length }))
        }
        Ok(httparse::Status::Complete(_)) => {
            let long = request.path.is_some_and(|path| path.len() > limits.target_bytes);
            Err(if long { TOO_LONG } else { TOO_LARGE })
        }
        Ok(httparse::Status::Partial) => unfinished(input, limits).map(|()| None),
        Err(error) => Err(refuse(error, input)),
    }
}

/// What is to be known of a request that was refused, to answer it: whether it was a HEAD, which gets no body (\[NOB-01\]).
/// `input` is what was given to [`parse`].
pub fn facts_of_rejected(input: &[u8]) -> request::Facts {
    let leading = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let is_head = input.get(leading..).is_some_and(|line| line.starts_with(b"HEAD "));
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = if is_head { Method::HEAD } else { Method::GET };
    request::Facts::of_rejected(&parts)
}

/// A head has not ended in time. \[LIM-04b\] RFC 9110 §15.5.9
pub const LATE: Rejection =
    Rejection::new(StatusCode::REQUEST_TIMEOUT, "LIM-04b", "the request head did not arrive in time");
const TOO_LARGE: Rejection =
    Rejection::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "LIM-01", "the request head is too large");
const TOO_LONG: Rejection = Rejection::new(StatusCode::URI_TOO_LONG, "TGT-24", "the request target is too long");

/// The length from which a first line without an end is too long. \[TGT-24\]
pub fn too_long_from(limits: &Limits) -> usize {
    /// Method, blanks and version beside the target.
    const AROUND: usize = 64;
    limits.target_bytes.saturating_add(AROUND)
}

/// \[LIM-01\], \[TGT-24\]: a head that is not complete may be too large already.
fn unfinished(input: &[u8], limits: &Limits) -> Result<(), Rejection> {
    if input.len() >= too_long_from(limits) && is_line_too_long(input, limits) {
        return Err(TOO_LONG);
    }
    if input.len() >= limits.head_bytes { Err(TOO_LARGE) } else { Ok(()) }
}

/// Whether the first line that is not empty is too long, with an end or without. \[TGT-24\]
fn is_line_too_long(input: &[u8], limits: &Limits) -> bool {
    let leading = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let line = input.get(leading..).unwrap_or_default();
    let length = line.iter().position(|byte| *byte == b'\n').unwrap_or(line.len());
    length >= too_long_from(limits)
}

fn refuse(error: httparse::Error, input: &[u8]) -> Rejection {
    use httparse::Error;
    let bad = |requirement, reason| Rejection::new(StatusCode::BAD_REQUEST, requirement, reason);
    match error {
        // [LIM-02] RFC 6585 §5
        Error::TooManyHeaders => Rejection::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "LIM-02",
            "the request has too many header lines",
        ),
        // [TGT-20] RFC 9110 §15.6.6
        Error::Version if has_version(input) => {
            Rejection::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "TGT-20", "only HTTP/1.0 and HTTP/1.1 are served")
        }
        Error::HeaderName => bad("HDR-12", "a header name is malformed"),
        Error::HeaderValue => bad("HDR-13", "a header value is malformed"),
        // [TGT-03], [TGT-18], [TGT-25] and line ends
        _ => bad("TGT-03", "the request line or a line end is malformed"),
    }
}

/// Whether the first line is a method, a target and what looks like a version: all that is wrong is its number.
fn has_version(input: &[u8]) -> bool {
    let mut lines = input.split(|byte| matches!(byte, b'\r' | b'\n')).filter(|line| !line.is_empty());
    let parts: Vec<&[u8]> = lines.next().unwrap_or_default().split(|byte| *byte == b' ').collect();
    matches!(parts.as_slice(), [_, _, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]]
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

fn convert(
    input: &[u8],
    length: usize,
    parsed: &httparse::Request<'_, '_>,
    limits: &Limits,
    spare: &mut Spare,
    place: &mut Option<http::request::Parts>,
) -> Result<request::Facts, Rejection> {
    let bad = |requirement, reason| Rejection::new(StatusCode::BAD_REQUEST, requirement, reason);
    let (Some(method), Some(path), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(bad("TGT-03", "the request line is malformed"));
    };
    // A long method is refused like one that was looked at before its end; and more than `Uri` takes is too long as well.
    let is_long = method.len() + path.len() >= limits.target_bytes && is_line_too_long(input, limits);
    if path.len() > limits.target_bytes || path.len() >= usize::from(u16::MAX) || is_long {
        return Err(TOO_LONG);
    }
    target::check_raw(path.as_bytes())?;
    // One copy of the head, which target and values share.
    if spare.block.capacity() < length {
        spare.block.reserve(length.max(Spare::BLOCK));
    }
    spare.block.extend_from_slice(input.get(..length).unwrap_or(input));
    let shared = spare.block.split().freeze();
    let share = |part: &[u8]| share(&shared, input, part);

    let parts = place.insert(Request::new(()).into_parts().0);
    // [TGT-01], [TGT-02]
    parts.method = Method::from_bytes(method.as_bytes()).map_err(|_| bad("TGT-03", "the method is malformed"))?;
    parts.version = if version == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    // What parts have to begin with is "/", the most frequent one.
    if path != "/" {
        parts.uri = Uri::from_maybe_shared(share(path.as_bytes()))
            .map_err(|_| bad("TGT-16", "the request target is malformed"))?;
    }
    std::mem::swap(&mut parts.headers, &mut spare.headers);
    parts.headers.try_reserve(parsed.headers.len()).map_err(|_| TOO_LARGE)?;
    let mut lengths = 0;
    for header in parsed.headers.iter() {
        let name = spare.names.name(header.name).map_err(|_| bad("HDR-12", "a header name is malformed"))?;
        // [HDR-02] obs-text survives, [HDR-13] controls do not
        let value = HeaderValue::from_maybe_shared(share(header.value))
            .map_err(|_| bad("HDR-13", "a header value is malformed"))?;
        lengths += u32::from(name == header::CONTENT_LENGTH);
        // [HDR-03] every line, in order
        parts.headers.try_append(name, value).map_err(|_| TOO_LARGE)?;
    }
    let facts = request::check(parts, limits)?;
    if lengths > 0 && facts.body == BodyLength::Unknown {
        // [REQ-21] RFC 9112 §6.3: a length that does not count is not passed on
        parts.headers.remove(header::CONTENT_LENGTH);
    } else if lengths > 1
        && let Some(one) = parts.headers.get(header::CONTENT_LENGTH).cloned()
    {
        // [REQ-22b] RFC 9110 §8.6: the same one twice is one
        parts.headers.insert(header::CONTENT_LENGTH, one);
    }
    target::normalize(parts);
    Ok(facts)
}

/// The bytes of `part`, a slice of `input`, out of `shared`, a copy of `input`'s start.
fn share(shared: &Bytes, input: &[u8], part: &[u8]) -> Bytes {
    let start = (part.as_ptr() as usize).wrapping_sub(input.as_ptr() as usize);
    match start.checked_add(part.len()) {
        Some(end) if end <= shared.len() && !part.is_empty() => shared.slice(start..end),
        _ => Bytes::copy_from_slice(part),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(input: &[u8]) -> Option<u16> {
        match parse(input, &Limits::default()) {
            Ok(head) => head.map(|_| 200),
            Err(rejection) => Some(rejection.status.as_u16()),
        }
    }

    #[test]
    fn every_split_point_gives_the_same_head() {
        // [TGT-23]
        let input =
            b"\r\nPOST /a%20b?x=1 HTTP/1.1\r\nHost: h\r\nX-A:  1 \r\nx-a: \xff2\r\nContent-Length: 3\r\n\r\nabc";
        let end = input.len() - 3;
        for cut in 0..end {
            assert!(parse(&input[..cut], &Limits::default()).unwrap().is_none(), "{cut}");
        }
        for cut in end..=input.len() {
            let head = parse(&input[..cut], &Limits::default()).unwrap().unwrap();
            assert_eq!(head.length, end);
            assert_eq!(head.parts.uri, "/a%20b?x=1");
            let values: Vec<_> = head.parts.headers.get_all("x-a").iter().map(HeaderValue::as_bytes).collect();
            assert_eq!(values, [b"1".as_slice(), b"\xff2"]);
            assert_eq!(head.facts.body, BodyLength::Sized(3));
        }
    }

    /// \[TGT-24\], \[LIM-02\] by the limits, and by what `http` can hold
    #[test]
    fn what_is_too_long_is_so_in_part_and_in_whole() {
        let limits = Limits::default();
        let most = too_long_from(&limits);
        let get = |method: &str, target: &str| format!("{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
        for (input, expected) in [
            (get(&"M".repeat(most), "/"), Some(414)),
            (get(&"M".repeat(most - 20), "/"), None),
            ([b"\r\n".repeat(most), get("GET", "/")].concat(), None),
            (get("GET", &format!("/{}", "a".repeat(limits.target_bytes))), Some(414)),
        ] {
            let whole =
                parse(&input, &limits).map(|head| head.is_some()).map_err(|rejection| rejection.status.as_u16());
            assert_eq!(whole, expected.map_or(Ok(true), Err));
            for cut in (0..input.len()).step_by(97) {
                let part = parse(&input[..cut], &limits);
                assert!(part.is_ok() || expected.is_some(), "{:?} at {cut}", part.err());
            }
        }
        let mut limits = Limits::default();
        limits.head_bytes = 10_000_000;
        limits.target_bytes = 1_000_000;
        limits.header_count = 40_000;
        let status = |input: &[u8]| parse(input, &limits).unwrap_err().status.as_u16();
        assert_eq!(status(&get("GET", &format!("/{}", "a".repeat(70_000)))), 414);
        let many = [b"GET / HTTP/1.1\r\nHost: h\r\n".to_vec(), b"x: y\r\n".repeat(25_000), b"\r\n".to_vec()].concat();
        assert_eq!(status(&many), 431);
    }

    #[test]
    fn what_is_refused_and_how() {
        let cases: [(&[u8], u16); 20] = [
            (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 200),
            (b"GET / HTTP/1.1\nHost: h\n\n", 200),
            (b"GET / HTTP/1.0\r\n\r\n", 200),
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            (b"GET /\tx HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            (b"GET /#x HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            (b"G@T / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n", 400),
            (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            (b"GET /  HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            (b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            (b"GET / HTTP/1.10\r\nHost: h\r\n\r\n", 400),
            (b"GET /\r\n", 400),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
            (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ];
        for (input, expected) in cases {
            assert_eq!(status(input), Some(expected), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn a_refused_head_is_known_as_one() {
        assert!(facts_of_rejected(b"\r\nHEAD / HTTP/1.1\r\n\r\n").is_head);
        for input in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"HEADER / HTTP/1.1\r\n\r\n", b"\r\n", b""] {
            let facts = facts_of_rejected(input);
            assert!(!facts.is_head && !facts.keep_alive);
        }
    }

    #[test]
    fn limits_have_their_own_statuses() {
        let limits = Limits::default();
        let long =
            |target: usize| [b"GET /".to_vec(), vec![b'a'; target], b" HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()].concat();
        assert_eq!(status(&long(limits.target_bytes - 1)), Some(200));
        assert_eq!(status(&long(limits.target_bytes)), Some(414));
        assert_eq!(status(&long(70_000)), Some(414));
        assert_eq!(status(&long(70_000)[..20_000]), Some(414));
        let lines = |count: usize| {
            let mut head = b"GET / HTTP/1.1\r\nHost: h\r\n".to_vec();
            (1..count).for_each(|n| head.extend_from_slice(format!("a{n}: b\r\n").as_bytes()));
            [head, b"\r\n".to_vec()].concat()
        };
        assert_eq!(status(&lines(100)), Some(200));
        assert_eq!(status(&lines(101)), Some(431));
        let mut large = b"GET / HTTP/1.1\r\nHost: h\r\nA: ".to_vec();
        large.resize(64 * 1024, b'x');
        assert_eq!(status(&large[..60_000]), None);
        assert_eq!(status(&large), Some(431));
        // One that comes whole is measured, too.
        let whole = |length: usize| [&large[..length - 4], b"\r\n\r\n"].concat();
        assert_eq!(status(&whole(limits.head_bytes)), Some(200));
        assert_eq!(status(&whole(limits.head_bytes + 1)), Some(431));
    }

    /// \[REQ-21\], \[REQ-22b\]
    #[test]
    fn lengths_that_count_for_nothing_are_not_passed_on() {
        let lengths = |fields: &str| {
            let input = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
            let head = parse(input.as_bytes(), &Limits::default()).unwrap().unwrap();
            let values = head.parts.headers.get_all("content-length").iter();
            values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(lengths("Content-Length: 7\r\n"), ["7"]);
        assert_eq!(lengths("Content-Length: 7\r\nContent-Length: 7\r\n"), ["7"]);
        for both in [
            "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 7\r\nContent-Length: 8\r\n",
        ] {
            assert!(lengths(both).is_empty(), "{both}");
        }
    }

    #[test]
    fn what_changes_nothing_is_not_parsed_again() {
        let limits = Limits::default();
        let mut attempts = Attempts::default();
        assert!(!attempts.is_worth_another(b"", &limits), "nothing has come");
        assert!(attempts.is_worth_another(b"G", &limits));
        let whole =
            |length: usize| [b"GET / HTTP/1.1\r\nA: ", vec![b'x'; length].as_slice()].concat()[..length].to_vec();
        let mut told = |before: usize, after: &[u8]| {
            attempts.was_in_vain(&after[..before]);
            attempts.is_worth_another(after, &limits)
        };
        assert!(told(100, &whole(2048)), "short ones are always parsed");
        assert!(!told(100, &whole(2049)), "no line has ended");
        assert!(told(2100, &[&whole(2199)[..], b"\n"].concat()), "one has");
        assert!(!told(2200, &[&whole(2199)[..], b"\nx"].concat()), "not since");
        for limit in [too_long_from(&limits), limits.head_bytes] {
            assert!(!told(limit - 2, &whole(limit - 1)), "{limit}");
            assert!(told(limit - 1, &whole(limit)), "{limit}");
            assert!(told(limit - 1, &whole(limit + 1)), "{limit}");
            assert!(!told(limit, &whole(limit + 1)), "{limit}");
        }
    }

    #[test]
    fn a_map_is_kept_if_it_is_small_and_there_is_none() {
        let map = |fields: usize| HeaderMap::<HeaderValue>::with_capacity(fields);
        let mut spare = Spare::default();
        spare.recycle(map(1000));
        assert_eq!(spare.headers.capacity(), 0);
        let mut used = map(8);
        used.insert("a", HeaderValue::from_static("b"));
        let capacity = used.capacity();
        spare.recycle(used);
        assert_eq!((spare.headers.len(), spare.headers.capacity()), (0, capacity));
        spare.recycle(map(30));
        assert_eq!(spare.headers.capacity(), capacity, "there was one");
    }

    proptest! {
        /// Any bytes, cut anywhere: no panic, and a prefix is never accepted as something longer.
        #[test]
        fn prefixes_agree(input in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200) {
            let cut = cut.min(input.len());
            let limits = Limits::default();
            if let Ok(Some(head)) = parse(&input[..cut], &limits) {
                let whole = parse(&input, &limits).unwrap().unwrap();
                prop_assert_eq!(head.length, whole.length);
            }
        }

        #[test]
        fn heads_come_out_as_they_went_in(
            method in "[A-Z]{1,8}",
            path in "/[a-z0-9%._~/-]{0,30}",
            fields in proptest::collection::vec(("x-[a-z0-9-]{1,10}", "[!-~]([ -~]{0,20}[!-~])?"), 0..10),
        ) {
            prop_assume!(method != "CONNECT");
            let mut input = format!("{method} {path} HTTP/1.1\r\nhost: h\r\n");
            for (name, value) in &fields {
                input += &format!("{name}: {value}\r\n");
            }
            input += "\r\n";
            let head = parse(input.as_bytes(), &Limits::default()).unwrap().unwrap();
            prop_assert_eq!(head.parts.method.as_str(), &method);
            prop_assert_eq!(head.parts.uri.path(), &path);
            for (name, _) in &fields {
                let sent: Vec<_> = fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect();
                let seen: Vec<_> = head.parts.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
                prop_assert_eq!(sent, seen);
            }
        }
    }
}
