//! HTTP/1.1 without I/O, for servers that own their sockets: octets in, facts out, and back; and a whole connection on it.
//!
//! `adapter-threadpool`, `adapter-smol` and the suite's `examples/minimal_server.rs` are built on it. What may be said and what must
//! be refused is decided by [`adapter_core::rules`]; this crate turns it into octets.
//!
//! * [`head::parse`]: a request head, or why it is refused;
//! * [`body_decoder::Decoder`]: the octets of a request body, sized or chunked, and its trailers;
//! * [`encoder`]: response heads, chunks, trailers, informational responses;
//! * [`connection::Connection`]: a whole connection on all of it, for servers that want to write no state machine of their own:
//!   they bring a [`connection::Transport`].
//!
//! ```
//! use adapter_core::rules::response;
//! use adapter_core::{Body, Limits, Response};
//! use adapter_http1::{encoder, head};
//!
//! let input = b"GET /?x=1 HTTP/1.1\r\nHost: example.org\r\n\r\n";
//! let request = head::parse(input, &Limits::default()).unwrap().expect("the head is complete");
//! assert_eq!((request.length, request.parts.uri.path()), (input.len(), "/"));
//!
//! let (mut answer, body) = Response::new(Body::from("hello")).into_parts();
//! let plan = response::plan(&mut answer, body.len(), &request.facts).unwrap();
//! let mut out = Vec::new();
//! encoder::head(&mut out, &answer, &plan, request.facts.version, request.facts.is_head);
//! assert!(out.starts_with(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n"));
//! ```
//!
//! Pure functions and small state machines; nothing here blocks, panics on any input, or keeps what it was not told to
//! keep. Fuzzed (`fuzz/`, targets `head` and `chunked`).

pub mod body_decoder;
pub mod buffers;
pub mod connection;
pub mod encoder;
pub mod head;
mod names;
pub mod preface;
