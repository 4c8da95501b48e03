//! One request on its way to the log, and what its line looks like.
//!
//! An entry writes itself exactly once: when the response body ends, or when it is dropped before that.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use adapter_core::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header};
use adapter_core::refused::Refused;
use adapter_core::{Environ, Outcome, Request, dispatch};
use tracing::Span;

use super::date::Date;
use crate::output::Queue;

/// What nginx logs when the client went away before there was a response.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// A request that is being answered.
pub(super) struct Entry {
    head: Head,
    received: SystemTime,
    started: Instant,
    span: Span,
    lines: Option<Queue>,
    status: u16,
    ended: bool,
}

/// What a line says of a request.
struct Head {
    peer: Option<SocketAddr>,
    method: Method,
    uri: Uri,
    version: Version,
    /// Referer and User-Agent, for the Combined format.
    agent: Option<[Option<HeaderValue>; 2]>,
}

impl Entry {
    /// A request that has just arrived. Clones reference counts, not texts.
    pub(super) fn begin(request: &Request, environ: &Environ, combined: bool, lines: Option<Queue>) -> Self {
        let head = Head {
            peer: environ.peer_addr(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            agent: combined.then(|| agent(request.headers())),
        };
        let span = tracing::info_span!(
            target: "adapter",
            "request",
            method = %head.method,
            path = head.uri.path(),
            peer = %Peer(head.peer),
        );
        Entry {
            head,
            received: SystemTime::now(),
            started: environ.received_at(),
            span,
            lines,
            status: CLIENT_CLOSED_REQUEST,
            ended: false,
        }
    }

    /// The span of this request.
    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// The response head is known.
    pub(super) fn answered(mut self, status: StatusCode) -> Self {
        self.status = status.as_u16();
        self
    }

    /// The server is done with the response body.
    pub(super) fn end(mut self, outcome: Outcome, bytes: u64) {
        if let Some(status) = dispatch::answered_instead() {
            return self.write_instead(status);
        }
        // A body that must not be sent is dropped unpulled, and nothing is missing from the response then.
        let bodiless = self.head.method == Method::HEAD || matches!(self.status, 204 | 205 | 304);
        self.write(bodiless || outcome == Outcome::Complete, bytes);
    }

    /// The server answers with `status` and a text of its own.
    fn write_instead(&mut self, status: StatusCode) {
        self.status = status.as_u16();
        let body = dispatch::failure(status).into_body();
        self.write(true, if self.head.method == Method::HEAD { 0 } else { body.len().unwrap_or(0) });
    }

    fn write(&mut self, complete: bool, bytes: u64) {
        self.ended = true;
        tracing::info!(
            target: super::TARGET,
            parent: &self.span,
            status = self.status,
            bytes,
            complete,
            elapsed_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            "answered"
        );
        if let Some(lines) = &self.lines {
            lines.send(self.head.line(self.received, self.status, bytes));
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.ended {
            // [LIM-09] who answered matters: the client still waited
            match dispatch::answered_instead() {
                Some(status) => self.write_instead(status),
                None => self.write(false, 0),
            }
        }
    }
}

fn agent(headers: &HeaderMap) -> [Option<HeaderValue>; 2] {
    [header::REFERER, header::USER_AGENT].map(|name| headers.get(name).cloned())
}

impl Head {
    /// `host ident user [date] "request" status bytes`, and `"referer" "user-agent"`.
    fn line(&self, received: SystemTime, status: u16, bytes: u64) -> String {
        let mut line = String::with_capacity(160);
        begin(&mut line, self.peer, received);
        escape(&mut line, self.method.as_str().as_bytes());
        line.push(' ');
        escape(&mut line, self.uri.to_string().as_bytes());
        let _ = write!(line, " {:?}", self.version);
        end(&mut line, status, bytes, self.agent.as_ref().map(|agent| agent.each_ref().map(Option::as_ref)));
        line
    }
}

/// The line and the event of a request the server answered by itself.
pub(super) fn refused(refused: &Refused<'_>, combined: bool, lines: Option<&Queue>) {
    let rejection = refused.rejection();
    let mut asked = String::new();
    escape(&mut asked, refused.line().as_deref().unwrap_or(b"-"));
    tracing::info!(
        target: super::TARGET,
        status = rejection.status.as_u16(),
        bytes = refused.bytes(),
        peer = %Peer(refused.peer()),
        request = %asked,
        requirement = rejection.requirement,
        reason = rejection.reason,
        "refused"
    );
    if let Some(lines) = lines {
        let mut line = String::with_capacity(160);
        begin(&mut line, refused.peer(), SystemTime::now());
        line.push_str(&asked);
        end(&mut line, rejection.status.as_u16(), refused.bytes(), combined.then(|| refused.agent()));
        lines.send(line);
    }
}

/// A line up to its request.
fn begin(line: &mut String, peer: Option<SocketAddr>, received: SystemTime) {
    // Writing to a String can't fail.
    let _ = write!(line, "{} - - [{}] \"", Host(peer), Date::from(received));
}

/// A line from behind its request on.
fn end(line: &mut String, status: u16, bytes: u64, agent: Option<[Option<&HeaderValue>; 2]>) {
    let _ = write!(line, "\" {status} ");
    match bytes {
        0 => line.push('-'),
        bytes => {
            let _ = write!(line, "{bytes}");
        }
    }
    for value in agent.iter().flatten() {
        line.push_str(" \"");
        escape(line, value.map_or(b"-", HeaderValue::as_bytes));
        line.push('"');
    }
    line.push('\n');
}

/// Apache's escapes: what could end the field, the line, or the terminal's patience becomes `\"`, `\\`, `\xHH`.
fn escape(line: &mut String, value: &[u8]) {
    for byte in value {
        match byte {
            b'"' => line.push_str("\\\""),
            b'\\' => line.push_str("\\\\"),
            b' '..=b'~' => line.push(char::from(*byte)),
            byte => {
                let _ = write!(line, "\\x{byte:02x}");
            }
        }
    }
}

/// Address and port, `-` for Unix-domain sockets.
struct Peer(Option<SocketAddr>);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(peer) => peer.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// The address alone.
struct Host(Option<SocketAddr>);

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(peer) => peer.ip().fmt(f),
            None => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn head(uri: &str) -> Head {
        Head {
            peer: Some(SocketAddr::from(([127, 0, 0, 1], 4711))),
            method: Method::GET,
            uri: uri.parse().expect("a target"),
            version: Version::HTTP_10,
            agent: None,
        }
    }

    fn received() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(971_186_136)
    }

