//! The loader's end of a connection, plain or under TLS. Non-blocking; plain costs one branch a call.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme};

/// Ciphertext read at a time.
const INPUT: usize = 64 * 1024;

/// A TCP connection, and the TLS over it if there is any.
pub struct Wire {
    stream: TcpStream,
    tls: Option<Box<Tls>>,
}

struct Tls {
    connection: ClientConnection,
    /// Ciphertext of which rustls has not taken what follows `taken`.
    input: Vec<u8>,
    taken: usize,
}

impl Wire {
    /// `stream`, under TLS if there is a configuration for it. The handshake goes along with reading and writing.
    pub fn new(stream: TcpStream, tls: Option<&Arc<ClientConfig>>) -> Result<Self, String> {
        let tls = tls.map(|config| {
            let name = ServerName::try_from("localhost").expect("a name");
            let connection = ClientConnection::new(config.clone(), name).map_err(|error| format!("TLS: {error}"))?;
            Ok::<_, String>(Box::new(Tls { connection, input: Vec::new(), taken: 0 }))
        });
        Ok(Self { stream, tls: tls.transpose()? })
    }

    /// As [`new`](Self::new), for a blocking stream; the handshake is over after that, and the stream no longer blocks.
    pub fn open(stream: TcpStream, tls: Option<&Arc<ClientConfig>>) -> Result<Self, String> {
        let mut wire = Self::new(stream, tls)?;
        if let Some(tls) = &mut wire.tls {
            while tls.connection.is_handshaking() {
                tls.connection.complete_io(&mut wire.stream).map_err(|error| format!("TLS: {error}"))?;
            }
            tls.send(&wire.stream).map_err(|error| format!("TLS: {error}"))?;
        }
        wire.stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        Ok(wire)
    }

    /// Whether something has been read from the socket that [`read`](Read::read), whose buffer was not filled, has not given.
    pub fn has_input(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.taken < tls.input.len())
    }

    /// Whether something waits for the socket to take it.
    pub fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.connection.wants_write())
    }

    /// Whether a session was resumed.
    pub fn is_resumed(&self) -> bool {
        let kind = self.tls.as_ref().and_then(|tls| tls.connection.handshake_kind());
        kind == Some(HandshakeKind::Resumed)
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.stream.read(buffer),
            Some(tls) => tls.read(&self.stream, buffer),
        }
    }
}

impl Write for Wire {
    /// What the socket does not take at once is kept; nothing more is taken then.
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.stream.write(octets),
            Some(tls) => tls.write(&self.stream, octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tls.as_mut().map_or(Ok(()), |tls| tls.send(&self.stream))
    }
}

impl Tls {
    fn read(&mut self, mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            if self.taken == self.input.len() {
                self.taken = 0;
                self.input.resize(INPUT, 0);
                let read = stream.read(&mut self.input);
                self.input.truncate(*read.as_ref().unwrap_or(&0));
                if read? == 0 {
                    return Ok(0);
                }
            }
            self.taken += self.connection.read_tls(&mut &self.input[self.taken..])?;
            self.connection.process_new_packets().map_err(io::Error::other)?;
            self.send(stream)?;
        }
    }

    fn write(&mut self, stream: &TcpStream, octets: &[u8]) -> io::Result<usize> {
        self.send(stream)?;
        if self.connection.wants_write() || self.connection.is_handshaking() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let written = self.connection.writer().write(octets)?;
        self.send(stream)?;
        Ok(written)
    }

    /// Sends what waits, as far as the socket takes it.
    fn send(&mut self, mut stream: &TcpStream) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A client that takes any certificate: what it costs to check one is not the server's. `resumes`: it keeps sessions.
pub fn client(resumes: bool) -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has the versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if !resumes {
        config.resumption = rustls::client::Resumption::disabled();
    }
    Arc::new(config)
}

#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ServerCertVerifier for Any {
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
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
