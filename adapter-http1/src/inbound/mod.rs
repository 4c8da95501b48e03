//! The receiving side of a connection: request heads and bodies out of one stream of octets. \[LIM-01\] to \[LIM-05\],
//! \[KAP-08\], \[KAP-11\], \[KAP-12\], \[EXP-01\], \[EXP-02\], \[REQ-10\] to \[REQ-20\], \[SHU-03\] to \[SHU-05\]
//!
//! The server brings the octets ([`Feed`]) and asks for heads; the application reads the body of the request that is
//! being served, from any task or thread, also when it outlives the request. Both share one lock, held while a slice is
//! decoded; no waker of the application is woken under it. Timers are those of the server's
//! [`Runtime`](adapter_core::Runtime).

mod idle;

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use adapter_core::environ::Serving;
use adapter_core::request_body::Source;
use adapter_core::rules::Rejection;
use adapter_core::rules::request::{BodyLength, Facts};
use adapter_core::{Bytes, Elapsed, Limits, RequestBody, RequestBodyError, ServerConfig, Sleep, Timeouts, contain};
use bytes::{Buf, BytesMut};
use futures_lite::future::{or, yield_now};
use http::StatusCode;
use http_body::{Frame, SizeHint};

pub use self::idle::Idle;
use crate::body_decoder::Decoder;
use crate::head::{self, Head};

/// Octets of a body nobody wants that are read to keep the connection: with more to come, the answer says that it ends.
/// \[REQ-12\]
const DRAIN: u64 = 256 * 1024;
/// How long the next octet of an unread body may take.
const DRAIN_IDLE: Duration = LINGER;
/// How long a client may take to send more, or to end its stream. \[KAP-13\]
const LINGER: Duration = Duration::from_secs(2);
/// How long either may take in all.
const LINGER_MOST: Duration = Duration::from_secs(30);
/// As [`LINGER`] and [`LINGER_MOST`], while the server is shutting down.
const LAST_LINGER: Duration = Duration::from_millis(250);
const LAST_LINGER_MOST: Duration = Duration::from_secs(2);
/// Pieces that are there without waiting, before others get their turn.
const AT_A_TIME: u32 = 16;

/// Where the octets of an [`Inbound`] come from.
pub trait Feed: Send + 'static {
    /// The next piece, not empty; `None` at the end of the stream, and ever after. Must not block.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>>;

    /// Sends [`CONTINUE`](crate::encoder::CONTINUE), which the client waits for. Called before the response is committed.
    fn send_continue(&mut self);
}

/// The receiving side of a connection. For each request: [`head`](Self::head), [`body`](Self::body),
/// [`commit`](Self::commit), [`finish`](Self::finish); at the end [`linger`](Self::linger).
///
/// Dropping it drops its [`Feed`]; an application that still reads is told that the client is gone.
pub struct Inbound {
    shared: Arc<Mutex<Shared>>,
    serving: Arc<Serving>,
    limits: Limits,
    timeouts: Timeouts,
    keep_alive: bool,
    requests: u64,
    idle: Idle,
}

struct Shared {
    feed: Option<Box<dyn Feed>>,
    input: BytesMut,
    body: Option<Upload>,
}

/// The body of the request that is being served.
struct Upload {
    request: u64,
    decoder: Decoder,
    expects_continue: bool,
    failed: bool,
    /// The application has dropped it. \[REQ-20\]
    unwanted: bool,
    /// Who waits for more of it.
    reader: Option<Waker>,
}

impl Upload {
    /// Throws away what has come of it; how much is to come, if that is known. \[REQ-12\]
    fn unwanted_rest(&mut self, input: &mut BytesMut) -> Option<u64> {
        while let Poll::Ready(Some(frame)) = self.decoder.poll_frame(input) {
            self.failed |= frame.is_err();
            if self.failed {
                break;
            }
        }
        self.decoder.remaining()
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Takes the next piece; `false` at the end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(feed) = &mut self.feed else { return Poll::Ready(false) };
        match ready!(feed.poll_more(cx)) {
            // Most of the time nothing is left of the piece before.
            Some(piece) if self.input.is_empty() => self.input = piece.into(),
            Some(piece) => self.input.extend_from_slice(&piece),
            None => return Poll::Ready(false),
        }
        Poll::Ready(true)
    }
}

impl Inbound {
    /// A connection that was just accepted.
    pub fn new(feed: impl Feed, serving: Arc<Serving>, config: &ServerConfig) -> Self {
        let shared = Shared { feed: Some(Box::new(feed)), input: BytesMut::new(), body: None };
        let (limits, timeouts) = (config.limits.clone(), config.timeouts.clone());
        let (shared, keep_alive) = (Arc::new(Mutex::new(shared)), config.keep_alive);
        Inbound { shared, serving, limits, timeouts, keep_alive, requests: 0, idle: Idle::default() }
    }

