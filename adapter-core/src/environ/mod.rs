//! The facts of a request that are not in its head: WSGI's `environ` without the header copies.
//!
//! Facts of a connection and of the server are shared behind `Arc`s, so that a clone costs two reference counts.
//! Servers build it with [`Connection`] and [`Environ::new`]. Requirements: ENV-01 to ENV-13, DIS-06, SHU-08, INF-01,
//! PRX-02, PRX-08, PRX-10, PRX-11.

mod connection;
mod serving;

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use http::uri::Scheme;

use crate::config::ListenAddr;
use crate::error::Error;
use crate::hints::EarlyHints;
use crate::info::ServerInfo;
use crate::observe::{Observers, RequestEnd, Route, StartedFacts, Which, left};
use crate::rules::forwarded::{self, Forwarded};
use crate::runtime::Runtime;
use crate::shutdown::ShutdownTrigger;
use crate::signal::{Fired, Signal};
use crate::tls::TlsInfo;
use crate::upgrade::{Offer, OnUpgrade, UpgradeError};

pub use self::connection::Connection;
pub use self::serving::Serving;

/// The version of this interface, WSGI's `wsgi.version`.
pub const INTERFACE_VERSION: &str = "0.1";

/// What the server knows of a request beyond its head and body. Cheap to clone; may outlive the request.
///
/// It is an argument and not a request extension, so that what every server must provide can't be missing;
/// [`http::Extensions`] are for what middleware adds. \[ENV-13\], \[ENV-07\]
///
/// ```
/// # use adapter_core::{Body, Environ, Error, Request, Response};
/// async fn whoami(_request: Request, environ: Environ) -> Result<Response, Error> {
///     let peer = environ.peer_addr().map_or("a local socket".to_owned(), |addr| addr.to_string());
///     Ok(Response::new(Body::from(format!("{} says hello to {peer}\n", environ.server().name))))
/// }
/// # let answer = adapter_core::testing::Client::new(whoami).get("/").send();
/// # assert!(answer.text().starts_with("testing says hello"));
/// ```
#[derive(Clone, Debug)]
pub struct Environ {
    connection: Arc<Connection>,
    received_at: Instant,
    special: Option<Arc<Special>>,
}

/// What most requests have no need of, kept apart so that `Environ` stays small.
#[derive(Clone, Debug, Default)]
struct Special {
    disconnected: Option<Signal>,
    mount_prefix: Option<Arc<str>>,
    early_hints: Option<EarlyHints>,
    forwarded: Option<Forwarded>,
    upgrade: Option<Offer>,
    runtime: Option<Runtime>,
}

impl Environ {
    /// A fresh environment for one request. For servers. \[ENV-08\]
    #[inline]
    pub fn new(connection: Arc<Connection>, received_at: Instant) -> Self {
        let special = connection
            .serving
            .mount_prefix
            .as_ref()
            .map(|prefix| Arc::new(Special { mount_prefix: Some(prefix.clone()), ..Special::default() }));
        Environ { connection, received_at, special }
    }

    /// Who is told what its server does.
    pub(crate) fn observers(&self) -> &Observers {
        &self.connection.serving.observers
    }

    /// Which request this is of.
    pub(crate) fn which(&self) -> Which {
        self.connection.request(self.received_at)
    }

    /// The route that was matched, where the handler has ended without an answer just now, on this thread. For middleware that logs.
    #[doc(hidden)]
    pub fn route_left(&self) -> Option<Route> {
        left(self.which())
    }

    /// What all requests of its connection share.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// A copy for the next request of the same connection, as cheap as a clone. `None` where somebody still holds the
    /// last copy, or where it has something of its own request; make a fresh one then. For servers that save
    /// allocations. \[ENV-08\]
    #[inline]
    pub fn again(&mut self, received_at: Instant) -> Option<Self> {
        if let Some(special) = &mut self.special {
            let special = Arc::get_mut(special)?;
            if special.forwarded.is_some() || special.disconnected.is_some() || special.upgrade.is_some() {
                return None;
            }
        }
        Some(Environ { connection: self.connection.clone(), received_at, special: self.special.clone() })
    }

    /// With a disconnect signal of its own. For servers whose requests end apart from their connection.
    #[must_use]
    pub fn with_disconnect(mut self, signal: Signal) -> Self {
        self.special().disconnected = Some(signal);
        self
    }

    /// Able to send informational responses. For servers that can.
    #[must_use]
    pub fn with_early_hints(mut self, hints: EarlyHints) -> Self {
        self.special().early_hints = Some(hints);
        self
    }

    /// With a connection the application may take. For servers, see [`upgrade`](crate::upgrade#for-server-authors).
    #[must_use]
    pub fn with_upgrade(mut self, offer: Offer) -> Self {
        let observers = &self.connection.serving.observers;
        if !observers.is_empty() {
            offer.observed_by(observers);
        }
        self.special().upgrade = Some(offer);
        self
    }

