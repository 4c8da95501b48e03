//! 103 Early Hints, sent from within the handler. \[INF-01\] to \[INF-03\] RFC 8297

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use adapter_core::hints::Sink;
use adapter_core::{EarlyHints, Environ, HintError};
use http::{HeaderMap, StatusCode};

use super::Shared;
use super::io::Flush;
use super::transport::Transport;
use crate::encoder;

/// Sends hints for one request, as long as its response has not begun. Used again for the next one if the application has kept
/// no handle on it.
pub(super) struct HintSink<T: Transport> {
    shared: Weak<Shared<T>>,
    request: AtomicU64,
}

/// What is kept between requests: the environment, and the sink in it.
pub(super) struct Template<T: Transport> {
    environ: Environ,
    sink: Arc<HintSink<T>>,
}

impl<T: Transport> Template<T> {
    /// The environment of request number `request`, out of `template` where that is possible. \[ENV-08\]
    pub(super) fn environ(template: &mut Option<Self>, shared: &Arc<Shared<T>>, request: u64, at: Instant) -> Environ {
        /// Ours, and the environment's.
        const HANDLES: usize = 2;
        if let Some(template) = template
            && Arc::strong_count(&template.sink) == HANDLES
            && let Some(environ) = template.environ.again(at)
        {
            template.sink.request.store(request, Ordering::Relaxed);
            return environ;
        }
        let sink = Arc::new(HintSink { shared: Arc::downgrade(shared), request: AtomicU64::new(request) });
        let environ = Environ::new(shared.environ.clone(), at).with_early_hints(EarlyHints::from(sink.clone()));
        *template = Some(Template { environ: environ.clone(), sink });
        environ
    }
}

impl<T: Transport> Sink for HintSink<T> {
    fn send(&self, headers: &HeaderMap) -> Result<(), HintError> {
        let shared = self.shared.upgrade().ok_or(HintError::Disconnected)?;
        let now = shared.now();
        let mut io = shared.io();
        // [INF-03]
        if io.request != self.request.load(Ordering::Relaxed) || io.committed {
            return Err(HintError::TooLate);
        }
        encoder::informational(io.out(), StatusCode::EARLY_HINTS, headers);
        let flushed = io.flush(now);
        // Another than the connection's task has something to be watched: the client's time to take it.
        let task = if flushed == Flush::Wait { io.task() } else { None };
        drop(io);
        if let Some(task) = task {
            task.wake();
        }
        // What does not go out now goes out when there is room: never later than the head.
        if flushed == Flush::Broken { Err(HintError::Disconnected) } else { Ok(()) }
    }
}
