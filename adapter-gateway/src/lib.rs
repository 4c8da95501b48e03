//! Applications of `adapter-core` behind a web server, by the protocols that gateways speak: CGI, FastCGI, SCGI and uwsgi.
//!
//! The web server has the client's socket, TLS and HTTP; it says by variables in the manner of CGI (RFC 3875) what was asked, and the application
//! sees the same [`Request`](adapter_core::Request) and [`Environ`](adapter_core::Environ) as everywhere: the client's address, the scheme, the target as it was
//! sent. [`Variables`] has the rest, such as `REMOTE_USER`. The servers are [`FastCgiServer`], [`ScgiServer`] and [`UwsgiServer`],
//! and [`CgiServer`] for a process a request; they wait with the threads of
//! `adapter-smol`, so that a request that waits holds none.
//!
//! ```no_run
//! use adapter_core::{Bind, Body, Environ, Error, Request, Response, Server, ServerConfig};
//! use adapter_gateway::{FastCgiServer, Variables};
//!
//! async fn who(request: Request, environ: Environ) -> Result<Response, Error> {
//!     let user = request.extensions().get::<Variables>().and_then(|variables| variables.get("REMOTE_USER"));
//!     let user = String::from_utf8_lossy(user.unwrap_or(b"nobody")).into_owned();
//!     Ok(Response::new(Body::from(format!("{user} at {:?}\n", environ.peer_addr()))))
//! }
//!
//! let config = ServerConfig::default().bind("unix:/run/app.sock".parse::<Bind>()?);
//! FastCgiServer.start(adapter_core::DynApplication::new(who), config)?.wait()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a gateway can't do
//! Informational responses, trailers, upgrades and WebSockets do not pass. Whether a response that breaks off looks broken to the client is the web
//! server's doing. By FastCGI ours sends what is no record, which nginx, Apache httpd and HAProxy take for an error, lighttpd too where its client has the
//! head already, and Caddy not. By SCGI and uwsgi it resets its connection, where that is TCP; nginx shows that, and so does a length that was declared.
//! A chunked request body comes as it is sent by FastCGI through nginx and Caddy; the others need a length first, or answer 411 or 400.
//!
//! # Whom to trust
//! Whoever can connect says what it likes, the client's address included: bind a Unix-domain socket, or an address that only the web server reaches.

mod answer;
mod body;
#[cfg(unix)]
mod cgi;
mod connection;
mod counted;
mod fastcgi;
mod framing;
#[doc(hidden)]
pub mod heard;
mod scgi;
mod server;
mod uwsgi;
mod variables;
mod wire;

pub use self::server::{CgiServer, FastCgiServer, ScgiServer, UwsgiServer};
pub use self::variables::Variables;
