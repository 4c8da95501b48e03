//! TCP: one address, all of a host, every interface.
//!
//! Whether a socket of IPv6 takes connections of IPv4 too is always said, so that it does not hang on a setting of the
//! system. Addresses that are refused for being in use are errors; those a machine does not have are left out where
//! others are there.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use adapter_core::server::{BindOptions, ListenAddr};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::tuning::{Tuning, bound_unsent};
use super::{ListenSocket, Listener};

/// How often another port is tried where the one the system chose is taken for another address of the same host.
const PORTS: usize = 32;

/// How a socket is bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// More sockets may be bound to the address.
    pub(super) reuse_port: bool,
    /// A socket of IPv6 takes no connections of IPv4.
    pub(super) only_v6: bool,
    /// What it and its connections are told.
    pub(super) tuning: Tuning,
}

/// One address.
pub(super) fn bind(addr: SocketAddr, options: Options) -> io::Result<Listener> {
    #[cfg(unix)]
    if options.reuse_port && addr.port() != 0 {
        // Checked first without it: SO_REUSEPORT would share the port with a stranger of the same user. It is bound
        // only, so that nobody can connect to what is closed again.
        drop(bound(addr, Options { reuse_port: false, ..options })?);
    }
    listen(addr, options)
}

/// Without asking whether somebody else has it.
pub(super) fn listen(addr: SocketAddr, options: Options) -> io::Result<Listener> {
    let socket = bound(addr, options)?;
    // Before the first connection can be made, which gets what the listener has.
    options.tuning.apply(&SockRef::from(&socket))?;
    bound_unsent(&SockRef::from(&socket));
    socket.listen(options.tuning.backlog)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from(socket);
    let addr = ListenAddr::Tcp(listener.local_addr()?);
    let shared = options.reuse_port.then_some(options);
    Ok(Listener { socket: ListenSocket::Tcp(listener), addr, shared, unlink: None, options: BindOptions::default() })
}

fn bound(addr: SocketAddr, options: Options) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(options.only_v6)?;
    }
    // [SHU-09] the port can be bound again while old connections are in TIME_WAIT
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(options.reuse_port)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// Every address of a host, with one port.
pub(super) fn bind_host(addrs: &[SocketAddr], reuse_port: bool, tuning: Tuning) -> io::Result<Vec<Listener>> {
    let mut tries = 0;
    loop {
        match bind_host_once(addrs, reuse_port, tuning) {
            // The port was chosen for the first address, and is taken on another.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < PORTS && chooses(addrs) => tries += 1,
            result => return result,
        }
    }
}

fn chooses(addrs: &[SocketAddr]) -> bool {
    addrs.iter().any(|addr| addr.port() == 0)
}

