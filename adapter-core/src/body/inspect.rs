//! Looking at the frames of a body as they leave it, without changing its kind.
//!
//! For the lint: what blocks still blocks, what is in memory stays there, lengths, trailers and hooks are the same. The
//! inspector runs wherever the body is pulled, and goes with the half the server holds when a body is offloaded.

use bytes::Bytes;
use http_body::Frame;

use super::Body;
use crate::error::Error;

/// Sees everything a body gives.
pub(crate) trait Inspect: Send {
    /// Called with each answer of the body, ends and errors included, also when it is asked again after them.
    ///
    /// # Errors
    /// Breaks the body off with the error.
    fn seen(&mut self, next: Option<&Result<Frame<Bytes>, Error>>) -> Result<(), Error>;
}

impl Body {
    /// This body, with `inspector` looking on. Several look on in the order they were added.
    pub(crate) fn inspect(mut self, inspector: impl Inspect + 'static) -> Self {
        self.extras.get_or_insert_default().inspectors.push(Box::new(inspector));
        self
    }

    pub(super) fn inspected(
        &mut self,
        next: Option<Result<Frame<Bytes>, Error>>,
    ) -> Option<Result<Frame<Bytes>, Error>> {
        let Some(extras) = &mut self.extras else {
            return next;
        };
        match extras.inspectors.iter_mut().try_for_each(|inspector| inspector.seen(next.as_ref())) {
            Ok(()) => next,
            Err(mut error) => {
                self.fail(&mut error);
                Some(Err(error))
            }
        }
    }
}
