//! What the leader waits in, and the sockets it watches: the one place of this crate that knows the operating system.
//!
//! Chosen when the crate is built. Linux and Android have `epoll`, everything else has `portable` (kqueue, AFD on Windows), which
//! `--cfg adapter_portable` takes on Linux too, so that it can be tested there. `modelled` is memory, for
//! the models (`--cfg adapter_model`). All give the same:
//!
//! * [`Poller`]: the leader waits, any thread registers and interrupts.
//! * [`Events`]: what a wait has brought; [`told`] says of each what it is about, and what has happened, as bits of [`flag`].
//! * [`Listening`], [`Stream`]: sockets. Nothing of them waits. News of a stream are told once, news of a listener until there are none.

#[cfg(all(any(target_os = "linux", target_os = "android"), not(any(adapter_portable, adapter_model))))]
mod epoll;
#[cfg(adapter_model)]
mod modelled;
#[cfg(not(any(all(any(target_os = "linux", target_os = "android"), not(adapter_portable)), adapter_model)))]
mod portable;

use std::io;

#[cfg(all(any(target_os = "linux", target_os = "android"), not(any(adapter_portable, adapter_model))))]
use self::epoll as system;
#[cfg(adapter_model)]
use self::modelled as system;
#[cfg(not(any(all(any(target_os = "linux", target_os = "android"), not(adapter_portable)), adapter_model)))]
use self::portable as system;

#[cfg(all(test, adapter_model))]
pub(crate) use self::system::Client;
pub(crate) use self::system::{Events, Listening, Poller, Stream, events, flag, told};

/// Events taken at a time.
pub(crate) const BATCH: usize = 64;

/// The token of an interruption.
const INTERRUPT: u64 = u64::MAX;
/// Tokens of listeners have this bit, those of connections have not.
const LISTENER: u64 = 1 << 63;

/// What an event is about.
pub(crate) enum Source {
    /// Only an interruption.
    Interrupt,
    /// The listener of that index.
    Listener(usize),
    /// The connection of that token.
    Connection(u64),
}

impl Source {
    fn of(token: u64) -> Self {
        match token {
            INTERRUPT => Source::Interrupt,
            token if token & LISTENER != 0 => Source::Listener((token & !LISTENER) as usize),
            token => Source::Connection(token),
        }
    }
}

/// What came of an attempt to move octets.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// So many.
    Moved(usize),
    /// None: an event will tell when there is more, or room.
    Blocked,
    /// None: a signal came.
    Interrupted,
    /// The connection is broken.
    Failed(io::Error),
}
