//! The certificate that servers under TLS show: made for each run.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{CertifiedKey, generate_simple_self_signed};

/// A self-signed certificate for `localhost`, ECDSA on P-256, and its key, both as PEM files.
pub struct Identity {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Identity {
    pub fn make(directory: &Path) -> Result<Self, String> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_string()])
            .map_err(|error| format!("no certificate: {error}"))?;
        let identity = Self { cert: directory.join("cert.pem"), key: directory.join("key.pem") };
        fs::write(&identity.cert, cert.pem())
            .and_then(|()| fs::write(&identity.key, signing_key.serialize_pem()))
            .map_err(|error| format!("the certificate can't be written: {error}"))?;
        Ok(identity)
    }

    /// The flags for the files, and the files.
    pub fn files(&self) -> [(&'static str, &Path); 2] {
        [("--tls-cert", &self.cert), ("--tls-key", &self.key)]
    }
}