    /// Waits for the next request, as long as the configuration allows. `None`: there is none, close silently: the client
    /// has ended its stream, was idle for too long, or the server is shutting down. `Err`: answer that, and close.
    pub async fn head(&mut self) -> Option<Result<Head, (Rejection, Facts)>> {
        // [KAP-08] idle; a first request is late from the accept on [LIM-04a]
        if self.requests > 0 && self.is_empty() {
            let _waiting = self.idle.begin();
            if self.within(self.timeouts.keep_alive, self.more()).await != Ok(true) {
                return None;
            }
        }
        let found = self.within(self.timeouts.header_read, self.parse()).await;
        let late = || match self.is_empty() {
            true => None,
            false => Some(Err(Rejection::new(StatusCode::REQUEST_TIMEOUT, "LIM-04b", "the request head is late"))),
        };
        let head = found.unwrap_or_else(|Elapsed| late())?;
        Some(head.map_err(|rejection| (rejection, head::facts_of_rejected(&lock(&self.shared).input))))
    }

    /// Lets others see by `idle` whether the connection waits between two requests, and end it then. \[LIM-07\]
    #[must_use]
    pub fn with_idle(mut self, idle: Idle) -> Self {
        self.idle = idle;
        self
    }

    /// Requests there were so far.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// The body of the request whose head was read last.
    pub fn body(&mut self, facts: &Facts) -> RequestBody {
        self.requests += 1;
        let mut shared = lock(&self.shared);
        shared.body = None;
        if facts.body == BodyLength::Sized(0) {
            return RequestBody::empty(); // [REQ-04]
        }
        shared.body = Some(Upload {
            request: self.requests,
            decoder: Decoder::new(facts.body, self.limits.body_bytes),
            expects_continue: facts.expects_continue,
            failed: false,
            unwanted: false,
            reader: None,
        });
        drop(shared);
        RequestBody::from_source(self.source(self.requests))
    }

    /// The response is about to begin: no 100 is sent from here on, and `facts` learn whether the connection can be kept
    /// after it, for its configuration, the shutdown, and what is left of the body.
    pub fn commit(&mut self, facts: &mut Facts) {
        let most = self.limits.requests_per_connection;
        // [KAP-12], [SHU-05]
        let mut keep = self.keep_alive && most.is_none_or(|most| self.requests < most);
        keep &= !self.serving.shutdown.draining().is_fired();
        let Shared { input, body, .. } = &mut *lock(&self.shared);
        if let Some(body) = body {
            // [EXP-02b] it can't be asked for any more, and the client may leave it out
            let held_back = std::mem::take(&mut body.expects_continue) && input.is_empty();
            // [REQ-12] what nobody wants must have an end in sight
            let left = body.unwanted && body.unwanted_rest(input).is_none_or(|left| left > DRAIN);
            // [KAP-11]
            keep &= !body.failed && !held_back && !left;
        }
        facts.keep_alive &= keep;
    }

    /// The response is complete: takes the body away from the application and reads the rest of it. Whether it came to
    /// its end, so that another request can follow. \[REQ-12\], \[REQ-15\]
    pub async fn finish(&mut self) -> bool {
        let reader = match &mut lock(&self.shared).body {
            None => return true,
            Some(body) => {
                body.request = 0; // of nobody but us
                body.reader.take()
            }
        };
        let _ = contain::catch("waker", || reader.map(Waker::wake));
        let mut rest = RequestBody::from_source(self.source(0));
        let runtime = &self.serving.runtime;
        let all = async {
            // [LIM-05] only data comes out of it
            while let Some(frame) = runtime.timeout(DRAIN_IDLE, rest.frame()).await.ok()? {
                frame.ok()?;
            }
            Some(())
        };
        matches!(self.at_most(all).await, Some(Some(())))
    }

    /// After the server has ended its own direction: waits for the client to end its own, two seconds from each octet and
    /// thirty in all, less in a shutdown, and throws away what still comes. A socket that is closed with octets unread
    /// sends a reset, and the response may be lost. \[KAP-13\]
    pub async fn linger(&mut self) {
        let (runtime, stopping) = (&self.serving.runtime, self.serving.shutdown.draining());
        let end = async {
            let mut pieces = 0_u32;
            loop {
                lock(&self.shared).input.clear();
                let idle = if stopping.is_fired() { LAST_LINGER } else { LINGER };
                let more = poll_fn(|cx| lock(&self.shared).poll_more(cx));
                if runtime.timeout(idle, more).await != Ok(true) {
                    return;
                }
                pieces += 1;
                if pieces.is_multiple_of(AT_A_TIME) {
                    yield_now().await;
                }
            }
        };
        // In time or not, the connection is closed now.
        let _ = self.at_most(end).await;
    }

