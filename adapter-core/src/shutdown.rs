//! Stopping a server: first gracefully, then by force.
//!
//! One level, raised from any thread, never lowered; everybody who watches it is woken on each rise. \[SHU-07\],
//! \[SHU-10\]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::signal::Signal;
use crate::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use crate::sync::{Event, EventListener};

/// How far a server's shutdown is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ShutdownLevel {
    /// Serving.
    Running = 0,
    /// Not accepting; what is in flight completes, until the deadline.
    Draining = 1,
    /// Everything is being dropped.
    Forced = 2,
}

/// The means to stop a server; cheap to clone, usable from any thread, signal-safe enough for a handler thread, and
/// from within a request. \[SHU-10\]
#[derive(Clone, Default)]
pub struct ShutdownTrigger(Arc<Inner>);

#[derive(Default)]
struct Inner {
    level: AtomicU8,
    is_handed_over: AtomicBool,
    event: Event,
    draining: Signal,
}

impl ShutdownTrigger {
    /// A trigger for a server that is being started.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first call starts the graceful shutdown, the second forces it at once (\[SHU-07\]); more do nothing. Does
    /// not block.
    pub fn trigger(&self) {
        // Two calls at the same time are a first and a second one, too: the level decides, not what a caller saw.
        let draining = ShutdownLevel::Draining as u8;
        if self.0.level.compare_exchange(0, draining, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.wake();
        } else {
            self.force();
        }
    }

    /// Starts the graceful shutdown; never forces it, however often it is called. Does not block.
    pub fn drain(&self) {
        let draining = ShutdownLevel::Draining as u8;
        if self.0.level.fetch_max(draining, Ordering::SeqCst) < draining {
            self.wake();
        }
    }

    /// As [`drain`](Self::drain), where another server goes on at the same addresses: a restart, an upgrade of the program.
    /// WebSockets are closed with 1012 instead of 1001, so that clients come back at once (\[UPG-22\]). Does not block.
    pub fn hand_over(&self) {
        self.0.is_handed_over.store(true, Ordering::Release);
        self.drain();
    }

    /// Whether another server goes on, see [`hand_over`](Self::hand_over).
    pub fn is_handed_over(&self) -> bool {
        self.0.is_handed_over.load(Ordering::Acquire)
    }

    /// Forces the shutdown at once.
    pub fn force(&self) {
        let forced = ShutdownLevel::Forced as u8;
        if self.0.level.fetch_max(forced, Ordering::SeqCst) < forced {
            self.wake();
        }
    }

    /// How far the shutdown is.
    pub fn level(&self) -> ShutdownLevel {
        match self.0.level.load(Ordering::Acquire) {
            0 => ShutdownLevel::Running,
            1 => ShutdownLevel::Draining,
            _ => ShutdownLevel::Forced,
        }
    }

    /// Fired when the shutdown begins: what [`Environ::shutting_down`](crate::Environ::shutting_down) shows.
    pub fn draining(&self) -> &Signal {
        &self.0.draining
    }

    /// A future that is ready when the level is `at_least` that.
    pub fn reached(&self, at_least: ShutdownLevel) -> ShutdownWatch {
        ShutdownWatch { trigger: self.clone(), at_least, listener: None }
    }

    fn wake(&self) {
        self.0.draining.fire();
        self.0.event.notify(usize::MAX);
    }
}

impl std::fmt::Debug for ShutdownTrigger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ShutdownTrigger").field(&self.level()).finish()
    }
}

/// The future of [`ShutdownTrigger::reached`]. Cancel safe.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct ShutdownWatch {
    trigger: ShutdownTrigger,
    at_least: ShutdownLevel,
    listener: Option<EventListener>,
}

impl Future for ShutdownWatch {
    type Output = ShutdownLevel;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ShutdownLevel> {
        let this = &mut *self;
        loop {
            let level = this.trigger.level();
            if level >= this.at_least {
                this.listener = None;
                return Poll::Ready(level);
            }
            match &mut this.listener {
                None => this.listener = Some(this.trigger.0.event.listen()),
                Some(listener) => match Pin::new(listener).poll(cx) {
                    Poll::Ready(()) => this.listener = None,
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_trigger_forces_and_more_do_nothing() {
        let trigger = ShutdownTrigger::new();
        let watch = trigger.reached(ShutdownLevel::Forced);
        assert_eq!(trigger.level(), ShutdownLevel::Running);
        trigger.trigger();
        assert_eq!(trigger.level(), ShutdownLevel::Draining);
        assert!(trigger.draining().is_fired());
        trigger.clone().trigger();
        assert_eq!(futures_lite::future::block_on(watch), ShutdownLevel::Forced);
        trigger.trigger();
        assert_eq!(trigger.level(), ShutdownLevel::Forced);
    }

    #[test]
    fn a_server_that_hands_over_drains() {
        let trigger = ShutdownTrigger::new();
        trigger.hand_over();
        trigger.hand_over();
        assert_eq!((trigger.level(), trigger.is_handed_over()), (ShutdownLevel::Draining, true));
        let trigger = ShutdownTrigger::new();
        trigger.drain();
        assert!(!trigger.is_handed_over());
    }
}
