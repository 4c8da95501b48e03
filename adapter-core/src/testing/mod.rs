//! An in-process client: drives an application with no socket, by the same rules as a server. \[TST-01\]
//!
//! A request goes the way it goes on every server: [`rules::request::check`](crate::rules::request::check),
//! [`rules::target::normalize`](crate::rules::target::normalize), [`dispatch::call`](crate::dispatch::call),
//! [`rules::response::prepare`](crate::rules::response::prepare), [`body::Exact`](crate::body::Exact). So HEAD, 204, a
//! wrong Content-Length, a bad Host, errors and panics come out as they do there; what needs a wire (head parsing,
//! chunk framing, connections that persist, timeouts of the network) is not here. A connection can be taken over, and a
//! WebSocket held on it, in memory: [`RequestBuilder::upgrade`], `RequestBuilder::websocket`.
//!
//! Who runs what: [`RequestBuilder::send`] polls the application on the calling thread, [`RequestBuilder::open`] on a
//! thread of its own, [`RequestBuilder::send_async`] where you poll it. By default those count as threads that must not block,
//! as on an event loop, so that blocking applications, iterators and files run on others; [`Client::on_threads`] makes it a
//! thread pool instead. One timer thread serves the whole process and wakes whoever sleeps.
//!
//! ```
//! use adapter_core::{Body, Environ, Error, Request, Response, testing::Client};
//!
//! async fn application(request: Request, _environ: Environ) -> Result<Response, Error> {
//!     Ok(Response::new(Body::from(format!("you asked for {}", request.uri().path()))))
//! }
//!
//! let client = Client::new(application);
//! let answer = client.get("/tea").header("accept", "text/plain").send();
//! assert_eq!(answer.status(), 200);
//! assert_eq!(answer.text(), "you asked for /tea");
//! assert_eq!(client.method("OPTIONS", "/tea#cup").send().status(), 400);
//! ```
//!
//! With the feature `testing` requests and answers know JSON, forms and queries, and a client keeps cookies and follows
//! redirects, where it is told to.
//!
//! # Tokio
//!
//! With the feature `tokio` every application has a tokio runtime here, as on a server that runs on tokio: in plain tests and
//! in `#[tokio::test]`. (On the servers that do not, an application needs `tokio::application` (feature `tokio`) around it; an axum
//! `Router` has that.) It is the test's own where the application is polled within that: by `send_async().await`, so that
//! tokio's paused clock works, and by `send()` in a runtime of several threads. In one of one thread, which stands still while
//! `send()` blocks, and by `open()`, it is another one: what is bound to the test's runtime, such as a pool of connections that
//! was opened there, is of no use to the application then, and `send_async` is the way.

mod answer;
mod client;
mod clock;
#[cfg(feature = "testing")]
mod content;
#[cfg(feature = "testing")]
mod cookies;
mod exchange;
mod open;
mod pipe;
#[cfg(feature = "testing")]
mod redirects;
mod upload;
#[cfg(feature = "websocket")]
mod websocket;

#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};

pub use self::answer::Answer;
pub use self::client::{Client, RequestBuilder};
pub use self::open::OpenAnswer;
#[cfg(all(test, any(feature = "axum", feature = "websocket")))]
pub(crate) use self::pipe::{Pipe, pipe};
pub use self::upload::{Upload, upload};
#[cfg(feature = "websocket")]
pub use self::websocket::WebSocket;

use crate::body::Body;
use crate::error::Error;

/// Pulls `body` to its end and gives all of its data. Blocks; trailers are left out.
///
/// # Errors
/// The body's own, whatever came before it.
///
/// ```
/// use adapter_core::{Body, testing::collect};
/// assert_eq!(collect(Body::from_iterator(["a", "", "b"])).unwrap(), "ab");
/// ```
pub fn collect(mut body: Body) -> Result<Bytes, Error> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.next_frame() {
        if let Ok(data) = frame?.into_data() {
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}
