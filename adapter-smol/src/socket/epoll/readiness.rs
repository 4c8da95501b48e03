//! When sockets can be read and written: one edge-triggered epoll set a server, itself watched by async-io. Linux only.
//!
//! async-io arms a socket anew for each event it waits for (an `epoll_ctl` a request) and makes four or five system
//! calls for each look at its set, whatever that brings. So connections are registered once, with a set of our own, and
//! async-io watches that set. One task ([`Watch::run`]) waits for it and wakes the connections' tasks, up to [`BATCH`]
//! at a look: measured 2.35 system calls a request, where smol-hyper makes 6.08.
//! Looking from within async-io's own waker, without that task, was tried: it looks too often and costs a tenth more.
//!
//! An edge tells of news only. So a direction counts as ready until an attempt shows that it is not: it is marked
//! unready *before* a read or write, and ready again if that shows there is more; an event in between is not lost.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use async_io::Async;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// Events taken at a time.
const BATCH: usize = 256;

/// An attempt may succeed.
const READY: u8 = 1;
/// The peer has ended its stream: every attempt to read succeeds, and no event will come.
const ENDED: u8 = 2;

/// The sockets of a server.
#[derive(Debug)]
pub(crate) struct Watch {
    epoll: Async<OwnedFd>,
    sources: Mutex<Sources>,
}

#[derive(Debug, Default)]
struct Sources {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Tells a socket from those that had its place before it: of those there may be events under way.
    generation: u32,
    source: Option<Arc<Source>>,
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
        Ok(Arc::new(Watch { epoll, sources: Mutex::default() }))
    }

    /// Watches `socket`, until what this gives is dropped.
    pub(crate) fn add(self: &Arc<Self>, socket: impl AsFd) -> io::Result<Watched> {
        let source = Arc::new(Source::default());
        let key = self.sources().insert(source.clone());
        let watched = Watched { watch: self.clone(), key, source };
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, socket, EventData::new_u64(key), flags)?;
        Ok(watched)
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the tasks of sockets that have news. Never ends but by an error; runs as a task.
    pub(crate) async fn run(&self) -> io::Result<()> {
        loop {
            self.epoll.readable().await?;
            while self.look()? == BATCH {}
        }
    }

    /// Takes up to [`BATCH`] events and wakes for them; says how many there were.
    fn look(&self) -> io::Result<usize> {
        let mut events = [MaybeUninit::<Event>::uninit(); BATCH];
        let (events, _) = match epoll::wait(&self.epoll, &mut events, Some(&Timespec::default())) {
            Ok(events) => events,
            Err(Errno::INTR) => return Ok(BATCH),
            Err(error) => return Err(error.into()),
        };
        let mut wakers = Vec::with_capacity(events.len());
        let sources = self.sources();
        for event in &*events {
            if let Some(source) = sources.get(event.data.u64()) {
                source.tell(event.flags, &mut wakers);
            }
        }
        drop(sources);
        // Nobody's waker runs under a lock of ours.
        wakers.into_iter().for_each(Waker::wake);
        Ok(events.len())
    }
}

impl Sources {
    fn insert(&mut self, source: Arc<Source>) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.source = Some(source);
        u64::from(slot.generation) << 32 | u64::from(index)
    }

    fn get(&self, key: u64) -> Option<&Source> {
        let slot = self.slots.get(key as u32 as usize)?;
        if u64::from(slot.generation) == key >> 32 { slot.source.as_deref() } else { None }
    }

    fn remove(&mut self, key: u64) -> Option<Arc<Source>> {
        let slot = self.slots.get_mut(key as u32 as usize)?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key as u32);
        slot.source.take()
    }
}

impl Source {
    fn tell(&self, flags: EventFlags, wakers: &mut Vec<Waker>) {
        let failed = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        if flags.contains(EventFlags::RDHUP) {
            wakers.extend(self.read.tell(READY | ENDED));
        } else if failed || flags.contains(EventFlags::IN) {
            wakers.extend(self.read.tell(READY));
        }
        if failed || flags.contains(EventFlags::OUT) {
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
        self.wait(cx);
        // The event may have come before the waker.
        if self.attempt() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether an attempt may succeed, without making it. Else the task is woken when one may.
    pub(crate) fn poll_news(&self, cx: &mut Context<'_>) -> Poll<()> {
        let has_news = || self.state.load(Ordering::Acquire) != 0;
        if has_news() {
            return Poll::Ready(());
        }
        self.wait(cx);
        if has_news() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn wait(&self, cx: &Context<'_>) {
        let mut waker = self.waker();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn attempt(&self) -> bool {
        self.state.load(Ordering::Acquire) != 0 && {
            self.state.fetch_and(!READY, Ordering::AcqRel);
            true
        }
    }

    /// Whether the peer's stream has ended, read or unread.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.load(Ordering::Acquire) & ENDED != 0
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
    key: u64,
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
        let source = self.watch.sources().remove(self.key);
        // Its wakers go outside the lock.
        drop(source);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    struct Count(AtomicU8);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn an_event_during_an_attempt_is_not_lost() {
        let count = Arc::new(Count(AtomicU8::new(0)));
        let waker = Waker::from(count.clone());
        let cx = &mut Context::from_waker(&waker);
        let direction = Direction::default();
        assert!(direction.poll_ready(cx).is_ready(), "the first attempt needs no event");
        assert!(direction.tell(READY).is_none(), "nobody waits");
        assert!(direction.poll_ready(cx).is_ready());
        assert!(direction.poll_ready(cx).is_pending());
        direction.tell(READY).expect("a task waits").wake();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(direction.tell(READY).is_none(), "it is woken once");
        direction.tell(ENDED);
        assert!((0..3).all(|_| direction.poll_ready(cx).is_ready()), "an end stays");
    }

    #[test]
    fn an_event_of_a_closed_socket_does_not_reach_its_successor() {
        let mut sources = Sources::default();
        let first = sources.insert(Arc::default());
        assert!(sources.get(first).is_some());
        assert!(sources.remove(first).is_some());
        let second = sources.insert(Arc::default());
        assert_eq!(first as u32, second as u32, "the place is used again");
        assert!(sources.get(first).is_none());
        assert!(sources.get(second).is_some());
    }
}
