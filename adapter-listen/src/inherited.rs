//! Listeners made elsewhere: looked at before they are served, for what does not listen fails at every `accept`.

use std::io;

use adapter_core::server::{BindOptions, InheritedSocket, ListenAddr};
use socket2::{SockRef, Type};

use super::tuning::{Tuning, bound_unsent};
#[cfg(unix)]
use super::unix::unix_path_of;
use super::{ListenSocket, Listener};

/// Takes over a socket that listens. Its path, if it has one, is its owner's to unlink.
pub(super) fn listener(socket: InheritedSocket, options: &BindOptions) -> io::Result<Listener> {
    let (socket, addr) = match socket {
        InheritedSocket::Tcp(listener) => {
            let told = SockRef::from(&listener);
            check(&told)?;
            // Whoever made it and set keep-alive knows why, unless an option says otherwise.
            if options.of_tcp().is_some() || !told.keepalive()? {
                Tuning::from(options).apply(&told)?;
            }
            bound_unsent(&told);
            listener.set_nonblocking(true)?;
            let addr = ListenAddr::Tcp(listener.local_addr()?);
            (ListenSocket::Tcp(listener), addr)
        }
        #[cfg(unix)]
        InheritedSocket::Unix(listener) => {
            if let Some(option) = options.of_tcp() {
                let reason = format!("{option} is for TCP, and it is a Unix-domain socket");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
            }
            check(&SockRef::from(&listener))?;
            listener.set_nonblocking(true)?;
            let path = listener.local_addr()?.as_pathname().map(unix_path_of).unwrap_or_default();
            (ListenSocket::Unix(listener), ListenAddr::Unix(path))
        }
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "an unknown kind of listener")),
    };
    Ok(Listener { socket, addr, shared: None, unlink: None, options: BindOptions::default() })
}

/// An error unless the socket is of a stream and listens. `accept` would fail for ever, and look like lack of resources.
fn check(socket: &SockRef<'_>) -> io::Result<()> {
    if socket.r#type()? != Type::STREAM {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no stream socket"));
    }
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    if !socket.is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use adapter_core::server::Bind;
    use socket2::{Domain, Socket};

    use super::super::bind_all;

    #[test]
    fn what_does_not_listen_is_refused() {
        let bound = |kind| {
            let socket = Socket::new(Domain::IPV4, kind, None).unwrap();
            socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
            bind_all(&[Bind::from(TcpListener::from(socket))], false).unwrap_err().to_string()
        };
        assert_eq!(bound(socket2::Type::STREAM), "cannot listen on an inherited listener: it does not listen");
        assert_eq!(bound(socket2::Type::DGRAM), "cannot listen on an inherited listener: it is no stream socket");
        let named = bind_all(&["fd:3,tls".parse().unwrap()], false).unwrap_err().to_string();
        assert!(named.starts_with("binds: fd:3,tls is for programs that take"), "{named}");
        let listens = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(bind_all(&[Bind::from(listens)], false).unwrap().len(), 1);
    }
}
