//! What async-tungstenite is held to: frames in and out, the close code of each violation, and the count of what waits.
//! \[UPG-09\], \[UPG-11\], \[UPG-12\], \[UPG-13c\], \[UPG-24\]

use std::task::{Context, Poll, Waker};

use futures_lite::AsyncWriteExt as _;
use futures_lite::future::block_on;
use proptest::prelude::*;

use super::super::message::{Message, code};
use super::super::options::Options;
use super::super::wire::{Event, Packed, Role, Wire, frame_length};
use super::masked;
use crate::testing::{Pipe, pipe};
use crate::upgrade::{Tether, Upgraded};

const FIN: u8 = 0x80;

struct Setup {
    wire: Wire,
    client: Pipe,
    _tether: Tether,
}

fn open(capacity: usize, limit: usize) -> Setup {
    let (server, client) = pipe(capacity);
    let (stream, _tether) = Upgraded::new(server, "");
    let options = Options { max_message: limit, ..Options::default() };
    Setup { wire: Wire::new(stream, Role::Server, &options), client, _tether }
}

/// What comes of `octets`, given in pieces of `size`, up to a violation.
fn decode(octets: &[u8], size: usize, limit: usize) -> Vec<Event> {
    decode_by(octets, size, &Options { max_message: limit, ..Options::default() })
}

/// The same, where more than the limit was set.
pub(super) fn decode_by(octets: &[u8], size: usize, options: &Options) -> Vec<Event> {
    let (server, mut client) = pipe(1 << 20);
    let (stream, _tether) = Upgraded::new(server, "");
    let mut wire = Wire::new(stream, Role::Server, options);
    let mut cx = Context::from_waker(Waker::noop());
    let mut events = Vec::new();
    for piece in octets.chunks(size.max(1)) {
        block_on(client.write_all(piece)).unwrap();
        wire.begin_turn();
        while let Poll::Ready(event) = wire.poll_event(&mut cx, true) {
            let is_last = matches!(event, Event::Close(_) | Event::Violation { .. } | Event::Lost);
            events.push(event);
            if is_last {
                return events;
            }
        }
    }
    events
}

/// The code of the violation at the end.
pub(super) fn violation(events: &[Event]) -> Option<u16> {
    match events.last() {
        Some(Event::Violation { code, .. }) => Some(*code),
        _ => None,
    }
}

/// All that is handed over to a client that reads.
pub(super) fn sent(wire: &mut Wire, client: &Pipe) -> Vec<u8> {
    assert_eq!(wire.poll_flush(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())));
    assert_eq!(wire.backlog(), 0);
    client.drain()
}

#[test]
fn messages_and_controls_come_out_at_every_split() {
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
        Event::Control,
        Event::Message(Message::from("Hellö")),
        Event::Message(Message::from(vec![7; 300])),
        Event::Control,
        Event::Close(Some((1000, "bye".into()))),
    ];
    for size in 1..=octets.len() {
        assert_eq!(decode(&octets, size, 1000), expected, "in pieces of {size}");
    }
}

/// After a message there is a look for more with little room, and what it finds is the beginning of what follows.
#[test]
fn what_comes_behind_a_message_is_all_read() {
    for length in [0, 1, 100, 121, 122, 123, 130, 1000, 5000] {
        let Setup { mut wire, mut client, _tether } = open(1 << 20, 10_000);
        let mut cx = Context::from_waker(Waker::noop());
        let mut write = |octets: &[u8]| block_on(client.write_all(octets)).unwrap();
        wire.begin_turn();
        for part in [2, 3] {
            let payload = vec![7; length];
            write(&masked(FIN | 2, b"one"));
            assert_eq!(wire.poll_event(&mut cx, true), Poll::Ready(Event::Message(Message::from(b"one".to_vec()))));
            let frame = masked(FIN | 2, &payload);
            let (begin, end) = frame.split_at(frame.len() / part);
            write(begin);
            assert!(wire.poll_event(&mut cx, true).is_pending(), "{length}");
            write(end);
            assert_eq!(wire.poll_event(&mut cx, true), Poll::Ready(Event::Message(Message::from(payload))), "{length}");
        }
        write(&[masked(FIN | 9, b"a"), masked(FIN | 9, &[1; 125]), masked(FIN | 2, b"two")].concat());
        assert_eq!(wire.poll_event(&mut cx, true), Poll::Ready(Event::Control));
        assert_eq!(wire.poll_event(&mut cx, true), Poll::Ready(Event::Control));
        assert_eq!(wire.poll_event(&mut cx, true), Poll::Ready(Event::Message(Message::from(b"two".to_vec()))));
        assert_eq!(wire.poll_flush(&mut cx), Poll::Ready(Ok(())));
        drop(client);
        assert_eq!(wire.poll_event(&mut cx, true), Poll::Ready(Event::Lost));
    }
}

