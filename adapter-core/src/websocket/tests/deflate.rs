//! Compressed messages through frames, sockets and the handshake. \[UPG-24\], \[UPG-11\]; RFC 7692 §6, §7

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use flate2::{Compress, Compression, FlushCompress};
use futures_lite::AsyncWriteExt as _;
use futures_lite::future::block_on;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::super::deflate::{Agreed, Negotiation};
use super::super::message::{Message, code};
use super::super::options::Options;
use super::super::wire::{Event, Packed, Role, Wire};
use super::super::{Deflate, Error as SocketError, Upgrade};
use super::masked;
use super::wire::{decode_by, sent, violation};
use crate::testing::{Client, pipe};
use crate::upgrade::Upgraded;
use crate::{Environ, Error, Request, Response, blocking};

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const OFFER: (&str, &str) = ("sec-websocket-extensions", "permessage-deflate");

fn keeping() -> Deflate {
    Deflate::default().server_context_takeover(true).client_context_takeover(true)
}

/// What is agreed on with a client that offers all there is.
fn agreed(deflate: Deflate) -> Agreed {
    let mut headers = HeaderMap::new();
    headers.insert(OFFER.0, HeaderValue::from_static(OFFER.1));
    let mut negotiation = Negotiation::new(&headers);
    negotiation.want(deflate);
    negotiation.agree().unwrap().unwrap().1
}

fn options(deflate: Deflate, limit: usize) -> Options {
    Options { max_message: limit, deflate: Some(agreed(deflate)), ..Options::default() }
}

/// One message after another of the same stream, as a client compresses them.
fn by_client(messages: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut engine = Compress::new(Compression::new(6), false);
    let mut compress = |message: &&[u8]| {
        let mut output = Vec::with_capacity(message.len() * 2 + 100);
        engine.compress_vec(message, &mut output, FlushCompress::Sync).unwrap();
        output.truncate(output.len() - 4);
        output
    };
    messages.iter().map(&mut compress).collect()
}

fn compressed(message: &[u8]) -> Vec<u8> {
    by_client(&[message]).remove(0)
}

#[test]
fn compressed_and_plain_messages_come_out_at_every_split() {
    let text = "Hellö, ".repeat(40);
    let once = compressed(text.as_bytes());
    let (first, rest) = once.split_at(once.len() / 2);
    let octets = [
        masked(FIN | RSV1 | 1, &once),
        masked(FIN | 1, b"plain"),
        masked(RSV1 | 1, first),
        masked(FIN | 9, b"ping"),
        masked(0, b""),
        masked(FIN, rest),
        masked(1, b"pl"),
        masked(FIN | 10, b""),
        masked(FIN, b"ain"),
        masked(RSV1 | 2, b""),
        masked(FIN, &once),
        masked(FIN | RSV1 | 2, &[0]),
        masked(FIN | RSV1 | 1, b""),
        masked(FIN | 8, b"\x03\xe8bye"),
    ]
    .concat();
    let expected = [
        Event::Message(Message::from(text.as_str())),
        Event::Message(Message::from("plain")),
        Event::Control,
        Event::Message(Message::from(text.as_str())),
        Event::Control,
        Event::Message(Message::from("plain")),
        Event::Message(Message::from(text.clone().into_bytes())),
        Event::Message(Message::from(Vec::new())),
        Event::Message(Message::from("")),
        Event::Close(Some((1000, "bye".into()))),
    ];
    for size in 1..=octets.len() {
        assert_eq!(decode_by(&octets, size, &options(Deflate::default(), 1000)), expected, "in pieces of {size}");
    }
}

