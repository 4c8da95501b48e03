//! Accepting connections; run by the leader. \[ERR-06\], \[LIM-07\], \[SHU-01\]
//!
//! Listeners are level-triggered and taken out of the poller while the server is full or out of descriptors; closing a
//! connection, or a timer, brings them back.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use adapter_core::{ListenAddr, environ};
use adapter_listen::{AcceptError, ListenSocket, Listener, UnixPath, classify};
use rustix::net::{SocketFlags, acceptfrom_with, getsockname, sockopt};

use super::{Engine, after, lock};
use crate::connection::Conn;

/// Connections accepted before others get their turn.
const AT_A_TIME: usize = 256;

#[derive(Default)]
pub(crate) struct Acceptor(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    listeners: Vec<Entry>,
    paused: bool,
    closed: bool,
}

struct Entry {
    socket: ListenSocket,
    addr: ListenAddr,
    /// Whether each connection must be asked for its local address.
    is_wildcard: bool,
    _unlink: Option<UnixPath>,
}

impl Entry {
    fn fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            ListenSocket::Tcp(listener) => listener.as_fd(),
            ListenSocket::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Starts to accept. \[LIF-01\]
pub(crate) fn listen(engine: &Engine, listeners: Vec<Listener>) -> std::io::Result<()> {
    let mut inner = lock(&engine.acceptor.0);
    for listener in listeners {
        let (socket, addr, unlink) = listener.into_parts();
        let is_wildcard = addr.tcp().is_some_and(|addr| addr.ip().is_unspecified());
        let entry = Entry { socket, addr, is_wildcard, _unlink: unlink };
        if matches!(entry.socket, ListenSocket::Tcp(_)) {
            // Accepted sockets inherit it (Linux), which saves a call for each.
            sockopt::set_tcp_nodelay(entry.fd(), true)?;
        }
        engine.poller.add_listener(entry.fd(), inner.listeners.len())?;
        inner.listeners.push(entry);
    }
    Ok(())
}

/// Accepts what waits at the listeners of the bit set `which`.
pub(crate) fn accept(engine: &Arc<Engine>, which: u64) {
    let mut inner = lock(&engine.acceptor.0);
    let mut pause = None;
    let mut failed = Vec::new();
    'listeners: for (_, entry) in inner.listeners.iter().enumerate().filter(|(n, _)| which & 1 << (*n).min(63) != 0) {
        for _ in 0..AT_A_TIME {
            // [LIM-07] the next one waits in the backlog
            if engine.connections.is_full() {
                pause = Some(0);
                break 'listeners;
            }
            match acceptfrom_with(entry.fd(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((socket, peer)) => {
                    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                    failed.extend(admit(engine, entry, socket, peer));
                }
                Err(error) => match classify(&error.into()) {
                    AcceptError::WouldBlock => break,
                    AcceptError::Retry => {}
                    AcceptError::Backoff(wait) => {
                        tracing::warn!(target: "adapter", %error, "accepting is interrupted");
                        pause = Some(after(engine.now(), Some(wait)));
                        break 'listeners;
                    }
                },
            }
        }
    }
    if pause.is_some() {
        // A connection that ends from the look at their number on finds this, because it waits for the lock.
        inner.paused = true;
        for entry in &inner.listeners {
            engine.poller.remove(entry.fd());
        }
    }
    drop(inner);
    for conn in failed {
        conn.abort();
    }
    if let Some(until) = pause
        && until > 0
    {
        // The leader runs this, so it need not be interrupted.
        let _ = engine.timers.arm_acceptor(until);
    }
}

/// Accepts again after a pause.
pub(crate) fn resume(engine: &Engine) {
    let mut inner = lock(&engine.acceptor.0);
    if std::mem::take(&mut inner.paused) && !inner.closed {
        for (index, entry) in inner.listeners.iter().enumerate() {
            if let Err(error) = engine.poller.add_listener(entry.fd(), index) {
                tracing::error!(target: "adapter", %error, "a listener could not be resumed");
            }
        }
    }
}

/// Closes the listeners for good. \[SHU-01\]
pub(crate) fn close(engine: &Engine) {
    let mut inner = lock(&engine.acceptor.0);
    inner.closed = true;
    let listeners = std::mem::take(&mut inner.listeners);
    for entry in &listeners {
        engine.poller.remove(entry.fd());
    }
}

/// Gives the connection back if it can't be served.
fn admit(engine: &Arc<Engine>, entry: &Entry, socket: OwnedFd, peer: Option<SocketAddr>) -> Option<Arc<Conn>> {
    let local = if entry.is_wildcard {
        match getsockname(&socket).ok().and_then(|addr| SocketAddr::try_from(addr).ok()) {
            Some(addr) => ListenAddr::Tcp(unmapped(addr)),
            None => entry.addr.clone(),
        }
    } else {
        entry.addr.clone()
    };
    let environ = Arc::new(environ::Connection::new(engine.serving().clone(), peer.map(unmapped), local));
    let now = engine.now();
    let deadline = after(now, engine.settings.timeouts.header_read);
    let socket = Arc::new(socket);
    let conn = engine.connections.insert(|token| Conn::new(engine.clone(), token, socket.clone(), environ, now));
    // After this line events may come.
    if let Err(error) = engine.poller.add_connection(&*socket, conn.token()) {
        tracing::error!(target: "adapter", %error, "a connection could not be registered");
        return Some(conn);
    }
    conn.arm(deadline);
    None
}

/// An IPv4 client of a dual-stack listener has an IPv4 address.
fn unmapped(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(ip.into(), addr.port()),
            None => addr,
        },
        IpAddr::V4(_) => addr,
    }
}
