//! The application's startup and shutdown hooks, run on the pool with a time limit. \[LIF-01\] to \[LIF-08\]

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use adapter_core::contain::Contained;
use adapter_core::server::ShutdownLevel;
use adapter_core::{Application, Error, ServerInfo};
use futures_lite::future::or;

use super::Engine;

/// The result of a hook, when it comes.
pub(crate) type Outcome = Receiver<Result<(), Error>>;

/// The shutdown was triggered while the startup hook ran, which is dropped. \[LIF-10\]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

pub(crate) fn startup(engine: &Arc<Engine>, info: ServerInfo) -> Outcome {
    let application = engine.application.clone();
    let draining = engine.shutdown.reached(ShutdownLevel::Draining);
    let interrupted = async move {
        draining.await;
        Err(Error::new(Interrupted))
    };
    spawn(engine, or(async move { application.startup(&info).await }, interrupted))
}

pub(crate) fn shutdown(engine: &Arc<Engine>) -> Outcome {
    let application = engine.application.clone();
    spawn(engine, async move { application.shutdown().await })
}

fn spawn(engine: &Arc<Engine>, hook: impl Future<Output = Result<(), Error>> + Send + 'static) -> Outcome {
    let (sender, receiver) = sync_channel(1);
    engine.tasks.spawn(
        engine,
        Box::pin(async move {
            let result = Contained::new(hook).await.unwrap_or_else(|panic| Err(Error::new(panic)));
            // Nobody waits any more if it came too late.
            let _ = sender.send(result);
        }),
    );
    receiver
}
