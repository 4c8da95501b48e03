//! Where a server listens: addresses before and after they are bound, and listeners made elsewhere.
//!
//! Plain data; parsing a host name asks the resolver. What holds for one listener only is written behind its address, as in
//! `127.0.0.1:8443,tls`, and is all in [`BindOptions`]. Requirements: LIF-05, SHU-11, PRX-01.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::bind_options::{BindOptions, KeepAlive};
use crate::serve_error::ServeError;

/// An address a server listens on, with the actual port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ListenAddr {
    /// A TCP socket.
    Tcp(SocketAddr),
    /// A Unix-domain socket and its path, empty if it has none.
    Unix(PathBuf),
}

impl ListenAddr {
    /// The socket address, if it is TCP.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            ListenAddr::Tcp(address) => Some(*address),
            ListenAddr::Unix(_) => None,
        }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddr::Tcp(address) => address.fmt(f),
            ListenAddr::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where to listen.
///
/// Parses from `HOST:PORT`, `:PORT` (every interface), `unix:PATH`, `fd:3` or `fd:NAME` (a service
/// manager's), each with options behind it or without, as in
/// `:443,tls,keepalive=2m` or `unix:/run/app.sock,mode=0660,group=www-data`: see [`BindOptions`]. A path with a comma in it can't be
/// written so; [`Bind::Unix`] takes it.
///
/// On a listener with `proxy` nothing is served that does not begin with the header of the PROXY protocol. The health checks of
/// orchestrators come without one: give them a listener of their own.
///
/// ```
/// use adapter_core::Bind;
/// assert_eq!("127.0.0.1:0".parse::<Bind>()?.to_string(), "127.0.0.1:0");
/// assert_eq!("localhost:80".parse::<Bind>()?.to_string(), "localhost:80");
/// assert_eq!("unix:/run/app.sock".parse::<Bind>()?.to_string(), "unix:/run/app.sock");
/// let secure: Bind = "unix:/run/app.sock,tls".parse()?;
/// assert!(secure.options().tls && !secure.options().proxy && matches!(secure.place(), Bind::Unix(_)));
/// assert_eq!(secure.to_string(), "unix:/run/app.sock,tls");
/// assert!("127.0.0.1".parse::<Bind>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Bind {
    /// A TCP address; port 0 lets the operating system choose. `[::]` takes connections of IPv4 too, unless an address
    /// of IPv4 with the same port is bound beside it.
    Tcp(SocketAddr),
    /// Every address of a host, with one port for all of them. Those this machine does not have are left out as long as
    /// there is one it has: `localhost` has an address of IPv6 also where there is no IPv6.
    Host {
        /// The name, with the port, as configured.
        name: String,
        /// Its addresses, each once.
        addrs: Vec<SocketAddr>,
    },
    /// A port on every interface, by IPv6 and IPv4, or by IPv4 alone where there is no IPv6.
    EveryInterface(u16),
    /// A path for a Unix-domain socket; a stale socket there is replaced, another file is not.
    Unix(PathBuf),
    /// A listener that exists already.
    Inherited(InheritedListener),
    /// A listener of a service manager's (`LISTEN_FDS`), by the number of its descriptor or its name (`LISTEN_FDNAMES`). Programs that
    /// look for it put [`Inherited`](Self::Inherited) in its place, as `adapter-web` does; servers refuse it.
    Descriptor(String),
    /// One of the others, with what holds for this listener only. Made by [`with_tls`](Bind::with_tls) and its like.
    With(Box<Bind>, BindOptions),
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bind::Tcp(address) => address.fmt(f),
            Bind::Host { name, .. } => name.fmt(f),
            Bind::EveryInterface(port) => write!(f, ":{port}"),
            Bind::Unix(path) => write!(f, "unix:{}", path.display()),
            Bind::Inherited(listener) => f.write_str(listener.name.as_deref().unwrap_or("an inherited listener")),
            Bind::Descriptor(which) => write!(f, "fd:{which}"),
            Bind::With(..) => write!(f, "{}{}", self.place(), self.options()),
        }
    }
}

/// Text that is no address to listen on.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no address to listen on: {reason} (use HOST:PORT, unix:PATH or fd:NAME)")]
pub struct ParseBindError {
    text: String,
    reason: String,
}

