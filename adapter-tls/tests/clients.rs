//! Certificates of clients.
#![cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use adapter_tls::ClientAuth;
use support::{Authority, Place, both};

#[test]
fn certificates_of_clients_are_looked_at_as_is_configured() {
    let place = Place::new();
    let staff = Authority::new("Staff");
    let ca = place.file("staff.pem", staff.pem());
    let right = staff.sign(&["alice.example"]);
    let wrong = Authority::new("Strangers").sign(&["alice.example"]);
    let expired = staff.sign_with(&["alice.example"], |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    for version in both() {
        for (auth, none) in [(ClientAuth::Off, true), (ClientAuth::Optional, true), (ClientAuth::Required, false)] {
            let tls = place.config().client_ca(&ca, auth).load().unwrap();
            let shown = |shows| {
                let mut client = place.client().speaks(version);
                client.shows = shows;
                let mut link = client.connect(&tls, false);
                link.pump()
                    .map(|()| link.server.info().peer_certificates)
                    .map_err(|_| assert!(link.client_error.is_some()))
            };
            let is_asked = auth != ClientAuth::Off;
            assert_eq!(shown(None).is_ok(), none, "{auth:?}");
            assert_eq!(
                shown(Some(right.clone())),
                Ok(if is_asked { vec![right.der.to_vec()] } else { vec![] }),
                "{auth:?}"
            );
            assert_eq!(shown(Some(wrong.clone())).is_err(), is_asked, "{auth:?}");
            assert_eq!(shown(Some(expired.clone())).is_err(), is_asked, "{auth:?}");
        }
    }
}

#[test]
fn a_resumed_session_knows_who_the_client_is() {
    let place = Place::new();
    let staff = Authority::new("Staff");
    let ca = place.file("staff.pem", staff.pem());
    let alice = staff.sign(&["alice.example"]);
    let tls = place.config().client_ca(ca, ClientAuth::Required).load().unwrap();
    for version in both() {
        let config = place.client().speaks(version).shows(&alice).config();
        for resumed in [false, true] {
            let mut link = support::Link::new(&tls, false, config.clone(), "localhost").established();
            link.answer(b"x");
            let info = link.server.info();
            assert_eq!((info.resumed, info.peer_certificates), (resumed, vec![alice.der.to_vec()]));
        }
    }
}