#[test]
fn violations_have_their_close_codes() {
    for (octets, expected) in [
        (masked(FIN | 0x40 | 1, b"x"), code::PROTOCOL_ERROR),
        (masked(FIN | 3, b"x"), code::PROTOCOL_ERROR),
        (masked(FIN | 11, b"x"), code::PROTOCOL_ERROR),
        (masked(9, b"x"), code::PROTOCOL_ERROR),
        (masked(FIN, b"x"), code::PROTOCOL_ERROR),
        ([masked(1, b"x"), masked(FIN | 1, b"x")].concat(), code::PROTOCOL_ERROR),
        (vec![0x81, 1, b'x'], code::PROTOCOL_ERROR),
        (masked(FIN | 9, &[0; 126]), code::PROTOCOL_ERROR),
        ([&[0x82, 0xff, 0x80], &[0; 11][..]].concat(), code::PROTOCOL_ERROR),
        (masked(FIN | 8, b"\x03"), code::PROTOCOL_ERROR),
        (masked(FIN | 8, b"\x03\xed"), code::PROTOCOL_ERROR),
        (masked(FIN | 8, b"\x03\xe8\xff"), code::INVALID_DATA),
        (masked(1, b"\xff\xff"), code::INVALID_DATA),
        (masked(FIN | 1, b"abc\xce"), code::INVALID_DATA),
        (masked(FIN | 2, &[0; 201]), code::TOO_BIG),
        // its payload is not waited for
        (masked(FIN | 2, &[0; 70_000])[..14].to_vec(), code::TOO_BIG),
        ([masked(2, &[0; 120]), masked(FIN, &[0; 81])].concat(), code::TOO_BIG),
    ] {
        for size in [1, octets.len()] {
            assert_eq!(violation(&decode(&octets, size, 200)), Some(expected), "{octets:?}");
        }
    }
}

#[test]
fn a_small_limit_is_none_for_control_frames() {
    let ping = masked(FIN | 9, &[0; 125]);
    assert_eq!(decode(&ping, 1, 10), [Event::Control]);
    assert_eq!(violation(&decode(&masked(FIN | 2, &[0; 11]), 1, 10)), Some(code::TOO_BIG));
}

#[test]
fn what_is_sent_is_what_was_counted() {
    let Setup { mut wire, client, _tether } = open(1 << 20, 1000);
    for (payload, head) in
        [(125, &[0x82, 125][..]), (126, &[0x82, 126, 0, 126]), (65536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0])]
    {
        wire.queue_message(Packed::new(Message::from(vec![0; payload]), None));
        assert_eq!(wire.backlog(), frame_length(payload));
        let octets = sent(&mut wire, &client);
        assert_eq!((&octets[..head.len()], octets.len()), (head, head.len() + payload));
    }
    wire.queue_close(1000, &"é".repeat(100));
    wire.queue_close(1000, "twice");
    assert_eq!(sent(&mut wire, &client).len(), 2 + 2 + 122, "[UPG-13c] cut at a character, sent once");
}

