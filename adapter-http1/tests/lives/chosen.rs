//! Lives that are chosen, for what happens too seldom in random ones or is no matter there.

use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use adapter_core::http::StatusCode;
use adapter_core::rules::Rejection;
use adapter_core::server::SPARED;
use adapter_http1::connection::{End, Turn, Turned};

use super::Life;
use super::client::responses;
use super::world::Dice;

/// The life of a connection in plain to a client that takes everything.
fn life() -> Life {
    let mut life = Life::begin(Instant::now(), false, false);
    life.change(|wire| wire.room = usize::MAX / 2);
    life
}

/// \[REQ-15\], \[REQ-03\], \[INF-03\] an application may keep a body that it has not read, and its hints; the next request has its own.
#[test]
fn what_was_kept_of_a_request_gives_nothing_of_the_next() {
    let post = |path, body: &str| {
        let fields = "Host: a\r\nTransfer-Encoding: chunked";
        format!("POST {path} HTTP/1.1\r\n{fields}\r\n\r\n5\r\n{body}\r\n0\r\n\r\n")
    };
    let ways = ["/keep/whole", "/keep/pieces"].into_iter().flat_map(|path| {
        let unread = (path, post(path, "first"), "Some(Err(Disconnected)), other");
        [unread, (path, format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"), "None, other")]
    });
    for ((path, keep, kept), at_once) in ways.flat_map(|way| [(way.clone(), false), (way, true)]) {
        let mut life = life();
        life.say(keep.as_bytes());
        if !at_once {
            life.run();
        }
        life.say(post("/kept/2", "other").as_bytes());
        life.run();
        let heard = life.heard();
        let finals = heard.strip_prefix(b"HTTP/1.1 103 Early Hints\r\n\r\n").expect("the first request's hints");
        let said: Vec<_> = responses(finals).into_iter().map(|said| said.body).collect();
        assert_eq!(said, [path.as_bytes(), kept.as_bytes()]);
    }
}

/// \[REQ-29\] what is known when the head of the response is sent decides.
#[test]
fn an_end_because_of_a_body_is_announced() {
    for (length, ends) in [(10, false), (1 << 30, true)] {
        let mut life = life();
        life.say(format!("POST /leave/1 HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n").as_bytes());
        life.run();
        let heard = String::from_utf8(life.heard()).unwrap();
        assert_eq!(heard.contains("\r\nconnection: close\r\n"), ends, "{heard}");
    }
}

/// \[REQ-12\] a body that nobody wants is no reason to end a connection where all of it has come, be it unread so far.
#[test]
fn what_has_come_of_a_body_is_looked_at_before_an_end_is_announced() {
    for (body, ends) in [("5\r\nfirst\r\n0\r\n\r\n", false), ("5\r\nfirst\r\n", true)] {
        let mut life = life();
        life.say(b"POST /leave/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        life.say(body.as_bytes());
        life.run();
        let heard = String::from_utf8(life.heard()).unwrap();
        assert_eq!(heard.contains("\r\nconnection: close\r\n"), ends, "{heard}");
    }
}

/// \[LIM-07\] who is idle makes room for others, but not where a request has come that no event has told of yet.
#[test]
fn who_is_idle_makes_room_unless_something_has_come() {
    for (tls, unseen) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut life = Life::begin(Instant::now(), tls, false);
        life.change(|wire| (wire.room, wire.unseen) = (usize::MAX / 2, unseen));
        life.say(b"GET /hello/1 HTTP/1.1\r\nHost: a\r\n\r\n");
        life.run();
        assert_eq!(responses(&life.heard()).len(), 1);
        life.passes(SPARED);
        life.roster.make_room(life.now());
        life.run();
        assert_eq!(life.connection.is_some(), unseen, "TLS: {tls}");
    }
}

/// \[LIM-06\] room that no event has told of is found when the time is over, and what is sent goes on as before.
#[test]
fn room_that_nobody_has_told_of_is_used() {
    const ROOM: usize = 300_000;
    let mut life = life();
    life.change(|wire| wire.room = 10_000);
    life.say(b"GET /endless/1 HTTP/1.1\r\nHost: a\r\n\r\n");
    life.run();
    assert_eq!(life.heard().len(), 10_000);
    // Nobody is woken.
    let mut wire = life.wire.lock().unwrap();
    (wire.room, wire.untold) = (ROOM, true);
    drop(wire);
    life.passes(Duration::from_secs(60));
    life.run();
    assert_eq!(life.heard().len(), 10_000 + ROOM);
}

/// \[LIM-04a\] the time for a head begins with its first octet where a response came before, and with the connection where none did.
#[test]
fn each_head_has_the_whole_time() {
    let left = |life: &Life| life.connection.as_ref().and_then(|connection| Some(connection.deadline()? - life.now()));
    let mut life = life();
    life.run();
    let whole = left(&life).expect("there is a limit");
    life.passes(Duration::from_secs(1));
    life.say(b"GET /hello/1");
    life.run();
    assert_eq!(left(&life), Some(whole - Duration::from_secs(1)));
    life.say(b" HTTP/1.1\r\nHost: a\r\n\r\n");
    life.run();
    assert_eq!(responses(&life.heard()).len(), 1);
    life.passes(Duration::from_secs(1));
    life.say(b"GET /hello/2");
    life.run();
    assert_eq!(left(&life), Some(whole));
}

/// \[LIM-06\], \[BOD-10\] what is cut off has ended, also where the body could go on for ever, and a permit comes late.
#[test]
fn an_endless_body_ends_with_its_connection() {
    for seed in 1..50 {
        let mut life = life();
        life.ration = Some(Dice(seed));
        life.change(|wire| wire.room = 10_000);
        life.say(b"GET /endless/1 HTTP/1.1\r\nHost: a\r\n\r\n");
        life.run();
        assert_eq!(life.alive.load(SeqCst), 1, "the client takes nothing, and has time");
        for _ in 0..3 {
            life.passes(Duration::from_secs(60));
            life.run();
        }
        assert!(life.connection.is_none(), "it takes nothing, and is not ended ({seed})");
        assert_eq!(life.alive.load(SeqCst), 0, "the body is still there ({seed})");
    }
}

/// \[SHU-04\] who has said nothing at all may be about to: a drain waits for that, but not for long.
#[test]
fn a_drain_spares_a_fresh_connection_for_a_moment() {
    let mut life = Life::begin(Instant::now(), true, false);
    life.change(|wire| wire.incoming.clear());
    life.run();
    life.trigger.drain();
    life.told = true;
    life.passes(SPARED / 2);
    life.run();
    let until = life.connection.as_ref().expect("it has a moment").deadline().expect("it is for a moment");
    assert_eq!(until - life.now(), SPARED / 2);
    life.passes(SPARED / 2);
    life.run();
    assert!(life.connection.is_none(), "its moment has passed");
}

/// \[TGT-20\] where HTTP/2 is not served its preface is a request of HTTP/1 that can't be answered but by a refusal.
#[test]
fn a_preface_is_refused_where_nobody_speaks_http2() {
    let mut life = life();
    life.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    life.run();
    let said: Vec<_> = responses(&life.heard()).into_iter().map(|said| said.status).collect();
    assert_eq!(said, [505]);
}

/// A permit is for what is the application's: an end that is forced needs none where there is nothing of it.
#[test]
fn who_is_idle_is_cut_without_a_permit() {
    let mut life = life();
    life.say(b"GET /hello/1 HTTP/1.1\r\nHost: a\r\n\r\n");
    life.run();
    assert_eq!(responses(&life.heard()).len(), 1);
    life.trigger.force();
    let now = life.now();
    let connection = life.connection.as_mut().expect("it is idle");
    let turned = connection.turn(&mut Context::from_waker(Waker::noop()), now, Turn { permit: false, woken: false });
    assert!(matches!(turned, Turned::Ended(End::Closed)));
}

/// \[LIM-07\], \[OBS-07\] whoever has no permit to give may refuse the request that waits for one.
#[test]
fn a_request_that_waits_for_a_permit_can_be_refused() {
    const BUSY: Rejection = Rejection::new(StatusCode::SERVICE_UNAVAILABLE, "LIM-07", "there is no room");
    let mut life = life();
    life.say(b"GET /hello/1 HTTP/1.1\r\nHost: a\r\n\r\n");
    let (mut cx, now) = (Context::from_waker(Waker::noop()), life.now());
    let connection = life.connection.as_mut().expect("it is open");
    let without = || Turn { permit: false, woken: false };
    let turned = connection.turn(&mut cx, now, without());
    assert!(matches!(turned, Turned::NeedsPermit { is_new: true }), "it is a new request");
    connection.refuse(&BUSY, now);
    assert!(matches!(connection.turn(&mut cx, now, without()), Turned::Parked | Turned::Again | Turned::Ended(_)));
    let said: Vec<_> = responses(&life.heard()).into_iter().map(|said| said.status).collect();
    assert_eq!(said, [503]);
}

/// \[TLS-09\], \[DIS-04\] an end without close_notify is an end: the client may still read. A reset is none.
#[test]
fn who_ends_without_close_notify_may_still_read() {
    for reset in [false, true] {
        let mut life = Life::begin(Instant::now(), true, false);
        life.change(|wire| wire.room = usize::MAX / 2);
        life.say(b"GET /late/1 HTTP/1.1\r\nHost: a\r\n\r\n");
        life.run();
        assert_eq!(life.alive.load(SeqCst), 1, "the application has it");
        life.change(|wire| (wire.ended, wire.reset) = (true, reset));
        life.run();
        assert_eq!(life.alive.load(SeqCst), usize::from(!reset), "a reset needs no grace, an end has one");
        life.gate.fire();
        life.run();
        assert_eq!(responses(&life.heard()).len(), usize::from(!reset));
    }
}
