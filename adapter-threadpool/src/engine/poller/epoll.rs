//! epoll, the eventfd that interrupts it, and sockets by the system calls themselves. Linux only.
//!
//! Connections are registered once, edge-triggered for everything, so that no request needs an `epoll_ctl`; listeners are
//! level-triggered.

use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use adapter_http1::connection::{SendFile, Wait};
use adapter_listen::ListenSocket;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags, acceptfrom_with, getsockname, recv, send,
    sendmsg, shutdown, sockopt,
};

use super::{Attempt, BATCH, INTERRUPT, LISTENER, Source};

/// What has happened to a connection.
pub(crate) mod flag {
    use super::EventFlags;

    /// Something can be read.
    pub(crate) const READABLE: u32 = EventFlags::IN.bits();
    /// There is room to write.
    pub(crate) const WRITABLE: u32 = EventFlags::OUT.bits();
    /// The client's stream has ended.
    pub(crate) const ENDED: u32 = EventFlags::RDHUP.bits();
    /// The connection is broken, or closed both ways.
    pub(crate) const BROKEN: u32 = EventFlags::HUP.union(EventFlags::ERR).bits();
}

/// What a wait has brought.
pub(crate) type Events = Vec<Event>;

/// Room for the events of a wait.
pub(crate) fn events() -> Events {
    Vec::with_capacity(BATCH)
}

/// What an event is about, and what has happened, as bits of [`flag`].
pub(crate) fn told(event: &Event) -> (Source, u32) {
    (Source::of(event.data.u64()), { event.flags }.bits())
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
    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) {
        let timeout = timeout.map(|timeout| {
            // Rounded up: a timer must not fire early.
            let millis = timeout.as_nanos().div_ceil(1_000_000).min(3_600_000) as i64;
            Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 }
        });
        if let Err(error) = epoll::wait(&self.epoll, spare_capacity(events), timeout.as_ref())
            && error != Errno::INTR
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

    /// Watches a connection until it is dropped.
    pub(crate) fn add(&self, stream: &mut Stream, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, &stream.0, EventData::new_u64(token), flags)?)
    }

    /// Watches a listener until it is removed.
    pub(crate) fn listen(&self, listener: &mut Listening, index: usize) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, listener.fd(), EventData::new_u64(LISTENER | index as u64), EventFlags::IN)?)
    }

    /// More may wait at a listener than was accepted: that is told anyway.
    pub(crate) fn tell_again(&self, _: &mut Listening, _: usize) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn remove(&self, listener: &mut Listening) {
        // It may not be registered, which is what is wanted.
        let _ = epoll::delete(&self.epoll, listener.fd());
    }
}

/// A listener.
#[derive(Debug)]
pub(crate) struct Listening(ListenSocket);

impl Listening {
    /// Takes over a socket that does not block.
    pub(crate) fn new(socket: ListenSocket) -> io::Result<Self> {
        let listening = Listening(socket);
        if matches!(listening.0, ListenSocket::Tcp(_)) {
            // Accepted sockets inherit it, which saves a call for each.
            sockopt::set_tcp_nodelay(listening.fd(), true)?;
        }
        Ok(listening)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            ListenSocket::Tcp(listener) => listener.as_fd(),
            ListenSocket::Unix(listener) => listener.as_fd(),
        }
    }

    /// A client that waits, and its address if it has one.
    pub(crate) fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        let (socket, peer) = acceptfrom_with(self.fd(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        Ok((Stream(socket), peer.and_then(|peer| SocketAddr::try_from(peer).ok())))
    }
}

/// A connected socket.
#[derive(Debug)]
pub(crate) struct Stream(OwnedFd);

impl Stream {
    /// Whether a read that does not fill its buffer has emptied the socket, so that the next one waits without asking.
    pub(crate) const SHORT_READ_EMPTIES: bool = true;

