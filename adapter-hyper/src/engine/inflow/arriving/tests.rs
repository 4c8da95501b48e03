use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn begin() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])].concat()
}

/// What h2 gets of `wire`, in pieces of `size` octets.
fn passed(wire: &[u8], size: usize) -> Vec<u8> {
    let mut arriving = Arriving::new(16_384);
    let mut seen = Vec::new();
    for piece in wire.chunks(size) {
        arriving.pass(piece, &mut |octets| seen.extend_from_slice(octets));
    }
    seen
}

const HEAD_OF_REQUEST: &[u8] = b"\x83\x86\x44\x02/a\x41\x01a";

fn request() -> Vec<u8> {
    [frame(HEADERS, END_HEADERS, 1, HEAD_OF_REQUEST), frame(0, 0, 1, &[b'd'; 100]), frame(6, 0, 0, b"12345678")]
        .concat()
}

#[test]
fn everything_goes_through_as_it_came() {
    let padded = [&b"\x03\0\0\0\0\x10"[..], HEAD_OF_REQUEST, b"\0\0\0"].concat();
    let wire = [
        begin(),
        request(),
        frame(HEADERS, END_STREAM, 1, b"\0\x01"),
        frame(CONTINUATION, 0, 1, b"x"),
        frame(CONTINUATION, END_HEADERS, 1, b"\x011"),
        frame(HEADERS, END_HEADERS | END_STREAM | PADDED | PRIORITY, 3, &padded),
        frame(0x16, 0xff, 9, b"whatever"),
        frame(HEADERS, END_HEADERS | END_STREAM, 5, b""),
        frame(0, END_STREAM, 5, b""),
    ]
    .concat();
    for size in [1, 2, 7, 9, 10, 100, wire.len()] {
        assert_eq!(passed(&wire, size), wire, "{size}");
    }
}

#[test]
fn a_first_frame_that_is_no_settings_is_never_right() {
    for first in [frame(6, 0, 0, b"12345678"), frame(SETTINGS, ACK, 0, b""), frame(HEADERS, 5, 1, HEAD_OF_REQUEST)] {
        let wire = [&begin()[..PREFACE], &first, &request()].concat();
        for size in [1, 5, wire.len()] {
            assert_eq!(passed(&wire, size), [&begin()[..PREFACE], &NEVER_RIGHT].concat(), "{size}");
        }
    }
}

#[test]
fn trailers_with_a_pseudo_field_do_not_end_their_stream() {
    let literal = frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\0\x05:path\x01/");
    // Number 62 is the authority, 63 the path.
    let indexed = frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\0\x01x\x011\xbf");
    let padded = frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, b"\x01\x82\0");
    let cut = [frame(HEADERS, END_STREAM, 1, b"\0\x05:pa"), frame(CONTINUATION, END_HEADERS, 1, b"th\x01/")].concat();
    for trailers in [literal, indexed, padded, cut] {
        let wire = [begin(), request(), trailers.clone(), frame(HEADERS, 5, 3, b"\x82\x86\xbf\xbe")].concat();
        let mut expected = wire.clone();
        expected[begin().len() + request().len() + 4] &= !END_STREAM;
        for size in [1, 3, 50, wire.len()] {
            assert_eq!(passed(&wire, size), expected, "{size}: {trailers:?}");
        }
    }
}

#[test]
fn a_priority_that_depends_on_its_own_stream_depends_on_none() {
    let head = |flags: u8, front: &[u8]| frame(HEADERS, flags | PRIORITY, 3, &[front, HEAD_OF_REQUEST].concat());
    let cases = [
        (head(END_HEADERS, &[0, 0, 0, 3, 9]), head(END_HEADERS, &[0, 0, 0, 0, 9])),
        (head(0, &[0x80, 0, 0, 3, 9]), head(0, &[0x80, 0, 0, 0, 9])),
        (head(END_HEADERS | PADDED, &[1, 0, 0, 0, 3, 9]), head(END_HEADERS | PADDED, &[1, 0, 0, 0, 0, 9])),
        (head(END_HEADERS, &[0, 0, 0, 1, 9]), head(END_HEADERS, &[0, 0, 0, 1, 9])),
    ];
    for (sent, expected) in cases {
        let (front, behind) = ([begin(), request()].concat(), frame(CONTINUATION, END_HEADERS, 3, b"\xbe"));
        for size in [1, 10, 1000] {
            let wire = [&front[..], &sent, &behind].concat();
            assert_eq!(passed(&wire, size), [&front[..], &expected, &behind].concat(), "{size}: {sent:?}");
        }
    }
}

