//! What an application made is dropped, because the server answers with something else.

use std::cell::{Cell, RefCell};

use http::StatusCode;
use tracing::Span;

use crate::contain;

thread_local! {
    static INSTEAD: Cell<Option<StatusCode>> = const { Cell::new(None) };
    /// Whose it is that is dropped, where somebody wants to know.
    static WHOSE: RefCell<Option<Span>> = const { RefCell::new(None) };
}

/// Drops what an application made, a future or a body, because the server answers with `status` instead. Whoever wrapped
/// the application learns that from [`answered_instead`] while it is dropped. Blocks only as the drop does; its panic is
/// contained. For server authors.
#[cold]
pub fn instead<T>(status: StatusCode, value: T) {
    let before = INSTEAD.replace(Some(status));
    contain::discard("drop of what is not sent", value);
    INSTEAD.set(before);
}

/// The status the server answers with in place of what is being dropped; `None` where it is dropped for another reason,
/// such as a client that has gone. For middleware that logs, in the drop of its future or of its body's hook.
pub fn answered_instead() -> Option<StatusCode> {
    INSTEAD.get()
}

/// The span of the request whose handler or body `drops` drops, where whoever made that span [says so](dropped_in).
pub(crate) fn whose(drops: impl FnOnce()) -> Option<Span> {
    let outer = WHOSE.replace(Some(Span::none()));
    drops();
    WHOSE.replace(outer).filter(|span| !span.is_none())
}

/// What is being dropped is of the request of `span`: what the server has to say of that stands there. For middleware that logs.
#[doc(hidden)]
pub fn dropped_in(span: &Span) {
    WHOSE.with_borrow_mut(|whose| {
        if let Some(whose) = whose {
            *whose = span.clone();
        }
    });
}