#[test]
fn windows_go_on_only_where_that_was_agreed_on() {
    let messages = by_client(&[b"the same words", b"the same words", b"and the same words again"]);
    let frames: Vec<_> = messages.iter().map(|message| masked(FIN | RSV1 | 1, message)).collect();
    let control_between =
        [&frames[0][..], &masked(FIN | 9, b""), &frames[1], &masked(FIN | 1, b"plain"), &frames[2]].concat();
    let kept = decode_by(&control_between, 7, &options(keeping(), 1000));
    let text = |text: &str| Event::Message(Message::from(text));
    assert_eq!(
        kept,
        [
            text("the same words"),
            Event::Control,
            text("the same words"),
            text("plain"),
            text("and the same words again"),
        ]
    );
    let forgotten = decode_by(&control_between, 7, &options(Deflate::default(), 1000));
    assert_eq!(violation(&forgotten), Some(code::INVALID_DATA));
    assert_eq!(forgotten.len(), 3, "the first one needs no other");
}

#[test]
fn reserved_bits_are_refused_where_they_mean_nothing() {
    let hello = compressed(b"Hello");
    for (octets, agreed, plain) in [
        (masked(FIN | RSV1 | 1, &hello), None, 1002),
        (masked(FIN | RSV1 | 9, b""), Some(1002), 1002),
        (masked(FIN | RSV1 | 10, b""), Some(1002), 1002),
        (masked(FIN | RSV1 | 8, b"\x03\xe8"), Some(1002), 1002),
        ([masked(RSV1 | 1, &hello[..3]), masked(FIN | RSV1, &hello[3..])].concat(), Some(1002), 1002),
        ([masked(1, b"pl"), masked(FIN | RSV1, b"ain")].concat(), Some(1002), 1002),
        ([masked(1, b"pl"), masked(FIN | RSV1 | 1, &hello)].concat(), Some(1002), 1002),
        (masked(FIN | RSV1, &hello), Some(1002), 1002),
        (masked(FIN | 0x20 | 1, b"x"), Some(1002), 1002),
        (masked(FIN | RSV1 | 0x20 | 1, &hello), Some(1002), 1002),
        (masked(FIN | RSV1 | 0x10 | 2, &hello), Some(1002), 1002),
        (masked(FIN | RSV1 | 3, &hello), Some(1002), 1002),
        (masked(FIN | RSV1 | 11, b""), Some(1002), 1002),
        // not masked
        (vec![FIN | RSV1 | 1, 1, 0], Some(1002), 1002),
    ] {
        for size in [1, octets.len()] {
            let with = decode_by(&octets, size, &options(Deflate::default(), 1000));
            assert_eq!(violation(&with), agreed, "{octets:x?}");
            let without = decode_by(&octets, size, &Options::default());
            assert_eq!(violation(&without), Some(plain), "{octets:x?}");
        }
    }
}

#[test]
fn what_is_inflated_is_checked_as_all_else() {
    let limit = 1000;
    let text = |message: &[u8]| masked(FIN | RSV1 | 1, &compressed(message));
    for (octets, expected) in [
        (text(b"\xff\xff"), Some(code::INVALID_DATA)),
        (text(b"abc\xce"), Some(code::INVALID_DATA)),
        (masked(FIN | RSV1 | 2, &compressed(b"abc\xce")), None),
        (text(&vec![b'x'; limit]), None),
        (text(&vec![b'x'; limit + 1]), Some(code::TOO_BIG)),
        (text(&vec![b'x'; 10 << 20]), Some(code::TOO_BIG)),
        (masked(FIN | RSV1 | 1, b"no such thing"), Some(code::INVALID_DATA)),
        (masked(FIN | RSV1 | 1, &compressed(b"Hello")[..4]), Some(code::INVALID_DATA)),
        // plain ones keep their bound
        (masked(FIN | 2, &[7; 1000]), None),
        (masked(FIN | 2, &[7; 1001]), Some(code::TOO_BIG)),
        ([masked(2, &[7; 600]), masked(FIN, &[7; 401])].concat(), Some(code::TOO_BIG)),
        // what is compressed badly may have more octets, but not any number
        (masked(FIN | RSV1 | 2, &[&[0, 232, 3, 23, 252][..], &[7; 1000], &[0]].concat()), None),
        (masked(FIN | RSV1 | 2, &[0; 1200]), Some(code::TOO_BIG)),
        ([masked(RSV1 | 2, &[0; 1000]), masked(0, &[0; 200])].concat(), Some(code::TOO_BIG)),
        (masked(FIN | RSV1 | 2, &[0; 70_000])[..14].to_vec(), Some(code::TOO_BIG)),
    ] {
        for size in [13, octets.len()] {
            let events = decode_by(&octets, size, &options(Deflate::default(), limit));
            assert_eq!(violation(&events), expected, "{:x?}", &octets[..14.min(octets.len())]);
            assert_eq!(events.len(), 1);
        }
    }
}

