//! The facts of a request that are not in its head: WSGI's `environ` without the header copies.
//!
//! Facts of a connection and of the server are shared behind `Arc`s, so that a clone costs two reference counts.
//! Servers build it with [`Connection`] and [`Environ::new`]. Requirements: ENV-01 to ENV-13, DIS-06, SHU-08, INF-01,
//! PRX-02, PRX-08, PRX-10, PRX-11.

use std::any::Any;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::uri::Scheme;
use http::{Extensions, HeaderMap};

use crate::config::{Believed, ListenAddr, ServerConfig};
use crate::contain;
use crate::error::Error;
use crate::hints::EarlyHints;
use crate::info::ServerInfo;
use crate::observe::{ConnectionEnd, ConnectionInfo, Observer, Observers, RequestEnd, StartedFacts, TimeLimit};
use crate::proxy_protocol::{Ends, Header, Reader};
use crate::pulse::Pulse;
use crate::refused::{Asked, Refused};
use crate::rules::Rejection;
use crate::rules::forwarded::{self, Forwarded};
use crate::runtime::Runtime;
use crate::shutdown::{ShutdownLevel, ShutdownTrigger};
use crate::signal::{Fired, Signal};
use crate::tls::{TlsError, TlsInfo};
use crate::upgrade::{Offer, OnUpgrade, UpgradeError};

/// The version of this interface, WSGI's `wsgi.version`.
pub const INTERFACE_VERSION: &str = "0.1";

/// What is said of a connection under TLS.
static HTTPS: Scheme = Scheme::HTTPS;

/// What all requests of one `serve` share. For servers.
pub struct Serving {
    /// The server, listening.
    pub info: ServerInfo,
    /// Its runtime.
    pub runtime: Runtime,
    /// Its shutdown.
    pub shutdown: ShutdownTrigger,
    /// What the deployer hands over.
    pub values: Extensions,
    /// See [`ServerConfig::mount_prefix`].
    pub mount_prefix: Option<Arc<str>>,
    /// Whose word is taken: see [`ServerConfig::trusted_proxies`], [`ServerConfig::proxy_protocol_sources`].
    pub believed: Believed,
    /// See [`Limits::min_rate`](crate::Limits::min_rate).
    pub min_rate: Option<u32>,
    /// See [`ServerConfig::pulse`]. The runtime's is in it already.
    pub pulse: Option<Pulse>,
    /// See [`ServerConfig::observe`].
    pub(crate) observers: Observers,
    /// Keeps them told of panics.
    _panics: Option<Arc<dyn Fn(&'static str) + Send + Sync>>,
}

impl Serving {
    /// From a configuration and a server that is bound.
    pub fn new(info: ServerInfo, runtime: Runtime, shutdown: ShutdownTrigger, config: &ServerConfig) -> Arc<Self> {
        if let Some(pulse) = &config.pulse {
            let (timers, forced) = (runtime.clone(), shutdown.reached(ShutdownLevel::Forced));
            let beat = pulse.beat_after(move || timers.sleep(Duration::from_millis(1)));
            let until_forced = async {
                forced.await;
            };
            runtime.drive(futures_lite::future::or(until_forced, beat));
        }
        let observers = config.observers.clone();
        let panics = (!observers.is_empty()).then(|| {
            runtime.tasks().watch_jobs(Arc::new(observers.clone()));
            let told = observers.clone();
            contain::tell_of_panics(Arc::new(move |place| told.tell(|one| one.panicked(place))))
        });
        Arc::new(Serving {
            info,
            runtime,
            shutdown,
            values: config.values.clone(),
            mount_prefix: (!config.mount_prefix.is_empty()).then(|| config.mount_prefix.as_str().into()),
            believed: config.believed.clone().unwrap_or_else(|| Believed::new(config)),
            min_rate: config.limits.min_rate,
            pulse: config.pulse.clone(),
            observers,
            _panics: panics,
        })
    }

