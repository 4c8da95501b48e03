//! The codec. \[UPG-09\], \[UPG-11\], \[UPG-13c\], \[UPG-24\]

use proptest::prelude::*;

use super::super::frame::{Decoder, Event, Violation, encode_close, encode_message, encode_pong};
use super::super::message::{Message, code};
use super::masked;

const FIN: u8 = 0x80;

/// Decodes `octets`, given in pieces of `size`.
fn decode(octets: &[u8], size: usize, limit: usize) -> (Vec<Event>, Option<Violation>) {
    let mut decoder = Decoder::new(limit, limit);
    let mut events = Vec::new();
    for mut piece in octets.chunks(size.max(1)) {
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(violation) => return (events, Some(violation)),
            }
        }
        assert!(piece.is_empty());
    }
    (events, None)
}

#[test]
fn messages_and_controls_decode_at_every_split() {
    let octets = [
        masked(1, b"He"),
        masked(FIN | 9, b"ping"),
        masked(FIN, "llö".as_bytes()),
        masked(FIN | 2, &[7; 300]),
        masked(FIN | 10, b""),
        masked(FIN | 8, b"\x03\xe8bye"),
    ]
    .concat();
    let expected = [
        Event::Ping(b"ping".to_vec()),
        Event::Message(Message::from("Hellö")),
        Event::Message(Message::from(vec![7; 300])),
        Event::Pong,
        Event::Close(Some((1000, "bye".into()))),
    ];
    for size in 1..=octets.len() {
        let (events, violation) = decode(&octets, size, 1000);
        assert_eq!((events.as_slice(), violation), (expected.as_slice(), None), "in pieces of {size}");
    }
}

#[test]
fn a_violation_is_found_at_its_octet() {
    let long = masked(FIN | 2, &[0; 101]);
    for (octets, needed, expected) in [
        (masked(FIN | 0x40 | 1, b"x"), 1, code::PROTOCOL_ERROR),
        (masked(FIN | 3, b"x"), 1, code::PROTOCOL_ERROR),
        (masked(9, b"x"), 1, code::PROTOCOL_ERROR),
        (masked(FIN, b"x"), 1, code::PROTOCOL_ERROR),
        (vec![0x81, 5], 2, code::PROTOCOL_ERROR),
        (masked(FIN | 9, &[0; 126]), 2, code::PROTOCOL_ERROR),
        (long.clone(), 2, code::TOO_BIG),
        (masked(FIN | 2, &[0; 70_000]), 10, code::TOO_BIG),
        (masked(1, b"\xff\xff"), 7, code::INVALID_DATA),
        (masked(FIN | 1, b"abc\xce"), 10, code::INVALID_DATA),
        (masked(FIN | 8, b"\x03"), 7, code::PROTOCOL_ERROR),
        (masked(FIN | 8, b"\x03\xe8\xff"), 9, code::INVALID_DATA),
    ] {
        assert_eq!(decode(&octets[..needed - 1], 1, 100), (vec![], None), "{octets:?}");
        let violation = decode(&octets[..needed], 1, 100).1.unwrap();
        assert_eq!(violation.code, expected, "{violation:?}");
    }
    let fragments = [masked(2, &[0; 60]), masked(FIN, &[0; 41])].concat();
    assert_eq!(decode(&fragments, 1000, 100).1.unwrap().code, code::TOO_BIG, "the sum counts");
}

#[test]
fn what_is_sent_has_the_shortest_length_and_fits() {
    let head = |payload: usize| {
        let mut out = Vec::new();
        encode_message(&mut out, &Message::Binary(vec![0; payload].into()));
        out.truncate(out.len() - payload);
        out
    };
    assert_eq!(head(125), [0x82, 125]);
    assert_eq!(head(126), [0x82, 126, 0, 126]);
    assert_eq!(head(65536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    let mut out = Vec::new();
    encode_pong(&mut out, b"p");
    assert_eq!(out, [0x8a, 1, b'p']);
    let mut out = Vec::new();
    encode_close(&mut out, 1000, &"é".repeat(100));
    assert_eq!(out.len(), 2 + 2 + 122, "[UPG-13c] cut at a character");
    let mut out = Vec::new();
    encode_close(&mut out, code::NO_STATUS, "");
    assert_eq!(out, [0x88, 0]);
}

proptest! {
    #[test]
    fn any_message_in_any_fragments_arrives(
        text in ".{0,200}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        size in 1_usize..50,
    ) {
        let bytes = text.as_bytes();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let (mut octets, mut start) = (Vec::new(), 0);
        for (n, end) in cuts.iter().enumerate() {
            let fin = if n + 1 == cuts.len() { FIN } else { 0 };
            octets.extend(masked(fin | u8::from(n == 0), &bytes[start..*end]));
            start = *end;
        }
        let (events, violation) = decode(&octets, size, 10_000);
        prop_assert_eq!(violation, None);
        prop_assert_eq!(events, vec![Event::Message(Message::Text(text))]);
    }

    #[test]
    fn anything_at_all_is_decoded_or_refused(octets in prop::collection::vec(any::<u8>(), 0..200), size in 1_usize..20) {
        // The same, however it is cut.
        prop_assert_eq!(decode(&octets, size, 1000), decode(&octets, 1000, 1000));
    }

    #[test]
    fn text_is_utf8_as_std_says(payload in prop::collection::vec(any::<u8>(), 0..40), size in 1_usize..10) {
        let (events, violation) = decode(&masked(FIN | 1, &payload), size, 1000);
        match String::from_utf8(payload) {
            Ok(text) => prop_assert_eq!(events, vec![Event::Message(Message::Text(text))]),
            Err(_) => prop_assert_eq!(violation.map(|violation| violation.code), Some(code::INVALID_DATA)),
        }
    }
}