    /// The address of this end, if it has one.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        getsockname(&self.0).ok().and_then(|addr| SocketAddr::try_from(addr).ok())
    }

    #[inline]
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Attempt {
        of(recv(&self.0, buffer, RecvFlags::empty()).map(|(_, count)| count))
    }

    #[inline]
    pub(crate) fn write(&self, parts: &[IoSlice<'_>], most: usize) -> Attempt {
        of(match parts {
            [only, ..] if only.len() == most => send(&self.0, only, SendFlags::NOSIGNAL),
            _ => sendmsg(&self.0, parts, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL),
        })
    }

    /// Whether something can be read.
    pub(crate) fn has_input(&self) -> bool {
        let mut octet = [MaybeUninit::<u8>::uninit()];
        recv(&self.0, &mut octet, RecvFlags::PEEK | RecvFlags::DONTWAIT).is_ok_and(|(_, count)| count > 0)
    }

    /// Ends our half of the stream. It may be gone already.
    pub(crate) fn end(&self) {
        let _ = shutdown(&self.0, Shutdown::Write);
    }

    /// Ends both, under whoever waits for it.
    pub(crate) fn cut(&self) {
        let _ = shutdown(&self.0, Shutdown::Both);
    }

    pub(crate) fn limit_unsent(&self, limit: Duration) {
        adapter_listen::limit_unsent(&self.0, limit);
    }

    pub(crate) fn reset_on_close(&self) {
        let _ = sockopt::set_socket_linger(&self.0, Some(Duration::ZERO));
    }

    /// What blocks a worker in application code that reads a request body, and calls `then` behind it: poll(2) is quicker than
    /// another thread's report.
    pub(crate) fn waiter(self: &Arc<Self>, then: impl Fn() + Send + Sync + 'static) -> Option<Arc<dyn Wait>> {
        Some(Arc::new(Waiter { stream: self.clone(), then }))
    }

    /// What sends files without reading them.
    pub(crate) fn file_sender(self: &Arc<Self>) -> Option<Arc<dyn SendFile>> {
        ignores_sigpipe().then(|| Arc::new(Sender(Arc::downgrade(self))) as Arc<dyn SendFile>)
    }
}

/// Whether the process outlives a write to who has left. sendfile(2) has no MSG_NOSIGNAL.
fn ignores_sigpipe() -> bool {
    static IGNORES: LazyLock<bool> = LazyLock::new(|| {
        // As std has it, and a program may not. proc(5): what is ignored, as a bit for each signal, the first one being 1.
        const SIGPIPE: u64 = 1 << (13 - 1);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).is_some_and(|bits| bits & SIGPIPE != 0)
    });
    *IGNORES
}

/// Does not keep the socket open: whoever cuts a connection off closes it.
struct Sender(Weak<Stream>);

impl SendFile for Sender {
    fn try_send_file(&self, file: &File, position: u64, length: u64) -> io::Result<usize> {
        let Some(stream) = self.0.upgrade() else { return Err(io::ErrorKind::NotConnected.into()) };
        let mut position = position;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        loop {
            match sendfile(&stream.0, file, Some(&mut position), length) {
                Err(Errno::INTR) => {}
                sent => return Ok(sent?),
            }
        }
    }
}

#[inline]
fn of(outcome: Result<usize, Errno>) -> Attempt {
    match outcome {
        Ok(count) => Attempt::Moved(count),
        Err(Errno::AGAIN) => Attempt::Blocked,
        Err(Errno::INTR) => Attempt::Interrupted,
        Err(error) => Attempt::Failed(error.into()),
    }
}

struct Waiter<F> {
    stream: Arc<Stream>,
    then: F,
}

impl<F: Fn() + Send + Sync> Wait for Waiter<F> {
    fn wait(&self, timeout: Option<Duration>) {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        // An error is one of the socket, and shows when it is read.
        let _ = poll(&mut [PollFd::new(&self.stream.0, PollFlags::IN)], timeout.as_ref());
        (self.then)();
    }
}
