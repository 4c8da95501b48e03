//! The load generator. Each kind of load is one file; all of them check every response they read.

pub mod crowd;
pub mod exchange;
pub mod response;
pub mod room;
pub mod slow;
pub mod steady;

/// The body that `GET /` must answer with.
pub const HELLO: &str = "Hello, World!";

/// A GET request for `target`.
pub fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}
