//! A web server's connection, from its first request to its end.
//!
//! One task: it hears what the web server says, polls the application and its body, and writes. \[DIS-01\], \[DIS-04\], \[BOD-04\], \[BOD-14\], \[LIM-04\] to
//! \[LIM-06\], \[LIM-09\], \[SHU-03\] to \[SHU-06\]

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use adapter_core::dispatch::{self, Client, Exchange, Grace, Observed, Outgoing, Piece, is_unanswerable};
use adapter_core::environ::{self, Environ, Serving};
use adapter_core::observe::{ConnectionEnd, TimeLimit};
use adapter_core::refused::Asked;
use adapter_core::rules::request::{BodyLength, Facts};
use adapter_core::rules::{self, Rejection};
use adapter_core::server::{Guard, SPARED, ShutdownLevel};
use adapter_core::signal::Signal;
use adapter_core::{DynApplication, Limits, Request, RequestBody, Response, ServerConfig, Timeouts};
use adapter_http1::connection::Transport;
use http::{StatusCode, Version, header};

use crate::answer;
use crate::body::{self, Feed, Terms};
use crate::framing::{Event, Framing, Malformed};
use crate::variables::Variables;
use crate::wire::Wire;

/// Octets of a response that are gathered before more is asked for.
const GATHER: usize = 64 * 1024;
/// Pieces before others get their turn.
const AT_A_TIME: u32 = 64;
/// How long the web server's end is waited for behind ours.
const LINGER: Duration = Duration::from_secs(2);

/// What all connections of a server share.
pub(crate) struct Settings {
    pub(crate) application: DynApplication,
    pub(crate) serving: Arc<Serving>,
    limits: Limits,
    timeouts: Timeouts,
    keep_alive: bool,
}

impl Settings {
    pub(crate) fn new(application: DynApplication, serving: Arc<Serving>, config: &ServerConfig) -> Self {
        Settings {
            application,
            serving,
            limits: config.limits.clone(),
            timeouts: config.timeouts.clone(),
            keep_alive: config.keep_alive,
        }
    }
}

/// Serves the requests of one connection. Dropping it closes it.
pub(crate) async fn serve<F: Framing, T: Transport>(
    settings: Arc<Settings>,
    io: T,
    environ: Arc<environ::Connection>,
    guard: Guard,
) {
    let ends = Ends(environ.clone());
    let wire = Wire::<F, T>::new(io, settings.limits.head_bytes, settings.timeouts.clone(), environ);
    Connection { settings, wire, requests: 0 }.run().await;
    // Closed, told, and then counted as closed.
    drop(ends);
    drop(guard);
}

/// Tells of the end, also of a task that is dropped.
struct Ends(Arc<environ::Connection>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.disconnected.fire();
        if self.0.serving.shutdown.level() == ShutdownLevel::Forced {
            self.0.ends(ConnectionEnd::Forced);
        }
        self.0.closed();
    }
}

struct Connection<F: Framing, T: Transport> {
    settings: Arc<Settings>,
    wire: Wire<F, T>,
    requests: u64,
}

/// A request under way. Says of the client's connection how the web server's ends, and that to the application, before anything that is
/// the application's is dropped. \[DIS-08\], \[OBS-06\]
struct Going {
    client: Arc<environ::Connection>,
    front: Arc<environ::Connection>,
    disconnected: Signal,
    is_over: bool,
}

impl Drop for Going {
    fn drop(&mut self) {
        if self.front.serving.shutdown.level() == ShutdownLevel::Forced {
            self.front.ends(ConnectionEnd::Forced);
        }
        if let Some(why) = self.front.end() {
            self.client.ends(why);
        }
        if !self.is_over {
            self.disconnected.fire();
        }
    }
}

/// How application code goes on.
enum Step<V> {
    Goes(V),
    /// Nobody is there for it.
    Gone,
}

impl<F: Framing, T: Transport> Connection<F, T> {
    async fn run(mut self) {
        loop {
            let Some((variables, keep)) = self.next().await else { break };
            self.requests += 1;
            let most = self.settings.limits.requests_per_connection;
            let keep = keep && self.settings.keep_alive && most.is_none_or(|most| self.requests < most);
            let is_whole = self.answer(&variables).await;
            let is_running = self.wire.level() == ShutdownLevel::Running;
            if !is_whole {
                return;
            }
            if !(keep && is_running) {
                self.wire.environ.ends(if is_running { ConnectionEnd::Done } else { ConnectionEnd::Drained });
                break;
            }
        }
        self.close().await;
    }

