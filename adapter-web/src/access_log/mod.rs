//! One line for each request in Common or Combined Log Format, or in JSON, and a `tracing` span and event.
//!
//! [`AccessLog`] wraps an application and runs where that runs. The line is written when the server lets go of the
//! response body, which is when the bytes are known; it is made on the server's thread and handed to the
//! [`Writer`]'s thread over a bounded queue, so that a slow reader of stdout holds up no request. When the queue is
//! full the line is dropped and counted; the count is logged. Requests a server answers by itself (malformed ones, late
//! ones, those it has no room for) never reach an application, nor do TLS handshakes that fail: [`AccessLog::refusals`] is told of
//! them, by [`ServerConfig::observe`](adapter_core::ServerConfig::observe). A handshake's line has neither request nor status.
//!
//! The span `request` (target `adapter`) is around the handler and the response's body, on whatever thread they run, and around what
//! they spawn by the server's [`Runtime`](adapter_core::Runtime); all that the server says of the request stands there, too. The event
//! (target [`TARGET`], level INFO) comes at the end and carries status, bytes, duration and whether the response was complete.
//!
//! Fields of the span are named as OpenTelemetry has them: `http.request.method`, `url.path`, `url.scheme`, `client.address` (behind
//! trusted proxies), `network.peer.address`, `user_agent.original`, `otel.kind`, `otel.name`; at the end `http.response.status_code`,
//! `http.route` where the response has a [`Route`](adapter_core::observe::Route), and `otel.status_code` for a 5xx. A query is in no
//! field.
//!
//! # Request ids
//!
//! Each request has an id, `request_id` in its span and in JSON. It is the request's `x-request-id` where that is one field of at most 128
//! visible ASCII characters, whoever sent it, or else a fresh one, by which the field is replaced, so that the application passes it on. The
//! response has it as `x-request-id`, too, unless the application has set that; what is refused has none. The trace of a `traceparent` (W3C Trace Context) is
//! `trace_id` in the span. Both are names that a client can choose: good for finding lines that belong together, and a proof of nothing.
//! Let a proxy overwrite them where that matters.
//!
//! # JSON
//!
//! Every line has the same keys, null where nothing is known: `time` (RFC 3339, UTC, when the request came), `client`, `method`, `target`,
//! `version`, `status`, `request_octets` and `response_octets` (of bodies, without framing), `duration` (seconds, until the server lets
//! go of the body), `referer`, `user_agent`, `request_id`, `ended` and `reason`. A request has ended `complete`, `failed` (the
//! application's body), `client_gone`, `timed_out` or `forced`, as [`RequestEnd`](adapter_core::observe::RequestEnd) has it, or was `refused` by the
//! server, for a `reason`, and has no duration then, nor an id but its own; `handshake_failed` is TLS. What has `failed` has the body's error for a reason, and what has
//! `timed_out` the limit; what is `complete` has one where the server has answered in the application's place
//! ([`OwnAnswer`](adapter_core::dispatch::OwnAnswer)).

mod date;
mod entry;
mod json;
mod line;
mod open;
mod request_id;
mod span;
mod writer;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use adapter_core::observe::{ConnectionInfo, Observer};
use adapter_core::refused::Refused;
use adapter_core::{Application, DynApplication, Environ, Error, Request, Response, ServerInfo, dispatch};
use tracing::Instrument as _;

use self::entry::Entry;
use self::writer::Lines;
pub use self::writer::Writer;

/// The target of the event at the end of each request.
pub const TARGET: &str = "adapter_web::access";

/// What the access log writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[non_exhaustive]
pub enum Format {
    /// Nothing; the application is not wrapped at all
    Off,
    /// Common Log Format on stdout
    Common,
    /// Common Log Format with Referer and User-Agent
    Combined,
    /// One JSON object a line on stdout
    Json,
    /// No lines, only spans and events of tracing
    Events,
}

impl Format {
    /// Whether there are lines.
    pub(crate) fn has_lines(self) -> bool {
        matches!(self, Format::Common | Format::Combined | Format::Json)
    }

    fn has_agent(self) -> bool {
        matches!(self, Format::Combined | Format::Json)
    }
}