    /// A connection could not be accepted. Tells the observers; the log is `adapter_listen::complain`'s. For servers.
    #[cold]
    pub fn accept_failed(&self, error: &io::Error) {
        self.observers.tell(|one| one.accept_failed(error));
    }

    /// The drain has begun. Tells the observers. For servers without a [`Lifecycle`](crate::server::Lifecycle). \[OBS-11\]
    #[cold]
    pub fn drain_started(&self) {
        self.observers.tell(Observer::drain_started);
    }

    /// The drain is over. Likewise. \[OBS-11\]
    #[cold]
    pub fn drain_ended(&self, in_time: bool) {
        self.observers.tell(|one| one.drain_ended(in_time));
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("server", &self.info.name).finish_non_exhaustive()
    }
}

/// What all requests of one connection share. For servers.
#[derive(Debug)]
#[non_exhaustive]
pub struct Connection {
    /// The server.
    pub serving: Arc<Serving>,
    /// The address of the last hop, the socket's peer; `None` for Unix-domain sockets. \[ENV-02\]
    pub peer_addr: Option<SocketAddr>,
    /// The address it was accepted on, with the actual port. \[ENV-03\]
    pub local_addr: ListenAddr,
    /// `https` under TLS. \[ENV-01\]
    pub scheme: Scheme,
    /// Facts of TLS, if it is used. \[ENV-12\]
    pub tls: Option<Box<TlsInfo>>,
    /// Fired when the client is gone. Requests that share a connection but end alone (HTTP/2) have their own, see
    /// [`Environ::with_disconnect`].
    pub disconnected: Signal,
    /// As `tls`, of a handshake that ended when the connection was shared already.
    secured: OnceLock<Box<TlsInfo>>,
    /// What a proxy has said in front of everything.
    announced: OnceLock<Box<Announced>>,
    /// Whether `scheme` is `https`, once that was asked: the connection is shared then, and it stays.
    https: OnceLock<bool>,
    blocking_jobs: AtomicUsize,
    /// Why it ends, one more than its place in [`ConnectionEnd::ALL`]; zero before anybody has said so.
    end: AtomicU8,
    is_closed: AtomicBool,
}

/// What the header of the PROXY protocol says.
#[derive(Debug)]
struct Announced {
    header: Header,
    /// Its destination.
    local: Option<ListenAddr>,
}

/// The IPv4 form of an address of IPv4 that is mapped into IPv6.
fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, addr.port()),
        // It may have a zone.
        IpAddr::V6(_) => addr,
    }
}

impl Connection {
    /// A plain connection. An IPv4 connection on a socket of IPv6 is told in its IPv4 form: `::ffff:127.0.0.1` is in
    /// nobody's list of addresses, and not even loopback to `std`.
    pub fn new(serving: Arc<Serving>, peer_addr: Option<SocketAddr>, local_addr: ListenAddr) -> Self {
        let peer_addr = peer_addr.map(canonical);
        let local_addr = match local_addr {
            ListenAddr::Tcp(addr) => ListenAddr::Tcp(canonical(addr)),
            other => other,
        };
        let connection = Self::untold(serving, peer_addr, local_addr);
        connection.is_closed.store(false, Ordering::Relaxed);
        connection.serving.observers.tell(|one| one.connection_opened(connection.told_to_observers()));
        connection
    }

    /// Observers know nothing of it, also not of its end.
    fn untold(serving: Arc<Serving>, peer_addr: Option<SocketAddr>, local_addr: ListenAddr) -> Self {
        Connection {
            serving,
            peer_addr,
            local_addr,
            scheme: Scheme::HTTP,
            tls: None,
            disconnected: Signal::new(),
            secured: OnceLock::new(),
            announced: OnceLock::new(),
            https: OnceLock::new(),
            blocking_jobs: AtomicUsize::new(0),
            end: AtomicU8::new(0),
            is_closed: AtomicBool::new(true),
        }
    }