    /// For an application that is called within somebody's async code: its blocking parts run on threads for blocking work,
    /// also on servers that would let them block the thread that polls.
    #[cfg(feature = "tower")]
    pub(crate) fn within_async(mut self) -> Self {
        if self.runtime().may_block() {
            let runtime = self.runtime().within_async();
            self.special().runtime = Some(runtime);
        }
        self
    }

    /// Believes the forwarded fields in `headers` if the peer is a trusted proxy. For servers. \[HDR-17b\]
    #[must_use]
    #[inline]
    pub fn with_forwarded(self, headers: &HeaderMap) -> Self {
        if self.connection.serving.believed.is_nobody() { self } else { self.forwarded_by(headers) }
    }

    /// Apart from [`with_forwarded`](Self::with_forwarded), so that without proxies it stays in registers.
    #[inline(never)]
    fn forwarded_by(mut self, headers: &HeaderMap) -> Self {
        // [PRX-11] the walk begins at whom the proxy has announced
        let connection = &self.connection;
        let (peer, local) = (connection.peer(), connection.local());
        let found = connection.serving.believed.with(|trust| forwarded::evaluate(headers, peer, local, trust));
        if let Some(found) = found {
            self.special().forwarded = Some(found);
        }
        self
    }

    /// Mounted below `prefix` in addition to where it is mounted already. For middleware that strips a path prefix,
    /// which keeps `mount_prefix` + path = the path as requested. \[ENV-05\]
    #[must_use]
    pub fn mounted_at(mut self, prefix: &str) -> Self {
        let prefix = format!("{}{}", self.mount_prefix(), prefix.trim_end_matches('/'));
        self.special().mount_prefix = Some(prefix.into());
        self
    }

    fn special(&mut self) -> &mut Special {
        Arc::make_mut(self.special.get_or_insert_with(Arc::default))
    }

