//! The body of a response on its way. \[NOB-03\], \[TRL-04\], \[FRM-07\], \[BOD-15\]

use std::sync::{Arc, Mutex};
use std::task::Poll;

use adapter_core::dispatch::{NO_PLACE, Observed, Outgoing, OwnAnswer, Piece, answered_instead, offload, prepare};
use adapter_core::http::header::CONTENT_LENGTH;
use adapter_core::http::{HeaderMap, HeaderValue, StatusCode, Version};
use adapter_core::observe::Counters;
use adapter_core::rules::request::Facts;
use adapter_core::rules::response::Framing;
use adapter_core::runtime::Driver as _;
use adapter_core::{Body, Bytes, Response, ServerConfig};

use tracing::Level;

use crate::{Logged, Still, connection, environ, poll, request, with};

fn facts() -> Facts {
    request().1
}

/// Of a client of HTTP/1.0.
fn old() -> Facts {
    with(|facts| {
        facts.version = Version::HTTP_10;
        facts.keep_alive = false;
        facts.trailers = true;
    })
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("1"))])
}

fn pieces(items: &'static [&'static str]) -> Body {
    Body::from_iterator(items.iter().copied())
}

/// How `body` goes out, and what of it: data, `end`, `end` with trailers, or `broken`.
fn goes_out(body: Body, facts: &Facts) -> (Framing, Vec<String>) {
    let (_, body, plan) = prepare(Response::new(body), facts, false);
    let Some(mut outgoing) = Outgoing::new(body, &plan, facts) else { return (plan.framing, Vec::new()) };
    let mut seen = Vec::new();
    loop {
        let Poll::Ready(piece) = poll(|cx| outgoing.poll_piece(cx)) else { panic!("it is there") };
        match piece {
            Piece::Data(data) => seen.push(String::from_utf8_lossy(&data).into_owned()),
            Piece::End(trailers) => {
                seen.push(trailers.map_or("end".into(), |trailers| format!("end {trailers:?}")));
                return (outgoing.framing(), seen);
            }
            Piece::Broken => {
                seen.push("broken".into());
                return (outgoing.framing(), seen);
            }
        }
    }
}

#[test]
fn empty_pieces_are_not_sent_and_end_nothing() {
    let (framing, seen) = goes_out(pieces(&["a", "", "b"]), &facts());
    assert_eq!((framing, seen), (Framing::Chunked, vec!["a".into(), "b".into(), "end".into()]));
}

#[test]
fn trailers_are_for_who_wants_them_and_for_chunks() {
    let (wanted, not) = (with(|facts| facts.trailers = true), facts());
    let said = r#"end {"x-sum": "1"}"#;
    assert_eq!(goes_out(pieces(&["a"]).with_trailers(trailers()), &wanted).1, ["a", said]);
    assert_eq!(goes_out(pieces(&["a"]).with_trailers(trailers()), &not).1, ["a", "end"]);
    // [TRL-04] a length leaves no room for them.
    let sized = goes_out(Body::from("a").with_trailers(trailers()), &wanted);
    assert_eq!(sized, (Framing::Chunked, vec!["a".into(), said.into()]));
    let sized = goes_out(Body::from("a").with_trailers(trailers()), &not);
    assert_eq!(sized, (Framing::Length(1), vec!["a".into(), "end".into()]));
    assert_eq!(
        goes_out(pieces(&["a"]).with_trailers(trailers()), &old()),
        (Framing::Close, vec!["a".into(), "end".into()])
    );
}

#[test]
fn a_body_nobody_gets_is_dropped() {
    let dropped = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = dropped.clone();
    let body = pieces(&["a"]).on_finish(move |_, _| flag.store(true, std::sync::atomic::Ordering::Relaxed));
    let (_, seen) = goes_out(body, &with(|facts| facts.is_head = true));
    assert!(seen.is_empty() && dropped.load(std::sync::atomic::Ordering::Relaxed));
    let mut response = Response::new(pieces(&["a"]));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let (_, body, plan) = prepare(response, &facts(), false);
    assert!(Outgoing::new(body, &plan, &facts()).is_none());
}

