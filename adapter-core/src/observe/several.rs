//! The observers of a server, as one. Their panics end here.

use std::any::Any;
use std::fmt;
#[cfg(any(feature = "axum", feature = "websocket"))]
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

#[cfg(any(feature = "axum", feature = "websocket"))]
use tracing::Span;

use super::{Counters, Observer, tell};
use crate::runtime::JobWatch;
#[cfg(any(feature = "axum", feature = "websocket"))]
use crate::shutdown::{ShutdownLevel, ShutdownTrigger};

/// Who is told. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Observers(Option<Arc<Told>>);

struct Told {
    /// In their order.
    all: Box<[Arc<dyn Observer>]>,
    /// The first [`Counters`] among them: each request is told to it, which can't panic, without a detour.
    counters: Option<Arc<Counters>>,
    /// The others.
    others: Box<[Arc<dyn Observer>]>,
}

impl Observers {
    /// These, and `one` more.
    pub(crate) fn and(&self, one: Arc<dyn Observer>) -> Self {
        let before = self.0.iter().flat_map(|told| told.all.iter().cloned());
        let all: Box<[Arc<dyn Observer>]> = before.chain([one]).collect();
        let mut counters = None;
        let mut others = Vec::new();
        for one in &all {
            let any: Arc<dyn Any + Send + Sync> = one.clone();
            match any.downcast() {
                Ok(one) if counters.is_none() => counters = Some(one),
                _ => others.push(one.clone()),
            }
        }
        Observers(Some(Arc::new(Told { all, counters, others: others.into() })))
    }

    /// Each of them.
    pub(crate) fn into_iter(self) -> impl Iterator<Item = Arc<dyn Observer>> {
        self.0.into_iter().flat_map(|told| told.all.to_vec())
    }

    /// Whether there is nobody to tell: the one branch that a server without pays.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Tells all of them.
    #[inline]
    pub(crate) fn tell(&self, told: impl Fn(&dyn Observer)) {
        if let Some(them) = &self.0 {
            // Of one that panics the others know nothing.
            them.all.iter().for_each(|one| tell(|| told(&**one)));
        }
    }

    /// Who counts requests; the rest are the [others](Self::tell_others).
    #[inline]
    pub(crate) fn counters(&self) -> Option<&Counters> {
        self.0.as_ref()?.counters.as_deref()
    }

    /// Whether there is anybody but [`counters`](Self::counters).
    #[inline]
    pub(crate) fn has_others(&self) -> bool {
        self.0.as_ref().is_some_and(|told| !told.others.is_empty())
    }

    /// Tells all but [`counters`](Self::counters).
    pub(crate) fn tell_others(&self, told: impl Fn(&dyn Observer)) {
        if let Some(them) = &self.0 {
            them.others.iter().for_each(|one| tell(|| told(&**one)));
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observers({})", self.0.as_ref().map_or(0, |told| told.all.len()))
    }
}

/// Why a WebSocket was given up, of which its operator is told the same wherever it runs.
#[cfg(any(feature = "axum", feature = "websocket"))]
pub(crate) mod unresponsive {
    pub(crate) const TAKES_NOTHING: &str = "it does not read";
    pub(crate) const IS_SILENT: &str = "it does not answer pings";
}

/// A WebSocket that is open, until it is dropped. Says on the log how it ended, once it is told: what its client has broken off by default, and
/// an end as it should be for who looks closely.
#[cfg(any(feature = "axum", feature = "websocket"))]
pub(crate) struct OpenWebSocket {
    observers: Observers,
    /// Whose it is.
    peer: Option<SocketAddr>,
    /// Of its request.
    span: Span,
    shutdown: ShutdownTrigger,
    /// Of the Close that has ended it.
    pub(crate) code: Option<u16>,
}

#[cfg(any(feature = "axum", feature = "websocket"))]
impl OpenWebSocket {
    pub(crate) fn new(observers: &Observers, peer: Option<SocketAddr>, shutdown: &ShutdownTrigger, span: Span) -> Self {
        observers.tell(Observer::websocket_opened);
        OpenWebSocket { observers: observers.clone(), peer, span, shutdown: shutdown.clone(), code: None }
    }

    /// Its client has broken it off, or was disconnected; `code` is what that is called by.
    pub(crate) fn broken(&self, code: u16, reason: &dyn fmt::Display) {
        if self.shutdown.level() == ShutdownLevel::Forced {
            // It may be the server that took the connection away.
            return self.ended(Some(code), reason);
        }
        self.span.in_scope(|| {
            tracing::info!(target: "adapter", peer = self.told(), code, %reason, "a WebSocket has broken off");
        });
    }

    /// It has ended as it should.
    pub(crate) fn ended(&self, code: Option<u16>, reason: &dyn fmt::Display) {
        self.span.in_scope(|| {
            tracing::debug!(target: "adapter", peer = self.told(), code, %reason, "a WebSocket has ended");
        });
    }

    fn told(&self) -> String {
        self.peer.map_or_else(|| "unix".to_owned(), |peer| peer.to_string())
    }
}

#[cfg(any(feature = "axum", feature = "websocket"))]
impl Drop for OpenWebSocket {
    fn drop(&mut self) {
        self.observers.tell(|one| one.websocket_closed(self.code));
    }
}

impl JobWatch for Observers {
    fn queued(&self) {
        self.tell(Observer::blocking_queued);
    }

    fn started(&self, waited: Duration) {
        self.tell(|one| one.blocking_started(waited));
    }

    fn ended(&self, run: Duration) {
        self.tell(|one| one.blocking_ended(run));
    }

    fn dropped(&self) {
        self.tell(Observer::blocking_dropped);
    }
}
