//! Certificates in files that change under a running program.

use std::sync::Arc;

use adapter_web::tls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto};

use crate::program::{command, connect, start, talk};

/// The certificate that is shown, and what `/` says under it.
fn secure(address: &str, known: &[rcgen::CertifiedKey<rcgen::KeyPair>]) -> (Vec<u8>, String) {
    let mut roots = RootCertStore::empty();
    for certified in known {
        roots.add(certified.cert.der().clone()).expect("a certificate");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut stream = StreamOwned::new(connection, connect(address));
    let said = talk(&mut stream, "/");
    let shown = stream.conn.peer_certificates().expect("a certificate is shown");
    (shown[0].to_vec(), said)
}

pub(crate) fn case(server: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = [0, 1].map(|_| rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate"));
    let put = |n: usize, m: usize| {
        std::fs::write(&cert, made[n].cert.pem()).expect("written");
        std::fs::write(&key, made[m].signing_key.serialize_pem()).expect("written");
    };
    put(0, 0);
    let mut command = command(&["--server", server, "--bind", "127.0.0.1:0"]);
    command.arg("--tls-cert").arg(&cert).arg("--tls-key").arg(&key);
    let program = start(command);
    let address = program.address();
    let address = address.strip_prefix("https://").expect("what it says has TLS");
    let shows = |n: usize| {
        let (shown, said) = secure(address, &made);
        assert!(said.ends_with("\r\n\r\nhello"), "{said}");
        assert_eq!(shown, made[n].cert.der().to_vec());
    };
    shows(0);
    put(1, 1);
    program.signal("-HUP");
    assert_eq!(program.line(), "adapter: SIGHUP: read the certificates again");
    shows(1);
    put(0, 1);
    program.signal("-HUP");
    let line = program.line();
    assert!(line.starts_with("adapter: SIGHUP: serving the certificates from before: "), "{line}");
    assert!(
        line.ends_with(&format!("{}: does not fit the certificate in {}", key.display(), cert.display())),
        "{line}"
    );
    shows(1);
    assert!(talk(connect(address), "/").starts_with("HTTP/1.1 400 "), "plain HTTP where there is TLS");
    program.signal("-TERM");
    assert_eq!(program.end().0.code(), Some(0));
}
