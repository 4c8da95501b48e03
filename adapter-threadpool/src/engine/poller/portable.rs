//! mio: kqueue on macOS and the BSDs, AFD on Windows, and epoll where this is tested on Linux.
//!
//! Everything is edge-triggered, which mio plays on Windows: there an event comes again only once an attempt has found nothing.
//! So a stream is read until it has nothing, and a listener that was not emptied is registered anew.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter_http1::connection::{SendFile, Wait};
use adapter_listen::ListenSocket;
use mio::event::{self, Event};
use mio::{Interest, Poll, Registry, Token, Waker};
use socket2::SockRef;

use super::super::lock;
use super::{Attempt, BATCH, INTERRUPT, LISTENER, Source};

#[cfg(not(target_pointer_width = "64"))]
compile_error!("adapter-threadpool needs a 64-bit target where there is no epoll");

/// What has happened to a connection.
pub(crate) mod flag {
    /// Something can be read.
    pub(crate) const READABLE: u32 = 1;
    /// There is room to write.
    pub(crate) const WRITABLE: u32 = 1 << 1;
    /// The client's stream has ended.
    pub(crate) const ENDED: u32 = 1 << 2;
    /// The connection is broken, or closed both ways.
    pub(crate) const BROKEN: u32 = 1 << 3;
}

/// What a wait has brought.
pub(crate) type Events = mio::Events;

/// Room for the events of a wait.
pub(crate) fn events() -> Events {
    Events::with_capacity(BATCH)
}

/// What an event is about, and what has happened, as bits of [`flag`].
pub(crate) fn told(event: &Event) -> (Source, u32) {
    let mut flags = 0;
    if event.is_readable() {
        flags |= flag::READABLE;
    }
    if event.is_writable() {
        flags |= flag::WRITABLE;
    }
    if event.is_read_closed() {
        flags |= flag::ENDED;
    }
    // kqueue tells the end of our own half, too, as the end of writing.
    if event.is_error() || event.is_read_closed() && event.is_write_closed() {
        flags |= flag::BROKEN;
    }
    (Source::of(event.token().0 as u64), flags)
}

#[derive(Debug)]
pub(crate) struct Poller {
    /// Only the leader waits, so that it never has to wait for this.
    poll: Mutex<Poll>,
    registry: Registry,
    interrupt: Waker,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let interrupt = Waker::new(&registry, Token(INTERRUPT as usize))?;
        Ok(Poller { poll: Mutex::new(poll), registry, interrupt })
    }

    /// Waits for events, at most for `timeout`; what was in `events` goes.
    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) {
        if let Err(error) = lock(&self.poll).poll(events, timeout.map(|timeout| timeout.min(Duration::from_secs(3600))))
            && error.kind() != ErrorKind::Interrupted
        {
            tracing::error!(target: "adapter", %error, "waiting for events failed");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends the current or the next wait.
    pub(crate) fn interrupt(&self) {
        if let Err(error) = self.interrupt.wake() {
            tracing::error!(target: "adapter", %error, "waiting for events could not be interrupted");
        }
    }

    /// Watches a connection until it is dropped.
    pub(crate) fn add(&self, stream: &mut Stream, token: u64) -> io::Result<()> {
        self.registry.register(stream.source(), Token(token as usize), Interest::READABLE | Interest::WRITABLE)
    }

    /// Watches a listener until it is removed.
    pub(crate) fn listen(&self, listener: &mut Listening, index: usize) -> io::Result<()> {
        self.registry.register(listener.source(), of_listener(index), Interest::READABLE)
    }

    /// More may wait at a listener than was accepted: tells that once more.
    pub(crate) fn tell_again(&self, listener: &mut Listening, index: usize) -> io::Result<()> {
        self.registry.reregister(listener.source(), of_listener(index), Interest::READABLE)
    }

    pub(crate) fn remove(&self, listener: &mut Listening) {
        // It may not be registered, which is what is wanted.
        let _ = self.registry.deregister(listener.source());
    }
}

fn of_listener(index: usize) -> Token {
    Token(LISTENER as usize | index)
}

/// A listener.
#[derive(Debug)]
pub(crate) enum Listening {
    Tcp(mio::net::TcpListener),
    #[cfg(unix)]
    Unix(mio::net::UnixListener),
}

impl Listening {
    /// Takes over a socket that does not block.
    pub(crate) fn new(socket: ListenSocket) -> io::Result<Self> {
        Ok(match socket {
            ListenSocket::Tcp(listener) => Listening::Tcp(mio::net::TcpListener::from_std(listener)),
            #[cfg(unix)]
            ListenSocket::Unix(listener) => Listening::Unix(mio::net::UnixListener::from_std(listener)),
        })
    }

    fn source(&mut self) -> &mut dyn event::Source {
        match self {
            Listening::Tcp(listener) => listener,
            #[cfg(unix)]
            Listening::Unix(listener) => listener,
        }
    }

    /// A client that waits, and its address if it has one.
    pub(crate) fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Listening::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                // It fails where the client has gone, which shows when it is read.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), Some(peer)))
            }
            #[cfg(unix)]
            Listening::Unix(listener) => Ok((Stream::Unix(listener.accept()?.0), None)),
        }
    }
}

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(mio::net::TcpStream),
    #[cfg(unix)]
    Unix(mio::net::UnixStream),
}

