//! The client's side of TLS, by rustls: between the plaintext that cases work with and a blocking socket. Feature `tls`.
//!
//! A [`Session`] is shared by the thread of a case and one that sends in the background. Whoever seals holds `outgoing` until
//! the octets are with the operating system, so that records leave in order; who reads only looks whether it is free.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};

use crate::case::Failure;
use crate::certificates::{self, Pair};

/// Plaintext sealed at a time.
const PIECE: usize = 16 * 1024;

/// How the server's stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By close_notify.
    Closed,
    /// By FIN, without close_notify.
    Cut,
}

impl Ended {
    /// For transcripts.
    pub(super) fn event(self) -> &'static str {
        match self {
            Ended::Closed => "close_notify",
            Ended::Cut => "end of the stream without close_notify",
        }
    }
}

/// What clients of a server speak.
#[derive(Clone, Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
    in_octets: bool,
}

impl Client {
    /// It asks for no name and no protocol, and remembers no sessions: each handshake is a whole one.
    fn new(mut config: ClientConfig) -> Self {
        config.resumption = Resumption::disabled();
        Client { config: Arc::new(config), name: None, in_octets: false }
    }

    /// One that trusts `authority`, and the protocol versions that rustls knows.
    pub(crate) fn trusting(authority: CertificateDer<'static>) -> Self {
        let mut roots = RootCertStore::empty();
        // Where it is none, no server is trusted, which is a failure of every case.
        let _ = roots.add(authority);
        Client::new(usual().with_root_certificates(roots).with_no_client_auth())
    }

    /// One that trusts the suite's authority, in these versions, and shows a certificate.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn with(versions: &[&'static SupportedProtocolVersion], shows: Option<&Pair>) -> Result<Self, Failure> {
        let told = |error: rustls::Error| Failure(format!("no client: {error}"));
        let mut roots = RootCertStore::empty();
        roots.add(certificates::authority()?.der()).map_err(told)?;
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).map_err(told)?;
        let builder = builder.with_root_certificates(roots);
        let config = match shows {
            None => builder.with_no_client_auth(),
            Some(pair) => builder.with_client_auth_cert(vec![pair.der()], pair.secret()).map_err(told)?,
        };
        Ok(Client::new(config).name(certificates::NAME))
    }

    /// One that trusts anybody, for servers in other processes: it is no measure of certificates.
    ///
    /// # Errors
    /// Never, here; in a build without TLS.
    pub fn of_strangers() -> Result<Self, String> {
        let anybody = Arc::new(Anybody(provider()));
        Ok(Client::new(usual().dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth()))
    }

    /// With these protocols, best first.
    pub(crate) fn alpn(mut self, protocols: &[&str]) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols =
            protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Which asks for the server of this name.
    pub(crate) fn name(mut self, name: &str) -> Self {
        self.name = ServerName::try_from(name.to_owned()).ok();
        self
    }

    /// Which asks for no name.
    pub(crate) fn nameless(mut self) -> Self {
        self.name = None;
        self
    }

    /// Which remembers sessions, and would send early data. Clones share them.
    pub(crate) fn remembering(mut self) -> Self {
        let config = Arc::make_mut(&mut self.config);
        config.resumption = Resumption::in_memory_sessions(32);
        config.enable_early_data = true;
        self
    }

    /// Which sends all of its ciphertext octet by octet.
    pub(crate) fn in_octets(mut self) -> Self {
        self.in_octets = true;
        self
    }

    /// What it sends first.
    ///
    /// # Errors
    /// It is not able to.
    pub(crate) fn hello(&self) -> Result<Vec<u8>, Failure> {
        let session = Session::new(self, std::net::Ipv4Addr::LOCALHOST.into())?;
        let mut hello = Vec::new();
        seal(&mut lock(&session.incoming).tls, &mut hello);
        Ok(hello)
    }
}

pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn usual() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let builder = ClientConfig::builder_with_provider(provider());
    builder.with_safe_default_protocol_versions().expect("invariant: the provider has suites for both versions")
}