#[test]
fn answers_are_counted_though_the_client_does_not_take_them() {
    let Setup { mut wire, mut client, _tether } = open(16, 1000);
    let mut cx = Context::from_waker(Waker::noop());
    let mut pings = 0;
    while wire.backlog() < 100 {
        block_on(client.write_all(&masked(FIN | 9, b"are you"))).unwrap();
        wire.begin_turn();
        assert_eq!(wire.poll_event(&mut cx, true), Poll::Ready(Event::Control));
        assert!(wire.poll_event(&mut cx, true).is_pending());
        pings += 1;
    }
    assert!(wire.poll_flush(&mut cx).is_pending());
    block_on(client.write_all(&masked(FIN | 8, b"\x0f\xa1b"))).unwrap();
    wire.begin_turn();
    assert_eq!(wire.poll_event(&mut cx, true), Poll::Ready(Event::Close(Some((4001, "b".into())))));
    let mut answers = Vec::new();
    let mut flushed = Poll::Pending;
    while flushed.is_pending() {
        answers.extend(client.drain());
        flushed = wire.poll_flush(&mut cx);
    }
    assert_eq!((flushed, wire.backlog()), (Poll::Ready(Ok(())), 0));
    answers.extend(client.drain());
    assert_eq!(answers, [b"\x8a\x07are you".repeat(pings), b"\x88\x03\x0f\xa1b".to_vec()].concat());
}

/// Feeds `octets`, counts what comes of them, and says whether the buffers could be renewed.
fn feed(wire: &mut Wire, client: &mut Pipe, octets: &[u8]) -> (usize, bool) {
    block_on(client.write_all(octets)).unwrap();
    wire.begin_turn();
    let mut cx = Context::from_waker(Waker::noop());
    let count = std::iter::from_fn(|| wire.poll_event(&mut cx, true).is_ready().then_some(())).count();
    (count, wire.has_spare_buffers())
}

#[test]
fn buffers_are_renewed_only_where_they_have_grown_and_hold_nothing() {
    let Setup { mut wire, mut client, _tether } = open(1 << 20, 100_000);
    let large = masked(FIN | 2, &[7; 70_000]);
    let (most, rest) = large.split_at(69_000);
    assert_eq!(feed(&mut wire, &mut client, &masked(FIN | 2, b"small")), (1, false));
    assert_eq!(feed(&mut wire, &mut client, most), (0, false));
    assert_eq!(feed(&mut wire, &mut client, rest), (1, false), "it has gone past them");
    assert_eq!(feed(&mut wire, &mut client, &large[..3]), (0, false), "part of a header");
    assert_eq!(feed(&mut wire, &mut client, &large[3..]), (1, true));
    assert_eq!(feed(&mut wire, &mut client, &masked(FIN | 9, b"")), (1, false), "its answer waits");
    assert_eq!(sent(&mut wire, &client), b"\x8a\x00");
    assert!(wire.has_spare_buffers());

    let mut wire = wire.with_new_buffers();
    assert!(!wire.has_spare_buffers());
    assert_eq!(feed(&mut wire, &mut client, &masked(FIN | 1, b"goes on")), (1, false));
    wire.queue_message(Packed::new(Message::from(vec![0; 70_000]), None));
    assert_eq!(sent(&mut wire, &client).len(), 70_010);
    assert!(!wire.has_spare_buffers(), "what is sent goes past them");
    assert_eq!(feed(&mut wire, &mut client, &large[..3]), (0, false));
    assert_eq!(feed(&mut wire, &mut client, &large[3..]), (1, true));
    assert_eq!(feed(&mut wire, &mut client, &masked(2, b"")), (0, false), "a message in fragments");
    assert_eq!(feed(&mut wire, &mut client, &masked(FIN, b"")), (1, false), "and for good");
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
        prop_assert_eq!(decode(&octets, size, 10_000), [Event::Message(Message::Text(text))]);
    }

    #[test]
    fn anything_at_all_is_decoded_or_refused(octets in prop::collection::vec(any::<u8>(), 0..200), size in 1_usize..20) {
        // The same, however it is cut.
        prop_assert_eq!(decode(&octets, size, 1000), decode(&octets, 1000, 1000));
    }

    #[test]
    fn text_is_utf8_as_std_says(payload in prop::collection::vec(any::<u8>(), 0..40), size in 1_usize..10) {
        let events = decode(&masked(FIN | 1, &payload), size, 1000);
        match String::from_utf8(payload) {
            Ok(text) => prop_assert_eq!(events, [Event::Message(Message::Text(text))]),
            Err(_) => prop_assert_eq!(violation(&events), Some(code::INVALID_DATA)),
        }
    }
}