fn bind_host_once(addrs: &[SocketAddr], reuse_port: bool, tuning: Tuning) -> io::Result<Vec<Listener>> {
    let mut listeners: Vec<Listener> = Vec::new();
    let mut missing = None;
    for addr in addrs {
        let mut addr = *addr;
        if let Some(chosen) = listeners.first().and_then(|listener| listener.addr.tcp()) {
            addr.set_port(chosen.port());
        }
        // A name for both [::] and 0.0.0.0 is two sockets.
        let only_v6 = addr.ip().is_unspecified() && addrs.iter().any(SocketAddr::is_ipv4);
        let options = Options { reuse_port, only_v6, tuning };
        match bind(addr, options) {
            Ok(listener) => listeners.push(listener),
            Err(error) if is_not_here(&error) => {
                tracing::info!(target: "adapter", %addr, %error, "not listening on an address this machine does not have");
                missing = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

/// Every interface: one socket of IPv6 that takes connections of IPv4 too, or of IPv4 where that can't be had.
pub(super) fn bind_everywhere(port: u16, reuse_port: bool, tuning: Tuning) -> io::Result<Listener> {
    let options = Options { reuse_port, only_v6: false, tuning };
    match bind((Ipv6Addr::UNSPECIFIED, port).into(), options) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse && error.kind() != io::ErrorKind::PermissionDenied => {
            tracing::debug!(target: "adapter", %error, "no IPv6; listening by IPv4 alone");
            bind((Ipv4Addr::UNSPECIFIED, port).into(), options)
        }
        result => result,
    }
}

/// Whether the machine has no such address, or no such kind of address.
fn is_not_here(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) {
        return true;
    }
    error.kind() == io::ErrorKind::AddrNotAvailable
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, TcpStream};

    use adapter_core::server::Bind;

    use super::super::bind_all;
    use super::*;

    fn has_v6() -> bool {
        TcpListener::bind("[::1]:0").is_ok()
    }

    fn port(listener: &Listener) -> u16 {
        listener.addr().tcp().unwrap().port()
    }

    fn reaches(ip: &str, port: u16) -> bool {
        TcpStream::connect((ip.parse::<IpAddr>().unwrap(), port)).is_ok()
    }

    #[test]
    fn a_port_in_use_is_an_error_and_siblings_share_it() {
        let first = Listener::bind(&"127.0.0.1:0".parse().unwrap(), true).unwrap();
        let second = first.sibling().unwrap();
        assert_eq!(first.addr(), second.addr());
        let taken = first.addr().to_string().parse().unwrap();
        let error = Listener::bind(&taken, true).unwrap_err().to_string();
        assert!(error.starts_with("cannot listen on 127.0.0.1:"), "{error}");
    }

    #[test]
    fn a_host_is_all_of_its_addresses_with_one_port() {
        for reuse_port in [false, true] {
            // As localhost is where there are both families, whatever this machine's resolver says.
            let addrs = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
            let listeners = bind_all(&[Bind::Host { name: "localhost:0".into(), addrs }], reuse_port).unwrap();
            assert_eq!(listeners.len(), if has_v6() { 2 } else { 1 });
            let port = port(&listeners[0]);
            assert!(listeners.iter().all(|listener| listener.addr().tcp().unwrap().port() == port));
            assert!(reaches("127.0.0.1", port));
            assert!(!has_v6() || reaches("::1", port));
            assert!(listeners.iter().all(|listener| listener.sibling().is_ok() || !reuse_port));
        }
    }

    #[test]
    fn an_address_of_a_host_that_is_not_here_is_left_out_and_one_in_use_is_an_error() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = |addrs: &[SocketAddr]| [Bind::Host { name: "host:1".into(), addrs: addrs.to_vec() }];
        // TEST-NET-1: nobody's.
        let nobodys: SocketAddr = "192.0.2.1:0".parse().unwrap();
        assert_eq!(bind_all(&host(&[nobodys, "127.0.0.1:0".parse().unwrap()]), false).unwrap().len(), 1);
        assert!(bind_all(&host(&[nobodys]), false).unwrap_err().to_string().starts_with("cannot listen on host:1: "));
        assert!(bind_all(&host(&[taken.local_addr().unwrap()]), false).is_err());
    }

    #[test]
    fn a_port_alone_is_both_families() {
        for reuse_port in [false, true] {
            let listeners = bind_all(&[":0".parse().unwrap()], reuse_port).unwrap();
            let port = port(&listeners[0]);
            assert!(reaches("127.0.0.1", port));
            assert!(!has_v6() || reaches("::1", port));
            // The address as a whole is taken.
            assert!(bind_all(&[format!(":{port}").parse().unwrap()], reuse_port).is_err());
            assert!(bind_all(&[format!("0.0.0.0:{port}").parse().unwrap()], reuse_port).is_err());
        }
    }

    #[test]
    fn the_wildcards_of_both_families_can_be_named_together() {
        if !has_v6() {
            return;
        }
        for (reuse_port, swapped) in [(false, false), (false, true), (true, false), (true, true)] {
            let free = port(&bind_all(&[":0".parse().unwrap()], false).unwrap()[0]);
            let mut binds: [Bind; 2] =
                [format!("0.0.0.0:{free}").parse().unwrap(), format!("[::]:{free}").parse().unwrap()];
            if swapped {
                binds.reverse();
            }
            let listeners = bind_all(&binds, reuse_port).unwrap();
            assert_eq!(listeners.len(), 2);
            assert!(reaches("127.0.0.1", free) && reaches("::1", free));
            let siblings: Vec<_> = listeners.iter().map(Listener::sibling).collect();
            assert!(siblings.iter().all(Result::is_ok), "{siblings:?}");
        }
        let alone = bind_all(&["[::]:0".parse().unwrap()], false).unwrap();
        assert!(reaches("127.0.0.1", port(&alone[0])), "[::] alone takes IPv4 too");
    }
}
