//! Files of PEM: certificates and keys, and what people put there by mistake.
//!
//! Blocks as reading files does, on whoever configures or reloads.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::LoadError;

/// The longest file that is read: the bundle of all public authorities has a quarter of that.
const MOST: u64 = 1 << 20;

/// What is in `file`, if it can be text of PEM at all.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, LoadError> {
    let refused = |error: std::io::Error| LoadError::of(file, error.to_string());
    // A directory can be opened, and says so at the first read only, in the system's words.
    if file.is_dir() {
        return Err(LoadError::of(file, "is a directory"));
    }
    let mut text = Vec::new();
    File::open(file).and_then(|opened| opened.take(MOST + 1).read_to_end(&mut text)).map_err(refused)?;
    if text.len() as u64 > MOST {
        return Err(LoadError::of(file, "is longer than 1 MiB"));
    }
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(LoadError::of(file, "is empty"));
    }
    Ok(text)
}

/// The certificates in `text`, which is that of `file`; at least one.
pub(crate) fn certificates(file: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let chain = chain.map_err(|error| LoadError::of(file, format!("is no valid PEM: {error}")))?;
    if chain.is_empty() { Err(LoadError::of(file, "has no certificate in it (in PEM)")) } else { Ok(chain) }
}

/// The first private key in `text`, which is that of `file`: PKCS#8, PKCS#1 or SEC1.
pub(crate) fn key(file: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, LoadError> {
    let has = |mark: &[u8]| text.windows(mark.len()).any(|window| window == mark);
    // The second is OpenSSL's older form, whose inside is base64 too.
    if has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED") {
        return Err(LoadError::of(
            file,
            "has an encrypted key, which is not supported (store it without a passphrase)",
        ));
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => LoadError::of(file, "has no private key in it (in PEM)"),
        error => LoadError::of(file, format!("is no valid PEM: {error}")),
    })
}
