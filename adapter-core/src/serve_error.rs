//! Why a server could not start, or did not stop well.

use std::io;

use crate::error::Error;

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
    #[error("unknown server {name:?}; known are: {}", known.join(", "))]
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
    /// The shutdown was triggered before the server had started (\[LIF-10\]).
    #[error("the server was stopped while it started")]
    Interrupted,
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
