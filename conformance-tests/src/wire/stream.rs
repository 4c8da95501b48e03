//! A blocking socket, in plain or under TLS; what is read and written is plaintext either way.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::tls::{Client, Ended, Session};
use crate::abilities::Abilities;
use crate::case::Failure;

/// How long a handshake may take before the case goes on: it is finished as the case reads then. Servers that accept nobody
/// now are what some cases are about.
const OPENING: Duration = Duration::from_secs(1);

/// Where a server is, and what clients speak there.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// How to speak TLS, where that is spoken.
    pub tls: Option<Client>,
    /// What the application there can do.
    pub abilities: Abilities,
}

impl From<SocketAddr> for Endpoint {
    /// In plain, where the application can do everything.
    fn from(address: SocketAddr) -> Self {
        Endpoint { address, tls: None, abilities: Abilities::default() }
    }
}

pub(super) struct Stream {
    pub(super) socket: TcpStream,
    pub(super) session: Option<Arc<Session>>,
}

impl Stream {
    /// Over a socket that is connected; under TLS with the handshake, as far as the server takes part in it at once.
    pub(super) fn new(socket: TcpStream, endpoint: &Endpoint) -> Result<Self, Failure> {
        let session = match &endpoint.tls {
            None => None,
            Some(client) => Some(Arc::new(Session::new(client, endpoint.address.ip())?)),
        };
        let stream = Stream { socket, session };
        stream.open(OPENING);
        Ok(stream)
    }

    /// Goes on with the handshake for a while.
    pub(super) fn open(&self, patience: Duration) {
        let Some(session) = self.session.as_ref().filter(|session| session.is_opening()) else { return };
        let until = Instant::now() + patience;
        while session.is_opening() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.socket.set_read_timeout(Some(left)).is_err() {
                return;
            }
            match session.read(&self.socket, &mut []) {
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                _ => return,
            }
        }
        // Its last message, and what waited for it.
        let _ = session.flush(&self.socket);
    }

    /// Whether it is under TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.session.is_some()
    }

    /// The same stream, for another thread.
    pub(super) fn try_clone(&self) -> io::Result<Stream> {
        Ok(Stream { socket: self.socket.try_clone()?, session: self.session.clone() })
    }

    /// How the server's side ended, if it has.
    pub(super) fn ended(&self) -> Option<Ended> {
        self.session.as_ref().and_then(|session| session.ended())
    }

    /// As [`TcpStream`]'s; `Interrupted` where octets came that carry no plaintext.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.session {
            None => self.socket.read(buffer),
            Some(session) => session.read(&self.socket, buffer),
        }
    }

    /// As [`TcpStream`]'s.
    pub(super) fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match &self.session {
            None => self.socket.write(octets),
            Some(session) => session.write(&self.socket, octets),
        }
    }

    /// All of `octets`, to the operating system; under TLS to the session while there is no handshake.
    pub(super) fn write_all(&mut self, mut octets: &[u8]) -> io::Result<()> {
        // What a handshake has to wait for may have come.
        self.open(Duration::from_millis(1));
        let Some(session) = &self.session else { return self.socket.write_all(octets) };
        while !octets.is_empty() {
            octets = &octets[session.write(&self.socket, octets)?..];
        }
        session.flush(&self.socket)
    }

    /// Ends the client's direction: close_notify, where there is TLS, and FIN.
    pub(super) fn finish(&mut self) {
        if let Some(session) = &self.session {
            session.close(&self.socket);
        }
        // An error means that the connection has ended already, which reading will show.
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}

impl Drop for Stream {
    /// Tickets that nobody has read would make a reset of an ordinary end.
    fn drop(&mut self) {
        let Some(session) = self.session.as_ref().filter(|session| !session.has_spoken()) else { return };
        if Arc::strong_count(session) == 1 && self.socket.set_nonblocking(true).is_ok() {
            while matches!(session.read(&self.socket, &mut []), Err(error) if error.kind() == ErrorKind::Interrupted) {}
        }
    }
}
