//! The supervisor of one connection: a future that is the connection's task.
//!
//! It polls hyper, then hands what hyper wrote to the operating system, then looks at the one deadline that matters in
//! the connection's phase. The deadline mostly moves later, so one timer is armed and looked at lazily: a request costs
//! a clock read and a few loads, where hyper's own header timer costs 1,380 instructions (measured). Woken by the
//! socket, the application, that timer and the shutdown. Dropping it closes the connection.
//!
//! \[KAP-08\], \[LIM-04\], \[LIM-06\], \[DIS-01\], \[SHU-03\] to \[SHU-06\], \[KAP-13\]

mod announced;
mod ends;
mod patience;
mod unparsed;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker, ready};

use adapter_core::Sleep;
use adapter_core::environ;
use adapter_core::observe::ConnectionEnd;
use adapter_core::proxy_protocol::Reader;
use adapter_core::server::{Guard, ShutdownLevel, ShutdownWatch};
use adapter_core::upgrade::Tether;
use adapter_http1::preface;
use hyper::server::conn::http1;

use super::Engine;
use super::http2::Http2;
use super::io::{Ahead, Handle, Shared};
use super::linger::Linger;
use super::service::Service;
use super::status::Phase;
use super::switch::Switch;
use super::transport::Transport;
use super::upload::Rest;

/// Pieces of a body that go out in one turn of the connection's task, before others get theirs.
const PIECES: u32 = 16;

/// One connection, a future that is ready once it has ended; spawn it. Polls the application's futures and bodies, never what
/// blocks, and contains their panics. Cancel safe: dropping it closes the connection and drops what is under way.
#[must_use = "futures do nothing unless polled"]
pub struct Connection {
    pub(super) shared: Arc<Shared>,
    protocol: Protocol,
    shutdown: ShutdownWatch,
    /// The server is shutting down.
    stopping: bool,
    /// So the connection is to end; one that is fresh has time for a request.
    draining: bool,
    /// The armed timer and when it fires, in the engine's time.
    timer: Option<(Sleep, u64)>,
    /// Who is woken by `timer` and `shutdown`.
    waker: Option<Waker>,
    /// The request after which hyper was polled once more, see [`reads_too_late`](Connection::reads_too_late).
    polled_again: u64,
    /// What the application left of a request body.
    rest: Option<Rest>,
    _guard: Guard,
}

#[expect(
    clippy::large_enum_variant,
    reason = "nearly every connection is of the large kind; a box costs an allocation"
)]
enum Protocol {
    /// What a proxy says of its client, in front of everything. `None`: its peer may say nothing.
    Announced(Option<Box<Reader>>),
    /// What comes in front of HTTP goes on.
    Opening,
    /// The client has not said enough to tell HTTP/1 from HTTP/2.
    Unknown(Vec<u8>),
    Http1(http1::UpgradeableConnection<Handle, Service>),
    /// Boxed: it is large, and most connections are HTTP/1.
    Http2(Box<Http2>),
    /// hyper is done; the head of the switch is on its way to the operating system.
    Switching(Box<Switch>),
    /// The application has the socket. Ours is to see it end.
    Taken(Tether),
    /// hyper is done; the last of what it wrote is on its way to the operating system.
    Closing,
    /// Our half is closed; the client's is read to its end, for a limited time.
    Lingering(Linger),
}

impl Connection {
    pub(super) fn new(
        engine: Arc<Engine>,
        io: Box<dyn Transport>,
        environ: Arc<environ::Connection>,
        guard: Guard,
    ) -> Self {
        let shared = Shared::new(engine, environ, io);
        shared.engine.roster.enter(&shared);
        let shutdown = shared.engine.serving.shutdown.reached(ShutdownLevel::Draining);
        let mut connection = Connection {
            shared,
            protocol: Protocol::Closing,
            shutdown,
            stopping: false,
            draining: false,
            timer: None,
            waker: None,
            polled_again: 0,
            rest: None,
            _guard: guard,
        };
        connection.protocol = connection.first(&[]);
        connection
    }

