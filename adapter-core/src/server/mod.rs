//! The server side of the interface: what a server author implements, and what its user holds.
//!
//! `start` runs on the caller's thread and returns once the server accepts; the server's own threads do the rest.
//! Requirements: LIF, SHU, ENV-06, CON-06.

mod bind;
mod config;
mod handle;
mod info;
mod last;
pub(crate) mod lifecycle;
mod proxies;
mod roster;
mod shutdown;
mod tracker;

use std::io;

pub use self::bind::{Bind, InheritedListener, InheritedSocket, ListenAddr, ParseBindError};
pub use self::config::{Limits, ServerConfig, Timeouts};
pub use self::handle::ServerHandle;
pub use self::info::{Capabilities, Concurrency, ServerInfo};
pub use self::last::LastReference;
pub use self::lifecycle::{Lifecycle, warn_of_rest};
pub use self::proxies::{ForwardedFields, ParseTrustedProxyError, TrustedProxy};
pub use self::roster::{Member, Roster};
pub use self::shutdown::{ShutdownLevel, ShutdownTrigger, ShutdownWatch};
pub use self::tracker::{Guard, Listening, Tracker};

use crate::application::DynApplication;
use crate::error::Error;

/// A server, object-safe so that it can be picked by name at run time.
///
/// What most servers need beside their sockets is here: [`Lifecycle`] (hooks, draining, deadline), [`Tracker`],
/// [`runtime::Threads`](crate::runtime::Threads), [`dispatch`](crate::dispatch) and [`rules`](crate::rules). The crate
/// `adapter-http1` has the octets, `conformance-tests` says when you are done. `spec/IMPLEMENTING.md` in the repository
/// walks through a complete server.
pub trait Server: Send + Sync {
    /// Name, version, capabilities and concurrency model; no addresses yet.
    fn info(&self) -> ServerInfo;

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

    fn start(&self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        (**self).start(application, config)
    }
}

/// Why a server could not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An address could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address, as configured.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A setting is unusable, or this server can't follow it.
    #[error("{setting}: {reason}")]
    Config {
        /// The setting's name.
        setting: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No server of that name.
    #[error("unknown server \"{name}\"; known are: {}", known.join(", "))]
    UnknownServer {
        /// The name asked for.
        name: String,
        /// The names that can be used.
        known: Vec<String>,
    },
    /// The application's startup hook failed; nothing was accepted.
    #[error("the application could not start: {0}")]
    Startup(Error),
    /// The application's startup or shutdown hook did not return in time (\[LIF-07\]).
    #[error("the application's {hook} hook did not return in time")]
    HookTimeout {
        /// `startup` or `shutdown`.
        hook: &'static str,
    },
    /// The application's shutdown hook failed.
    #[error("the application could not shut down: {0}")]
    Shutdown(Error),
    /// The server's own machinery (threads, event queue) failed.
    #[error("the server failed: {0}")]
    Io(#[from] io::Error),
}

impl ServeError {
    /// An unusable setting.
    pub fn config(setting: impl Into<String>, reason: impl Into<String>) -> Self {
        ServeError::Config { setting: setting.into(), reason: reason.into() }
    }
}
