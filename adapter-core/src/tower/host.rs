//! What an application needs of a foreign server that mounts it: an environment, and a life.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::request;

use super::{ApplicationService, EnvironSource};
use crate::environ::{Connection, Environ, Serving};
use crate::runtime::Runtime;
use crate::server::{Lifecycle, ListenAddr, ServerConfig, ServerInfo, ShutdownTrigger};

/// The environment of an application that is mounted in a server of somebody else's, such as axum's own: for
/// [`service`](super::service). Clones are the same one.
///
/// The peer is what axum's `ConnectInfo<SocketAddr>` in a request says (feature `axum`; see axum's
/// `into_make_service_with_connect_info`), else unknown, which is `None`. Nobody's leaving can be seen from here, so that
/// [`Environ::disconnected`] never fires: the host drops the handler.
///
/// ```
/// # #[cfg(feature = "tokio")] {
/// use adapter_core::{Body, Environ, Error, Request, Response, tower};
/// use axum::Router;
///
/// async fn late(_request: Request, environ: Environ) -> Result<Response, Error> {
///     environ.runtime().sleep(std::time::Duration::from_millis(5)).await;
///     Ok(Response::new(Body::from("late")))
/// }
///
/// async fn program(stop: impl Future<Output = ()>) -> Result<(), Box<dyn std::error::Error>> {
///     let host = tower::Host::tokio();
///     let service = tower::service(late, host.clone());
///     let life = host.lifecycle(&service);
///     life.startup().await?;
///     let router: Router = Router::new().fallback_service(service);
///     // axum::serve(listener, router).with_graceful_shutdown(stop).await?;
///     # stop.await; drop(router);
///     host.trigger().trigger();
///     life.run().await?; // waits for what was spawned, then runs the shutdown hook
///     Ok(())
/// }
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
/// # runtime.block_on(program(async {})).unwrap();
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Host {
    serving: Arc<Serving>,
    local_addr: ListenAddr,
    config: Arc<ServerConfig>,
}

impl Host {
    /// With `runtime` for the application's time, tasks and threads, and the default configuration.
    pub fn new(runtime: Runtime) -> Self {
        Self::made(runtime, ServerConfig::default(), ListenAddr::Unix(Default::default()), ShutdownTrigger::new())
    }

    /// With the tokio runtime of the caller: see [`Runtime::tokio`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[cfg(feature = "tokio")]
    #[track_caller]
    pub fn tokio() -> Self {
        Self::new(Runtime::tokio(::tokio::runtime::Handle::current()))
    }

    fn made(runtime: Runtime, config: ServerConfig, local_addr: ListenAddr, shutdown: ShutdownTrigger) -> Self {
        let info =
            ServerInfo::new("tower", env!("CARGO_PKG_VERSION")).listening(vec![local_addr.clone()], runtime.clone());
        Host { serving: Serving::new(info, runtime, shutdown, &config), local_addr, config: Arc::new(config) }
    }

    /// With what of `config` is not the host's own to do: values, mount prefix, trusted proxies, and the time for hooks and
    /// for the end of what was spawned.
    #[must_use]
    pub fn configured(self, config: ServerConfig) -> Self {
        Self::made(self.serving.runtime.clone(), config, self.local_addr, self.serving.shutdown.clone())
    }

    /// With the address the host listens on. Default: none is known, told as a Unix-domain socket without a path.
    #[must_use]
    pub fn listening(self, local_addr: ListenAddr) -> Self {
        let (runtime, shutdown) = (self.serving.runtime.clone(), self.serving.shutdown.clone());
        Self::made(runtime, (*self.config).clone(), local_addr, shutdown)
    }

    /// What tells the application that the host is stopping.
    pub fn trigger(&self) -> ShutdownTrigger {
        self.serving.shutdown.clone()
    }

    /// The hooks of the application, and the wait for what it spawned: to be started before the host serves, and run when
    /// it has ended and the [`trigger`](Self::trigger) was used.
    pub fn lifecycle(&self, service: &ApplicationService) -> Lifecycle {
        Lifecycle::new(service.application().clone(), self.serving.clone(), &self.config)
    }
}

impl EnvironSource for Host {
    fn environ(&self, head: &request::Parts) -> Environ {
        let connection = Connection::new(self.serving.clone(), peer(head), self.local_addr.clone());
        Environ::new(Arc::new(connection), Instant::now()).with_forwarded(&head.headers)
    }
}

#[cfg(feature = "axum")]
fn peer(head: &request::Parts) -> Option<SocketAddr> {
    head.extensions.get::<::axum::extract::ConnectInfo<SocketAddr>>().map(|info| info.0)
}

#[cfg(not(feature = "axum"))]
fn peer(_head: &request::Parts) -> Option<SocketAddr> {
    None
}
