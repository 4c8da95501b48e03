//! The span of a request, with the fields that OpenTelemetry's conventions for HTTP servers name, and those by which
//! tracing-opentelemetry makes its spans (`otel.…`).
//!
//! What is known at the end only, the status and the route, is recorded then. Values that a client chooses freely are text in a span,
//! and its query, which may hold secrets, is not there.

use adapter_core::http::{HeaderMap, HeaderValue, StatusCode, header};
use adapter_core::observe::{Route, known_method};
use adapter_core::{Environ, Request};
use tracing::Span;
use tracing::field::{Empty, display};

use super::request_id;

/// The span of `request`, which has the `id`.
pub(super) fn of(request: &Request, environ: &Environ, id: &HeaderValue) -> Span {
    let headers: &HeaderMap = request.headers();
    let method = known_method(request.method());
    // Of whatever level the lines are that are kept, they say whose they are.
    tracing::error_span!(
        target: "adapter",
        "request",
        http.request.method = method,
        // Where the name is the client's own, such as BREW.
        http.request.method_original = (method == "_OTHER").then(|| request.method().as_str()),
        url.path = request.uri().path(),
        url.scheme = environ.scheme().as_str(),
        client.address = environ.peer_addr().map(|peer| display(peer.ip())),
        network.peer.address = environ.socket_peer_addr().map(|peer| display(peer.ip())),
        user_agent.original = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()),
        request_id = id.to_str().unwrap_or_default(),
        trace_id = request_id::trace_id(headers),
        http.response.status_code = Empty,
        http.route = Empty,
        // Known with the route, and what is recorded stands behind what was there.
        otel.name = Empty,
        otel.kind = "server",
        otel.status_code = Empty,
    )
}

/// What the span is called, by the `route` of the answer, where the application says it.
pub(super) fn named(span: &Span, method: &'static str, route: Option<&Route>) {
    let method = if method == "_OTHER" { "HTTP" } else { method };
    match route {
        Some(route) => {
            span.record("http.route", route.as_str());
            span.record("otel.name", display(format_args!("{method} {}", route.as_str())));
        }
        None => _ = span.record("otel.name", method),
    }
}

/// The client is answered with `status`; without one it was gone before.
pub(super) fn answered(span: &Span, status: Option<u16>) {
    let Some(status) = status else { return };
    // What becomes of a span elsewhere has signed integers only.
    span.record("http.response.status_code", i64::from(status));
    if StatusCode::from_u16(status).is_ok_and(|status| status.is_server_error()) {
        span.record("otel.status_code", "ERROR");
    }
}
