//! The accept loop, the same on every runtime. \[ERR-06\], \[LIM-07\], \[SHU-01\]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use adapter_core::environ::Serving;
use adapter_core::server::{Guard, ListenAddr, Listening, ShutdownLevel, Tracker};
use adapter_core::tls::pump::Pump;
use adapter_listen::{AcceptError, BACKLOG, classify, complain};

use super::{Accept, Connection, Engine, Front, Secured, Transport};

/// Makes a connection of an accepted socket. The [`Engine`] does; a server with an HTTP/1.1 of its own does it beside the engine.
pub trait Connect<T>: Send + Sync + 'static {
    /// The future that is one connection.
    type Connection: Future<Output = ()> + Send + 'static;

    /// The connection that was accepted on `local`, and begins with `front`; `guard` is dropped with it. Must not block.
    fn connection(
        &self,
        io: T,
        peer: Option<SocketAddr>,
        local: ListenAddr,
        front: Front<'_>,
        guard: Guard,
    ) -> Self::Connection;
}

impl<T: Transport> Connect<T> for Arc<Engine> {
    type Connection = Connection;

    fn connection(
        &self,
        io: T,
        peer: Option<SocketAddr>,
        local: ListenAddr,
        front: Front<'_>,
        guard: Guard,
    ) -> Connection {
        let connection = match front.tls {
            None => Engine::connection(self, io, peer, local, guard),
            Some(tls) => {
                let pump = Pump::new(tls, self.http2_enabled, &self.handshakes);
                Engine::connection(self, Secured::new(io, Box::new(pump)), peer, local, guard)
            }
        };
        if front.proxy { connection.behind_proxy() } else { connection }
    }
}

/// Accepts for `engine` until the shutdown begins, then what the operating system has completed by then (\[SHU-13\]), and closes the
/// listener. `connect` makes the connections. At most `Limits::connections` are served at once; the next ones wait in the
/// kernel's queue, where another process that has room takes them, or a connection that is idle is closed for them (\[LIM-07\]). `spawn` is called for each connection,
/// here, and has its future run; it may not block. Cancel safe: dropped, it closes the listener. Errors of accepting are logged and waited out.
pub fn accept<L: Accept, C: Connect<L::Transport>, S: Fn(C::Connection)>(
    listener: L,
    engine: Arc<Engine>,
    connect: C,
    tracker: Tracker,
    spawn: S,
) -> impl Future<Output = ()> + use<L, C, S> {
    /// Dropped in this order: the socket is closed before it is counted as closed.
    struct Open<L> {
        listener: L,
        _counted: Listening,
    }
    // Counted here and not at the first poll, which a shutdown may precede.
    let open = Open { listener, _counted: tracker.listening() };
    async move {
        let open = open;
        let listener = &open.listener;
        let runtime = engine.serving.runtime.clone();
        let shutdown = engine.serving.shutdown.clone();
        let accepting = async {
            loop {
                let most = engine.limits.connections;
                match tracker.enter_with(most, listener.accept()).await {
                    Some(Ok(((io, peer), guard))) => {
                        spawn(connect.connection(io, peer, listener.addr().clone(), listener.front(), guard));
                    }
                    Some(Err(error)) => pause(&engine.serving, &error, listener.addr()).await,
                    None => engine.roster.room(&tracker, most, &runtime, || listener.is_awaited()).await,
                }
            }
        };
        let draining = async {
            shutdown.reached(ShutdownLevel::Draining).await;
        };
        // Each of several event loops has an accept loop.
        let beat = async {
            match &engine.serving.pulse {
                Some(pulse) => pulse.beat().await,
                None => std::future::pending().await,
            }
        };
        let accepting = futures_lite::future::or(beat, accepting);
        futures_lite::future::or(draining, accepting).await;
        // [SHU-13] no more than such a queue holds
        let queued = std::iter::from_fn(|| {
            let has_room = tracker.open() < engine.limits.connections;
            has_room.then(|| listener.accept_queued().ok()).flatten()
        });
        for (io, peer) in queued.take(BACKLOG as usize) {
            spawn(connect.connection(io, peer, listener.addr().clone(), listener.front(), tracker.add()));
        }
    }
}

/// \[ERR-06\] never ends the server
async fn pause(serving: &Serving, error: &io::Error, listener: &ListenAddr) {
    if let AcceptError::Backoff(pause) = classify(error) {
        complain(error, listener);
        serving.accept_failed(error);
        serving.runtime.sleep(pause).await;
    }
}
