//! Lives that are chosen, for what happens too seldom in random ones or is no matter there.

use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use adapter_core::server::SPARED;
use adapter_http1::connection::{End, Turn, Turned};

use super::client::responses;
use super::life::{Life, MOST, MOST_HELD, forget, held};
use super::script::Setup;
use super::toy_tls;
use super::world::Dice;

/// The life of a connection in plain to a client that takes everything.
fn life() -> Life {
    let mut life = Life::begin(&Setup::default(), Instant::now());
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
        let mut life = Life::begin(&Setup { tls, ..Setup::default() }, Instant::now());
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
    let mut life = Life::begin(&Setup { tls: true, ..Setup::default() }, Instant::now());
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

/// \[LIM-06\], \[DIS-03\] whatever an operating system tells of it, in every phase in which something is to be sent.
#[test]
fn who_takes_a_little_is_not_given_up() {
    let requests =
        ["GET /drip/1", "GET /drip/1 HTTP/1.1\r\nHost: a\r\n\r\nGET /late/2", "GET /hello/1 HTTP/1.0\r\n\r\nx"];
    for (request, tls) in requests.into_iter().flat_map(|request| [(request, false), (request, true)]) {
        let mut life = Life::begin(&Setup { tls, ..Setup::default() }, Instant::now());
        life.gate.fire();
        if tls {
            // The whole handshake, and nothing more.
            life.change(|wire| wire.room = [toy_tls::hello("http/1.1").len(), "...ticket".len()].iter().sum());
            life.run();
        }
        life.say(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        life.run();
        for _ in 0..10 {
            life.change(|wire| {
                wire.room += 10;
                wire.untold = true;
            });
            let deadline =
                life.connection.as_ref().expect("it is served").deadline().expect("there is a write timeout");
            let time = deadline.saturating_duration_since(life.now());
            life.passes(time);
            let before = life.wire.lock().unwrap().out.len();
            life.run();
            assert_eq!(life.wire.lock().unwrap().out.len(), before + 10, "it is tried ({request})");
        }
        let deadline = life.connection.as_ref().expect("it is served").deadline().expect("there is a write timeout");
        let time = deadline.saturating_duration_since(life.now());
        life.passes(time);
        life.run();
        assert!(life.connection.is_none(), "who takes nothing is ({request})");
    }
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

/// \[CON-05\], \[OBS-07\] whoever has no permit to give may refuse the request that waits for one.
#[test]
fn a_request_that_waits_for_a_permit_can_be_refused() {
    let mut life = life();
    life.say(b"GET /hello/1 HTTP/1.1\r\nHost: a\r\n\r\n");
    let (mut cx, now) = (Context::from_waker(Waker::noop()), life.now());
    let connection = life.connection.as_mut().expect("it is open");
    let without = || Turn { permit: false, woken: false };
    let turned = connection.turn(&mut cx, now, without());
    assert!(matches!(turned, Turned::NeedsPermit { is_new: true }), "it is a new request");
    connection.refuse(now);
    assert!(matches!(connection.turn(&mut cx, now, without()), Turned::Parked | Turned::Again | Turned::Ended(_)));
    let said: Vec<_> = responses(&life.heard()).into_iter().map(|said| said.status).collect();
    assert_eq!(said, [503]);
}

/// \[TLS-09\], \[DIS-04\] an end without close_notify is an end: the client may still read. A reset is none.
#[test]
fn who_ends_without_close_notify_may_still_read() {
    for reset in [false, true] {
        let mut life = Life::begin(&Setup { tls: true, ..Setup::default() }, Instant::now());
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

/// \[BOD-14b\], \[DIS-04c\] what is cut off because the client's stream has ended, and it may still read, must not look whole. Found by a life.
#[test]
fn an_answer_to_the_end_of_the_connection_is_cut_by_a_reset() {
    for tls in [false, true] {
        let mut life = Life::begin(&Setup { tls, ..Setup::default() }, Instant::now());
        life.change(|wire| wire.room = usize::MAX / 2);
        life.say(b"GET /drip/1 HTTP/1.0\r\n\r\n");
        life.change(|wire| wire.ended = true);
        life.run();
        assert!(life.heard().ends_with(b"\r\n\r\n/drip/1 "), "it is under way, and the rest waits");
        let until = life.deadline().expect("who has ended is not waited for for long");
        let time = until.saturating_duration_since(life.now());
        life.passes(time);
        life.run();
        let wire = life.wire.lock().unwrap();
        assert!(wire.closed && wire.by_reset && !wire.shut, "an orderly end is that of the answer");
    }
}

/// \[REQ-29\] who takes the answer late has all the time for the body that nobody wants: it was not read before. Found by a life.
#[test]
fn the_time_for_an_unwanted_body_begins_behind_the_answer() {
    let mut life = Life::begin(&Setup::default(), Instant::now());
    life.say(b"POST /leave/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
    life.run();
    life.passes(Duration::from_secs(31));
    life.change(|wire| wire.room = usize::MAX / 2);
    life.run();
    life.say(b"0123456789GET /hello/2 HTTP/1.1\r\nHost: a\r\n\r\n");
    life.run();
    let said: Vec<_> = responses(&life.heard()).into_iter().map(|said| said.body).collect();
    assert_eq!(said, [b"/leave/1", b"/hello/2"]);
}

/// \[BOD-16\], \[LIM-01\] what a connection holds depends on its limits, and not on how much there is to say: requests by the thousand, a large
/// body that comes back, an answer without an end, a long head, for a client that takes nothing, or only a little now and then.
#[test]
fn what_a_connection_holds_has_a_bound() {
    let head = |path: &str, fields: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes();
    let large = [head("/echo/1", "Content-Length: 10000000\r\n"), vec![b'x'; 10_000_000]].concat();
    let chunk = [b"8000\r\n".to_vec(), vec![b'x'; 0x8000], b"\r\n".to_vec()].concat();
    let chunked =
        [head("/echo/1", "Transfer-Encoding: chunked\r\n"), chunk.repeat(300), b"0\r\n\r\n".to_vec()].concat();
    let long = [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'x'; 10_000_000]].concat();
    let floods = [
        head("/hello/1", "Content-Length: 0\r\n").repeat(20_000),
        head("/late/1", "Content-Length: 0\r\n").repeat(20_000),
        large,
        chunked,
        long,
        head("/endless/1", "Content-Length: 0\r\n"),
    ];
    for (flood, slow) in floods.iter().flat_map(|flood| [(flood, false), (flood, true)]) {
        forget();
        let mut life = Life::begin(&Setup::default(), Instant::now());
        for piece in flood.chunks(50_000) {
            life.say(piece);
            life.change(|wire| wire.room += if slow { 3000 } else { 0 });
            life.run();
        }
        let what = String::from_utf8_lossy(&flood[..20]).into_owned();
        assert!(MOST.get() <= MOST_HELD, "{} octets are held ({what}, {slow})", MOST.get());
        life.trigger.force();
        life.told = true;
        life.run();
        assert!(life.connection.is_none() && held() <= MOST_HELD / 2, "{} octets are left ({what}, {slow})", held());
    }
}
