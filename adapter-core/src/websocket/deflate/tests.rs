//! Compressing and inflating, against each other, the examples of RFC 7692 §7.2.3, and another implementation of DEFLATE.

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use proptest::prelude::*;
use zlib_rs::Inflate;

use super::compress::{TAIL, compress};
use super::inflate::{Failure, Inflating};
use super::pool::Compressor;

const LIMIT: usize = 1 << 20;

/// A message for `engine`, in steps of `budget` octets.
fn inflate_with(engine: Inflate, input: &[u8], limit: usize, budget: usize) -> Result<(Vec<u8>, Inflate), Failure> {
    let mut inflating = Inflating::new(engine, Bytes::copy_from_slice(input));
    // Each step uses its budget up.
    let mut steps = 2 * (limit + input.len()) / budget + 100;
    while !inflating.step(limit, &mut budget.clone())? {
        steps = steps.checked_sub(1).expect("it has an end");
    }
    Ok(inflating.finish())
}

fn inflate(input: &[u8]) -> Result<Vec<u8>, Failure> {
    inflate_with(Inflate::new(false, 15), input, LIMIT, 4096).map(|(output, _)| output)
}

/// The other implementation's stream of one message, without its tail.
fn by_others(payload: &[u8], level: u32, flush: FlushCompress) -> Vec<u8> {
    let mut output = Vec::with_capacity(payload.len() * 2 + 1000);
    Compress::new(Compression::new(level), false).compress_vec(payload, &mut output, flush).unwrap();
    output.strip_suffix(&TAIL).map(<[u8]>::to_vec).unwrap_or(output)
}

/// What the other implementation makes of one message after another of the same stream.
fn others_read(messages: &[Vec<u8>], most: usize) -> Vec<Vec<u8>> {
    let mut engine = Decompress::new(false);
    let read = |message: &Vec<u8>| {
        let mut output = Vec::with_capacity(most + 1);
        let input = [&message[..], &TAIL].concat();
        engine.decompress_vec(&input, &mut output, FlushDecompress::Sync).unwrap();
        output
    };
    messages.iter().map(read).collect()
}

/// Text that compresses, of any length.
fn prose(length: usize) -> Vec<u8> {
    (0..length).map(|n| b"the quick brown fox jumps over the lazy dog; "[(n * n / 7 + n) % 45]).collect()
}

/// Octets that do not.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    for (section, octets) in [
        ("7.2.3.1", &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..]),
        ("7.2.3.3", &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00]),
        ("7.2.3.4", &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]),
        ("7.2.3.5", &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00]),
    ] {
        assert_eq!(inflate(octets), Ok(b"Hello".to_vec()), "{section}");
    }
    assert_eq!(inflate(&[0x00]), Ok(Vec::new()), "7.2.3.6");
    // 7.2.3.2
    let first = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let second = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let (output, engine) = inflate_with(Inflate::new(false, 15), &first, LIMIT, 4096).unwrap();
    assert_eq!(output, b"Hello");
    let (output, engine) = inflate_with(engine, &second, LIMIT, 4096).unwrap();
    assert_eq!(output, b"Hello");
    assert_eq!(inflate_with(engine, &second, LIMIT, 4096).unwrap().0, b"Hello", "and again");
    assert_eq!(inflate(&second), Err(Failure::Corrupt), "it refers to what was not there");
}

#[test]
fn a_last_block_is_not_the_last_one() {
    let last = by_others(b"Hello", 6, FlushCompress::Finish);
    let more = by_others(b", world", 6, FlushCompress::Sync);
    for (octets, expected) in [
        ([&last[..], &[0x00]].concat(), "Hello"),
        // without the octet that the RFC wants
        (last.clone(), "Hello"),
        ([&last[..], &TAIL].concat(), "Hello"),
        ([&last[..], &more].concat(), "Hello, world"),
        ([&last[..], &last, &more, &TAIL, &last].concat(), "HelloHello, worldHello"),
        // a stored block that says it is the last, then nothing
        (vec![0x01, 0x01, 0x00, 0xfe, 0xff, b'x'], "x"),
        // its head alone: the tail is its length
        (vec![0x01], ""),
    ] {
        assert_eq!(inflate(&octets), Ok(expected.as_bytes().to_vec()), "{octets:x?}");
    }
    // and the window goes on behind it, empty
    let (_, engine) = inflate_with(Inflate::new(false, 15), &[&last[..], &[0x00]].concat(), LIMIT, 7).unwrap();
    assert_eq!(inflate_with(engine, &more, LIMIT, 7).unwrap().0, b", world");
}

