//! Who is woken when the connection of a WebSocket moves.
//!
//! Receiver, senders and keeper poll the same stream from different tasks, but a stream remembers one waker for each
//! direction. So it is polled with [`Wakers`] as its waker, which wakes everybody that waits. They register before they
//! poll; a lost wake-up would need the event to come between the two.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// The tasks and threads that wait on one WebSocket.
pub(super) struct Wakers {
    slots: Mutex<Slots>,
    /// Each direction of the stream.
    pub(super) reads: Readiness,
    pub(super) writes: Readiness,
}

#[derive(Default)]
struct Slots {
    keeper: Option<Waker>,
    receiver: Option<Waker>,
    senders: Vec<Waker>,
}

impl Wakers {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Wakers { slots: Mutex::default(), reads: Readiness::new(), writes: Readiness::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    /// Either direction may have waited for the other: TLS is free to do that.
    fn wake_by_ref(self: &Arc<Self>) {
        self.reads.set();
        self.writes.set();
        self.wake_all();
    }
}

/// Whether something may have become ready since it was last found pending.
pub(super) struct Readiness(AtomicBool);

impl Readiness {
    fn new() -> Self {
        Readiness(AtomicBool::new(true))
    }

    /// Whether a poll is worth it. To be followed by one, and by [`Self::set`] unless that is pending.
    pub(super) fn claim(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }

    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The waker of what the keeper alone waits for: the clock and the shutdown.
pub(super) struct Alarm {
    wakers: Arc<Wakers>,
    pub(super) rung: Readiness,
}

impl Alarm {
    pub(super) fn new(wakers: &Arc<Wakers>) -> Arc<Self> {
        Arc::new(Alarm { wakers: wakers.clone(), rung: Readiness::new() })
    }

    pub(super) fn poll<F: Future + Unpin>(self: &Arc<Self>, future: &mut F) -> Poll<F::Output> {
        let waker = Waker::from(self.clone());
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.set();
        self.wakers.wake_keeper();
    }
}
