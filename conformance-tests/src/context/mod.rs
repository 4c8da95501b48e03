//! What a case works with: a server's address, a fresh token, connections, and what the application saw.

mod request;
mod seen;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

pub use self::request::RequestBuilder;
pub use self::seen::{Call, Seen};

use crate::application::{CONTROL, TOKEN};
use crate::case::{Failure, ensure};
use crate::text;
use crate::wire::websocket::WebSocket;
use crate::wire::{self, Connection, Endpoint, Head, Response, Transcript};

/// The server a case talks to, and the case's own token.
pub struct Context {
    endpoint: Endpoint,
    token: String,
    earlier: Vec<String>,
    transcript: Transcript,
}

impl Context {
    /// For one case against the server there, which clients speak HTTP/1.1 with.
    pub fn new(endpoint: impl Into<Endpoint>, transcript: Transcript) -> Self {
        let endpoint = speaking(endpoint.into(), "http/1.1");
        Context { endpoint, token: fresh_token(), earlier: Vec::new(), transcript }
    }

    /// The server's address.
    pub fn address(&self) -> SocketAddr {
        self.endpoint.address
    }

    /// The scheme of what is spoken with it.
    pub fn scheme(&self) -> &'static str {
        if self.endpoint.tls.is_some() { "https" } else { "http" }
    }

    /// The token of this case; what the application does for requests with it is recorded under it.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Forgets what was recorded so far: a new token, for cases that try several things in turn.
    pub fn again(&mut self) {
        self.earlier.push(std::mem::replace(&mut self.token, fresh_token()));
    }

    /// A new connection.
    ///
    /// # Errors
    /// Nobody accepts it.
    pub fn connect(&self) -> Result<Connection, Failure> {
        Connection::open(&self.endpoint, &self.transcript)
    }

    /// A new connection for HTTP/2: agreed on by ALPN where there is TLS, else by prior knowledge.
    ///
    /// # Errors
    /// Nobody accepts it.
    pub fn connect_http2(&self) -> Result<Connection, Failure> {
        Connection::open(&speaking(self.endpoint.clone(), "h2"), &self.transcript)
    }

    /// A new connection on which `header` is sent first, in the clear.
    ///
    /// # Errors
    /// Nobody accepts it.
    pub(crate) fn connect_behind(&self, header: &[u8]) -> Result<Connection, Failure> {
        self.connect_in_pieces([header])
    }

    /// The same, in pieces with segments of their own.
    ///
    /// # Errors
    /// Nobody accepts it.
    pub(crate) fn connect_in_pieces<'p>(
        &self,
        pieces: impl IntoIterator<Item = &'p [u8]>,
    ) -> Result<Connection, Failure> {
        Connection::behind(pieces, &self.endpoint, &self.transcript)
    }

    /// As [`connect_behind`](Self::connect_behind), for HTTP/2 that is agreed on by ALPN.
    ///
    /// # Errors
    /// Nobody accepts it.
    #[cfg(feature = "tls")]
    pub(crate) fn connect_http2_behind(&self, header: &[u8]) -> Result<Connection, Failure> {
        Connection::behind([header], &speaking(self.endpoint.clone(), "h2"), &self.transcript)
    }

    /// A new connection in the clear, whatever the server has.
    ///
    /// # Errors
    /// Nobody accepts it.
    pub(crate) fn connect_raw(&self) -> Result<Connection, Failure> {
        Connection::open(&self.address().into(), &self.transcript)
    }

    /// A new connection of another client: for the cases about TLS.
    ///
    /// # Errors
    /// Nobody accepts it.
    #[cfg(feature = "tls")]
    pub(crate) fn connect_as(&self, client: &crate::wire::Client) -> Result<Connection, Failure> {
        Connection::open(&Endpoint { tls: Some(client.clone()), ..self.endpoint.clone() }, &self.transcript)
    }

    /// A new connection without TLS, whatever the server has.
    ///
    /// # Errors
    /// Nobody accepts it.
    #[cfg(feature = "tls")]
    pub(crate) fn connect_in_plain(&self) -> Result<Connection, Failure> {
        Connection::open(&self.address().into(), &self.transcript)
    }

    /// A new connection to another address of the server.
    ///
    /// # Errors
    /// Nobody accepts it.
    pub fn connect_to(&self, address: SocketAddr) -> Result<Connection, Failure> {
        Connection::open(&Endpoint { address, ..self.endpoint.clone() }, &self.transcript)
    }

    /// Of `scripts`, those the build of the application survives: in one with `panic = "abort"` none that panics. For cases
    /// about something else as well; those about panics alone need the capability `panic-unwind`. \[ERR-10\]
    ///
    /// # Errors
    /// The server does not answer.
    pub fn survivable<'a>(&self, scripts: &[&'a str]) -> Result<Vec<&'a str>, Failure> {
        let unwinds = self.control("about")?.lines().any(|line| line == "capability panic-unwind true");
        Ok(scripts.iter().copied().filter(|script| unwinds || !script.contains("panic")).collect())
    }

    /// A connection by a socket that was made before.
    ///
    /// # Errors
    /// Nobody accepts it.
    pub fn connect_with(&self, socket: socket2::Socket) -> Result<Connection, Failure> {
        Connection::with(socket, &self.endpoint, &self.transcript)
    }

    /// A request under this case's token.
    pub fn request(&self, method: &str, target: &str) -> RequestBuilder {
        RequestBuilder::new(method, target, &self.token)
    }

    /// A GET that does `script`.
    pub fn get(&self, script: &str) -> RequestBuilder {
        self.request("GET", "/").script(script)
    }

    /// A POST of `body` that does `script`.
    pub fn post(&self, script: &str, body: impl AsRef<[u8]>) -> RequestBuilder {
        self.request("POST", "/").script(script).body(body)
    }

    /// A handshake for a WebSocket, with the key of RFC 6455 §1.3, that does `script`.
    pub fn handshake(&self, script: &str) -> RequestBuilder {
        let request = self.get(script).field("upgrade", "websocket").field("connection", "Upgrade");
        request.field("sec-websocket-version", "13").field("sec-websocket-key", KEY)
    }

    /// Sends `handshake` on a new connection; it must be accepted.
    ///
    /// # Errors
    /// It is not.
    pub fn accepted(&self, handshake: &RequestBuilder) -> Result<(WebSocket, Head), Failure> {
        let mut connection = self.connect()?;
        connection.send(handshake.bytes())?;
        let head = switched(&mut connection)?;
        Ok((WebSocket::new(connection), head))
    }

    /// A WebSocket on a new connection, with a session of `actions`.
    ///
    /// # Errors
    /// The handshake is not accepted.
    pub fn websocket(&self, actions: &str) -> Result<WebSocket, Failure> {
        self.accepted(&self.handshake(&format!("websocket {actions}"))).map(|(socket, _)| socket)
    }

    /// A stream of octets on a new connection, which the application takes for `actions`.
    ///
    /// # Errors
    /// The upgrade is refused.
    pub fn stream(&self, actions: &str) -> Result<Connection, Failure> {
        let mut connection = self.connect()?;
        connection.send(self.upgrade(&format!("upgrade {actions}")).bytes())?;
        switched(&mut connection)?;
        Ok(connection)
    }

    /// A request for another protocol, that does `script`.
    pub fn upgrade(&self, script: &str) -> RequestBuilder {
        self.get(script).field("upgrade", "conformance").field("connection", "upgrade")
    }

    /// A request as written, with `{t}` replaced by the field line of the token.
    pub fn raw(&self, text: impl AsRef<[u8]>) -> Vec<u8> {
        let line = format!("{TOKEN}: {}\r\n", self.token);
        let mut bytes = Vec::new();
        let mut rest = text.as_ref();
        while let Some(at) = rest.windows(3).position(|three| three == b"{t}") {
            bytes.extend_from_slice(&rest[..at]);
            bytes.extend_from_slice(line.as_bytes());
            rest = &rest[at + 3..];
        }
        bytes.extend_from_slice(rest);
        bytes
    }

    /// Sends `request` on a new connection and reads the response.
    ///
    /// # Errors
    /// There is none, or it is malformed.
    pub fn exchange(&self, request: &RequestBuilder) -> Result<(Connection, Response), Failure> {
        let mut connection = self.connect()?;
        connection.send(request.bytes())?;
        let response = connection.response(request.method())?;
        Ok((connection, response))
    }

    /// [`exchange`](Self::exchange), and the response must be a complete one of `status`.
    ///
    /// # Errors
    /// It is not.
    pub fn answered(&self, request: &RequestBuilder, status: u16) -> Result<(Connection, Response), Failure> {
        let (connection, response) = self.exchange(request)?;
        ensure!(response.status() == status, "expected a {status}, seen a {}", response.status());
        ensure!(!response.truncated, "the response is not complete");
        Ok((connection, response))
    }

    /// Sends `bytes`, and the server must refuse them by itself: one of `statuses`, the connection closed, the
    /// application not called. `{t}` in them is as in [`raw`](Self::raw).
    ///
    /// # Errors
    /// It does something else.
    pub fn refused(&mut self, bytes: impl AsRef<[u8]>, statuses: &[u16]) -> Result<Response, Failure> {
        self.again();
        let mut connection = self.connect()?;
        connection.send(self.raw(bytes))?;
        let response = connection.response("GET")?;
        let status = response.status();
        ensure!(statuses.contains(&status), "expected a refusal with {statuses:?}, seen a {status}");
        ensure!(!response.is_from_application(), "the {status} was made by the application");
        connection.closed()?;
        // A server may linger until the client has closed, too.
        drop(connection);
        self.not_called()?;
        Ok(response)
    }

    /// As [`refused`](Self::refused), for bytes that the server need not read to their end.
    ///
    /// # Errors
    /// It does something else.
    pub fn refused_while_sending(&mut self, bytes: impl AsRef<[u8]>, statuses: &[u16]) -> Result<(), Failure> {
        self.again();
        let mut connection = self.connect()?;
        let sending = connection.send_in_background(self.raw(bytes))?;
        let response = connection.response("GET")?;
        let status = response.status();
        ensure!(statuses.contains(&status), "expected a refusal with {statuses:?}, seen a {status}");
        ensure!(!response.is_from_application(), "the {status} was made by the application");
        sending.finish();
        self.not_called()
    }

    /// As [`refused`](Self::refused), or the connection closed without an answer.
    ///
    /// # Errors
    /// It does something else.
    pub fn refused_or_closed(&mut self, bytes: impl AsRef<[u8]>, statuses: &[u16]) -> Result<(), Failure> {
        self.again();
        let mut connection = self.connect()?;
        // The server may close before it has read everything.
        let _ = connection.send(self.raw(bytes));
        let answer = connection.rest()?;
        if !answer.is_empty() {
            let status = std::str::from_utf8(&answer).ok().and_then(|text| text.get(9..12)?.parse::<u16>().ok());
            ensure!(
                status.is_some_and(|status| statuses.contains(&status)),
                "expected a refusal with {statuses:?} or nothing, seen {}",
                text::show(&answer, 200)
            );
        }
        self.not_called()
    }

    /// Checks that the application was not called under this token.
    ///
    /// # Errors
    /// It was.
    pub fn not_called(&self) -> Result<(), Failure> {
        let calls = self.seen()?.calls();
        let targets: Vec<String> = calls.iter().map(|call| format!("{} {}", call.method, call.uri)).collect();
        ensure!(calls.is_empty(), "the application was called: {targets:?}");
        Ok(())
    }

    /// Lets time pass at the server; the case sees no call of it.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn pause(&self, milliseconds: u64) -> Result<(), Failure> {
        let request = self.request("GET", "/").aside().script(&format!("sleep {milliseconds}"));
        self.answered(&request, 200).map(drop)
    }

    /// What the application saw so far.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn seen(&self) -> Result<Seen, Failure> {
        self.control(&format!("report {}", self.token)).map(|text| self.seen_in(&text))
    }

    /// Waits until the application has recorded `event` (a word and perhaps details), then says what it saw.
    ///
    /// # Errors
    /// It does not come.
    pub fn wait_for(&self, event: &str) -> Result<Seen, Failure> {
        self.wait_for_times(event, 1)
    }

    /// [`wait_for`](Self::wait_for) of an event that comes `count` times.
    ///
    /// # Errors
    /// It does not come as often.
    pub fn wait_for_times(&self, event: &str, count: usize) -> Result<Seen, Failure> {
        if !self.endpoint.abilities.asks_event(event) {
            return Err(format!("the application does not tell of {event}").into());
        }
        let patience = wire::patience().as_millis();
        let text = self.control(&format!("wait {} {count} {} {patience}", self.token, text::encode(event)));
        let text = text.map_err(|failure| {
            let seen = self.seen().map(|seen| seen.summary()).unwrap_or_default();
            Failure(format!("the application did not record \"{event}\" ({count} ×): {failure}; it recorded {seen}"))
        })?;
        let seen = self.seen_in(&text);
        ensure!(seen.count(event) >= count, "the application did not record \"{event}\" ({count} ×)");
        Ok(seen)
    }

    /// Opens a gate the application waits at, or will come to.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn open(&self, gate: &str) -> Result<(), Failure> {
        self.control(&format!("open {} {gate}", self.token)).map(drop)
    }

    /// Checks that lint saw the server do nothing wrong in any call of this case. \[TST-02\]
    ///
    /// # Errors
    /// What it did wrong.
    pub(crate) fn no_violations(&mut self) -> Result<(), Failure> {
        self.again();
        // Few at a time: they travel in a field value, and some servers under test limit those.
        for tokens in self.earlier.chunks(64) {
            let found = self.control(&format!("violations {}", tokens.join(" ")))?;
            ensure!(found.is_empty(), "lint saw the server break a rule: {found}");
        }
        Ok(())
    }

    fn seen_in(&self, report: &str) -> Seen {
        Seen::parse(report, &self.endpoint.abilities)
    }

    /// Tells an application in another process that the case is over: nobody waits at its gates any more. One that does
    /// not know of this keeps what it has.
    pub(crate) fn end(&mut self) {
        self.again();
        for tokens in self.earlier.chunks(64) {
            let _ = self.control(&format!("end {}", tokens.join(" ")));
        }
    }

    /// Asks the application about its records, on a connection that is not part of the transcript.
    pub(crate) fn control(&self, what: &str) -> Result<String, Failure> {
        control(&self.endpoint, what)
    }
}

