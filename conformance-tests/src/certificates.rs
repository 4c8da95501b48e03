//! Certificates of the suite's own, made when they are first needed and gone with the process. Feature `tls`.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The name of servers under test, which is also the Host of requests.
pub(crate) const NAME: &str = "conformance.test";

/// A certificate and its key.
#[derive(Clone)]
pub(crate) struct Pair {
    cert: String,
    key: String,
    der: CertificateDer<'static>,
    secret: Vec<u8>,
}

impl Pair {
    /// The certificate.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.der.clone()
    }

    /// Its key.
    pub(crate) fn secret(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.secret.clone().into())
    }
}

/// Who signs, and a folder for files.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

/// The one that clients of the suite trust. Its folder stays until the end of the process.
pub(crate) fn authority() -> Result<&'static Authority, String> {
    static MADE: OnceLock<Result<Authority, String>> = OnceLock::new();
    MADE.get_or_init(|| Authority::new("Conformance")).as_ref().map_err(Clone::clone)
}

impl Authority {
    /// Another one.
    pub(crate) fn new(name: &str) -> Result<Self, String> {
        let told = |error: rcgen::Error| format!("no authority: {error}");
        let mut params = CertificateParams::new(Vec::new()).map_err(told)?;
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(told)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(told)?;
        let folder = tempfile::tempdir().map_err(|error| format!("no folder for certificates: {error}"))?;
        Ok(Authority { issuer, folder })
    }

    /// A name for files that nobody else uses: cases of several servers run at once.
    pub(crate) fn unique(&self, name: &str) -> String {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// Its own certificate.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// A certificate for `names`, of servers and clients.
    pub(crate) fn sign(&self, names: &[&str]) -> Result<Pair, String> {
        self.sign_with(names, |_| {})
    }

    /// One whose time is over.
    pub(crate) fn sign_expired(&self, names: &[&str]) -> Result<Pair, String> {
        self.sign_with(names, |params| {
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        })
    }

    fn sign_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Result<Pair, String> {
        let told = |error: rcgen::Error| format!("no certificate for {names:?}: {error}");
        let mut params =
            CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).map_err(told)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().map_err(told)?;
        let cert = params.signed_by(&key, &self.issuer).map_err(told)?;
        Ok(Pair { cert: cert.pem(), key: key.serialize_pem(), der: cert.der().clone(), secret: key.serialize_der() })
    }

    /// Files of a pair: the certificate's and the key's. Another pair of the same name takes their place.
    pub(crate) fn write(&self, name: &str, pair: &Pair) -> Result<(PathBuf, PathBuf), String> {
        Ok((self.file(&format!("{name}.pem"), &pair.cert)?, self.file(&format!("{name}.key"), &pair.key)?))
    }

    /// The file of the authority itself.
    pub(crate) fn ca_file(&self) -> Result<PathBuf, String> {
        self.file("ca.pem", &self.issuer.pem())
    }

    fn file(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(path)
    }
}
