//! What a listener tells the kernel of its connections: how many may wait, and when a client is given up that is silent or
//! acknowledges nothing.
//!
//! Set on the listening socket, from which accepted ones have it: on Linux, and on most others for keep-alive.

use std::io;
use std::time::Duration;

use adapter_core::server::{BindOptions, KeepAlive};
use socket2::{SockRef, TcpKeepalive};

use super::BACKLOG;

/// Octets that the kernel takes at most of a connection ahead of what it may send. Enough for 3 GB/s to a client on the same machine.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT: u32 = 512 * 1024;

/// What of [`BindOptions`] is the kernel's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuning {
    pub(super) backlog: i32,
    keep_alive: KeepAlive,
    user_timeout: Option<Duration>,
}

impl From<&BindOptions> for Tuning {
    fn from(options: &BindOptions) -> Self {
        Tuning {
            backlog: options.backlog.and_then(|backlog| i32::try_from(backlog).ok()).unwrap_or(BACKLOG),
            keep_alive: options.keep_alive.unwrap_or(KeepAlive::DEFAULT),
            user_timeout: options.user_timeout,
        }
    }
}

impl Tuning {
    /// Tells it to a socket of TCP.
    pub(super) fn apply(self, socket: &SockRef<'_>) -> io::Result<()> {
        match (self.keep_alive, self.keep_alive.interval()) {
            (KeepAlive::After(silence), Some(interval)) => {
                let asked = TcpKeepalive::new().with_time(silence);
                #[cfg(not(any(target_os = "openbsd", target_os = "haiku")))]
                let asked = asked.with_interval(interval).with_retries(KeepAlive::PROBES);
                socket.set_tcp_keepalive(&asked)?;
            }
            _ => socket.set_keepalive(false)?,
        }
        match self.user_timeout {
            Some(timeout) => set_user_timeout(socket, timeout),
            None => Ok(()),
        }
    }
}

