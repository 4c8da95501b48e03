//! Accepting connections; run by the leader. \[ERR-06\], \[LIM-07\], \[SHU-01\]
//!
//! The poller tells of a listener until nobody waits there. One that tells of a client while the server is full, or that fails, is taken out of the
//! poller by itself; closing a connection brings the former back, a timer the latter. While a client waits at the limit,
//! the connections that have been idle for longest are asked to make room.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adapter_core::ListenAddr;
use adapter_core::sync::{self, Mutex};
use adapter_listen::{AcceptError, Listener, UnixPath, classify, complain};

use super::client::{Accepted, Client};
use super::poller::{Listening, Stream};
use super::{Engine, Tick, after, earlier, lock};

/// Connections accepted before others get their turn.
const AT_A_TIME: usize = 256;

/// How often that is done at the end.
const LAST_TIMES: usize = 16;

/// How often it is looked for one while a client waits.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Default)]
pub(crate) struct Acceptor(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    listeners: Vec<Entry>,
    closed: bool,
}

struct Entry {
    socket: Listening,
    addr: ListenAddr,
    /// Whether each connection must be asked for its local address.
    is_wildcard: bool,
    tls: bool,
    proxy: bool,
    watch: Watch,
    _unlink: Option<UnixPath>,
}

/// Whether the poller watches a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    Yes,
    /// Not until there is room: a client waits.
    NotWhileFull,
    /// Not until then: it has failed.
    NotUntil(Tick),
}

impl Entry {
    fn rest(&mut self, engine: &Engine, watch: Watch) {
        self.watch = watch;
        engine.poller.remove(&mut self.socket);
    }
}

/// Starts to accept. \[LIF-01\]
pub(crate) fn listen(engine: &Engine, listeners: Vec<Listener>) -> std::io::Result<()> {
    let mut inner = lock(&engine.acceptor.0);
    for listener in listeners {
        let (tls, proxy) = (listener.tls(), listener.proxy());
        let (socket, addr, unlink) = listener.into_parts();
        let is_wildcard = addr.tcp().is_some_and(|addr| addr.ip().is_unspecified());
        let mut socket = Listening::new(socket)?;
        engine.poller.listen(&mut socket, inner.listeners.len())?;
        inner.listeners.push(Entry { socket, addr, is_wildcard, tls, proxy, watch: Watch::Yes, _unlink: unlink });
    }
    Ok(())
}

/// Accepts what waits at the listeners of the bit set `which`. Run by the leader, and at the end.
pub(crate) fn accept(engine: &Arc<Engine>, which: u64) {
    let mut inner = lock(&engine.acceptor.0);
    let mut failed = Vec::new();
    let mut errors = Vec::new();
    let mut retry = 0;
    for (index, entry) in inner.listeners.iter_mut().enumerate().filter(|(n, _)| which & 1 << (*n).min(63) != 0) {
        let mut may_wait = true;
        for n in 0..AT_A_TIME {
            // [LIM-07] the next one waits in the backlog
            if engine.connections.is_full() {
                // If there is none, that is not known yet; as it is watched, it will be.
                if n == 0 {
                    // A connection that ends from the look at their number on finds this: it waits for the lock.
                    entry.rest(engine, Watch::NotWhileFull);
                    may_wait = false;
                }
                break;
            }
            match entry.socket.accept() {
                Ok((stream, peer)) => failed.extend(admit(engine, entry, stream, peer)),
                Err(error) => match classify(&error) {
                    AcceptError::WouldBlock => {
                        may_wait = false;
                        break;
                    }
                    AcceptError::Retry => {}
                    AcceptError::Backoff(wait) => {
                        // [ERR-06] this listener rests, the others do not
                        let until = after(engine.now(), Some(wait));
                        entry.rest(engine, Watch::NotUntil(until));
                        may_wait = false;
                        retry = earlier(retry, until);
                        errors.push((error, entry.addr.clone()));
                        break;
                    }
                },
            }
        }
        if may_wait && let Err(error) = engine.poller.tell_again(&mut entry.socket, index) {
            tracing::error!(target: "adapter", %error, "a listener could not be watched on");
        }
    }
    for (error, listener) in errors {
        complain(&error, &listener);
        engine.serving().accept_failed(&error);
    }
    drop(inner);
    for conn in failed {
        conn.abort();
    }
    if retry != 0 {
        // The leader runs this, so it need not be interrupted.
        let _ = engine.timers.arm_acceptor(retry);
    }
    make_room(engine);
}

