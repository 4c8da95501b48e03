//! One line for each request in Common or Combined Log Format, and a `tracing` span and event.
//!
//! [`AccessLog`] wraps an application and runs where that runs. The line is written when the server lets go of the
//! response body, which is when the bytes are known; it is made on the server's thread and handed to the
//! [`Writer`]'s thread over a bounded queue, so that a slow reader of stdout holds up no request. When the queue is
//! full the line is dropped and counted; the count is logged. Requests a server answers by itself (malformed ones, late
//! ones, those it has no room for) never reach an application: [`AccessLog::refusals`] is told of them, by
//! [`ServerConfig::observe`](adapter_core::ServerConfig::observe).
//!
//! The span `request` (target `adapter`) is entered around every poll of the handler and of an async response body.
//! What a blocking handler or iterator logs on a blocking thread has no span. The event (target [`TARGET`], level
//! INFO) comes at the end and carries status, bytes, duration and whether the response was complete.

mod date;
mod entry;
mod in_span;
mod writer;

use std::future::Future;
use std::sync::Arc;

use adapter_core::observe::Observer;
use adapter_core::refused::Refused;
use adapter_core::{Application, DynApplication, Environ, Error, Request, Response, ServerInfo, dispatch};
use tracing::Instrument as _;

use self::entry::Entry;
use self::in_span::InSpan;
pub use self::writer::Writer;
use crate::output::Queue;

/// The target of the event at the end of each request.
pub const TARGET: &str = "adapter_web::access";

/// What the access log writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[non_exhaustive]
pub enum Format {
    /// Nothing; the application is not wrapped at all
    Off,
    /// Common Log Format on stdout
    Common,
    /// Common Log Format with Referer and User-Agent
    Combined,
    /// No lines, only spans and events of tracing
    Events,
}

/// An application whose requests are logged.
///
/// Errors and panics of the application become the server's own answer to them here, so that what the client gets is
/// what is logged. A request that is dropped before its response is logged as 499, as nginx does; one that the server
/// answers in the application's place, such as after [`Timeouts::handler`](adapter_core::Timeouts::handler), with the
/// server's status.
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
    lines: Option<Queue>,
}

impl AccessLog {
    /// Logs the requests of `inner`; lines, if `format` has any, go to `writer`.
    pub fn new(inner: DynApplication, format: Format, writer: Option<&Writer>) -> Self {
        AccessLog { inner, format, lines: writer.map(Writer::lines) }
    }

    /// Logs the requests the server answers by itself: for [`ServerConfig::observe`](adapter_core::ServerConfig::observe).
    pub fn refusals(format: Format, writer: Option<&Writer>) -> Arc<dyn Observer> {
        let lines = writer.filter(|_| matches!(format, Format::Common | Format::Combined)).map(Writer::lines);
        Arc::new(Refusals { combined: format == Format::Combined, lines })
    }
}

/// Logs what no application sees.
struct Refusals {
    combined: bool,
    lines: Option<Queue>,
}

impl Observer for Refusals {
    fn request_refused(&self, refused: &Refused<'_>) {
        entry::refused(refused, self.combined, self.lines.as_ref());
    }
}

impl Application for AccessLog {
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        let lines = if self.format == Format::Events { None } else { self.lines.clone() };
        let entry = Entry::begin(&request, &environ, self.format == Format::Combined, lines);
        let span = entry.span().clone();
        // `dispatch` contains panics and answers errors: what the server would have done one level further out.
        let response = dispatch::call(&self.inner, request, environ).instrument(span.clone()).await;
        let entry = entry.answered(response.status());
        Ok(response.map(|body| InSpan::wrap(body, span).on_finish(move |outcome, bytes| entry.end(outcome, bytes))))
    }

    fn startup(&self, server: &ServerInfo) -> impl Future<Output = Result<(), Error>> + Send {
        self.inner.startup(server)
    }

    fn shutdown(&self) -> impl Future<Output = Result<(), Error>> + Send {
        self.inner.shutdown()
    }
}