    #[test]
    fn common() {
        assert_eq!(
            head("/apache_pb.gif?x=1").line(received(), 200, 2326),
            "127.0.0.1 - - [10/Oct/2000:13:55:36 +0000] \"GET /apache_pb.gif?x=1 HTTP/1.0\" 200 2326\n"
        );
        let local = Head { peer: None, version: Version::HTTP_11, ..head("/") };
        assert_eq!(local.line(received(), 304, 0), "- - - [10/Oct/2000:13:55:36 +0000] \"GET / HTTP/1.1\" 304 -\n");
    }

    #[test]
    fn combined() {
        let referer = HeaderValue::from_static("http://www.example.com/start.html");
        let head = Head { agent: Some([Some(referer), None]), ..head("/") };
        assert_eq!(
            head.line(received(), 200, 5),
            "127.0.0.1 - - [10/Oct/2000:13:55:36 +0000] \"GET / HTTP/1.0\" 200 5 \
             \"http://www.example.com/start.html\" \"-\"\n"
        );
    }

    #[test]
    fn what_a_client_sends_cannot_forge_a_line() {
        let agent = HeaderValue::from_bytes(b"a\"b\\c\td\xff").expect("a legal value");
        let head = Head { agent: Some([None, Some(agent)]), ..head("/%22%0a\"") };
        let line = head.line(received(), 200, 5);
        assert!(line.ends_with("\"GET /%22%0a\\\" HTTP/1.0\" 200 5 \"-\" \"a\\\"b\\\\c\\x09d\\xff\"\n"), "{line}");
        assert_eq!(line.matches('\n').count(), 1);
        let mut escaped = String::new();
        escape(&mut escaped, b"\x1b[2J\r\n\x7f");
        assert_eq!(escaped, "\\x1b[2J\\x0d\\x0a\\x7f");
    }
}
