//! The handle on spawned work, and the one-value channel behind it.
//!
//! The worker sends from any thread and wakes whoever waits; neither side blocks. \[RTM-02\]

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::contain::Panic;

/// Why there is no result from a [`Task`].
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskError {
    /// The work panicked; the panic has been logged. Holds its message.
    #[error("the task panicked: {0}")]
    Panicked(String),
    /// The server could not take the work (its queue is full), or dropped it while shutting down.
    #[error("the server refused the task")]
    Refused,
}

impl TaskError {
    pub(crate) fn of(panic: &Panic) -> Self {
        TaskError::Panicked(panic.message().to_owned())
    }
}

/// Work under way; a future of its result. Dropping it detaches the work.
///
/// Cancel safe: dropping the future loses only the result.
#[must_use = "await it for the result, or drop it to detach the work"]
pub struct Task<T>(Arc<Mutex<State<T>>>);

enum State<T> {
    Waiting(Option<Waker>),
    Done(Result<T, TaskError>),
    Taken,
}

fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Task<T> {
    /// Lets the work go on with nobody waiting; the same as dropping, said aloud.
    pub fn detach(self) {}
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    /// # Panics
    /// If polled after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.0);
        match &mut *state {
            State::Waiting(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Done(_) => match std::mem::replace(&mut *state, State::Taken) {
                State::Done(result) => Poll::Ready(result),
                _ => unreachable!("matched just above, under the same lock"),
            },
            State::Taken => panic!("a Task was polled after it had given its result"),
        }
    }
}

impl<T> std::fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Task")
    }
}

pub(crate) struct Sender<T>(Arc<Mutex<State<T>>>);

pub(crate) fn channel<T>() -> (Sender<T>, Task<T>) {
    let state = Arc::new(Mutex::new(State::Waiting(None)));
    (Sender(state.clone()), Task(state))
}

impl<T> Sender<T> {
    pub(crate) fn send(self, result: Result<T, Panic>) {
        self.finish(result.map_err(|panic| TaskError::of(&panic)));
    }

    fn finish(&self, result: Result<T, TaskError>) {
        let mut state = lock(&self.0);
        if let State::Waiting(waker) = &mut *state {
            let waker = waker.take();
            *state = State::Done(result);
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.finish(Err(TaskError::Refused));
    }
}