/// The key of a handshake, and the accept that belongs to it. RFC 6455 §1.3
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What answers [`KEY`].
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The head of a 101.
pub(crate) fn switched(connection: &mut Connection) -> Result<Head, Failure> {
    let head = connection.head()?;
    ensure!(head.status == 101, "expected a 101, seen a {}", head.status);
    Ok(head)
}

/// The same place, where ALPN offers `protocol`.
fn speaking(mut endpoint: Endpoint, protocol: &str) -> Endpoint {
    endpoint.tls = endpoint.tls.map(|client| client.alpn(&[protocol]));
    endpoint
}

/// Asks who is there before the first case.
///
/// # Errors
/// In plain words: nobody, or nobody who speaks HTTP, or another application.
pub(crate) fn about(endpoint: &Endpoint) -> Result<String, Failure> {
    let address = endpoint.address;
    drop(TcpStream::connect_timeout(&address, wire::patience()).map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => format!("nobody listens at {address}: {error}"),
        _ => format!("cannot connect to {address}: {error}"),
    })?);
    let mut connection = Connection::open(endpoint, &Transcript::default())?;
    let asked = connection.send(control_request("about")).and_then(|()| connection.response("GET"));
    let spoken = if endpoint.tls.is_some() { "HTTP/1.1 over TLS" } else { "HTTP/1.1" };
    let response = asked.map_err(|failure| format!("what listens at {address} does not speak {spoken}: {failure}"))?;
    let text = response.text();
    if response.status() != 200 || !text.lines().any(|line| line.starts_with("server ")) {
        let status = response.status();
        let by = response.head.get("server").map(|by| format!(" by {by}")).unwrap_or_default();
        return Err(format!("{address} does not serve the conformance application: \"about\" was answered {status}{by}, and not as spec/APPLICATION.md says").into());
    }
    Ok(text)
}

fn control_request(what: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: suite\r\n{CONTROL}: {what}\r\nconnection: close\r\n\r\n")
}

/// Sends a control request to the conformance application there.
pub(crate) fn control(endpoint: &Endpoint, what: &str) -> Result<String, Failure> {
    let mut connection = Connection::open(endpoint, &Transcript::default())?;
    connection.send(control_request(what))?;
    let response = connection.response("GET")?;
    ensure!(response.status() == 200, "the report request was answered {}", response.status());
    Ok(response.text())
}

/// A token nobody else uses, in this process or another one that talks to the same server.
fn fresh_token() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_micros());
    // Always of one length, so that requests that differ in nothing else are of one length too.
    format!("{:08x}-{:08x}-{:06x}", std::process::id(), since & 0xffff_ffff, COUNT.fetch_add(1, Ordering::Relaxed))
}
