//! Checks of a request head that hold on every server. \[HDR\], \[REQ-21\] to \[REQ-26\], \[EXP-04\]

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header, request};

use super::{Rejection, host, list_members, target};
use crate::config::Limits;

/// How the body of a request is framed. RFC 9112 §6.3
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// This many bytes; 0 also where nothing was said.
    Sized(u64),
    /// Chunked, or for HTTP/2 until the end of the stream.
    Unknown,
}

/// What a server needs to know of a request it accepts, to answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// The version of the request.
    pub version: Version,
    /// HEAD: no body goes out. \[NOB-01\]
    pub is_head: bool,
    /// CONNECT: a 2xx has no framing. \[TGT-15\]
    pub is_connect: bool,
    /// How the body is framed.
    pub body: BodyLength,
    /// Whether the client wants the connection kept (RFC 9112 §9.3). \[KAP-01\] to \[KAP-04\]
    pub keep_alive: bool,
    /// Whether the client takes trailers (RFC 9110 §10.1.4). \[TRL-04\]
    pub trailers: bool,
    /// Whether the client waits for 100 Continue (RFC 9110 §10.1.1). \[EXP-01\]
    pub expects_continue: bool,
    /// Whether the client asks for another protocol. \[UPG-06\]
    pub upgrade: bool,
}

impl Facts {
    /// What is to be known of a request that was refused, to answer it. The connection is not kept.
    pub fn of_rejected(head: &request::Parts) -> Self {
        Facts {
            version: head.version,
            is_head: head.method == Method::HEAD,
            is_connect: false,
            body: BodyLength::Unknown,
            keep_alive: false,
            trailers: false,
            expects_continue: false,
            upgrade: false,
        }
    }
}

/// Checks a request head; `Err` is answered with [`Rejection::response`] and the application is not called.
///
/// For HTTP/1 and HTTP/2. `limits` bounds target and declared body, in HTTP/2 also the number of fields.
///
/// # Errors
/// The rejection.
///
/// ```
/// use adapter_core::{Limits, http::Request, rules::request};
/// let (head, ()) = Request::get("/").body(()).unwrap().into_parts();
/// assert_eq!(request::check(&head, &Limits::default()).unwrap_err().to_string(), "400 [HDR-06] Host is missing");
/// ```
#[inline]
pub fn check(head: &request::Parts, limits: &Limits) -> Result<Facts, Rejection> {
    let simple = simple(&head.method, &head.uri, head.version, &head.headers, limits);
    simple.map_or_else(|| check_any(head, limits), Ok)
}

/// What [`check`] says of `request` if it is a GET in HTTP/1.1 and origin-form, with one valid Host and no other field
/// that matters to a server; `None` for any other, good or bad. [`target::normalize`] has nothing to do then, and there
/// is no body. For servers that save instructions: most requests are such.
#[inline]
pub fn check_simple<B>(request: &http::Request<B>, limits: &Limits) -> Option<Facts> {
    simple(request.method(), request.uri(), request.version(), request.headers(), limits)
}

/// Half the instructions of [`check_any`] and a third of its code: what a request goes through competes for the
/// processor's first-level cache (spec/DESIGN.md).
#[inline]
fn simple(method: &Method, uri: &Uri, version: Version, headers: &HeaderMap, limits: &Limits) -> Option<Facts> {
    let target = uri.path_and_query()?.as_str();
    if version != Version::HTTP_11
        || uri.authority().is_some()
        || !target.starts_with('/')
        || target.len() > limits.target_bytes
        || *method != Method::GET
    {
        return None;
    }
    let mut host = None;
    for (name, value) in headers {
        if *name == header::HOST {
            if host.replace(value).is_some() {
                return None;
            }
        } else if matters(name) && !says_keep_alive(name, value) {
            return None;
        }
    }
    host::is_valid(host?.as_bytes()).then_some(Facts {
        version: Version::HTTP_11,
        is_head: false,
        is_connect: false,
        body: BodyLength::Sized(0),
        keep_alive: true,
        trailers: false,
        expects_continue: false,
        upgrade: false,
    })
}

/// Whether [`check_any`] looks at the value of the field, Host aside.
#[inline]
fn matters(name: &HeaderName) -> bool {
    matches!(name.as_str(), "transfer-encoding" | "content-length" | "connection" | "expect" | "te" | "upgrade")
}

