//! What a server does, told to whoever counts, traces or logs it.
//!
//! An [`Observer`] is told at the same points by every server: connections, TLS handshakes, requests and how they ended, blocking
//! work, timeouts, panics, the drain. Give one to a server with [`ServerConfig::observe`](crate::ServerConfig::observe);
//! [`Counters`] is the one that is built in. Requirements: OBS-01 to OBS-12.
//!
//! ```
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use adapter_core::observe::{Observer, RequestEnd, RequestEnded};
//!
//! /// Counts the clients that did not wait for their answer.
//! #[derive(Default)]
//! struct Impatient(AtomicU64);
//!
//! impl Observer for Impatient {
//!     fn request_ended(&self, request: &RequestEnded<'_>) {
//!         if request.how == RequestEnd::ClientGone {
//!             self.0.fetch_add(1, Ordering::Relaxed);
//!         }
//!     }
//! }
//!
//! let impatient = std::sync::Arc::new(Impatient::default());
//! let config = adapter_core::ServerConfig::default().observe(impatient.clone());
//! # let _ = config;
//! ```

mod counters;
mod several;
mod unanswered;

use std::any::Any;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode, Uri, Version, request};

pub use self::counters::{BOUNDS, Counters, HistogramSnapshot, RequestsSnapshot, Snapshot};
pub(crate) use self::counters::{CounterPlace, Ended, Key};
pub(crate) use self::several::Observers;
#[cfg(any(feature = "axum", feature = "websocket"))]
pub(crate) use self::several::{OpenWebSocket, unresponsive};
#[cfg(feature = "axum")]
pub(crate) use self::unanswered::Unanswered;
pub(crate) use self::unanswered::{Which, left};
use crate::contain;
use crate::refused::Refused;
use crate::tls::TlsInfo;

/// Is told what a server does.
///
/// Every method has an empty body, so that an observer names what it cares for. They are called on the threads that serve, in the
/// middle of their work: do not block, do not wait for a lock that somebody holds for long. A panic is contained and logged. What is
/// borrowed lasts for the call only.
///
/// The calls for one connection, and those for one request, come in their order; those for different ones come from any threads at
/// once.
#[allow(unused_variables, reason = "the names are the documentation")]
pub trait Observer: Any + Send + Sync {
    /// A connection was accepted. \[OBS-01\]
    fn connection_opened(&self, connection: ConnectionInfo) {}

    /// It is closed: once for each that was [opened](Self::connection_opened), also where the application took it over. \[OBS-01\],
    /// \[OBS-02\]
    fn connection_closed(&self, connection: ConnectionInfo, why: ConnectionEnd) {}

    /// A connection could not be accepted: mostly, for want of file descriptors. Each attempt that failed.
    fn accept_failed(&self, error: &io::Error) {}

    /// A TLS handshake has succeeded, and that is what was agreed on. \[OBS-03\]
    fn handshake_done(&self, connection: ConnectionInfo, tls: &TlsInfo) {}

    /// A TLS handshake has failed, and that is why, in words for an operator; also one that took too long, or that the client
    /// broke off. Who has left without a word has begun none. \[OBS-03\]
    fn handshake_failed(&self, connection: ConnectionInfo, why: &dyn fmt::Display) {}

