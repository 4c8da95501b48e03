//! A whole HTTP/1.1 server connection over any transport: keep-alive, pipelining, request bodies on demand, Expect, trailers,
//! Early Hints, upgrades, draining, an orderly end, every limit and timeout.
//!
//! The server brings the [`Transport`] and polls: a [`Connection`] goes as far as it can, and says how long it may be left
//! alone ([`Connection::deadline`]). It is told the time, starts nothing and waits for nothing. [`Served`] is that as
//! a future with a timer, for whoever has a [`Runtime`](adapter_core::Runtime).
//!
//! *Threads*: whoever polls it, one at a time. The request body and the early hints may be used from others meanwhile; they
//! share the transport with it, under one lock (`io`).

mod body;
mod close;
mod drive;
mod hints;
mod io;
mod opening;
mod phase;
mod respond;
mod secured;
mod served;
mod transport;
mod upgrade;
mod upload;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use adapter_core::contain::catch;
use adapter_core::environ::{self, Serving};
use adapter_core::rules::Rejection;
use adapter_core::server::{Guard, Member, Roster, ShutdownLevel, Tracker};
use adapter_core::tls::pump::Pump;
use adapter_core::tls::{Handshakes, Tls};
use adapter_core::upgrade::Handover;
use adapter_core::{DynApplication, Limits, ListenAddr, ServerConfig, Timeouts};
use http::HeaderMap;

use self::drive::Waiting;
use self::hints::Template;
use self::io::Io;
use self::phase::Phase;
pub use self::secured::Secured;
pub use self::served::Served;
pub use self::transport::Transport;
use crate::head::{self, Head};

/// How long a fresh connection may be silent before it counts as one that is not needed.
const FRESH: Duration = Duration::from_secs(1);

thread_local! {
    static HEADS: RefCell<head::Spare> = RefCell::default();
}

/// Parses a head, in the memory of others before it; whether it is there.
fn parse(input: &[u8], limits: &Limits, head: &mut Option<Head>) -> Result<bool, Rejection> {
    HEADS.with_borrow_mut(|spare| {
        *head = head::parse_with(input, limits, spare)?;
        Ok(head.is_some())
    })
}

/// Takes the map of a response that has been encoded.
fn recycle(headers: HeaderMap) {
    HEADS.with_borrow_mut(|spare| spare.recycle(headers));
}

/// What all connections of a server share.
#[derive(Debug)]
pub struct Settings {
    application: DynApplication,
    serving: Arc<Serving>,
    limits: Limits,
    timeouts: Timeouts,
    keep_alive: bool,
    http2: bool,
    roster: Arc<Roster>,
    turns: Option<(Tracker, usize)>,
    handshakes: Handshakes,
    /// The origin of its time.
    epoch: Instant,
}

impl Settings {
    /// Connections that serve `application` by `config`, and are known to `roster`.
    pub fn new(application: DynApplication, serving: Arc<Serving>, config: &ServerConfig, roster: Arc<Roster>) -> Self {
        Settings {
            epoch: serving.runtime.now(),
            application,
            serving,
            limits: config.limits.clone(),
            timeouts: config.timeouts.clone(),
            handshakes: Handshakes::new(config.limits.handshakes),
            keep_alive: config.keep_alive,
            http2: false,
            roster,
            turns: None,
        }
    }

    /// A client may begin with HTTP/2, see [`End::Http2`]. Off by default: then what it sends is refused with 505.
    #[must_use]
    pub fn with_http2(mut self, served: bool) -> Self {
        self.http2 = served;
        self
    }

    /// At most `most` polls of application code at once; more wait, and hold their thread. For servers with a thread for each
    /// connection. \[CON-07\]
    #[must_use]
    pub fn with_turns(mut self, most: usize) -> Self {
        self.turns = Some((Tracker::default(), most));
        self
    }

    /// `transport` for a [`Connection`], under `tls` if there is some: HTTP/2 is offered where it is [served](Self::with_http2).
    pub fn secure<T: Transport>(&self, transport: T, tls: Option<&Tls>) -> Secured<T> {
        Secured::new(transport, tls.map(|tls| Pump::new(tls, self.http2, &self.handshakes)))
    }

    /// Who is connected.
    pub fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// What all requests share.
    pub fn serving(&self) -> &Arc<Serving> {
        &self.serving
    }

    /// A turn of application code.
    #[inline]
    fn turn(&self) -> Option<Guard> {
        let (turns, most) = self.turns.as_ref()?;
        Some(futures_lite::future::block_on(turns.enter(*most)))
    }
}

/// What a connection shares with the handles that an application has of it.
struct Shared<T> {
    settings: Arc<Settings>,
    environ: Arc<environ::Connection>,
    io: Mutex<Io<T>>,
    /// Since when it has waited for a request, in nanoseconds of the settings' time; 0 if it does not.
    idle: AtomicU64,
    /// Another client waits for its place.
    unwanted: AtomicBool,
}

impl<T: Transport> Shared<T> {
    fn io(&self) -> MutexGuard<'_, Io<T>> {
        self.io.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Instant {
        self.settings.serving.runtime.now()
    }

    /// It waits for a request since then, or not any more; a `first` one has time.
    fn set_idle(&self, since: Option<Instant>, first: bool) {
        let since = since.map_or(0, |since| {
            let since = if first { since + FRESH } else { since };
            // 584 years of nanoseconds fit.
            since.saturating_duration_since(self.settings.epoch).as_nanos().max(1) as u64
        });
        self.idle.store(since, Relaxed);
    }

