//! Who is woken when the connection of a WebSocket moves.
//!
//! Receiver, senders and keeper poll the same stream from different tasks, but a stream remembers one waker for each
//! direction. So it is polled with a [`Proxy`], which wakes everybody that waits. They register before they poll; a
//! lost wake-up would need the event to come between the two.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// The tasks and threads that wait on one WebSocket.
#[derive(Default)]
pub(super) struct Wakers(Mutex<Slots>);

#[derive(Default)]
struct Slots {
    keeper: Option<Waker>,
    receiver: Option<Waker>,
    senders: Vec<Waker>,
}

impl Wakers {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_keeper(&self, waker: &Waker) {
        set(&mut self.lock().keeper, waker);
    }

    pub(super) fn set_receiver(&self, waker: &Waker) {
        set(&mut self.lock().receiver, waker);
    }

    pub(super) fn add_sender(&self, waker: &Waker) {
        let senders = &mut self.lock().senders;
        if !senders.iter().any(|known| known.will_wake(waker)) {
            senders.push(waker.clone());
        }
    }

    pub(super) fn wake_keeper(&self) {
        let keeper = self.lock().keeper.take();
        keeper.into_iter().for_each(Waker::wake);
    }

    pub(super) fn wake_receiver(&self) {
        let receiver = self.lock().receiver.take();
        receiver.into_iter().for_each(Waker::wake);
    }

    pub(super) fn wake_senders(&self) {
        let senders = std::mem::take(&mut self.lock().senders);
        senders.into_iter().for_each(Waker::wake);
    }

    pub(super) fn wake_all(&self) {
        let slots = std::mem::take(&mut *self.lock());
        slots.keeper.into_iter().chain(slots.receiver).chain(slots.senders).for_each(Waker::wake);
    }
}

fn set(slot: &mut Option<Waker>, waker: &Waker) {
    if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
        *slot = Some(waker.clone());
    }
}

/// The waker one direction of the stream is polled with.
pub(super) struct Proxy {
    wakers: Arc<Wakers>,
    /// The direction may have become ready since it was last found pending.
    ready: AtomicBool,
    /// The other direction, which may have waited for this one: TLS is free to do that.
    other: Option<Arc<Proxy>>,
}

impl Proxy {
    pub(super) fn new(wakers: &Arc<Wakers>, other: Option<Arc<Proxy>>) -> Arc<Self> {
        Arc::new(Proxy { wakers: wakers.clone(), ready: AtomicBool::new(true), other })
    }

    /// Whether a poll is worth it. To be followed by one, and by [`Self::stays_ready`] unless that is pending.
    pub(super) fn claim(&self) -> bool {
        self.ready.swap(false, Ordering::AcqRel)
    }

    /// The last poll was not pending.
    pub(super) fn stays_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }
}

impl Wake for Proxy {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.store(true, Ordering::Release);
        if let Some(other) = &self.other {
            other.ready.store(true, Ordering::Release);
        }
        self.wakers.wake_all();
    }
}
