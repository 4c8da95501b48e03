use proptest::prelude::*;

use super::*;

/// What hyper gets of `pieces`, as a socket would bring them, if each head that announces a body is followed by one of
/// `length`; and what was refused.
fn passed(pieces: &[&[u8]], length: BodyLength) -> (Vec<u8>, Option<RequestBodyError>) {
    let mut inflow = Inflow::default();
    let mut seen = Vec::new();
    for piece in pieces {
        inflow.raw().extend_from_slice(piece);
        loop {
            let before = inflow.raw().len();
            inflow.pass_raw(&mut |octets| seen.extend_from_slice(octets));
            if let Some(error) = inflow.error() {
                return (seen, Some(error.clone()));
            }
            if inflow.want() == Want::Nothing {
                inflow.begin_body(length);
            } else if inflow.raw().len() == before || inflow.raw().is_empty() {
                break;
            }
        }
    }
    (seen, None)
}

fn text(octets: &[u8]) -> String {
    octets.escape_ascii().to_string()
}

#[test]
fn heads_without_a_body_go_through_together() {
    let wire = b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\nContent-Lengthy: 1\r\n\r\nGET /2 HTTP/1.1\nHost: a\n\nGET /3";
    let mut inflow = Inflow::default();
    let mut seen = Vec::new();
    assert_eq!(inflow.pass(wire, &mut |octets| seen.extend_from_slice(octets)), wire.len());
    assert_eq!(text(&seen), text(wire));
    assert_eq!(inflow.body_left(), Some(0));
}

#[test]
fn nothing_passes_a_head_that_announces_a_body_until_its_length_is_known() {
    for name in ["content-length: 3", "CONTENT-LENGTH:3", "Transfer-Encoding: chunked"] {
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\n{name}\r\n\r\n");
        let wire = format!("{head}abcGET / HTTP/1.1\r\n");
        for cut in 0..wire.len() {
            let mut inflow = Inflow::default();
            let mut seen = Vec::new();
            for piece in [&wire[..cut], &wire[cut..]] {
                inflow.raw().extend_from_slice(piece.as_bytes());
                inflow.pass_raw(&mut |octets| seen.extend_from_slice(octets));
            }
            assert_eq!(text(&seen), text(head.as_bytes()), "cut at {cut}");
            assert!(inflow.is_in_body());
            inflow.begin_body(BodyLength::Sized(3));
            assert_eq!((inflow.want(), inflow.body_left()), (Want::Plain(3), Some(3)));
            inflow.pass_raw(&mut |octets| seen.extend_from_slice(octets));
            assert_eq!(text(&seen), text(&wire.as_bytes()[..head.len() + 3]));
            inflow.pass_raw(&mut |octets| seen.extend_from_slice(octets));
            assert_eq!(text(&seen), text(wire.as_bytes()));
        }
    }
}

/// \[TGT-17b\]
#[test]
fn fragments_are_seen_in_targets_alone() {
    for (wire, first) in [
        ("GET / HTTP/1.1\r\nHost: a#\r\n\r\n#", None),
        ("\r\n#G #/ HTTP/1.1\r\n\r\n", Some(1)),
        ("\r\n#G / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\nGET /# HTTP/1.1\r\n\r\nGET /# HTTP/1.1\r\n\r\n", Some(3)),
        ("POST / HTTP/1.1\nContent-Length: 3\n\n # \nGET /a#b", Some(2)),
    ] {
        for cut in 0..wire.len() {
            let mut inflow = Inflow::default();
            let mut seen = Vec::new();
            for piece in [&wire[..cut], &wire[cut..]] {
                inflow.raw().extend_from_slice(piece.as_bytes());
                // The head, the body, what is behind it.
                for _ in 0..3 {
                    inflow.pass_raw(&mut |octets| seen.extend_from_slice(octets));
                    if inflow.want() == Want::Nothing {
                        inflow.begin_body(BodyLength::Sized(3));
                    }
                }
            }
            assert_eq!(text(&seen), text(wire.as_bytes()));
            assert_eq!(inflow.fragment(), first, "{wire:?} cut at {cut}");
        }
    }
}

#[test]
fn chunks_are_framed_anew() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = "0004 ;signature=abc\r\nWiki\r\n1\r\np\r\n0\r\nX-Sum: 1\r\n\r\n";
    let (seen, error) = passed(&[format!("{head}{body}GET /").as_bytes()], BodyLength::Unknown);
    assert_eq!(error, None);
    assert_eq!(text(&seen), text(format!("{head}5\r\nWikip\r\n0\r\nx-sum: 1\r\n\r\nGET /").as_bytes()));
}

