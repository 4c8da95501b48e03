//! Taking a connection over: after a 101 it is the application's, as a stream of octets both ways.
//!
//! # For applications
//!
//! [`Environ::upgrade`](crate::Environ::upgrade) takes the connection, once, as an [`OnUpgrade`]: a future of the
//! stream, ready when the response head is on its way. Spawn a task that awaits it, return the 101 (a 2xx to CONNECT,
//! extended CONNECT over HTTP/2 included). Any other response keeps the connection HTTP, and the future fails.
//!
//! ```
//! use adapter_core::http::{StatusCode, header};
//! use adapter_core::{Body, Environ, Error, Request, Response};
//! use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};
//!
//! async fn echo(_request: Request, environ: Environ) -> Result<Response, Error> {
//!     let upgrade = environ.upgrade()?; // answers 400, or 501 where the server can't
//!     environ.runtime().spawn(async move {
//!         let mut stream = upgrade.await?;
//!         let mut octets = [0; 1024];
//!         loop {
//!             match stream.read(&mut octets).await? {
//!                 0 => return Ok::<_, Error>(()), // dropping the stream closes the connection
//!                 count => stream.write_all(&octets[..count]).await?,
//!             }
//!         }
//!     }).detach();
//!     let mut response = Response::new(Body::empty());
//!     *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
//!     response.headers_mut().insert(header::UPGRADE, "echo".parse()?);
//!     Ok(response)
//! }
//! # let client = adapter_core::testing::Client::new(echo);
//! # assert_eq!(client.get("/").send().status(), 400);
//! # let asking = client.get("/").header("connection", "upgrade").header("upgrade", "echo");
//! # let (head, stream) = asking.upgrade().unwrap();
//! # assert_eq!(head.status, 101);
//! # let mut stream = stream.into_blocking();
//! # std::io::Write::write_all(&mut stream, b"hello")?;
//! # let mut octets = [0; 5];
//! # std::io::Read::read_exact(&mut stream, &mut octets)?;
//! # assert_eq!(&octets, b"hello");
//! # Ok::<_, std::io::Error>(())
//! ```
//!
//! Blocking code takes it the same way and uses [`OnUpgrade::wait`], [`Upgraded::into_blocking`] and
//! [`Upgraded::split`] for a reader and a writer on two threads.
//!
//! A stream counts as a connection: a graceful shutdown waits for it until its deadline and then closes it under the
//! application, whose reads and writes fail. [`Environ::shutting_down`](crate::Environ::shutting_down) tells in time.
//! None of the HTTP timeouts hold for it.
//!
//! # For server authors
//!
//! 1. Where a request may be upgraded (`rules::request::Facts::upgrade`, or CONNECT) and has no body, make a
//!    [`channel`]: put the [`Offer`] into the environ with [`Environ::with_upgrade`](crate::Environ::with_upgrade), keep
//!    the [`Handover`]. Declare the capabilities `upgrade` and `websocket`.
//! 2. When the application has answered, ask [`rules::response::prepare`](crate::rules::response::prepare) as ever.
//!    Unless the response [`switches`], drop the `Handover`; the connection goes on.
//! 3. If it does: write the head and nothing else (\[UPG-18\]), drop the body unpulled, hand everything to the operating
//!    system. Then, if [`Handover::is_taken`], make the stream with [`Upgraded::new`] from your socket and all octets
//!    read behind the request (\[UPG-16\]), give it to [`Handover::complete`], and stop every timeout (\[UPG-23a\]).
//!    Nobody took it: close.
//! 4. Keep the [`Tether`] that came with the stream where the connection is counted. It is ready when the application
//!    has dropped the stream: the connection is over then, and its disconnect signal fires. Drop the tether at the forced
//!    shutdown: that takes the socket away from the application and closes it. Do nothing at the graceful one.
//!
//! The socket is polled by whoever polls the stream, with at most one waker for reading and one for writing at a time;
//! dropping it must close it. One lock a poll, contended only where reader and writer are two threads.
//!
//! \[UPG-06\], \[UPG-16\] to \[UPG-19\], \[UPG-23a\], \[UPG-25\]

mod blocking;
mod offer;
mod stream;

#[cfg(all(test, adapter_model))]
mod models;
#[cfg(test)]
#[cfg(not(adapter_model))]
mod tests;

use http::StatusCode;

pub use self::blocking::Blocking;
pub use self::offer::{Handover, Offer, OnUpgrade, channel};
pub use self::stream::{ReadHalf, Tether, Upgraded, WriteHalf};
pub use crate::causes::UpgradeError;
use crate::rules::request::Facts;

/// Whether a response with `status` to the request of `facts` hands the connection over. For servers.
///
/// 101 to a request that asked for an upgrade (RFC 9110 §15.2.2), 2xx to CONNECT (§9.3.6).
pub fn switches(status: StatusCode, facts: &Facts) -> bool {
    (status == StatusCode::SWITCHING_PROTOCOLS && facts.upgrade) || (status.is_success() && facts.is_connect)
}