    /// The version of the interface the server implements. \[ENV-06\]
    pub fn interface_version(&self) -> &'static str {
        INTERFACE_VERSION
    }

    /// The server: name, version, capabilities, concurrency, addresses. \[ENV-06\]
    pub fn server(&self) -> &ServerInfo {
        &self.connection.serving.info
    }

    /// The scheme of the last hop, or what a trusted proxy said, by the PROXY protocol or in a forwarded field.
    /// \[PRX-08\], \[ENV-01\]
    pub fn scheme(&self) -> &Scheme {
        match self.forwarded().and_then(|forwarded| forwarded.scheme.as_ref()) {
            Some(scheme) => scheme,
            None => self.connection.scheme(),
        }
    }

    /// The client's address: of the last hop, or what a trusted proxy said, by the PROXY protocol or in a forwarded
    /// field. `None` for Unix-domain sockets, and where a trusted proxy forwards for a client it does not name: who
    /// lets certain addresses in must not let `None` in. A proxy that hides the port gives port 0. \[HDR-22\],
    /// \[ENV-02a\]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        match self.forwarded() {
            Some(forwarded) => forwarded.peer,
            None => self.connection.peer(),
        }
    }

    /// The address of the socket's own peer, whatever proxies say: the proxy, where there is one. `None` for Unix-domain sockets.
    /// For logs and for rules about proxies. \[PRX-10\]
    pub fn socket_peer_addr(&self) -> Option<SocketAddr> {
        self.connection.peer_addr
    }

    /// What a trusted proxy said of this request, `None` where nobody did who is believed. \[HDR-17b\]
    ///
    /// [`Forwarded::host`] and [`Forwarded::prefix`] are there if the operator has asked for them. Links into the application are
    /// made of them: `scheme://host/prefix` and the path.
    pub fn forwarded(&self) -> Option<&Forwarded> {
        self.special.as_ref()?.forwarded.as_ref()
    }

    /// Whether peer address or scheme are what a trusted proxy said.
    pub(crate) fn is_forwarded(&self) -> bool {
        self.forwarded().is_some()
    }

    /// Whether a proxy has said by the PROXY protocol whose connection it is.
    pub(crate) fn is_announced(&self) -> bool {
        self.connection.announced().is_some_and(|header| header.ends.is_some())
    }

    /// The address the connection was accepted on; behind the PROXY protocol the one that the client has connected to, as the
    /// proxy says. \[ENV-03\], \[PRX-10\]
    pub fn local_addr(&self) -> &ListenAddr {
        self.connection.local()
    }

    /// Facts of the TLS session, `None` without TLS. \[ENV-12\]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.connection.secured.get().or(self.connection.tls.as_ref()).map(|tls| &**tls)
    }

    /// WSGI's `SCRIPT_NAME`: where the application is mounted, empty or `/x`, never ending in `/`. \[ENV-05\]
    pub fn mount_prefix(&self) -> &str {
        self.special.as_ref().and_then(|special| special.mount_prefix.as_deref()).unwrap_or("")
    }

    /// WSGI's `PATH_INFO`, undecoded: the part of `path` below [`mount_prefix`](Self::mount_prefix). Where the path
    /// lies outside the prefix, the whole path. \[ENV-05\]
    pub fn path_info<'p>(&self, path: &'p str) -> &'p str {
        let prefix = self.mount_prefix();
        if prefix.is_empty() {
            // Comparing no bytes at a dangling address costs 40 ns where it is done with AVX-512 (measured, glibc 2.36).
            return path;
        }
        match path.strip_prefix(prefix) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
            _ => path,
        }
    }

    /// When the server had the whole request head. \[ENV-11\]
    pub fn received_at(&self) -> Instant {
        self.received_at
    }

    /// A value the deployer put into [`ServerConfig::values`](crate::ServerConfig::values), by its type. \[ENV-10\]
    pub fn deployed<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.connection.serving.values.get::<T>()
    }

    /// Time, tasks and threads of whatever is serving. \[RTM-01\]
    pub fn runtime(&self) -> &Runtime {
        let own = self.special.as_ref().and_then(|special| special.runtime.as_ref());
        own.unwrap_or(&self.connection.serving.runtime)
    }

    fn disconnect_signal(&self) -> &Signal {
        match self.special.as_ref().and_then(|special| special.disconnected.as_ref()) {
            Some(signal) => signal,
            None => &self.connection.disconnected,
        }
    }

    /// A future that is ready once the client is gone; may be asked for again and again. A client that only ended its
    /// half of the stream may still read: the handler, or its body, is dropped once it has kept such a client waiting
    /// for 250 ms with nothing sent; a reset drops it at once. Cancel safe. \[DIS-06\], \[DIS-01\]
    pub fn disconnected(&self) -> Fired {
        self.disconnect_signal().fired()
    }

    /// Whether the client is gone, as far as the server knows. For blocking code. \[DIS-05\]
    pub fn is_disconnected(&self) -> bool {
        self.disconnect_signal().is_fired()
    }

    /// Why the response is not to be taken to its end: the server has broken it off, or the client is gone. `None` where neither is
    /// known. For middleware that logs, when it sees a call or a body dropped: as [observers](crate::observe) are told. Does not
    /// block. \[OBS-06\]
    pub fn broken_off(&self) -> Option<RequestEnd> {
        self.connection.broken_off().or_else(|| self.is_disconnected().then_some(RequestEnd::ClientGone))
    }

    /// A future that is ready once the server is shutting down. Endless responses should end then. Cancel safe.
    /// \[SHU-08\]
    pub fn shutting_down(&self) -> Fired {
        self.shutdown().draining().fired()
    }

    pub(crate) fn shutdown(&self) -> &ShutdownTrigger {
        &self.connection.serving.shutdown
    }

    /// Whether the server is shutting down. \[SHU-08\]
    pub fn is_shutting_down(&self) -> bool {
        self.shutdown().draining().is_fired()
    }

    /// Sends 103 Early Hints, `None` where the server can't in the client's version: see the capabilities
    /// [`early_hints`](crate::Capabilities::early_hints) and [`early_hints_http2`](crate::Capabilities::early_hints_http2). \[INF-01\]
    pub fn early_hints(&self) -> Option<&EarlyHints> {
        self.special.as_ref()?.early_hints.as_ref()
    }

    /// Takes the connection over, to be used after a response that switches protocols: see [`upgrade`](crate::upgrade).
    /// Does not block; all clones of this environ share the one connection. \[UPG-17\]
    ///
    /// # Errors
    /// [`UpgradeError::Unsupported`], [`UpgradeError::NotRequested`], [`UpgradeError::Taken`]; passed on, they are
    /// answered with 501, 400 and 500.
    pub fn upgrade(&self) -> Result<OnUpgrade, UpgradeError> {
        self.offer()?.take()
    }

    pub(crate) fn offer(&self) -> Result<&Offer, UpgradeError> {
        match self.special.as_ref().and_then(|special| special.upgrade.as_ref()) {
            Some(offer) => Ok(offer),
            // [UPG-25]
            None if !self.server().capabilities.upgrade => Err(UpgradeError::Unsupported),
            None => Err(UpgradeError::NotRequested),
        }
    }

    /// The `:protocol` of an extended CONNECT (RFC 8441 §4), such as `websocket`. `None` for any other request.
    pub fn connect_protocol(&self) -> Option<&str> {
        self.offer().ok()?.protocol()
    }

    /// WSGI's `wsgi.errors`: logs `error` as the application's, without failing the request. As an error of a handler it is at the
    /// level of errors, unless its [status](Error::status) says that it is the client's: then it is at that of information. Whenever that
    /// is wanted, also behind the response; blocks only as the program's log does. \[ERR-09\]
    pub fn report(&self, error: impl Into<Error>) {
        let error = error.into();
        if error.status().is_client_error() {
            tracing::info!(target: "adapter", %error, "reported by the application");
        } else {
            tracing::error!(target: "adapter", %error, "reported by the application");
        }
    }
}

impl StartedFacts for Environ {
    #[inline]
    fn is_https(&self) -> bool {
        match self.forwarded().and_then(|forwarded| forwarded.scheme.as_ref()) {
            Some(scheme) => scheme.as_str() == "https",
            None => self.connection.is_https(),
        }
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer_addr()
    }
}
