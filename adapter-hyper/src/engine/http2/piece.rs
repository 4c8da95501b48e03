//! What h2 holds of a response.
//!
//! It drops a piece that is written, or that nobody will have. So pieces may carry a note, dropped with them: a failure waits until
//! what came before is written, because a reset overtakes what is queued \[BOD-14\], and the request ends with the last octet.

use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use adapter_core::Bytes;
use adapter_core::dispatch::Observed;
use adapter_core::sync::Mutex;
use adapter_core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use adapter_core::sync::atomic::{AtomicBool, AtomicUsize};
use bytes::Buf;

use crate::engine::io::Shared;

/// Octets on their way to the client.
#[derive(Default)]
pub(super) struct Piece {
    bytes: Bytes,
    /// Where somebody wants to know when they are written.
    queue: Option<Arc<Queue>>,
}

/// The pieces of one response that h2 holds.
pub(super) struct Queue {
    shared: Arc<Shared>,
    pieces: AtomicUsize,
    /// Woken when there are none.
    waiter: Mutex<Option<Waker>>,
    /// The request and when it began, once all of the response is here, where somebody wants to know how it ends.
    observed: Mutex<Option<(Box<Observed>, u64)>>,
    /// A piece was thrown away.
    is_lost: AtomicBool,
}

impl Piece {
    /// `bytes`, of which nobody is told.
    pub(super) fn new(bytes: Bytes) -> Self {
        Piece { bytes, queue: None }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let Some(queue) = &self.queue else { return };
        // The end of a response may be a piece of no octets.
        if !self.bytes.is_empty() || queue.shared.environ.disconnected.is_fired() {
            queue.is_lost.store(true, Relaxed);
        }
        if queue.pieces.fetch_sub(1, AcqRel) == 1 {
            let waiter = queue.waiter.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waiter) = waiter {
                waiter.wake();
            }
        }
    }
}

impl Queue {
    /// An empty one, on the connection of `shared`.
    pub(super) fn new(shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Queue {
            shared: shared.clone(),
            pieces: AtomicUsize::new(0),
            waiter: Mutex::new(None),
            observed: Mutex::new(None),
            is_lost: AtomicBool::new(false),
        })
    }

    /// `bytes` for h2, which are counted until it drops them.
    pub(super) fn piece(self: &Arc<Self>, bytes: Bytes) -> Piece {
        self.pieces.fetch_add(1, Relaxed);
        Piece { bytes, queue: Some(self.clone()) }
    }

    /// All of the response to `observed`, which began then, is here: it has ended once h2 holds none of it.
    pub(super) fn deliver(&self, observed: Box<Observed>, begun: u64) {
        *self.observed.lock().unwrap_or_else(PoisonError::into_inner) = Some((observed, begun));
    }

    /// Ready when h2 holds none.
    pub(super) fn poll_empty(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiter = self.waiter.lock().unwrap_or_else(PoisonError::into_inner);
        if self.pieces.load(Acquire) == 0 {
            return Poll::Ready(());
        }
        let before = waiter.replace(cx.waker().clone());
        drop(waiter);
        // Not under the lock.
        drop(before);
        Poll::Pending
    }
}

impl Drop for Queue {
    /// Nobody holds a piece any more: they are written, or thrown away with the stream. Those of a stream that the client has
    /// reset behind its end can't always be told from what was written.
    fn drop(&mut self) {
        let observed = self.observed.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((observed, begun)) = observed.filter(|_| !self.is_lost.load(Relaxed)) {
            observed.delivered_after(self.shared.engine.clock.since(begun));
        }
    }
}

#[cfg(all(test, adapter_model))]
mod models;