    /// The client's connection with a web server, of which that tells on this one, for one request: for gateways. Observers are told of
    /// this one only. `None` for an address that is not known: then it is this one's.
    #[must_use]
    pub fn of_client(&self, peer: Option<SocketAddr>, local: Option<ListenAddr>, is_https: bool) -> Self {
        let local = local.unwrap_or_else(|| self.local_addr.clone());
        let mut connection = Self::untold(self.serving.clone(), peer.map(canonical), local);
        if is_https {
            connection.scheme = Scheme::HTTPS;
        }
        connection
    }

    fn told_to_observers(&self) -> ConnectionInfo {
        let local = match &self.local_addr {
            ListenAddr::Tcp(addr) => Some(*addr),
            _ => None,
        };
        ConnectionInfo::new(self.peer(), local)
    }

    /// It will be closed, and that is why: what is said first holds; with nothing said the client has closed it. For servers. Does
    /// not block. \[OBS-02\]
    pub fn ends(&self, why: ConnectionEnd) {
        let place = ConnectionEnd::ALL.iter().position(|one| *one == why).unwrap_or_default() as u8 + 1;
        // Whoever has said it before is right.
        let _ = self.end.compare_exchange(0, place, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Why it [ends](Self::ends), as far as that is known.
    pub fn end(&self) -> Option<ConnectionEnd> {
        let place = usize::from(self.end.load(Ordering::Relaxed));
        ConnectionEnd::ALL.get(place.checked_sub(1)?).copied()
    }

    /// How its requests end that the server has broken off, where it has.
    pub(crate) fn broken_off(&self) -> Option<RequestEnd> {
        match self.end() {
            Some(ConnectionEnd::Stalled) => Some(RequestEnd::TimedOut),
            Some(ConnectionEnd::Forced) => Some(RequestEnd::Forced),
            _ => None,
        }
    }

    /// Its socket is closed, or is about to be. Tells the observers, once; dropping it does so, too, but the application may keep
    /// it for long. For servers. \[OBS-01\]
    pub fn closed(&self) {
        let observers = &self.serving.observers;
        if !observers.is_empty() && !self.is_closed.swap(true, Ordering::Relaxed) {
            let why = self.end().unwrap_or(ConnectionEnd::Client);
            observers.tell(|one| one.connection_closed(self.told_to_observers(), why));
        }
    }

    /// A time limit has passed. Tells the observers. For servers. \[OBS-10\]
    #[cold]
    pub fn timed_out(&self, limit: TimeLimit) {
        self.serving.observers.tell(|one| one.timed_out(limit));
    }

    /// Its TLS handshake has failed: says so in the log, tells the observers, and why it [ends](Self::ends). For servers. \[OBS-03\]
    #[cold]
    pub fn handshake_failed(&self, why: &TlsError) {
        if why.is_silence {
            return;
        }
        self.ends(ConnectionEnd::Handshake);
        tracing::info!(target: "adapter", peer = self.told(), %why, "a TLS handshake has failed");
        self.serving.observers.tell(|one| one.handshake_failed(self.told_to_observers(), why));
    }

    /// Blocking jobs of its requests that wait for a thread or run on one, also where the request is over: what runs
    /// can't be stopped, and must not be forgotten where one connection can begin any number of requests (HTTP/2).
    /// \[DIS-05b\]
    pub fn blocking_jobs(&self) -> usize {
        self.blocking_jobs.load(Ordering::Relaxed)
    }

    /// One more of them, until what is returned is dropped; that goes with the job.
    pub fn count_blocking_job(self: &Arc<Self>) -> impl Send + Sync + 'static {
        struct Counted(Arc<Connection>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.blocking_jobs.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.blocking_jobs.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    /// Tells whoever keeps a log that the server answers a request by itself, with `rejection`. For servers, before each
    /// such answer: for heads that are malformed, too large or late, and where there is no room for a request. An answer
    /// of 503 in place of a handler's is [`Call::time_out`](crate::dispatch::Call::time_out)'s. Does not block, never
    /// panics.
    #[cold]
    pub fn refused(&self, rejection: &Rejection, asked: Asked<'_>) {
        tracing::debug!(target: "adapter", %rejection, "a request was refused");
        if self.serving.observers.is_empty() {
            return;
        }
        let forwarded = match asked {
            Asked::Head(head) => {
                let (peer, local) = (self.peer(), self.local());
                self.serving.believed.with(|trust| forwarded::evaluate(&head.headers, peer, local, trust))
            }
            _ => None,
        };
        let peer = forwarded.map_or(self.peer(), |forwarded| forwarded.peer);
        let refused = Refused::new(rejection, peer, asked);
        self.serving.observers.tell(|one| one.request_refused(&refused));
    }

    /// The same connection under TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsInfo) -> Self {
        self.scheme = Scheme::HTTPS;
        self.tls = Some(Box::new(tls));
        self
    }

    /// It is under TLS, as its handshake has shown: before its first request, and once.
    pub fn secure(&self, tls: TlsInfo) {
        // What was said first holds.
        if self.secured.set(Box::new(tls)).is_ok()
            && let Some(tls) = self.secured.get()
        {
            self.serving.observers.tell(|one| one.handshake_done(self.told_to_observers(), tls));
        }
    }

    /// Reads the header of the PROXY protocol, which this connection begins with; `None` where its peer may not send one: then it
    /// is to be closed at once. Says so in the log. \[PRX-02\]
    pub fn expect_header(&self) -> Option<Reader> {
        if self.serving.believed.may_announce(self.peer_addr, &self.local_addr) {
            return Some(Reader::new());
        }
        tracing::info!(target: "adapter", peer = self.told(), "[PRX-02] it may not speak the PROXY protocol; closed");
        None
    }

    /// It is who `header` says: before its first request, and once. \[PRX-08\], \[PRX-10\]
    pub fn announce(&self, mut header: Header) {
        if let Some(Ends { source, destination }) = &mut header.ends {
            (*source, *destination) = (canonical(*source), canonical(*destination));
        }
        let local = header.ends.map(|ends| ListenAddr::Tcp(ends.destination));
        // What was said first holds.
        let _ = self.announced.set(Box::new(Announced { header, local }));
    }

    /// What was [announced](Self::announce).
    pub fn announced(&self) -> Option<Header> {
        self.announced.get().map(|announced| announced.header)
    }

    /// The client as far as the connection can tell: whom a proxy has announced, else the socket's peer.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self.announced().and_then(|header| header.ends) {
            Some(ends) => Some(ends.source),
            None => self.peer_addr,
        }
    }