#[test]
fn what_is_sent_is_marked_and_counted() {
    let (server, client) = pipe(1 << 20);
    let (stream, _tether) = Upgraded::new(server, "");
    let deflate = agreed(Deflate::default());
    let mut wire = Wire::new(stream, Role::Server, &options(Deflate::default(), 1000));
    let mut send = |message: Message| {
        wire.queue_message(Packed::new(message, Some(&deflate)));
        // It checks that what was counted is what is sent.
        sent(&mut wire, &client)
    };
    let large = send(Message::from("x".repeat(128)));
    assert_eq!(large[0], FIN | RSV1 | 1);
    assert!(large.len() < 20, "{large:x?}");
    let large = send(Message::from(vec![0; 100_000]));
    assert_eq!(large[0], FIN | RSV1 | 2);
    assert!(large.len() < 1000);
    assert_eq!(send(Message::from("x".repeat(127)))[..4], [FIN | 1, 126, 0, 127]);
    assert_eq!(send(Message::from(""))[..], [FIN | 1, 0]);
    let noise: Vec<u8> = (0..128_u8).map(|n| n.wrapping_mul(37) ^ (n / 3)).collect();
    assert_eq!(send(Message::from(noise))[0], FIN | 2, "it would be larger");
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_large_message_is_inflated_in_turns() {
    let (server, mut client) = pipe(1 << 20);
    let (stream, _tether) = Upgraded::new(server, "");
    let mut wire = Wire::new(stream, Role::Server, &options(Deflate::default(), 4 << 20));
    let bomb = masked(FIN | RSV1 | 2, &compressed(&vec![7; 4 << 20]));
    assert!(bomb.len() < 100 * 1024, "it is read in one turn");
    block_on(client.write_all(&bomb)).unwrap();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);
    let mut turns = 0;
    let event = loop {
        wire.begin_turn();
        turns += 1;
        match wire.poll_event(&mut cx, true) {
            Poll::Ready(event) => break event,
            Poll::Pending => assert_eq!(count.0.load(Ordering::SeqCst), turns, "it is polled again"),
        }
    };
    assert_eq!(event, Event::Message(Message::from(vec![7; 4 << 20])));
    assert!(turns >= 16, "{turns}");
}

async fn echo(request: Request, environ: Environ) -> Result<Response, Error> {
    let upgrade = Upgrade::from_request(&request, &environ)?;
    let upgrade = match request.uri().path() {
        "/keeping" => upgrade.deflate(keeping()),
        "/plain" => upgrade,
        _ => upgrade.deflate(Deflate::default().min_message_bytes(0)),
    };
    Ok(upgrade.accept(|mut socket| async move {
        while let Some(message) = socket.recv().await {
            socket.send(message?).await?;
        }
        Ok::<_, SocketError>(())
    })?)
}

#[test]
fn messages_of_any_size_there_and_back() {
    let both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    for (path, answer) in [("/", Some(both)), ("/keeping", Some(OFFER.1)), ("/plain", None)] {
        let mut socket = Client::new(echo).get(path).header(OFFER.0, OFFER.1).websocket().unwrap();
        let said = socket.head().headers.get(OFFER.0).map(|value| value.to_str().unwrap());
        assert_eq!(said, answer, "[UPG-24]");
        for size in [0, 1, 125, 126, 127, 128, 65535, 65536, 1 << 20] {
            for message in [Message::from(vec![7; size]), Message::from("ä".repeat(size / 2))] {
                socket.send(message.clone()).unwrap();
                assert_eq!(socket.recv(), Some(Ok(message)), "{size}");
            }
        }
        socket.close(4000, "enough").unwrap();
    }
    let mut other = Client::new(echo).get("/").websocket().unwrap();
    assert!(!other.head().headers.contains_key(OFFER.0), "none was offered");
    other.send("plain").unwrap();
    assert_eq!(other.recv(), Some(Ok(Message::from("plain"))));
}

