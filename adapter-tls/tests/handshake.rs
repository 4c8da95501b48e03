//! Handshakes: versions, ALPN, names, resumption, and what is no TLS.
#![cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;

use adapter_core::tls::TlsInfo;
use adapter_tls::rustls::{AlertDescription, Error, HandshakeKind, ServerConfig, version};
use adapter_tls::{MinVersion, from_rustls};
use support::{Link, Place, both, crypto};

#[test]
fn both_versions_in_pieces_of_any_size() {
    let place = Place::new();
    let tls = place.config().load().unwrap();
    for (index, version) in both().into_iter().enumerate() {
        for cut in [1, 2, 7, 100, usize::MAX] {
            let mut link = place.client().speaks(version).connect(&tls, false);
            link.cuts = vec![cut];
            assert!(link.server.is_handshaking());
            assert_eq!(link.server.info(), TlsInfo::default());
            let mut link = link.established();
            let info = link.server.info();
            assert_eq!(info.protocol.as_deref(), Some(["TLSv1.2", "TLSv1.3"][index]));
            let suite = info.cipher_suite.unwrap();
            assert!(suite.starts_with(["TLS_ECDHE_ECDSA_WITH_AES_", "TLS_AES_"][index]), "{suite}");
            assert_eq!(info.server_name.as_deref(), Some("localhost"));
            assert_eq!((info.alpn, info.resumed, info.peer_certificates), (None, false, vec![]));
            link.send(b"GET / HTTP/1.1\r\n\r\n");
            assert_eq!(link.at_server, b"GET / HTTP/1.1\r\n\r\n");
            link.answer(b"HTTP/1.1 200 OK\r\n\r\n");
            assert_eq!(link.at_client, b"HTTP/1.1 200 OK\r\n\r\n");
        }
    }
}

#[test]
fn the_oldest_version_is_kept() {
    let place = Place::new();
    let tls = place.config().min_version(MinVersion::Tls13).load().unwrap();
    place.client().speaks(&version::TLS13).connect(&tls, false).established();
    let mut link = place.client().speaks(&version::TLS12).connect(&tls, false);
    assert!(link.pump().is_err());
    assert_eq!(link.client_error, Some(Error::AlertReceived(AlertDescription::ProtocolVersion)));
}

#[test]
fn alpn_is_what_the_server_has() {
    let place = Place::new();
    let given = ServerConfig::builder_with_provider(crypto())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![place.pair.der.clone()],
            adapter_tls::rustls::pki_types::pem::PemObject::from_pem_slice(place.pair.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let of_program = from_rustls(Arc::new(given));
    assert!(of_program.reload().is_ok());
    // What a client offers, whether the server has HTTP/2, what is agreed on: a name, none, or `refused`.
    type Case = (&'static [&'static str], bool, Option<&'static str>);
    let cases: [Case; 9] = [
        (&[], false, None),
        (&[], true, None),
        (&["http/1.1"], false, Some("http/1.1")),
        (&["http/1.1"], true, Some("http/1.1")),
        (&["h2", "http/1.1"], false, Some("http/1.1")),
        (&["http/1.1", "h2"], true, Some("h2")),
        (&["h2"], true, Some("h2")),
        (&["h2"], false, Some("refused")),
        (&["spdy/3", "http/1.0"], true, Some("refused")),
    ];
    for tls in [place.config().load().unwrap(), of_program] {
        for (offered, http2, expected) in cases {
            for version in both() {
                let mut link = place.client().speaks(version).alpn(offered).connect(&tls, http2);
                let agreed = link.pump().map(|()| link.server.info().alpn).map_err(|error| error.to_string());
                if expected == Some("refused") {
                    assert!(agreed.is_err(), "{offered:?} {http2}");
                    let alert = Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol));
                    assert_eq!(link.client_error, alert, "{offered:?} {http2}");
                } else {
                    let expected = expected.map(|name| name.as_bytes().to_vec());
                    assert_eq!(agreed, Ok(expected), "{offered:?} {http2}");
                }
            }
        }
    }
}

