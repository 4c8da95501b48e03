//! Applications of `adapter-core` behind a web server, by the protocols that gateways speak: FastCGI and SCGI.
//!
//! The web server has the client's socket, TLS and HTTP; it says by variables in the manner of CGI (RFC 3875) what was asked, and the application
//! sees the same [`Request`](adapter_core::Request) and [`Environ`](adapter_core::Environ) as everywhere: the client's address, the scheme, the target as it was
//! sent. [`Variables`] has the rest, such as `REMOTE_USER`. The servers are [`FastCgiServer`] and [`ScgiServer`]; they wait with the threads of
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
//! server's doing: by FastCGI ours sends what is no record, which nginx, Apache httpd and lighttpd take for an error.
//!
//! # Whom to trust
//! Whoever can connect says what it likes, the client's address included: bind a Unix-domain socket, or an address that only the web server reaches.

mod answer;
mod body;
mod connection;
mod fastcgi;
mod framing;
mod scgi;
mod server;
mod variables;
mod wire;

pub use self::server::{FastCgiServer, ScgiServer};
pub use self::variables::Variables;