#[test]
fn data_in_front_of_what_is_malformed_arrives() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (seen, error) = passed(&[format!("{head}2\r\nab\r\nx\r\n").as_bytes()], BodyLength::Unknown);
    assert!(matches!(error, Some(RequestBodyError::Malformed(_))));
    assert_eq!(text(&seen), text(format!("{head}2\r\nab\r\n").as_bytes()));
}

#[test]
fn a_head_that_hyper_sees_elsewhere_ends_it() {
    let mut inflow = Inflow::default();
    inflow.begin_body(BodyLength::Sized(0));
    assert_eq!(inflow.want(), Want::Filtered);
    inflow.begin_body(BodyLength::Sized(1));
    assert!(inflow.error().is_some() && inflow.want() == Want::Failed);
}

/// \[KAP-08\], \[LIM-04\] what decides whether a connection is idle.
#[test]
fn a_head_has_begun_with_its_first_octet() {
    let state = |wire: &[u8]| {
        let mut inflow = Inflow::default();
        inflow.pass(wire, &mut |_| {});
        (inflow.is_between(), inflow.has_begun_head())
    };
    assert_eq!(state(b""), (true, false));
    assert_eq!(state(b"G"), (false, true));
    assert_eq!(state(b"GET / HTTP/1.1\r\nHost: a\r\n"), (false, true));
    assert_eq!(state(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), (true, false));
    assert_eq!(state(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"), (false, false));
    let mut inflow = Inflow::default();
    inflow.raw().extend_from_slice(b"G");
    assert!(inflow.has_begun_head(), "it was not looked at");
}

/// \[LIM-01\], \[OBS-07\]
#[test]
fn of_http1_no_head_is_counted_here() {
    let mut inflow = Inflow::default();
    inflow.pass(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &mut |_| {});
    let heads = inflow.take_heads();
    assert_eq!((heads.whole, heads.too_large, inflow.is_in_head()), (0, 0, false));
}

proptest! {
    #[test]
    fn number_signs_are_found(line in proptest::collection::vec(proptest::sample::select(b"#\"$\xa3\x22 a".to_vec()), 0..40)) {
        prop_assert_eq!(has_number_sign(&line), line.contains(&b'#'));
    }

    #[test]
    fn pieces_never_change_the_outcome(
        requests in proptest::collection::vec((0_usize..3, proptest::collection::vec(any::<u8>(), 1..40)), 1..6),
        cuts in proptest::collection::vec(0_usize..200, 0..8),
    ) {
        // Heads, and bodies that are all chunked, so that one framing serves for the whole stream.
        let mut wire = Vec::new();
        let mut wanted = Vec::new();
        for (kind, data) in &requests {
            let head = match kind {
                0 => "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                1 => "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
                _ => "POST /b HTTP/1.1\nA: b\ntransfer-encoding:chunked\n\n",
            };
            wire.extend_from_slice(head.as_bytes());
            wanted.extend_from_slice(head.as_bytes());
            if *kind > 0 {
                for octet in data {
                    wire.extend_from_slice(&[b"01\r\n", std::slice::from_ref(octet), b"\r\n"].concat());
                }
                wire.extend_from_slice(b"0\r\n\r\n");
                wanted.extend_from_slice(data);
            }
        }
        let mut pieces = Vec::new();
        let mut rest = wire.as_slice();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        let (seen, error) = passed(&pieces, BodyLength::Unknown);
        prop_assert_eq!(error, None);
        prop_assert_eq!(text(&undone(&seen)), text(&wanted));
    }

    #[test]
    fn whatever_comes_never_panics_and_all_is_taken(input in proptest::collection::vec(
        proptest::sample::select(b"0aF;\r\n: \tcontent-length:transfer-encoding:".to_vec()), 0..300), cut in 0_usize..300)
    {
        let cut = cut.min(input.len());
        let whole = passed(&[&input], BodyLength::Unknown);
        let split = passed(&[&input[..cut], &input[cut..]], BodyLength::Unknown);
        prop_assert_eq!(text(&undone(&whole.0)), text(&undone(&split.0)));
        prop_assert_eq!(whole.1, split.1);
    }
}

/// What hyper makes of it: heads as they are, the data of chunked bodies behind them.
fn undone(wire: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut scan = Scan::default();
    let mut rest = wire;
    loop {
        let (count, announced) = scan.advance(rest);
        plain.extend_from_slice(&rest[..count]);
        rest = &rest[count..];
        if !announced {
            return plain;
        }
        let mut decoder = Decoder::new(BodyLength::Unknown, None);
        loop {
            match decoder.decode(rest) {
                Ok(Event::Data { start, consumed }) => {
                    plain.extend_from_slice(&rest[start..consumed]);
                    rest = &rest[consumed..];
                }
                Ok(Event::End { consumed, .. }) => {
                    rest = &rest[consumed..];
                    break;
                }
                Ok(Event::More { .. }) => return plain,
                Err(error) => panic!("{error}"),
            }
        }
    }
}