    /// What comes first, of which `early` has been read.
    fn first(&self, early: &[u8]) -> Protocol {
        let mut socket = self.shared.socket();
        if socket.is_secured() {
            socket.begin_with(early);
            return Protocol::Opening;
        }
        if !early.is_empty() {
            self.shared.status.head_begun.store(true, Relaxed);
        }
        if self.shared.engine.http2_enabled {
            return Protocol::Unknown(early.to_vec());
        }
        socket.unread(early);
        drop(socket);
        self.http1()
    }

    /// Goes on with HTTP/2, behind what was read of it.
    pub(super) fn begun_with_http2(mut self, early: &[u8]) -> Self {
        self.shared.status.head_begun.store(true, Relaxed);
        let mut socket = self.shared.socket();
        socket.unread(early);
        // The handshake has been.
        let opened = socket.poll_open(&mut Context::from_waker(Waker::noop()));
        drop(socket);
        if let Poll::Ready(Ok(Some(tls))) = opened {
            self.shared.environ.secure(tls);
        }
        self.protocol = self.http2();
        self
    }

    fn service(&self) -> Service {
        Service { shared: self.shared.clone() }
    }

    fn http1(&self) -> Protocol {
        let io = Handle(self.shared.clone());
        Protocol::Http1(self.shared.engine.http1.serve_connection(io, self.service()).with_upgrades())
    }

    fn http2(&self) -> Protocol {
        self.shared.status.multiplexed.store(true, Relaxed);
        self.shared.socket().inflow.begin_http2(self.shared.engine.limits.head_bytes);
        Protocol::Http2(Box::new(Http2::new(&self.shared)))
    }

