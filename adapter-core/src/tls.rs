//! TLS as servers see it: a session without I/O, who makes one for each connection, and what a request is told of it.
//!
//! Ciphertext goes in and out as octets, so that a session works over any socket. Nothing here knows a library for TLS:
//! `adapter-tls` implements [`Acceptor`] with rustls, a program may bring another. Requirements: ENV-01, ENV-12 and the chapter TLS.

mod handshakes;
pub mod pump;

use std::fmt;
use std::io::IoSlice;
use std::sync::Arc;

pub use self::handshakes::Handshakes;
use crate::error::Error;

/// Makes a session for each connection of a listener with TLS.
pub trait Acceptor: fmt::Debug + Send + Sync + 'static {
    /// A session for a connection that was accepted just now. `http2` says whether the server speaks HTTP/2 on it, so that `h2` may
    /// be agreed on by ALPN. Called on a thread that serves connections: must not block.
    fn accept(&self, http2: bool) -> Box<dyn Session>;

    /// Reads certificates and keys again, checks them, and uses them for connections that are accepted from now on. May block.
    ///
    /// # Errors
    /// They don't hold; what was used before goes on to be used. The error names the file, and what is wrong with it.
    fn reload(&self) -> Result<(), Error>;
}

/// TLS for a server, in a configuration. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tls(Arc<dyn Acceptor>);

impl Tls {
    /// TLS by `acceptor`.
    pub fn new(acceptor: impl Acceptor) -> Self {
        Tls(Arc::new(acceptor))
    }

    /// See [`Acceptor::accept`].
    pub fn accept(&self, http2: bool) -> Box<dyn Session> {
        self.0.accept(http2)
    }

    /// See [`Acceptor::reload`].
    ///
    /// # Errors
    /// As there.
    pub fn reload(&self) -> Result<(), Error> {
        self.0.reload()
    }
}

/// The server's side of one TLS connection, without I/O. None of it blocks or panics.
pub trait Session: Send + 'static {
    /// Takes ciphertext that came from the client, in whatever pieces it came, and says how many octets of it. Fewer than all where
    /// plaintext has to be [read](Self::read) first; none after the client's close_notify or an error.
    ///
    /// # Errors
    /// The client breaks the protocol, or there is nothing to agree on. The session is over; [`output`](Self::output) then has the alert
    /// for the client.
    fn receive(&mut self, ciphertext: &[u8]) -> Result<usize, TlsError>;

    /// Moves plaintext that was received into `buffer` and says how many octets; 0 is that there is none now.
    fn read(&mut self, buffer: &mut [u8]) -> usize;

    /// Whether [`read`](Self::read) would give something.
    fn has_plaintext(&self) -> bool;

    /// Encrypts plaintext for the client: appends to `ciphertext`, and says how many octets of `parts` it took. Only after the handshake.
    fn write(&mut self, parts: &[IoSlice<'_>], ciphertext: &mut Vec<u8>) -> usize;

    /// Appends what the session itself has to say: its part of the handshake, tickets, alerts, new keys. Asked after each
    /// [`receive`](Self::receive), also one that failed.
    fn output(&mut self, ciphertext: &mut Vec<u8>);

    /// Whether the handshake is still going on.
    fn is_handshaking(&self) -> bool;

    /// Appends close_notify: nothing more is written. RFC 8446 §6.1
    fn close(&mut self, ciphertext: &mut Vec<u8>);

    /// Whether the client has said close_notify, and all plaintext in front of it has been read.
    fn has_ended(&self) -> bool;

    /// What was agreed on; complete after the handshake.
    fn info(&self) -> TlsInfo;
}

/// Why a TLS session can't go on. For the log of whoever runs the server; a client is told by an alert.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct TlsError {
    reason: String,
    /// Nothing has come of the client.
    pub(crate) is_silence: bool,
}

impl TlsError {
    /// An error, for people.
    pub fn new(reason: impl Into<String>) -> Self {
        TlsError { reason: reason.into(), is_silence: false }
    }

    /// The client has left, and has said nothing: no handshake, and no fault. Health checks do that.
    pub(crate) fn silence() -> Self {
        TlsError { reason: "the client has left".into(), is_silence: true }
    }
}

/// Facts of a TLS session. \[ENV-12\]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// `TLSv1.3`, …
    pub protocol: Option<String>,
    /// The cipher suite, by the name of its registration (`TLS_AES_128_GCM_SHA256`).
    pub cipher_suite: Option<String>,
    /// The name the client asked for (SNI).
    pub server_name: Option<String>,
    /// The protocol negotiated by ALPN.
    pub alpn: Option<Vec<u8>>,
    /// Whether an earlier session was resumed, so that no certificates were exchanged.
    pub resumed: bool,
    /// The client's certificate chain, DER, its own first; empty if it has shown none.
    pub peer_certificates: Vec<Vec<u8>>,
}