/// Without a bound the kernel makes more and more room for a client that takes nothing, up to 4 MiB: each time it has asked that
/// client in vain. To the server it looks as if the client took something. \[LIM-06\]
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn bound_unsent(socket: &SockRef<'_>) {
    // Whoever made an inherited one may know better.
    if socket.tcp_notsent_lowat().is_ok_and(|bound| bound == 0) {
        // What does not know it has no bound.
        let _ = socket.set_tcp_notsent_lowat(UNSENT);
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn bound_unsent(_: &SockRef<'_>) {}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_user_timeout(socket: &SockRef<'_>, timeout: Duration) -> io::Result<()> {
    socket.set_tcp_user_timeout(Some(timeout))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_user_timeout(_: &SockRef<'_>, _: Duration) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this operating system has no user-timeout"))
}

/// Lets what was sent on a connection, and not acknowledged, stay for `limit` at most, for it is about to be closed. A shorter
/// `user-timeout` of its listener stays. Where there is no such thing, as on Unix-domain sockets, nothing is done.
pub fn limit_unsent<'s>(socket: impl Into<SockRef<'s>>, limit: Duration) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let socket = socket.into();
        // Zero would be the kernel's default.
        let limit = limit.max(Duration::from_millis(1));
        let least = match socket.tcp_user_timeout() {
            Ok(Some(own)) => own.min(limit),
            _ => limit,
        };
        let _ = socket.set_tcp_user_timeout(Some(least));
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (socket, limit);
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use adapter_core::server::Bind;

    use super::super::{ListenSocket, Listener, bind_all};
    use super::*;

    fn accepted(listener: Listener) -> (TcpStream, TcpStream) {
        let (ListenSocket::Tcp(socket), addr, _) = listener.into_parts() else { unreachable!() };
        let client = TcpStream::connect(addr.tcp().unwrap()).unwrap();
        socket.set_nonblocking(false).unwrap();
        (socket.accept().unwrap().0, client)
    }

    fn bind(text: &str) -> Listener {
        bind_all(&[text.parse().unwrap()], true).unwrap().remove(0)
    }

    /// Whether it is asked for, after which time, how often, and how many times.
    fn asked(socket: &TcpStream) -> (bool, u64, u64, u32) {
        let socket = SockRef::from(socket);
        let time = socket.tcp_keepalive_time().unwrap().as_secs();
        let interval = socket.tcp_keepalive_interval().unwrap().as_secs();
        (socket.keepalive().unwrap(), time, interval, socket.tcp_keepalive_retries().unwrap())
    }

    #[test]
    fn accepted_ones_have_what_the_listener_has() {
        let (socket, _client) = accepted(bind("127.0.0.1:0"));
        assert_eq!(asked(&socket), (true, 60, 15, 4));
        assert_eq!(SockRef::from(&socket).tcp_user_timeout().unwrap(), None);
        assert_eq!(SockRef::from(&socket).tcp_notsent_lowat().unwrap(), UNSENT);
        let listener = bind("127.0.0.1:0,keepalive=8s,user-timeout=2500ms");
        let sibling = listener.sibling().unwrap();
        // It would get every other client.
        drop(listener);
        let (socket, _client) = accepted(sibling);
        assert_eq!(asked(&socket), (true, 8, 2, 4));
        assert_eq!(SockRef::from(&socket).tcp_user_timeout().unwrap(), Some(Duration::from_millis(2500)));
        for off in ["127.0.0.1:0,keepalive=off", "localhost:0,keepalive=off", ":0,keepalive=off"] {
            assert!(!asked(&accepted(bind(off)).0).0, "{off}");
        }
    }

    #[test]
    fn inherited_ones_are_told_too() {
        let own = || TcpListener::bind("127.0.0.1:0").unwrap();
        let inherited = bind_all(&[Bind::from(own())], false).unwrap().remove(0);
        assert_eq!(asked(&accepted(inherited).0), (true, 60, 15, 4));
        // Whoever made it knows better.
        let tuned = own();
        SockRef::from(&tuned).set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(7))).unwrap();
        SockRef::from(&tuned).set_tcp_notsent_lowat(1000).unwrap();
        let inherited = bind_all(&[Bind::from(tuned)], false).unwrap().remove(0);
        let (socket, _client) = accepted(inherited);
        assert_eq!((asked(&socket).1, SockRef::from(&socket).tcp_notsent_lowat().unwrap()), (7, 1000));
        let off = Bind::from(own()).with_keep_alive(KeepAlive::Off).with_user_timeout(Duration::from_secs(3));
        let (socket, _client) = accepted(bind_all(&[off], false).unwrap().remove(0));
        assert!(!asked(&socket).0);
        assert_eq!(SockRef::from(&socket).tcp_user_timeout().unwrap(), Some(Duration::from_secs(3)));
    }

    #[test]
    fn the_shorter_limit_stays() {
        let (socket, _client) = accepted(bind("127.0.0.1:0,user-timeout=2s"));
        let now = || SockRef::from(&socket).tcp_user_timeout().unwrap();
        limit_unsent(&socket, Duration::from_secs(30));
        assert_eq!(now(), Some(Duration::from_secs(2)));
        limit_unsent(&socket, Duration::ZERO);
        assert_eq!(now(), Some(Duration::from_millis(1)));
        let (socket, _client) = accepted(bind("127.0.0.1:0"));
        limit_unsent(&socket, Duration::from_secs(30));
        assert_eq!(SockRef::from(&socket).tcp_user_timeout().unwrap(), Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_backlog_is_as_long_as_said() {
        let (ListenSocket::Tcp(listener), addr, _) = bind("127.0.0.1:0,backlog=1").into_parts() else { unreachable!() };
        let connect = || {
            let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            // In progress.
            let _ = client.connect(&addr.tcp().unwrap().into());
            client
        };
        let clients: Vec<_> = (0..8).map(|_| connect()).collect();
        // One more than it says is Linux' way.
        let queued = std::iter::from_fn(|| listener.accept().ok()).count();
        assert!(queued <= 2 && !clients.is_empty(), "{queued}");
    }
}
