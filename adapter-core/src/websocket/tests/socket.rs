//! Sockets over an in-memory pipe, with the keeper polled by the test's own runtime. \[UPG-10\] to \[UPG-15\], \[UPG-20\],
//! \[UPG-22\]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use futures_core::Stream as _;
use futures_lite::future::block_on;
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _, StreamExt as _};
use futures_sink::Sink as _;

use super::super::keeper::Keeper;
use super::super::link::Shared;
use super::super::message::{Close, Error, Message};
use super::super::options::Options;
use super::super::socket::WebSocket;
use super::super::wire::Role;
use super::{environ, masked};
use crate::server::ShutdownTrigger;
use crate::testing::{Pipe, pipe};
use crate::upgrade::{Tether, Upgraded};

/// An open WebSocket, the client's end of its pipe, and what the server has of it.
struct Setup {
    socket: WebSocket,
    client: Pipe,
    keeper: Keeper,
    tether: Tether,
}

fn open_with(capacity: usize, options: Options, shutdown: ShutdownTrigger) -> Setup {
    let (server, client) = pipe(capacity);
    let (stream, tether) = Upgraded::new(server, "");
    let shared = Shared::new(stream, Role::Server, options, &super::runtime());
    let keeper = Keeper::new(shared.clone(), &environ(true, true, shutdown), tracing::Span::none());
    Setup { socket: WebSocket::new(shared), client, keeper, tether }
}

fn open() -> Setup {
    open_with(1 << 20, Options::default(), ShutdownTrigger::new())
}

/// The next `count` octets.
fn read(client: &mut Pipe, count: usize) -> Vec<u8> {
    let mut octets = vec![0; count];
    block_on(client.read_exact(&mut octets)).unwrap();
    octets
}

fn write(client: &mut Pipe, octets: &[u8]) {
    block_on(client.write_all(octets)).unwrap();
}

/// Counts its wake-ups.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn messages_and_a_close_without_a_keeper_at_work() {
    let Setup { mut socket, mut client, keeper, mut tether } = open();
    write(&mut client, &[masked(0x81, b"one"), masked(0x89, b"?"), masked(0x82, b"two")].concat());
    assert_eq!(block_on(socket.recv()), Some(Ok(Message::from("one"))));
    assert_eq!(block_on(socket.recv()), Some(Ok(Message::from(b"two".to_vec()))));
    block_on(socket.send("three")).unwrap();
    assert_eq!(read(&mut client, 3), b"\x8a\x01?", "[UPG-10a]");
    assert_eq!(read(&mut client, 7), b"\x81\x05three");
    write(&mut client, &masked(0x88, b"\x0f\xa1done"));
    assert_eq!(block_on(socket.recv()), None);
    assert_eq!(socket.closed(), Some(Close { code: 4001, reason: "done".into(), by_peer: true }), "[UPG-12a]");
    assert_eq!(read(&mut client, 8), b"\x88\x06\x0f\xa1done");
    assert_eq!(block_on(client.read(&mut [0])).unwrap(), 0, "our half ends, the client's is awaited");
    assert!(matches!(block_on(socket.send("late")), Err(Error::Closed(_))), "[UPG-14]");
    drop(client);
    block_on(keeper);
    assert!(tether.is_released());
    block_on(&mut tether);
}

#[test]
fn one_message_is_read_ahead_and_pings_behind_it_wait() {
    let Setup { mut socket, mut client, mut keeper, tether: _tether } = open();
    write(&mut client, &[masked(0x81, b"1"), masked(0x81, b"2"), masked(0x89, b"p")].concat());
    let woken = Arc::new(Count::default());
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut keeper).poll(&mut cx).is_pending());
    assert_eq!(block_on(socket.recv()), Some(Ok(Message::from("1"))));
    assert!(woken.0.load(Ordering::SeqCst) > 0, "it goes on when the message is taken");
    assert_eq!(block_on(socket.recv()), Some(Ok(Message::from("2"))));
    assert!(Pin::new(&mut keeper).poll(&mut cx).is_pending());
    assert_eq!(read(&mut client, 3), b"\x8a\x01p");
    // An idle socket wakes nobody.
    let before = woken.0.load(Ordering::SeqCst);
    assert!(Pin::new(&mut keeper).poll(&mut cx).is_pending());
    assert_eq!(woken.0.load(Ordering::SeqCst), before);
}

