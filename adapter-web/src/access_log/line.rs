//! Lines of the log: Common and Combined Log Format, and JSON. Pure text.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use adapter_core::http::{HeaderValue, Method, Uri, Version, header};
use adapter_core::refused::Refused;

use super::Format;
use super::date::{Date, Seconds, Timestamp};
use super::json::Object;

/// What a line says of a request.
pub(super) struct Head {
    pub(super) peer: Option<SocketAddr>,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    /// Referer and User-Agent, where the format has them.
    pub(super) agent: Option<[Option<HeaderValue>; 2]>,
    /// What it is called, for JSON.
    pub(super) id: HeaderValue,
    /// It came with the request.
    pub(super) has_own_id: bool,
    pub(super) received: SystemTime,
}

/// What a line says of its end.
pub(super) struct Ended<'a> {
    pub(super) status: u16,
    /// Octets of the request's body that were read.
    pub(super) read: u64,
    /// Octets of the response's body.
    pub(super) bytes: u64,
    /// `None` for one that was refused, which has no id either but its own.
    pub(super) took: Option<Duration>,
    pub(super) how: &'static str,
    /// What broke the response off.
    pub(super) why: Option<&'a str>,
}

impl Head {
    /// `host ident user [date] "request" status bytes`, and `"referer" "user-agent"`; or all of it as JSON.
    pub(super) fn line(&self, format: Format, ended: &Ended<'_>) -> String {
        let agent =
            self.agent.as_ref().map(|agent| agent.each_ref().map(|value| value.as_ref().map(HeaderValue::as_bytes)));
        if format == Format::Json {
            let target = self.uri.to_string();
            return stamped(self.received, self.peer)
                .text("method", Some(self.method.as_str().as_bytes()))
                .text("target", Some(target.as_bytes()))
                .plain("version", Some(format_args!("{:?}", self.version)))
                .number("status", Some(ended.status))
                .number("request_octets", Some(ended.read))
                .number("response_octets", Some(ended.bytes))
                .number("duration", ended.took.map(Seconds))
                .agent(agent.unwrap_or_default())
                .text("request_id", (self.has_own_id || ended.took.is_some()).then(|| self.id.as_bytes()))
                .plain("ended", Some(ended.how))
                .text("reason", ended.why.map(str::as_bytes))
                .line();
        }
        let mut line = String::with_capacity(160);
        begin(&mut line, self.peer, self.received);
        escape(&mut line, self.method.as_str().as_bytes());
        line.push(' ');
        escape(&mut line, self.uri.to_string().as_bytes());
        let _ = write!(line, " {:?}", self.version);
        end(&mut line, Some(ended.status), ended.bytes, agent);
        line
    }
}

impl Object {
    fn agent(self, [referer, agent]: [Option<&[u8]>; 2]) -> Self {
        self.text("referer", referer).text("user_agent", agent)
    }
}

fn stamped(received: SystemTime, peer: Option<SocketAddr>) -> Object {
    Object::new().plain("time", Some(Timestamp(received))).plain("client", peer.map(|peer| peer.ip()))
}

/// The line of a request the server answers by itself, with the `id` that it came with.
pub(super) fn refused(format: Format, refused: &Refused<'_>, id: Option<&str>) -> String {
    let agent = || [header::REFERER, header::USER_AGENT].map(|name| refused.field(&name).map(|(value, _)| value));
    let (status, now) = (refused.rejection().status.as_u16(), SystemTime::now());
    let asked = refused.line();
    if format == Format::Json {
        // As far as it is a request line; what is none is the target.
        let mut words = asked.as_deref().unwrap_or_default().split(|octet| *octet == b' ');
        let parts = match (words.next(), words.next(), words.next(), words.next()) {
            (Some(method), Some(target), Some(version), None) => [Some(method), Some(target), Some(version)],
            _ => [None, asked.as_deref(), None],
        };
        return stamped(now, refused.peer())
            .text("method", parts[0])
            .text("target", parts[1])
            .text("version", parts[2])
            .number("status", Some(status))
            .number("request_octets", Some(0))
            .number("response_octets", Some(refused.bytes()))
            .number("duration", None::<u8>)
            .agent(agent())
            .text("request_id", id.map(str::as_bytes))
            .plain("ended", Some("refused"))
            .text("reason", Some(refused.rejection().reason.as_bytes()))
            .line();
    }
    let mut line = String::with_capacity(160);
    begin(&mut line, refused.peer(), now);
    escape(&mut line, asked.as_deref().unwrap_or(b"-"));
    end(&mut line, Some(status), refused.bytes(), (format == Format::Combined).then(agent));
    line
}

/// The line of a TLS handshake that has failed, behind which there is no request, and no answer.
pub(super) fn handshake(format: Format, peer: Option<SocketAddr>, why: &dyn fmt::Display) -> String {
    let now = SystemTime::now();
    if format == Format::Json {
        return stamped(now, peer)
            .text("method", None)
            .text("target", None)
            .text("version", None)
            .number("status", None::<u8>)
            .number("request_octets", Some(0))
            .number("response_octets", Some(0))
            .number("duration", None::<u8>)
            .agent([None, None])
            .text("request_id", None)
            .plain("ended", Some("handshake_failed"))
            .text("reason", Some(why.to_string().as_bytes()))
            .line();
    }
    let mut line = String::with_capacity(80);
    begin(&mut line, peer, now);
    line.push('-');
    end(&mut line, None, 0, (format == Format::Combined).then_some([None, None]));
    line
}