    /// The next request; `None` where there will be none.
    async fn next(&mut self) -> Option<(Variables, bool)> {
        let since = self.wire.now();
        let first = self.requests == 0;
        poll_fn(|cx| {
            loop {
                self.wire.poll_hear(cx, None);
                if let Some(Event::Request { .. }) = self.wire.events.front()
                    && let Some(Event::Request { variables, keep }) = self.wire.events.pop_front()
                {
                    return Poll::Ready(Some((variables, keep)));
                }
                if let Some(malformed) = self.wire.malformed {
                    self.refuse_connection(malformed);
                    return Poll::Ready(None);
                }
                if self.wire.ended || !self.wire.poll_flush(cx) || self.wire.level() == ShutdownLevel::Forced {
                    return Poll::Ready(None);
                }
                let timeouts = &self.settings.timeouts;
                let stopping = self.wire.level() != ShutdownLevel::Running;
                let limit = match (stopping, first) {
                    (true, _) => Some(SPARED),
                    (_, true) => timeouts.header_read,
                    _ => timeouts.keep_alive,
                };
                let until = limit.and_then(|limit| since.checked_add(limit));
                if until.is_some_and(|until| self.wire.now() >= until) {
                    let environ = &self.wire.environ;
                    let (told, why) = match (stopping, first) {
                        (true, _) => (None, ConnectionEnd::Drained),
                        (_, true) => (Some(TimeLimit::HeaderRead), ConnectionEnd::Late),
                        _ => (Some(TimeLimit::KeepAlive), ConnectionEnd::Idle),
                    };
                    environ.ends(why);
                    if let Some(limit) = told {
                        environ.timed_out(limit);
                    }
                    return Poll::Ready(None);
                }
                if self.wire.poll_wait(cx, until, None).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// What came is none of the protocol: its answer, where somebody could read it.
    fn refuse_connection(&mut self, malformed: Malformed) {
        let rejection = match malformed {
            Malformed::Protocol(what) => Rejection::new(StatusCode::BAD_REQUEST, "RFC 3875", what),
            Malformed::TooLarge => {
                Rejection::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "LIM-01", "the variables are too large")
            }
        };
        self.wire.environ.refused(&rejection, Asked::Nothing);
        self.wire.environ.ends(ConnectionEnd::Refused);
        if malformed == Malformed::TooLarge {
            self.refuse(&rejection, false);
        }
    }

    /// An answer of the server's own, which is whole at once.
    fn refuse(&mut self, rejection: &Rejection, is_head: bool) {
        let facts = plain_facts(is_head);
        let (head, body, plan) = dispatch::prepare(rejection.response(), &facts, false);
        let mut octets = Vec::with_capacity(256);
        answer::encode(self.wire.framing.form(), &head, &plan, &mut octets);
        if plan.send_body {
            octets.extend_from_slice(&body.try_into_bytes().unwrap_or_default());
        }
        self.wire.say(&octets);
        self.wire.end();
    }

    /// Answers a request; `false` where the connection is of no more use.
    async fn answer(&mut self, variables: &Variables) -> bool {
        let now = self.wire.now();
        let connection =
            Arc::new(self.wire.environ.of_client(variables.peer(), variables.local(), variables.is_https()));
        let (head, mut facts) = match self.check(variables) {
            Ok(accepted) => accepted,
            Err(rejection) => {
                connection.refused(&rejection, Asked::Nothing);
                self.refuse(&rejection, variables.get("REQUEST_METHOD") == Some(b"HEAD"));
                return self.flush().await;
            }
        };
        // [REQ-06] It said nothing of a length, and has said already that there is no body.
        if facts.body == BodyLength::Unknown && self.wire.events.front() == Some(&Event::End) {
            facts.body = BodyLength::Sized(0);
        }
        let disconnected = Signal::new();
        let mut environ =
            Environ::new(connection.clone(), now).with_disconnect(disconnected.clone()).with_forwarded(&head.headers);
        if let Some(mount) = variables.mount(head.uri.path()) {
            environ = environ.mounted_at(mount);
        }
        let mut observed = Observed::begin(&environ, &head, now);
        let (feed, body) = self.body(&facts, &connection, observed.as_deref_mut());
        let mut request = Request::from_parts(head, body);
        request.extensions_mut().insert(variables.clone());
        let settings = self.settings.clone();
        let mut exchange =
            Exchange::begin(&settings.application, request, environ, facts, settings.timeouts.handler, now);
        // Dropped before what is above.
        let mut going = Going {
            client: connection,
            front: self.wire.environ.clone(),
            disconnected: disconnected.clone(),
            is_over: false,
        };
        let Step::Goes(response) = self.call(&mut exchange, feed.as_ref(), &disconnected).await else { return false };
        drop(exchange);
        if is_unanswerable(&response) {
            return false;
        }
        let sent = match self.begin(response, &facts, &mut observed) {
            Some(outgoing) => self.send(outgoing, feed.as_ref(), &disconnected, &mut observed).await,
            None => true,
        };
        drop(feed);
        if !sent {
            drop(going);
            self.flush().await;
            return false;
        }
        self.wire.end();
        let is_out = self.flush().await;
        going.is_over = is_out;
        if let Some(observed) = observed.take_if(|_| is_out) {
            observed.delivered(self.wire.now());
        }
        is_out && !self.wire.aborted
    }

    /// The head of a request, and what is to be known of it.
    fn check(&self, variables: &Variables) -> Result<(http::request::Parts, Facts), Rejection> {
        let mut head = variables.head(self.settings.limits.header_count)?;
        // A protocol that always says a length says 0 of what has no body: no field of the client's.
        if !self.wire.framing.has_open_bodies() && variables.content_length() == Some(0) {
            head.headers.remove(header::CONTENT_LENGTH);
        }
        let version = head.version;
        // The rules for what a client of HTTP/2 sends are the web server's, which has made fields of HTTP/1 of it. [HDR-09]
        if version > Version::HTTP_11 {
            head.version = Version::HTTP_11;
        }
        rules::cookies::join(&mut head);
        let mut facts = rules::request::check(&head, &self.settings.limits)?;
        rules::target::normalize(&mut head);
        head.version = version;
        // All of that is the web server's.
        facts.version = Version::HTTP_11;
        (facts.keep_alive, facts.trailers, facts.upgrade, facts.expects_continue) = (true, false, false, false);
        if variables.content_length().is_none() && self.wire.framing.has_open_bodies() {
            facts.body = BodyLength::Unknown;
        }
        Ok((head, facts))
    }

    fn body(
        &self,
        facts: &Facts,
        connection: &Arc<environ::Connection>,
        observed: Option<&mut Observed>,
    ) -> (Option<Feed>, RequestBody) {
        let length = match facts.body {
            BodyLength::Sized(0) => return (None, RequestBody::empty()),
            BodyLength::Sized(length) => Some(length),
            BodyLength::Unknown => None,
        };
        let (feed, body) = body::channel(Terms {
            length,
            limit: self.settings.limits.body_bytes,
            timeout: self.settings.timeouts.body_read,
            environ: connection.clone(),
            meter: observed.map(Observed::meter),
        });
        (Some(feed), body)
    }

    /// What there is of the client: how long application code may go on. `None`: it is gone.
    fn patience(
        &mut self,
        grace: &mut Grace,
        feed: Option<&Feed>,
        disconnected: &Signal,
    ) -> Result<Option<Instant>, ()> {
        if self.wire.broken || self.wire.level() == ShutdownLevel::Forced {
            return Err(());
        }
        let ended = self.wire.ended || self.wire.aborted || self.wire.malformed.is_some();
        let unread = feed.is_some_and(Feed::is_open);
        let client = Client { ended, unread, heard: self.wire.heard };
        let now = self.wire.now();
        let until = grace.until(client, now, disconnected);
        if until.is_some_and(|until| now >= until) { Err(()) } else { Ok(until) }
    }

    /// Polls the application until it has answered.
    async fn call(&mut self, exchange: &mut Exchange, feed: Option<&Feed>, disconnected: &Signal) -> Step<Response> {
        let mut answer = None;
        poll_fn(|cx| {
            loop {
                self.wire.poll_hear(cx, feed);
                self.wire.poll_flush(cx);
                let runtime = self.settings.serving.runtime.clone();
                // [DIS-05e] what its read says, the flag says before
                let patience = self.patience(&mut exchange.grace, feed, disconnected);
                if exchange.poll(cx, || runtime.now(), &mut answer).is_ready()
                    && let Some(response) = answer.take()
                {
                    return Poll::Ready(Step::Goes(response));
                }
                let Ok(until) = patience else { return Poll::Ready(Step::Gone) };
                let until = [until, exchange.deadline()].into_iter().flatten().min();
                if self.wire.poll_wait(cx, until, feed).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// The head goes into the output; what is to follow.
    fn begin(&mut self, response: Response, facts: &Facts, observed: &mut Option<Box<Observed>>) -> Option<Outgoing> {
        if let Some(observed) = observed {
            observed.extended(response.extensions());
        }
        let (mut head, mut body, mut plan) = dispatch::prepare(response, facts, false);
        if body.is_blocking() {
            let counted = self.wire.environ.count_blocking_job();
            let runtime = &self.settings.serving.runtime;
            let observed = observed.as_deref_mut();
            body = dispatch::offload(&mut head, body, &mut plan, facts, runtime, counted, observed);
        }
        if let Some(observed) = observed {
            observed.answered(head.status, self.wire.now());
        }
        let mut octets = Vec::with_capacity(256);
        body.logged(|| answer::encode(self.wire.framing.form(), &head, &plan, &mut octets));
        self.wire.say(&octets);
        Outgoing::new(body, &plan, facts)
    }

    /// Sends the body; `false` where it was broken off, or nobody takes it.
    async fn send(
        &mut self,
        mut outgoing: Outgoing,
        feed: Option<&Feed>,
        disconnected: &Signal,
        observed: &mut Option<Box<Observed>>,
    ) -> bool {
        let mut grace = Grace::default();
        let sent = poll_fn(|cx| {
            let mut pieces = 0;
            loop {
                self.wire.poll_hear(cx, feed);
                // [BOD-04] what is there does not wait for what comes
                if !self.wire.poll_flush(cx) {
                    return Poll::Ready(false);
                }
                let Ok(until) = self.patience(&mut grace, feed, disconnected) else { return Poll::Ready(false) };
                // [BOD-16]
                if self.wire.waiting() < GATHER {
                    if pieces >= AT_A_TIME {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    pieces += 1;
                    if let Some(is_whole) = self.piece(&mut outgoing, cx, &mut grace, observed) {
                        match is_whole {
                            Some(is_whole) => return Poll::Ready(is_whole),
                            None => continue,
                        }
                    }
                }
                if self.wire.poll_wait(cx, until, feed).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await;
        // Its drop is application code; the response may be read before.
        drop(outgoing);
        sent
    }

    /// One piece, if it is there; how the body has ended, if it has.
    #[allow(clippy::option_option, reason = "pending, a piece, the end")]
    fn piece(
        &mut self,
        outgoing: &mut Outgoing,
        cx: &mut Context<'_>,
        grace: &mut Grace,
        observed: &mut Option<Box<Observed>>,
    ) -> Option<Option<bool>> {
        let Poll::Ready(piece) = outgoing.poll_piece(cx) else { return None };
        grace.renew();
        Some(match piece {
            Piece::Data(data) => {
                if let Some(observed) = observed {
                    observed.sent(data.len() as u64);
                }
                self.wire.say(&data);
                None
            }
            // A gateway has no trailers.
            Piece::End(_) => Some(true),
            Piece::Broken => {
                let is_left = outgoing.is_left();
                if let Some(observed) = observed {
                    if is_left { observed.left() } else { observed.failed() }
                }
                self.wire.environ.ends(if is_left { ConnectionEnd::Client } else { ConnectionEnd::Failed });
                self.wire.break_off();
                Some(false)
            }
        })
    }

    /// Everything goes out; `false` where it can't.
    async fn flush(&mut self) -> bool {
        poll_fn(|cx| {
            loop {
                if self.wire.level() == ShutdownLevel::Forced || !self.wire.poll_flush(cx) {
                    return Poll::Ready(false);
                }
                if self.wire.waiting() == 0 {
                    return Poll::Ready(true);
                }
                if self.wire.poll_wait(cx, None, None).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// Ends our half, and waits for the other one, so that nothing on its way is lost. \[KAP-13\]
    async fn close(&mut self) {
        if !self.flush().await {
            return;
        }
        let until = self.wire.now() + LINGER;
        poll_fn(|cx| {
            let _ = self.wire.io.poll_shutdown(cx);
            loop {
                self.wire.events.clear();
                self.wire.malformed = None;
                self.wire.poll_hear(cx, None);
                let is_over = self.wire.ended || self.wire.malformed.is_some();
                if is_over || self.wire.level() == ShutdownLevel::Forced || self.wire.now() >= until {
                    return Poll::Ready(());
                }
                if self.wire.poll_wait(cx, Some(until), None).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }
}

/// What is to be known of a request that the server answers by itself.
fn plain_facts(is_head: bool) -> Facts {
    let (mut head, ()) = http::Request::new(()).into_parts();
    if is_head {
        head.method = http::Method::HEAD;
    }
    Facts::of_rejected(&head)
}
