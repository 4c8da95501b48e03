//! From the request to the stream: the application's claim on a connection, and the server's promise.
//!
//! The server keeps a [`Handover`], the environ holds the [`Offer`], the application takes an [`OnUpgrade`] from it. One
//! slot between them, locked for a few instructions; the server wakes the application. \[UPG-19a\]

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{UpgradeError, Upgraded};
use crate::observe::Observers;
use crate::sync::{Mutex, MutexGuard, block_on};

/// A connection on offer: what the server keeps, and what it puts into the environ. For servers.
pub fn channel() -> (Handover, Offer) {
    let slot = Arc::new(Slot { state: Mutex::new(State::Offered), observers: OnceLock::new() });
    (Handover(slot.clone()), Offer { slot, protocol: None })
}

struct Slot {
    state: Mutex<State>,
    /// Who is told of the stream.
    observers: OnceLock<Observers>,
}

enum State {
    /// Nobody took it.
    Offered,
    /// The application waits, or will.
    Taken(Option<Waker>),
    Ready(Result<Upgraded, UpgradeError>),
    /// The application has its answer, or does not want one any more.
    Over,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the application if it waits. What nobody wants is dropped after the lock.
    fn settle(&self, outcome: Result<Upgraded, UpgradeError>) {
        let mut state = self.lock();
        let before = std::mem::replace(&mut *state, State::Over);
        match before {
            State::Taken(waker) => {
                *state = State::Ready(outcome);
                drop(state);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            _ => drop(state),
        }
    }
}

/// The server's end of a connection on offer. Dropping it tells the application [`UpgradeError::Refused`].
#[must_use = "dropping it refuses the upgrade"]
pub struct Handover(Arc<Slot>);

impl Handover {
    /// Whether the application has taken the connection, and still wants it.
    pub fn is_taken(&self) -> bool {
        matches!(*self.0.lock(), State::Taken(_))
    }

    /// Gives the application its stream: the head is sent. If nobody wants it, it is dropped, which closes it.
    pub fn complete(self, stream: Upgraded) {
        if let Some(observers) = self.0.observers.get().filter(|_| self.is_taken()) {
            stream.observed_by(observers.clone());
        }
        self.0.settle(Ok(stream));
    }

    /// Tells the application why there will be no stream.
    pub fn fail(self, error: UpgradeError) {
        self.0.settle(Err(error));
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if matches!(*state, State::Offered) {
            // Whoever takes it from now on is told at once.
            *state = State::Over;
        } else if matches!(*state, State::Taken(_)) {
            drop(state);
            self.0.settle(Err(UpgradeError::Refused));
        }
    }
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handover").field(&self.is_taken()).finish()
    }
}

/// The environ's end of a connection on offer; all clones are the same one.
#[derive(Clone)]
pub struct Offer {
    slot: Arc<Slot>,
    protocol: Option<Arc<str>>,
}

impl Offer {
    /// The `:protocol` of an extended CONNECT. RFC 8441 §4
    #[must_use]
    pub fn with_protocol(mut self, protocol: &str) -> Self {
        self.protocol = Some(protocol.into());
        self
    }

    /// The server's observers are told of the stream.
    pub(crate) fn observed_by(&self, observers: &Observers) {
        // What was said first holds.
        let _ = self.slot.observers.set(observers.clone());
    }

    pub(crate) fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Whether it can still be taken.
    #[cfg(any(feature = "axum", feature = "websocket"))]
    pub(crate) fn is_open(&self) -> bool {
        matches!(*self.slot.lock(), State::Offered)
    }

    /// \[UPG-19a\] the first one has it
    pub(crate) fn take(&self) -> Result<OnUpgrade, UpgradeError> {
        let mut state = self.slot.lock();
        if !matches!(*state, State::Offered) {
            return Err(UpgradeError::Taken);
        }
        *state = State::Taken(None);
        Ok(OnUpgrade(self.slot.clone()))
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

/// A connection taken from its request: a future of the stream.
///
/// Ready when the head of a response that switches protocols has been handed to the operating system. Return that
/// response from the handler, and await this elsewhere: in a task of [`Runtime::spawn`](crate::Runtime::spawn), or on
/// another thread with [`wait`](Self::wait). Awaiting it in the handler itself would wait for ever.
///
/// Dropping it gives the connection up: the server closes it if the response switches protocols, and goes on if not.
///
/// # Errors
/// [`UpgradeError::Refused`] and [`UpgradeError::Disconnected`].
#[must_use = "the connection is closed if nobody awaits it"]
pub struct OnUpgrade(Arc<Slot>);

impl OnUpgrade {
    /// Blocks the calling thread until the stream is there. For blocking code, on another thread than the handler's.
    ///
    /// # Errors
    /// As the future.
    pub fn wait(self) -> Result<Upgraded, UpgradeError> {
        block_on(self)
    }
}

impl Future for OnUpgrade {
    type Output = Result<Upgraded, UpgradeError>;

    /// Cancel safe, as far as dropping gives the connection up.
    ///
    /// # Panics
    /// If polled after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock();
        match &mut *state {
            State::Taken(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Ready(_) => match std::mem::replace(&mut *state, State::Over) {
                State::Ready(outcome) => Poll::Ready(outcome),
                _ => unreachable!("matched just above, under the same lock"),
            },
            State::Offered | State::Over => panic!("an OnUpgrade was polled after it had given its result"),
        }
    }
}

impl Drop for OnUpgrade {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut *self.0.lock(), State::Over);
        // A stream in it is closed here, outside of the lock.
        drop(before);
    }
}

impl fmt::Debug for OnUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnUpgrade")
    }
}
