//! What the peers under TLS share: a configuration of rustls like that of the adapters, from `--tls-cert` and `--tls-key`.

use std::sync::Arc;

use peer_support::Arguments;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// TLS 1.2 and 1.3, HTTP/1.1, tickets. Panics where something is missing: a peer is only ever started by the benchmark
/// command.
pub fn config(arguments: &Arguments) -> ServerConfig {
    let file = |flag| arguments.value(flag).unwrap_or_else(|| panic!("{flag} is missing"));
    let chain = CertificateDer::pem_file_iter(file("--tls-cert")).expect("certificate file");
    let chain = chain.map(|certificate| certificate.expect("certificate")).collect();
    let key = PrivateKeyDer::from_pem_file(file("--tls-key")).expect("key");
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a key that fits the certificate");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = Ticketer::new().expect("ticketer");
    config
}
