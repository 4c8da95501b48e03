//! TLS for the servers of this project, by rustls, without I/O.
//!
//! [`TlsConfig`] reads certificates; what it loads goes into [`ServerConfig::tls`](adapter_core::ServerConfig::tls), and
//! every server speaks TLS on the listeners marked for it, or on all. [`from_rustls`] takes a configuration of rustls' own
//! instead.
//!
//! * TLS 1.2 and 1.3; HTTP/2 by ALPN where the server has it. No renegotiation, no early data.
//! * The cryptography is the one of this crate's features, never the default of the process: `aws-lc-rs` (by default), `ring`.
//! * Two tickets a handshake; 1024 sessions are remembered for clients without tickets.
//!
//! A program that serves tests or development makes a certificate when it starts, by the feature `self-signed`:
//!
//! ```
//! # #[cfg(all(feature = "self-signed", any(feature = "aws-lc-rs", feature = "ring")))] {
//! use adapter_core::ServerConfig;
//! use adapter_tls::TlsConfig;
//!
//! let tls = TlsConfig::self_signed(["localhost"])?.load()?;
//! let config = ServerConfig::default().bind("127.0.0.1:8443,tls".parse()?).tls(tls);
//! config.validate()?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod acceptor;
mod certified;
mod config;
mod error;
mod pem;
mod provider;
mod resolver;
#[cfg(all(feature = "self-signed", any(feature = "aws-lc-rs", feature = "ring")))]
mod self_signed;
mod session;
mod settings;
mod words;

pub use rustls;

pub use self::config::{TlsConfig, from_rustls};
pub use self::error::LoadError;
pub use self::settings::{ClientAuth, MinVersion, ParseChoiceError};
