//! Offer, stream and tether, over an in-memory socket.

use std::collections::VecDeque;
use std::future::Future as _;
use std::io::{self, Read as _, Write as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use futures_lite::future::block_on;
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{UpgradeError, Upgraded, channel};

/// A socket whose peer is the test.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    inbound: VecDeque<u8>,
    outbound: Vec<u8>,
    reader: Option<Waker>,
    dropped: bool,
}

impl Pipe {
    fn feed(&self, bytes: &[u8]) {
        let mut state = self.0.lock().unwrap();
        state.inbound.extend(bytes);
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    fn sent(&self) -> Vec<u8> {
        self.0.lock().unwrap().outbound.clone()
    }

    fn is_closed(&self) -> bool {
        self.0.lock().unwrap().dropped
    }
}

/// The server's socket over a [`Pipe`].
struct Socket(Pipe);

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.0.lock().unwrap();
        if state.inbound.is_empty() {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(io::Read::read(&mut state.inbound, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.0.lock().unwrap().outbound.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().dropped = true;
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Count(Mutex<usize>);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() += 1;
    }
}

#[test]
fn early_octets_come_first_and_dropping_closes() {
    let pipe = Pipe::default();
    let (handover, offer) = channel();
    let on_upgrade = offer.take().unwrap();
    assert_eq!(offer.clone().take().unwrap_err(), UpgradeError::Taken, "[UPG-19a]");
    assert!(handover.is_taken());
    let (stream, mut tether) = Upgraded::new(Socket(pipe.clone()), &b"ear"[..]);
    handover.complete(stream);
    let mut stream = on_upgrade.wait().unwrap();
    pipe.feed(b"ly");
    let mut read = [0; 5];
    block_on(stream.read_exact(&mut read)).unwrap();
    assert_eq!(&read, b"early", "[UPG-16]");
    block_on(stream.write_all(b"out")).unwrap();
    assert_eq!(pipe.sent(), b"out");
    let woken = Arc::new(Count::default());
    let waker = Waker::from(woken.clone());
    assert!(Pin::new(&mut tether).poll(&mut Context::from_waker(&waker)).is_pending());
    drop(stream);
    assert_eq!(*woken.0.lock().unwrap(), 1);
    assert!(pipe.is_closed(), "[UPG-19b]");
    block_on(tether);
}

#[test]
fn early_octets_that_were_read_are_let_go() {
    struct Owner(Arc<Count>);

    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            b"early"
        }
    }

    impl Drop for Owner {
        fn drop(&mut self) {
            self.0.clone().wake();
        }
    }

    let dropped = Arc::new(Count::default());
    let early = Bytes::from_owner(Owner(dropped.clone()));
    let (mut stream, _tether) = Upgraded::new(Socket(Pipe::default()), early);
    block_on(stream.read_exact(&mut [0; 4])).unwrap();
    assert_eq!(*dropped.0.lock().unwrap(), 0);
    block_on(stream.read_exact(&mut [0; 1])).unwrap();
    assert_eq!(*dropped.0.lock().unwrap(), 1);
}

#[test]
fn a_dropped_handover_refuses_and_a_dropped_claim_closes() {
    let (handover, offer) = channel();
    let on_upgrade = offer.take().unwrap();
    drop(handover);
    assert_eq!(block_on(on_upgrade).unwrap_err(), UpgradeError::Refused);

    let (handover, offer) = channel();
    drop(offer.take().unwrap());
    assert!(!handover.is_taken());
    let pipe = Pipe::default();
    let (stream, tether) = Upgraded::new(Socket(pipe.clone()), "");
    handover.complete(stream);
    assert!(pipe.is_closed(), "the environ's offer must not keep a stream nobody wants");
    assert!(tether.is_released());

    let (handover, offer) = channel();
    drop(handover);
    assert_eq!(offer.take().unwrap_err(), UpgradeError::Taken, "after the response it is too late");
}

#[test]
fn a_severed_stream_fails_pending_and_later_calls() {
    let pipe = Pipe::default();
    let (stream, tether) = Upgraded::new(Socket(pipe.clone()), "");
    let (reader, writer) = stream.split();
    let reader = thread::spawn(move || reader.into_blocking().read(&mut [0; 8]));
    while pipe.0.lock().unwrap().reader.is_none() {
        thread::yield_now();
    }
    drop(tether);
    assert_eq!(reader.join().unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    assert!(pipe.is_closed());
    assert_eq!(writer.into_blocking().write(b"x").unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
}

#[test]
fn the_blocking_halves_are_full_duplex() {
    let pipe = Pipe::default();
    let (stream, _tether) = Upgraded::new(Socket(pipe.clone()), "");
    let (mut reader, mut writer) = stream.into_blocking().split();
    let read = thread::spawn(move || {
        let mut read = [0; 4];
        reader.read_exact(&mut read).map(|()| read)
    });
    writer.write_all(b"said while the reader waits").unwrap();
    assert_eq!(pipe.sent(), b"said while the reader waits");
    pipe.feed(b"pong");
    assert_eq!(&read.join().unwrap().unwrap(), b"pong");
    assert!(!pipe.is_closed(), "one half is still there");
    drop(writer);
    assert!(pipe.is_closed());
}