#[test]
fn tails_and_empty_blocks_are_no_matter() {
    let hello = by_others(b"Hello", 6, FlushCompress::Sync);
    assert_eq!(inflate(&[&hello[..], &TAIL].concat()), Ok(b"Hello".to_vec()), "the tail was left where it was");
    let (_, engine) = inflate_with(Inflate::new(false, 15), &[&hello[..], &TAIL].concat(), LIMIT, 4096).unwrap();
    assert_eq!(inflate_with(engine, &hello, LIMIT, 4096).unwrap().0, b"Hello", "and the next one is read");
    let empty = [0x00, 0x00, 0x00, 0xff, 0xff];
    assert_eq!(inflate(&[&empty.repeat(100_000)[..], &hello].concat()), Ok(b"Hello".to_vec()));
    assert_eq!(inflate(&[&hello[..], &TAIL, &empty.repeat(3)].concat()), Ok(b"Hello".to_vec()));
    assert_eq!(inflate(&[]), Ok(Vec::new()));
    assert_eq!(inflate(&TAIL), Ok(Vec::new()));
}

#[test]
fn what_is_cut_is_refused() {
    for payload in [b"Hello".to_vec(), prose(300), prose(5000)] {
        for level in [1, 6] {
            let whole = by_others(&payload, level, FlushCompress::Sync);
            assert_eq!(inflate(&whole), Ok(payload.clone()));
            for length in 1..whole.len() {
                match inflate(&whole[..length]) {
                    Err(failure) => assert_eq!(failure, Failure::Corrupt),
                    // The head of the empty block may begin in the octet before.
                    Ok(output) => assert_eq!((output, length), (payload.clone(), whole.len() - 1)),
                }
            }
        }
    }
    for octets in [&[0x07][..], &[0xff; 10], &[0x00, 0x05, 0x00, 0xfa], b"Hello", &[0x00, 0x01, 0x00, 0x00, 0x00, 0x00]]
    {
        assert_eq!(inflate(octets), Err(Failure::Corrupt), "{octets:x?}");
    }
}

#[test]
fn output_is_bounded_to_the_octet() {
    for size in [1, 255, 256, 257, 16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1, 100_000] {
        for payload in [vec![0; size], prose(size), noise(size)] {
            for level in [0, 1, 9] {
                let message = by_others(&payload, level, FlushCompress::Sync);
                let limited =
                    |limit| inflate_with(Inflate::new(false, 15), &message, limit, 1000).map(|(output, _)| output);
                assert_eq!(limited(size), Ok(payload.clone()), "{size} at {level}");
                assert_eq!(limited(size - 1), Err(Failure::TooBig), "{size} at {level}");
                assert_eq!(limited(0), Err(Failure::TooBig));
            }
        }
    }
}

#[test]
fn every_level_and_window_is_read_by_others() {
    let messages = [prose(40_000), noise(20_000), Vec::new(), vec![7; 40_000], Vec::new(), Vec::new(), prose(10)];
    for level in 1..=9 {
        for window_bits in 9..=15 {
            let mut compressor = Compressor::new(level, window_bits);
            let sent: Vec<_> = messages.iter().map(|message| compress(&mut compressor, message).unwrap()).collect();
            assert_eq!(others_read(&sent, 40_000), messages, "level {level}, {window_bits} bits");
            let mut engine = Inflate::new(false, 15);
            for (sent, message) in sent.iter().zip(&messages) {
                let output;
                (output, engine) = inflate_with(engine, sent, LIMIT, 10_000).unwrap();
                assert!(output == *message, "level {level}, {window_bits} bits");
            }
        }
    }
}

