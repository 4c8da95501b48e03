//! Certificates, files, and a client of rustls' in the same memory. No sockets, no time.

#![allow(dead_code, missing_docs, reason = "each test uses a part of it")]

use std::io::{IoSlice, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adapter_core::tls::{Session, Tls, TlsError};
use adapter_tls::TlsConfig;
use adapter_tls::rustls::client::Resumption;
use adapter_tls::rustls::crypto::CryptoProvider;
use adapter_tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use adapter_tls::rustls::{ClientConfig, ClientConnection, Error, RootCertStore, SupportedProtocolVersion, version};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};

pub(crate) fn crypto() -> Arc<CryptoProvider> {
    #[cfg(feature = "aws-lc-rs")]
    let provider = adapter_tls::rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "aws-lc-rs"))]
    let provider = adapter_tls::rustls::crypto::ring::default_provider();
    Arc::new(provider)
}

/// A certificate and its key, in PEM and DER.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) der: CertificateDer<'static>,
    secret: Vec<u8>,
}

impl Pair {
    /// The files `NAME.pem` and `NAME.key` in `folder`.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (cert, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        std::fs::write(&cert, &self.cert).unwrap();
        std::fs::write(&key, &self.key).unwrap();
        (cert, key)
    }
}

/// Who signs.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn sign(&self, names: &[&str]) -> Pair {
        self.sign_with(names, |_| {})
    }

    pub(crate) fn sign_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Pair { cert: cert.pem(), key: key.serialize_pem(), der: cert.der().clone(), secret: key.serialize_der() }
    }
}

/// A folder with a certificate for `localhost`, and the configuration that uses it.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) authority: Authority,
    pub(crate) pair: Pair,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("Tests"));
        let pair = authority.sign(&["localhost"]);
        let (cert, key) = pair.write(folder.path(), "localhost");
        Place { folder, authority, pair, cert, key }
    }

    pub(crate) fn config(&self) -> TlsConfig {
        TlsConfig::files(&self.cert, &self.key)
    }

    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A client that trusts the authority.
    pub(crate) fn client(&self) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.0.der().clone()).unwrap();
        Client { roots: Arc::new(roots), versions: vec![&version::TLS13], alpn: Vec::new(), shows: None }
    }
}

/// What a client is to be.
#[derive(Clone)]
pub(crate) struct Client {
    roots: Arc<RootCertStore>,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) alpn: Vec<&'static str>,
    pub(crate) shows: Option<Pair>,
}

pub(crate) fn both() -> [&'static SupportedProtocolVersion; 2] {
    [&version::TLS12, &version::TLS13]
}

impl Client {
    pub(crate) fn speaks(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    pub(crate) fn alpn(mut self, alpn: &[&'static str]) -> Self {
        self.alpn = alpn.to_vec();
        self
    }

    pub(crate) fn shows(mut self, pair: &Pair) -> Self {
        self.shows = Some(pair.clone());
        self
    }

    /// With a memory of sessions of its own.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(crypto())
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let mut config = match &self.shows {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::Pkcs8(pair.secret.clone().into());
                builder.with_client_auth_cert(vec![pair.der.clone()], key).unwrap()
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|&name| name.as_bytes().to_vec()).collect();
        config.resumption = Resumption::in_memory_sessions(8);
        Arc::new(config)
    }

    pub(crate) fn connect(&self, tls: &Tls, http2: bool) -> Link {
        Link::new(tls, http2, self.config(), "localhost")
    }
}

/// A client and a session, and what is under way between them.
pub(crate) struct Link {
    pub(crate) client: ClientConnection,
    pub(crate) server: Box<dyn Session>,
    pub(crate) to_server: Vec<u8>,
    pub(crate) to_client: Vec<u8>,
    /// What the server read, and the client.
    pub(crate) at_server: Vec<u8>,
    pub(crate) at_client: Vec<u8>,
    /// Sizes of the pieces in which ciphertext moves, over and over.
    pub(crate) cuts: Vec<usize>,
    next_cut: usize,
    /// Of the buffer the server reads plaintext with.
    pub(crate) buffer: usize,
    pub(crate) client_closed: bool,
    pub(crate) client_error: Option<Error>,
}

impl Link {
    pub(crate) fn new(tls: &Tls, http2: bool, config: Arc<ClientConfig>, name: &str) -> Self {
        let client = ClientConnection::new(config, ServerName::try_from(name.to_owned()).unwrap()).unwrap();
        Link::of(client, tls.accept(http2))
    }