    /// What the client has connected to, likewise.
    pub fn local(&self) -> &ListenAddr {
        self.announced.get().and_then(|announced| announced.local.as_ref()).unwrap_or(&self.local_addr)
    }

    /// Its [peer](Self::peer) for a log, `unix` where that has no address.
    pub fn told(&self) -> String {
        self.peer().map_or_else(|| "unix".to_owned(), |peer| peer.to_string())
    }

    /// Cheaper than to ask its scheme.
    #[inline]
    fn is_https(&self) -> bool {
        self.secured.get().is_some() || self.announced.get().is_some_and(|it| it.header.tls) || self.has_https()
    }

    /// Whether its own scheme is `https`. Each request asks, and to compare schemes takes a while.
    #[inline]
    fn has_https(&self) -> bool {
        *self.https.get_or_init(|| self.scheme == Scheme::HTTPS)
    }

    fn scheme(&self) -> &Scheme {
        let is_secure = self.secured.get().is_some() || self.announced.get().is_some_and(|it| it.header.tls);
        if is_secure { &HTTPS } else { &self.scheme }
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

impl Drop for Connection {
    fn drop(&mut self) {
        self.closed();
    }
}

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

    /// A value the deployer put into [`ServerConfig::values`], by its type. \[ENV-10\]
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

    /// Sends 103 Early Hints, `None` where the server or the client's version can't. \[INF-01\]
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

    /// WSGI's `wsgi.errors`: logs `error` as the application's, without failing the request. \[ERR-09\]
    pub fn report(&self, error: impl Into<Error>) {
        tracing::error!(target: "adapter", error = %error.into(), "reported by the application");
    }
}