#[test]
fn a_name_has_its_certificate() {
    let place = Place::new();
    let sign = |names: &[&str], file| {
        let pair = place.authority.sign(names);
        (pair.clone(), pair.write(place.folder.path(), file))
    };
    let (wild, wild_files) = sign(&["*.example.org", "example.com"], "wild");
    let (exact, exact_files) = sign(&["www.example.org", "UPPER.example"], "exact");
    let (_, again_files) = sign(&["www.example.org"], "again");
    let tls = place
        .config()
        .and_files(wild_files.0, wild_files.1)
        .and_files(exact_files.0, exact_files.1)
        .and_files(again_files.0, again_files.1)
        .load()
        .unwrap();
    let shown = |name: &str| {
        let mut link = Link::new(&tls, false, place.client().config(), name);
        // A client does not like a certificate for another name, but has seen which it was: by the alert at the server's.
        link.pump().map(|()| link.shown().clone())
    };
    assert_eq!(shown("localhost").unwrap(), place.pair.der);
    assert_eq!(shown("www.example.org").unwrap(), exact.der, "exact before the wildcard; of two the first");
    assert_eq!(shown("upper.example").unwrap(), exact.der);
    assert_eq!(shown("UPPER.example").unwrap(), exact.der);
    assert_eq!(shown("api.example.org").unwrap(), wild.der);
    assert_eq!(shown("example.com").unwrap(), wild.der);
    // One label only, and not the parent itself; so the first is shown, which is not for them.
    for name in ["a.b.example.org", "example.org", "elsewhere.example", "org"] {
        assert!(shown(name).is_err(), "{name}");
    }
    // No name at all: an address is none.
    let address = place.authority.sign(&["localhost", "127.0.0.1"]);
    let (cert, key) = address.write(place.folder.path(), "localhost");
    let tls = adapter_tls::TlsConfig::files(cert, key).load().unwrap();
    let link = Link::new(&tls, false, place.client().config(), "127.0.0.1").established();
    assert_eq!((link.shown(), link.server.info().server_name), (&address.der, None));
}

#[test]
fn sessions_are_resumed() {
    let place = Place::new();
    let tls = place.config().load().unwrap();
    for version in both() {
        let config = place.client().speaks(version).alpn(&["http/1.1"]).config();
        let connect = || {
            let mut link = Link::new(&tls, false, config.clone(), "localhost").established();
            link.answer(b"x");
            (link.client.handshake_kind(), link.server.info())
        };
        let (first, info) = connect();
        assert_ne!(first, Some(HandshakeKind::Resumed));
        assert!(!info.resumed);
        let (again, mut resumed) = connect();
        assert_eq!(again, Some(HandshakeKind::Resumed));
        assert!(std::mem::take(&mut resumed.resumed));
        assert_eq!(resumed, info, "it knows the same as at first");
    }
}

#[test]
fn what_is_no_tls_is_an_error() {
    let place = Place::new();
    let tls = place.config().load().unwrap();
    let mut long = vec![22, 3, 1, 0xff, 0xff];
    long.resize(70_000, 1);
    let mut hello_without_end = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    hello_without_end.resize(0x4000 + 5, 0);
    for garbage in [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        &[0; 64],
        &[255; 64],
        &[22, 3, 1, 0, 4, 2, 0, 0, 0],
        &[21, 3, 3, 0, 2, 2, 40],
        &[20, 3, 3, 0, 1, 1],
        &[23, 3, 3, 0, 5, 1, 2, 3, 4, 5],
        &long,
        &hello_without_end,
    ] {
        for cut in [1, usize::MAX] {
            let mut session = tls.accept(true);
            let result =
                garbage.chunks(cut.min(garbage.len())).try_for_each(|piece| session.receive(piece).map(|_| ()));
            assert!(result.is_err(), "{:?}", &garbage[..garbage.len().min(20)]);
            let mut said = Vec::new();
            session.output(&mut said);
            assert!(said.is_empty() || said[0] == 21, "an alert, if anything");
            assert!(session.is_handshaking() && !session.has_plaintext() && !session.has_ended());
            // It stays over.
            assert_eq!(session.receive(b"more").unwrap(), 0);
            assert_eq!((session.read(&mut [0; 8]), session.write(&[std::io::IoSlice::new(b"x")], &mut said)), (0, 0));
            let before = said.len();
            session.close(&mut said);
            session.output(&mut said);
            assert_eq!(said.len(), before);
        }
    }
}

#[test]
fn nothing_is_written_before_the_handshake_is_over() {
    let place = Place::new();
    let tls = place.config().load().unwrap();
    let mut link = place.client().connect(&tls, false);
    let mut out = Vec::new();
    assert_eq!(link.server.write(&[std::io::IoSlice::new(b"early")], &mut out), 0);
    link.client.write_tls(&mut link.to_server).unwrap();
    assert_eq!(link.server.receive(&link.to_server).unwrap(), link.to_server.len());
    assert_eq!(link.server.write(&[std::io::IoSlice::new(b"early")], &mut out), 0);
    assert!(link.server.is_handshaking() && out.is_empty());
}
