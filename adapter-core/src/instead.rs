//! What an application made is dropped, because the server answers with something else.

use std::cell::Cell;

use http::StatusCode;

use crate::contain;

thread_local! {
    static INSTEAD: Cell<Option<StatusCode>> = const { Cell::new(None) };
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
