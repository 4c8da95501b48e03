//! Requests a server answers by itself.
//!
//! An application that is wrapped by a log never sees a malformed head, one that is too large or that never ended. The
//! server tells of each with [`Connection::refused`](crate::environ::Connection::refused), on the thread that serves the
//! connection, before it answers; an [`Observer`](crate::observe::Observer) is told.

use std::borrow::Cow;
use std::net::SocketAddr;

use http::{HeaderName, HeaderValue, Version, request};

use crate::rejection::Rejection;

/// What a server knows of a request it refuses.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Asked<'a> {
    /// Nothing: not an octet of it came, or none is at hand.
    Nothing,
    /// The octets that came, from the first one of the head on, however many.
    Octets(&'a [u8]),
    /// The head, whole and parsed.
    Head(&'a request::Parts),
}

/// A request that a server answers by itself.
#[derive(Debug)]
pub struct Refused<'a> {
    rejection: &'a Rejection,
    peer: Option<SocketAddr>,
    asked: Asked<'a>,
    has_body: bool,
}

impl<'a> Refused<'a> {
    pub(crate) fn new(rejection: &'a Rejection, peer: Option<SocketAddr>, asked: Asked<'a>) -> Self {
        Refused { rejection, peer, asked, has_body: true }
    }

    pub(crate) fn without_body(mut self) -> Self {
        self.has_body = false;
        self
    }

    /// The status of the answer, and why. Of a request whose stream or connection ended without one, the status that it would have had.
    pub fn rejection(&self) -> &'a Rejection {
        self.rejection
    }

    /// The client, as [`Environ::peer_addr`](crate::Environ::peer_addr) would have it where the head is known, else the
    /// last hop.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The request line as far as it came, any octets, at most 8 KiB; `None` where nothing is known.
    pub fn line(&self) -> Option<Cow<'a, [u8]>> {
        const MOST: usize = 8192;
        let line = match self.asked {
            Asked::Nothing => return None,
            Asked::Head(head) => {
                let line = match head.uri.path_and_query() {
                    // RFC 9113 §8.3.1: scheme and authority are not of it there, nor where a request is served
                    Some(target) if head.version >= Version::HTTP_2 => {
                        format!("{} {target} {:?}", head.method, head.version)
                    }
                    _ => format!("{} {} {:?}", head.method, head.uri, head.version),
                };
                let line = line.into_bytes();
                Cow::Owned(line.get(..MOST).map_or_else(|| line.clone(), <[u8]>::to_vec))
            }
            Asked::Octets(octets) => {
                // RFC 9112 §2.2: empty lines before it are none of it
                let leading = octets.iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
                let line = octets.get(leading..).unwrap_or_default();
                let line = line.get(..MOST).unwrap_or(line).split(|octet| *octet == b'\n').next().unwrap_or_default();
                Cow::Borrowed(line.strip_suffix(b"\r").unwrap_or(line))
            }
        };
        (!line.is_empty()).then_some(line)
    }

    /// The value of the field `name`, as far as the head is known: the first one, and whether it is the only one.
    /// Any octets, as they came. Reads over what came of a head that was not parsed; never panics.
    pub fn field(&self, name: &HeaderName) -> Option<(&'a [u8], bool)> {
        match self.asked {
            Asked::Nothing => None,
            Asked::Head(head) => {
                let mut values = head.headers.get_all(name).iter().map(HeaderValue::as_bytes);
                Some((values.next()?, values.next().is_none()))
            }
            Asked::Octets(octets) => {
                let mut values = fields(octets).filter_map(|line| {
                    let (of, value) = line.split_at_checked(name.as_str().len())?;
                    let value = value.strip_prefix(b":")?.trim_ascii();
                    of.eq_ignore_ascii_case(name.as_str().as_bytes()).then_some(value)
                });
                Some((values.next()?, values.next().is_none()))
            }
        }
    }

    /// Octets of the answer's body.
    pub fn bytes(&self) -> u64 {
        let is_head = match self.asked {
            Asked::Head(head) => head.method == http::Method::HEAD,
            _ => self.line().is_some_and(|line| line.starts_with(b"HEAD ")),
        };
        if is_head || !self.has_body { 0 } else { self.rejection.reason.len() as u64 }
    }
}

