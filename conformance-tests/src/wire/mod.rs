//! A client that hides nothing: raw sockets with deadlines, and a strict reader of responses.
//!
//! Where the server has TLS, so has the client, and all that is said of octets here is said of plaintext.
//! Every operation gives up after [`patience`], so that no case can hang; every octet in and out is kept in a
//! [`Transcript`] for the report of a failure.

mod connection;
mod hpack;
pub mod http2;
mod response;
#[cfg(feature = "tls")]
mod secured;
mod stream;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
pub(crate) mod tls;
mod transcript;
mod unix;
pub mod websocket;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use self::connection::{Connection, Sending};
pub use self::response::{Framing, Head, Response};
pub use self::stream::Endpoint;
pub use self::tls::Client;
pub use self::transcript::{Direction, Exchange, Transcript};
pub(crate) use self::unix::ask_unix;

static PATIENCE: AtomicU64 = AtomicU64::new(15_000);

/// How long the client waits for anything before it calls it missing. Generous: it is no measure of a server.
pub fn patience() -> Duration {
    Duration::from_millis(PATIENCE.load(Ordering::Relaxed))
}

/// Changes [`patience`] for the whole process.
pub fn set_patience(patience: Duration) {
    PATIENCE.store(patience.as_millis() as u64, Ordering::Relaxed);
}
