//! One small interface between HTTP applications and HTTP servers.
#![doc = include_str!("../README.md")]

mod answers;
mod application;
mod at_startup;
mod blocking;
pub mod body;
mod carried;
mod causes;
mod config;
pub mod contain;
pub mod dispatch;
pub mod environ;
mod error;
#[cfg(feature = "files")]
pub mod files;
#[cfg(any(feature = "axum", feature = "deflate"))]
mod frame_cursor;
pub mod hints;
mod info;
mod instead;
pub mod lint;
#[cfg(all(test, adapter_model))]
mod models;
pub mod observe;
pub mod proxy_protocol;
mod pulse;
pub mod refused;
mod rejection;
pub mod request_body;
pub mod rules;
pub mod runtime;
mod serve_error;
pub mod server;
mod shutdown;
pub mod signal;
#[doc(hidden)]
pub mod sync;
pub mod testing;
mod threads;
pub mod tls;
#[cfg(feature = "tokio")]
pub mod tokio;
#[cfg(feature = "tower")]
pub mod tower;
mod tracker;
pub mod upgrade;
#[cfg(feature = "websocket")]
pub mod websocket;

pub use bytes::Bytes;
pub use http;

pub use self::application::{Application, DynApplication, Request, Response};
#[cfg(feature = "axum")]
pub use self::at_startup::axum_at_startup;
pub use self::at_startup::{AtStartup, at_startup};
pub use self::blocking::{Blocking, blocking};
pub use self::body::{Body, BodySender, IntoChunk, Outcome, SendError};
pub use self::environ::{Environ, INTERFACE_VERSION};
pub use self::error::{Error, Fault};
pub use self::hints::{EarlyHints, HintError};
pub use self::request_body::{BlockingBody, RequestBody, RequestBodyError};
pub use self::runtime::{Elapsed, Interval, Runtime, Sleep, Task, TaskError, Timeout};
pub use self::server::{
    Bind, Capabilities, Concurrency, Limits, ListenAddr, ServeError, Server, ServerConfig, ServerHandle, ServerInfo,
    ShutdownTrigger, Timeouts,
};
#[cfg(feature = "axum")]
pub use self::tower::axum;