    pub(crate) fn of(client: ClientConnection, server: Box<dyn Session>) -> Self {
        Link {
            client,
            server,
            to_server: Vec::new(),
            to_client: Vec::new(),
            at_server: Vec::new(),
            at_client: Vec::new(),
            cuts: vec![usize::MAX],
            next_cut: 0,
            buffer: 100_000,
            client_closed: false,
            client_error: None,
        }
    }

    fn cut(&mut self, of: usize) -> usize {
        self.next_cut += 1;
        self.cuts[self.next_cut % self.cuts.len()].min(of)
    }

    /// The server reads what there is.
    pub(crate) fn read(&mut self) {
        let mut buffer = vec![0; self.buffer];
        while self.server.has_plaintext() {
            let read = self.server.read(&mut buffer);
            assert!(read > 0, "there was something");
            self.at_server.extend_from_slice(&buffer[..read]);
        }
        assert_eq!(self.server.read(&mut buffer), 0);
    }

    /// Moves everything both ways until nothing moves.
    pub(crate) fn pump(&mut self) -> Result<(), TlsError> {
        loop {
            while self.client.wants_write() {
                self.client.write_tls(&mut self.to_server).unwrap();
            }
            let mut moved = false;
            let mut failed = None;
            while !self.to_server.is_empty() && failed.is_none() {
                let piece = self.cut(self.to_server.len());
                match self.server.receive(&self.to_server[..piece]) {
                    Ok(0) if !self.server.has_plaintext() => break,
                    Ok(taken) => {
                        self.to_server.drain(..taken);
                        moved = true;
                    }
                    Err(error) => failed = Some(error),
                }
                self.server.output(&mut self.to_client);
                self.read();
            }
            self.server.output(&mut self.to_client);
            moved |= !self.to_client.is_empty();
            self.deliver();
            if let Some(error) = failed {
                return Err(error);
            }
            if !moved && !self.client.wants_write() {
                return Ok(());
            }
        }
    }

    /// Gives the client what is on its way to it.
    fn deliver(&mut self) {
        let to_client = std::mem::take(&mut self.to_client);
        let mut rest = &to_client[..];
        while !rest.is_empty() && self.client_error.is_none() {
            let piece = self.cut(rest.len());
            let mut slice = &rest[..piece];
            if self.client.read_tls(&mut slice).unwrap() == 0 {
                break;
            }
            rest = &rest[piece - slice.len()..];
            match self.client.process_new_packets() {
                Ok(state) => self.client_closed |= state.peer_has_closed(),
                Err(error) => self.client_error = Some(error),
            }
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = self.client.reader().read(&mut buffer) {
                self.at_client.extend_from_slice(&buffer[..read]);
            }
        }
    }

    /// The client sends all of `text`.
    pub(crate) fn send(&mut self, text: &[u8]) {
        self.client.set_buffer_limit(None);
        self.client.writer().write_all(text).unwrap();
        self.pump().unwrap();
    }

    /// The server sends all of `text`, as often as it takes.
    pub(crate) fn answer(&mut self, text: &[u8]) {
        let mut rest = text;
        while !rest.is_empty() {
            let (one, two) = rest.split_at(rest.len() / 2);
            let taken = self.server.write(&[IoSlice::new(one), IoSlice::new(two)], &mut self.to_client);
            assert!(taken > 0);
            rest = &rest[taken..];
            self.deliver();
        }
    }

    pub(crate) fn established(mut self) -> Self {
        self.pump().unwrap();
        assert_eq!(
            (&self.client_error, self.client.is_handshaking(), self.server.is_handshaking()),
            (&None, false, false)
        );
        self
    }

    /// The certificate the client was shown.
    pub(crate) fn shown(&self) -> &CertificateDer<'static> {
        &self.client.peer_certificates().unwrap()[0]
    }
}
