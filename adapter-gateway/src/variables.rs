//! What a web server says of a request: variables in the manner of CGI, RFC 3875 §4.1, and the request they mean.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use adapter_core::ListenAddr;
use adapter_core::rules::Rejection;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header};

/// The variables of a request, as an extension of it: also what has no place elsewhere, such as `REMOTE_USER` or what
/// `fastcgi_param` adds. Cheap to clone.
///
/// They are the web server's words, and as true as it is: an application that trusts one of them trusts whoever may connect to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(Arc<[(Vec<u8>, Vec<u8>)]>);

impl Variables {
    pub(crate) fn new(pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        Variables(pairs.into())
    }

    /// From names and values with a NUL behind each; `None` if it is not that.
    pub(crate) fn from_nul_separated(octets: &[u8]) -> Option<Self> {
        let mut parts = octets.strip_suffix(b"\0")?.split(|octet| *octet == 0);
        let mut pairs = Vec::new();
        while let Some(name) = parts.next() {
            pairs.push((name.to_vec(), parts.next()?.to_vec()));
        }
        Some(Self::new(pairs))
    }

    /// The value of `name`, the first if there are several; any octets.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| value)
    }

    /// All of them, in the web server's order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (&name[..], &value[..]))
    }

    /// One that is not there, or empty, is `None`: RFC 3875 §4.1 does not tell these apart.
    fn said(&self, name: &str) -> Option<&[u8]> {
        self.get(name).filter(|value| !value.is_empty())
    }

    fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.said(name)?).ok()
    }

    /// What was said last of the length of the body, if anything was: nginx begins with what it has of a body that it sends as it comes, as the
    /// protocol wants a length first, and says all of it where its configuration does.
    fn length(&self) -> Option<&[u8]> {
        let said = self.iter().filter(|(name, _)| *name == b"CONTENT_LENGTH").map(|(_, value)| value);
        // Caddy says -1 of a body whose length it does not know.
        said.filter(|value| !value.is_empty() && *value != b"-1").last()
    }

    /// Octets of the body; `None` where that is not said, or is no number.
    pub(crate) fn content_length(&self) -> Option<u64> {
        let value = std::str::from_utf8(self.length()?).ok()?;
        value.bytes().all(|octet| octet.is_ascii_digit()).then(|| value.parse().ok())?
    }

    /// An address of two variables. A port that is not said is 0.
    fn address(&self, address: &str, port: &str) -> Option<SocketAddr> {
        let address: IpAddr = self.text(address)?.parse().ok()?;
        Some(SocketAddr::new(address, self.text(port).and_then(|port| port.parse().ok()).unwrap_or(0)))
    }

    /// The client.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.address("REMOTE_ADDR", "REMOTE_PORT")
    }

    /// What the client has connected to.
    pub(crate) fn local(&self) -> Option<ListenAddr> {
        self.address("SERVER_ADDR", "SERVER_PORT").map(ListenAddr::Tcp)
    }

    /// Whether the client speaks TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.text("HTTPS").is_some_and(|said| !said.eq_ignore_ascii_case("off"))
            || self.text("REQUEST_SCHEME").is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
    }

    /// Where the application is mounted, if the web server says so in a way that adds up: `SCRIPT_NAME` and `PATH_INFO` are
    /// the path. Many servers are configured to put the whole path into `SCRIPT_NAME`, which is no mount.
    pub(crate) fn mount(&self, path: &str) -> Option<&str> {
        let script = self.text("SCRIPT_NAME").filter(|script| *script != "/")?;
        let rest = path.strip_prefix(script)?;
        let is_told = self.said("PATH_INFO").is_some() && rest.starts_with('/');
        (is_told && !script.ends_with('/')).then_some(script)
    }

    /// The target as the client sent it, where the web server passes that on; else made anew of the parts, which are decoded.
    fn target(&self) -> Vec<u8> {
        if let Some(target) = self.said("REQUEST_URI") {
            return target.to_vec();
        }
        let mut target = Vec::new();
        for part in ["SCRIPT_NAME", "PATH_INFO"] {
            for octet in self.said(part).unwrap_or_default() {
                match octet {
                    b'/'
                    | b'-'
                    | b'.'
                    | b'_'
                    | b'~'
                    | b'!'
                    | b'$'
                    | b'&'..=b'*'
                    | b'+'
                    | b','
                    | b';'
                    | b'='
                    | b':'
                    | b'@' => {
                        target.push(*octet);
                    }
                    octet if octet.is_ascii_alphanumeric() => target.push(*octet),
                    octet => target.extend_from_slice(format!("%{octet:02X}").as_bytes()),
                }
            }
        }
        if target.is_empty() {
            target.push(b'/');
        }
        if let Some(query) = self.said("QUERY_STRING") {
            target.push(b'?');
            target.extend_from_slice(query);
        }
        target
    }

    /// The request's head, of at most `most` fields, which is no more than a map of them holds.
    ///
    /// # Errors
    /// The answer to what is none.
    pub(crate) fn head(&self, most: usize) -> Result<Parts, Rejection> {
        const BAD: fn(&'static str) -> Rejection =
            |reason| Rejection::new(StatusCode::BAD_REQUEST, "RFC 3875 4.1", reason);
        let (mut head, ()) = Request::new(()).into_parts();
        let method = self.said("REQUEST_METHOD").ok_or(BAD("no REQUEST_METHOD"))?;
        head.method = Method::from_bytes(method).map_err(|_| BAD("the method is none"))?;
        head.uri = Uri::from_maybe_shared(Bytes::from(self.target())).map_err(|_| BAD("the target is none"))?;
        head.version = match self.said("SERVER_PROTOCOL") {
            Some(b"HTTP/1.0") => Version::HTTP_10,
            Some(b"HTTP/2.0" | b"HTTP/2") => Version::HTTP_2,
            Some(b"HTTP/3.0" | b"HTTP/3") => Version::HTTP_3,
            _ => Version::HTTP_11,
        };
        for (name, value) in self.iter() {
            let name = match name {
                b"CONTENT_LENGTH" => continue,
                b"CONTENT_TYPE" if value.is_empty() => continue,
                b"CONTENT_TYPE" => name,
                // [GWY-02] CVE-2016-5385: it would be HTTP_PROXY in the environment of a program
                b"HTTP_PROXY" => continue,
                name => match name.strip_prefix(b"HTTP_") {
                    // They come as variables of their own.
                    None | Some(b"CONTENT_TYPE" | b"CONTENT_LENGTH") => continue,
                    Some(name) => name,
                },
            };
            let name: Vec<u8> = name.iter().map(|octet| if *octet == b'_' { b'-' } else { *octet }).collect();
            let name = HeaderName::from_bytes(&name).map_err(|_| BAD("the name of a field is none"))?;
            let value = HeaderValue::from_bytes(value).map_err(|_| BAD("the value of a field is none"))?;
            // [LIM-02]
            if head.headers.len() == most {
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                return Err(Rejection::new(status, "LIM-02", "there are too many header fields"));
            }
            head.headers.append(name, value);
        }
        if let Some(length) = self.length() {
            let length = HeaderValue::from_bytes(length).map_err(|_| BAD("the value of a field is none"))?;
            head.headers.insert(header::CONTENT_LENGTH, length);
        }
        // The web server has heeded them, and they would be heeded once more. What else is between it and the client an application may see
        // as from any server, and be told that it can't be had. [UPG-25]
        for name in [header::TRANSFER_ENCODING, header::TE, header::EXPECT] {
            head.headers.remove(name);
        }
        if !head.headers.contains_key(header::HOST)
            && let Some(name) = self.text("SERVER_NAME")
        {
            let host = match self.text("SERVER_PORT") {
                Some(port) if !matches!(port, "80" | "443") => format!("{name}:{port}"),
                _ => name.to_owned(),
            };
            if let Ok(host) = HeaderValue::try_from(host) {
                head.headers.insert(header::HOST, host);
            }
        }
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        Variables::new(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    /// \[GWY-01\]
    #[test]
    fn the_target_is_the_clients_where_it_is_known() {
        let raw = variables(&[("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/a%20b?c=d"), ("SCRIPT_NAME", "/a b")]);
        assert_eq!(raw.head(100).unwrap().uri, "/a%20b?c=d");
        let made = variables(&[
            ("REQUEST_METHOD", "GET"),
            ("SCRIPT_NAME", "/app"),
            ("PATH_INFO", "/ä b?"),
            ("QUERY_STRING", "x=%20"),
        ]);
        assert_eq!(made.head(100).unwrap().uri, "/app/%C3%A4%20b%3F?x=%20");
    }

    #[test]
    fn the_version_is_the_clients() {
        let version = |said| {
            let variables = variables(&[("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/"), ("SERVER_PROTOCOL", said)]);
            variables.head(100).unwrap().version
        };
        for said in ["HTTP/1.1", "INCLUDED", ""] {
            assert_eq!(version(said), Version::HTTP_11);
        }
        assert_eq!(version("HTTP/1.0"), Version::HTTP_10);
        assert_eq!([version("HTTP/2"), version("HTTP/2.0")], [Version::HTTP_2; 2]);
        assert_eq!([version("HTTP/3"), version("HTTP/3.0")], [Version::HTTP_3; 2]);
    }

    /// \[GWY-02\], \[GWY-03\]
    #[test]
    fn fields_are_the_clients_but_for_the_traps() {
        let head = variables(&[
            ("REQUEST_METHOD", "POST"),
            ("HTTP_X_FORWARDED_FOR", "1.2.3.4"),
            ("HTTP_PROXY", "evil"),
            ("HTTP_CONTENT_LENGTH", "9"),
            ("HTTP_CONNECTION", "close"),
            ("CONTENT_LENGTH", "3"),
            ("CONTENT_LENGTH", "5"),
            ("CONTENT_LENGTH", ""),
            ("CONTENT_LENGTH", "-1"),
            ("CONTENT_TYPE", ""),
            ("SERVER_NAME", "example"),
            ("SERVER_PORT", "8080"),
        ])
        .head(100)
        .unwrap();
        let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["connection", "content-length", "host", "x-forwarded-for"]);
        assert_eq!(
            (&head.headers["host"], &head.headers["content-length"]),
            (&"example:8080".parse().unwrap(), &"5".parse().unwrap())
        );
    }

    #[test]
    fn a_mount_is_one_that_adds_up() {
        let mounted = variables(&[("SCRIPT_NAME", "/app"), ("PATH_INFO", "/x")]);
        assert_eq!(mounted.mount("/app/x"), Some("/app"));
        assert_eq!(mounted.mount("/other/x"), None);
        assert_eq!(variables(&[("SCRIPT_NAME", "/app/x"), ("PATH_INFO", "")]).mount("/app/x"), None);
    }

    /// \[GWY-09\]
    #[test]
    fn addresses_and_scheme_are_the_web_servers_word() {
        let it = variables(&[
            ("REMOTE_ADDR", "2001:db8::1"),
            ("SERVER_ADDR", "10.0.0.1"),
            ("SERVER_PORT", "443"),
            ("HTTPS", "on"),
        ]);
        assert_eq!(variables(&[("REMOTE_PORT", "1")]).peer(), None);
        assert_eq!(it.peer().unwrap().to_string(), "[2001:db8::1]:0");
        assert_eq!(it.local().unwrap().to_string(), "10.0.0.1:443");
        assert!(it.is_https() && !variables(&[("HTTPS", "off")]).is_https());
    }
}
