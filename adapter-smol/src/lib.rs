//! The server `smol`: HTTP on async-executor and async-io, without tokio's runtime.
//!
//! * [`SmolServer`]: a server with threads of its own, to be picked by name.
//! * [`serve`], [`serve_on`]: for a program that runs smol already.
//!
//! HTTP/1.1, its limits, timeouts and shutdown are `adapter_http1::connection`'s; a client that begins with HTTP/2, or agrees on
//! it under TLS, is served by `adapter_hyper::engine`, as on `hyper` and `actix`. This crate brings sockets, tasks, timers and
//! threads. Applications may use whatever is built on async-io (`async-net`,
//! `async-process`, `smol`'s own types); those that want tokio's do not run here.
//!
//! ```
//! use adapter_core::{Body, DynApplication, Environ, Error, Request, Response, Server, ServerConfig};
//!
//! async fn hello(_request: Request, _environ: Environ) -> Result<Response, Error> {
//!     Ok(Response::new(Body::from("Hello, World!\n")))
//! }
//!
//! let config = ServerConfig::default().bind("127.0.0.1:0".parse()?);
//! let server = adapter_smol::SmolServer::new().start(DynApplication::new(hello), config)?;
//! println!("listening on {}", server.local_addrs()[0]);
//! server.stop()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Architecture: which threads exist and who wakes whom
//!
//! | thread | how many | does |
//! |---|---|---|
//! | `adapter-smol-main` | 1 | starts the others, runs the application's hooks, waits for the shutdown, ends last |
//! | `adapter-smol` | `threads`, one per core by default | run tasks: connections, listeners, handlers; when they have none, one of them waits for events and timers, the others sleep |
//! | `adapter-blocking` | 0 to `blocking_threads` | blocking applications, iterators and files; they come with the work and go after ten idle seconds |
//! | `async-io` | 1 in a process | belongs to the crate async-io, which starts it on first use and never ends it; drives the reactor when no other thread does |
//!
//! With [`serve`] there is neither of the first two: the thread that polls its future does their work.
//!
//! * All `adapter-smol` threads share one executor: a task that is woken goes into its queue, any thread takes it, and one
//!   that is busy has its tasks taken by the others. A handler that blocks holds one thread, not the connections that
//!   happen to live there. A thread each with its own listener and executor (as `actix` has it) saves a tenth of the
//!   system calls (2.04 a request for 2.35) and loses that.
//! * A socket has news: on Linux the kernel marks the server's epoll set, and that marks async-io's. The thread that waits there
//!   wakes one task of ours, which reads from the set whose tasks have news and wakes those. Elsewhere async-io has the
//!   sockets themselves, and that thread wakes the connection's task; that is 8.7 system calls
//!   a request with 32 clients where epoll has 2.6 (measured on Linux).
//! * A timer is due: the same thread wakes the task that waits for it.
//! * Blocking work is done: the `adapter-blocking` thread wakes the task that waits for it.
//! * A task is woken while all `adapter-smol` threads sleep: the one that waits for events is interrupted through
//!   async-io's eventfd, or a sleeping one is unparked.
//! * The shutdown: whoever triggers it wakes every connection's task and `adapter-smol-main`.
//!
//! Reads and writes are attempted first and wait for an event only when the kernel has nothing (more) to give or no room;
//! a read that does not fill the buffer has emptied the socket, so the next one waits without asking.

mod connection;
mod runtime;
mod serve;
mod server;
mod socket;
mod transport;

pub use adapter_listen::Listeners;

pub use self::serve::{serve, serve_on};
pub use self::server::{SmolServer, start};
pub use self::transport::Stream;
