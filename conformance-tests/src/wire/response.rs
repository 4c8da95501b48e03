//! Reading a response as strictly as RFC 9112 lets a client.

use crate::case::{Failure, ensure};
use crate::text;

/// How the body of a response was delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By definition there is none: HEAD, 1xx, 204, 304, 2xx to CONNECT.
    None,
    /// By Content-Length.
    Length(u64),
    /// By chunked coding.
    Chunked,
    /// By the end of the connection.
    Close,
}

/// The head of a response.
#[derive(Clone, Debug)]
pub struct Head {
    /// `1.1` or `1.0`.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    /// Names as sent, values trimmed, in order.
    pub fields: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// Parses a head including its empty line.
    ///
    /// # Errors
    /// What is wrong with it; nothing is tolerated that RFC 9112 has for senders.
    pub fn parse(bytes: &[u8]) -> Result<Head, Failure> {
        let shown = || text::show(bytes, 600);
        let Some(block) = bytes.strip_suffix(b"\r\n\r\n") else {
            return Err(format!("a head without an end:\n{}", shown()).into());
        };
        let mut lines = Vec::new();
        let mut rest = block;
        while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
            lines.push(&rest[..end]);
            rest = &rest[end + 2..];
        }
        lines.push(rest);
        for line in &lines {
            ensure!(
                !line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)),
                "CR, LF or NUL within a line of the head:\n{}",
                shown()
            );
        }
        let line = String::from_utf8_lossy(lines[0]).into_owned();
        let mut parts = line.splitn(3, ' ');
        let (version, status) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        // [RSP-02a] RFC 9112 §4: the second space is there even without a phrase
        let Some(reason) = parts.next() else {
            return Err(format!("a status line without the space after the code: {line:?}").into());
        };
        let number = status.parse().ok().filter(|_| status.len() == 3);
        let (Some(version), Some(status)) = (version.strip_prefix("HTTP/"), number) else {
            return Err(format!("not a status line: {line:?}").into());
        };
        ensure!(matches!(version, "1.0" | "1.1"), "a response of version {version}");
        let mut fields = Vec::new();
        for line in &lines[1..] {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                return Err(format!("a field line without a colon: {}", text::show(line, 200)).into());
            };
            let name = String::from_utf8_lossy(&line[..colon]).into_owned();
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            ensure!(!name.is_empty() && name.bytes().all(token), "a field name that is no token: {name:?}");
            fields.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
        Ok(Head { version: version.to_owned(), status, reason: reason.to_owned(), fields })
    }

    /// The values of all lines of `name`, as text.
    pub fn all(&self, name: &str) -> Vec<String> {
        let lines = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<String> {
        self.all(name).into_iter().next()
    }

    /// Whether there is a line of `name`.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether the list field `name` has the member `member`, in any case.
    pub fn lists(&self, name: &str, member: &str) -> bool {
        self.all(name).iter().any(|line| line.split(',').any(|found| found.trim().eq_ignore_ascii_case(member)))
    }

    /// How the body that follows is delimited. RFC 9112 §6.3
    ///
    /// # Errors
    /// Both kinds of framing at once, an unusable Content-Length, an unknown coding.
    pub fn framing(&self, method: &str) -> Result<Framing, Failure> {
        let (codings, lengths) = (self.all("transfer-encoding"), self.all("content-length"));
        // [FRM-05]
        ensure!(codings.is_empty() || lengths.is_empty(), "both Content-Length and Transfer-Encoding in a response");
        let bodiless = method == "HEAD"
            || matches!(self.status, 100..=199 | 204 | 304)
            || (method == "CONNECT" && self.status / 100 == 2);
        ensure!(lengths.len() <= 1, "several Content-Length lines: {lengths:?}");
        let length = match lengths.first() {
            None => None,
            Some(length) if length.bytes().all(|byte| byte.is_ascii_digit()) => length.parse().ok(),
            Some(length) => return Err(format!("an unusable Content-Length: {length:?}").into()),
        };
        if !codings.is_empty() {
            ensure!(codings == ["chunked"], "an unknown Transfer-Encoding in a response: {codings:?}");
            ensure!(self.version == "1.1", "Transfer-Encoding in a response of version {}", self.version);
        }
        Ok(match (bodiless, codings.is_empty(), length) {
            (true, ..) => Framing::None,
            (_, false, _) => Framing::Chunked,
            (_, _, Some(length)) => Framing::Length(length),
            _ => Framing::Close,
        })
    }
}

/// A response, read to the end its framing gives.
#[derive(Clone, Debug)]
pub struct Response {
    /// Interim responses (1xx) before it.
    pub interim: Vec<Head>,
    /// Its head.
    pub head: Head,
    /// How its body was delimited.
    pub framing: Framing,
    /// Its body, decoded.
    pub body: Vec<u8>,
    /// The data of each chunk, if it was chunked.
    pub chunks: Vec<Vec<u8>>,
    /// Trailer fields, if it was chunked.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Whether the connection ended before the body did.
    pub truncated: bool,
}

impl Response {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the conformance application made it, and not the server on its own.
    pub fn is_from_application(&self) -> bool {
        self.head.has(crate::application::MARK)
    }
}
