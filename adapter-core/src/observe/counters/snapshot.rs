//! What was counted, read out.

use std::time::Duration;

use http::StatusCode;

use super::HistogramSnapshot;
use crate::observe::{ConnectionEnd, RequestEnd, TimeLimit};

/// What [`Counters`](super::Counters) have counted. Counts begin with the counters and only grow.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// Connections that were accepted.
    pub connections_opened: u64,
    /// Those that are closed, by the reason.
    pub connections_closed: Vec<(ConnectionEnd, u64)>,
    /// Attempts to accept one that failed.
    pub accepts_failed: u64,
    /// TLS handshakes that have succeeded.
    pub handshakes: u64,
    /// Those of them that went on with a session of before.
    pub handshakes_resumed: u64,
    /// TLS handshakes that have failed.
    pub handshakes_failed: u64,
    /// Requests the application was called with.
    pub requests_started: u64,
    /// Those that are over.
    pub requests_ended: u64,
    /// Those of them that were [refused](RequestEnd::Refused): they are in [`refused`](Self::refused) and not in
    /// [`requests`](Self::requests).
    pub requests_turned_away: u64,
    /// The others by what they have in common.
    pub requests: Vec<RequestsSnapshot>,
    /// Those for which there was no room in [`requests`](Self::requests).
    pub requests_uncategorized: u64,
    /// Requests that the server has answered by itself, by the status.
    pub refused: Vec<(u16, u64)>,
    /// Octets of request bodies.
    pub octets_received: u64,
    /// Octets of response bodies.
    pub octets_sent: u64,
    /// From the whole head of a request to that of its response.
    pub to_first: HistogramSnapshot,
    /// Connections and streams that applications took over.
    pub upgrades: u64,
    /// Those that are over.
    pub upgrades_ended: u64,
    /// WebSockets that were opened.
    pub websockets: u64,
    /// Those that are over.
    pub websockets_closed: u64,
    /// Blocking work that was accepted.
    pub blocking_queued: u64,
    /// That has begun.
    pub blocking_started: u64,
    /// That has ended.
    pub blocking_ended: u64,
    /// That never began, and never will.
    pub blocking_dropped: u64,
    /// How long it waited for a thread.
    pub blocking_waited: HistogramSnapshot,
    /// How long it ran, all in all.
    pub blocking_ran: Duration,
    /// Time limits that took effect.
    pub timeouts: Vec<(TimeLimit, u64)>,
    /// Panics of application code in this process.
    pub panics: u64,
    /// Whether the server drains.
    pub is_draining: bool,
}

impl Snapshot {
    /// Connections that are open.
    pub fn connections_open(&self) -> u64 {
        self.connections_opened.saturating_sub(self.connections_closed.iter().map(|(_, count)| count).sum())
    }

    /// Requests that are under way.
    pub fn requests_active(&self) -> u64 {
        self.requests_started.saturating_sub(self.requests_ended)
    }

    /// Connections and streams that applications have taken over.
    pub fn upgrades_open(&self) -> u64 {
        self.upgrades.saturating_sub(self.upgrades_ended)
    }

    /// WebSockets that are open.
    pub fn websockets_open(&self) -> u64 {
        self.websockets.saturating_sub(self.websockets_closed)
    }

    /// Blocking work that waits for a thread.
    pub fn blocking_waiting(&self) -> u64 {
        self.blocking_queued.saturating_sub(self.blocking_started + self.blocking_dropped)
    }

    /// Blocking work that runs.
    pub fn blocking_running(&self) -> u64 {
        self.blocking_started.saturating_sub(self.blocking_ended)
    }
}

/// Requests that are alike.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RequestsSnapshot {
    /// The method, as [`known_method`](crate::observe::known_method) names it.
    pub method: &'static str,
    /// The status; `None` for those without a response.
    pub status: Option<StatusCode>,
    /// The version of HTTP: `1.0`, `1.1` or `2`.
    pub version: &'static str,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The route, where the application has named it.
    pub route: Option<String>,
    /// How they ended.
    pub how: RequestEnd,
    /// How long they took, to the last octet.
    pub durations: HistogramSnapshot,
}

impl RequestsSnapshot {
    /// Whether both have the same in common.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        let of = |it: &Self| (it.method, it.status, it.version, it.scheme, it.how);
        of(self) == of(other) && self.route == other.route
    }
}
