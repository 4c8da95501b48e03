//! A certificate for development, made when the program starts and gone when it ends.

use rcgen::CertifiedKey;
use rustls::crypto::hash::HashAlgorithm;
use rustls_pki_types::PrivateKeyDer;

use crate::error::LoadError;
use crate::provider::provider;
use crate::settings::Identity;

/// A certificate for `names`, and its fingerprint.
pub(crate) fn make(names: Vec<String>) -> Result<(Identity, String), LoadError> {
    let refused = |error: rcgen::Error| LoadError::new(format!("no certificate for {}: {error}", names.join(", ")));
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names.clone()).map_err(refused)?;
    let cert = cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let fingerprint = fingerprint(&cert).unwrap_or_else(|| "unknown".into());
    Ok((Identity::Memory { cert, key }, fingerprint))
}

/// SHA-256, as browsers and `openssl x509 -fingerprint` write it. The hash is a cipher suite's, which spares a crate.
fn fingerprint(cert: &[u8]) -> Option<String> {
    let suites = provider()?.crypto.cipher_suites.clone();
    let hash = suites
        .iter()
        .filter_map(rustls::SupportedCipherSuite::tls13)
        .map(|suite| suite.common.hash_provider)
        .find(|hash| hash.algorithm() == HashAlgorithm::SHA256)?;
    let octets: Vec<_> = hash.hash(cert).as_ref().iter().map(|octet| format!("{octet:02X}")).collect();
    Some(octets.join(":"))
}
