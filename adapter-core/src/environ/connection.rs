//! A connection as its requests and the observers see it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use http::uri::Scheme;

use super::Serving;
use crate::config::ListenAddr;
use crate::observe::{ConnectionEnd, ConnectionInfo, RequestEnd, TimeLimit, Which};
use crate::proxy_protocol::{Ends, Header, Reader};
use crate::refused::{Asked, Refused};
use crate::rules::Rejection;
use crate::rules::forwarded;
use crate::signal::Signal;
use crate::tls::{TlsError, TlsInfo};

/// What is said of a connection under TLS.
static HTTPS: Scheme = Scheme::HTTPS;

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
    /// [`Environ::with_disconnect`](super::Environ::with_disconnect).
    pub disconnected: Signal,
    /// As `tls`, of a handshake that ended when the connection was shared already.
    pub(super) secured: OnceLock<Box<TlsInfo>>,
    /// What a proxy has said in front of everything.
    announced: OnceLock<Box<Announced>>,
    /// Whether requests have the scheme `https`, once that was asked: the connection is shared then, and it stays.
    https: OnceLock<bool>,
    blocking_jobs: AtomicUsize,
    has_blocked: AtomicBool,
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
            has_blocked: AtomicBool::new(false),
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

    /// It will be closed, and that is why: what is said first holds; with nothing said the client has closed it. One that is
    /// [stalled](ConnectionEnd::Stalled) has not taken the response behind which it was to be closed. For servers. Does not block.
    /// \[OBS-02\]
    pub fn ends(&self, why: ConnectionEnd) {
        let place = |why| ConnectionEnd::ALL.iter().position(|one| *one == why).unwrap_or_default() as u8 + 1;
        let is_meant = |now: u8| now == place(ConnectionEnd::Done) || now == place(ConnectionEnd::Drained);
        let _ = self.end.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            (now == 0 || (why == ConnectionEnd::Stalled && is_meant(now))).then(|| place(why))
        });
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

    /// Which request is the one of this connection that was received then.
    pub(crate) fn request(self: &Arc<Self>, received_at: Instant) -> Which {
        (Arc::as_ptr(self) as usize, received_at)
    }

    /// A blocking handler is about to run on the thread that serves it.
    pub(crate) fn blocks(&self) {
        self.has_blocked.store(true, Ordering::Relaxed);
    }

    /// Whether a blocking handler has run on the thread that serves it since this was asked last: its client could not be looked after
    /// then. For servers whose threads may block. \[DIS-05b\]
    #[inline]
    pub fn has_blocked(&self) -> bool {
        self.has_blocked.load(Ordering::Relaxed) && self.has_blocked.swap(false, Ordering::Relaxed)
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
        self.tell_refused(rejection, asked, true);
    }

    /// [`refused`](Self::refused) where the answer has no body, or there is none: a library's own, a reset.
    #[cold]
    pub fn refused_without_body(&self, rejection: &Rejection, asked: Asked<'_>) {
        self.tell_refused(rejection, asked, false);
    }

    fn tell_refused(&self, rejection: &Rejection, asked: Asked<'_>, has_body: bool) {
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
        let refused = if has_body { refused } else { refused.without_body() };
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

    /// Whether its [scheme](Self::scheme) is `https`. Each request asks, and to compare schemes takes a while; by then it is settled.
    #[inline]
    pub(super) fn is_https(&self) -> bool {
        *self.https.get_or_init(|| *self.scheme() == Scheme::HTTPS)
    }

    pub(super) fn scheme(&self) -> &Scheme {
        let is_secure = self.secured.get().is_some() || self.announced.get().is_some_and(|it| it.header.tls);
        if is_secure { &HTTPS } else { &self.scheme }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.closed();
    }
}