impl Stream {
    /// Whether a read that does not fill its buffer has emptied the socket, so that the next one waits without asking.
    pub(crate) const SHORT_READ_EMPTIES: bool = false;

    /// What sends files without reading them: nothing, here.
    #[expect(clippy::unused_self, reason = "elsewhere there is something")]
    pub(crate) fn file_sender(self: &Arc<Self>) -> Option<Arc<dyn SendFile>> {
        None
    }

    fn source(&mut self) -> &mut dyn event::Source {
        match self {
            Stream::Tcp(stream) => stream,
            #[cfg(unix)]
            Stream::Unix(stream) => stream,
        }
    }

    fn socket(&self) -> SockRef<'_> {
        match self {
            Stream::Tcp(stream) => SockRef::from(stream),
            #[cfg(unix)]
            Stream::Unix(stream) => SockRef::from(stream),
        }
    }

    /// The address of this end, if it has one.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(stream) => stream.local_addr().ok(),
            #[cfg(unix)]
            Stream::Unix(_) => None,
        }
    }

    pub(crate) fn read(&self, buffer: &mut [u8]) -> Attempt {
        of(match self {
            Stream::Tcp(stream) => (&mut &*stream).read(buffer),
            #[cfg(unix)]
            Stream::Unix(stream) => (&mut &*stream).read(buffer),
        })
    }

    pub(crate) fn write(&self, parts: &[IoSlice<'_>], most: usize) -> Attempt {
        let stream: &mut dyn Write = match self {
            Stream::Tcp(stream) => &mut &*stream,
            #[cfg(unix)]
            Stream::Unix(stream) => &mut &*stream,
        };
        of(match parts {
            [only, ..] if only.len() == most => stream.write(only),
            _ => stream.write_vectored(parts),
        })
    }

    /// Whether something can be read.
    pub(crate) fn has_input(&self) -> bool {
        self.socket().peek(&mut [MaybeUninit::uninit()]).is_ok_and(|count| count > 0)
    }

    /// Ends our half of the stream. It may be gone already.
    pub(crate) fn end(&self) {
        let _ = self.socket().shutdown(Shutdown::Write);
    }

    /// Ends both, under whoever waits for it.
    pub(crate) fn cut(&self) {
        let _ = self.socket().shutdown(Shutdown::Both);
    }

    pub(crate) fn limit_unsent(&self, limit: Duration) {
        adapter_listen::limit_unsent(self.socket(), limit);
    }

    pub(crate) fn reset_on_close(&self) {
        let _ = self.socket().set_linger(Some(Duration::ZERO));
    }

    /// There is nothing that blocks a worker until this one socket can be read: the leader reports that.
    pub(crate) fn waiter(self: &Arc<Self>, _: impl Fn() + Send + Sync + 'static) -> Option<Arc<dyn Wait>> {
        None
    }
}

fn of(outcome: io::Result<usize>) -> Attempt {
    match outcome {
        Ok(count) => Attempt::Moved(count),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock => Attempt::Blocked,
            ErrorKind::Interrupted => Attempt::Interrupted,
            _ => Attempt::Failed(error),
        },
    }
}
