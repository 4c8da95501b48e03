//! Heads and bodies out of pieces, with timers that run.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use adapter_core::runtime::Threads;
use adapter_core::{Runtime, ServerInfo, ShutdownTrigger};
use futures_lite::future::block_on;

use super::*;

/// Pieces that have arrived, and then the end of the stream or silence.
struct Pieces {
    pieces: VecDeque<&'static [u8]>,
    ends: bool,
    invitations: Arc<AtomicUsize>,
}

impl Feed for Pieces {
    fn poll_more(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self.pieces.pop_front() {
            Some(piece) => Poll::Ready(Some(Bytes::from_static(piece))),
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn send_continue(&mut self) {
        self.invitations.fetch_add(1, Ordering::SeqCst);
    }
}

struct Fixture {
    inbound: Inbound,
    invitations: Arc<AtomicUsize>,
    shutdown: ShutdownTrigger,
}

fn fixture(pieces: &[&'static str], ends: bool, change: fn(&mut ServerConfig)) -> Fixture {
    let mut config = ServerConfig::default();
    change(&mut config);
    let (shutdown, runtime) = (ShutdownTrigger::new(), Runtime::new(Threads::new(&config)));
    let serving = Serving::new(ServerInfo::new("test", "1"), runtime, shutdown.clone(), &config);
    let invitations = Arc::new(AtomicUsize::new(0));
    let pieces = pieces.iter().map(|piece| piece.as_bytes()).collect();
    let feed = Pieces { pieces, ends, invitations: invitations.clone() };
    Fixture { inbound: Inbound::new(feed, serving, &config), invitations, shutdown }
}

/// The next head, which must be there.
fn head(inbound: &mut Inbound) -> Head {
    block_on(inbound.head()).expect("a request").expect("an acceptable one")
}

const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n";

#[test]
fn requests_follow_each_other() {
    let second = "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut fixture =
        fixture(&["POST / HT", "TP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe", "llo", second], true, |_| {});
    let inbound = &mut fixture.inbound;
    let mut facts = head(inbound).facts;
    let mut body = inbound.body(&facts);
    assert_eq!(body.len(), Some(5));
    assert_eq!(block_on(body.bytes(10)).unwrap(), "hello");
    inbound.commit(&mut facts);
    assert!(facts.keep_alive);
    assert!(block_on(inbound.finish()));
    let next = head(inbound);
    assert_eq!(next.parts.uri, "/2");
    assert!(inbound.body(&next.facts).is_empty());
    assert!(block_on(inbound.finish()));
    assert!(block_on(inbound.head()).is_none(), "the stream has ended");
    assert_eq!(inbound.requests(), 2);
}

#[test]
fn what_is_left_of_a_body_is_read_and_its_reader_cut_off() {
    let mut fixture = fixture(&[POST, "he", "llo"], false, |_| {});
    let inbound = &mut fixture.inbound;
    let facts = head(inbound).facts;
    let mut body = inbound.body(&facts);
    assert_eq!(block_on(body.chunk()).unwrap().unwrap(), "he");
    assert!(block_on(inbound.finish()), "[REQ-12]");
    assert_eq!(block_on(body.chunk()).unwrap(), Err(RequestBodyError::Disconnected), "[REQ-15]");
}

#[test]
fn a_body_that_breaks_off_or_is_malformed_ends_the_connection() {
    for (pieces, expected) in [
        (&[POST, "he"][..], RequestBodyError::Disconnected),
        (
            &["POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx"],
            RequestBodyError::Malformed("a chunk size is missing".into()),
        ),
    ] {
        let mut fixture = fixture(pieces, true, |_| {});
        let inbound = &mut fixture.inbound;
        let mut facts = head(inbound).facts;
        let mut body = inbound.body(&facts);
        assert_eq!(block_on(body.bytes(10)), Err(expected), "[REQ-10]");
        inbound.commit(&mut facts);
        assert!(!facts.keep_alive, "[KAP-11]");
        assert!(!block_on(inbound.finish()));
    }
}

#[test]
fn a_client_that_waits_is_invited_once_and_only_by_a_reader() {
    const EXPECT: &str = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let mut read = fixture(&[EXPECT, "he", "llo"], false, |_| {});
    let facts = head(&mut read.inbound).facts;
    let mut body = read.inbound.body(&facts);
    assert_eq!(read.invitations.load(Ordering::SeqCst), 0);
    assert_eq!(block_on(body.bytes(5)).unwrap(), "hello");
    assert_eq!(read.invitations.load(Ordering::SeqCst), 1, "[EXP-01]");

    let mut unread = fixture(&[EXPECT], false, |_| {});
    let mut facts = head(&mut unread.inbound).facts;
    let body = unread.inbound.body(&facts);
    drop(body);
    unread.inbound.commit(&mut facts);
    assert!(!facts.keep_alive, "[EXP-02b]");
    assert!(!block_on(unread.inbound.finish()), "nothing comes");
    assert_eq!(unread.invitations.load(Ordering::SeqCst), 0);
}

#[test]
fn time_runs_out() {
    const SHORT: Option<Duration> = Some(Duration::from_millis(20));
    let mut silent = fixture(&[], false, |config| config.timeouts.header_read = SHORT);
    assert!(block_on(silent.inbound.head()).is_none(), "[LIM-04b]");
    let mut begun = fixture(&["HEAD / H"], false, |config| config.timeouts.header_read = SHORT);
    let (rejection, facts) = block_on(begun.inbound.head()).unwrap().unwrap_err();
    assert!(rejection.status == 408 && facts.is_head, "{rejection}");
    let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut idle = fixture(&[get], false, |config| config.timeouts.keep_alive = SHORT);
    let facts = head(&mut idle.inbound).facts;
    drop(idle.inbound.body(&facts));
    assert!(block_on(idle.inbound.finish()) && block_on(idle.inbound.head()).is_none(), "[KAP-08]");
    let mut slow = fixture(&[POST, "he"], false, |config| config.timeouts.body_read = SHORT);
    let facts = head(&mut slow.inbound).facts;
    assert_eq!(block_on(slow.inbound.body(&facts).bytes(5)), Err(RequestBodyError::TimedOut), "[LIM-05]");
}

#[test]
fn configuration_and_shutdown_end_connections() {
    const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut counted = fixture(&[GET, GET], false, |config| config.limits.requests_per_connection = Some(2));
    for keeps in [true, false] {
        let mut facts = head(&mut counted.inbound).facts;
        drop(counted.inbound.body(&facts));
        counted.inbound.commit(&mut facts);
        assert_eq!(facts.keep_alive, keeps, "[KAP-12]");
        assert!(block_on(counted.inbound.finish()));
    }
    let mut draining = fixture(&[GET], false, |_| {});
    let mut facts = head(&mut draining.inbound).facts;
    drop(draining.inbound.body(&facts));
    draining.shutdown.trigger();
    draining.inbound.commit(&mut facts);
    assert!(!facts.keep_alive, "[SHU-05]");
    assert!(block_on(draining.inbound.head()).is_none(), "[SHU-03]");
}

#[test]
fn the_rest_is_thrown_away_and_a_reader_is_told_of_the_end() {
    let mut over = fixture(&[POST, "junk", "junk"], true, |_| {});
    let facts = head(&mut over.inbound).facts;
    let mut body = over.inbound.body(&facts);
    block_on(over.inbound.linger());
    drop(over);
    assert_eq!(block_on(body.chunk()).unwrap(), Err(RequestBodyError::Disconnected));
}

/// Whether the response says that the connection goes on, where the application has dropped the body unread.
fn is_kept(pieces: &[&'static str]) -> bool {
    let mut fixture = fixture(pieces, false, |_| {});
    let mut facts = head(&mut fixture.inbound).facts;
    drop(fixture.inbound.body(&facts));
    fixture.inbound.commit(&mut facts);
    facts.keep_alive
}

#[test]
fn an_end_because_of_the_body_is_announced() {
    const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(is_kept(&[POST]), "[REQ-29] it is short, whenever it comes");
    assert!(!is_kept(&["POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 262145\r\n\r\n"]), "[REQ-29] it is long");
    assert!(!is_kept(&[CHUNKED]), "[REQ-29] nobody knows");
    let whole = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    assert!(is_kept(&[whole]), "it has come");
    let begun = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhe";
    assert!(is_kept(&[begun]), "[EXP-02b] the client did not wait");
    let malformed = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx";
    assert!(!is_kept(&[malformed]), "[REQ-09]");
}

#[test]
fn an_idle_connection_can_be_ended_by_others() {
    const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let Fixture { inbound, .. } = fixture(&[GET], false, |_| {});
    let idle = Idle::default();
    let mut inbound = inbound.with_idle(idle.clone());
    assert!(!idle.end(), "[LIM-07] it has not had a request yet");
    let facts = head(&mut inbound).facts;
    drop(inbound.body(&facts));
    assert!(block_on(inbound.finish()) && idle.since().is_none());
    let ended = std::thread::spawn(move || block_on(inbound.head()).is_none());
    while !idle.end() {
        std::thread::yield_now();
    }
    assert!(ended.join().unwrap());
    assert!(idle.since().is_none());
}

/// \[LIM-05\]
#[test]
fn what_drips_is_no_data() {
    /// A head and then a blank each time somebody asks again.
    struct Drip(Option<&'static [u8]>, bool);
    impl Feed for Drip {
        fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
            if let Some(head) = self.0.take() {
                return Poll::Ready(Some(Bytes::from_static(head)));
            }
            self.1 = !self.1;
            if self.1 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            std::thread::sleep(Duration::from_millis(1));
            Poll::Ready(Some(Bytes::from_static(b" ")))
        }

        fn send_continue(&mut self) {}
    }
    let mut config = ServerConfig::default();
    config.timeouts.body_read = Some(Duration::from_millis(20));
    let runtime = Runtime::new(Threads::new(&config));
    let serving = Serving::new(ServerInfo::new("test", "1"), runtime, ShutdownTrigger::new(), &config);
    let drip = Drip(Some(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5"), false);
    let mut inbound = Inbound::new(drip, serving, &config);
    let facts = head(&mut inbound).facts;
    let mut body = inbound.body(&facts);
    assert_eq!(block_on(body.bytes(10)), Err(RequestBodyError::TimedOut));
}
