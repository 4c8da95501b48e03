//! When sockets can be read and written: one edge-triggered epoll set a server, itself watched by async-io.
//!
//! async-io arms a socket anew for each event it waits for (one `epoll_ctl` a request) and pays up to five system calls
//! for each look at its set. So connections are registered once, with a set of our own; async-io watches only that set.
//! A task ([`Watch::run`]) waits for it and wakes the connections' tasks, up to [`BATCH`] for one look.
//!
//! An edge tells of news only. Therefore a direction counts as ready until the operating system says otherwise: it is
//! marked unready *before* a read or write, and ready again if that shows there is more; an event that arrives in
//! between is not lost.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};

use async_io::Async;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// Events taken at a time.
const BATCH: usize = 256;

/// There may be something.
const READY: u8 = 1;
/// The stream has ended or failed: every attempt tells, and no event will come.
const ENDED: u8 = 2;

/// The sockets of a server.
#[derive(Debug)]
pub(crate) struct Watch {
    epoll: Async<OwnedFd>,
    sources: Mutex<Sources>,
}

#[derive(Debug, Default)]
struct Sources {
    slots: Vec<Option<Arc<Source>>>,
    free: Vec<usize>,
}

#[derive(Debug, Default)]
struct Source {
    read: Direction,
    write: Direction,
}

#[derive(Debug)]
pub(crate) struct Direction {
    state: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Watch {
    /// Watches nothing yet.
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        let epoll = Async::new_nonblocking(epoll::create(CreateFlags::CLOEXEC)?)?;
        let watch = Arc::new(Watch { epoll, sources: Mutex::default() });
        Ok(watch)
    }

    /// Watches `socket`, until what this gives is dropped.
    pub(crate) fn add(self: &Arc<Self>, socket: impl AsFd) -> io::Result<Watched> {
        let source = Arc::new(Source::default());
        let key = self.sources().insert(source.clone());
        let watched = Watched { watch: self.clone(), key, source };
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, socket, EventData::new_u64(key as u64), flags)?;
        Ok(watched)
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the tasks of sockets that have news; `again` is woken when there is more.
    fn look(&self, again: &Waker) {
        let cx = &mut Context::from_waker(again);
        while let Poll::Ready(outcome) = self.epoll.poll_readable(cx) {
            let looked = outcome.and_then(|()| {
                while self.take()? == BATCH {}
                Ok(())
            });
            if let Err(error) = looked {
                tracing::error!(target: "adapter", %error, "epoll failed; connections stand still");
                return;
            }
        }
    }

    pub(crate) async fn run(&self) -> io::Result<()> {
        loop {
            self.epoll.readable().await?;
            while self.take()? == BATCH {}
        }
    }

    /// Takes up to [`BATCH`] events and wakes for them; says how many there were.
    fn take(&self) -> io::Result<usize> {
        let mut events = [MaybeUninit::<Event>::uninit(); BATCH];
        let (events, _) = match epoll::wait(&self.epoll, &mut events, Some(&Timespec::default())) {
            Ok(events) => events,
            Err(Errno::INTR) => return Ok(BATCH),
            Err(error) => return Err(error.into()),
        };
        let mut wakers = Vec::with_capacity(events.len());
        let sources = self.sources();
        for event in &*events {
            // A socket closed meanwhile has no source, or its successor, which then looks in vain.
            if let Some(Some(source)) = sources.slots.get(event.data.u64() as usize) {
                source.tell(event, &mut wakers);
            }
        }
        drop(sources);
        // Nobody's waker runs under a lock of ours.
        wakers.into_iter().for_each(Waker::wake);
        Ok(events.len())
    }
}

/// What async-io wakes when the set has news, on the thread that drives its reactor at that moment. It looks there and
/// then: a task that looked would have to be scheduled first, only to schedule others.
struct Look(Weak<Watch>);

impl Wake for Look {
    fn wake(self: Arc<Self>) {
        if let Some(watch) = self.0.upgrade() {
            watch.look(&Waker::from(self));
        }
    }
}

impl Sources {
    fn insert(&mut self, source: Arc<Source>) -> usize {
        match self.free.pop() {
            Some(key) => {
                self.slots[key] = Some(source);
                key
            }
            None => {
                self.slots.push(Some(source));
                self.slots.len() - 1
            }
        }
    }
}

impl Source {
    fn tell(&self, event: &Event, wakers: &mut Vec<Waker>) {
        let flags = event.flags;
        let failed = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        if failed || flags.contains(EventFlags::RDHUP) {
            wakers.extend(self.read.tell(ENDED));
        } else if flags.contains(EventFlags::IN) {
            wakers.extend(self.read.tell(READY));
        }
        if failed {
            wakers.extend(self.write.tell(ENDED));
        } else if flags.contains(EventFlags::OUT) {
            wakers.extend(self.write.tell(READY));
        }
    }
}

impl Direction {
    /// Notes an event; gives whom to wake.
    fn tell(&self, bits: u8) -> Option<Waker> {
        self.state.fetch_or(bits, Ordering::AcqRel);
        self.waker().take()
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an attempt may succeed; if so it counts as made. Else the task is woken when one may.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.attempt() {
            return Poll::Ready(());
        }
        let mut waker = self.waker();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        // The event may have come before the waker.
        if self.attempt() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn attempt(&self) -> bool {
        self.state.load(Ordering::Acquire) != 0 && {
            self.state.fetch_and(!READY, Ordering::AcqRel);
            true
        }
    }

    /// The attempt showed that there is more.
    pub(crate) fn set_ready(&self) {
        self.state.fetch_or(READY, Ordering::Release);
    }
}

impl Default for Direction {
    fn default() -> Self {
        // The first attempt is made without waiting for an event: a client mostly has sent when it is accepted.
        Direction { state: AtomicU8::new(READY), waker: Mutex::new(None) }
    }
}

/// A socket that is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    watch: Arc<Watch>,
    key: usize,
    source: Arc<Source>,
}

impl Watched {
    /// Reading.
    pub(crate) fn read(&self) -> &Direction {
        &self.source.read
    }

    /// Writing.
    pub(crate) fn write(&self) -> &Direction {
        &self.source.write
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // The set forgets the socket when it is closed.
        let mut sources = self.watch.sources();
        let source = sources.slots[self.key].take();
        sources.free.push(self.key);
        drop(sources);
        drop(source);
    }
}
