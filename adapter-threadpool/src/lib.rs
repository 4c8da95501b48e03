//! A thread-pool HTTP/1.1 server.
#![doc = include_str!("../README.md")]

mod connection;
mod engine;
#[cfg(all(test, adapter_model))]
mod models;
mod server;

pub use self::server::ThreadPoolServer;
