//! What threads meet at, by name: for the crates of this workspace, so that a model checker can take its place.
//!
//! `--cfg adapter_model` puts `modelled` here, whose threads are shuttle's, one step at a time in an order that the checker chooses. Outside
//! of a model nothing of it works. `.ci/models` runs the models, which stand beside what they are of.

#[cfg(not(adapter_model))]
mod system {
    pub use std::sync::{Condvar, Mutex, MutexGuard, atomic};
    pub use std::thread;
    pub use std::thread_local;
    use std::time::Instant;

    pub use async_channel;
    pub use event_listener::{Event, EventListener, Listener};
    pub use futures_lite::future::block_on;

    /// The time.
    #[inline]
    pub fn now() -> Instant {
        Instant::now()
    }
}

#[cfg(adapter_model)]
mod modelled;

#[cfg(adapter_model)]
pub use self::modelled::*;
#[cfg(not(adapter_model))]
pub use self::system::*;
