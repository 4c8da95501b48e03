//! What is to be loaded, and the configurations of rustls it becomes.
//!
//! Blocks as reading files does, on whoever configures or reloads.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoClientAuth, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier,
};
use rustls::{RootCertStore, ServerConfig, version};

use crate::certified::{self, Certified};
use crate::error::LoadError;
use crate::pem;
use crate::provider::{Provider, provider};
use crate::resolver::ByName;

/// Sessions of clients without tickets that are remembered at most.
const SESSIONS: usize = 1024;

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    Off,
    /// They are asked, and may have none. One that does not hold is refused.
    Optional,
    /// They are refused without one that holds.
    Required,
}

/// The oldest version of the protocol that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// Text that is no choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseChoiceError(&'static str);

impl fmt::Display for ParseChoiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.0)
    }
}

impl std::error::Error for ParseChoiceError {}

impl FromStr for ClientAuth {
    type Err = ParseChoiceError;

    fn from_str(text: &str) -> Result<Self, ParseChoiceError> {
        match text {
            "off" => Ok(ClientAuth::Off),
            "optional" => Ok(ClientAuth::Optional),
            "required" => Ok(ClientAuth::Required),
            _ => Err(ParseChoiceError("off, optional or required")),
        }
    }
}

impl FromStr for MinVersion {
    type Err = ParseChoiceError;

    fn from_str(text: &str) -> Result<Self, ParseChoiceError> {
        match text {
            "1.2" => Ok(MinVersion::Tls12),
            "1.3" => Ok(MinVersion::Tls13),
            _ => Err(ParseChoiceError("1.2 or 1.3")),
        }
    }
}

/// A certificate with its key: where they are, or themselves.
#[derive(Debug)]
pub(crate) enum Identity {
    Files {
        cert: PathBuf,
        key: PathBuf,
    },
    #[cfg(all(feature = "self-signed", any(feature = "aws-lc-rs", feature = "ring")))]
    Memory {
        cert: rustls_pki_types::CertificateDer<'static>,
        key: rustls_pki_types::PrivateKeyDer<'static>,
    },
}

/// What is to be loaded, at the start and at each reload.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) identities: Vec<Identity>,
    pub(crate) client_auth: ClientAuth,
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) min_version: MinVersion,
}

/// What was loaded.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) http1: Arc<ServerConfig>,
    pub(crate) http2: Arc<ServerConfig>,
    /// The rules for clients, by which sessions may be resumed: whom is asked, and the authorities' file.
    rules: (ClientAuth, Vec<u8>),
    memory: Memory,
}

/// What knows clients again.
#[derive(Clone, Debug)]
struct Memory {
    ticketer: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

impl Loaded {
    /// `config` for servers without and with HTTP/2.
    pub(crate) fn by_alpn(mut config: ServerConfig) -> (Arc<ServerConfig>, Arc<ServerConfig>) {
        // A replayed request is more than most applications are ready for. RFC 8470
        config.max_early_data_size = 0;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = config.clone();
        config.alpn_protocols.insert(0, b"h2".to_vec());
        (Arc::new(http1), Arc::new(config))
    }
}

impl Settings {
    /// Reads and checks everything. Clients are known again from `before`, unless the rules for client certificates have
    /// changed: a session is resumed without a look at them, so one made by other rules would get around these.
    pub(crate) fn load(&self, before: Option<&Loaded>) -> Result<Loaded, LoadError> {
        let none = || LoadError::new("this build of adapter-tls has no cryptography (feature aws-lc-rs or ring)");
        let provider = provider().ok_or_else(none)?;
        let certificates: Result<Vec<Certified>, _> =
            self.identities.iter().map(|identity| identity.load(&provider)).collect();
        let by_name = ByName::new(&certificates?).ok_or_else(|| LoadError::new("there are no certificates"))?;
        let (verifier, authorities) = self.verifier(&provider)?;
        let rules = (self.client_auth, authorities);
        let memory = match before {
            Some(before) if before.rules == rules => before.memory.clone(),
            _ => Memory {
                ticketer: (provider.ticketer)()
                    .map_err(|error| LoadError::new(format!("no keys for tickets: {error}")))?,
                sessions: ServerSessionMemoryCache::new(SESSIONS),
            },
        };
        let versions: &[_] = match self.min_version {
            MinVersion::Tls12 => &[&version::TLS13, &version::TLS12],
            MinVersion::Tls13 => &[&version::TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(provider.crypto)
            .with_protocol_versions(versions)
            .map_err(|error| LoadError::new(error.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(by_name));
        config.ticketer = memory.ticketer.clone();
        config.session_storage = memory.sessions.clone();
        config.send_tls13_tickets = 2;
        let (http1, http2) = Loaded::by_alpn(config);
        Ok(Loaded { http1, http2, rules, memory })
    }

    /// Who looks at clients' certificates, and the file of the authorities.
    fn verifier(&self, provider: &Provider) -> Result<(Arc<dyn ClientCertVerifier>, Vec<u8>), LoadError> {
        if self.client_auth == ClientAuth::Off {
            return Ok((Arc::new(NoClientAuth), Vec::new()));
        }
        let Some(file) = &self.client_ca else {
            return Err(LoadError::new("there are no authorities for client certificates"));
        };
        let text = pem::read(file)?;
        let mut roots = RootCertStore::empty();
        for (index, certificate) in pem::certificates(file, &text)?.into_iter().enumerate() {
            roots.add(certificate).map_err(|error| {
                LoadError::of(file, format!("certificate {} in it can't be used: {error}", index + 1))
            })?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.crypto.clone());
        let builder = match self.client_auth {
            ClientAuth::Optional => builder.allow_unauthenticated(),
            _ => builder,
        };
        let verifier = builder.build().map_err(|error| LoadError::of(file, format!("can't be used: {error}")))?;
        Ok((verifier, text))
    }
}

impl Identity {
    fn load(&self, provider: &Provider) -> Result<Certified, LoadError> {
        match self {
            Identity::Files { cert, key } => certified::from_files(cert, key, &provider.crypto),
            #[cfg(all(feature = "self-signed", any(feature = "aws-lc-rs", feature = "ring")))]
            Identity::Memory { cert, key } => {
                let made = std::path::Path::new("the certificate of this program's own");
                certified::check(made, vec![cert.clone()], made, key.clone_key(), &provider.crypto)
            }
        }
    }
}