#[test]
fn sending_waits_and_trying_does_not() {
    let options = Options { max_write_buffer: 1000, ..Options::default() };
    let Setup { socket, mut client, mut keeper, tether: _tether } = open_with(100, options, ShutdownTrigger::new());
    let (sender, _receiver) = socket.split();
    sender.try_send(vec![0; 800]).unwrap();
    assert_eq!(sender.backlog(), 804 - 100);
    let mut waiting = Box::pin(sender.send("x"));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut cx).is_pending(), "not with what went before it");
    for _ in 0..8 {
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        read(&mut client, 100);
        // The keeper writes on.
        assert!(Pin::new(&mut keeper).poll(&mut cx).is_pending());
    }
    assert!(waiting.as_mut().poll(&mut cx).is_ready());
    drop(waiting);
    assert_eq!(read(&mut client, 7)[4..], *b"\x81\x01x");
    // [UPG-20]
    sender.try_send(vec![0; 900]).unwrap();
    assert!(matches!(sender.try_send(vec![0; 300]), Err(Error::Unresponsive(_))));
    assert_eq!(sender.closed().unwrap().code, 1006);
    assert!(sender.try_send("x").is_err());
}

#[test]
fn a_message_above_the_bound_passes_an_empty_queue() {
    let options = Options { max_write_buffer: 10, ..Options::default() };
    let Setup { socket, mut client, keeper: _keeper, tether: _tether } =
        open_with(1 << 20, options, ShutdownTrigger::new());
    let (sender, _receiver) = socket.split();
    sender.try_send(vec![0; 5000]).unwrap();
    assert_eq!(read(&mut client, 5004).len(), 5004);
}

#[test]
fn a_keeper_that_is_dropped_tells_everybody() {
    let Setup { mut socket, client, keeper, tether } = open();
    drop(keeper);
    assert_eq!(block_on(socket.recv()), Some(Err(Error::Lost)));
    assert_eq!(block_on(socket.recv()), None);
    assert!(block_on(socket.send("x")).is_err());
    assert!(tether.is_released());
    drop(client);
}

#[test]
fn a_severed_stream_is_a_loss() {
    let Setup { mut socket, client: _client, keeper, tether } = open();
    drop(tether);
    assert_eq!(block_on(socket.recv()), Some(Err(Error::Lost)), "[UPG-12c]");
    block_on(keeper);
}

#[test]
fn the_shutdown_says_1001_and_gives_up_after_the_close_timeout() {
    let shutdown = ShutdownTrigger::new();
    let options = Options { close_timeout: Duration::from_millis(50), ..Options::default() };
    let Setup { mut socket, mut client, keeper, tether: _tether } = open_with(1000, options, shutdown.clone());
    shutdown.trigger();
    block_on(keeper);
    assert_eq!(read(&mut client, 4)[..4], [0x88, 24, 3, 233], "[UPG-22]");
    assert_eq!(block_on(socket.recv()), None);
    assert_eq!(socket.closed().unwrap().code, 1001);
}

#[test]
fn a_server_that_another_one_follows_says_1012() {
    let shutdown = ShutdownTrigger::new();
    let options = Options { close_timeout: Duration::from_millis(50), ..Options::default() };
    let Setup { mut socket, mut client, keeper, tether: _tether } = open_with(1000, options, shutdown.clone());
    shutdown.hand_over();
    block_on(keeper);
    assert_eq!(read(&mut client, 4)[..4], [0x88, 26, 3, 244], "[UPG-22]");
    assert_eq!(block_on(socket.recv()), None);
    assert_eq!(socket.closed().unwrap().code, 1012);
}

#[test]
fn a_keeper_that_waits_is_woken_by_the_shutdown() {
    let shutdown = ShutdownTrigger::new();
    let Setup { socket: _socket, client, mut keeper, tether: _tether } =
        open_with(1000, Options::default(), shutdown.clone());
    let woken = Arc::new(Count::default());
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    for _ in 0..2 {
        assert!(Pin::new(&mut keeper).poll(&mut cx).is_pending());
    }
    assert_eq!((woken.0.load(Ordering::SeqCst), client.drain().len()), (0, 0));
    shutdown.trigger();
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(Pin::new(&mut keeper).poll(&mut cx).is_pending());
    assert_eq!(client.drain()[..4], [0x88, 24, 3, 233], "[UPG-22]");
}