impl FromStr for Bind {
    type Err = ParseBindError;

    /// Resolves host names, which may block.
    fn from_str(text: &str) -> Result<Self, ParseBindError> {
        let error = |reason: String| ParseBindError { text: text.to_owned(), reason };
        if let Some((place, options)) = text.split_once(',') {
            let bind: Bind = place.parse()?;
            let mut read = BindOptions::default();
            options.split(',').try_for_each(|option| read.read(option)).map_err(error)?;
            let bind = bind.with_options(read);
            return bind.misfit().map_or(Ok(bind), |misfit| Err(error(misfit)));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(error("the path is missing".into()))
            } else {
                Ok(Bind::Unix(path.into()))
            };
        }
        if let Some(which) = text.strip_prefix("fd:") {
            return if which.is_empty() {
                Err(error("the number or name of the descriptor is missing".into()))
            } else {
                Ok(Bind::Descriptor(which.into()))
            };
        }
        if !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(error(format!("a port alone is written \":{text}\"")));
        }
        if !text.contains(':') || text.parse::<IpAddr>().is_ok() {
            return Err(error("the port is missing".into()));
        }
        if let Some(port) = text.strip_prefix(':') {
            let port = port.parse::<u16>().map_err(|_| error("the port is not a number up to 65535".into()))?;
            return Ok(Bind::EveryInterface(port));
        }
        if let Ok(address) = text.parse() {
            return Ok(Bind::Tcp(address));
        }
        // RFC 6761 §6.3: it is loopback whatever a resolver says, and clients try both families.
        if let Some((host, port)) = text.rsplit_once(':')
            && host.eq_ignore_ascii_case("localhost")
        {
            let port = port.parse::<u16>().map_err(|_| error("the port is not a number up to 65535".into()))?;
            let addrs = vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
            return Ok(Bind::Host { name: text.to_owned(), addrs });
        }
        let mut addrs = Vec::new();
        for addr in text.to_socket_addrs().map_err(|problem| error(problem.to_string()))? {
            // /etc/hosts may name an address several times.
            if !addrs.contains(&addr) {
                addrs.push(addr);
            }
        }
        if addrs.is_empty() {
            Err(error("the host has no address".into()))
        } else {
            Ok(Bind::Host { name: text.to_owned(), addrs })
        }
    }
}

/// A listener made elsewhere: by a service manager (`LISTEN_FDS`), a parent process, a test.
///
/// Can be cloned with its configuration, and is taken by the first server that uses it.
#[derive(Clone, Debug)]
pub struct InheritedListener {
    socket: Arc<Mutex<Option<InheritedSocket>>>,
    name: Option<Arc<str>>,
}

/// The socket of an [`InheritedListener`].
#[derive(Debug)]
#[non_exhaustive]
pub enum InheritedSocket {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// Unix-domain.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
}

impl InheritedListener {
    /// Takes the socket out; `None` the second time. For servers.
    pub fn take(&self) -> Option<InheritedSocket> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Bind {
    /// With `name` for an inherited listener in errors, such as `descriptor 3`; others have one.
    #[must_use]
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        let mut place = &mut self;
        while let Bind::With(inner, _) = place {
            place = inner;
        }
        if let Bind::Inherited(listener) = place {
            listener.name = Some(name.into());
        }
        self
    }

    /// The same place, with TLS.
    #[must_use]
    pub fn with_tls(self) -> Self {
        self.with_options(BindOptions { tls: true, ..BindOptions::default() })
    }

    /// The same place, behind a proxy that speaks the PROXY protocol: see [`BindOptions::proxy`].
    #[must_use]
    pub fn with_proxy_protocol(self) -> Self {
        self.with_options(BindOptions { proxy: true, ..BindOptions::default() })
    }

    /// The same path, with those permissions: see [`BindOptions::mode`].
    #[must_use]
    pub fn with_mode(self, mode: u32) -> Self {
        self.with_options(BindOptions { mode: Some(mode), ..BindOptions::default() })
    }

    /// The same path, for a group, by name or number: see [`BindOptions::group`].
    #[must_use]
    pub fn with_group(self, group: impl Into<Arc<str>>) -> Self {
        self.with_options(BindOptions { group: Some(group.into()), ..BindOptions::default() })
    }

