//! The beginning of a stream's answer, shared by its task and the application's handles: 100 (Continue) and 103 (Early Hints) come
//! before the head, and from wherever the application reads or asks. \[INF-01\] to \[INF-03\], \[EXP-01a\] RFC 9113 §8.1

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use adapter_core::HintError;
use adapter_core::hints::Sink;
use h2::server::SendResponse;
use http::{HeaderMap, Response, StatusCode};

use super::piece::Piece;

/// h2's handle, until the response begins.
pub(super) struct Reply(Mutex<Option<SendResponse<Piece>>>);

impl Reply {
    pub(super) fn new(respond: SendResponse<Piece>) -> Self {
        Reply(Mutex::new(Some(respond)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<SendResponse<Piece>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
