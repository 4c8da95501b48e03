//! Listening sockets, the same for every server of this project.
//!
//! Runs on the thread that starts a server; nothing here waits. Addresses become non-blocking `std` listeners with
//! SO_REUSEADDR and a backlog of [`BACKLOG`] (with 128 to 1024, ten thousand connections take 7 to 22 s instead of
//! 0.35). Requirements: SHU-09, SHU-11, LIF-05, ERR-06.

mod accept;
pub mod blocking;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use adapter_core::server::{Bind, InheritedSocket, ListenAddr, ServeError};
use socket2::{Domain, Protocol, Socket, Type};

pub use self::accept::{AcceptError, classify};

/// Connections the kernel may queue until they are accepted; it caps this at its own `somaxconn`.
pub const BACKLOG: i32 = 4096;

/// A bound, listening, non-blocking socket.
#[derive(Debug)]
pub struct Listener {
    socket: ListenSocket,
    addr: ListenAddr,
    /// Whether more sockets may be bound to the same address (SO_REUSEPORT).
    shared: bool,
    /// The path to unlink when the server is done.
    unlink: Option<UnixPath>,
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

/// Removes the path of a Unix-domain socket on drop.
#[derive(Debug)]
pub struct UnixPath(PathBuf);

impl Drop for UnixPath {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds every address, in order; `reuse_port` lets [`Listener::sibling`] bind more sockets to a TCP address.
///
/// # Errors
/// [`ServeError::Bind`] for the first address that can't be bound; those before it are closed again. \[SHU-11\]
pub fn bind_all(binds: &[Bind], reuse_port: bool) -> Result<Vec<Listener>, ServeError> {
    binds.iter().map(|bind| Listener::bind(bind, reuse_port)).collect()
}

impl Listener {
    /// Binds one address.
    ///
    /// # Errors
    /// [`ServeError::Bind`].
    pub fn bind(bind: &Bind, reuse_port: bool) -> Result<Self, ServeError> {
        let listener = match bind {
            Bind::Tcp(address) => Listener::tcp(*address, reuse_port),
            Bind::Unix(path) => Listener::unix(path),
            Bind::Inherited(inherited) => match inherited.take() {
                Some(socket) => Listener::inherited(socket),
                None => Err(io::Error::other("the inherited listener is in use already")),
            },
            other => Err(io::Error::new(io::ErrorKind::Unsupported, format!("no support for {other}"))),
        };
        listener.map_err(|source| ServeError::Bind { address: bind.to_string(), source })
    }

    fn tcp(address: SocketAddr, reuse_port: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // [SHU-09] the port can be bound again while old connections are in TIME_WAIT
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        #[cfg(unix)]
        if reuse_port {
            // Checked first without it: SO_REUSEPORT would share the port with a stranger of the same user.
            if address.port() != 0 {
                drop(Listener::tcp(address, false)?);
            }
            socket.set_reuse_port(true)?;
        }
        Listener::listen(socket, address, reuse_port)
    }

    fn listen(socket: Socket, address: SocketAddr, shared: bool) -> io::Result<Self> {
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from(socket);
        let addr = ListenAddr::Tcp(listener.local_addr()?);
        Ok(Listener { socket: ListenSocket::Tcp(listener), addr, shared, unlink: None })
    }

    #[cfg(unix)]
    fn unix(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::FileTypeExt;
        use std::os::unix::net::{UnixListener, UnixStream};
        // A socket nobody answers on is a left-over and is replaced; a living one, or another kind of file, is not.
        if let Ok(found) = std::fs::symlink_metadata(path)
            && found.file_type().is_socket()
            && UnixStream::connect(path).is_err()
        {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        let unlink = Some(UnixPath(path.to_owned()));
        // std listens with a backlog of its own choice; listening again sets ours.
        let socket = Socket::from(listener);
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let addr = ListenAddr::Unix(path.to_owned());
        Ok(Listener { socket: ListenSocket::Unix(socket.into()), addr, shared: false, unlink })
    }

    #[cfg(not(unix))]
    fn unix(_path: &Path) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "Unix-domain sockets are not available here"))
    }

    fn inherited(socket: InheritedSocket) -> io::Result<Self> {
        let (socket, addr) = match socket {
            InheritedSocket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                let addr = ListenAddr::Tcp(listener.local_addr()?);
                (ListenSocket::Tcp(listener), addr)
            }
            #[cfg(unix)]
            InheritedSocket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                let path = listener.local_addr()?.as_pathname().map(Path::to_owned).unwrap_or_default();
                (ListenSocket::Unix(listener), ListenAddr::Unix(path))
            }
            _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "an unknown kind of listener")),
        };
        Ok(Listener { socket, addr, shared: false, unlink: None })
    }

    /// The address, with the actual port. \[LIF-05\]
    pub fn addr(&self) -> &ListenAddr {
        &self.addr
    }

    /// A second listener for the same address: with a queue of its own where the address was bound with `reuse_port`,
    /// else sharing this one's.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn sibling(&self) -> io::Result<Self> {
        match (&self.addr, &self.socket) {
            #[cfg(unix)]
            (ListenAddr::Tcp(address), _) if self.shared => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
                socket.set_reuse_address(true)?;
                socket.set_reuse_port(true)?;
                Listener::listen(socket, *address, true)
            }
            (addr, ListenSocket::Tcp(listener)) => Ok(Listener {
                socket: ListenSocket::Tcp(listener.try_clone()?),
                addr: addr.clone(),
                shared: false,
                unlink: None,
            }),
            #[cfg(unix)]
            (addr, ListenSocket::Unix(listener)) => Ok(Listener {
                socket: ListenSocket::Unix(listener.try_clone()?),
                addr: addr.clone(),
                shared: false,
                unlink: None,
            }),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_an_error_and_siblings_share_it() {
        let first = Listener::bind(&"127.0.0.1:0".parse().unwrap(), true).unwrap();
        let second = first.sibling().unwrap();
        assert_eq!(first.addr(), second.addr());
        let taken = first.addr().to_string().parse().unwrap();
        let error = Listener::bind(&taken, true).unwrap_err().to_string();
        assert!(error.starts_with("cannot listen on 127.0.0.1:"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the path behind");
        let bind: Bind = format!("unix:{}", path.display()).parse().unwrap();
        let living = Listener::bind(&bind, false).unwrap();
        assert!(Listener::bind(&bind, false).is_err());
        drop(living);
        assert!(!path.exists());
        std::fs::write(&path, "a file").unwrap();
        assert!(Listener::bind(&bind, false).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"a file");
    }
}
