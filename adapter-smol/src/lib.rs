//! The server `smol`.

mod readiness;
mod receive;
mod runtime;
mod server;
mod transport;

pub use self::server::{SmolServer, serve};
