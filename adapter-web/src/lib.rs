//! Write an HTTP application once, pick its server by name when it starts.
//!
//! This crate is what an application depends on: all of [`adapter_core`], the servers behind features, and a command
//! line that every program gets for free.
//!
//! ```no_run
#![doc = include_str!("../examples/hello.rs")]
//! ```
//!
//! ```text
//! $ hello --server actix --bind 127.0.0.1:8080 --bind unix:/run/hello.sock --access-log
//! adapter: actix 0.1.0 listening on http://127.0.0.1:8080
//! adapter: actix 0.1.0 listening on unix:/run/hello.sock
//! ```
//!
//! * [`serve`] is all a program without flags of its own needs.
//! * [`cli`] shares the command line with programs that have flags of their own, and turns every way to end into one
//!   line and an exit status.
//! * [`Launcher`] picks the server, honours inherited sockets and signals, and waits.
//! * [`registry`] knows the servers by name, for programs that want nothing of the above.
//! * `axum(router)`, with the feature `axum`, is what an axum program serves in place of `axum::serve`; `tokio::application`,
//!   with the feature `tokio`, brings tokio's libraries to the servers that do not run on tokio.
//! * [`access_log`] writes Common or Combined Log Format and gives each request a `tracing` span.
//!
//! Nothing here touches a request unless the access log is on.
//!
//! # Signals
//!
//! SIGTERM, SIGINT and SIGHUP (unless it was ignored from the start, as by `nohup`) drain: what is in flight completes
//! until `--timeout-graceful-shutdown`. Another one forces, a third kills; the same signal again within a second is the
//! one before, passed on by a terminal or a wrapper. Nobody has to read stdout or stderr for that.
//!
//! # Behind a proxy
//!
//! `--trusted-proxy` names who is believed, an address or `unix`, and `--forwarded` the fields it writes: `x-forwarded`
//! (the default, for nginx, HAProxy, Caddy and load balancers) or `forwarded` (RFC 7239). The other family is the
//! client's own and changes nothing. [`Environ::peer_addr`] is `None` where a proxy does not say who the client is.

pub mod access_log;
pub mod cli;
mod inherited;
mod launch;
mod output;
pub mod registry;
#[cfg(unix)]
mod signals;
mod stderr;

pub use adapter_core::*;

pub use self::access_log::AccessLog;
pub use self::cli::{Args, Exit};
pub use self::launch::{Launcher, run, serve};
pub use self::registry::servers;

/// The programs that others are compared with compile as they stand.
#[cfg(doctest)]
#[doc = include_str!("../../spec/COMPARE.md")]
struct Compared;
