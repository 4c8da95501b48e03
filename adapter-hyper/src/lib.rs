//! Servers on hyper.
//!
//! * [`HyperServer`] (`hyper`): tokio's multi-thread runtime, one listener, work-stealing. Feature `tokio`.
//! * [`ActixServer`] (`actix`): one actix-rt arbiter per core, each with its own listener and single-thread runtime.
//!   Feature `actix`.
//! * [`serve`]: for a program that runs tokio already. Feature `tokio`.
//! * [`engine`]: hyper with all the rules, for a server on another runtime (`adapter-smol` is one).
//!
//! HTTP/1.1 with upgrades, and HTTP/2 by prior knowledge, or by ALPN under TLS. Threads: the runtime's own, plus a bounded pool for blocking
//! applications, iterators and files ([`blocking_pool`]), which is empty until something blocks.
//!
//! ```
//! use adapter_core::{Body, DynApplication, Environ, Error, Request, Response, Server, ServerConfig};
//!
//! async fn hello(_request: Request, _environ: Environ) -> Result<Response, Error> {
//!     Ok(Response::new(Body::from("Hello, World!\n")))
//! }
//!
//! # #[cfg(feature = "tokio")] {
//! let config = ServerConfig::default().bind("127.0.0.1:0".parse()?);
//! let server = adapter_hyper::HyperServer::new().start(DynApplication::new(hello), config)?;
//! println!("listening on {}", server.local_addrs()[0]);
//! server.stop()?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "actix")]
mod actix_server;
pub mod blocking_pool;
pub mod engine;
pub mod host;
#[cfg(feature = "tokio")]
mod tokio_server;

#[cfg(feature = "actix")]
pub use self::actix_server::ActixServer;
#[cfg(feature = "tokio")]
pub use self::tokio_server::{HyperServer, serve};

pub use adapter_listen::Listeners;

use adapter_core::Capabilities;

/// What every server on the engine can do.
pub fn capabilities() -> Capabilities {
    let mut can = Capabilities::none();
    can.websocket = true;
    can.upgrade = true;
    can.trailers = true;
    can.full_duplex = true;
    can.http2 = true;
    can.early_hints_http2 = true;
    can.tls = true;
    can.proxy_protocol = true;
    can.unix_socket = cfg!(unix);
    can
}
