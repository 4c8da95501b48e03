//! A bound on the TLS handshakes of a server that go on at once.
//!
//! A handshake is the dearest thing that a client nobody knows can ask for: it takes memory, and a signature. Who is beyond the bound
//! waits, and its deadline with it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};

use event_listener::{Event, EventListener};

/// Counts the handshakes of a server. Clones are the same count.
#[derive(Clone, Debug)]
pub struct Handshakes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    going_on: AtomicUsize,
    fewer: Event,
}

impl Handshakes {
    /// At most `most` at once, and at least one.
    pub fn new(most: usize) -> Self {
        Handshakes(Arc::new(Inner { most: most.max(1), going_on: AtomicUsize::new(0), fewer: Event::new() }))
    }

    /// How many go on.
    pub fn count(&self) -> usize {
        self.0.going_on.load(SeqCst)
    }

    /// One may begin, if there is room.
    fn try_begin(&self) -> Option<Begun> {
        let enter = |count| (count < self.0.most).then_some(count + 1);
        self.0.going_on.fetch_update(SeqCst, SeqCst, enter).is_ok().then(|| Begun(self.clone()))
    }
}

/// One handshake; dropped at its end.
#[derive(Debug)]
pub(super) struct Begun(Handshakes);

impl Drop for Begun {
    fn drop(&mut self) {
        let inner = &self.0.0;
        inner.going_on.fetch_sub(1, SeqCst);
        // One for one: thousands may wait, and need not all look.
        inner.fewer.notify_additional(1);
    }
}

/// Waits for its turn. Dropping it gives the turn to another.
#[derive(Debug)]
pub(super) struct Turn {
    handshakes: Handshakes,
    listener: Option<EventListener>,
}

impl Turn {
    pub(super) fn new(handshakes: Handshakes) -> Self {
        Turn { handshakes, listener: None }
    }

    /// Ready when one may begin; from then on that one counts. Cancel safe.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Begun> {
        loop {
            if let Some(begun) = self.handshakes.try_begin() {
                self.listener = None;
                return Poll::Ready(begun);
            }
            match &mut self.listener {
                // Looked at once more then: there may be room since.
                None => self.listener = Some(self.handshakes.0.fewer.listen()),
                Some(listener) => {
                    if Pin::new(listener).poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.listener = None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn who_is_beyond_the_bound_has_its_turn_when_another_has_ended() {
        let handshakes = Handshakes::new(1);
        let mut turns: Vec<Turn> = (0..4).map(|_| Turn::new(handshakes.clone())).collect();
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(first) = turns[0].poll(&mut cx) else { panic!("there is room") };
        for turn in &mut turns[1..] {
            assert!(turn.poll(&mut cx).is_pending());
        }
        drop(first);
        assert_eq!(handshakes.count(), 0);
        // The one that would be next does not want any more.
        turns.remove(1);
        let Poll::Ready(second) = turns[1].poll(&mut cx) else { panic!("it is told") };
        assert!(turns[2].poll(&mut cx).is_pending());
        drop(second);
        assert!(turns[2].poll(&mut cx).is_ready());
    }
}
