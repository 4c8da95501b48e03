//! 103 Early Hints, sent from within the handler. \[INF-01\] to \[INF-03\] RFC 8297

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use adapter_core::hints::Sink;
use adapter_core::{EarlyHints, Environ, HintError};
use adapter_http1::encoder;
use http::{HeaderMap, StatusCode};

use super::Conn;
use super::io::Flush;
use crate::engine::lock;

/// Sends hints for one request, as long as its response has not begun. Used again for the next one if the
/// application has kept no handle on it.
pub(super) struct HintSink {
    conn: Weak<Conn>,
    request: AtomicU64,
}

/// What is kept between requests: the environment, and the sink in it.
pub(super) struct Template {
    environ: Environ,
    sink: Arc<HintSink>,
}

impl Template {
    /// The environment of request number `request`, out of `template` where that is possible. \[ENV-08\]
    pub(super) fn environ(template: &mut Option<Template>, conn: &Arc<Conn>, request: u64, at: Instant) -> Environ {
        /// Ours, and the environment's.
        const HANDLES: usize = 2;
        if let Some(template) = template
            && Arc::strong_count(&template.sink) == HANDLES
            && let Some(environ) = template.environ.again(at)
        {
            template.sink.request.store(request, Ordering::Relaxed);
            return environ;
        }
        let sink = Arc::new(HintSink { conn: Arc::downgrade(conn), request: AtomicU64::new(request) });
        let environ = Environ::new(conn.environ.clone(), at).with_early_hints(EarlyHints::from(sink.clone()));
        *template = Some(Template { environ: environ.clone(), sink });
        environ
    }
}

impl Sink for HintSink {
    fn send(&self, headers: &HeaderMap) -> Result<(), HintError> {
        let conn = self.conn.upgrade().ok_or(HintError::Disconnected)?;
        let mut io = lock(&conn.io);
        // [INF-03]
        if io.request != self.request.load(Ordering::Relaxed) || io.committed {
            return Err(HintError::TooLate);
        }
        encoder::informational(io.output.appendable(), StatusCode::EARLY_HINTS, headers);
        match conn.flush_aside(&mut io) {
            // What does not go out now goes out when there is room: never later than the head.
            Flush::Done | Flush::Wait => Ok(()),
            Flush::Broken => Err(HintError::Disconnected),
        }
    }
}
