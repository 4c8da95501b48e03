//! Certificates in files that change under a running program.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use adapter_web::tls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto};

use crate::program::{command, connect, fails, start, talk, until};

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

/// Two certificates, and the files of one that a program reads.
struct Certificates {
    folder: tempfile::TempDir,
    made: [rcgen::CertifiedKey<rcgen::KeyPair>; 2],
}

impl Certificates {
    fn new() -> Self {
        let made = [0, 1].map(|_| rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate"));
        let certificates = Certificates { folder: tempfile::tempdir().expect("a folder"), made };
        certificates.put(0, 0);
        certificates
    }

    fn files(&self) -> [PathBuf; 2] {
        ["cert.pem", "key.pem"].map(|name| self.folder.path().join(name))
    }

    /// Writes the certificate `n` with the key of `m`.
    fn put(&self, n: usize, m: usize) {
        let [cert, key] = self.files();
        std::fs::write(cert, self.made[n].cert.pem()).expect("written");
        std::fs::write(key, self.made[m].signing_key.serialize_pem()).expect("written");
    }

    fn program(&self, server: &str, args: &[&str]) -> Command {
        let [cert, key] = self.files();
        let mut command = command(&["--server", server, "--bind", "127.0.0.1:0"]);
        command.args(args).arg("--tls-cert").arg(cert).arg("--tls-key").arg(key);
        command
    }

    fn shows(&self, address: &str, n: usize) {
        let (shown, said) = secure(address, &self.made);
        assert!(said.ends_with("\r\n\r\nhello"), "{said}");
        assert_eq!(shown, self.made[n].cert.der().to_vec());
    }
}

pub(crate) fn case(server: &str) {
    let certificates = Certificates::new();
    let program = start(certificates.program(server, &[]));
    let address = program.address();
    let address = address.strip_prefix("https://").expect("what it says has TLS");
    certificates.shows(address, 0);
    certificates.put(1, 1);
    program.signal("-HUP");
    assert_eq!(program.line(), "adapter: SIGHUP: read the certificates again");
    certificates.shows(address, 1);
    certificates.put(0, 1);
    program.signal("-HUP");
    let line = program.line();
    assert!(line.starts_with("adapter: SIGHUP: serving the certificates from before: "), "{line}");
    let [cert, key] = certificates.files();
    assert!(
        line.ends_with(&format!("{}: does not fit the certificate in {}", key.display(), cert.display())),
        "{line}"
    );
    certificates.shows(address, 1);
    assert!(talk(connect(address), "/").starts_with("HTTP/1.1 400 "), "plain HTTP where there is TLS");
    program.signal("-TERM");
    assert_eq!(program.end().0.code(), Some(0));
}

/// Those of workers are read by new ones.
pub(crate) fn of_workers(server: &str) {
    let certificates = Certificates::new();
    let program = start(certificates.program(server, &["--workers", "2"]));
    until(&program, " serves");
    until(&program, " serves");
    let address = program.address();
    let address = address.strip_prefix("https://").expect("what it says has TLS");
    certificates.shows(address, 0);
    certificates.put(1, 1);
    program.signal("-HUP");
    until(&program, " ended");
    until(&program, " ended");
    certificates.shows(address, 1);
    certificates.put(0, 1);
    program.signal("-HUP");
    let lines = until(&program, " ended before it served (exit status: 2)");
    assert!(lines.iter().any(|line| line.starts_with("error: ") && line.contains("does not fit")), "{lines:?}");
    certificates.shows(address, 1);
    program.signal("-TERM");
    assert_eq!(program.end().0.code(), Some(0));
    // Who comes next would be shown another one each time.
    let args = ["--server", server, "--bind", "127.0.0.1:0", "--workers", "2", "--tls-self-signed"];
    fails(&args, 2, "error: --workers: each would have a certificate of its own by --tls-self-signed; use --tls-cert");
}
