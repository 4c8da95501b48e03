//! WebSockets: RFC 6455 over any server that can hand a connection over, RFC 8441 over HTTP/2.
//!
//! ```
//! use adapter_core::websocket::{self, Upgrade};
//! use adapter_core::{Environ, Error, Request, Response};
//!
//! async fn echo(request: Request, environ: Environ) -> Result<Response, Error> {
//!     // what is no handshake, or a bad one, is answered 400, 426 or 501
//!     let upgrade = Upgrade::from_request(&request, &environ)?.protocols(["echo"]).max_message_bytes(64 * 1024);
//!     Ok(upgrade.accept(|mut socket| async move {
//!         while let Some(message) = socket.recv().await {
//!             socket.send(message?).await?;
//!         }
//!         Ok::<_, websocket::Error>(())
//!     })?)
//! }
//! # let answer = adapter_core::testing::Client::new(echo).get("/").send();
//! # assert_eq!((answer.status().as_u16(), answer.text().as_str()), (400, "Expected WebSocket request."));
//! ```
//!
//! The same in a blocking application; the handler holds a thread of the server's pool as long as it runs:
//!
//! ```
//! use adapter_core::websocket::{self, Upgrade};
//! use adapter_core::{Environ, Error, Request, blocking};
//!
//! let application = blocking(|request: Request<_>, environ: Environ| {
//!     Upgrade::from_request(&request, &environ)?.blocking_accept(|mut socket| {
//!         while let Some(message) = socket.recv() {
//!             let message = message?;
//!             socket.send(format!("Your message was: {}", message.as_text().unwrap_or("not text")))?;
//!         }
//!         Ok::<_, websocket::Error>(())
//!     }).map_err(Error::from)
//! });
//! # let answer = adapter_core::testing::Client::new(application).get("/").send();
//! # assert_eq!(answer.status(), 400);
//! ```
//!
//! One implementation for all servers, over [`upgrade`](crate::upgrade): a server needs nothing more to have it. Frames
//! are async-tungstenite's work; handshake, limits, times and the end are done here. A peer that breaks a rule is told
//! at the end of the frame that does, and of one that is too big at its header.
//!
//! Who runs: the handler, as a task or on a blocking thread, and a *keeper* that makes progress whatever the handler
//! does. The keeper shares the handler's task, or has one of its own beside a blocking handler or
//! [`Upgrade::accept_future`]. They share one lock, held for one turn at the socket.
//!
//! What is bounded: a message (1 MiB), what waits to be sent (1 MiB and one message), what is read ahead (one message
//! and 16 KiB), the time for a close (5 s), for the client to take something (60 s), and for it to be silent (twice the
//! ping interval of 30 s). [`Upgrade`] sets each; a message that comes compressed is bounded as it is when it is not.
//!
//! What it costs: an idle WebSocket holds a read buffer of 512 octets. After a large message it holds buffers as large, one
//! each way, until it is pinged for its silence; without pings, or if the client sends in fragments, until it ends.
//!
//! permessage-deflate (RFC 7692) is agreed on where the application asks for it, with `Upgrade::deflate` of the feature `deflate`.
//!
//! \[UPG-01\] to \[UPG-05\], \[UPG-07\] to \[UPG-15\], \[UPG-20\], \[UPG-22\] to \[UPG-26\]

mod accept;
mod blocking;
#[cfg(feature = "deflate")]
mod deflate;
#[cfg(not(feature = "deflate"))]
#[path = "no_deflate.rs"]
mod deflate;
mod handshake;
mod keeper;
mod link;
mod message;
mod meter;
mod options;
mod socket;
mod wakers;
mod whole;
mod wire;

#[cfg(test)]
mod tests;

pub use self::accept::{Accepted, Upgrade, Verdict};
pub use self::blocking::{BlockingReceiver, BlockingSender, BlockingWebSocket};
#[cfg(feature = "deflate")]
pub use self::deflate::Deflate;
pub use self::message::{Close, Error, Message, code};
pub use self::socket::{Receiver, Sender, WebSocket};
pub use crate::causes::HandshakeError;
