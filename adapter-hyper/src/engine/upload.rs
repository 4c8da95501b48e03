//! A request body that the application shares with its connection, and what is left of it.
//!
//! hyper closes a connection as soon as a body is dropped before its end, without having said so in the response's head. So a
//! body that the application drops stays with the connection, which decides when the head is made whether it is read away
//! ([`Upload::can_be_left`]), and does that once the response is under way. Locked by whoever polls it; the connection's task
//! takes it out to read it away. \[REQ-12\], \[KAP-11\]

use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker, ready};

use adapter_core::rules::request::Facts;
use adapter_core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use adapter_core::sync::{Mutex, MutexGuard};
use http_body::Body as _;
use hyper::body::Incoming;

use super::linger::Linger;
use super::status::LINGER_AT_MOST;

/// Octets of a body that are read away to keep a connection. \[REQ-12\]
const DRAIN: u64 = 256 * 1024;
/// Frames read away in one turn of the connection's task.
const DRAIN_TURN: u32 = 64;

/// A body on its way, shared by the application that reads it and the connection it comes on.
pub(super) struct Upload {
    /// The client waits for a 100 before it sends the body.
    expects_continue: bool,
    /// The application has asked for some of it.
    pub(super) wanted: AtomicBool,
    /// The application has dropped it, or it has failed.
    pub(super) unwanted: AtomicBool,
    /// `None` once it is at its end or was given up.
    incoming: Mutex<Option<Incoming>>,
    /// The application that waits, or has waited, for more of it.
    reader: Mutex<Waker>,
}

impl Upload {
    pub(super) fn new(incoming: Incoming, facts: &Facts) -> Self {
        Upload {
            expects_continue: facts.expects_continue,
            wanted: AtomicBool::new(false),
            unwanted: AtomicBool::new(false),
            incoming: Mutex::new(Some(incoming)),
            reader: Mutex::new(Waker::noop().clone()),
        }
    }

    pub(super) fn incoming(&self) -> MutexGuard<'_, Option<Incoming>> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `reader` is to be woken from now on, and no more who was before; that one is to be dropped under no lock.
    pub(super) fn wakes(&self, reader: &Waker) -> Option<Waker> {
        let mut current = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        (!current.will_wake(reader)).then(|| std::mem::replace(&mut *current, reader.clone()))
    }

    /// Has the application look at it again.
    pub(super) fn wake(&self) {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).clone();
        reader.wake();
    }

    /// Takes it, which has been read to its end, or away from the application, whose next read is an error. \[REQ-15\]
    pub(super) fn take(&self) -> Option<Incoming> {
        self.incoming().take()
    }

    /// Takes it, of which nothing more can be read, though there may be more. \[KAP-11\]
    pub(super) fn give_up(&self) -> Option<Incoming> {
        let mut incoming = self.incoming();
        self.unwanted.store(true, Relaxed);
        incoming.take()
    }

    /// Whether the application has dropped it, or it has failed.
    pub(super) fn is_unwanted(&self) -> bool {
        self.unwanted.load(Relaxed)
    }

    /// The head of the response is about to be made: whether the connection can be kept after it, as far as this body is
    /// concerned. `left` is how much of it has not come yet, if that is known. What is said then is kept, but by a body that
    /// the application goes on to read, and which is not known to end in time. \[REQ-12\], \[KAP-11\]
    pub(super) fn can_be_left(&self, left: Option<u64>) -> bool {
        if self.incoming().is_none() {
            // Read to its end, perhaps just now and elsewhere.
            return !self.is_unwanted();
        }
        // [EXP-02b] RFC 9110 §10.1.1: whether the client sends it now, nobody knows
        if self.expects_continue && !self.wanted.load(Relaxed) {
            return false;
        }
        !self.is_unwanted() || left.is_some_and(|left| left <= DRAIN)
    }
}

/// What the application has left of a body, being read away by the connection's task. \[REQ-12\]
pub(super) struct Rest {
    incoming: Incoming,
    left: u64,
    patience: Linger,
}

impl Rest {
    pub(super) fn new(incoming: Incoming, now: u64) -> Self {
        Rest { incoming, left: DRAIN, patience: Linger::new(now, LINGER_AT_MOST) }
    }

    /// When there is no more patience for it, in the engine's time. \[KAP-13\]
    pub(super) fn until(&self) -> u64 {
        self.patience.until()
    }

    /// Ready once nothing more is to be read of it: it has ended, or it is given up, and hyper closes the connection when this
    /// is dropped.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>, now: u64) -> Poll<()> {
        for _ in 0..DRAIN_TURN {
            let Some(Ok(frame)) = ready!(Pin::new(&mut self.incoming).poll_frame(cx)) else { return Poll::Ready(()) };
            let count = frame.data_ref().map_or(0, |data| data.len() as u64);
            let Some(left) = self.left.checked_sub(count) else { return Poll::Ready(()) };
            self.left = left;
            if count > 0 {
                self.patience.renew(now);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
