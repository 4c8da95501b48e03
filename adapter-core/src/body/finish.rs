//! Hooks that run once when the server is done with a body. \[BOD-18\]

use crate::contain;
use crate::error::Error;

/// How a response ended, as far as the server knows when it lets go of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Every byte was taken by the server's connection.
    Complete,
    /// The client went away, the body failed, or it was not wanted (HEAD, 304, shutdown).
    Aborted,
}

type Hook = Box<dyn FnOnce(Outcome, u64) + Send>;
type FailureHook = Box<dyn FnOnce(&mut Error) + Send>;

#[derive(Default)]
pub(super) struct Finish {
    hooks: Vec<Hook>,
    on_failure: Option<FailureHook>,
    bytes: u64,
    complete: bool,
    failed: bool,
}

impl Finish {
    pub(super) fn add(&mut self, hook: Hook) {
        self.hooks.push(hook);
    }

    pub(super) fn count(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    pub(super) fn complete(&mut self) {
        self.complete = true;
    }

    pub(super) fn set_on_failure(&mut self, hook: FailureHook) {
        self.on_failure = Some(hook);
    }

    /// The response is broken off by `error`: whatever follows, it is not complete.
    pub(super) fn fail(&mut self, error: &mut Error) {
        self.failed = true;
        if let Some(hook) = self.on_failure.take() {
            let _ = contain::catch("failure hook", || hook(error));
        }
    }

    /// Runs the hooks of now where a tokio runtime is current.
    #[cfg(feature = "tokio")]
    pub(super) fn enter(&mut self, carried: &crate::carried::Carried) {
        for hook in &mut self.hooks {
            let carried = carried.clone();
            let inner = std::mem::replace(hook, Box::new(|_, _| ()));
            *hook = Box::new(move |outcome, bytes| carried.within(|| inner(outcome, bytes)));
        }
    }

    pub(super) fn run(self) {
        let outcome = if self.complete && !self.failed { Outcome::Complete } else { Outcome::Aborted };
        for hook in self.hooks {
            // [ERR-08] a panic in a hook is logged by `catch`; the other hooks still run.
            let _ = contain::catch("finish hook", || hook(outcome, self.bytes));
        }
    }
}
