//! The accept loop, the same on every runtime. \[ERR-06\], \[LIM-07\], \[SHU-01\]

use std::io;
use std::sync::Arc;

use adapter_core::Runtime;
use adapter_core::server::{Listening, ShutdownLevel, Tracker};
use adapter_listen::{AcceptError, classify};

use super::{Accept, Connection, Engine};

/// Accepts until the shutdown begins, then closes the listener. At most `Limits::connections` are open at once; the next
/// ones wait in the kernel's queue. `spawn` is called for each connection, here, and has its future run; it may not block.
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
                tracker.below(engine.limits.connections).await;
                match listener.accept().await {
                    Ok((io, peer)) => {
                        // Another listener may have taken the last place meanwhile: then this one waits here.
                        let guard = tracker.enter(engine.limits.connections).await;
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

/// \[ERR-06\] never ends the server
async fn pause(runtime: &Runtime, error: &io::Error) {
    if let AcceptError::Backoff(pause) = classify(error) {
        tracing::warn!(target: "adapter", %error, "can't accept; trying again");
        runtime.sleep(pause).await;
    }
}
