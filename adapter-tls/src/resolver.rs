//! Which certificate a client gets: by the name it asks for, exactly, then by `*.parent`, else the first one.
//!
//! rustls' own resolver knows no wildcards, and refuses clients that name nobody: `curl https://127.0.0.1`, health checks.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::certified::Certified;

#[derive(Debug)]
pub(crate) struct ByName {
    first: Arc<CertifiedKey>,
    /// Several where a name has keys of several kinds.
    named: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl ByName {
    /// `None` where there are no certificates.
    pub(crate) fn new(certificates: &[Certified]) -> Option<Self> {
        let first = certificates.first()?.key.clone();
        let mut named: HashMap<String, Vec<_>> = HashMap::new();
        for certified in certificates {
            for name in &certified.names {
                named.entry(name.clone()).or_default().push(certified.key.clone());
            }
        }
        Some(ByName { first, named })
    }

    /// Those for `name`.
    fn named(&self, name: &str) -> Option<&Vec<Arc<CertifiedKey>>> {
        let name = name.to_ascii_lowercase();
        self.named.get(&name).or_else(|| self.named.get(&format!("*.{}", name.split_once('.')?.1)))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = client_hello.server_name().and_then(|name| self.named(name));
        let suits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(client_hello.signature_schemes()).is_some();
        let chosen = named.and_then(|keys| keys.iter().find(suits).or(keys.first()));
        Some(chosen.unwrap_or(&self.first).clone())
    }
}
