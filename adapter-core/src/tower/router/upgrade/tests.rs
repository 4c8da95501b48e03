//! Promise, socket and keeper, over a connection in memory. \[UPG-20\], \[UPG-22\], \[UPG-23b\]

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::future::block_on;
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};
use hyper::rt::{Read as _, ReadBuf, Write as _};
use hyper::upgrade::Upgraded as Socket;

use super::keeper::{self, Patience};
use super::promise::Promise;
use crate::ServerConfig;
use crate::runtime::Runtime;
use crate::shutdown::ShutdownTrigger;
use crate::testing::{Pipe, pipe};
use crate::threads::Threads;
use crate::upgrade::{Tether, Upgraded};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(20);
const PATIENT: Patience = Patience { ping: LONG, send: LONG, close: LONG };
const PING: &[u8] = &[0x89, 0];
const GOING_AWAY: &[u8] = &[0x88, 2, 0x03, 0xe9];

fn runtime() -> Runtime {
    Runtime::new(Threads::for_event_loop(&ServerConfig::default()))
}

/// A WebSocket of a program, and its client.
struct Opened {
    program: Socket,
    client: Pipe,
    shutdown: ShutdownTrigger,
    /// Holds the server's tether, too.
    keeper: thread::JoinHandle<Tether>,
}

fn open(patience: Patience, capacity: usize) -> Opened {
    let (server, client) = pipe(capacity);
    let (stream, tether) = Upgraded::new(server, &b"early"[..]);
    let (promise, on_upgrade) = Promise::make().unwrap();
    let keepers = runtime();
    let link = block_on(promise.keep(stream, Some(&keepers))).unwrap();
    let program = block_on(on_upgrade).unwrap();
    let shutdown = ShutdownTrigger::new();
    let shutting_down = shutdown.clone();
    let keeper = thread::spawn(move || {
        block_on(keeper::keep(link, &keepers, &shutting_down, patience));
        tether
    });
    Opened { program, client, shutdown, keeper }
}

/// Octets of `socket`; none at its end.
fn read(socket: &mut Socket) -> io::Result<Vec<u8>> {
    let mut octets = [0; 100];
    let mut buffer = ReadBuf::new(&mut octets);
    block_on(poll_fn(|cx| Pin::new(&mut *socket).poll_read(cx, buffer.unfilled())))?;
    Ok(buffer.filled().to_vec())
}

fn write(socket: &mut Socket, octets: &[u8]) -> io::Result<usize> {
    block_on(poll_fn(|cx| Pin::new(&mut *socket).poll_write(cx, octets)))
}

fn expect(client: &mut Pipe, octets: &[u8]) {
    let mut came = vec![0; octets.len()];
    block_on(client.read_exact(&mut came)).unwrap();
    assert_eq!(came, octets);
}

#[test]
fn a_promise_that_is_dropped_fails() {
    let (promise, on_upgrade) = Promise::make().unwrap();
    drop(promise);
    assert!(block_on(on_upgrade).unwrap_err().is_canceled());
}

#[test]
fn octets_go_through_and_the_end_too() {
    let Opened { mut program, mut client, keeper, .. } = open(PATIENT, 100);
    assert_eq!(read(&mut program).unwrap(), b"early");
    assert_eq!(write(&mut program, b"\x82\x02hi").unwrap(), 4);
    expect(&mut client, b"\x82\x02hi");
    block_on(client.write_all(b"hello")).unwrap();
    assert_eq!(read(&mut program).unwrap(), b"hello");
    drop(client);
    assert_eq!(read(&mut program).unwrap(), b"");
    drop(program);
    drop(keeper.join().unwrap());
}

#[test]
fn a_close_waits_for_the_end_of_the_frame() {
    let Opened { mut program, mut client, shutdown, .. } = open(PATIENT, 100);
    assert_eq!(write(&mut program, b"\x82\x05he").unwrap(), 4);
    shutdown.drain();
    expect(&mut client, b"\x82\x05he");
    assert_eq!(write(&mut program, b"llo").unwrap(), 3);
    expect(&mut client, b"llo");
    let error = loop {
        // Until the keeper has seen the shutdown.
        match write(&mut program, b"\x82\x00") {
            Ok(count) => assert_eq!(count, 2),
            Err(error) => break error,
        }
        expect(&mut client, b"\x82\x00");
    };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "no data behind the Close");
    expect(&mut client, GOING_AWAY);
    // The answer to the client's is swallowed, in pieces too.
    assert_eq!(write(&mut program, &[0x88]).unwrap(), 1);
    assert_eq!(write(&mut program, &[0x02, 0x03, 0xe9, 0x82, 0x00]).unwrap(), 3);
    drop(program);
    let mut rest = Vec::new();
    block_on(client.read_to_end(&mut rest)).unwrap();
    assert_eq!(rest, b"");
}