    /// \[LIM-06\] the connection is about to be closed, and not by the client.
    fn limit_unsent(&self, io: &Io<T>) {
        if let (Some(transport), Some(limit)) = (&io.transport, self.settings.timeouts.write) {
            transport.limit_unsent(limit);
        }
    }

    /// Closes the transport; what the application has of the connection is still to be dropped, and learns that it is over.
    fn cut_off(&self, reset: bool) {
        let reader = self.io().close(reset);
        self.environ.disconnected.fire();
        if let Some(reader) = reader {
            let _ = catch("waker", || reader.wake());
        }
    }
}

impl<T: Transport> Member for Shared<T> {
    fn idle_since(&self) -> Option<Instant> {
        let since = match self.idle.load(Relaxed) {
            0 => return None,
            nanos => self.settings.epoch + Duration::from_nanos(nanos),
        };
        (since <= self.now()).then_some(since)
    }

    fn make_room(&self) {
        self.unwanted.store(true, Relaxed);
        let task = self.io().task();
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// How a [`Connection`] ends.
#[derive(Debug)]
pub enum End<T> {
    /// It is closed.
    Closed,
    /// The client speaks HTTP/2, and has sent `early` so far, nothing where TLS has agreed on it. Only of a fresh connection, where
    /// the server [serves that](Settings::with_http2).
    Http2 {
        /// Its transport.
        transport: T,
        /// What was read.
        early: Vec<u8>,
    },
}

/// One connection. Dropping it closes it, and drops what the application has of it.
pub struct Connection<T: Transport> {
    shared: Arc<Shared<T>>,
    phase: Phase,
    /// The time it was told last.
    now: Instant,
    /// When it has to be polled, woken or not.
    deadline: Option<Instant>,
    /// Requests begun.
    requests: u64,
    /// The head that it waits for.
    waiting: Waiting,
    /// What the last request's environment can lend to the next.
    template: Option<Template<T>>,
    /// The connection is on offer to the application that handles the current request.
    handover: Option<Handover>,
}

impl<T: Transport> Connection<T> {
    /// One that was accepted on `local` just `now`; `peer` is `None` where it has no address. Enters the
    /// [roster](Settings::roster), does not poll the transport. Does not block.
    pub fn new(
        settings: Arc<Settings>,
        transport: T,
        peer: Option<SocketAddr>,
        local: ListenAddr,
        now: Instant,
    ) -> Self {
        let environ = Arc::new(environ::Connection::new(settings.serving.clone(), peer, local));
        let may_be_http2 = settings.http2;
        let shared = Arc::new(Shared {
            settings,
            environ,
            io: Mutex::new(Io::new(transport, now)),
            idle: AtomicU64::new(0),
            unwanted: AtomicBool::new(false),
        });
        shared.settings.roster.enter(&shared);
        Connection {
            shared,
            phase: Phase::Opening,
            now,
            deadline: None,
            requests: 0,
            waiting: Waiting { since: Some(now), begun: false, attempts: head::Attempts::default(), may_be_http2 },
            template: None,
            handover: None,
        }
    }

    /// What its requests have in common; the server may fire the disconnect signal in it where it knows earlier than the
    /// [`Transport`] can tell.
    pub fn environ(&self) -> &Arc<environ::Connection> {
        &self.shared.environ
    }

    /// Goes as far as it can at `now`. Poll it again when its waker was woken, at the [`deadline`](Self::deadline), and when the
    /// shutdown goes on, until it is ready; then it is closed, and stays so. Polls and drops application code, contains its
    /// panics, and blocks only as that does. Cancel safe: what has begun goes on at the next poll.
    pub fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<End<T>> {
        self.now = now;
        if self.level() == ShutdownLevel::Forced {
            self.cut();
            return Poll::Ready(End::Closed);
        }
        self.shared.io().begin_turn(cx.waker());
        if matches!(self.phase, Phase::Head | Phase::Opening) {
            self.shared.set_idle(None, false);
        }
        let polled = self.drive(cx);
        let mut io = self.shared.io();
        // What was left for the task while it was at it.
        let body = io.upload.as_ref().and_then(|upload| upload.deadline);
        self.deadline = drive::earlier(self.deadline, body);
        io.end_turn();
        let stale = io.stale.take();
        drop(io);
        drop(stale);
        polled
    }

    /// When it has to be polled, woken or not.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    fn level(&self) -> ShutdownLevel {
        self.settings().serving.shutdown.level()
    }

    /// Whether the server is shutting down.
    fn is_stopping(&self) -> bool {
        self.level() != ShutdownLevel::Running
    }

    /// Ends it from outside. By force what the client has not taken is not left to the operating system (\[SHU-06\]); a stream
    /// that the application has taken ends like any other, since its protocol has said its last word. \[UPG-22\]
    fn cut(&mut self) {
        let reset = self.level() == ShutdownLevel::Forced && !matches!(self.phase, Phase::Taken(_));
        self.close(reset);
    }

    /// Lets go of the transport.
    fn hand_to_http2(&mut self) -> End<T> {
        self.phase = Phase::Closed;
        let mut io = self.shared.io();
        let early = io.input.bytes().to_vec();
        io.input.clear();
        match io.transport.take() {
            Some(transport) => End::Http2 { transport, early },
            None => End::Closed,
        }
    }
}

impl<T: Transport> Drop for Connection<T> {
    fn drop(&mut self) {
        self.shared.settings.roster.leave(&self.shared);
        if !matches!(self.phase, Phase::Closed) {
            self.cut();
        }
    }
}

impl<T: Transport> std::fmt::Debug for Connection<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("requests", &self.requests).finish_non_exhaustive()
    }
}
