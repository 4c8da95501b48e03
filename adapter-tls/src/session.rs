//! One connection's TLS, on rustls' buffered API. What rustls 0.24 changes of that is to be changed in this file alone.
//!
//! Runs on whichever thread serves the connection; nothing blocks. Until the client's first message is whole there is an
//! `Acceptor`, so that the configuration is the one in force by then. rustls holds no output: what it makes is moved to the
//! caller at once. An idle session is rustls' state and 4 KiB. Requirements: ENV-12.
//!
//! One rule for client certificates holds for all names, so a request whose host is not the connection's SNI gets around
//! nothing, and is not to be answered 421. RFC 9110 §15.5.20

use std::io::{IoSlice, Read as _, Write as _};
use std::sync::Arc;

use adapter_core::tls::{Session, TlsError, TlsInfo};
use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection};

use crate::words;

/// Plaintext that is kept until it is read; beyond it rustls refuses input.
const PLAINTEXT: usize = 16 * 1024;

/// Gives the configuration for a client whose first message is there.
pub(crate) type Configure = Box<dyn FnOnce() -> Arc<ServerConfig> + Send>;

pub(crate) struct RustlsSession {
    state: State,
    /// What an `Acceptor` had to say at its end.
    alert: Vec<u8>,
    /// Plaintext that waits to be read.
    unread: usize,
    /// The client has said close_notify.
    peer_closed: bool,
    /// Nothing more is encrypted: close_notify or an alert was said.
    closed: bool,
    /// It broke.
    failed: bool,
}

enum State {
    /// The client's first message is not whole yet.
    Waiting(Acceptor, Configure),
    Connected(ServerConnection),
    /// It failed before there was a connection.
    Refused,
}

impl RustlsSession {
    pub(crate) fn new(configure: Configure) -> Self {
        let state = State::Waiting(Acceptor::default(), configure);
        RustlsSession { state, alert: Vec::new(), unread: 0, peer_closed: false, closed: false, failed: false }
    }

    /// Takes some octets in, at most those of one read of rustls', and says how many; 0 where plaintext has to be read first.
    fn take(&mut self, mut ciphertext: &[u8]) -> Result<usize, TlsError> {
        let before = ciphertext.len();
        match &mut self.state {
            State::Waiting(acceptor, _) => {
                acceptor.read_tls(&mut ciphertext).map_err(|error| TlsError::new(error.to_string()))?;
                match acceptor.accept() {
                    Ok(None) => {}
                    Ok(Some(accepted)) => self.begin(accepted)?,
                    Err(refused) => return Err(self.refuse(refused)),
                }
            }
            State::Connected(_) if self.unread >= PLAINTEXT => return Ok(0),
            State::Connected(connection) => {
                connection.read_tls(&mut ciphertext).map_err(|error| TlsError::new(error.to_string()))?;
                self.process()?;
            }
            State::Refused => return Ok(0),
        }
        Ok(before - ciphertext.len())
    }

    /// The client's first message is whole: goes on as is configured now.
    fn begin(&mut self, accepted: Accepted) -> Result<(), TlsError> {
        let State::Waiting(_, configure) = std::mem::replace(&mut self.state, State::Refused) else { return Ok(()) };
        match accepted.into_connection(configure()) {
            Ok(connection) => {
                self.state = State::Connected(connection);
                self.process()
            }
            Err(refused) => Err(self.refuse(refused)),
        }
    }

    fn refuse(&mut self, (error, mut alert): (rustls::Error, AcceptedAlert)) -> TlsError {
        self.state = State::Refused;
        // A `Vec` takes everything.
        let _ = alert.write_all(&mut self.alert);
        told(&error)
    }

    /// Deals with what was taken in.
    fn process(&mut self) -> Result<(), TlsError> {
        if let State::Connected(connection) = &mut self.state {
            let state = connection.process_new_packets().map_err(|error| told(&error))?;
            self.unread = state.plaintext_bytes_to_read();
            self.peer_closed |= state.peer_has_closed();
        }
        Ok(())
    }
}

fn told(error: &rustls::Error) -> TlsError {
    TlsError::new(words::of(error))
}

/// Moves what rustls has to send.
fn drain(connection: &mut ServerConnection, ciphertext: &mut Vec<u8>) {
    while connection.wants_write() {
        // A `Vec` takes everything. Should it not, this must not go round for ever.
        if !connection.write_tls(ciphertext).is_ok_and(|written| written > 0) {
            break;
        }
    }
}

impl Session for RustlsSession {
    fn receive(&mut self, ciphertext: &[u8]) -> Result<usize, TlsError> {
        let mut taken = 0;
        while taken < ciphertext.len() && !self.peer_closed && !self.failed {
            match self.take(&ciphertext[taken..]) {
                Ok(0) => break,
                Ok(more) => taken += more,
                Err(error) => {
                    self.failed = true;
                    return Err(error);
                }
            }
        }
        Ok(taken)
    }

    fn read(&mut self, buffer: &mut [u8]) -> usize {
        if self.unread == 0 {
            return 0;
        }
        let State::Connected(connection) = &mut self.state else { return 0 };
        let read = connection.reader().read(buffer).unwrap_or(0);
        self.unread = self.unread.saturating_sub(read);
        read
    }

    fn has_plaintext(&self) -> bool {
        self.unread > 0
    }

    fn write(&mut self, parts: &[IoSlice<'_>], ciphertext: &mut Vec<u8>) -> usize {
        let State::Connected(connection) = &mut self.state else { return 0 };
        if self.closed || self.failed || connection.is_handshaking() {
            return 0;
        }
        // What it had to say by itself comes first, and leaves room: rustls takes 64 KiB in one call.
        drain(connection, ciphertext);
        let written = connection.writer().write_vectored(parts).unwrap_or(0);
        drain(connection, ciphertext);
        written
    }

    fn output(&mut self, ciphertext: &mut Vec<u8>) {
        ciphertext.append(&mut self.alert);
        if let State::Connected(connection) = &mut self.state {
            drain(connection, ciphertext);
        }
    }

    fn is_handshaking(&self) -> bool {
        match &self.state {
            State::Connected(connection) => connection.is_handshaking(),
            State::Waiting(..) | State::Refused => true,
        }
    }

    fn close(&mut self, ciphertext: &mut Vec<u8>) {
        self.output(ciphertext);
        if let State::Connected(connection) = &mut self.state
            && !self.closed
            && !self.failed
        {
            connection.send_close_notify();
            drain(connection, ciphertext);
        }
        self.closed = true;
    }

    fn has_ended(&self) -> bool {
        self.peer_closed && self.unread == 0
    }

    fn info(&self) -> TlsInfo {
        let mut info = TlsInfo::default();
        let State::Connected(connection) = &self.state else { return info };
        info.protocol = connection.protocol_version().map(|version| match version {
            ProtocolVersion::TLSv1_2 => "TLSv1.2".into(),
            ProtocolVersion::TLSv1_3 => "TLSv1.3".into(),
            other => format!("{other:?}"),
        });
        // rustls' names of TLS 1.3's suites are not the registered ones.
        info.cipher_suite = connection.negotiated_cipher_suite().map(|suite| {
            let name = suite.suite().as_str().unwrap_or("unknown");
            name.replacen("TLS13_", "TLS_", 1)
        });
        info.server_name = connection.server_name().map(str::to_owned);
        info.alpn = connection.alpn_protocol().map(<[u8]>::to_vec);
        info.resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        info.peer_certificates =
            connection.peer_certificates().unwrap_or_default().iter().map(|certificate| certificate.to_vec()).collect();
        info
    }
}
