//! The server side of the interface: what a server author implements, and what its user holds.
//!
//! `start` runs on the caller's thread and returns once the server accepts; the server's own threads do the rest.
//! Requirements: LIF, SHU, ENV-06, CON-06.

mod handle;
mod last;
pub(crate) mod lifecycle;
mod roster;

pub use self::handle::ServerHandle;
pub use self::last::LastReference;
pub use self::lifecycle::{Lifecycle, warn_of_blocking, warn_of_rest};
pub use self::roster::{Member, Roster, SPARED};
use crate::application::DynApplication;
pub use crate::config::{
    Believed, Bind, BindOptions, ForwardedAlso, ForwardedFields, InheritedListener, InheritedSocket, KeepAlive, Limits,
    ListenAddr, Network, ParseBindError, ParseForwardedAlsoError, ParseForwardedError, ParseTrustedProxyError,
    ServerConfig, Timeouts, TrustedProxy,
};
pub use crate::info::{Capabilities, Concurrency, ServerInfo};
pub use crate::pulse::Pulse;
pub use crate::serve_error::ServeError;
pub use crate::shutdown::{ShutdownLevel, ShutdownTrigger, ShutdownWatch};
pub use crate::threads::Threads;
pub use crate::tracker::{Guard, Listening, Tracker};

/// A server, object-safe so that it can be picked by name at run time.
///
/// What most servers need beside their sockets is here: [`Lifecycle`] (hooks, draining, deadline), [`Tracker`],
/// [`Threads`], [`dispatch`](crate::dispatch) and [`rules`](crate::rules). The crate
/// `adapter-http1` has the octets, `conformance-tests` says when you are done. `spec/IMPLEMENTING.md` in the repository
/// walks through a complete server.
pub trait Server: Send + Sync {
    /// Name, version, capabilities and concurrency model; no addresses yet.
    fn info(&self) -> ServerInfo;

    /// Refuses what [`start`](Self::start) would refuse of `config` before it binds, options of its own among it. Starts nothing and does not
    /// block. By default that is what [`ServerConfig::validate`] refuses.
    ///
    /// # Errors
    /// [`ServeError::Config`]: a setting this server can't follow (\[REG-03\]).
    fn check(&self, config: &ServerConfig) -> Result<(), ServeError> {
        config.validate()
    }

    /// Binds, runs [`Application::startup`](crate::Application::startup), then serves in the background.
    ///
    /// Blocks until the server accepts connections. After [`ServerHandle::wait`] returns nothing of it is left.
    ///
    /// # Errors
    /// Bind failure (\[SHU-11\]), a failing or late startup hook (\[LIF-02\]), a setting this server can't follow
    /// (\[REG-03\]).
    fn start(&self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError>;
}

impl<S: Server + ?Sized> Server for &S {
    fn info(&self) -> ServerInfo {
        (**self).info()
    }

    fn check(&self, config: &ServerConfig) -> Result<(), ServeError> {
        (**self).check(config)
    }

    fn start(&self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        (**self).start(application, config)
    }
}