/// One timer for the ping, another one for its answer.
#[test]
fn a_keeper_that_waits_is_woken_by_the_clock_again_and_again() {
    let options = Options { ping_interval: Some(Duration::from_millis(20)), ..Options::default() };
    let Setup { mut socket, client, keeper, tether: _tether } = open_with(1000, options, ShutdownTrigger::new());
    // First, so that it does not wake the keeper in passing.
    let given_up = async {
        super::runtime().sleep(Duration::from_secs(10)).await;
        panic!("it was not woken");
    };
    block_on(given_up.or(keeper));
    assert_eq!(client.drain(), b"\x89\x00");
    assert!(matches!(block_on(socket.recv()), Some(Err(Error::Unresponsive(_)))), "[UPG-23b]");
}

#[test]
fn the_longest_times_are_never() {
    let options = Options {
        ping_interval: Some(Duration::MAX),
        idle_timeout: Some(Duration::MAX),
        send_timeout: Duration::MAX,
        close_timeout: Duration::MAX,
        ..Options::default()
    };
    let Setup { mut socket, mut client, mut keeper, tether: _tether } = open_with(10, options, ShutdownTrigger::new());
    let mut cx = Context::from_waker(Waker::noop());
    // More than the client takes, so that the send timeout runs.
    let mut sending = Box::pin(socket.send("x".repeat(1000)));
    assert!(sending.as_mut().poll(&mut cx).is_pending());
    assert!(Pin::new(&mut keeper).poll(&mut cx).is_pending());
    drop(sending);
    let mut closing = Box::pin(socket.close(1000, ""));
    assert!(closing.as_mut().poll(&mut cx).is_pending());
    assert!(Pin::new(&mut keeper).poll(&mut cx).is_pending());
    drop((closing, read(&mut client, 1)));
}

#[test]
fn closing_waits_for_the_answer_and_drops_what_crosses_it() {
    let Setup { mut socket, mut client, mut keeper, tether: _tether } = open();
    let mut closing = Box::pin(socket.close(4000, "now"));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(closing.as_mut().poll(&mut cx).is_pending());
    assert_eq!(read(&mut client, 7), b"\x88\x05\x0f\xa0now", "[UPG-13a]");
    write(&mut client, &[masked(0x81, b"crossing"), masked(0x88, b"\x0f\xa0")].concat());
    assert!(Pin::new(&mut keeper).poll(&mut cx).is_pending());
    assert!(closing.as_mut().poll(&mut cx).is_ready());
    drop(closing);
    assert_eq!(block_on(socket.recv()), None);
}

#[test]
fn a_quiet_one_gives_its_buffers_back_and_goes_on() {
    let (server, mut client) = pipe(1 << 20);
    let (stream, _tether) = Upgraded::new(server, "");
    let shared = Shared::new(stream, Role::Server, Options::default(), &super::runtime());
    let mut socket = WebSocket::new(shared.clone());
    let large = masked(0x82, &[7; 100_000]);
    // With half a head it is the library's.
    write(&mut client, &large[..1]);
    assert!(Pin::new(&mut socket).poll_next(&mut Context::from_waker(Waker::noop())).is_pending());
    write(&mut client, &large[1..]);
    assert_eq!(block_on(socket.recv()).unwrap().unwrap().len(), 100_000);
    let woken = Arc::new(Count::default());
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut socket).poll_next(&mut cx).is_pending());
    let later = Instant::now() + Duration::from_secs(31);
    shared.lock().check_clock(later);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1, "to poll the new ones");
    assert!(Pin::new(&mut socket).poll_next(&mut cx).is_pending());
    assert_eq!(read(&mut client, 2), b"\x89\x00");
    write(&mut client, &masked(0x81, b"still here"));
    assert!(woken.0.load(Ordering::SeqCst) > 1);
    assert_eq!(block_on(socket.recv()), Some(Ok(Message::from("still here"))));
    block_on(socket.send("so am I")).unwrap();
    assert_eq!(read(&mut client, 9), b"\x81\x07so am I");
}

