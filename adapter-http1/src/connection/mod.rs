//! A whole HTTP/1.1 server connection over any transport: keep-alive, pipelining, request bodies on demand, Expect, trailers,
//! Early Hints, upgrades, draining, an orderly end, every limit and timeout.
//!
//! The server brings the [`Transport`] and polls: a [`Connection`] goes as far as it can, and says how long it may be left
//! alone ([`Connection::deadline`]). It is told the time, starts nothing and waits for nothing. [`Served`] is that as
//! a future with a timer, for whoever has a [`Runtime`](adapter_core::Runtime).
//!
//! *Threads*: whoever polls it, one at a time. The request body and the early hints may be used from others meanwhile; they
//! share the transport with it, under one lock (`io`).

mod announced;
mod body;
mod close;
mod drive;
mod handle;
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
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use adapter_core::contain::catch;
use adapter_core::dispatch::{Observed, no_place_for};
use adapter_core::environ::{self, Serving};
use adapter_core::observe::{ConnectionEnd, TimeLimit};
use adapter_core::refused::Asked;
use adapter_core::rules::Rejection;
use adapter_core::rules::request::Facts;
use adapter_core::server::{Guard, Member, Roster, ShutdownLevel, Tracker};
use adapter_core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use adapter_core::sync::{Mutex, MutexGuard};
use adapter_core::tls::pump::Pump;
use adapter_core::tls::{Handshakes, Tls};
use adapter_core::upgrade::Handover;
use adapter_core::{DynApplication, Limits, ListenAddr, ServerConfig, Timeouts};
use http::HeaderMap;
use http::request::Parts;

use self::drive::Waiting;
pub use self::handle::{Handle, Held, Late};
use self::hints::Template;
use self::io::Io;
use self::phase::Phase;
pub use self::secured::Secured;
pub use self::served::Served;
pub use self::transport::{SendFile, Transport, Wait};
use crate::head::{self, Found};

thread_local! {
    static HEADS: RefCell<head::Spare> = RefCell::default();
}

/// Parses a head, in the memory of others before it.
fn parse(input: &[u8], limits: &Limits, place: &mut Option<Parts>) -> Result<Option<Found>, Rejection> {
    HEADS.with_borrow_mut(|spare| head::parse_into(input, limits, spare, place))
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
}

