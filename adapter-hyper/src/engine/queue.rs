//! What hyper holds of a response of HTTP/2.
//!
//! hyper takes chunks from a body before the client has made room for them, and does not tell when they are written. So
//! each carries a note that is dropped with it. Until the last one is gone the response is under way \[KAP-09\], the write
//! timeout runs \[LIM-06\], and a failure waits, because a reset overtakes what is queued. \[BOD-14\]

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use adapter_core::Bytes;
use adapter_core::dispatch::Observed;

use super::in_flight::InFlight;

/// The chunks of one response that hyper holds.
pub(super) struct Queue {
    in_flight: InFlight,
    chunks: AtomicUsize,
    /// Woken when there are none.
    waiter: Mutex<Option<Waker>>,
    /// The request and when it began, once all of the response is here, where somebody wants to know how it ends.
    observed: Mutex<Option<(Box<Observed>, u64)>>,
    /// A chunk was thrown away with the connection.
    is_lost: AtomicBool,
}

impl Queue {
    /// An empty one, for what `in_flight` stands for.
    pub(super) fn new(in_flight: InFlight) -> Arc<Self> {
        Arc::new(Queue {
            in_flight,
            chunks: AtomicUsize::new(0),
            waiter: Mutex::new(None),
            observed: Mutex::new(None),
            is_lost: AtomicBool::new(false),
        })
    }

    /// `bytes` for hyper, which are counted until it drops them.
    pub(super) fn push(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        if bytes.is_empty() {
            return bytes;
        }
        let shared = &self.in_flight.shared;
        self.chunks.fetch_add(1, Relaxed);
        shared.status.chunk_queued(shared.engine.clock.now());
        Bytes::from_owner(Chunk { bytes, queue: self.clone() })
    }

    /// All of the response to `observed`, which began then, is here: it has ended once hyper holds none of it.
    pub(super) fn deliver(&self, observed: Box<Observed>, begun: u64) {
        *self.observed.lock().unwrap_or_else(PoisonError::into_inner) = Some((observed, begun));
    }

    /// Ready when hyper holds none.
    pub(super) fn poll_empty(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiter = self.waiter.lock().unwrap_or_else(PoisonError::into_inner);
        if self.chunks.load(Acquire) == 0 {
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
    /// Nobody holds a chunk any more: they are written, or thrown away with the connection. Those of a stream that the client has
    /// reset behind its end can't be told from what was written.
    fn drop(&mut self) {
        let observed = self.observed.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((observed, begun)) = observed.filter(|_| !self.is_lost.load(Relaxed)) {
            observed.delivered_after(self.in_flight.shared.engine.clock.since(begun));
        }
    }
}

/// Bytes in hyper's hands.
struct Chunk {
    bytes: Bytes,
    queue: Arc<Queue>,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let shared = &self.queue.in_flight.shared;
        shared.status.chunk_gone();
        if shared.environ.disconnected.is_fired() {
            self.queue.is_lost.store(true, Relaxed);
        }
        if self.queue.chunks.fetch_sub(1, AcqRel) == 1 {
            let waiter = self.queue.waiter.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waiter) = waiter {
                waiter.wake();
            }
        }
    }
}
