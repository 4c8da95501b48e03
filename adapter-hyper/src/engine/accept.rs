//! The accept loop, the same on every runtime. \[ERR-06\], \[LIM-07\], \[SHU-01\]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use adapter_core::Runtime;
use adapter_core::server::{Guard, Listening, ShutdownLevel, Tracker};
use adapter_listen::{AcceptError, classify};

use super::{Accept, Connection, Engine};

/// How soon a full server looks again for a connection that is idle.
const ROOM: Duration = Duration::from_millis(100);

/// Accepts until the shutdown begins, then closes the listener. At most `Limits::connections` are served at once; one more is
/// accepted, for which a connection that is idle is closed (\[LIM-07\]), the next ones wait in the kernel's queue. `spawn` is called for each connection, here, and has its future run; it may not block.
/// Cancel safe: dropped, it closes the listener. Errors of accepting are logged and waited out.
pub fn accept<L: Accept, S: Fn(Connection)>(
    listener: L,
    engine: Arc<Engine>,
    tracker: Tracker,
    spawn: S,
) -> impl Future<Output = ()> + use<L, S> {
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
                match listener.accept().await {
                    Ok((io, peer)) => {
                        let guard = place(&engine, &tracker).await;
                        spawn(engine.connection(io, peer, listener.addr().clone(), guard));
                    }
                    Err(error) => pause(&runtime, &error).await,
                }
            }
        };
        let draining = async {
            shutdown.reached(ShutdownLevel::Draining).await;
        };
        futures_lite::future::or(draining, accepting).await;
    }
}

/// A place among the connections that are served, as soon as there is one.
async fn place(engine: &Engine, tracker: &Tracker) -> Guard {
    loop {
        let wait = async {
            if tracker.open() >= engine.limits.connections {
                engine.roster.make_room();
                engine.serving.runtime.sleep(ROOM).await;
            } else {
                std::future::pending::<()>().await;
            }
            None
        };
        let enter = async { Some(tracker.enter(engine.limits.connections).await) };
        if let Some(guard) = futures_lite::future::or(enter, wait).await {
            return guard;
        }
    }
}

/// \[ERR-06\] never ends the server
async fn pause(runtime: &Runtime, error: &io::Error) {
    if let AcceptError::Backoff(pause) = classify(error) {
        tracing::warn!(target: "adapter", %error, "can't accept; trying again");
        runtime.sleep(pause).await;
    }
}
