//! A thread-pool HTTP/1.1 server with its own engine. Linux only.
#![doc = include_str!("../README.md")]

mod connection;
mod engine;
mod server;
mod wire;

pub use self::server::ThreadPoolServer;

/// The modules without I/O, for fuzz targets. Not part of the API.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::wire::{body_decoder, encoder, head};
}