/// Looks at no certificate.
#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What a handshake agreed on, as the client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Agreed {
    pub(crate) alpn: Option<String>,
    pub(crate) protocol: String,
    pub(crate) cipher_suite: String,
    pub(crate) resumed: bool,
    pub(crate) certificate: Vec<u8>,
}

/// One connection's TLS.
pub(super) struct Session {
    /// Held while octets come from the socket, so that they are dealt with in order.
    reading: Mutex<()>,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Vec<u8>>,
    in_octets: bool,
}

struct Incoming {
    tls: ClientConnection,
    /// Plaintext nobody has read yet.
    plain: Vec<u8>,
    /// Some was read, ever.
    spoken: bool,
    ended: Option<Ended>,
    failed: Option<rustls::Error>,
    /// The socket has failed, which it tells only once.
    broken: Option<ErrorKind>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Incoming {
    /// Deals with ciphertext; none is the end of the stream.
    fn take(&mut self, mut ciphertext: &[u8]) {
        if ciphertext.is_empty() {
            self.ended.get_or_insert(Ended::Cut);
        }
        while !ciphertext.is_empty() && self.failed.is_none() {
            // Its plaintext is taken out each time, so that it has room.
            let read = self.tls.read_tls(&mut ciphertext);
            let processed = self.tls.process_new_packets();
            match (read, processed) {
                (_, Err(error)) => self.failed = Some(error),
                (Ok(0) | Err(_), _) => return,
                (_, Ok(state)) if state.peer_has_closed() => self.ended = Some(Ended::Closed),
                _ => {}
            }
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = self.tls.reader().read(&mut piece) {
                self.plain.extend_from_slice(&piece[..count]);
                self.spoken = true;
            }
            if self.ended.is_some() {
                return;
            }
        }
    }
}

impl Session {
    pub(super) fn new(client: &Client, address: std::net::IpAddr) -> Result<Self, Failure> {
        let mut config = client.config.clone();
        if client.name.is_none() {
            Arc::make_mut(&mut config).enable_sni = false;
        }
        let name = client.name.clone().unwrap_or_else(|| ServerName::from(address));
        let mut tls = ClientConnection::new(config, name).map_err(|error| format!("no TLS: {error}"))?;
        // Cases send before a server listens, and more than it takes.
        tls.set_buffer_limit(None);
        let incoming = Incoming { tls, plain: Vec::new(), spoken: false, ended: None, failed: None, broken: None };
        Ok(Session {
            reading: Mutex::new(()),
            incoming: Mutex::new(incoming),
            outgoing: Mutex::new(Vec::new()),
            in_octets: client.in_octets,
        })
    }

    /// Whether the handshake is still to be finished, and may be.
    pub(super) fn is_opening(&self) -> bool {
        let incoming = lock(&self.incoming);
        incoming.tls.is_handshaking()
            && incoming.ended.is_none()
            && incoming.failed.is_none()
            && incoming.broken.is_none()
    }

