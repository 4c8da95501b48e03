//! The pump between a TLS session and a socket, on a socket in memory that takes and gives as a test wants.

#![allow(clippy::unwrap_used, reason = "a test")]

mod toy_tls;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use adapter_core::tls::pump::{Pump, Raw};
use adapter_core::tls::{Handshakes, Tls};
use toy_tls::{HANDSHAKE_FAILURE, Heard, ToyAcceptor, UPDATE, close_notify, finished, hello, record, seal};

/// A socket in memory.
#[derive(Default)]
struct Wire {
    incoming: VecDeque<u8>,
    /// Octets a read gives at most; 0: all.
    gives: usize,
    ended: bool,
    room: usize,
    /// Octets a write takes at most; 0: all there is room for.
    takes: usize,
    out: Vec<u8>,
    shut: bool,
    /// Is told once, by a write; then there is neither room nor news.
    reset: bool,
    writes: usize,
    reads: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Wire {
    fn open() -> Self {
        Wire { room: usize::MAX, ..Wire::default() }
    }

    fn heard(&self) -> Heard {
        Heard::of(&self.out)
    }

    /// The client takes more.
    fn makes_room(&mut self, room: usize) {
        self.room += room;
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

impl Raw for Wire {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        assert!(!buffer.is_empty(), "a read of nothing");
        self.reads += 1;
        if self.incoming.is_empty() && !self.ended {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let most = if self.gives == 0 { usize::MAX } else { self.gives };
        let count = self.incoming.len().min(buffer.len()).min(most);
        for (place, octet) in buffer.iter_mut().zip(self.incoming.drain(..count)) {
            *place = octet;
        }
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        assert!(!self.shut, "a write behind the end");
        assert!(!octets.is_empty(), "a write of nothing");
        self.writes += 1;
        if std::mem::take(&mut self.reset) {
            self.room = 0;
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let most = if self.takes == 0 { usize::MAX } else { self.takes };
        let count = octets.len().min(self.room).min(most);
        if count == 0 {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.room -= count;
        self.out.extend(&octets[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut = true;
        Poll::Ready(Ok(()))
    }
}

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Bell {
    fn has_rung(&self) -> bool {
        self.0.swap(0, SeqCst) > 0
    }
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn pump() -> Pump {
    Pump::new(&Tls::new(ToyAcceptor), true, &Handshakes::new(8))
}

/// Behind the handshake, with nothing on the wire.
fn opened() -> (Pump, Wire) {
    let (mut pump, mut wire) = (pump(), Wire::open());
    wire.incoming.extend([hello("http/1.1"), finished()].concat());
    let Poll::Ready(Ok(info)) = pump.poll_open(&mut wire, &mut cx()) else { panic!("the handshake succeeds") };
    assert_eq!(info.alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(wire.heard().messages, ["hello http/1.1", "ticket"]);
    wire.out.clear();
    (wire.writes, wire.reads) = (0, 0);
    (pump, wire)
}

fn read(pump: &mut Pump, wire: &mut Wire, size: usize) -> Poll<Result<Vec<u8>, io::ErrorKind>> {
    let mut buffer = vec![0; size];
    pump.poll_read(wire, &mut cx(), &mut buffer)
        .map_ok(|count| {
            buffer.truncate(count);
            buffer
        })
        .map_err(|error| error.kind())
}

fn write(pump: &mut Pump, wire: &mut Wire, data: &[u8]) -> Poll<Result<usize, io::ErrorKind>> {
    pump.poll_write(wire, &mut cx(), &[IoSlice::new(data)]).map_err(|error| error.kind())
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| b'a' + (at % 23) as u8).collect()
}

#[test]
fn a_handshake_goes_on_octet_by_octet_both_ways() {
    let (mut pump, mut wire) = (pump(), Wire { gives: 1, takes: 1, ..Wire::default() });
    let mut client: VecDeque<u8> = [hello("h2,http/1.1"), finished()].concat().into();
    let info = loop {
        match pump.poll_open(&mut wire, &mut cx()) {
            Poll::Ready(opened) => break opened.unwrap(),
            Poll::Pending => {
                wire.incoming.extend(client.pop_front());
                wire.makes_room(1);
            }
        }
    };
    assert_eq!(info.alpn.as_deref(), Some(&b"h2"[..]));
    wire.makes_room(usize::MAX / 2);
    while !matches!(pump.poll_flush(&mut wire, &mut cx()), Poll::Ready(Ok(0))) {}
    assert_eq!(wire.heard().messages, ["hello h2", "ticket"]);
}

#[test]
fn data_behind_the_handshake_in_one_piece_is_read() {
    let (mut pump, mut wire) = (pump(), Wire::open());
    let data = text(100_000);
    wire.incoming.extend([hello(""), finished(), seal(&data), close_notify()].concat());
    assert!(matches!(pump.poll_open(&mut wire, &mut cx()), Poll::Ready(Ok(_))));
    let mut got = Vec::new();
    loop {
        match read(&mut pump, &mut wire, 7000) {
            Poll::Ready(Ok(piece)) if piece.is_empty() => break,
            Poll::Ready(Ok(piece)) => got.extend(piece),
            other => panic!("{other:?} behind {}", got.len()),
        }
        assert!(got.len() == data.len() || pump.is_readable() || !wire.incoming.is_empty(), "nothing is lost");
    }
    assert_eq!(got, data);
    assert!(matches!(write(&mut pump, &mut wire, b"still"), Poll::Ready(Ok(5))), "our direction goes on");
    assert_eq!(wire.heard().plaintext, b"still");
}

#[test]
fn whatever_the_pieces_the_plaintext_is_the_same() {
    for (gives, size) in [(1, 1), (1, 5000), (3, 1), (17_000, 3), (0, 100_000), (40_000, 33_000)] {
        let (mut pump, mut wire) = opened();
        wire.gives = gives;
        let data = text(60_000);
        wire.incoming.extend([seal(&data[..10]), record(UPDATE, b""), seal(&data[10..])].concat());
        let mut got = Vec::new();
        while got.len() < data.len() {
            // What gives way is polled again.
            if let Poll::Ready(piece) = read(&mut pump, &mut wire, size) {
                got.extend(piece.unwrap());
            }
        }
        assert_eq!(got, data);
        assert!(read(&mut pump, &mut wire, size).is_pending());
        assert!(!pump.is_readable());
        assert_eq!(wire.heard().updates, 1, "reading answers");
    }
}

#[test]
fn a_large_read_is_one_of_the_socket() {
    let (mut pump, mut wire) = opened();
    wire.incoming.extend(seal(&text(200_000)));
    let mut got = 0;
    while got < 200_000 {
        let Poll::Ready(Ok(piece)) = read(&mut pump, &mut wire, 65_536) else { panic!("there is more") };
        got += piece.len();
    }
    assert!(wire.reads <= 5, "{} reads", wire.reads);
}

#[test]
fn what_is_written_at_once_leaves_at_once() {
    let (mut pump, mut wire) = opened();
    let (head, body) = (text(100), text(40_000));
    let parts = [IoSlice::new(&head), IoSlice::new(&[]), IoSlice::new(&body)];
    assert!(matches!(pump.poll_write(&mut wire, &mut cx(), &parts), Poll::Ready(Ok(40_100))));
    assert_eq!(wire.writes, 1);
    assert_eq!(wire.heard().plaintext, [head, body].concat());
    assert!(!pump.has_output());
}

#[test]
fn what_the_socket_does_not_take_is_kept_and_bounds_what_is_taken() {
    let (mut pump, mut wire) = opened();
    wire.room = 10;
    let data = text(1_000_000);
    let Poll::Ready(Ok(first)) = write(&mut pump, &mut wire, &data) else { panic!("it is taken") };
    assert!((1..=64 * 1024).contains(&first), "but not all of it");
    assert!(write(&mut pump, &mut wire, &data[first..]).is_pending());
    assert!(pump.poll_flush(&mut wire, &mut cx()).is_pending());
    wire.makes_room(7);
    assert!(matches!(pump.poll_flush(&mut wire, &mut cx()), Poll::Ready(Ok(7))), "progress is told");
    let mut sent = first;
    wire.takes = 5000;
    while sent < data.len() {
        wire.makes_room(30_000);
        if let Poll::Ready(count) = write(&mut pump, &mut wire, &data[sent..]) {
            sent += count.unwrap();
        }
    }
    while !matches!(pump.poll_flush(&mut wire, &mut cx()), Poll::Ready(Ok(0))) {
        wire.makes_room(30_000);
    }
    assert!(wire.heard().plaintext == data);
    assert!(!pump.has_output());
}

#[test]
fn an_orderly_end_is_the_rest_and_close_notify_and_then_the_end() {
    let (mut pump, mut wire) = opened();
    wire.room = 3;
    assert!(matches!(write(&mut pump, &mut wire, b"whole"), Poll::Ready(Ok(5))));
    assert!(pump.poll_shutdown(&mut wire, &mut cx()).is_pending());
    assert!(!wire.shut, "not before all of it");
    wire.makes_room(1000);
    assert!(matches!(pump.poll_shutdown(&mut wire, &mut cx()), Poll::Ready(Ok(()))));
    assert!(wire.shut);
    let heard = wire.heard();
    assert_eq!(heard.plaintext, b"whole");
    assert!(heard.is_closed());
    assert!(matches!(write(&mut pump, &mut wire, b"x"), Poll::Ready(Err(io::ErrorKind::BrokenPipe))));
    wire.incoming.extend(seal(b"late"));
    assert_eq!(read(&mut pump, &mut wire, 10), Poll::Ready(Ok(b"late".to_vec())), "their direction goes on");
}

#[test]
fn what_is_broken_off_ends_without_close_notify() {
    for shut in [true, false] {
        let (mut pump, mut wire) = opened();
        assert!(write(&mut pump, &mut wire, b"half").is_ready());
        pump.break_off();
        if shut {
            assert!(pump.poll_shutdown(&mut wire, &mut cx()).is_ready());
        } else {
            pump.farewell(&mut wire);
        }
        assert_eq!(wire.shut, shut);
        assert_eq!(wire.heard().plaintext, b"half");
        assert!(wire.heard().alerts.is_empty());
    }
    let (mut pump, mut wire) = opened();
    assert!(write(&mut pump, &mut wire, b"half").is_ready());
    drop(pump);
    assert!(wire.heard().alerts.is_empty(), "nor does what is only dropped say it");
    wire.shut = false;
}

#[test]
fn a_farewell_says_close_notify_and_does_not_wait() {
    let (mut pump, mut wire) = opened();
    pump.farewell(&mut wire);
    assert!(wire.heard().is_closed() && !wire.shut);
    let (mut pump, mut wire) = opened();
    wire.room = 0;
    pump.farewell(&mut wire);
    assert!(wire.out.is_empty());
    // Nothing is agreed on: there is nothing to close.
    let (mut pump, mut wire) = (self::pump(), Wire::open());
    assert!(pump.poll_open(&mut wire, &mut cx()).is_pending());
    pump.farewell(&mut wire);
    assert!(wire.out.is_empty());
}

#[test]
fn an_end_without_close_notify_is_told_from_one_with_it() {
    let (mut pump, mut wire) = opened();
    wire.incoming.extend(seal(b"some"));
    wire.ended = true;
    assert_eq!(read(&mut pump, &mut wire, 10), Poll::Ready(Ok(b"some".to_vec())));
    for _ in 0..2 {
        assert_eq!(read(&mut pump, &mut wire, 10), Poll::Ready(Err(io::ErrorKind::UnexpectedEof)));
    }
    assert!(pump.is_readable());
    assert!(matches!(write(&mut pump, &mut wire, b"on"), Poll::Ready(Ok(2))));

    let (mut pump, mut wire) = opened();
    wire.incoming.extend([seal(b"some"), close_notify(), b"and noise".to_vec()].concat());
    assert_eq!(read(&mut pump, &mut wire, 10), Poll::Ready(Ok(b"some".to_vec())));
    for _ in 0..2 {
        assert_eq!(read(&mut pump, &mut wire, 10), Poll::Ready(Ok(Vec::new())));
    }
}

#[test]
fn a_client_that_breaks_the_protocol_is_told_and_read_away() {
    let (mut pump, mut wire) = (pump(), Wire::open());
    wire.incoming.extend([record(0x16, b"rubbish"), vec![7; 100]].concat());
    assert!(matches!(pump.poll_open(&mut wire, &mut cx()), Poll::Ready(Err(_))));
    assert!(matches!(pump.poll_flush(&mut wire, &mut cx()), Poll::Ready(Ok(_))));
    assert!(matches!(pump.poll_shutdown(&mut wire, &mut cx()), Poll::Ready(Ok(()))));
    assert_eq!(wire.heard().alerts, [HANDSHAKE_FAILURE], "and no close_notify");
    wire.incoming.extend([9; 50]);
    assert_eq!(read(&mut pump, &mut wire, 100), Poll::Ready(Ok(vec![9; 50])));
    wire.ended = true;
    assert_eq!(read(&mut pump, &mut wire, 100), Poll::Ready(Ok(Vec::new())));

    // Also later, behind what is good.
    let (mut pump, mut wire) = opened();
    wire.incoming.extend([seal(b"good"), record(0x16, b"bad")].concat());
    assert_eq!(read(&mut pump, &mut wire, 10), Poll::Ready(Ok(b"good".to_vec())));
    assert_eq!(read(&mut pump, &mut wire, 10), Poll::Ready(Err(io::ErrorKind::InvalidData)));
    assert_eq!(wire.heard().alerts, [HANDSHAKE_FAILURE]);
}

#[test]
fn plain_http_is_answered_in_plain() {
    let (mut pump, mut wire) = (pump(), Wire::open());
    wire.incoming.extend(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(matches!(pump.poll_open(&mut wire, &mut cx()), Poll::Ready(Err(_))));
    assert!(matches!(pump.poll_shutdown(&mut wire, &mut cx()), Poll::Ready(Ok(()))));
    let said = String::from_utf8(wire.out.clone()).unwrap();
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n") && head.contains("\r\nConnection: close\r\n"));
    assert!(
        head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())) || head.ends_with(&body.len().to_string())
    );
}

#[test]
fn a_client_that_leaves_within_the_handshake_fails_it() {
    for sent in [Vec::new(), hello("")[..4].to_vec(), hello("")] {
        let (mut pump, mut wire) = (pump(), Wire::open());
        wire.incoming.extend(sent);
        assert!(pump.poll_open(&mut wire, &mut cx()).is_pending());
        wire.ended = true;
        assert!(matches!(pump.poll_open(&mut wire, &mut cx()), Poll::Ready(Err(_))));
        assert!(matches!(read(&mut pump, &mut wire, 10), Poll::Ready(Err(_))));
    }
}

#[test]
fn an_error_that_sending_along_has_met_is_not_forgotten() {
    let (mut pump, mut wire) = (pump(), Wire::open());
    wire.reset = true;
    wire.incoming.extend([hello(""), finished(), seal(b"data")].concat());
    assert!(matches!(pump.poll_open(&mut wire, &mut cx()), Poll::Ready(Ok(_))));
    assert!(matches!(pump.poll_flush(&mut wire, &mut cx()), Poll::Ready(Err(_))), "who flushes is told");
    assert!(pump.is_readable());
    assert_eq!(read(&mut pump, &mut wire, 10), Poll::Ready(Ok(b"data".to_vec())));
    assert_eq!(read(&mut pump, &mut wire, 10), Poll::Ready(Err(io::ErrorKind::ConnectionReset)));
    assert_eq!(write(&mut pump, &mut wire, b"x"), Poll::Ready(Err(io::ErrorKind::ConnectionReset)));
}

#[test]
fn handshakes_are_bounded_and_silence_is_none() {
    let (handshakes, tls) = (Handshakes::new(1), Tls::new(ToyAcceptor));
    let make = || (Pump::new(&tls, false, &handshakes), Wire::open());
    let (mut silent, mut quiet) = make();
    assert!(silent.poll_open(&mut quiet, &mut cx()).is_pending());
    assert_eq!(handshakes.count(), 0);
    let (mut first, mut wire) = make();
    wire.incoming.extend(hello(""));
    assert!(first.poll_open(&mut wire, &mut cx()).is_pending());
    assert_eq!(handshakes.count(), 1);
    let (mut second, mut other) = make();
    other.incoming.extend([hello(""), finished()].concat());
    let bell = Arc::<Bell>::default();
    let waker = Waker::from(bell.clone());
    assert!(second.poll_open(&mut other, &mut Context::from_waker(&waker)).is_pending());
    assert!(other.out.is_empty() && !bell.has_rung());
    wire.incoming.extend(finished());
    assert!(first.poll_open(&mut wire, &mut cx()).is_ready());
    assert!(bell.has_rung(), "it is its turn");
    assert!(matches!(second.poll_open(&mut other, &mut cx()), Poll::Ready(Ok(_))));
    assert_eq!(handshakes.count(), 0);
}

#[test]
fn who_waits_to_write_is_woken_though_reading_sends_too() {
    let (mut pump, mut wire) = opened();
    wire.room = 0;
    let (reader, writer) = (Arc::<Bell>::default(), Arc::<Bell>::default());
    let (read_waker, write_waker) = (Waker::from(reader.clone()), Waker::from(writer.clone()));
    assert!(write(&mut pump, &mut wire, b"first").is_ready());
    let second = [IoSlice::new(b"second")];
    assert!(pump.poll_write(&mut wire, &mut Context::from_waker(&write_waker), &second).is_pending());
    // Another task reads what is to be answered, and finds no room either.
    wire.incoming.extend([record(UPDATE, b""), seal(b"data")].concat());
    let mut buffer = [0; 10];
    assert!(pump.poll_read(&mut wire, &mut Context::from_waker(&read_waker), &mut buffer).is_ready());
    wire.makes_room(1000);
    assert!(writer.has_rung(), "the writer is not forgotten");
    assert!(reader.has_rung());
    assert!(matches!(write(&mut pump, &mut wire, b"second"), Poll::Ready(Ok(6))));
    assert_eq!(wire.heard().plaintext, b"firstsecond");
    assert_eq!(wire.heard().updates, 1);
}

#[test]
fn who_asks_and_does_not_listen_is_not_read_for_ever() {
    let (mut pump, mut wire) = opened();
    wire.room = 0;
    wire.incoming.extend(record(UPDATE, b"").repeat(100_000));
    for _ in 0..100 {
        assert!(read(&mut pump, &mut wire, 100).is_pending());
    }
    assert!(wire.incoming.len() > 100_000, "{} are left", wire.incoming.len());
    assert!(wire.writer.is_some(), "it goes on when there is room");
    wire.makes_room(usize::MAX / 2);
    while !wire.incoming.is_empty() || pump.has_output() {
        assert!(read(&mut pump, &mut wire, 100).is_pending());
    }
    assert_eq!(wire.heard().updates, 100_000);
}

#[test]
fn what_gives_nothing_gives_way() {
    let (mut pump, mut wire) = opened();
    wire.gives = 3;
    wire.incoming.extend(record(UPDATE, b"").repeat(1000));
    let bell = Arc::<Bell>::default();
    let waker = Waker::from(bell.clone());
    let mut buffer = [0; 10];
    assert!(pump.poll_read(&mut wire, &mut Context::from_waker(&waker), &mut buffer).is_pending());
    assert!(bell.has_rung() && !wire.incoming.is_empty());
}