#[test]
fn a_client_that_does_not_answer_a_close_is_not_waited_for() {
    let Opened { mut program, mut client, shutdown, keeper, .. } = open(Patience { close: SHORT, ..PATIENT }, 100);
    assert_eq!(read(&mut program).unwrap(), b"early");
    shutdown.drain();
    assert_eq!(read(&mut program).unwrap(), b"", "the end");
    expect(&mut client, GOING_AWAY);
    assert!(!keeper.is_finished(), "the program's connection is open until it drops it");
    drop(program);
    drop(keeper.join().unwrap());
}

#[test]
fn a_server_that_another_one_follows_says_so() {
    let Opened { mut program, mut client, shutdown, .. } = open(PATIENT, 100);
    assert_eq!(read(&mut program).unwrap(), b"early");
    shutdown.hand_over();
    expect(&mut client, &[0x88, 2, 0x03, 0xf4]);
}

#[test]
fn silence_is_answered_with_a_ping_and_then_with_the_end() {
    let Opened { mut program, mut client, keeper, .. } = open(Patience { ping: SHORT, ..PATIENT }, 100);
    assert_eq!(read(&mut program).unwrap(), b"early");
    expect(&mut client, PING);
    assert_eq!(read(&mut program).unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(write(&mut program, b"\x82\x00").unwrap_err().kind(), io::ErrorKind::TimedOut);
    drop(keeper.join().unwrap());
}

/// The program reads nothing all the while.
#[test]
fn a_client_that_answers_pings_stays_though_the_program_is_slow() {
    let Opened { mut program, mut client, keeper, .. } =
        open(Patience { ping: Duration::from_secs(1), ..PATIENT }, 100);
    let pong = [0x8a, 0x80, 0, 0, 0, 0];
    for _ in 0..2 {
        expect(&mut client, PING);
        block_on(client.write_all(&pong)).unwrap();
    }
    let mut read_so_far = Vec::new();
    while read_so_far.len() < 5 + 2 * pong.len() {
        read_so_far.extend(read(&mut program).unwrap());
    }
    assert_eq!(read_so_far, [b"early".as_slice(), &pong.repeat(2)].concat(), "nothing is lost or out of order");
    drop(program);
    drop(keeper.join().unwrap());
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let Opened { mut program, client, keeper, .. } = open(Patience { send: SHORT, ..PATIENT }, 10);
    let frame = [[0x82, 100].as_slice(), &[7; 100]].concat();
    let mut rest = &frame[..];
    let error = loop {
        match write(&mut program, rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    drop(keeper.join().unwrap());
    drop(client);
}

/// Reads what there is, and answers each Ping as tungstenite does: into memory, whatever the client takes.
#[test]
fn pings_wait_while_the_client_takes_no_answers() {
    let Opened { mut program, mut client, .. } = open(PATIENT, 1000);
    assert_eq!(read(&mut program).unwrap(), b"early");
    let mut answers = vec![0x8a; 5000];
    let mut cx = Context::from_waker(Waker::noop());
    let full = |program: &mut Socket, answers: &mut Vec<u8>, cx: &mut Context<'_>| {
        while let Poll::Ready(count) = Pin::new(&mut *program).poll_write(cx, answers) {
            answers.drain(..count.unwrap());
        }
    };
    full(&mut program, &mut answers, &mut cx);
    let ping = [[0x89, 0x80 | 125].as_slice(), &[0; 4 + 125]].concat();
    let sent = thread::spawn(move || {
        // "early" is the beginning of a frame of 2 and 97 octets.
        let frames = [vec![0; 2 + 97 - 5], ping.repeat(10_000)].concat();
        let sent = block_on(client.write_all(&frames));
        (client, sent)
    });
    let mut received = 0;
    let mut quiet = 0;
    while quiet < 50 {
        let mut octets = [0; 4096];
        let mut buffer = ReadBuf::new(&mut octets);
        match Pin::new(&mut program).poll_read(&mut cx, buffer.unfilled()) {
            Poll::Ready(result) => {
                result.unwrap();
                quiet = 0;
                received += buffer.filled().len();
            }
            Poll::Pending => {
                quiet += 1;
                thread::sleep(Duration::from_millis(2));
            }
        }
        full(&mut program, &mut answers, &mut cx);
    }
    assert!((60_000..100_000).contains(&received), "{received} octets of pings were read");
    drop(program);
    let (_, sent) = sent.join().unwrap();
    assert!(sent.is_err(), "its pings are not taken");
}

#[test]
fn a_write_that_waits_ends_with_the_shutdown() {
    let Opened { mut program, shutdown, keeper, client } = open(Patience { close: SHORT, ..PATIENT }, 10);
    let frame = [[0x82, 100].as_slice(), &[7; 100]].concat();
    shutdown.drain();
    let mut rest = &frame[..];
    let error = loop {
        match write(&mut program, rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    drop(program);
    drop(keeper.join().unwrap());
    drop(client);
}
