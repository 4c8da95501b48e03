use proptest::prelude::*;

use super::*;
use crate::encoder;

type Decoded = Result<(Vec<u8>, Option<HeaderMap>, Vec<u8>), RequestBodyError>;

/// Feeds `pieces` one after another, as a socket would; gives the data, the trailers and what is left over.
fn decode(mut decoder: Decoder, pieces: &[&[u8]]) -> Option<Decoded> {
    let mut data = Vec::new();
    for (n, piece) in pieces.iter().enumerate() {
        let mut rest = *piece;
        loop {
            match decoder.decode(rest) {
                Ok(Event::Data { start, consumed }) => {
                    data.extend_from_slice(&rest[start..consumed]);
                    rest = &rest[consumed..];
                }
                Ok(Event::More { consumed }) => {
                    assert_eq!(consumed, rest.len());
                    break;
                }
                Ok(Event::End { trailers, consumed }) => {
                    let left = [&rest[consumed..], &pieces[n + 1..].concat()].concat();
                    return Some(Ok((data, trailers, left)));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
    None
}

fn chunked(input: &[u8]) -> Option<Decoded> {
    decode(Decoder::new(BodyLength::Unknown, None), &[input])
}

#[test]
fn every_split_point_gives_the_same_body() {
    let input =
        b"4;x=\"y\"\r\nWiki\r\n0005 \r\npedia\r\n0E\r\n in\r\n\r\nchunks.\r\n0\r\nX-Sum: 1\r\nHost: no\r\n\r\nGET /";
    for first in 0..=input.len() {
        for second in first..=input.len() {
            let pieces = [&input[..first], &input[first..second], &input[second..]];
            let (data, trailers, left) = decode(Decoder::new(BodyLength::Unknown, None), &pieces).unwrap().unwrap();
            assert_eq!(data, b"Wikipedia in\r\n\r\nchunks.");
            let trailers = trailers.unwrap();
            assert_eq!(trailers["x-sum"], "1");
            assert!(!trailers.contains_key("host"), "[TRL-02]");
            assert_eq!(left, b"GET /");
        }
    }
}

#[test]
fn a_sized_body_ends_where_it_said() {
    let (data, _, left) = decode(Decoder::new(BodyLength::Sized(5), None), &[b"ab", b"cdeGET"]).unwrap().unwrap();
    assert_eq!((data.as_slice(), left.as_slice()), (b"abcde".as_slice(), b"GET".as_slice()));
    assert!(decode(Decoder::new(BodyLength::Sized(5), None), &[b"abcd"]).is_none());
}

#[test]
fn what_is_malformed() {
    let cases: [&[u8]; 17] = [
        b"\r\n",
        b"g\r\n",
        b"5\n",
        b"5\r\r\n",
        b"5\rx",
        b"-1\r\n",
        b"0x5\r\n",
        b"5 5\r\n",
        b"1\r\nab",
        b"1\r\na\n",
        b"1\r\na\rb",
        b"10000000000000000\r\n",
        b"5;a\nb\r\n",
        b"0\r\nA: b\n\r\n",
        b"0\r\nA b\r\n\r\n",
        b"0\r\n : b\r\n\r\n",
        b"0\r\nA: b\rc\r\n\r\n",
    ];
    for input in cases {
        let outcome = chunked(input);
        assert!(matches!(outcome, Some(Err(RequestBodyError::Malformed(_)))), "{}", input.escape_ascii());
    }
}

#[test]
fn trailers_and_size_are_bounded() {
    let trailers = [b"0\r\nA: ".to_vec(), vec![b'x'; MAX_TRAILERS]].concat();
    assert!(matches!(chunked(&trailers), Some(Err(RequestBodyError::Malformed(_)))));
    let lines = [b"0\r\n".to_vec(), b"A: b\r\n".repeat(MAX_TRAILER_LINES + 1), b"\r\n".to_vec()].concat();
    assert!(matches!(chunked(&lines), Some(Err(RequestBodyError::Malformed(_)))));
    let outcome = decode(Decoder::new(BodyLength::Unknown, Some(3)), &[b"2\r\nab\r\n2\r\ncd\r\n"]);
    assert!(matches!(outcome, Some(Err(RequestBodyError::TooLarge { limit: 3 }))));
}

/// \[LIM-08a\] whatever fills it
#[test]
fn a_chunk_size_line_is_bounded_by_its_length() {
    let longest = MAX_LINE as usize;
    for (before, filler, after) in
        [("", "0", "1"), ("1", " ", ""), ("1", "\t", ""), ("1;", "x", ""), ("1;a=\"", ";", "\""), ("1 ", ";", "")]
    {
        let line = |length: usize| {
            let filler = filler.repeat(length - before.len() - after.len());
            format!("{before}{filler}{after}\r\na\r\n0\r\n\r\n").into_bytes()
        };
        let (data, ..) = chunked(&line(longest)).unwrap().unwrap();
        assert_eq!(data, b"a", "{before}{filler}");
        assert!(matches!(chunked(&line(longest + 1)), Some(Err(RequestBodyError::Malformed(_)))), "{before}{filler}");
        // Told at once, and not when the line ends.
        let endless = [before.as_bytes(), filler.repeat(longest + 1).as_bytes()].concat();
        assert!(matches!(chunked(&endless), Some(Err(RequestBodyError::Malformed(_)))), "{before}{filler}");
    }
}

/// \[LIM-08c\] the number of chunks is no matter
#[test]
fn ordinary_bodies_are_read_whatever_their_length() {
    let signature = format!(";chunk-signature={}", "e".repeat(64));
    let cases = [
        (20_000, 16, ""),
        (6_000, 8 * 1024, ""),
        (200, 64 * 1024, ""),
        (200_000, 1, ""),
        (20_000, 1, signature.as_str()),
        (20_000, 16, &signature),
        (2_000, 1024, &signature),
        (600, 8 * 1024, &signature),
        (20_000, 1, "                "),
        (20_000, 5, " ; a = \"b\" ;c"),
        (2_000, 2048, &"x".repeat(4000).replacen('x', ";", 1)),
    ];
    for (count, size, extension) in cases {
        for zeros in [0, 24] {
            let one = [format!("{}{size:x}{extension}\r\n", "0".repeat(zeros)).as_bytes(), &b"x".repeat(size), b"\r\n"]
                .concat();
            let mut decoder = Decoder::new(BodyLength::Unknown, None);
            let mut data = 0;
            for piece in std::iter::repeat_n(one.as_slice(), count).chain([b"0\r\n\r\n".as_slice()]) {
                let mut rest = piece;
                while let Event::Data { start, consumed } = decoder.decode(rest).unwrap() {
                    data += consumed - start;
                    rest = &rest[consumed..];
                }
            }
            assert!(decoder.is_done());
            assert_eq!(data, count * size, "{count} chunks of {size} with {zeros} zeros and {extension:?}");
        }
    }
}

/// \[LIM-08a\]
#[test]
fn bodies_of_little_but_framing_are_refused() {
    let cases = [("1;", "x", 4000, 8), ("1", " ", 1000, 30), ("", "0", 500, 60), ("10;", "x", 400, 100)];
    for (before, filler, length, chunks) in cases {
        let one = match before {
            "" => format!("{}1\r\na\r\n", filler.repeat(length)),
            "10;" => format!("10;{}\r\n0123456789abcdef\r\n", filler.repeat(length)),
            _ => format!("{before}{}\r\na\r\n", filler.repeat(length)),
        };
        let outcome = chunked(one.repeat(chunks).as_bytes());
        assert!(matches!(outcome, Some(Err(RequestBodyError::Malformed(_)))), "{before}{filler}");
    }
    // What was paid too much is no credit.
    let data = format!("100000\r\n{}\r\n", "x".repeat(0x10_0000));
    let rest = format!("1;{}\r\na\r\n", "x".repeat(4000)).repeat(8);
    assert!(matches!(chunked((data + &rest).as_bytes()), Some(Err(RequestBodyError::Malformed(_)))));
}

proptest! {
    #[test]
    fn what_the_encoder_writes_is_read_back(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..8),
        sum in proptest::option::of("[a-z]{1,9}"),
        cuts in proptest::collection::vec(1_usize..40, 0..200),
    ) {
        let mut wire = Vec::new();
        for chunk in &chunks {
            encoder::chunk_size(&mut wire, chunk.len());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(encoder::CHUNK_END);
        }
        let mut trailers = HeaderMap::new();
        if let Some(sum) = &sum {
            trailers.insert("x-sum", sum.parse().unwrap());
        }
        encoder::last_chunk(&mut wire, Some(&trailers));
        let mut pieces = Vec::new();
        let mut rest = wire.as_slice();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        let (data, seen, left) = decode(Decoder::new(BodyLength::Unknown, None), &pieces).unwrap().unwrap();
        prop_assert_eq!(data, chunks.concat());
        prop_assert_eq!(seen.unwrap_or_default(), trailers);
        prop_assert!(left.is_empty());
    }

    #[test]
    fn splits_never_change_the_outcome(input in proptest::collection::vec(
        proptest::sample::select(b"0123aAfF;\r\n: x\0".to_vec()), 0..60), cut in 0_usize..60)
    {
        let cut = cut.min(input.len());
        let whole = chunked(&input);
        let split = decode(Decoder::new(BodyLength::Unknown, None), &[&input[..cut], &input[cut..]]);
        prop_assert_eq!(format!("{whole:?}"), format!("{split:?}"));
    }
}
