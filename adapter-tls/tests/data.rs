//! Data both ways: large, in small buffers, cut anywhere; and the ends.
#![cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{IoSlice, Write as _};

use proptest::prelude::*;
use support::{Place, both};

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251) as u8).collect()
}

#[test]
fn much_goes_both_ways_through_small_buffers() {
    let place = Place::new();
    let tls = place.config().load().unwrap();
    for version in both() {
        let mut link = place.client().speaks(version).connect(&tls, false).established();
        let much = text(1 << 20);
        link.buffer = 1000;
        link.cuts = vec![30_000, 1, 4097, 17];
        link.send(&much);
        assert!(link.at_server == much);
        link.answer(&much);
        assert!(link.at_client == much);
    }
}

#[test]
fn unread_plaintext_is_bounded() {
    let place = Place::new();
    let tls = place.config().load().unwrap();
    let mut link = place.client().connect(&tls, false).established();
    let much = text(1 << 20);
    link.client.set_buffer_limit(None);
    link.client.writer().write_all(&much).unwrap();
    while link.client.wants_write() {
        link.client.write_tls(&mut link.to_server).unwrap();
    }
    let mut taken = 0;
    loop {
        match link.server.receive(&link.to_server[taken..]).unwrap() {
            0 => break,
            more => taken += more,
        }
    }
    assert!((16_384..64_000).contains(&taken), "{taken}");
    assert_eq!(link.server.receive(&link.to_server[taken..]).unwrap(), 0, "it waits");
    let before = taken;
    link.read();
    taken += link.server.receive(&link.to_server[taken..]).unwrap();
    assert!(taken > before && link.server.has_plaintext());
    link.to_server.drain(..taken);
    link.read();
    link.pump().unwrap();
    assert!(link.at_server == much);
}

#[test]
fn one_write_is_bounded_and_leaves_nothing_behind() {
    let place = Place::new();
    let tls = place.config().load().unwrap();
    let mut link = place.client().connect(&tls, false).established();
    let much = text(1 << 20);
    let (mut out, mut rest) = (Vec::new(), Vec::new());
    let taken = link.server.write(&[IoSlice::new(&much[..10]), IoSlice::new(&much[10..])], &mut out);
    assert_eq!(taken, 64 * 1024);
    assert!((taken..taken + 1000).contains(&out.len()));
    link.server.output(&mut rest);
    assert!(rest.is_empty());
    assert_eq!(link.server.write(&[], &mut out), 0);
    // Head and body are one record: 5 octets of header, 17 of seal.
    out.clear();
    assert_eq!(link.server.write(&[IoSlice::new(b"head"), IoSlice::new(b"body")], &mut out), 8);
    assert_eq!(out.len(), 8 + 22);
}

#[test]
fn both_sides_say_that_they_close() {
    let place = Place::new();
    let tls = place.config().load().unwrap();
    for version in both() {
        let mut link = place.client().speaks(version).connect(&tls, false).established();
        link.client.writer().write_all(b"last words").unwrap();
        link.client.send_close_notify();
        link.client.write_tls(&mut link.to_server).unwrap();
        while !link.to_server.is_empty() {
            let taken = link.server.receive(&link.to_server).unwrap();
            link.to_server.drain(..taken);
        }
        assert!(!link.server.has_ended(), "there is plaintext in front of it");
        link.read();
        assert!(link.server.has_ended());
        assert_eq!(link.at_server, b"last words");
        assert_eq!(link.server.receive(b"whatever").unwrap(), 0);
        // The other direction is still open. RFC 8446 §6.1
        link.answer(b"answer");
        let mut out = Vec::new();
        link.server.close(&mut out);
        let once = out.len();
        link.server.close(&mut out);
        assert_eq!(link.server.write(&[IoSlice::new(b"x")], &mut out), 0);
        assert_eq!(out.len(), once, "said once");
        link.to_client = out;
        link.pump().unwrap();
        assert!(link.client_closed);
        assert_eq!(link.at_client, b"answer");
    }
}

#[test]
fn the_server_reads_on_after_it_has_closed() {
    let place = Place::new();
    let tls = place.config().load().unwrap();
    let mut link = place.client().connect(&tls, false).established();
    let mut out = Vec::new();
    link.server.close(&mut out);
    link.to_client = out;
    link.pump().unwrap();
    assert!(link.client_closed && !link.server.has_ended());
    link.send(b"more");
    assert_eq!(link.at_server, b"more");
}

#[test]
fn a_forged_record_is_an_error_that_the_client_is_told() {
    let place = Place::new();
    let tls = place.config().load().unwrap();
    for version in both() {
        let mut link = place.client().speaks(version).connect(&tls, false).established();
        link.client.writer().write_all(b"genuine").unwrap();
        link.client.write_tls(&mut link.to_server).unwrap();
        *link.to_server.last_mut().unwrap() ^= 1;
        assert!(link.pump().is_err());
        assert!(link.client_error.is_some(), "bad_record_mac");
        assert!(link.at_server.is_empty());
        let mut out = Vec::new();
        link.server.close(&mut out);
        assert!(out.is_empty(), "no close_notify behind a fatal alert");
    }
}

#[test]
fn keys_can_be_changed_under_way() {
    let place = Place::new();
    let tls = place.config().load().unwrap();
    let mut link = place.client().connect(&tls, false).established();
    for round in 0..5 {
        link.client.refresh_traffic_keys().unwrap();
        link.send(b"ping");
        assert_eq!(link.at_server.len(), 4 * (round + 1));
        link.answer(b"pong");
        assert_eq!(link.at_client.len(), 4 * (round + 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn cuts_change_nothing(
        cuts in prop::collection::vec(1_usize..5000, 1..8), buffer in 1_usize..20_000,
        up in 0_usize..60_000, down in 0_usize..60_000, newest: bool,
    ) {
        let place = Place::new();
        let tls = place.config().load().unwrap();
        let mut link = place.client().speaks(both()[usize::from(newest)]).connect(&tls, false);
        (link.cuts, link.buffer) = (cuts, buffer);
        let mut link = link.established();
        link.send(&text(up));
        prop_assert!(link.at_server == text(up));
        link.answer(&text(down));
        prop_assert!(link.at_client == text(down));
    }

    #[test]
    fn garbage_panics_nowhere(start in 0_usize..400, garbage in prop::collection::vec(any::<u8>(), 1..200), newest: bool) {
        let place = Place::new();
        let tls = place.config().load().unwrap();
        let mut link = place.client().speaks(both()[usize::from(newest)]).connect(&tls, true);
        link.client.write_tls(&mut link.to_server).unwrap();
        let start = start.min(link.to_server.len());
        link.to_server.splice(start.., garbage);
        // An error, or it waits for more.
        let _ = link.pump();
        prop_assert!(link.server.is_handshaking());
    }
}