    /// The handshake of TLS, which says what follows: nothing is guessed from what the client sends. RFC 9113 §3.3
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let opened = ready!(self.shared.socket().poll_open(cx));
        match opened {
            Ok(tls) => {
                let is_http2 = tls.as_ref().is_some_and(|tls| tls.alpn.as_deref() == Some(b"h2"));
                if let Some(tls) = tls {
                    self.shared.environ.secure(tls);
                }
                // [LIM-04] the time for the first head begins
                self.shared.status.enter(Phase::Head);
                self.protocol = if is_http2 && self.shared.engine.http2_enabled { self.http2() } else { self.http1() };
                self.poll_protocol(cx)
            }
            Err(error) => {
                self.shared.environ.handshake_failed(&error);
                // The client is told why, and can read it.
                self.poll_close(cx)
            }
        }
    }

    /// Reads until HTTP/1 and HTTP/2 can be told apart.
    fn poll_sniff(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let Protocol::Unknown(seen) = &mut self.protocol else { return Poll::Ready(Ok(true)) };
        let mut socket = self.shared.socket();
        let told = loop {
            // Something may have come behind what was in front.
            if let Some(told) = preface::is_http2(seen) {
                break told;
            }
            let mut buffer = [0; 2048];
            let count = ready!(socket.poll_read_raw(cx, &mut buffer))?;
            if count == 0 && seen.is_empty() {
                return Poll::Ready(Ok(false));
            }
            if count == 0 {
                break false;
            }
            seen.extend_from_slice(buffer.get(..count).unwrap_or_default());
            self.shared.status.head_begun.store(true, Relaxed);
        };
        socket.unread(seen);
        drop(socket);
        self.protocol = if told { self.http2() } else { self.http1() };
        Poll::Ready(Ok(true))
    }

    /// Polls the protocol and hands what it wrote to the operating system. Ready when the connection has ended.
    #[inline]
    fn poll_protocol(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let ended = match &mut self.protocol {
            Protocol::Announced(_) => return self.poll_announced(cx),
            Protocol::Opening => return self.poll_open(cx),
            Protocol::Unknown(_) => match ready!(self.poll_sniff(cx)) {
                Ok(true) => return self.poll_protocol(cx),
                _ => return Poll::Ready(()),
            },
            Protocol::Http1(connection) => Pin::new(connection).poll(cx),
            Protocol::Http2(connection) => {
                let ended = connection.poll(&self.shared, cx);
                self.shared.status.settle();
                if ended.is_pending() && !self.draining && self.shared.status.last_begun.load(Relaxed) {
                    self.drain();
                    return self.poll_protocol(cx);
                }
                return self.poll_http2_end(ended, cx);
            }
            Protocol::Switching(_) => return self.poll_switch(cx),
            Protocol::Taken(tether) => {
                ready!(Pin::new(tether).poll(cx));
                self.shared.environ.ends(ConnectionEnd::Upgraded);
                return self.poll_close(cx);
            }
            Protocol::Closing => return self.poll_close(cx),
            Protocol::Lingering(linger) => {
                let mut socket = self.shared.socket();
                // It may have been pending.
                if let Poll::Ready(Err(_)) = socket.poll_shutdown_raw(cx) {
                    return Poll::Ready(());
                }
                let mut buffer = [0; 16 * 1024];
                // A few at a time: a fast sender must not hold the thread.
                for _ in 0..16 {
                    if !ready!(socket.poll_read_raw(cx, &mut buffer)).is_ok_and(|count| count > 0) {
                        return Poll::Ready(());
                    }
                    linger.renew(self.shared.status.now());
                }
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        };
        if let Poll::Ready(Ok(())) = ended
            && let Some(switch) = self.shared.take_switch()
        {
            self.protocol = Protocol::Switching(switch);
            return self.poll_switch(cx);
        }
        // It has refused a head, and said so; or the engine has.
        if let Poll::Ready(Err(error)) = &ended
            && (error.is_parse() || self.shared.status.head_timed_out.load(Relaxed))
        {
            self.tell_refusal(Some(error));
            return self.poll_close(cx);
        }
        let flushed = self.shared.poll_flush(cx);
        match (ended, flushed) {
            (_, Poll::Ready(Err(_))) => self.abort(),
            (Poll::Pending, _) => Poll::Pending,
            // A body has failed: all of it that came before is with the operating system, and must arrive. [BOD-14a]
            (Poll::Ready(Err(error)), _) if error.is_user() => self.poll_break_off(cx),
            (Poll::Ready(Err(_)), _) => self.abort(),
            (Poll::Ready(Ok(())), _) => self.poll_linger(cx),
        }
    }

    /// Hands what h2 wrote to the operating system; `ended`: it is done.
    fn poll_http2_end(&mut self, ended: Poll<Result<(), h2::Error>>, cx: &mut Context<'_>) -> Poll<()> {
        // Also where nobody is there to read the GOAWAY. RFC 9113 §5.4.1
        if matches!(&ended, Poll::Ready(Err(error)) if error.is_library() && error.is_go_away()) {
            self.shared.environ.ends(ConnectionEnd::Refused);
        }
        match (ended, self.shared.poll_flush(cx)) {
            (_, Poll::Ready(Err(_))) => self.abort(),
            (Poll::Pending, _) if self.shared.status.provoked.load(Relaxed) => self.poll_calm(cx),
            (Poll::Pending, _) => Poll::Pending,
            (Poll::Ready(Err(_)), _) => self.poll_close(cx),
            // h2 shuts down only after a flush
            (Poll::Ready(Ok(())), _) => self.poll_linger(cx),
        }
    }

    /// Hands the connection over once the head is with the operating system. \[UPG-17\]
    fn poll_switch(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let flushed = ready!(self.shared.poll_flush(cx));
        let linger = self.linger();
        let Protocol::Switching(switch) = std::mem::replace(&mut self.protocol, linger) else {
            return Poll::Ready(());
        };
        if flushed.is_err() {
            return self.abort();
        }
        match switch.complete(&self.shared, cx) {
            Some(tether) => {
                // [UPG-23a] none of the deadlines is for it
                self.timer = None;
                self.protocol = Protocol::Taken(tether);
                self.poll_protocol(cx)
            }
            None => self.poll_close(cx),
        }
    }

    /// Lets what is under way finish, closes what is idle. \[SHU-03\] to \[SHU-05\]
    fn drain(&mut self) {
        self.draining = true;
        match &mut self.protocol {
            Protocol::Http1(connection) => Pin::new(connection).graceful_shutdown(),
            Protocol::Http2(connection) => {
                connection.graceful_shutdown();
                self.shared.status.drain();
            }
            Protocol::Lingering(linger) => {
                linger.hurry(self.shared.status.now());
            }
            Protocol::Announced(_)
            | Protocol::Opening
            | Protocol::Unknown(_)
            | Protocol::Switching(_)
            | Protocol::Taken(_)
            | Protocol::Closing => {}
        }
        // hyper closes then, at once or behind the response.
        self.rest = None;
    }

    /// Whether the connection has nothing to finish: what it has of a request is no request. \[SHU-04\]
    fn is_without_request(&self) -> bool {
        let status = &self.shared.status;
        match self.protocol {
            Protocol::Announced(_) | Protocol::Opening | Protocol::Unknown(_) => true,
            Protocol::Http1(_) => {
                status.phase() == Phase::Head && status.read_waits.load(Relaxed) && self.shared.is_flushed()
            }
            _ => false,
        }
    }

    /// Reads away what the application left of a request body, once it is known that the connection is kept after the
    /// response; whoever still has the body at the end of the response loses it. \[REQ-12\], \[REQ-15\]
    fn poll_rest(&mut self, cx: &mut Context<'_>) {
        if let Some(upload) = self.shared.upload() {
            let status = &self.shared.status;
            let answered = status.phase() != Phase::Busy;
            if answered || (upload.is_unwanted() && status.committed.load(Relaxed)) {
                self.shared.forget_upload(&upload);
                let keep = !status.says_close.load(Relaxed) && !self.draining;
                self.rest = upload.take().filter(|_| keep).map(|incoming| Rest::new(incoming, status.now()));
                // Who waits for it elsewhere has to see that, too. [REQ-15]
                upload.wake();
                // hyper has to see that it is gone.
                cx.waker().wake_by_ref();
            }
        }
        if self.rest.as_mut().is_some_and(|rest| rest.poll_end(cx, self.shared.status.now()).is_ready()) {
            self.rest = None;
            cx.waker().wake_by_ref();
        }
    }

    /// The server is shutting down: reads what has come, then drains, unless a first request may be on its way.
    fn poll_drain(&mut self, cx: &mut Context<'_>, now: u64) -> Poll<()> {
        // [SHU-02] a request that has arrived is under way, and hyper closes an idle connection without looking
        if self.poll_protocol(cx).is_ready() {
            return Poll::Ready(());
        }
        match self.shared.status.spared_until().filter(|until| now < *until) {
            None => self.drain(),
            Some(until) if self.timer.as_ref().is_none_or(|(_, armed)| *armed > until || *armed <= now) => {
                self.arm(until, cx);
            }
            Some(_) => {}
        }
        Poll::Pending
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(level) = Pin::new(&mut self.shutdown).poll(cx) {
            if level == ShutdownLevel::Forced {
                self.shared.environ.ends(ConnectionEnd::Forced);
                if let Protocol::Http2(connection) = &mut self.protocol {
                    connection.leave();
                    let _: Poll<_> = self.shared.poll_flush(cx);
                }
                // [BOD-14b]
                return self.abort();
            }
            self.stopping = true;
            self.shutdown = self.shared.engine.serving.shutdown.reached(ShutdownLevel::Forced);
        }
        Poll::Pending
    }

    /// Whether a request is being answered and nobody would see the client go: hyper reads bodies only. One that is on its way is not
    /// looked past at once, see `status::LOOK`. \[DIS-01\]
    #[inline]
    fn is_unwatched(&self) -> bool {
        let status = &self.shared.status;
        status.phase() == Phase::Busy
            && !status.read_waits.load(Relaxed)
            && !status.has_upload.load(Relaxed)
            && !status.has_ended()
            && matches!(self.protocol, Protocol::Http1(_))
    }

    /// Whether hyper may sit on a pipelined request and has to be polled again; once a response. hyper 1.12 polls a body
    /// twice, and when the second poll ends it, forgets to look at what it has read already: the waker of the first poll
    /// would make up for it, but a body that became ready by itself (async-io's timers do) wakes nobody. \[KAP-06\]
    #[inline]
    fn reads_too_late(&mut self) -> bool {
        let status = &self.shared.status;
        if status.read_waits.load(Relaxed) || status.phase() != Phase::Idle {
            return false;
        }
        let requests = status.requests();
        matches!(self.protocol, Protocol::Http1(_)) && std::mem::replace(&mut self.polled_again, requests) != requests
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let now = this.shared.engine.clock.now();
        this.shared.status.begin_turn(now);
        // Timer and shutdown keep the waker they were polled with; look at them when it changes, or when they are due.
        let same_waker = this.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !same_waker {
            this.waker = Some(cx.waker().clone());
            // HTTP/2 has its own, that wakes whoever polls.
            if !matches!(this.protocol, Protocol::Http2(_)) {
                this.shared.set_supervisor(this.waker.clone());
            }
        }
        let level = this.shared.engine.serving.shutdown.level();
        let shutdown_due = level == ShutdownLevel::Forced || (level == ShutdownLevel::Draining && !this.stopping);
        // Draining, the watch is for the force: a firing meant for the drain may have used its listener up.
        if (!same_waker || shutdown_due || this.stopping) && this.poll_shutdown(cx).is_ready() {
            return Poll::Ready(());
        }
        if this.stopping && !this.draining && this.poll_drain(cx, now).is_ready() {
            return Poll::Ready(());
        }
        if this.poll_protocol(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut pieces = 0;
        while this.shared.status.body_goes_on() {
            pieces += 1;
            if pieces == PIECES {
                cx.waker().wake_by_ref();
                break;
            }
            if this.poll_protocol(cx).is_ready() {
                return Poll::Ready(());
            }
        }
        if this.draining && this.is_without_request() {
            this.shared.environ.ends(ConnectionEnd::Drained);
            return this.part();
        }
        if this.shared.status.unwanted.load(Relaxed) {
            this.shared.status.unwanted.store(false, Relaxed);
            let idle = !this.draining && this.rest.is_none() && this.shared.status.idle_since().is_some();
            if idle && !this.shared.socket().has_input() {
                // [LIM-07] as at a shutdown: RFC 9112 §9.5 lets a server close an idle connection at any time
                this.shared.environ.ends(ConnectionEnd::MadeRoom);
                this.drain();
                if this.poll_protocol(cx).is_ready() || this.is_without_request() {
                    return this.part();
                }
            }
        }
        if this.rest.is_some() || this.shared.status.has_upload.load(Relaxed) {
            this.poll_rest(cx);
        }
        if let Protocol::Taken(_) = this.protocol {
            return Poll::Pending;
        }
        if this.is_unwatched() {
            let looked = this.shared.poll_ahead(cx);
            match looked {
                Ahead::Waits => this.shared.status.read_waits.store(true, Relaxed),
                Ahead::Full => {}
                Ahead::Reset => return this.abort(),
            }
        }
        let status = &this.shared.status;
        if status.lets_end_go() || this.reads_too_late() {
            cx.waker().wake_by_ref();
        }
        if !same_waker && this.poll_timer(cx).is_ready() {
            this.timer = None;
        }
        this.poll_deadline(cx, now)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.engine.roster.leave(&self.shared);
        // It would keep the task's memory for as long as a stream lasts.
        self.shared.set_supervisor(None);
        // [DIS-05] blocking code that outlives the connection learns of it
        self.shared.environ.disconnected.fire();
        if self.shared.engine.serving.shutdown.level() == ShutdownLevel::Forced {
            self.shared.environ.ends(ConnectionEnd::Forced);
        }
        self.shared.socket().undeliverable();
        // Requests end before their connection; those of HTTP/2 have tasks of their own.
        self.protocol = Protocol::Closing;
        self.shared.environ.closed();
    }
}

#[cfg(all(test, adapter_model))]
mod models;
