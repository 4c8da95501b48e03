//! What is on the page: the counts of the server, by the names of the conventions of OpenTelemetry for HTTP, and by our own.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use adapter_core::ServerInfo;
use adapter_core::observe::{HistogramSnapshot, RequestEnd, RequestsSnapshot, Snapshot};

use super::text::{Format, Kind, Text, labels};

/// What does not change while the server runs.
#[derive(Clone, Debug)]
pub(crate) struct About {
    server: String,
    version: String,
    /// In seconds since 1970.
    started: f64,
}

impl About {
    /// A server that starts now.
    pub(crate) fn new(info: &ServerInfo) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Milliseconds: more would be digits only.
        let started = since.as_millis() as f64 / 1000.0;
        About { server: info.name.to_string(), version: info.version.to_string(), started }
    }
}

/// The exposition of `snapshot`.
pub(super) fn page(about: &About, snapshot: &Snapshot, format: Format) -> String {
    let mut text = Text::new(format);
    text.family("adapter", Kind::Info, "The server and its version.")
        .sample(&labels(&[("server", &about.server), ("version", &about.version)]), 1);
    text.family("process_start_time_seconds", Kind::Gauge, "When the server was started, in seconds since 1970.")
        .sample("", about.started);
    requests(&mut text, snapshot);
    connections(&mut text, snapshot);
    work(&mut text, snapshot);
    text.finish()
}

fn requests(text: &mut Text, snapshot: &Snapshot) {
    let name = "http_server_request_duration_seconds";
    let mut family =
        text.family(name, Kind::Histogram, "Requests, from their whole head to the last octet of the response.");
    for (labels, durations) in series(&snapshot.requests) {
        family.histogram(&labels, &durations);
    }
    text.family("http_server_active_requests", Kind::Gauge, "Requests that are under way.")
        .sample("", snapshot.requests_active());
    text.family("adapter_requests", Kind::Counter, "Requests the application was called with.")
        .sample("", snapshot.requests_started);
    text.family(
        "adapter_requests_uncategorized",
        Kind::Counter,
        "Requests that are in no histogram of durations: there were too many kinds of them.",
    )
    .sample("", snapshot.requests_uncategorized);
    let mut family =
        text.family("adapter_requests_refused", Kind::Counter, "Requests the server has answered by itself.");
    for (status, count) in &snapshot.refused {
        family.sample(&labels(&[("http_response_status_code", &status.to_string())]), count);
    }
    let help = "From the whole head of a request to the head of its response.";
    text.family("adapter_time_to_first_byte_seconds", Kind::Histogram, help).histogram("", &snapshot.to_first);
    text.family("adapter_request_body_bytes", Kind::Counter, "Octets of request bodies.")
        .sample("", snapshot.octets_received);
    text.family("adapter_response_body_bytes", Kind::Counter, "Octets of response bodies.")
        .sample("", snapshot.octets_sent);
    text.family("adapter_panics", Kind::Counter, "Panics of application code in this process.")
        .sample("", snapshot.panics);
}

/// The durations of requests by their labels. Those that differ in nothing a label says are one.
fn series(requests: &[RequestsSnapshot]) -> BTreeMap<String, HistogramSnapshot> {
    let mut all: BTreeMap<String, HistogramSnapshot> = BTreeMap::new();
    for request in requests {
        let status = request.status.map(|status| status.as_u16().to_string()).unwrap_or_default();
        let is_server_error = request.status.is_some_and(|status| status.is_server_error());
        let error = match request.how {
            RequestEnd::Complete if is_server_error => &*status,
            RequestEnd::Complete => "",
            how => how.name(),
        };
        let key = labels(&[
            ("http_request_method", request.method),
            ("http_response_status_code", &status),
            ("http_route", request.route.as_deref().unwrap_or_default()),
            ("network_protocol_version", request.version),
            ("url_scheme", request.scheme),
            ("error_type", error),
        ]);
        match all.get_mut(&key) {
            Some(durations) => add(durations, &request.durations),
            None => {
                all.insert(key, request.durations.clone());
            }
        }
    }
    all
}

fn add(to: &mut HistogramSnapshot, more: &HistogramSnapshot) {
    to.count += more.count;
    to.sum = to.sum.saturating_add(more.sum);
    to.buckets.iter_mut().zip(&more.buckets).for_each(|(to, more)| *to += more);
}

fn connections(text: &mut Text, snapshot: &Snapshot) {
    text.family("adapter_connections_open", Kind::Gauge, "Connections that are open.")
        .sample("", snapshot.connections_open());
    text.family("adapter_connections_opened", Kind::Counter, "Connections that were accepted.")
        .sample("", snapshot.connections_opened);
    let mut family = text.family("adapter_connections_closed", Kind::Counter, "Connections that are closed, and why.");
    for (why, count) in &snapshot.connections_closed {
        family.sample(&labels(&[("reason", why.name())]), count);
    }
    let help = "Attempts to accept a connection that failed, mostly for want of file descriptors.";
    text.family("adapter_accept_failures", Kind::Counter, help).sample("", snapshot.accepts_failed);
    text.family("adapter_tls_handshakes", Kind::Counter, "TLS handshakes that are over.")
        .sample(&labels(&[("result", "done")]), snapshot.handshakes)
        .sample(&labels(&[("result", "failed")]), snapshot.handshakes_failed);
    text.family("adapter_tls_resumptions", Kind::Counter, "TLS handshakes that went on with a session of before.")
        .sample("", snapshot.handshakes_resumed);
    text.family("adapter_upgrades", Kind::Counter, "Connections and streams that the application took over.")
        .sample("", snapshot.upgrades);
    text.family("adapter_upgrades_open", Kind::Gauge, "Those of them that are open.")
        .sample("", snapshot.upgrades_open());
    text.family("adapter_websockets", Kind::Counter, "WebSockets that were opened.").sample("", snapshot.websockets);
    text.family("adapter_websockets_open", Kind::Gauge, "Those of them that are open.")
        .sample("", snapshot.websockets_open());
}

fn work(text: &mut Text, snapshot: &Snapshot) {
    text.family("adapter_blocking_queued", Kind::Counter, "Blocking work that was accepted.")
        .sample("", snapshot.blocking_queued);
    text.family(
        "adapter_blocking_dropped",
        Kind::Counter,
        "Blocking work that never ran: there was no place for it, or nobody waits for it any more.",
    )
    .sample("", snapshot.blocking_dropped);
    text.family("adapter_blocking_waiting", Kind::Gauge, "Blocking work that waits for a thread.")
        .sample("", snapshot.blocking_waiting());
    text.family(
        "adapter_blocking_running",
        Kind::Gauge,
        "Blocking work that runs; on threadpool, of what had to wait for a thread.",
    )
    .sample("", snapshot.blocking_running());
    text.family("adapter_blocking_wait_seconds", Kind::Histogram, "How long blocking work waited for a thread.")
        .histogram("", &snapshot.blocking_waited);
    text.family("adapter_blocking_run_seconds", Kind::Counter, "How long blocking work ran, all in all.")
        .sample("", snapshot.blocking_ran.as_secs_f64());
    let mut family = text.family("adapter_timeouts", Kind::Counter, "Time limits that took effect.");
    for (limit, count) in &snapshot.timeouts {
        family.sample(&labels(&[("limit", limit.name())]), count);
    }
    text.family("adapter_draining", Kind::Gauge, "1 from the begin of the drain on.")
        .sample("", u8::from(snapshot.is_draining));
}
