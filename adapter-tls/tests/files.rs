//! Files that can't be used: one line that says which, and what is wrong with it.
#![cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use adapter_tls::{ClientAuth, TlsConfig};
use support::{Authority, Place};

fn refused(cert: &Path, key: &Path) -> String {
    let error = TlsConfig::files(cert, key).load().unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn bad_files_are_named_with_what_is_wrong() {
    let place = Place::new();
    let (cert, key) = (&place.cert, &place.key);
    let missing = place.folder.path().join("missing");
    let empty = place.file("empty", " \n");
    let words = place.file("words", "no PEM at all");
    let broken = place.file("broken", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
    let cut_off = place.file("cut_off", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let garbage = place.file("garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let second = place.file("second", format!("{}{}", place.pair.cert, std::fs::read_to_string(&garbage).unwrap()));
    let bad_key = place.file("bad_key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let encrypted = place.file("encrypted", encrypted);
    let older = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA";
    let older = format!("-----BEGIN RSA PRIVATE KEY-----\n{older}\n-----END RSA PRIVATE KEY-----\n");
    let older = place.file("older", older);
    let der = place.file("der", &place.pair.der);
    let long = place.file("long", vec![b'x'; (1 << 20) + 1]);
    let folder = place.folder.path();
    let other = place.authority.sign(&["localhost"]).write(folder, "other").1;
    for (file, reason) in [
        (missing.as_path(), "No such file or directory (os error 2)"),
        (folder, "is a directory"),
        (&empty, "is empty"),
        (&words, "has no certificate in it (in PEM)"),
        (&der, "has no certificate in it (in PEM)"),
        (key, "has no certificate in it (in PEM)"),
        (&broken, "is no valid PEM: "),
        (&cut_off, "is no valid PEM: "),
        (&garbage, "certificate 1 in it can't be used: "),
        (&second, "certificate 2 in it can't be used: "),
        (&long, "is longer than 1 MiB"),
    ] {
        let told = refused(file, key);
        assert!(told.starts_with(&format!("{}: {reason}", file.display())), "{told}");
    }
    let encrypted_is_not = "has an encrypted key, which is not supported (store it without a passphrase)";
    let mismatch = format!("does not fit the certificate in {}", cert.display());
    for (file, reason) in [
        (missing.as_path(), "No such file or directory (os error 2)"),
        (folder, "is a directory"),
        (&empty, "is empty"),
        (&words, "has no private key in it (in PEM)"),
        (cert, "has no private key in it (in PEM)"),
        (&bad_key, "has a private key that can't be used: "),
        (&encrypted, encrypted_is_not),
        (&older, encrypted_is_not),
        (&other, &mismatch),
    ] {
        let told = refused(cert, file);
        assert!(told.starts_with(&format!("{}: {reason}", file.display())), "{told}");
    }
    // Of several pairs the one that is bad.
    let told = place.config().and_files(cert, &other).load().unwrap_err().to_string();
    assert!(told.starts_with(&other.display().to_string()), "{told}");
    for (file, reason) in
        [(&missing, "No such file"), (&words, "has no certificate in it"), (&garbage, "certificate 1 in it")]
    {
        let told = place.config().client_ca(file, ClientAuth::Required).load().unwrap_err().to_string();
        assert!(told.starts_with(&format!("{}: {reason}", file.display())), "{told}");
        assert!(place.config().client_ca(file, ClientAuth::Off).load().is_ok(), "it is not read");
    }
}

/// A subscriber that keeps the lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_certificate_out_of_its_time_is_warned_of_and_used() {
    let place = Place::new();
    let said = |place: &Place| {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let loaded = tracing::subscriber::with_default(subscriber, || place.config().load());
        assert!(loaded.is_ok());
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    };
    assert_eq!(said(&place), "");
    // Not a self-signed one only, and not one for servers only.
    let issuers = [&place.authority, &Authority::new("Others")];
    for issuer in issuers {
        let expired = issuer.sign_with(&["localhost"], |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
        expired.write(place.folder.path(), "localhost");
        let lines = said(&place);
        assert!(lines.contains("WARN adapter: clients will refuse the certificate: it has expired"), "{lines}");
        assert!(lines.contains("localhost.pem"), "{lines}");
        let early = issuer.sign_with(&["localhost"], |params| {
            params.not_before = rcgen::date_time_ymd(4000, 1, 1);
            params.extended_key_usages.clear();
        });
        early.write(place.folder.path(), "localhost");
        let lines = said(&place);
        assert!(lines.contains("it is not valid yet"), "{lines}");
        issuer.sign(&["localhost"]).write(place.folder.path(), "localhost");
        assert_eq!(said(&place), "");
    }
}

#[cfg(feature = "self-signed")]
#[test]
fn a_certificate_of_its_own_has_a_fingerprint() {
    let config = TlsConfig::self_signed(["localhost", "127.0.0.1", "::1"]).unwrap();
    let told = config.fingerprint().unwrap().to_owned();
    assert!(told.len() == 95 && told.split(':').all(|octet| u8::from_str_radix(octet, 16).is_ok()), "{told}");
    assert_ne!(TlsConfig::self_signed(["localhost"]).unwrap().fingerprint(), Some(told.as_str()));
    let tls = config.load().unwrap();
    tls.reload().unwrap();
    assert!(TlsConfig::self_signed(["no name"]).is_err() || TlsConfig::self_signed(["ü"]).is_err());
}
