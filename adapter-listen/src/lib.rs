//! Listening sockets, the same for every server of this project.
//!
//! Runs on the thread that starts a server; nothing here waits, save a moment for another starter of the same Unix-domain
//! socket. Addresses become non-blocking `std` listeners with
//! SO_REUSEADDR, a backlog of [`BACKLOG`] where none is said (with 128 to 1024, ten thousand connections take 7 to 22 s instead
//! of 0.35), and keep-alive of TCP. Requirements: SHU-09, SHU-11, LIF-05, ERR-06.

mod accept;
pub mod blocking;
#[cfg(unix)]
mod group;
mod inherited;
mod listeners;
mod tcp;
mod tuning;
#[cfg(unix)]
mod unix;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

use adapter_core::server::{Bind, BindOptions, ListenAddr, ServeError};

pub use self::accept::{AcceptError, classify, complain, is_awaited};
pub use self::listeners::Listeners;
pub use self::tuning::limit_unsent;
#[cfg(unix)]
pub use self::unix::{UnixPath, unix_path_of};

/// Connections the kernel may queue until they are accepted; it caps this at its own `somaxconn`.
pub const BACKLOG: i32 = 4096;

/// A bound, listening, non-blocking socket.
#[derive(Debug)]
pub struct Listener {
    socket: ListenSocket,
    addr: ListenAddr,
    /// How more sockets may be bound to the same address (SO_REUSEPORT), if they may.
    shared: Option<tcp::Options>,
    /// The path to unlink when the server is done.
    unlink: Option<UnixPath>,
    /// What holds for it alone.
    options: BindOptions,
}

/// The socket of a [`Listener`].
#[derive(Debug)]
pub enum ListenSocket {
    /// TCP.
    Tcp(TcpListener),
    /// Unix-domain.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
}

/// Nothing, where there are no Unix-domain sockets.
#[cfg(not(unix))]
#[derive(Debug)]
pub struct UnixPath(());

/// Binds every address, in order; `reuse_port` lets [`Listener::sibling`] bind more sockets to a TCP address. A host with
/// several addresses becomes as many listeners.
///
/// # Errors
/// [`ServeError::Bind`] for the first address that can't be bound, [`ServeError::Config`] for options it can't have; those before it are
/// closed again. \[SHU-11\]
pub fn bind_all(binds: &[Bind], reuse_port: bool) -> Result<Vec<Listener>, ServeError> {
    let mut listeners = Vec::new();
    for bind in binds {
        // `0.0.0.0:80` and `[::]:80` are two sockets only if the second one leaves IPv4 alone.
        let beside = |port: u16| {
            binds.iter().any(|other| matches!(other.place(), Bind::Tcp(it) if it.is_ipv4() && it.port() == port))
        };
        listeners.extend(bind_one(bind, reuse_port, &beside)?);
    }
    Ok(listeners)
}

/// The listeners for one `bind`; `beside` says whether an address of IPv4 is bound to that port beside it.
fn bind_one(bind: &Bind, reuse_port: bool, beside: &dyn Fn(u16) -> bool) -> Result<Vec<Listener>, ServeError> {
    bind.check()?;
    if let Bind::Descriptor(_) = bind.place() {
        let reason =
            format!("{bind} is for programs that take the descriptors of a service manager; servers take listeners");
        return Err(ServeError::config("binds", reason));
    }
    let own = bind.options();
    let tuning = tuning::Tuning::from(&own);
    let options = |addr: &SocketAddr| tcp::Options {
        reuse_port,
        only_v6: addr.ip().is_unspecified() && addr.port() != 0 && beside(addr.port()),
        tuning,
    };
    let listeners = match bind.place() {
        Bind::Tcp(addr) => tcp::bind(*addr, options(addr)).map(|listener| vec![listener]),
        Bind::Host { addrs, .. } => tcp::bind_host(addrs, reuse_port, tuning),
        Bind::EveryInterface(port) => tcp::bind_everywhere(*port, reuse_port, tuning).map(|listener| vec![listener]),
        #[cfg(unix)]
        Bind::Unix(path) => unix::bind(path, &own).map(|listener| vec![listener]),
        Bind::Inherited(inherited) => match inherited.take() {
            Some(socket) => inherited::listener(socket, &own).map(|listener| vec![listener]),
            None => Err(io::Error::other("the inherited listener is in use already")),
        },
        other => Err(io::Error::new(io::ErrorKind::Unsupported, format!("no support for {other}"))),
    };
    let mut listeners = listeners.map_err(|source| ServeError::Bind { address: bind.place().to_string(), source })?;
    for listener in &mut listeners {
        listener.options = own.clone();
    }
    Ok(listeners)
}

impl Listener {
    /// Binds one address; of a host with several, see [`bind_all`], the first.
    ///
    /// # Errors
    /// [`ServeError::Bind`].
    pub fn bind(bind: &Bind, reuse_port: bool) -> Result<Self, ServeError> {
        let none = || ServeError::Bind { address: bind.to_string(), source: io::Error::other("no address") };
        bind_one(bind, reuse_port, &|_| false)?.into_iter().next().ok_or_else(none)
    }

    /// The address, with the actual port. \[LIF-05\]
    pub fn addr(&self) -> &ListenAddr {
        &self.addr
    }

    /// What holds for it alone. To be asked before [`into_parts`](Self::into_parts).
    pub fn options(&self) -> &BindOptions {
        &self.options
    }

    /// Whether connections begin with a TLS handshake. To be asked before [`into_parts`](Self::into_parts).
    pub fn tls(&self) -> bool {
        self.options.tls
    }

    /// Whether connections begin with the header of the PROXY protocol. To be asked before [`into_parts`](Self::into_parts).
    /// \[PRX-01\]
    pub fn proxy(&self) -> bool {
        self.options.proxy
    }

    /// A second listener for the same address: with a queue of its own where the address was bound with `reuse_port`,
    /// else sharing this one's.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn sibling(&self) -> io::Result<Self> {
        if let (ListenAddr::Tcp(address), Some(options)) = (&self.addr, self.shared) {
            return tcp::listen(*address, options)
                .map(|listener| Listener { options: self.options.clone(), ..listener });
        }
        let socket = match &self.socket {
            ListenSocket::Tcp(listener) => ListenSocket::Tcp(listener.try_clone()?),
            #[cfg(unix)]
            ListenSocket::Unix(listener) => ListenSocket::Unix(listener.try_clone()?),
        };
        Ok(Listener { socket, addr: self.addr.clone(), shared: None, unlink: None, options: self.options.clone() })
    }

    /// The socket, its address, and the guard that unlinks a Unix-domain path: keep it until the server is done.
    pub fn into_parts(self) -> (ListenSocket, ListenAddr, Option<UnixPath>) {
        (self.socket, self.addr, self.unlink)
    }
}

/// Settings of an accepted connection: no delay for small writes (44 ms a request without, measured).
pub fn prepare_stream(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)
}
