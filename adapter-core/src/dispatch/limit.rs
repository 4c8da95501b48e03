//! How long a handler may take, and the answer once that is over. \[LIM-09\]

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use tracing::Span;

use crate::application::{Request, Response};
use crate::environ::{Connection, Environ};
use crate::instead::OwnAnswer;
use crate::observe::{Ending, TimeLimit};

/// The time limit of the handler of one request, and what was asked. For server authors.
///
/// The request has it among its extensions, as `Arc<Limit>`, for middleware that [names](Self::name) requests.
#[derive(Debug)]
pub struct Limit {
    until: Instant,
    method: Method,
    uri: Uri,
    connection: Arc<Connection>,
    name: OnceLock<Name>,
    is_told: AtomicBool,
    is_lifted: AtomicBool,
    /// Whether it waits for the body; `None` where there is none.
    waits: Option<Arc<AtomicBool>>,
}

/// Of a request, by whoever names them.
struct Name {
    span: Span,
    field: (HeaderName, HeaderValue),
    ending: Box<dyn Fn() -> Option<Ending> + Send + Sync>,
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Name").field("field", &self.field).finish_non_exhaustive()
    }
}

impl Limit {
    /// Gives `request` until `limit` from `now` on, before the application gets it. `None` without a limit; one beyond the clock is
    /// none. Clones reference counts. Does not block, never panics.
    #[inline]
    pub fn set(limit: Option<Duration>, now: Instant, request: &mut Request, environ: &Environ) -> Option<Arc<Self>> {
        let until = now.checked_add(limit?)?;
        let limit = Arc::new(Limit {
            until,
            method: request.method().clone(),
            uri: request.uri().clone(),
            connection: environ.connection().clone(),
            name: OnceLock::new(),
            is_told: AtomicBool::new(false),
            is_lifted: AtomicBool::new(false),
            waits: request.body_mut().watch_waits(),
        });
        request.extensions_mut().insert(limit.clone());
        Some(limit)
    }

    /// When it has passed, unless it is [lifted](Self::lift).
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Whether it has, as of `now`. Does not block.
    #[inline]
    pub fn has_passed(&self, now: Instant) -> bool {
        now >= self.until && !self.is_lifted.load(Ordering::Relaxed)
    }

    /// There is no limit any more: the client has left while application code held the thread, and nobody waits for its answer.
    /// From any thread. Does not block, never panics.
    pub fn lift(&self) {
        self.is_lifted.store(true, Ordering::Relaxed);
    }

    /// What the log has to say of it stands in `span`, the answer has the `field`, and `ending` gives who is told how the request ends that
    /// has this [answer](Self::own_answer): asked before its handler is dropped. The first one counts. For middleware that logs. Blocking
    /// code may keep it until it returns.
    pub fn name(
        &self,
        span: &Span,
        field: (HeaderName, HeaderValue),
        ending: impl Fn() -> Option<Ending> + Send + Sync + 'static,
    ) {
        let _ = self.name.set(Name { span: span.clone(), field, ending: Box::new(ending) });
    }

    /// The answer where application code still holds the thread that would give it, and the limit has passed, as of `now`. Once: what
    /// the code gives later is dropped by the [exchange](super::Exchange). Tells the log and the observers; does not block but as
    /// they do.
    pub fn answer(&self, now: Instant) -> Option<Response> {
        (self.has_passed(now) && self.tell()).then(|| self.response())
    }

    /// What it is that is answered instead: 503 with a generic text. Never panics.
    pub fn own_answer() -> OwnAnswer {
        OwnAnswer::new(StatusCode::SERVICE_UNAVAILABLE, "the application did not answer in time (--timeout-handler)")
    }

    pub(super) fn response(&self) -> Response {
        let mut response = Response::from(Self::own_answer());
        if let Some(Name { field: (name, value), ending, .. }) = self.name.get() {
            response.headers_mut().insert(name, value.clone());
            if let Some(ending) = ending() {
                response.extensions_mut().insert(ending);
            }
        }
        response
    }

    /// Says that the application took too long, once and in the same words on every server; whether it was said just now.
    pub(super) fn tell(&self) -> bool {
        if self.is_told.swap(true, Ordering::Relaxed) {
            return false;
        }
        self.connection.timed_out(TimeLimit::Handler);
        let (peer, method, path) = (self.connection.told(), &self.method, self.uri.path());
        self.name.get().map_or_else(Span::none, |name| name.span.clone()).in_scope(|| {
            // What it has asked for last of the body and has not got is the client's to send.
            if self.waits.as_ref().is_some_and(|waits| waits.load(Ordering::Relaxed)) {
                let told = "[LIM-09] the application did not answer in time: the client has not sent what it waits for of the body";
                tracing::info!(target: "adapter", peer, %method, path, "{told}");
            } else {
                tracing::error!(target: "adapter", peer, %method, path, "[LIM-09] the application did not answer in time");
            }
        });
        true
    }
}