    /// The application is about to be called with a request. \[OBS-04\]
    fn request_started(&self, request: &RequestStarted<'_>) {}

    /// A request that was [started](Self::request_started) is over: its response is with the operating system to the last octet,
    /// or will never be. Once for each, and after that nothing. \[OBS-04\] to \[OBS-06\]
    fn request_ended(&self, request: &RequestEnded<'_>) {}

    /// The server answers a request by itself, and the application never sees it: 400, 408, 431 and the like, 503 where there is no
    /// room. Not [started](Self::request_started). \[OBS-07\]
    fn request_refused(&self, refused: &Refused<'_>) {}

    /// The application has taken a connection over, or a stream of HTTP/2. \[OBS-08\]
    fn upgraded(&self) {}

    /// What was [taken over](Self::upgraded) is over. \[OBS-08\]
    fn upgrade_ended(&self) {}

    /// A WebSocket of `websocket` is open; it is [taken over](Self::upgraded), too. \[OBS-08\]
    fn websocket_opened(&self) {}

    /// A [WebSocket](Self::websocket_opened) is over, with the code of the Close that ended it; `None` where there was none.
    fn websocket_closed(&self, code: Option<u16>) {}

    /// Work that blocks waits for a thread. \[OBS-09\]
    fn blocking_queued(&self) {}

    /// It has one, and begins, after it has `waited`. \[OBS-09\]
    fn blocking_started(&self, waited: Duration) {}

    /// It has ended, after it has `run` so long. \[OBS-09\]
    fn blocking_ended(&self, run: Duration) {}

    /// It will never run: there is no room for it in the queue, or nobody waits for it any more. \[OBS-09\]
    fn blocking_dropped(&self) {}

    /// A time limit of [`Timeouts`](crate::Timeouts) or [`Limits::min_rate`](crate::Limits::min_rate) has passed. \[OBS-10\]
    fn timed_out(&self, limit: TimeLimit) {}

    /// Application code has panicked in `place`, which was contained. All observers of the process are told: it is not always known
    /// whose it was.
    fn panicked(&self, place: &'static str) {}

    /// The server has begun to drain. \[OBS-11\]
    fn drain_started(&self) {}

    /// The drain is over, `in_time` or forced; what runs next is the shutdown hook. \[OBS-11\]
    fn drain_ended(&self, in_time: bool) {}
}

/// Which connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The socket's peer, or whom the PROXY protocol has announced; `None` for a Unix-domain socket.
    pub peer: Option<SocketAddr>,
    /// The address it was accepted on; `None` for a Unix-domain socket.
    pub local: Option<SocketAddr>,
}

impl ConnectionInfo {
    pub(crate) fn new(peer: Option<SocketAddr>, local: Option<SocketAddr>) -> Self {
        ConnectionInfo { peer, local }
    }
}

/// Declares a plain enumeration with names for labels of metrics.
macro_rules! named {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $label:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name, in lower case with underscores, for a label or a line of a log.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }
    };
}

named! {
    /// Why a connection was closed.
    ConnectionEnd {
        /// The client has closed it, or is gone.
        Client = "client",
        /// The server has, after a response that said so: the client wanted that, the application did, or it was the last of
        /// [`Limits::requests_per_connection`](crate::Limits::requests_per_connection).
        Done = "done",
        /// There was no request on it for [`Timeouts::keep_alive`](crate::Timeouts::keep_alive).
        Idle = "idle",
        /// It was idle, and its place was needed for another.
        MadeRoom = "made_room",
        /// A head, or what comes before one, took too long.
        Late = "late",
        /// What it sent is no request that can be served, or no header of the PROXY protocol.
        Refused = "refused",
        /// Its TLS handshake has failed.
        Handshake = "handshake",
        /// It took nothing of a response for [`Timeouts::write`](crate::Timeouts::write).
        Stalled = "stalled",
        /// A response was broken off: the application's body has failed.
        Failed = "failed",
        /// The server drains.
        Drained = "drained",
        /// The server's end was forced.
        Forced = "forced",
        /// The application had taken it over.
        Upgraded = "upgraded",
    }
}

named! {
    /// How a request ended.
    RequestEnd {
        /// Its response is with the operating system to the last octet.
        Complete = "complete",
        /// The application's body has failed, and the response was broken off.
        Failed = "failed",
        /// The client has gone, or has reset the stream, before it had all of the response.
        ClientGone = "client_gone",
        /// The client took nothing for [`Timeouts::write`](crate::Timeouts::write).
        TimedOut = "timed_out",
        /// The server's end was forced.
        Forced = "forced",
        /// There was no thread for what blocks of it, and no place to wait for one: the server has answered 503.
        /// [`Counters`] have it with those that were [refused](Observer::request_refused) before the application was called.
        Refused = "refused",
    }
}

named! {
    /// Which time limit has passed.
    TimeLimit {
        /// [`Timeouts::header_read`](crate::Timeouts::header_read).
        HeaderRead = "header_read",
        /// [`Timeouts::tls_handshake`](crate::Timeouts::tls_handshake).
        TlsHandshake = "tls_handshake",
        /// [`Timeouts::keep_alive`](crate::Timeouts::keep_alive).
        KeepAlive = "keep_alive",
        /// [`Timeouts::body_read`](crate::Timeouts::body_read).
        BodyRead = "body_read",
        /// [`Limits::min_rate`](crate::Limits::min_rate).
        MinRate = "min_rate",
        /// [`Timeouts::write`](crate::Timeouts::write).
        Write = "write",
        /// [`Timeouts::handler`](crate::Timeouts::handler).
        Handler = "handler",
    }
}

/// The head of a request, as the application gets it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "they are what http calls them")]
pub struct Head<'a> {
    pub method: &'a Method,
    pub uri: &'a Uri,
    pub version: Version,
    pub headers: &'a HeaderMap,
}

impl<'a> From<&'a request::Parts> for Head<'a> {
    fn from(head: &'a request::Parts) -> Self {
        Head { method: &head.method, uri: &head.uri, version: head.version, headers: &head.headers }
    }
}

impl<'a, B> From<&'a Request<B>> for Head<'a> {
    fn from(head: &'a Request<B>) -> Self {
        Head { method: head.method(), uri: head.uri(), version: head.version(), headers: head.headers() }
    }
}

/// A request that begins.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestStarted<'a> {
    /// Its head.
    pub head: Head<'a>,
    facts: &'a dyn StartedFacts,
}

/// What is rarely asked for, and costs something.
pub(crate) trait StartedFacts: fmt::Debug {
    fn is_https(&self) -> bool;
    fn peer(&self) -> Option<SocketAddr>;
}

impl<'a> RequestStarted<'a> {
    pub(crate) fn new(head: Head<'a>, facts: &'a dyn StartedFacts) -> Self {
        RequestStarted { head, facts }
    }

