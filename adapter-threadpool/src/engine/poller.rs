//! epoll and the eventfd that interrupts it. Linux only.
//!
//! The leader waits; any thread registers and interrupts. Connections are registered once, edge-triggered for
//! everything, so that no request needs an `epoll_ctl`; listeners are level-triggered.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

pub(crate) use rustix::event::epoll::Event;

/// Events taken at a time.
pub(crate) const BATCH: usize = 64;

/// The token of the eventfd.
const INTERRUPT: u64 = u64::MAX;
/// Tokens of listeners have this bit, those of connections have not.
pub(crate) const LISTENER: u64 = 1 << 63;

/// What an event is about.
pub(crate) enum Source {
    /// Only an interruption.
    Interrupt,
    /// The listener of that index.
    Listener(usize),
    /// The connection of that token.
    Connection(u64),
}

#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    interrupt: OwnedFd,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let interrupt = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Edge-triggered: each write is an event, and nobody needs to read.
        epoll::add(&epoll, &interrupt, EventData::new_u64(INTERRUPT), EventFlags::IN | EventFlags::ET)?;
        Ok(Poller { epoll, interrupt })
    }

    /// Waits for events, at most for `timeout`; appends to `events`, which must be empty.
    pub(crate) fn wait(&self, events: &mut Vec<Event>, timeout: Option<Duration>) {
        let timeout = timeout.map(|timeout| {
            // Rounded up: a timer must not fire early.
            let millis = timeout.as_nanos().div_ceil(1_000_000).min(3_600_000) as i64;
            Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 }
        });
        if let Err(error) = epoll::wait(&self.epoll, spare_capacity(events), timeout.as_ref())
            && error != rustix::io::Errno::INTR
        {
            tracing::error!(target: "adapter", %error, "epoll_wait failed");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends the current or the next wait.
    pub(crate) fn interrupt(&self) {
        // It can only fail when the counter is full, and then the event is there.
        let _ = rustix::io::write(&self.interrupt, &1_u64.to_ne_bytes());
    }

    pub(crate) fn add_connection(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(token), flags)?)
    }

    pub(crate) fn add_listener(&self, socket: impl AsFd, index: usize) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(LISTENER | index as u64), EventFlags::IN)?)
    }

    pub(crate) fn remove(&self, socket: impl AsFd) {
        // It may not be registered, which is what is wanted.
        let _ = epoll::delete(&self.epoll, socket);
    }

    pub(crate) fn source(event: &Event) -> Source {
        match event.data.u64() {
            INTERRUPT => Source::Interrupt,
            token if token & LISTENER != 0 => Source::Listener((token & !LISTENER) as usize),
            token => Source::Connection(token),
        }
    }
}
