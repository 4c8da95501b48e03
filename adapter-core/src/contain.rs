//! Panics of application code are caught here, logged once, and turned into values.
//!
//! With `panic = "abort"` nothing can be caught and a panic ends the process; servers document that (\[ERR-10\]).

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

/// An owned, erased future.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A panic that was caught and logged.
#[derive(Debug, thiserror::Error)]
#[error("the application panicked: {message}")]
pub struct Panic {
    message: String,
}

impl Panic {
    /// One with these words.
    pub(crate) fn said(message: &str) -> Self {
        Panic { message: message.to_owned() }
    }

    /// The message of the panic, empty if it had none.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Who is told where code has panicked.
type OnPanic = dyn Fn(&'static str) + Send + Sync;

/// Those of the process: a panic is caught where nobody knows any more for which server the code ran.
static TOLD: Mutex<Vec<Weak<OnPanic>>> = Mutex::new(Vec::new());

/// Tells `told` of each panic from now on, until what is returned is dropped. It must not panic itself.
pub(crate) fn tell_of_panics(told: Arc<OnPanic>) -> Arc<OnPanic> {
    let mut all = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|one| one.strong_count() > 0);
    all.push(Arc::downgrade(&told));
    told
}

/// Logs a caught panic and makes it a value. `place` says what was running.
#[cold]
pub(crate) fn report(place: &'static str, payload: Box<dyn Any + Send>) -> Panic {
    let message = payload
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(target: "adapter", place, panic = %message, hint = hint(&message), "application code panicked");
    tell(place);
    // A payload may be any value, and its own drop may panic; one more of those is leaked.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    Panic { message }
}

/// Logs a panic that somebody else catches, and keeps: what is dropped by it is all that is seen of it here, and not what it says.
#[cfg(feature = "axum")]
#[cold]
pub(crate) fn report_passing(place: &'static str) {
    tracing::error!(target: "adapter", place, "application code panicked");
    tell(place);
}

fn tell(place: &'static str) {
    let told: Vec<_> = TOLD.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect();
    told.iter().for_each(|told| told(place));
}

/// What to do about a panic that somebody meets on some servers and not on others.
fn hint(message: &str) -> Option<&'static str> {
    // tokio's own words, and those of libraries that look for its runtime themselves (sqlx).
    let said =
        ["there is no reactor running", "must be called from the context of a Tokio", "requires a Tokio context"];
    said.iter().any(|words| message.contains(words)).then_some(
        "this server does not run on tokio: wrap the application in `tokio::application(…)` (feature `tokio`) or, where \
         it is an axum `Router`, in `axum(…)` (feature `axum`)",
    )
}

/// Runs `work`; a panic is logged once and given as the error. \[ERR-02\]
///
/// # Errors
/// The panic.
#[inline]
pub fn catch<T>(place: &'static str, work: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| report(place, payload))
}

/// Drops `value`. A panic in that is logged once, and there is nobody to tell; blocks only as the drop does. \[ERR-08\]
#[inline]
pub fn discard<T>(place: &'static str, value: T) {
    let _ = catch(place, || drop(value));
}

/// A future whose panics, in polls and in its drop, are contained. \[ERR-02\], \[ERR-08\]
#[must_use = "futures do nothing unless polled"]
pub struct Contained<T>(Option<BoxFuture<T>>);

impl<T> Contained<T> {
    /// Contains `future`.
    pub fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Contained(Some(Box::pin(future)))
    }
}

impl<T> Future for Contained<T> {
    type Output = Result<T, Panic>;

    /// # Panics
    /// If polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.0.as_mut().expect("polled after it was ready");
        let outcome = catch("handler", || future.as_mut().poll(cx));
        if !matches!(outcome, Ok(Poll::Pending)) {
            self.drop_future();
        }
        match outcome {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

impl<T> Contained<T> {
    fn drop_future(&mut self) {
        if let Some(future) = self.0.take() {
            discard("drop of a handler", future);
        }
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        self.drop_future();
    }
}

impl<T> std::fmt::Debug for Contained<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Contained")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tokio_is_told_with_its_cure() {
        let outside = catch("test", || ::tokio::spawn(async {})).expect_err("there is no runtime");
        assert!(hint(outside.message()).is_some_and(|hint| hint.contains("tokio::application")), "{outside}");
        let sleeps = catch("test", || drop(::tokio::time::sleep(std::time::Duration::ZERO)));
        assert!(sleeps.is_err_and(|panic| hint(panic.message()).is_some()));
        assert_eq!(hint("index out of bounds"), None);
    }
}