impl Settings {
    /// Connections that serve `application` by `config`, and are known to `roster`.
    pub fn new(application: DynApplication, serving: Arc<Serving>, config: &ServerConfig, roster: Arc<Roster>) -> Self {
        Settings {
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

    /// `transport` for a [`Connection`], under `tls` if there is some: HTTP/2 is offered where it is [served](Self::with_http2). To be
    /// called when it was accepted; does not touch the transport, does not block.
    pub fn secure<T: Transport>(&self, transport: T, tls: Option<&Tls>) -> Secured<T> {
        Secured::new(transport, tls.map(|tls| Pump::new(tls, self.http2, &self.handshakes)))
    }

    /// Who is connected.
    pub fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// How long application code may take to answer, where that is limited; see [`Handle::answer_late`].
    pub fn handler_limit(&self) -> Option<Duration> {
        self.timeouts.handler
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

    /// \[LIM-06\] the connection is about to be closed, and not by the client.
    fn limit_unsent(&self, io: &Io<T>) {
        if let (Some(transport), Some(limit)) = (&io.transport, self.settings.timeouts.write) {
            transport.limit_unsent(limit);
        }
    }

    /// Closes the transport; what the application has of the connection is still to be dropped, and learns that it is over.
    fn cut_off(&self, reset: bool) {
        let (reader, task) = self.io().close(reset);
        drop(task);
        self.environ.disconnected.fire();
        if let Some(reader) = reader {
            let _ = catch("waker", || reader.wake());
        }
        self.environ.closed();
    }

    /// \[LIM-06\] cuts off a client that takes nothing. What the operating system still holds goes too, and can't be taken for the
    /// end of a response.
    fn cut_off_stalled(&self) {
        tracing::debug!(target: "adapter", "[LIM-06] a client takes nothing; its connection is closed");
        self.environ.ends(ConnectionEnd::Stalled);
        self.environ.timed_out(TimeLimit::Write);
        self.cut_off(true);
    }
}

impl<T: Transport> Member for Shared<T> {
    fn idle_since(&self) -> Option<Instant> {
        self.io().idle_since
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
        /// What is known of it: of its client, of TLS.
        environ: Arc<environ::Connection>,
    },
}

/// What a turn of a connection may do, for servers that ration the threads that are inside of application code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Application code may run, and what is the application's may be dropped.
    pub permit: bool,
    /// The connection's waker was used since the last turn, as far as is known. A turn without has other causes: the transport, the
    /// clock, the shutdown; then a handler is left alone.
    pub woken: bool,
}

/// How a [turn](Connection::turn) of a connection ended.
#[derive(Debug)]
pub enum Turned<T> {
    /// It waits for its waker, its [`deadline`](Connection::deadline), or the shutdown.
    Parked,
    /// There is more to do; it is the turn of others.
    Again,
    /// It goes on with a permit only. Does not wait for anything else.
    NeedsPermit {
        /// It is about a request that the application has not been called with; it may be [refused](Connection::refuse) instead.
        is_new: bool,
    },
    /// It is over.
    Ended(End<T>),
}

/// One connection. Dropping it closes it, and drops what the application has of it.
pub struct Connection<T: Transport> {
    shared: Arc<Shared<T>>,
    phase: Phase,
    /// The time it was told last.
    now: Instant,
    /// What this turn may do; that its waker was used counts until application code has run.
    turn: Turn,
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
    /// The current request, where somebody wants to know how it ends.
    observed: Option<Box<Observed>>,
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
            unwanted: AtomicBool::new(false),
        });
        shared.settings.roster.enter(&shared);
        // Until it has been polled, whichever comes first.
        let Timeouts { header_read, tls_handshake, .. } = shared.settings.timeouts;
        let after = |limit: Option<Duration>| limit.and_then(|limit| now.checked_add(limit));
        let first = upload::earlier(after(header_read), after(tls_handshake));
        Connection {
            shared,
            phase: Phase::Opening,
            now,
            turn: Turn { permit: false, woken: false },
            deadline: first,
            requests: 0,
            waiting: Waiting { since: Some(now), begun: false, attempts: head::Attempts::default(), may_be_http2 },
            template: None,
            handover: None,
            observed: None,
        }
    }

    /// What its requests have in common; the server may fire the disconnect signal in it where it knows earlier than the
    /// [`Transport`] can tell.
    pub fn environ(&self) -> &Arc<environ::Connection> {
        &self.shared.environ
    }

    /// It as other threads see it, for while the one that runs it is in application code. Does not block.
    pub fn handle(&self) -> Handle<T> {
        Handle::new(self.shared.clone())
    }

    /// Counts as idle before it is polled for the first time: for a server that does so only once something has come. `waker` is woken
    /// where it has to make room. Does not block. \[LIM-07\]
    pub fn await_first(&mut self, waker: &Waker) {
        let mut io = self.shared.io();
        io.begin_turn(waker);
        io.end_turn();
        io.idle_since = Some(self.now);
    }

    /// Goes as far as it can at `now`. Poll it again when its waker was woken, at the [`deadline`](Self::deadline), and when the
    /// shutdown goes on, until it is ready; then it is closed, and stays so. Polls and drops application code, contains its
    /// panics, and blocks only as that does. Cancel safe: what has begun goes on at the next poll.
    pub fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<End<T>> {
        match self.turn(cx, now, Turn { permit: true, woken: true }) {
            Turned::Ended(end) => Poll::Ready(end),
            Turned::Again => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            // There is nothing that a permit could be wanted for.
            Turned::Parked | Turned::NeedsPermit { .. } => Poll::Pending,
        }
    }

    /// As [`poll`](Self::poll), also in when it is called, what it blocks on and what cancelling does, where application code has to be
    /// permitted: without a permit it runs none, drops nothing of the application's, and does not block.
    pub fn turn(&mut self, cx: &mut Context<'_>, now: Instant, turn: Turn) -> Turned<T> {
        self.now = now;
        self.turn.permit = turn.permit;
        self.turn.woken |= turn.woken;
        if self.level() == ShutdownLevel::Forced {
            if self.phase.is_applications() && !turn.permit {
                return Turned::NeedsPermit { is_new: false };
            }
            self.cut();
            return Turned::Ended(End::Closed);
        }
        self.shared.io().begin_turn(cx.waker());
        let turned = self.drive(cx);
        let idle_since = if matches!(turned, Turned::Parked) { self.idle_since() } else { None };
        let mut io = self.shared.io();
        // What was left for the task while it was at it.
        let body = io.upload.as_ref().and_then(|upload| upload.deadline);
        self.deadline = upload::earlier(self.deadline, body);
        io.end_turn();
        io.idle_since = idle_since;
        let stale = io.stale.take();
        drop(io);
        drop(stale);
        turned
    }

    /// There is no place for the request that waits for a permit, after [`NeedsPermit`](Turned::NeedsPermit) with `is_new`: answers
    /// 503, and says so in the log. The connection then has to have a turn. Does nothing where no request waits. Runs no application
    /// code, does not block, never panics. \[CON-05\]
    pub fn refuse(&mut self, now: Instant) {
        self.now = now;
        self.refuse_for(no_place_for);
    }

    /// For `why`, the request that waits for a permit is not served.
    fn refuse_for(&mut self, why: fn(&environ::Connection, &Parts) -> &'static Rejection) {
        match std::mem::replace(&mut self.phase, Phase::Head) {
            Phase::Ready(ready) => {
                let rejection = why(&self.shared.environ, &ready.parts);
                self.shared.environ.refused(rejection, Asked::Head(&ready.parts));
                self.begin(rejection.response(), Facts::of_rejected(&ready.parts));
            }
            other => self.phase = other,
        }
    }

    /// Until when the request that waits for a permit may wait, where that is [limited](Settings::handler_limit). Then the connection
    /// has to have a turn, with a permit or without, and answers. \[LIM-09\]
    pub fn waits_until(&self) -> Option<Instant> {
        let Phase::Ready(ready) = &self.phase else { return None };
        ready.since.checked_add(self.settings().timeouts.handler?)
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

    /// Since when it has waited for a request of which nothing has come.
    fn idle_since(&self) -> Option<Instant> {
        let waits = matches!(self.phase, Phase::Announced(_) | Phase::Opening | Phase::Head) && !self.waiting.begun;
        self.waiting.since.filter(|_| waits)
    }

    /// Whether the server is shutting down.
    fn is_stopping(&self) -> bool {
        self.level() != ShutdownLevel::Running
    }

    /// Ends it from outside. By force what the client has not taken is not left to the operating system (\[SHU-06\]); a stream
    /// that the application has taken ends like any other, since its protocol has said its last word. \[UPG-22\]
    fn cut(&mut self) {
        let is_forced = self.level() == ShutdownLevel::Forced;
        if is_forced {
            self.shared.environ.ends(ConnectionEnd::Forced);
        }
        let reset = is_forced && !matches!(self.phase, Phase::Taken(_));
        self.close(reset);
    }

    /// Lets go of the transport.
    fn hand_to_http2(&mut self) -> End<T> {
        self.phase = Phase::Closed;
        let mut io = self.shared.io();
        let early = io.input.bytes().to_vec();
        io.input.clear();
        match io.transport.take() {
            Some(transport) => End::Http2 { transport, early, environ: self.shared.environ.clone() },
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