/// What browsers say, and HTTP/1.1 does anyway. RFC 9112 §9.3
fn says_keep_alive(name: &HeaderName, value: &HeaderValue) -> bool {
    *name == header::CONNECTION && value.as_bytes().eq_ignore_ascii_case(b"keep-alive")
}

/// [`check`] for whatever request there is; apart, because most need nothing of it.
#[inline(never)]
pub(super) fn check_any(head: &request::Parts, limits: &Limits) -> Result<Facts, Rejection> {
    let bad = |requirement, reason| Err(Rejection::new(StatusCode::BAD_REQUEST, requirement, reason));
    let http2 = head.version >= Version::HTTP_2;
    target::check(&head.method, &head.uri, limits.target_bytes)?;
    // [TGT-14] RFC 9112 §3.2.3; in HTTP/2 an extended CONNECT has scheme and path too (RFC 8441 §4)
    if head.method == Method::CONNECT && !http2 && head.uri.scheme().is_some() {
        return bad("TGT-14", "CONNECT needs authority-form");
    }

    // [LIM-02] the parsers of HTTP/1 count while they read
    if http2 && head.headers.len() > limits.header_count {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Rejection::new(status, "LIM-02", "there are too many header fields"));
    }

    // [HDR-25] RFC 9113 §8.2.1; in HTTP/1.1 the blanks are not part of the value
    if http2 && head.headers.values().any(super::trailers::has_blanks_around) {
        return bad("HDR-25", "a field value has blanks around it");
    }

    // One pass over the fields: most requests have few, and a lookup hashes.
    let mut hosts = 0;
    let mut host_value = None;
    let mut coding = Coding::default();
    let mut length = None;
    let mut ambiguous = false;
    let mut connection = Connection::default();
    let mut expectation = Ok(false);
    let mut trailers = false;
    let mut upgrade = false;
    for (name, value) in &head.headers {
        match name.as_str() {
            "host" => {
                hosts += 1;
                host_value = Some(value.as_bytes());
            }
            "transfer-encoding" => coding.add(value),
            // [REQ-21] RFC 9112 §6.3: it means nothing beside a transfer coding, wherever that can be known
            "content-length" if coding.present => ambiguous = true,
            "content-length" => length = Some(content_length(value, length)?),
            "connection" => connection.add(value),
            "expect" => expectation = expectation.and_then(|before| Ok(before | expect(value)?)),
            "te" => trailers |= list_members(value).any(|member| member.eq_ignore_ascii_case(b"trailers")),
            "upgrade" => upgrade = true,
            _ => {}
        }
    }
    let authority_in_target = head.uri.authority().is_some();
    // [HDR-06] RFC 9112 §3.2: every HTTP/1.1 request has a Host, absolute-form too; [HDR-09] HTTP/1.0 need not.
    host::check(hosts, host_value, head.version == Version::HTTP_11 || (http2 && !authority_in_target))?;
    if head.uri.authority().is_some_and(|authority| !host::is_valid(authority.as_str().as_bytes())) {
        return bad("HDR-08a", "the authority of the request target is malformed");
    }
    // [HDR-24] RFC 9113 §8.3.1
    if http2
        && let (Some(authority), Some(host)) = (head.uri.authority(), host_value)
        && !host::is_same(authority.as_str().as_bytes(), host, head.uri.scheme_str())
    {
        return bad("HDR-24", "Host is not the authority");
    }
    let body = if coding.present {
        if http2 {
            return bad("REQ-24", "Transfer-Encoding in HTTP/2");
        }
        if head.version != Version::HTTP_11 {
            return Err(CODED_TOO_EARLY);
        }
        coding.check()?;
        BodyLength::Unknown
    } else {
        match length {
            Some(length) => BodyLength::Sized(length),
            None if http2 => BodyLength::Unknown,
            None => BodyLength::Sized(0),
        }
    };
    // [REQ-21] RFC 9112 §6.1: with both, the connection ends after this response.
    ambiguous |= coding.present && length.is_some();
    // [EXP-03a] RFC 9110 §10.1.1: expectations are HTTP/1.1's; an HTTP/1.0 request may hold any
    let expects_continue = if head.version >= Version::HTTP_11 { expectation? } else { false };
    // [LIM-03] refuse before reading where the length is declared
    if let (BodyLength::Sized(length), Some(limit)) = (body, limits.body_bytes)
        && length > limit
    {
        return Err(Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, "LIM-03a", "the request body is too large"));
    }
    Ok(Facts {
        version: head.version,
        is_head: head.method == Method::HEAD,
        is_connect: head.method == Method::CONNECT,
        body,
        keep_alive: !ambiguous && connection.keeps(head.version),
        trailers: trailers || http2,
        // [EXP-03c] pointless without a body
        expects_continue: expects_continue && body != BodyLength::Sized(0),
        // RFC 9110 §7.8: ignored in HTTP/1.0; HTTP/2 has other means
        upgrade: upgrade && connection.upgrade && head.version == Version::HTTP_11,
    })
}