    pub(super) fn agreed(&self) -> Option<Agreed> {
        let incoming = lock(&self.incoming);
        let tls = &incoming.tls;
        if tls.is_handshaking() {
            return None;
        }
        let suite = tls.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str().map(str::to_owned));
        let protocol = match tls.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "another",
        };
        Some(Agreed {
            alpn: tls.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
            protocol: protocol.to_owned(),
            // The registered name. RFC 8446 §B.4
            cipher_suite: suite.unwrap_or_default().replacen("TLS13_", "TLS_", 1),
            resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
            certificate: tls
                .peer_certificates()
                .and_then(<[_]>::first)
                .map_or(Vec::new(), |certificate| certificate.to_vec()),
        })
    }

    /// Whether the server has accepted early data, if only none of it.
    pub(super) fn took_early_data(&self) -> bool {
        lock(&self.incoming).tls.is_early_data_accepted()
    }

    /// Why it can't go on: the server's alert, or what the server did wrong.
    pub(super) fn failure(&self) -> Option<rustls::Error> {
        lock(&self.incoming).failed.clone()
    }

    pub(super) fn ended(&self) -> Option<Ended> {
        lock(&self.incoming).ended
    }

    /// Whether the server has said anything beyond the handshake.
    pub(super) fn has_spoken(&self) -> bool {
        lock(&self.incoming).spoken
    }

    /// As a socket reads: plaintext, or 0 for the end. `Interrupted` where octets came that were none.
    pub(super) fn read(&self, mut socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        self.send_along(socket);
        if let Some(told) = self.read_plain(buffer) {
            return told;
        }
        let _reading = lock(&self.reading);
        // Another thread may have read meanwhile.
        if let Some(told) = self.read_plain(buffer) {
            return told;
        }
        let mut ciphertext = [0; 32 * 1024];
        let count = match socket.read(&mut ciphertext) {
            Ok(count) => count,
            Err(error) => {
                use ErrorKind::{Interrupted, TimedOut, WouldBlock};
                if !matches!(error.kind(), Interrupted | TimedOut | WouldBlock) {
                    lock(&self.incoming).broken = Some(error.kind());
                }
                return Err(error);
            }
        };
        lock(&self.incoming).take(&ciphertext[..count]);
        self.send_along(socket);
        self.read_plain(buffer).unwrap_or_else(|| Err(ErrorKind::Interrupted.into()))
    }

    /// What is there without the socket.
    fn read_plain(&self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        let mut incoming = lock(&self.incoming);
        if !incoming.plain.is_empty() {
            let count = incoming.plain.len().min(buffer.len());
            buffer[..count].copy_from_slice(&incoming.plain[..count]);
            incoming.plain.drain(..count);
            return Some(Ok(count));
        }
        if let Some(error) = &incoming.failed {
            return Some(Err(io::Error::other(error.clone())));
        }
        incoming.ended.map(|_| Ok(0)).or_else(|| incoming.broken.map(|kind| Err(kind.into())))
    }

    /// Seals some of `octets`, and sends what it can of that; how many were sealed. What is sealed and not sent goes first the
    /// next time.
    pub(super) fn write(&self, socket: &TcpStream, octets: &[u8]) -> io::Result<usize> {
        let mut outgoing = lock(&self.outgoing);
        self.send(&mut outgoing, socket)?;
        let count = {
            let mut incoming = lock(&self.incoming);
            let count = incoming.tls.writer().write(&octets[..octets.len().min(PIECE)])?;
            seal(&mut incoming.tls, &mut outgoing);
            count
        };
        // An error shows the next time: these are taken.
        let _ = self.send(&mut outgoing, socket);
        Ok(count)
    }

    /// Sends what is sealed, and what the session itself has to say.
    pub(super) fn flush(&self, socket: &TcpStream) -> io::Result<()> {
        let mut outgoing = lock(&self.outgoing);
        seal(&mut lock(&self.incoming).tls, &mut outgoing);
        self.send(&mut outgoing, socket)
    }

    /// The same, where nobody else is at it.
    fn send_along(&self, socket: &TcpStream) {
        match self.outgoing.try_lock() {
            Ok(mut outgoing) => {
                seal(&mut lock(&self.incoming).tls, &mut outgoing);
                // An error shows where something is sent.
                let _ = self.send(&mut outgoing, socket);
            }
            Err(TryLockError::Poisoned(_) | TryLockError::WouldBlock) => {}
        }
    }

    fn send(&self, outgoing: &mut Vec<u8>, mut socket: &TcpStream) -> io::Result<()> {
        let all = outgoing.len();
        while !outgoing.is_empty() {
            if self.in_octets && outgoing.len() + 1 == all {
                // The first is read by itself, also by a server that has no processor for a while.
                std::thread::sleep(Duration::from_millis(20));
            }
            let piece = if self.in_octets { &outgoing[..1] } else { &outgoing[..] };
            match socket.write(piece) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => drop(outgoing.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says close_notify.
    pub(super) fn close(&self, socket: &TcpStream) {
        lock(&self.incoming).tls.send_close_notify();
        let _ = self.flush(socket);
    }
}

fn seal(tls: &mut ClientConnection, outgoing: &mut Vec<u8>) {
    while tls.wants_write() {
        if !tls.write_tls(outgoing).is_ok_and(|written| written > 0) {
            break;
        }
    }
}
