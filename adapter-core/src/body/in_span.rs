//! The span of the request that a body answers: what the body does and what is said of it stands there, on whatever thread.

use tracing::Span;

use super::Body;

impl Body {
    /// Pulled, dropped and told of in `span`, wherever that happens. For logs.
    #[doc(hidden)]
    #[must_use]
    pub fn in_span(mut self, span: Span) -> Self {
        self.extras.get_or_insert_default().span = Some(span);
        self
    }

    pub(crate) fn span(&self) -> Option<&Span> {
        self.extras.as_ref()?.span.as_ref()
    }

    /// Does what may log something of this body, or of its response, in its [span](Self::in_span). For servers.
    #[doc(hidden)]
    #[inline]
    pub fn logged<T>(&self, log: impl FnOnce() -> T) -> T {
        match self.span() {
            Some(span) => span.in_scope(log),
            None => log(),
        }
    }

    /// A step of it in its span; what is in memory says nothing.
    #[inline]
    pub(super) fn step<T>(&mut self, step: impl FnOnce(&mut Self) -> T) -> T {
        match self.span().filter(|_| !self.is_full()).cloned() {
            Some(span) => span.in_scope(|| step(self)),
            None => step(self),
        }
    }
}
