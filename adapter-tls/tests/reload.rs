//! Reload: what is taken over, what is kept, what is forgotten.
#![cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::sync::Arc;

use adapter_core::tls::Tls;
use adapter_tls::rustls::ClientConfig;
use adapter_tls::{ClientAuth, LoadError};
use support::{Authority, Link, Place, both};

fn is_resumed(tls: &Tls, config: &Arc<ClientConfig>) -> bool {
    let mut link = Link::new(tls, false, config.clone(), "localhost").established();
    link.answer(b"x");
    link.server.info().resumed
}

#[test]
fn new_certificates_are_for_new_connections() {
    let place = Place::new();
    let tls = place.config().load().unwrap();
    let mut before = place.client().connect(&tls, false).established();
    let mut between = place.client().connect(&tls, false);
    between.cuts = vec![1];
    let newer = place.authority.sign(&["localhost"]);
    newer.write(place.folder.path(), "localhost");
    let connect = || place.client().connect(&tls, false).established().shown().clone();
    assert_eq!(connect(), place.pair.der, "not by itself");
    tls.reload().unwrap();
    assert_eq!(connect(), newer.der);
    assert_eq!(between.established().shown(), &newer.der, "it was accepted before, and its client spoke after");
    before.send(b"still here");
    assert_eq!(before.at_server, b"still here");
}

#[test]
fn what_does_not_hold_changes_nothing() {
    let place = Place::new();
    let tls = place.config().load().unwrap();
    let other = place.authority.sign(&["localhost"]);
    let good = fs::read(&place.key).unwrap();
    for (file, bad, reason) in [
        (&place.key, Some(other.key.as_str()), "does not fit the certificate in "),
        (&place.key, Some(""), "is empty"),
        (&place.cert, Some("nothing"), "has no certificate in it (in PEM)"),
        (&place.cert, None, "No such file or directory"),
    ] {
        match bad {
            Some(text) => fs::write(file, text).unwrap(),
            None => fs::remove_file(file).unwrap(),
        }
        let error = tls.reload().unwrap_err();
        let told = error.downcast_ref::<LoadError>().unwrap();
        assert_eq!(told.file(), Some(file.as_path()));
        assert!(told.to_string().starts_with(&format!("{}: {reason}", file.display())), "{told}");
        assert_eq!(place.client().connect(&tls, false).established().shown(), &place.pair.der);
        fs::write(&place.key, &good).unwrap();
        fs::write(&place.cert, &place.pair.cert).unwrap();
    }
    tls.reload().unwrap();
}

#[test]
fn sessions_outlive_a_reload() {
    let place = Place::new();
    let tls = place.config().load().unwrap();
    for version in both() {
        let config = place.client().speaks(version).config();
        assert!(!is_resumed(&tls, &config));
        place.authority.sign(&["localhost"]).write(place.folder.path(), "localhost");
        tls.reload().unwrap();
        assert!(is_resumed(&tls, &config));
    }
}

/// Else a client that one authority vouched for would come in by another's.
#[test]
fn sessions_are_forgotten_with_the_rules_they_were_made_by() {
    let place = Place::new();
    let (old, new) = (Authority::new("Old"), Authority::new("New"));
    let ca = place.file("ca.pem", old.pem());
    let alice = old.sign(&["alice.example"]);
    for auth in [ClientAuth::Optional, ClientAuth::Required] {
        for version in both() {
            fs::write(&ca, old.pem()).unwrap();
            let tls = place.config().client_ca(&ca, auth).load().unwrap();
            let config = place.client().speaks(version).shows(&alice).config();
            assert!(!is_resumed(&tls, &config));
            tls.reload().unwrap();
            assert!(is_resumed(&tls, &config), "the same rules");
            fs::write(&ca, new.pem()).unwrap();
            tls.reload().unwrap();
            let mut link = Link::new(&tls, false, config, "localhost");
            assert!(link.pump().is_err(), "{auth:?}: shown again, and refused");
        }
    }
}