/// The whole lines of fields of a head of HTTP/1, as far as it came. RFC 9112 §2.1
fn fields(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let leading = octets.iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
    let lines = octets.get(leading..).unwrap_or_default().split_inclusive(|octet| *octet == b'\n').skip(1);
    let whole = lines.map_while(|line| line.strip_suffix(b"\n"));
    whole.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).take_while(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn the_line_is_what_came() {
        const BAD: Rejection = Rejection::new(StatusCode::BAD_REQUEST, "TGT-20", "no");
        let line = |octets: &[u8]| Refused::new(&BAD, None, Asked::Octets(octets)).line().map(Cow::into_owned);
        assert_eq!(line(b"\r\n\nGET / HTTP/1.1\r\nHost: x\r\n"), Some(b"GET / HTTP/1.1".to_vec()));
        assert_eq!(line(b"GET /ha"), Some(b"GET /ha".to_vec()));
        assert_eq!(line(b"\x16\x03\x01\x02\n"), Some(b"\x16\x03\x01\x02".to_vec()));
        assert_eq!((line(b""), line(b"\r\n\r\n")), (None, None));
        assert_eq!(line(&[b'x'; 100_000]).map(|line| line.len()), Some(8192));
        assert_eq!(Refused::new(&BAD, None, Asked::Octets(b"HEAD / HT")).bytes(), 0);
        let head = |version, target| {
            let request = http::Request::options(target).version(version);
            let (head, ()) = request.body(()).unwrap().into_parts();
            let line = Refused::new(&BAD, None, Asked::Head(&head)).line().map(Cow::into_owned);
            String::from_utf8(line.unwrap()).unwrap()
        };
        assert_eq!(head(Version::HTTP_11, "http://a/b?c"), "OPTIONS http://a/b?c HTTP/1.1");
        assert_eq!(head(Version::HTTP_2, "http://a/b?c"), "OPTIONS /b?c HTTP/2.0");
        assert_eq!(head(Version::HTTP_2, "*"), "OPTIONS * HTTP/2.0");
        assert_eq!(head(Version::HTTP_2, "a:1"), "OPTIONS a:1 HTTP/2.0");
        assert_eq!(Refused::new(&BAD, None, Asked::Nothing).bytes(), 2);
        assert_eq!(Refused::new(&BAD, None, Asked::Nothing).without_body().bytes(), 0);
    }

    #[test]
    fn fields_are_found_as_far_as_the_head_came() {
        const BAD: Rejection = Rejection::new(StatusCode::BAD_REQUEST, "TGT-20", "no");
        let name = HeaderName::from_static("x-id");
        let of = |octets: &'static [u8]| Refused::new(&BAD, None, Asked::Octets(octets)).field(&name);
        assert_eq!(of(b"\r\nGET / HTTP/1.1\r\nA: b\r\nX-ID:  one \r\n"), Some((b"one".as_slice(), true)));
        assert_eq!(of(b"G\nx-id:\nX-Id: two\n\n"), Some((b"".as_slice(), false)));
        for none in [
            b"".as_slice(),
            b"x-id: a\r\n\r\n",
            b"G\r\nx-id: a",
            b"G\r\n\r\nx-id: a\r\n",
            b"G\nx-idx: a\nx-id : a\nx-i\n",
        ] {
            assert_eq!(of(none), None, "{none:?}");
        }
        let request = http::Request::get("/").header("x-id", "a").header("x-id", "b");
        let (head, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(Refused::new(&BAD, None, Asked::Head(&head)).field(&name), Some((b"a".as_slice(), false)));
    }
}
