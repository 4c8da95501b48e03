//! The span, and the tokio runtime, of where something was begun, for where it goes on: what an application spawns, or runs on a
//! blocking thread, finds what it would have found in its handler.
//!
//! Nothing where neither is entered, and no runtime without the feature `tokio`. Never blocks, starts nothing.

#[cfg(feature = "tokio")]
use ::tokio::runtime::{EnterGuard, Handle};
use tracing::Span;

/// What was current.
#[derive(Clone)]
pub(crate) struct Carried {
    span: Span,
    #[cfg(feature = "tokio")]
    handle: Option<Handle>,
}

impl Default for Carried {
    /// Nothing.
    fn default() -> Self {
        Carried {
            span: Span::none(),
            #[cfg(feature = "tokio")]
            handle: None,
        }
    }
}

impl Carried {
    /// What this thread is in.
    #[inline]
    pub(crate) fn here() -> Self {
        Carried {
            span: Span::current(),
            #[cfg(feature = "tokio")]
            handle: Handle::try_current().ok(),
        }
    }

    /// The same in `span` instead.
    pub(crate) fn in_span(mut self, span: Span) -> Self {
        self.span = span;
        self
    }

    /// `value`, polled and dropped there.
    pub(crate) fn with<T>(self, value: T) -> Within<T> {
        Within { carried: self, value: Some(value) }
    }

    /// Runs `work` there; a thread that is in another runtime stays in that.
    #[inline]
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        #[cfg(feature = "tokio")]
        let _entered = self.enter();
        self.span.in_scope(work)
    }

    #[cfg(feature = "tokio")]
    fn enter(&self) -> Option<EnterGuard<'_>> {
        let handle = self.handle.as_ref()?;
        (!is_within()).then(|| handle.enter())
    }
}

#[cfg(feature = "tokio")]
impl From<&Handle> for Carried {
    fn from(handle: &Handle) -> Self {
        Carried { handle: Some(handle.clone()), ..Carried::default() }
    }
}

/// Whether this thread is in a runtime of tokio's already. A task's id is looked at first: that counts no references.
#[cfg(feature = "tokio")]
#[inline]
pub(crate) fn is_within() -> bool {
    ::tokio::task::try_id().is_some() || Handle::try_current().is_ok()
}

/// Something of an application's that is used, and dropped, where a runtime is current.
pub(crate) struct Within<T> {
    carried: Carried,
    /// `None` only while it is dropped.
    value: Option<T>,
}

impl<T> Within<T> {
    /// Uses it; `None` never comes.
    #[inline]
    pub(crate) fn using<R>(&mut self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        let value = self.value.as_mut()?;
        Some(self.carried.within(|| work(value)))
    }

    /// The value, to be looked at only.
    #[cfg(feature = "tokio")]
    pub(crate) fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }
}

impl<T> Drop for Within<T> {
    fn drop(&mut self) {
        let value = self.value.take();
        self.carried.within(|| drop(value));
    }
}