#[test]
fn behind_what_can_not_be_followed_everything_goes_through() {
    let wrong = [
        frame(CONTINUATION, END_HEADERS, 1, b"\x82"),
        [frame(HEADERS, 0, 1, b"\x82"), frame(6, 0, 0, b"12345678")].concat(),
        [frame(HEADERS, 0, 1, b"\x82"), frame(HEADERS, 4, 1, b"\x82")].concat(),
        frame(HEADERS, END_HEADERS | PADDED, 1, b"\x09\x82"),
        frame(HEADERS, END_HEADERS | PRIORITY, 1, b"\x82"),
        frame(HEADERS, END_HEADERS, 1, b"\x80"),
        frame(0, 0, 1, &[0; 16_385]),
        frame(HEADERS, END_HEADERS | END_STREAM, 0, b"\xff"),
    ];
    for wrong in wrong {
        let wire = [begin(), wrong, frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82")].concat();
        for size in [1, 11, wire.len()] {
            assert_eq!(passed(&wire, size), wire, "{size}");
        }
    }
}

/// \[TGT-17b\]
#[test]
fn streams_with_a_fragment_are_known_by_their_number() {
    let head = |stream, path: &[u8]| {
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &[&b"\x82\x86\x04"[..], &[path.len() as u8], path].concat())
    };
    let mut arriving = Arriving::new(16_384);
    arriving.pass(&[begin(), head(1, b"/"), head(3, b"/#"), head(5, b"/#"), head(7, b"/")].concat(), &mut |_| {});
    assert_eq!(arriving.first_fragment(), Some(3));
    // The third was refused by h2.
    assert_eq!([1, 5, 7].map(|stream| arriving.take_fragment(stream)), [false, true, false]);
    assert_eq!(arriving.first_fragment(), None);
    // Nobody has to take them.
    let many: Vec<u8> = (5..2000).flat_map(|number| head(number * 2 + 1, b"/#")).collect();
    arriving.pass(&many, &mut |_| {});
    assert_eq!(arriving.fragments.len(), FRAGMENTS);
    assert!(arriving.take_fragment(3999));
}

/// \[LIM-01\], \[OBS-07\] by what h2 counts for a list of fields: 32 octets more than there are of each.
#[test]
fn heads_are_counted_once() {
    let head = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, HEAD_OF_REQUEST);
    let count = |limit, streams: &[u32]| {
        let mut arriving = Arriving::new(limit);
        let heads: Vec<u8> = streams.iter().flat_map(|stream| head(*stream)).collect();
        arriving.pass(&[begin(), heads].concat(), &mut |_| {});
        [arriving.take_heads(), arriving.take_heads()].map(|heads| (heads.whole, heads.too_large))
    };
    assert_eq!(count(16_384, &[1, 3]), [(2, 0), (0, 0)]);
    assert_eq!(count(100, &[1, 3]), [(0, 2), (0, 0)]);
    // Trailers are no head.
    assert_eq!(count(16_384, &[1, 1]), [(1, 0), (0, 0)]);
    assert_eq!(count(100, &[1, 1]), [(0, 1), (0, 0)]);
}

/// \[OBS-07\]
#[test]
fn a_head_that_has_no_end_is_known() {
    let is_in_head = |octets: &[u8]| {
        let mut arriving = Arriving::new(16_384);
        arriving.pass(&[&begin(), octets].concat(), &mut |_| {});
        arriving.is_in_head()
    };
    let open = frame(HEADERS, 0, 1, b"\x82");
    assert!(is_in_head(&open));
    assert!(is_in_head(&[&open[..], &frame(0, 0, 1, b"x")].concat()), "DATA in between");
    assert!(is_in_head(&frame(HEADERS, END_HEADERS, 1, b"\x80")), "it can't be read");
    assert!(is_in_head(&frame(HEADERS, END_HEADERS, 1, &[0; 16_385])), "its frame is too large");
    assert!(!is_in_head(&request()));
    assert!(!is_in_head(&[request(), frame(HEADERS, END_STREAM, 1, b"")].concat()), "trailers");
    assert!(!is_in_head(&[request(), frame(HEADERS, END_STREAM, 1, &[0; 16_385])].concat()), "trailers");
    assert!(!is_in_head(&frame(0, 0, 1, &[0; 16_385])), "DATA");
}