    /// The same place, with a queue of that many connections: see [`BindOptions::backlog`].
    #[must_use]
    pub fn with_backlog(self, backlog: u32) -> Self {
        self.with_options(BindOptions { backlog: Some(backlog), ..BindOptions::default() })
    }

    /// The same address, where silent clients are asked then: see [`BindOptions::keep_alive`].
    #[must_use]
    pub fn with_keep_alive(self, keep_alive: KeepAlive) -> Self {
        self.with_options(BindOptions { keep_alive: Some(keep_alive), ..BindOptions::default() })
    }

    /// The same address, where clients that acknowledge nothing are given up after `timeout`: see [`BindOptions::user_timeout`].
    #[must_use]
    pub fn with_user_timeout(self, timeout: Duration) -> Self {
        self.with_options(BindOptions { user_timeout: Some(timeout), ..BindOptions::default() })
    }

    /// The same place, with what `more` says; what it does not say stays.
    #[must_use]
    pub fn with_options(self, more: BindOptions) -> Self {
        let options = self.options();
        if options.clone().and(more.clone()) == options { self } else { Bind::With(Box::new(self), more) }
    }

    /// Refuses options that do not fit the place, or have no meaning. For servers.
    ///
    /// # Errors
    /// [`ServeError::Config`].
    pub fn check(&self) -> Result<(), ServeError> {
        match self.misfit() {
            Some(misfit) => Err(ServeError::config("binds", format!("{self}: {misfit}"))),
            None => Ok(()),
        }
    }

    /// Why its options are not for it.
    fn misfit(&self) -> Option<String> {
        let options = self.options();
        if let Some(fault) = options.fault() {
            return Some(fault.into());
        }
        let of_paths = || options.of_paths().map(|option| format!("{option} is for Unix-domain sockets (unix:PATH)"));
        match self.place() {
            Bind::Unix(_) => options.of_tcp().map(|option| format!("{option} is for TCP")),
            Bind::Inherited(_) | Bind::Descriptor(_) => {
                let of_owner = options.of_paths().or(options.backlog.map(|_| "backlog"));
                of_owner.map(|option| format!("{option} is for whoever made the inherited socket to set"))
            }
            _ => of_paths(),
        }
    }

    /// Where it is, without options: never [`With`](Bind::With).
    pub fn place(&self) -> &Bind {
        let mut place = self;
        while let Bind::With(inner, _) = place {
            place = inner;
        }
        place
    }

    /// What holds for this listener only.
    pub fn options(&self) -> BindOptions {
        match self {
            Bind::With(inner, more) => inner.options().and(more.clone()),
            _ => BindOptions::default(),
        }
    }
}

impl From<SocketAddr> for Bind {
    fn from(address: SocketAddr) -> Self {
        Bind::Tcp(address)
    }
}

impl From<InheritedSocket> for Bind {
    fn from(socket: InheritedSocket) -> Self {
        Bind::Inherited(InheritedListener { socket: Arc::new(Mutex::new(Some(socket))), name: None })
    }
}

impl From<std::net::TcpListener> for Bind {
    fn from(listener: std::net::TcpListener) -> Self {
        InheritedSocket::Tcp(listener).into()
    }
}

