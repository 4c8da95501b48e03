//! From `tracing` to OTLP.
//!
//! The exporter reads the variables of OpenTelemetry's own: `OTEL_EXPORTER_OTLP_ENDPOINT` (default: `http://localhost:4318`),
//! `OTEL_SERVICE_NAME`, `OTEL_BSP_SCHEDULE_DELAY` and their like.

use std::io;

use adapter_web::http::HeaderMap;
use adapter_web::observe::{Route, known_method};
use adapter_web::{Application, Environ, Error, Request, Response, ServerInfo};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Sends spans from a thread of its own, in batches, until it is finished.
pub(crate) struct Telemetry {
    provider: SdkTracerProvider,
}

/// Makes the subscriber of this process: spans go to the collector, events to stderr (`RUST_LOG`; default: info) and into their
/// spans.
///
/// A collector that is not there is no error: it is told on stderr with each batch that is lost, and requests are answered all
/// the same.
///
/// # Errors
/// The variables name no endpoint that can be one.
pub(crate) fn start() -> Result<Telemetry, ExporterBuildError> {
    let exporter = SpanExporter::builder().with_http().build()?;
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    // A span that is entered would be begun, and the caller's trace could be its parent no more (`continue_trace`).
    let spans =
        tracing_opentelemetry::layer().with_context_activation(false).with_tracer(provider.tracer("adapter-web"));
    // By name, for the exporter is a client of HTTP, which has spans, too: those would be sent, for which there would be more.
    let ours = Targets::new()
        .with_target("adapter", LevelFilter::INFO)
        .with_target(env!("CARGO_CRATE_NAME"), LevelFilter::INFO);
    let wanted = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_filter(wanted);
    tracing_subscriber::registry().with(spans.with_filter(ours)).with(lines).init();
    Ok(Telemetry { provider })
}

impl Telemetry {
    /// Sends what is left. Blocks for five seconds at most.
    pub(crate) fn finish(self) {
        if let Err(lost) = self.provider.shutdown() {
            tracing::warn!("spans are lost: {lost}");
        }
    }
}

/// An application whose spans are beneath those of its callers, and named by its routes.
pub(crate) struct Traced<A>(pub(crate) A);

impl<A: Application> Application for Traced<A> {
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        continue_trace(request.headers());
        let method = known_method(request.method());
        let response = self.0.call(request, environ).await?;
        // The access log records that name, too, which does not arrive where a span of the application's own has begun this one.
        if let Some(route) = response.extensions().get::<Route>() {
            let method = if method == "_OTHER" { "HTTP" } else { method };
            Span::current().context().span().update_name(format!("{method} {}", route.as_str()));
        }
        Ok(response)
    }

    fn startup(&self, server: &ServerInfo) -> impl Future<Output = Result<(), Error>> + Send {
        self.0.startup(server)
    }

    fn shutdown(&self) -> impl Future<Output = Result<(), Error>> + Send {
        self.0.shutdown()
    }
}

/// Puts the span of the request that is being answered beneath the caller's, which `traceparent` names. Clients choose what is
/// there: a proxy at the edge takes it away where that matters.
fn continue_trace(headers: &HeaderMap) {
    let caller = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    if caller.span().span_context().is_valid() {
        // An error means that there is no span: with `--access-log off`.
        let _ = Span::current().set_parent(caller);
    }
}