/// RFC 9113 §4.2
#[test]
fn a_frame_may_be_as_large_as_we_let_it() {
    let at = |length: u32| {
        let mut arriving = Arriving::new(16_384);
        let head = [&length.to_be_bytes()[1..], &[0, 0, 0, 0, 0, 1]].concat();
        arriving.pass(&[begin(), head].concat(), &mut |_| {});
        arriving.at
    };
    let largest = LARGEST as u32;
    assert!(matches!([at(0), at(1)], [At::Head, At::Payload(1, false)]));
    assert!(matches!(at(largest), At::Payload(LARGEST, false)));
    // It is for h2 to say that these are no frames.
    assert!([largest + 1, 1 << 16, 1 << 23].into_iter().all(|length| matches!(at(length), At::Lost)));
}

#[test]
fn an_endless_field_block_is_not_kept() {
    let mut arriving = Arriving::new(16_384);
    let mut count = 0;
    arriving.pass(&[begin(), request(), frame(HEADERS, END_STREAM, 1, b"\0")].concat(), &mut |_| {});
    for _ in 0..1000 {
        arriving.pass(&frame(CONTINUATION, 0, 1, &[b'x'; 16_384]), &mut |octets| count += octets.len());
    }
    assert!(matches!(arriving.at, At::Lost) && arriving.octets.is_empty() && arriving.block.is_none());
    assert!(count > 990 * 16_384, "{count} octets went through");
}

/// What a client writes, which hears of nothing.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl AsyncRead for Written {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Written {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What h2's client, which indexes and codes what it can, sends for requests with these fields, and trailers of the last of them.
fn written(requests: &[Vec<(u8, String)>]) -> Vec<u8> {
    let written = Written::default();
    let mut cx = Context::from_waker(Waker::noop());
    let mut builder = h2::client::Builder::new();
    let handshake = builder.initial_max_send_streams(1000).handshake::<_, Bytes>(written.clone());
    let Poll::Ready(Ok((mut client, mut connection))) = pin!(handshake).poll(&mut cx) else { panic!("no handshake") };
    for fields in requests {
        let mut request = Request::post(format!("http://test.example/{}", fields.len()));
        let headers = request.headers_mut().expect("a sound request");
        headers.extend(fields.iter().map(|(name, value)| (name_of(*name), value.parse().expect("a value"))));
        let (_, mut stream) = client.send_request(request.body(()).expect("a request"), false).expect("a stream");
        let last = fields.iter().next_back().map(|(name, value)| (name_of(*name), value.parse().expect("a value")));
        stream.send_trailers(HeaderMap::from_iter(last)).expect("trailers");
        assert!(Pin::new(&mut connection).poll(&mut cx).is_pending());
    }
    std::mem::take(&mut *written.0.lock().unwrap())
}

fn name_of(number: u8) -> HeaderName {
    let known = [http::header::ACCEPT, http::header::USER_AGENT, http::header::CACHE_CONTROL];
    let known = known.into_iter().nth(usize::from(number));
    known.unwrap_or_else(|| HeaderName::try_from(format!("x-{}", "n".repeat(number.into()))).expect("a name"))
}

proptest! {
    // Each takes a while, and has many blocks.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_client_that_indexes_is_followed(
        requests in prop::collection::vec(prop::collection::vec((0..12_u8, "[ -~]{0,20}|[a-z]{300,900}"), 0..8), 1..30),
        size in 1..3000_usize,
    ) {
        let wire = written(&requests);
        let mut arriving = Arriving::new(16_384);
        let mut seen = Vec::new();
        wire.chunks(size).for_each(|piece| arriving.pass(piece, &mut |octets| seen.extend_from_slice(octets)));
        prop_assert!(seen == wire && matches!(arriving.at, At::Head), "{:?} after {} octets", arriving.at, seen.len());
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_nor_altered_but_one_flag(
        frames in prop::collection::vec((0..12_u8, any::<u8>(), 0..6_u32, prop::collection::vec(any::<u8>(), 0..40)), 0..20),
        size in 1..200_usize,
    ) {
        let mut wire = begin();
        frames.iter().for_each(|(kind, flags, stream, payload)| wire.extend(frame(*kind, *flags, *stream, payload)));
        let seen = passed(&wire, size);
        prop_assert!(seen.len() <= wire.len());
        // A priority is at most four octets.
        let differ = wire.iter().zip(&seen).filter(|(sent, seen)| sent != seen && **sent & !END_STREAM != **seen);
        prop_assert!(differ.count() <= 4 * frames.iter().filter(|(kind, flags, ..)| *kind == 1 && flags & PRIORITY != 0).count());
        // What is held back is the trailers under way.
        prop_assert_eq!(&passed(&wire, 1), &seen);
    }
}