    /// What comes of it in the time there is for a client that lingers.
    async fn at_most<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let (runtime, stopping) = (&self.serving.runtime, self.serving.shutdown.draining());
        let late = async {
            or(runtime.sleep(LINGER_MOST), async {
                stopping.fired().await;
                runtime.sleep(LAST_LINGER_MOST).await;
            })
            .await;
            None
        };
        or(async { Some(work.await) }, late).await
    }

    fn is_empty(&self) -> bool {
        lock(&self.shared).input.is_empty()
    }

    fn source(&self, request: u64) -> BodySource {
        let (shared, serving) = (self.shared.clone(), self.serving.clone());
        BodySource { shared, request, serving, limit: self.timeouts.body_read, late: None, in_a_row: 0 }
    }

    async fn within<T>(&self, limit: Option<Duration>, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        match limit {
            Some(limit) => self.serving.runtime.timeout(limit, work).await,
            None => Ok(work.await),
        }
    }

    /// Waits for more of a head; `false` at the end, when the shutdown begins, which part of a head does not hold up, or if
    /// nothing has begun when the connection is to make room. \[SHU-03\], \[SHU-04\], \[LIM-07\]
    async fn more(&self) -> bool {
        let more = poll_fn(|cx| lock(&self.shared).poll_more(cx));
        let unwanted = async {
            self.idle.ended().fired().await;
            if !self.is_empty() {
                pending::<()>().await;
            }
        };
        let stop = async {
            or(self.serving.shutdown.draining().fired(), unwanted).await;
            false
        };
        or(more, stop).await
    }

    async fn parse(&self) -> Option<Result<Head, Rejection>> {
        loop {
            match self.try_parse() {
                Ok(Some(head)) => return Some(Ok(head)),
                Ok(None) if self.more().await => {}
                Ok(None) => return None,
                Err(rejection) => return Some(Err(rejection)),
            }
        }
    }

    /// Takes a head out of the input, if it is complete.
    fn try_parse(&self) -> Result<Option<Head>, Rejection> {
        let mut shared = lock(&self.shared);
        let head = head::parse(&shared.input, &self.limits)?;
        shared.input.advance(head.as_ref().map_or(0, |head| head.length));
        Ok(head)
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        let (feed, body) = (shared.feed.take(), shared.body.take());
        drop(shared);
        drop(feed);
        if let Some(reader) = body.and_then(|body| body.reader) {
            let _ = contain::catch("waker", || reader.wake());
        }
    }
}

impl std::fmt::Debug for Inbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbound").field("requests", &self.requests).finish_non_exhaustive()
    }
}

/// The application's end of the body of request number `request`.
struct BodySource {
    shared: Arc<Mutex<Shared>>,
    request: u64,
    serving: Arc<Serving>,
    limit: Option<Duration>,
    /// Runs while the application waits for data, whatever else comes. \[LIM-05\]
    late: Option<Sleep>,
    /// Frames since the reader had to wait or gave way.
    in_a_row: u32,
}

type Next = Option<Result<Frame<Bytes>, RequestBodyError>>;

const GONE: Poll<Next> = Poll::Ready(Some(Err(RequestBodyError::Disconnected)));

impl Shared {
    /// Whether the body of `request` is the one on the connection. \[REQ-15\]
    fn body_of(&mut self, request: u64) -> Option<&mut Upload> {
        self.body.as_mut().filter(|body| body.request == request)
    }

    fn poll_body(&mut self, request: u64, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            let Shared { feed: Some(feed), input, body: Some(body) } = self else { return GONE };
            if body.request != request {
                return GONE;
            }
            let next = body.decoder.poll_frame(input);
            if next.is_ready() {
                body.expects_continue = false;
                return next;
            }
            // [EXP-01] only when the application wants what has not come
            if std::mem::take(&mut body.expects_continue) {
                feed.send_continue();
            }
            if !ready!(self.poll_more(cx)) {
                return GONE; // [REQ-10] not an end, but a breaking off
            }
        }
    }
}

impl Source for BodySource {
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        let this = &mut *self;
        this.in_a_row += 1;
        if this.in_a_row > AT_A_TIME {
            this.in_a_row = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut shared = lock(&this.shared);
        let mut next = shared.poll_body(this.request, cx);
        if next.is_pending() {
            this.in_a_row = 0;
            if this.late.is_none() {
                this.late = this.limit.map(|limit| this.serving.runtime.sleep(limit));
            }
            if this.late.as_mut().is_some_and(|late| Pin::new(late).poll(cx).is_ready()) {
                next = Poll::Ready(Some(Err(RequestBodyError::TimedOut))); // [LIM-05]
            }
        } else {
            this.late = None;
        }
        let reader = next.is_pending().then(|| cx.waker().clone());
        let stale = shared.body_of(this.request).and_then(|body| {
            body.failed |= matches!(next, Poll::Ready(Some(Err(_))));
            std::mem::replace(&mut body.reader, reader)
        });
        // Dropped without the lock: it may be anybody's.
        drop(shared);
        drop(stale);
        next
    }

    fn size_hint(&self) -> SizeHint {
        let mut shared = lock(&self.shared);
        let left = shared.body_of(self.request).and_then(|body| body.decoder.remaining());
        left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl Drop for BodySource {
    fn drop(&mut self) {
        if let Some(body) = lock(&self.shared).body_of(self.request) {
            body.unwanted = true;
        }
    }
}

#[cfg(test)]
mod tests;
