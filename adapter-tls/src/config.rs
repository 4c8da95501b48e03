//! What a program says of TLS.

use std::path::PathBuf;
use std::sync::Arc;

use adapter_core::tls::Tls;

use crate::acceptor::{Given, Loading};
use crate::error::LoadError;
use crate::settings::{ClientAuth, Identity, MinVersion, Settings};

/// Certificates from files, and what else TLS needs to be told.
///
/// ```no_run
/// use adapter_core::ServerConfig;
/// use adapter_tls::{ClientAuth, MinVersion, TlsConfig};
///
/// let tls = TlsConfig::files("/etc/shop/fullchain.pem", "/etc/shop/privkey.pem")
///     .and_files("/etc/shop/example.org.pem", "/etc/shop/example.org.key")
///     .client_ca("/etc/shop/staff.pem", ClientAuth::Optional)
///     .min_version(MinVersion::Tls13)
///     .load()?;
/// let config = ServerConfig::default().bind("0.0.0.0:80".parse()?).bind("0.0.0.0:443,tls".parse()?).tls(tls.clone());
/// // Later, when there are new certificates:
/// tls.reload()?;
/// # Ok::<(), adapter_core::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is loaded until `load` is called"]
pub struct TlsConfig {
    settings: Settings,
    fingerprint: Option<String>,
}

impl TlsConfig {
    /// With the certificate chain in the file `cert`, the server's own first, and its private key in the file `key`, both in PEM.
    ///
    /// The key may be PKCS#8, PKCS#1 or SEC1; it must not be encrypted.
    pub fn files(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        TlsConfig { settings: Settings::default(), fingerprint: None }.and_files(cert, key)
    }

    /// With another pair of files.
    ///
    /// A client gets the certificate that has the name it asks for (SNI), else one for `*.` and the rest of that name, else
    /// the first of all, also where it asks for no name. Of several with the name the first is taken whose kind of key the
    /// client knows.
    pub fn and_files(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.settings.identities.push(Identity::Files { cert: cert.into(), key: key.into() });
        self
    }

    /// With a certificate for `names` (DNS names and IP addresses) that is made now, for development: no client trusts it.
    /// It is gone with the program; [`reload`](Tls::reload) keeps it. See [`fingerprint`](Self::fingerprint).
    ///
    /// ```
    /// use adapter_tls::TlsConfig;
    ///
    /// let config = TlsConfig::self_signed(["localhost", "127.0.0.1"])?;
    /// assert_eq!(config.fingerprint().map(str::len), Some(95));
    /// let tls = config.load()?;
    /// # Ok::<(), adapter_tls::LoadError>(())
    /// ```
    ///
    /// # Errors
    /// A name is none, or there are no random numbers to be had.
    #[cfg(all(feature = "self-signed", any(feature = "aws-lc-rs", feature = "ring")))]
    pub fn self_signed(names: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, LoadError> {
        let (identity, fingerprint) = crate::self_signed::make(names.into_iter().map(Into::into).collect())?;
        let settings = Settings { identities: vec![identity], ..Settings::default() };
        Ok(TlsConfig { settings, fingerprint: Some(fingerprint) })
    }

    /// The SHA-256 fingerprint of the certificate that was made here, as browsers show it; `None` for files.
    pub fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    /// Asks clients for certificates as `auth` says; those hold that the authorities in the file `ca` (PEM, one or more)
    /// have signed. There are no lists of revoked ones. A client that resumes a session, within 12 hours or so, is not
    /// asked again.
    ///
    /// One rule for all names. Where `auth` is [`Off`](ClientAuth::Off), the file is not read.
    pub fn client_ca(mut self, ca: impl Into<PathBuf>, auth: ClientAuth) -> Self {
        self.settings.client_ca = Some(ca.into());
        self.settings.client_auth = auth;
        self
    }

    /// Speaks no version older than that. Default: TLS 1.2.
    pub fn min_version(mut self, version: MinVersion) -> Self {
        self.settings.min_version = version;
        self
    }

    /// Reads and checks all files. Blocks as that does. A certificate that has expired or is not valid yet is warned of (target
    /// `adapter`), and used.
    ///
    /// [`Tls::reload`] does the same once more; if anything does not hold, all goes on as before, and the error is a
    /// [`LoadError`]. Running connections are left alone. Sessions can be resumed across a reload, unless the authorities
    /// for clients have changed.
    ///
    /// # Errors
    /// What is wrong with which file: it can't be read, is empty, has no certificate or key in it, the key is encrypted, or
    /// does not fit the certificate.
    pub fn load(self) -> Result<Tls, LoadError> {
        Ok(Tls::new(Loading::new(self.settings)?))
    }
}

/// TLS by a configuration of rustls that the program made, with any cryptography. Its ALPN is set here for each connection,
/// and early data (0-RTT) is turned off; all else is the program's: tickets, verifier, resolver. [`Tls::reload`] does
/// nothing.
///
/// ```
/// use std::sync::Arc;
///
/// use adapter_core::ServerConfig;
/// use adapter_tls::{from_rustls, rustls};
///
/// fn configure(tls: Arc<rustls::ServerConfig>) -> ServerConfig {
///     ServerConfig::default().tls(from_rustls(tls))
/// }
/// ```
pub fn from_rustls(config: Arc<rustls::ServerConfig>) -> Tls {
    Tls::new(Given::new(&config))
}