/// An application whose requests are logged.
///
/// Errors and panics of the application become the server's own answer to them here, so that what the client gets is
/// what is logged. A request that is dropped before its response is logged as 499, as nginx does; one that the server
/// answers in the application's place, such as after [`Timeouts::handler`](adapter_core::Timeouts::handler), with the
/// server's status.
///
/// A line is written when its request is over: when the last octet of the response is with the operating system, or never will be. That is
/// told by the server where it has an [observer](adapter_core::ServerConfig::observe), such as [`refusals`](Self::refusals); else the
/// line is written at the end of the response's body. Lines of different threads come in no order.
///
/// ```
/// use adapter_web::access_log::{AccessLog, Format, Writer};
/// use adapter_web::{Body, DynApplication, Environ, Error, Request, Response};
///
/// async fn hello(_request: Request, _environ: Environ) -> Result<Response, Error> {
///     Ok(Response::new(Body::from("hello")))
/// }
/// let writer = Writer::to(std::io::sink())?;
/// let application = AccessLog::new(DynApplication::new(hello), Format::Combined, Some(&writer));
/// # let _ = application;
/// writer.close();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct AccessLog {
    inner: DynApplication,
    format: Format,
    lines: Option<Lines>,
}

impl AccessLog {
    /// Logs the requests of `inner`; lines, if `format` has any, go to `writer`.
    pub fn new(inner: DynApplication, format: Format, writer: Option<&Writer>) -> Self {
        AccessLog { inner, format, lines: writer.map(Writer::lines) }
    }

    /// Logs the requests the server answers by itself, and the TLS handshakes that fail: for [`ServerConfig::observe`](adapter_core::ServerConfig::observe).
    pub fn refusals(format: Format, writer: Option<&Writer>) -> Arc<dyn Observer> {
        Arc::new(Refusals { format, lines: writer.filter(|_| format.has_lines()).map(Writer::lines) })
    }
}

/// Logs what no application sees.
struct Refusals {
    format: Format,
    lines: Option<Lines>,
}

impl Observer for Refusals {
    fn request_refused(&self, refused: &Refused<'_>) {
        entry::refused(refused, self.format, self.lines.as_ref().map(|lines| &lines.queue));
    }

    fn handshake_failed(&self, connection: ConnectionInfo, why: &dyn fmt::Display) {
        entry::handshake(connection, why, self.format, self.lines.as_ref().map(|lines| &lines.queue));
    }

    fn drain_ended(&self, _: bool) {
        if let Some(lines) = &self.lines {
            lines.open.end();
        }
    }
}

/// A request that the application has.
struct Called(Option<Arc<Entry>>);

impl Called {
    fn answered(mut self, response: Response) -> Response {
        match self.0.take() {
            Some(entry) => entry.answered(response),
            None => response,
        }
    }
}

impl Drop for Called {
    fn drop(&mut self) {
        if let Some(entry) = &self.0 {
            entry.left();
        }
    }
}

impl Application for AccessLog {
    async fn call(&self, mut request: Request, environ: Environ) -> Result<Response, Error> {
        let lines = self.lines.as_ref().filter(|_| self.format.has_lines());
        let queue = lines.map(|lines| lines.queue.clone());
        let entry = Arc::new(Entry::begin(&mut request, &environ, self.format, queue));
        entry.look_at_limit(&request);
        if let Some(lines) = lines.filter(|_| environ.runtime().may_block()) {
            lines.open.add(&entry);
        }
        let span = entry.span().clone();
        let called = Called(Some(entry));
        // `dispatch` contains panics and answers errors: what the server would have done one level further out.
        // Also what it does before there is something to poll.
        let call = span.in_scope(|| dispatch::call(&self.inner, request, environ));
        let response = call.instrument(span).await;
        Ok(called.answered(response))
    }

    fn startup(&self, server: &ServerInfo) -> impl Future<Output = Result<(), Error>> + Send {
        self.inner.startup(server)
    }

    fn shutdown(&self) -> impl Future<Output = Result<(), Error>> + Send {
        self.inner.shutdown()
    }
}
