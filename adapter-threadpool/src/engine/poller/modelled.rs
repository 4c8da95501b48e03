//! Sockets and events of a model: octets in memory, and a list of edges. See `adapter_core::sync`.
//!
//! As epoll has it: an edge is kept until it is taken, edges of one socket are joined, and an interruption ends the current or the next wait.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adapter_core::sync::{Condvar, Mutex, now, thread};
use adapter_http1::connection::{SendFile, Wait};
use adapter_listen::ListenSocket;

use super::{Attempt, BATCH, INTERRUPT, Source};
use crate::engine::lock;

/// What has happened to a connection.
pub(crate) mod flag {
    pub(crate) const READABLE: u32 = 1;
    pub(crate) const WRITABLE: u32 = 1 << 1;
    pub(crate) const ENDED: u32 = 1 << 2;
    pub(crate) const BROKEN: u32 = 1 << 3;
}

/// What a wait has brought.
pub(crate) type Events = Vec<(u64, u32)>;

/// Room for the events of a wait.
pub(crate) fn events() -> Events {
    Vec::with_capacity(BATCH)
}

/// What an event is about, and what has happened, as bits of [`flag`].
pub(crate) fn told(event: &(u64, u32)) -> (Source, u32) {
    (Source::of(event.0), event.1)
}

type Edges = Arc<(Mutex<BTreeMap<u64, u32>>, Condvar)>;

fn tell(edges: &Edges, token: u64, flags: u32) {
    *lock(&edges.0).entry(token).or_default() |= flags;
    edges.1.notify_all();
}

#[derive(Default)]
pub(crate) struct Poller(Edges);

impl Poller {
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it may fail")]
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self::default())
    }

    /// Waits for events, at most for `timeout`.
    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) {
        let until = timeout.map(|timeout| now() + timeout);
        let mut edges = lock(&self.0.0);
        while edges.is_empty() {
            edges = match until {
                None => self.0.1.wait(edges).expect("no model goes on behind a panic"),
                Some(until) if now() >= until => break,
                // Others see to it that time passes.
                Some(_) => {
                    drop(edges);
                    thread::yield_now();
                    lock(&self.0.0)
                }
            };
        }
        events.extend(std::mem::take(&mut *edges));
    }

    /// Ends the current or the next wait.
    pub(crate) fn interrupt(&self) {
        tell(&self.0, INTERRUPT, 0);
    }

    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it may fail")]
    pub(crate) fn add(&self, stream: &mut Stream, token: u64) -> io::Result<()> {
        lock(&stream.0.0).watched = Some((self.0.clone(), token));
        Ok(())
    }

    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "elsewhere it does, and may fail")]
    pub(crate) fn listen(&self, _: &mut Listening, _: usize) -> io::Result<()> {
        Ok(())
    }

    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "elsewhere it does, and may fail")]
    pub(crate) fn tell_again(&self, _: &mut Listening, _: usize) -> io::Result<()> {
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "elsewhere it does")]
    pub(crate) fn remove(&self, _: &mut Listening) {}
}

/// A listener, of which a model has none: its connections are there.
pub(crate) enum Listening {}

impl Listening {
    pub(crate) fn new(_: ListenSocket) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match *self {}
    }
}

/// A connected socket.
pub(crate) struct Stream(Client);

/// The other end of it.
#[derive(Clone, Default)]
pub(crate) struct Client(Arc<Mutex<Pipe>>, Arc<Condvar>);

#[derive(Default)]
struct Pipe {
    watched: Option<(Edges, u64)>,
    input: VecDeque<u8>,
    input_ended: bool,
    output: Vec<u8>,
    /// How much more goes out until the client makes room.
    room: usize,
    output_ended: bool,
}

impl Stream {
    pub(crate) const SHORT_READ_EMPTIES: bool = true;

    #[expect(clippy::unused_self, reason = "elsewhere there is one")]
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        None
    }

    pub(crate) fn read(&self, buffer: &mut [u8]) -> Attempt {
        let mut pipe = lock(&self.0.0);
        let count = buffer.len().min(pipe.input.len());
        for (place, octet) in buffer.iter_mut().zip(pipe.input.drain(..count)) {
            *place = octet;
        }
        if count == 0 && !pipe.input_ended { Attempt::Blocked } else { Attempt::Moved(count) }
    }

    pub(crate) fn write(&self, parts: &[IoSlice<'_>], _: usize) -> Attempt {
        let mut pipe = lock(&self.0.0);
        if pipe.output_ended {
            return Attempt::Failed(io::ErrorKind::BrokenPipe.into());
        }
        let mut count = 0;
        for part in parts {
            let fits = part.len().min(pipe.room);
            pipe.output.extend_from_slice(&part[..fits]);
            pipe.room -= fits;
            count += fits;
        }
        self.0.1.notify_all();
        if count == 0 { Attempt::Blocked } else { Attempt::Moved(count) }
    }

    pub(crate) fn has_input(&self) -> bool {
        !lock(&self.0.0).input.is_empty()
    }

    pub(crate) fn end(&self) {
        lock(&self.0.0).output_ended = true;
        self.0.1.notify_all();
    }

    pub(crate) fn cut(&self) {
        let mut pipe = lock(&self.0.0);
        (pipe.output_ended, pipe.input_ended) = (true, true);
        drop(pipe);
        self.0.1.notify_all();
        self.0.tell(flag::READABLE | flag::ENDED | flag::BROKEN);
    }

    #[expect(clippy::unused_self, reason = "elsewhere it does")]
    pub(crate) fn limit_unsent(&self, _: Duration) {}

    #[expect(clippy::unused_self, reason = "elsewhere it does")]
    pub(crate) fn reset_on_close(&self) {}

    #[expect(clippy::unused_self, reason = "elsewhere there is one")]
    pub(crate) fn waiter(self: &Arc<Self>, _: impl Fn() + Send + Sync + 'static) -> Option<Arc<dyn Wait>> {
        None
    }

    #[expect(clippy::unused_self, reason = "elsewhere there is one")]
    pub(crate) fn file_sender(self: &Arc<Self>) -> Option<Arc<dyn SendFile>> {
        None
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.end();
    }
}

impl Client {
    fn tell(&self, flags: u32) {
        let watched = lock(&self.0).watched.clone();
        if let Some((edges, token)) = watched {
            tell(&edges, token, flags);
        }
    }

    /// The server's end.
    pub(crate) fn accepted(&self) -> Stream {
        Stream(self.clone())
    }

    pub(crate) fn sends(&self, octets: &[u8]) {
        lock(&self.0).input.extend(octets);
        self.tell(flag::READABLE);
    }

    pub(crate) fn takes(&self, room: usize) {
        lock(&self.0).room += room;
        self.tell(flag::WRITABLE);
    }

    /// Waits until `count` responses have come, or the stream has ended; how many have.
    pub(crate) fn awaits(&self, count: usize) -> usize {
        let mut pipe = lock(&self.0);
        loop {
            let came = pipe.output.windows(9).filter(|octets| octets == b"HTTP/1.1 ").count();
            if came >= count || pipe.output_ended {
                return came;
            }
            pipe = self.1.wait(pipe).expect("no model goes on behind a panic");
        }
    }
}