/// Two lines of Content-Length that differ. \[REQ-22a\]
pub const LENGTHS_DIFFER: Rejection = refusal("REQ-22a", "Content-Length twice, and not the same");
/// A Content-Length that is none. \[REQ-23\]
pub const NO_LENGTH: Rejection = refusal("REQ-23", "Content-Length is not a number");
/// Where the body ends is not known. \[REQ-24\]
pub const NOT_CHUNKED: Rejection = refusal("REQ-24", "the last transfer coding is not chunked");
/// Transfer-Encoding in HTTP/1.0. \[REQ-26\]
pub const CODED_TOO_EARLY: Rejection = refusal("REQ-26", "Transfer-Encoding before HTTP/1.1");

const fn refusal(requirement: &'static str, reason: &'static str) -> Rejection {
    Rejection::new(StatusCode::BAD_REQUEST, requirement, reason)
}

/// \[REQ-22\], \[REQ-23\] RFC 9110 §8.6: one decimal number; the same one twice is taken for one.
fn content_length(value: &HeaderValue, before: Option<u64>) -> Result<u64, Rejection> {
    let length = parse_length(value.as_bytes()).ok_or(NO_LENGTH)?;
    if before.is_some_and(|before| before != length) {
        return Err(LENGTHS_DIFFER);
    }
    Ok(length)
}

/// `1*DIGIT` that fits 64 bits.
pub(crate) fn parse_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// \[EXP-04\] RFC 9110 §10.1.1: whether it is `100-continue`; an empty list expects nothing.
fn expect(value: &HeaderValue) -> Result<bool, Rejection> {
    let mut expected = false;
    for member in list_members(value) {
        if !member.eq_ignore_ascii_case(b"100-continue") {
            return Err(Rejection::new(StatusCode::EXPECTATION_FAILED, "EXP-04", "unknown expectation"));
        }
        expected = true;
    }
    Ok(expected)
}

/// The Transfer-Encoding list, over all its lines. \[REQ-24\], \[REQ-25\] RFC 9112 §6.1, §7
#[derive(Default)]
struct Coding {
    present: bool,
    chunked: u32,
    last_is_chunked: bool,
    unknown: bool,
    malformed: bool,
}

impl Coding {
    fn add(&mut self, value: &HeaderValue) {
        self.present = true;
        for member in list_members(value) {
            self.last_is_chunked = member.eq_ignore_ascii_case(b"chunked");
            if self.last_is_chunked {
                self.chunked += 1;
            } else {
                self.unknown = true;
            }
        }
        // No coding has a name with such octets.
        self.malformed |= value.to_str().is_err();
    }

    fn check(&self) -> Result<(), Rejection> {
        if !self.last_is_chunked || self.malformed {
            return Err(NOT_CHUNKED);
        }
        if self.chunked > 1 {
            return Err(Rejection::new(StatusCode::BAD_REQUEST, "REQ-25b", "chunked more than once"));
        }
        if self.unknown {
            return Err(Rejection::new(StatusCode::NOT_IMPLEMENTED, "REQ-25a", "unknown transfer coding"));
        }
        Ok(())
    }
}

/// The Connection list, over all its lines. RFC 9110 §7.6.1
#[derive(Default)]
pub(crate) struct Connection {
    pub(crate) close: bool,
    keep_alive: bool,
    pub(crate) upgrade: bool,
}

impl Connection {
    pub(crate) fn add(&mut self, value: &HeaderValue) {
        for member in list_members(value) {
            self.close |= member.eq_ignore_ascii_case(b"close");
            self.keep_alive |= member.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade |= member.eq_ignore_ascii_case(b"upgrade");
        }
    }

    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut connection = Connection::default();
        for value in headers.get_all(header::CONNECTION) {
            connection.add(value);
        }
        connection
    }

    /// RFC 9112 §9.3
    fn keeps(&self, version: Version) -> bool {
        !self.close && (version >= Version::HTTP_11 || (version == Version::HTTP_10 && self.keep_alive))
    }
}
