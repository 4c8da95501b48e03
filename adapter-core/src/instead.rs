//! What the server answers in an application's place, and what the application made and is dropped for that.

use std::borrow::Cow;
use std::cell::RefCell;

use http::{Extensions, StatusCode};

use crate::contain;
use crate::rejection::Rejection;

/// What is answered where there is no thread for what blocks, and no place to wait for one. \[CON-05\], \[RTM-03\]
pub const NO_PLACE: Rejection = Rejection::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "CON-05",
    "the server is busy: the queue for blocking work is full",
);

/// What is answered where no thread was free for a request within [`Timeouts::handler`](crate::Timeouts::handler). \[LIM-09\]
pub const TOO_LATE: Rejection =
    Rejection::new(StatusCode::SERVICE_UNAVAILABLE, "LIM-09", "the server is busy: no thread was free in time");

/// An answer of the server's in place of one of an application that it has called: an extension of that response, for middleware
/// that logs. A response that is made of it has its status, a generic text, and it among its extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAnswer {
    status: StatusCode,
    reason: Cow<'static, str>,
    rejection: Option<Rejection>,
}

impl OwnAnswer {
    /// With `status`, and the generic text that it has, for a `reason` that the client is not told. \[ERR-03\]
    pub(crate) fn new(status: StatusCode, reason: impl Into<Cow<'static, str>>) -> Self {
        OwnAnswer { status, reason: reason.into(), rejection: None }
    }

    /// That of a request that is refused.
    pub(crate) fn refusal(rejection: Rejection) -> Self {
        OwnAnswer { status: rejection.status, reason: rejection.reason.into(), rejection: Some(rejection) }
    }

    /// Whether it is that of a request that is refused, by the extensions of its response.
    pub(crate) fn refuses(extensions: &Extensions) -> bool {
        extensions.get::<Self>().is_some_and(|own| own.rejection.is_some())
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Why it was given, in words for an operator: the error of the application and what caused it, its panic, the limit that it met.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Why the request was refused, where it was: [`RequestEnd::Refused`](crate::observe::RequestEnd::Refused).
    pub fn rejection(&self) -> Option<&Rejection> {
        self.rejection.as_ref()
    }
}

thread_local! {
    static INSTEAD: RefCell<Option<OwnAnswer>> = const { RefCell::new(None) };
}

/// Drops what an application made, a future or a body, because the server gives `answer` instead. Whoever wrapped
/// the application learns that from [`answered_instead`] while it is dropped. Blocks only as the drop does; its panic is
/// contained. For server authors.
#[cold]
pub fn instead<T>(answer: &OwnAnswer, value: T) {
    let before = INSTEAD.replace(Some(answer.clone()));
    contain::discard("drop of what is not sent", value);
    INSTEAD.replace(before);
}

/// What the server answers in place of what is being dropped; `None` where it is dropped for another reason,
/// such as a client that has gone. For middleware that logs, in the drop of its future or of its body's hook. Never blocks or panics.
pub fn answered_instead() -> Option<OwnAnswer> {
    INSTEAD.with_borrow(Clone::clone)
}
