//! hyper, for HTTP/1.1, and h2, for HTTP/2, as an engine for any runtime: bring a socket ([`Transport`]), a listener ([`Accept`]) and an
//! `adapter_core::Runtime`, and get a server with every rule, limit and timeout.
//!
//! An [`Engine`] is shared by all connections of a server. [`Engine::connection`] makes the future that is one
//! connection; [`accept`] makes connections, [`Lifecycle`](adapter_core::server::Lifecycle) runs the rest around them.
//! Nothing here starts a thread.

mod accept;
mod clock;
mod connection;
mod frames;
mod http2;
mod in_flight;
mod inflow;
mod io;
mod linger;
mod measured;
#[cfg(all(test, adapter_model))]
mod models;
mod refusal;
mod request_body;
mod response_body;
mod secured;
mod service;
mod status;
mod switch;
mod transport;
mod upgrade;
mod upload;

use std::net::SocketAddr;
use std::sync::Arc;

use adapter_core::environ::{self, Serving};
use adapter_core::server::{Guard, Roster};
use adapter_core::tls::Handshakes;
use adapter_core::{DynApplication, Limits, ListenAddr, ServeError, ServerConfig, Timeouts};
use hyper::server::conn::http1;

pub use self::accept::{Connect, accept};
use self::clock::Clock;
pub use self::connection::Connection;
pub use self::secured::Secured;
pub use self::transport::{Accept, Front, Transport};

/// The options of `ServerConfig::options` every server on this engine knows.
pub const OPTIONS: &[&str] = &["http2"];

/// Streams of one HTTP/2 connection at most, and blocking jobs that its streams left behind.
const STREAMS: u32 = 256;

/// How far a connection's buffers grow while a body goes through them: hyper's own default.
const BUFFER: usize = 400 * 1024;

/// What all connections of a server share.
pub struct Engine {
    application: DynApplication,
    serving: Arc<Serving>,
    limits: Limits,
    timeouts: Timeouts,
    keep_alive: bool,
    http2_enabled: bool,
    http1: http1::Builder,
    http2: h2::server::Builder,
    handshakes: Handshakes,
    roster: Arc<Roster>,
    clock: Clock,
}

/// What the option `http2` says. \[REG-03\]
pub(crate) fn http2_enabled(config: &ServerConfig) -> Result<bool, ServeError> {
    match config.options.get("http2").map(String::as_str) {
        None | Some("on") => Ok(true),
        Some("off") => Ok(false),
        Some(_) => Err(ServeError::config("http2", "is \"on\" or \"off\"")),
    }
}

impl Engine {
    /// An engine that serves `application` by `config`.
    ///
    /// # Errors
    /// [`ServeError::Config`] for a setting it can't follow.
    pub fn new(
        application: DynApplication,
        serving: Arc<Serving>,
        config: &ServerConfig,
    ) -> Result<Arc<Self>, ServeError> {
        let http2_enabled = http2_enabled(config)?;
        let limits = config.limits.clone();
        let mut http1 = http1::Builder::new();
        http1
            .keep_alive(config.keep_alive)
            .header_read_timeout(None)
            // While a request is answered the engine watches for the client's end: hyper would take a buffer of 8 KiB to do so.
            .half_close(true)
            // The limit of a head is the next line's; this one is for bodies, and small buffers halve their speed.
            .max_buf_size(limits.head_bytes.max(BUFFER))
            .max_header_size(limits.head_bytes)
            // Flattened: cheaper for small bodies and 2.2 times as fast for 1 KiB chunks (measured).
            .writev(false);
        if limits.header_count != 100 {
            // hyper's default is 100 and on the stack; any other number costs an allocation per request.
            http1.max_headers(limits.header_count);
        }
        let http2 = http2::settings(limits.head_bytes);
        Ok(Arc::new(Engine {
            application,
            serving,
            limits,
            timeouts: config.timeouts.clone(),
            keep_alive: config.keep_alive,
            http2_enabled,
            http1,
            http2,
            handshakes: Handshakes::new(config.limits.handshakes),
            roster: Arc::default(),
            clock: Clock::new(),
        }))
    }

    /// A connection that was accepted on `local`; `guard` is dropped with it. Does not block.
    pub fn connection(
        self: &Arc<Self>,
        io: impl Transport,
        peer: Option<SocketAddr>,
        local: ListenAddr,
        guard: Guard,
    ) -> Connection {
        let environ = Arc::new(environ::Connection::new(self.serving.clone(), peer, local));
        Connection::new(self.clone(), Box::new(io), environ, guard)
    }

    /// The connection of `environ`, whose client has begun with HTTP/2, or has agreed on it under TLS, and of which `early` has been
    /// read. As [`connection`](Self::connection).
    pub fn http2_connection(
        self: &Arc<Self>,
        io: impl Transport,
        early: &[u8],
        environ: Arc<environ::Connection>,
        guard: Guard,
    ) -> Connection {
        Connection::new(self.clone(), Box::new(io), environ, guard).begun_with_http2(early)
    }

    /// Whether HTTP/2 is served.
    pub fn serves_http2(&self) -> bool {
        self.http2_enabled
    }

    /// Who is connected.
    pub fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// What all requests share.
    pub fn serving(&self) -> &Arc<Serving> {
        &self.serving
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("server", &self.serving.info.name).finish_non_exhaustive()
    }
}