/// The window is no larger than was agreed on: what is repeated behind it is not found.
#[test]
fn a_window_has_its_size() {
    for window_bits in 9..15 {
        let size = |distance| {
            let payload = [noise(distance), noise(distance)].concat();
            compress(&mut Compressor::new(9, window_bits), &payload).unwrap().len()
        };
        let window = 1 << window_bits;
        assert!(size(window / 4) < window * 3 / 8, "{window_bits}: found within");
        assert!(size(window + 1) > 2 * window, "{window_bits}: not found behind");
    }
}

#[test]
fn a_borrowed_compressor_has_forgotten() {
    let secret = noise(200);
    for _ in 0..3 {
        let mut compressor = Compressor::borrow(6, 15);
        let compressed = compress(&mut compressor, &secret).unwrap();
        compressor.give_back();
        assert_eq!(inflate(&compressed), Ok(secret.clone()), "by itself");
        let inflater = super::pool::borrow_inflater();
        let (output, inflater) = inflate_with(inflater, &compressed, LIMIT, 10).unwrap();
        assert_eq!(output, secret);
        super::pool::give_inflater_back(inflater);
        // One that refers to 5 octets before it.
        let refers = inflate_with(super::pool::borrow_inflater(), &[0xf2, 0x00, 0x11, 0x00, 0x00], LIMIT, 10);
        assert_eq!(refers.err(), Some(Failure::Corrupt));
    }
}

/// Octets with repetitions.
fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        (any::<u8>(), 0..40_000_usize).prop_map(|(octet, count)| vec![octet; count]),
        (0..20_000_usize).prop_map(prose),
        (0..20_000_usize).prop_map(noise),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_compressed_is_inflated(
        messages in prop::collection::vec(any_payload(), 1..5),
        level in 1_u8..=9, window_bits in 9_u8..=15, budget in 1_usize..50_000, takeover: bool,
    ) {
        let (mut compressor, mut engine) = (Compressor::new(level, window_bits), Inflate::new(false, 15));
        let mut sent = Vec::new();
        for message in &messages {
            if !takeover {
                compressor = Compressor::new(level, window_bits);
                engine = Inflate::new(false, 15);
            }
            let compressed = compress(&mut compressor, message).unwrap();
            let output;
            (output, engine) = inflate_with(engine, &compressed, message.len(), budget.max(message.len() / 1000)).unwrap();
            prop_assert!(output == *message);
            sent.push(compressed);
        }
        if takeover {
            prop_assert!(others_read(&sent, 200_000) == messages);
        }
    }

    #[test]
    fn whatever_others_compress_is_inflated(payload in any_payload(), level in 0_u32..=9, last: bool) {
        let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
        prop_assert!(inflate(&by_others(&payload, level, flush)) == Ok(payload));
    }
}

proptest! {
    /// Nothing that comes makes more of it than it may be, or takes for ever.
    #[test]
    fn any_octets_are_inflated_or_refused(
        octets in prop::collection::vec(any::<u8>(), 0..300), limit in 0_usize..2000, budget in 1_usize..100,
    ) {
        if let Ok((output, _)) = inflate_with(Inflate::new(false, 15), &octets, limit, budget) {
            prop_assert!(output.len() <= limit);
        }
    }

    #[test]
    fn what_was_damaged_is_inflated_or_refused(
        payload in any_payload(), level in 0_u32..=9,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), limit in 0_usize..100_000,
    ) {
        let mut octets = by_others(&payload, level, FlushCompress::Sync);
        for (at, octet) in damage {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        if let Ok((output, engine)) = inflate_with(Inflate::new(false, 15), &octets, limit, 5000) {
            prop_assert!(output.len() <= limit);
            // and what comes next, of a window that it has left
            let _ = inflate_with(engine, &octets, limit, 5000);
        }
    }
}
