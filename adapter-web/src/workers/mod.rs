//! `--workers`: a process that serves nothing itself. It holds the listeners, and starts copies of the program that serve
//! them; one that ends or hangs is replaced.
//!
//! Workers get the listeners as a successor does ([`successor`](crate::successor)), so each connection is in one queue that
//! all of them accept from: a worker that ends loses nothing that waits there. Over its pair each says `r` when it serves, and
//! then `p` every now and then while its event loops answer; or `e` and why it will not serve. The pair closes with either
//! process: then the other one knows.
//!
//! Runs on the main thread, which alone decides; `adapter-signals` and a thread for each worker (`adapter-worker-watch`) only
//! tell it what happened.

pub(crate) mod attend;
mod backoff;
mod orders;
mod parent;
mod worker;

use std::time::Duration;

pub(crate) use self::parent::run;

/// What workers are to do.
pub(crate) struct Plan {
    /// How many there are to be.
    pub(crate) count: usize,
    /// How long one may be silent.
    pub(crate) silence: Option<Duration>,
    /// How long one may take to start.
    pub(crate) start: Option<Duration>,
    /// How long one may take to end, once it is told to.
    pub(crate) leave: Option<Duration>,
    /// What to say when all serve.
    pub(crate) lines: Vec<String>,
}