/// RFC 6455 §5.5.1: the answer to a message in front of it may go out first.
#[test]
fn a_close_waits_for_who_has_taken_a_message() {
    let close = masked(0x88, b"\x03\xe8");
    let whole = masked(0x81, b"ask");
    let fragments = [masked(0x01, b"a"), masked(0x00, b"s"), masked(0x80, b"k")].concat();
    let with_ping = [whole.clone(), masked(0x89, b"")].concat();
    for (ask, pong) in [(whole, 0), (fragments, 0), (with_ping, 2)] {
        for is_read_ahead in [false, true] {
            let Setup { mut socket, mut client, mut keeper, tether: _tether } = open();
            let mut cx = Context::from_waker(Waker::noop());
            if is_read_ahead {
                write(&mut client, &ask);
                assert!(Pin::new(&mut keeper).poll(&mut cx).is_pending());
                write(&mut client, &close);
            } else {
                write(&mut client, &[&ask[..], &close].concat());
            }
            assert_eq!(block_on(socket.recv()), Some(Ok(Message::from("ask"))));
            assert!(Pin::new(&mut keeper).poll(&mut cx).is_pending());
            assert_eq!(socket.closed(), None);
            block_on(socket.send("answer")).unwrap();
            assert!(Pin::new(&mut keeper).poll(&mut cx).is_pending());
            assert_eq!(block_on(socket.recv()), None);
            assert_eq!(read(&mut client, pong).len(), pong);
            assert_eq!(read(&mut client, 12), b"\x81\x06answer\x88\x02\x03\xe8");
        }
    }
}

#[test]
fn a_close_does_not_wait_for_ever_for_who_does_not_come_back() {
    let Setup { socket, mut client, keeper, tether: _tether } = open();
    write(&mut client, &masked(0x88, b"\x03\xe8"));
    let mut answer = [0; 4];
    block_on(keeper.or(async { client.read_exact(&mut answer).await.unwrap() }));
    assert_eq!(&answer, b"\x88\x02\x03\xe8");
    drop(socket);
}

#[test]
fn it_is_a_stream_and_a_sink() {
    let Setup { mut socket, mut client, keeper: _keeper, tether: _tether } = open();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut socket).poll_next(&mut cx).is_pending());
    write(&mut client, &masked(0x81, b"in"));
    assert_eq!(block_on(socket.next()), Some(Ok(Message::from("in"))));
    assert!(Pin::new(&mut socket).poll_ready(&mut cx).is_ready());
    Pin::new(&mut socket).start_send(Message::from("out")).unwrap();
    assert!(Pin::new(&mut socket).poll_flush(&mut cx).is_ready());
    assert_eq!(read(&mut client, 5), b"\x81\x03out");
    assert!(Pin::new(&mut socket).poll_close(&mut cx).is_pending());
    assert_eq!(read(&mut client, 4), b"\x88\x02\x03\xe8", "[UPG-13b]");
}

#[test]
fn the_last_handle_dropped_closes() {
    let Setup { socket, mut client, keeper, tether: _tether } = open();
    let (sender, receiver) = socket.split();
    let other = sender.clone();
    drop((sender, receiver));
    other.try_send("still open").unwrap();
    assert_eq!(read(&mut client, 12), b"\x81\x0astill open");
    drop(other);
    write(&mut client, &masked(0x88, b"\x03\xe8"));
    let ended = std::thread::spawn(move || block_on(keeper));
    assert_eq!(read(&mut client, 4), b"\x88\x02\x03\xe8");
    drop(client);
    ended.join().unwrap();
}

/// \[UPG-12a\] RFC 6455 §5.5.1: it has ended its direction, and still reads ours.
#[test]
fn a_client_that_ends_its_stream_behind_its_close_gets_what_is_on_its_way_and_the_answer() {
    let Setup { socket, mut client, keeper, tether: _tether } =
        open_with(1000, Options::default(), ShutdownTrigger::new());
    let (sender, _receiver) = socket.split();
    sender.try_send(vec![7; 5000]).unwrap();
    assert!(sender.backlog() > 0, "it waits for a client that takes 1,000 at a time");
    let keeping = std::thread::spawn(move || block_on(keeper));
    write(&mut client, &masked(0x88, b"\x03\xe8"));
    block_on(client.close()).unwrap();
    let mut came = Vec::new();
    block_on(client.read_to_end(&mut came)).unwrap();
    assert_eq!(came.len(), 4 + 5000 + 4, "octets");
    assert_eq!(came[5004..], *b"\x88\x02\x03\xe8");
    keeping.join().unwrap();
}