#[cfg(unix)]
impl From<std::os::unix::net::UnixListener> for Bind {
    fn from(listener: std::os::unix::net::UnixListener) -> Self {
        InheritedSocket::Unix(listener).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse() {
        assert!(matches!(":8080".parse(), Ok(Bind::EveryInterface(8080))));
        assert!(matches!("[::1]:80".parse(), Ok(Bind::Tcp(_))));
        assert!(matches!("localhost:80".parse(), Ok(Bind::Host { addrs, .. }) if addrs.len() == 2));
        assert!(matches!("fd:3".parse(), Ok(Bind::Descriptor(which)) if which == "3"));
        assert_eq!("fd:web,tls,keepalive=off".parse::<Bind>().unwrap().to_string(), "fd:web,tls,keepalive=off");
        assert!("fd:3,backlog=7".parse::<Bind>().is_err());
        for bad in ["", "unix:", "fd:", ":x", "host", "127.0.0.1:99999", "no such host:80"] {
            assert!(bad.parse::<Bind>().is_err(), "{bad:?}");
        }
        for (bad, says) in [
            ("8080", "a port alone is written \":8080\""),
            ("127.0.0.1", "the port is missing"),
            ("::1", "the port is missing"),
            ("host", "the port is missing"),
            ("", "the port is missing"),
        ] {
            let refused = bad.parse::<Bind>().unwrap_err().to_string();
            assert!(refused.contains(&format!("to listen on: {says} (use")), "{refused}");
        }
    }

    #[test]
    fn options_stand_behind_the_address() {
        for text in ["127.0.0.1:8443,tls", ":443,tls", "localhost:443,tls", "unix:/run/x.sock,tls"] {
            let bind: Bind = text.parse().unwrap();
            assert!(bind.options().tls && !matches!(bind.place(), Bind::With(..)), "{text}");
            assert_eq!(bind.to_string(), text);
            assert_eq!(bind.with_tls().to_string(), text, "once is enough");
        }
        assert!(!":80".parse::<Bind>().unwrap().options().tls);
        let refused = |text: &str| text.parse::<Bind>().unwrap_err().to_string();
        assert_eq!(
            refused("unix:/run/a,b"),
            "\"unix:/run/a,b\" is no address to listen on: there is no option \"b\", only tls, proxy, mode=0660, group=NAME, \
             backlog=N, keepalive=TIME or off, user-timeout=TIME (use HOST:PORT, unix:PATH or fd:NAME)"
        );
        assert!(refused(":80,").contains("there is no option \"\""));
        assert!(refused(":80,tls,x").contains("there is no option \"x\""));
        for text in [":80,proxy", ":443,tls,proxy", "unix:/run/x.sock,proxy"] {
            let bind: Bind = text.parse().unwrap();
            assert!(bind.options().proxy && bind.options().tls == text.contains("tls"), "{text}");
            assert_eq!(bind.with_proxy_protocol().to_string(), text);
        }
        assert_eq!(":443,proxy,tls,proxy".parse::<Bind>().unwrap().to_string(), ":443,tls,proxy");
        let comma = Bind::Unix("/run/a,b".into()).with_tls();
        assert!(matches!(comma.place(), Bind::Unix(path) if path.as_os_str() == "/run/a,b"));
    }

    #[test]
    fn an_option_is_for_a_place_that_has_it() {
        for (text, says) in [
            (":80,mode=0660", "mode is for Unix-domain sockets (unix:PATH)"),
            ("127.0.0.1:80,tls,group=www", "group is for Unix-domain sockets (unix:PATH)"),
            ("unix:/run/x,keepalive=off", "keepalive is for TCP"),
            ("unix:/run/x,user-timeout=1s", "user-timeout is for TCP"),
        ] {
            let refused = text.parse::<Bind>().unwrap_err().to_string();
            assert_eq!(
                refused,
                format!("\"{text}\" is no address to listen on: {says} (use HOST:PORT, unix:PATH or fd:NAME)")
            );
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let inherited = Bind::from(listener).named("descriptor 3");
        assert!(inherited.clone().with_keep_alive(KeepAlive::Off).check().is_ok());
        assert_eq!(
            inherited.with_backlog(1).check().unwrap_err().to_string(),
            "binds: descriptor 3,backlog=1: backlog is for whoever made the inherited socket to set"
        );
        let refused = Bind::Unix("/run/x".into()).with_mode(0o1777).check().unwrap_err().to_string();
        assert_eq!(refused, "binds: unix:/run/x,mode=1777: mode is more than 0777");
    }

    #[test]
    fn what_is_said_later_comes_first() {
        let bind: Bind = "unix:/run/x,mode=0660,group=a".parse().unwrap();
        let bind = bind.with_group("b").with_tls();
        assert_eq!(bind.to_string(), "unix:/run/x,tls,mode=0660,group=b");
        let options = bind.options();
        let copied = Bind::Unix("/run/y".into()).with_options(options.clone());
        assert_eq!(copied.options(), options);
        assert_eq!(copied.options().once_bound().to_string(), ",tls");
    }

    #[test]
    fn an_inherited_listener_can_have_tls() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(Bind::from(listener).with_tls().named("descriptor 3").to_string(), "descriptor 3,tls");
    }
}