/// Accepts again where the time has come, and looks again for room. Run by the leader.
pub(crate) fn on_timer(engine: &Arc<Engine>) {
    let now = engine.now();
    let mut inner = lock(&engine.acceptor.0);
    inner.resume(engine, |watch| matches!(watch, Watch::NotUntil(until) if until <= now));
    let rest = inner.listeners.iter().filter_map(|entry| match entry.watch {
        Watch::NotUntil(until) => Some(until),
        _ => None,
    });
    if let Some(next) = rest.min() {
        let _ = engine.timers.arm_acceptor(next);
    }
    drop(inner);
    make_room(engine);
}

/// There is room again.
pub(crate) fn resume(engine: &Engine) {
    lock(&engine.acceptor.0).resume(engine, |watch| watch == Watch::NotWhileFull);
}

/// \[LIM-07\] RFC 9112 §9.5: while a client waits at the limit, asks the longest-idle connection to make room. Run by the
/// leader, so by one thread at a time.
fn make_room(engine: &Engine) {
    let is_awaited = lock(&engine.acceptor.0).listeners.iter().any(|entry| entry.watch == Watch::NotWhileFull);
    if is_awaited {
        engine.roster.make_room(sync::now());
        // It may not come to it, because its next request has begun.
        let _ = engine.timers.arm_acceptor(after(engine.now(), Some(LOOK)));
    }
}

impl Inner {
    fn resume(&mut self, engine: &Engine, which: impl Fn(Watch) -> bool) {
        if self.closed {
            return;
        }
        for (index, entry) in self.listeners.iter_mut().enumerate().filter(|(_, entry)| which(entry.watch)) {
            entry.watch = Watch::Yes;
            if let Err(error) = engine.poller.listen(&mut entry.socket, index) {
                tracing::error!(target: "adapter", %error, "a listener could not be resumed");
            }
        }
    }
}

/// Accepts what the operating system has completed already, then closes the listeners for good. \[SHU-01\], \[SHU-13\]
pub(crate) fn close(engine: &Arc<Engine>) {
    // As long as it finds some: an operating system's queue has an end.
    for _ in 0..LAST_TIMES {
        let before = engine.connections.count();
        accept(engine, u64::MAX);
        if engine.connections.count() <= before {
            break;
        }
    }
    let mut inner = lock(&engine.acceptor.0);
    inner.closed = true;
    let mut listeners = std::mem::take(&mut inner.listeners);
    drop(inner);
    for entry in &mut listeners {
        engine.poller.remove(&mut entry.socket);
    }
}

/// Gives the connection back if it can't be served.
fn admit(engine: &Arc<Engine>, entry: &Entry, mut stream: Stream, peer: Option<SocketAddr>) -> Option<Arc<dyn Client>> {
    let local = if entry.is_wildcard {
        stream.local_addr().map_or_else(|| entry.addr.clone(), ListenAddr::Tcp)
    } else {
        entry.addr.clone()
    };
    let connect = engine.connect();
    let mut watched = Ok(());
    let conn = engine.connections.insert(|token| {
        // Events find the connection: they wait for the lock that is held here.
        watched = engine.poller.add(&mut stream, token);
        let stream = Arc::new(stream);
        connect(engine, Accepted { token, stream, peer, local, tls: entry.tls, proxy: entry.proxy })
    });
    if let Err(error) = watched {
        tracing::error!(target: "adapter", %error, "a connection could not be registered");
        return Some(conn);
    }
    None
}
