//! Where messages are kept: what the chat needs of it, and no more.

mod memory;
mod redis;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

pub use self::memory::Memory;
pub use self::redis::Redis;
use crate::message::{Entry, Id, Said};

/// The messages of one chat, in one order for all processes that share the store.
///
/// None of it blocks, and each call ends within seconds, whatever became of the store.
pub trait Store: Send + Sync + 'static {
    /// Says when to look.
    type News: News;

    /// Keeps a message. Once this gives an id the message is accepted: it is not lost any more, but for what is older than
    /// the last [`HISTORY`](crate::message::HISTORY) messages.
    ///
    /// A message whose key is in the history is not said again: its id is given. So whoever got no answer says it again.
    ///
    /// # Errors
    /// [`Unavailable`]. It may have been kept all the same, as when only the answer was lost.
    fn say(&self, said: &Said) -> impl Future<Output = Result<Id, Unavailable>> + Send;

    /// What was said after `after`, from the beginning if that is `Id::default()`; in order.
    ///
    /// # Errors
    /// [`Unavailable`].
    fn read(&self, after: Id) -> impl Future<Output = Result<Page, Unavailable>> + Send;

    /// From when this is ready on, [`News::next`] tells of messages.
    ///
    /// # Errors
    /// [`Unavailable`].
    fn listen(&self) -> impl Future<Output = Result<Self::News, Unavailable>> + Send;
}

impl<S: Store> Store for Arc<S> {
    type News = S::News;

    fn say(&self, said: &Said) -> impl Future<Output = Result<Id, Unavailable>> + Send {
        S::say(self, said)
    }

    fn read(&self, after: Id) -> impl Future<Output = Result<Page, Unavailable>> + Send {
        S::read(self, after)
    }

    fn listen(&self) -> impl Future<Output = Result<S::News, Unavailable>> + Send {
        S::listen(self)
    }
}

/// Wakes those who wait for messages; it does not bring them.
pub trait News: Send {
    /// Ready when there may be something to [`read`](Store::read), now and then though there is nothing.
    ///
    /// # Errors
    /// [`Unavailable`]: it tells of nothing any more. What was said since then is in the store, so listen anew, and read.
    fn next(&mut self) -> impl Future<Output = Result<(), Unavailable>> + Send;
}

/// A piece of the history.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// In order.
    pub entries: Vec<Entry>,
    /// Whether nothing is missing before them: who was away for too long has missed what is not kept any more.
    pub whole: bool,
}

/// The store can't be reached, or did not answer in time.
#[derive(Debug)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}