/// A line up to its request.
fn begin(line: &mut String, peer: Option<SocketAddr>, received: SystemTime) {
    // Writing to a String can't fail.
    let _ = write!(line, "{} - - [{}] \"", Host(peer), Date::from(received));
}

/// A line from behind its request on.
fn end(line: &mut String, status: Option<u16>, bytes: u64, agent: Option<[Option<&[u8]>; 2]>) {
    let _ = match status {
        Some(status) => write!(line, "\" {status} "),
        None => write!(line, "\" - "),
    };
    match bytes {
        0 => line.push('-'),
        bytes => {
            let _ = write!(line, "{bytes}");
        }
    }
    for value in agent.iter().flatten() {
        line.push_str(" \"");
        escape(line, value.unwrap_or(b"-"));
        line.push('"');
    }
    line.push('\n');
}

/// Apache's escapes: what could end the field, the line, or the terminal's patience becomes `\"`, `\\`, `\xHH`.
pub(super) fn escape(line: &mut String, value: &[u8]) {
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

/// The address alone, `-` for Unix-domain sockets.
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
    use std::time::UNIX_EPOCH;

    use super::*;

    fn head(uri: &str) -> Head {
        Head {
            peer: Some(SocketAddr::from(([127, 0, 0, 1], 4711))),
            method: Method::GET,
            uri: uri.parse().expect("a target"),
            version: Version::HTTP_10,
            agent: None,
            id: HeaderValue::from_static("an-id"),
            has_own_id: false,
            received: UNIX_EPOCH + Duration::from_secs(971_186_136),
        }
    }

    fn ended(status: u16, bytes: u64) -> Ended<'static> {
        Ended { status, read: 3, bytes, took: Some(Duration::from_micros(1500)), how: "complete", why: None }
    }

    #[test]
    fn common() {
        assert_eq!(
            head("/apache_pb.gif?x=1").line(Format::Common, &ended(200, 2326)),
            "127.0.0.1 - - [10/Oct/2000:13:55:36 +0000] \"GET /apache_pb.gif?x=1 HTTP/1.0\" 200 2326\n"
        );
        let local = Head { peer: None, version: Version::HTTP_11, ..head("/") };
        let line = local.line(Format::Common, &ended(304, 0));
        assert_eq!(line, "- - - [10/Oct/2000:13:55:36 +0000] \"GET / HTTP/1.1\" 304 -\n");
    }

    #[test]
    fn combined() {
        let referer = HeaderValue::from_static("http://www.example.com/start.html");
        let head = Head { agent: Some([Some(referer), None]), ..head("/") };
        assert_eq!(
            head.line(Format::Combined, &ended(200, 5)),
            "127.0.0.1 - - [10/Oct/2000:13:55:36 +0000] \"GET / HTTP/1.0\" 200 5 \
             \"http://www.example.com/start.html\" \"-\"\n"
        );
    }

    #[test]
    fn json() {
        let agent = HeaderValue::from_static("curl \"x\"");
        let head = Head { agent: Some([None, Some(agent)]), ..head("/a?b=c") };
        assert_eq!(
            head.line(Format::Json, &ended(200, 5)),
            "{\"time\":\"2000-10-10T13:55:36.000Z\",\"client\":\"127.0.0.1\",\"method\":\"GET\",\"target\":\"/a?b=c\",\
             \"version\":\"HTTP/1.0\",\"status\":200,\"request_octets\":3,\"response_octets\":5,\"duration\":0.001500,\
             \"referer\":null,\"user_agent\":\"curl \\\"x\\\"\",\"request_id\":\"an-id\",\"ended\":\"complete\",\
             \"reason\":null}\n"
        );
    }

    #[test]
    fn what_a_client_sends_cannot_forge_a_line() {
        let agent = HeaderValue::from_bytes(b"a\"b\\c\td\xff").expect("a legal value");
        let head = Head { agent: Some([None, Some(agent)]), ..head("/%22%0a\"") };
        let line = head.line(Format::Combined, &ended(200, 5));
        assert!(line.ends_with("\"GET /%22%0a\\\" HTTP/1.0\" 200 5 \"-\" \"a\\\"b\\\\c\\x09d\\xff\"\n"), "{line}");
        assert_eq!(line.matches('\n').count(), 1);
        let mut escaped = String::new();
        escape(&mut escaped, b"\x1b[2J\r\n\x7f");
        assert_eq!(escaped, "\\x1b[2J\\x0d\\x0a\\x7f");
    }

    #[test]
    fn a_handshake_has_no_status() {
        let peer = Some(SocketAddr::from(([192, 0, 2, 1], 4711)));
        let line = |format| handshake(format, peer, &"no \"certificate\"");
        assert!(line(Format::Common).starts_with("192.0.2.1 - - [") && line(Format::Common).ends_with("] \"-\" - -\n"));
        assert!(line(Format::Combined).ends_with("] \"-\" - - \"-\" \"-\"\n"));
        let object: serde_json::Value = serde_json::from_str(&line(Format::Json)).expect("an object");
        assert_eq!((&object["client"], &object["reason"]), (&"192.0.2.1".into(), &"no \"certificate\"".into()));
    }
}