#[test]
fn what_ends_with_the_connection_is_broken_off_by_a_reset() {
    let of = |facts: Facts| {
        let (_, body, plan) = prepare(Response::new(pieces(&["a"])), &facts, false);
        let outgoing = Outgoing::new(body, &plan, &facts).unwrap();
        (outgoing.framing(), outgoing.breaks_off_by_reset(), outgoing.is_blocking())
    };
    assert_eq!(of(facts()), (Framing::Chunked, false, true));
    assert_eq!(of(old()), (Framing::Close, true, true));
    let (_, body, plan) = prepare(Response::new(Body::from("a")), &facts(), false);
    let outgoing = Outgoing::new(body, &plan, &facts()).unwrap();
    assert_eq!(
        (outgoing.framing(), outgoing.breaks_off_by_reset(), outgoing.is_blocking()),
        (Framing::Length(1), false, false)
    );
}

#[test]
fn a_body_that_fails_is_broken() {
    let failing = || Body::from_iterator([Ok(Bytes::from("a")), Err(std::io::Error::other("a fault"))]);
    assert_eq!(goes_out(failing(), &facts()).1, ["a", "broken"]);
}

/// \[FRM-03\] once, however much more there is.
#[test]
fn a_body_that_is_too_long_is_logged() {
    let logged = |body: fn() -> Body| {
        let mut response = Response::new(body());
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("3"));
        let (_, body, plan) = prepare(response, &facts(), false);
        assert_eq!(plan.framing, Framing::Length(3));
        let mut outgoing = Outgoing::new(body, &plan, &facts()).unwrap();
        let (seen, lines) = Logged::by(Level::ERROR, || {
            let mut seen = Vec::new();
            while let Poll::Ready(Piece::Data(data)) = poll(|cx| outgoing.poll_piece(cx)) {
                seen.extend_from_slice(&data);
            }
            drop(outgoing);
            seen
        });
        (String::from_utf8(seen).unwrap(), lines)
    };
    assert_eq!(logged(|| pieces(&["ab", "c"])), ("abc".into(), 0));
    assert_eq!(logged(|| pieces(&["ab", "cd", "e"])), ("abc".into(), 1));
}

#[test]
fn a_part_of_a_file_is_told_as_it_is_sent() {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, b"0123456789").unwrap();
    let body = Body::from_file(file, 2..7).unwrap();
    let (_, body, plan) = prepare(Response::new(body), &facts(), false);
    let mut outgoing = Outgoing::new(body, &plan, &facts()).unwrap();
    let part = outgoing.file_part().expect("it is one");
    assert_eq!((part.position, part.length), (2, 5));
    outgoing.file_sent(3);
    let part = outgoing.file_part().expect("there is more");
    assert_eq!((part.position, part.length), (5, 2));
    outgoing.file_sent(2);
    assert!(outgoing.file_part().is_none());
    assert!(matches!(poll(|cx| outgoing.poll_piece(cx)), Poll::Ready(Piece::End(None))));
}

#[test]
fn what_blocks_is_refused_where_nothing_may() {
    let runtime = connection(&Still::new(), &ServerConfig::default()).serving.runtime.clone();
    let dropped = Arc::new(Mutex::new(None));
    let told = dropped.clone();
    let body = pieces(&["a"]).on_finish(move |_, _| *told.lock().unwrap() = answered_instead());
    let counters = Arc::new(Counters::new());
    let watched = connection(&Still::new(), &ServerConfig::default().observe(counters.clone()));
    let mut observed = Observed::begin(&environ(&watched), &request().0, Still::new().now());
    let (mut head, body, mut plan) = prepare(Response::new(body), &facts(), false);
    let body = offload(&mut head, body, &mut plan, &facts(), &runtime, (), observed.as_deref_mut());
    assert_eq!(dropped.lock().unwrap().as_ref().and_then(OwnAnswer::rejection), Some(&NO_PLACE));
    observed.as_mut().unwrap().answered_at_once(head.status);
    drop(observed);
    assert_eq!(counters.snapshot().refused, [(503, 1)]);
    assert_eq!((head.status, body.is_blocking()), (StatusCode::SERVICE_UNAVAILABLE, false));
    assert_eq!(plan.framing, Framing::Length(body.len().unwrap()));
    // What does not block, or is not sent, is left alone.
    let (mut head, body, mut plan) = prepare(Response::new(Body::from("a")), &facts(), false);
    assert!(offload(&mut head, body, &mut plan, &facts(), &runtime, (), None).is_bytes());
    assert_eq!(head.status, StatusCode::OK);
    let asked = with(|facts| facts.is_head = true);
    let (mut head, body, mut plan) = prepare(Response::new(pieces(&["a"])), &asked, false);
    assert!(offload(&mut head, body, &mut plan, &asked, &runtime, (), None).is_blocking());
    assert_eq!(head.status, StatusCode::OK);
}
