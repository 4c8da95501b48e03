//! To and from [`tower_service::Service`]. Feature `tower`.
//!
//! [`application`] makes an [`Application`](crate::Application) of a service, such as an axum `Router`, so that it runs
//! on every server of this interface. [`service`] makes a service of an application, so that it mounts in anything that
//! speaks tower. Bodies stream both ways, trailers included.
//!
//! A program written for `axum::serve` finds more with `axum(router)` of the feature `axum`: tokio on every server,
//! `ConnectInfo`, the path below a mount prefix. [`application`] takes a service as it is.
//!
//! [`Host`] is the environment of an application in a foreign server, with the runtime that the program runs on.
//!
//! Both run wherever their caller polls them and spawn nothing; a service that blocks its thread blocks the server's.
//!
//! ```
//! use adapter_core::{Environ, testing::Client, tower};
//! use axum::{Extension, Router, routing::get};
//!
//! async fn server(Extension(environ): Extension<Environ>) -> String {
//!     format!("served by {}", environ.server().name)
//! }
//!
//! let router = Router::new().route("/", get(server));
//! let client = Client::new(tower::application(router));
//! assert_eq!(client.get("/").send().text(), "served by testing");
//! ```

mod from_service;
mod host;
mod into_service;
#[cfg(feature = "axum")]
mod router;

pub use self::from_service::{FromService, Unsync, application};
pub use self::host::Host;
pub use self::into_service::{ApplicationService, EnvironSource, ServiceBody, ServiceFuture, service};
#[cfg(feature = "axum")]
pub use self::router::axum;

/// The error type the tower world agrees on.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
