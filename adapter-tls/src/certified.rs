//! A certificate chain with its key, checked before anybody is served with it.

use std::path::Path;
use std::sync::Arc;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, InconsistentKeys, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use crate::error::LoadError;
use crate::pem;
use crate::words;

/// A chain with its key, and the names it is for.
#[derive(Clone, Debug)]
pub(crate) struct Certified {
    pub(crate) key: Arc<CertifiedKey>,
    /// In lower case; `*.example.com` is one too.
    pub(crate) names: Vec<String>,
}

/// Reads a pair of files and checks it whole.
pub(crate) fn from_files(cert: &Path, key: &Path, crypto: &CryptoProvider) -> Result<Certified, LoadError> {
    let chain = pem::certificates(cert, &pem::read(cert)?)?;
    let secret = pem::key(key, &pem::read(key)?)?;
    check(cert, chain, key, secret, crypto)
}

/// What keys can be.
const KEYS: &str =
    "it is none of RSA with 2048 bits or more, ECDSA on P-256, P-384 or P-521, or Ed25519; or it is damaged";

/// The checks, with the files to name in errors.
pub(crate) fn check(
    cert: &Path,
    chain: Vec<CertificateDer<'static>>,
    key: &Path,
    secret: PrivateKeyDer<'static>,
    crypto: &CryptoProvider,
) -> Result<Certified, LoadError> {
    for (index, certificate) in chain.iter().enumerate() {
        webpki::EndEntityCert::try_from(certificate).map_err(|error| {
            LoadError::of(cert, format!("certificate {} in it can't be used: {}", index + 1, words::unusable(&error)))
        })?;
    }
    let signing = crypto
        .key_provider
        .load_private_key(secret)
        // Its own words are not for who has the file.
        .map_err(|_| LoadError::of(key, format!("has a private key that can't be used: {KEYS}")))?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        // rustls does not know with keys of some makers; nor do we.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            return Err(LoadError::of(key, format!("does not fit the certificate in {}", cert.display())));
        }
        Err(error) => return Err(LoadError::of(cert, format!("can't be used: {error}"))),
    }
    let names = match certified.end_entity_cert().map(webpki::EndEntityCert::try_from) {
        Ok(Ok(parsed)) => parsed.valid_dns_names().map(str::to_ascii_lowercase).collect(),
        // It was parsed above.
        _ => Vec::new(),
    };
    if let Some(problem) = untimely(&certified, crypto) {
        tracing::warn!(target: "adapter", file = %cert.display(), "clients will refuse the certificate: it {problem}");
    }
    Ok(Certified { key: Arc::new(certified), names })
}

/// What is wrong with the time of the certificate.
fn untimely(certified: &CertifiedKey, crypto: &CryptoProvider) -> Option<&'static str> {
    let parsed = ParsedCertificate::try_from(certified.end_entity_cert().ok()?).ok()?;
    // The validity is looked at before anything else; with no roots, all that is in time ends as of an unknown issuer. So no
    // second parser of certificates is needed.
    let verified = verify_server_cert_signed_by_trust_anchor(
        &parsed,
        &RootCertStore::empty(),
        &[],
        UnixTime::now(),
        crypto.signature_verification_algorithms.all,
    );
    match verified {
        Err(rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            Some("has expired")
        }
        Err(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => Some("is not valid yet"),
        _ => None,
    }
}