#[test]
fn an_offer_that_is_no_list_is_answered_400_where_it_is_looked_at() {
    for bad in ["permessage-deflate; server_max_window_bits=", "permessage deflate", "permessage-deflate, =1"] {
        let denied = Client::new(echo).get("/").header(OFFER.0, bad).websocket().unwrap_err();
        assert_eq!(denied.status(), 400, "{bad}");
        assert!(Client::new(echo).get("/plain").header(OFFER.0, bad).websocket().is_ok(), "{bad}");
    }
    let declined =
        Client::new(echo).get("/").header(OFFER.0, "permessage-deflate; server_max_window_bits=8").websocket();
    assert!(!declined.unwrap().head().headers.contains_key(OFFER.0));
}

#[test]
fn senders_at_once_keep_one_window() {
    let application = blocking(|request: Request<_>, environ: Environ| {
        let upgrade = Upgrade::from_request(&request, &environ)?.deflate(keeping());
        let accepted = upgrade.blocking_accept(|socket| {
            let (sender, mut receiver) = socket.split();
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let sender = &sender;
                    scope.spawn(move || {
                        for n in 0..50 {
                            sender.send(format!("{thread} {n} ").repeat(100)).unwrap();
                        }
                    });
                }
            });
            // until the client has all
            let _ = receiver.recv();
        });
        accepted.map_err(Error::from)
    });
    let (told, tell) = mpsc::channel();
    std::thread::spawn(move || {
        let mut socket = Client::new(application).on_threads().get("/").header(OFFER.0, OFFER.1).websocket().unwrap();
        let mut next = [0; 4];
        for _ in 0..200 {
            let message = socket.recv().unwrap().unwrap();
            let thread: usize = message.as_text().unwrap()[..1].parse().unwrap();
            assert_eq!(message, Message::from(format!("{thread} {} ", next[thread]).repeat(100)));
            next[thread] += 1;
        }
        told.send(next).unwrap();
    });
    assert_eq!(tell.recv_timeout(Duration::from_secs(60)).unwrap(), [50; 4]);
}

proptest! {
    #[test]
    fn any_message_in_any_fragments_arrives(
        text in "(.{0,20}){0,20}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        controls in prop::collection::vec(any::<bool>(), 6),
        size in 1_usize..50,
    ) {
        let bytes = compressed(text.as_bytes());
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let (mut octets, mut start) = (Vec::new(), 0);
        for (n, end) in cuts.iter().enumerate() {
            if controls[n] {
                octets.extend(masked(FIN | 9, b"between"));
            }
            let first = if n == 0 { RSV1 | 1 } else { 0 };
            let fin = if n + 1 == cuts.len() { FIN } else { 0 };
            octets.extend(masked(fin | first, &bytes[start..*end]));
            start = *end;
        }
        let mut events = decode_by(&octets, size, &options(Deflate::default(), 10_000));
        events.retain(|event| *event != Event::Control);
        prop_assert_eq!(events, [Event::Message(Message::Text(text))]);
    }

    #[test]
    fn anything_at_all_is_decoded_or_refused(
        frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..60)), 0..8), size in 1_usize..20,
    ) {
        let octets: Vec<u8> = frames.iter().flat_map(|(first, payload)| masked(*first, payload)).collect();
        // The same, however it is cut.
        let whole = decode_by(&octets, 1000, &options(keeping(), 1000));
        prop_assert_eq!(decode_by(&octets, size, &options(keeping(), 1000)), whole);
    }
}