    /// `http` or `https`, as [`Environ::scheme`](crate::Environ::scheme) has it.
    pub fn scheme(&self) -> &'static str {
        scheme(self.facts.is_https())
    }

    /// The client, as [`Environ::peer_addr`](crate::Environ::peer_addr) has it.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.facts.peer()
    }
}

/// The name of a scheme.
pub(crate) fn scheme(is_https: bool) -> &'static str {
    if is_https { "https" } else { "http" }
}

/// A request that is over.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestEnded<'a> {
    /// Its method. A client can invent any number of them: see [`known_method`] before it becomes a label.
    pub method: &'a Method,
    /// Its version of HTTP.
    pub version: Version,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Which of the application's routes has answered, where that says so: see [`Route`].
    pub route: Option<&'a str>,
    /// The response's status; `None` where there was none.
    pub status: Option<StatusCode>,
    /// Octets of the request's body that were read, without framing.
    pub received: u64,
    /// Octets of the response's body that were handed over, without framing.
    pub sent: u64,
    /// From the whole head of the request to that of the response; `None` without one.
    pub to_first: Option<Duration>,
    /// From the whole head of the request to the end.
    pub to_last: Duration,
    /// How it ended.
    pub how: RequestEnd,
}

/// The methods that may be a label: those of RFC 9110 and PATCH; `_OTHER` stands for all others, as the conventions of
/// OpenTelemetry have it.
#[inline]
pub fn known_method(method: &Method) -> &'static str {
    METHODS.get(method_number(method)).copied().unwrap_or(OTHER)
}

const OTHER: &str = "_OTHER";
const METHODS: [&str; 10] = ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", OTHER];

/// Its place in [`METHODS`].
#[inline(always)]
fn method_number(method: &Method) -> usize {
    // Most, and quickly.
    if *method == Method::GET { 0 } else { other_method_number(method) }
}

fn other_method_number(method: &Method) -> usize {
    match method.as_str() {
        "POST" => 1,
        "HEAD" => 2,
        "PUT" => 3,
        "DELETE" => 4,
        "OPTIONS" => 5,
        "PATCH" => 6,
        "CONNECT" => 7,
        "TRACE" => 8,
        _ => 9,
    }
}

/// The route that has answered, as an extension of the response: the template `/users/{id}`, never the path that was asked for, of
/// which clients can invent any number. An axum `Router` in `axum()` says its own.
///
/// ```
/// # use adapter_core::{Body, Environ, Error, Request, Response, observe::Route};
/// async fn user(_request: Request, _environ: Environ) -> Result<Response, Error> {
///     let mut response = Response::new(Body::from("somebody\n"));
///     response.extensions_mut().insert(Route::from("/users/{id}"));
///     Ok(response)
/// }
/// # assert_eq!(adapter_core::testing::Client::new(user).get("/users/7").send().text(), "somebody\n");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route(Arc<str>);

impl Route {
    /// The template.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Arc<str>>> From<T> for Route {
    fn from(template: T) -> Self {
        Route(template.into())
    }
}

/// Is told how the request ended that a response answers, as an extension of the response: for middleware that logs. The end of the
/// body is not that end: what was handed over may never have left, because the client went or took nothing more.
///
/// It is told once, on a thread that serves: do not block. A panic is contained and logged. Servers without an
/// [observer](crate::ServerConfig::observe) tell nobody, nor does who takes a response over on its way, such as a tower service around
/// the application; it is dropped then, with what it owns.
///
/// ```
/// # use adapter_core::{Body, Environ, Error, Request, Response, observe::Ending};
/// async fn hello(_request: Request, _environ: Environ) -> Result<Response, Error> {
///     let mut response = Response::new(Body::from("hello\n"));
///     response.extensions_mut().insert(Ending::new(|end| println!("{}", end.how.name())));
///     Ok(response)
/// }
/// # assert_eq!(adapter_core::testing::Client::new(hello).get("/").send().text(), "hello\n");
/// ```
#[derive(Clone)]
pub struct Ending(Arc<dyn Fn(End) + Send + Sync>);

impl Ending {
    /// Calls `told` with how the request ended: once, or never where nobody is told.
    pub fn new(told: impl Fn(End) + Send + Sync + 'static) -> Self {
        Ending(Arc::new(told))
    }

    /// Says how it ended, and lets go of who asked. Contained like an observer.
    pub(crate) fn tell(self, end: End) {
        tell(move || (self.0)(end));
    }
}

/// How a request ended, as [`Ending`] tells it: the same that [`RequestEnded`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct End {
    /// How it ended.
    pub how: RequestEnd,
    /// The status that was sent, or was to be, which may be another one than the application's; `None` where nothing of the response was.
    pub status: Option<StatusCode>,
    /// Octets of the response's body that were handed over, without framing.
    pub sent: u64,
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ending").finish_non_exhaustive()
    }
}

/// Tells `observer`; a panic of it is contained.
fn tell(told: impl FnOnce()) {
    let _ = contain::catch("observer", told);
}
