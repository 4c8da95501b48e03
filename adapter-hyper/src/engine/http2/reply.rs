//! The beginning of a stream's answer, shared by its task and the application's handles: 100 (Continue) and 103 (Early Hints) come
//! before the head, and from wherever the application reads or asks. \[INF-01\] to \[INF-03\], \[EXP-01a\] RFC 9113 §8.1

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use adapter_core::HintError;
use adapter_core::hints::Sink;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Response, StatusCode};

use super::piece::Piece;

/// What there is of a stream until it is answered.
pub(super) struct Reply {
    /// h2's handle, until the response begins.
    respond: Mutex<Option<SendResponse<Piece>>>,
    /// There is a body that was not read to its end.
    has_body: AtomicBool,
    /// The application was told that the body is malformed: then h2 has reset the stream.
    is_malformed: AtomicBool,
    /// What the application has left of it, while it is read away.
    leftover: Mutex<Option<RecvStream>>,
}

impl Reply {
    pub(super) fn new(respond: SendResponse<Piece>) -> Self {
        Reply {
            respond: Mutex::new(Some(respond)),
            has_body: AtomicBool::new(false),
            is_malformed: AtomicBool::new(false),
            leftover: Mutex::new(None),
        }
    }

    /// Whether h2 has refused the request for its body, as the application knows. \[MUX-16\]
    pub(super) fn is_malformed(&self) -> bool {
        self.is_malformed.load(Relaxed)
    }

    pub(super) fn body_is_malformed(&self) {
        self.is_malformed.store(true, Relaxed);
    }

    /// Whether there is a body that was not read to its end.
    pub(super) fn has_body(&self) -> bool {
        self.has_body.load(Relaxed)
    }

    pub(super) fn body_is_open(&self, is_open: bool) {
        self.has_body.store(is_open, Relaxed);
    }

    /// What is left of the body.
    pub(super) fn leftover(&self) -> MutexGuard<'_, Option<RecvStream>> {
        self.leftover.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Option<SendResponse<Piece>>> {
        self.respond.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The response begins, or the stream has ended: nothing comes before it any more.
    pub(super) fn take(&self) -> Option<SendResponse<Piece>> {
        self.lock().take()
    }

    /// Ready when the stream was reset, or its connection has ended.
    pub(super) fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self.lock() {
            Some(respond) => respond.poll_reset(cx).map(drop),
            None => Poll::Ready(()),
        }
    }

    /// The client may send the body. RFC 9110 §10.1.1
    pub(super) fn say_continue(&self) {
        // Who is gone, or has been answered, needs none.
        let _ = self.inform(StatusCode::CONTINUE, &HeaderMap::new());
    }

    fn inform(&self, status: StatusCode, fields: &HeaderMap) -> Result<(), HintError> {
        let mut response = Response::new(());
        *response.status_mut() = status;
        response.headers_mut().clone_from(fields);
        match &mut *self.lock() {
            Some(respond) => respond.send_informational(response).map_err(|_| HintError::Disconnected),
            None => Err(HintError::TooLate),
        }
    }
}

impl Sink for Reply {
    fn send(&self, headers: &HeaderMap) -> Result<(), HintError> {
        self.inform(StatusCode::EARLY_HINTS, headers)
    }
}
