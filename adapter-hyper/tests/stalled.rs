//! A client that takes nothing of a stream: the engine over a socket of the test's own. \[BOD-16\]

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use adapter_core::environ::Serving;
use adapter_core::server::{ServerInfo, ShutdownTrigger, Threads, Tracker};
use adapter_core::{
    Application, Body, Bytes, DynApplication, Environ, Error, ListenAddr, Request, Response, Runtime, ServerConfig,
};
use adapter_hyper::engine::{Connection, Engine, Transport};
use futures_lite::{future, stream};
use hyper::rt::ReadBufCursor;

const CHUNK: usize = 16 * 1024;

/// What the client has room for, and has got.
#[derive(Clone, Default)]
struct Peer(Arc<Mutex<(usize, usize)>>);

/// A socket on which one request has come.
struct Socket {
    request: &'static [u8],
    peer: Peer,
}

impl Transport for Socket {
    fn poll_read(&mut self, _: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<usize>> {
        let count = self.request.len();
        if count == 0 {
            return Poll::Pending;
        }
        buffer.put_slice(std::mem::take(&mut self.request));
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut peer = self.peer.0.lock().expect("a lock");
        let count = bytes.len().min(peer.0);
        if count == 0 {
            return Poll::Pending;
        }
        peer.0 -= count;
        peer.1 += count;
        Poll::Ready(Ok(count))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn was_reset(&self) -> bool {
        false
    }

    fn has_input(&self) -> bool {
        !self.request.is_empty()
    }

    fn reset_on_close(&mut self) {}
}

/// Whether it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// A connection on which one request for `app` has come, and its client.
fn asked(app: impl Application) -> (Pin<Box<Connection>>, Peer) {
    let config = ServerConfig::default();
    let runtime = Runtime::new(Threads::new(&config));
    let serving = Serving::new(ServerInfo::new("test", "0"), runtime, ShutdownTrigger::default(), &config);
    let engine = Engine::new(DynApplication::new(app), serving, &config).expect("an engine");
    let peer = Peer::default();
    let socket = Socket { request: b"GET / HTTP/1.1\r\nHost: test\r\n\r\n", peer: peer.clone() };
    let address = ListenAddr::Tcp(([127, 0, 0, 1], 1).into());
    (Box::pin(engine.connection(socket, None, address, Tracker::default().add())), peer)
}

/// Polls as a runtime would, and once more as for another event.
fn turns(connection: &mut Pin<Box<Connection>>) {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    for _ in 0..2 {
        for _ in 0..64 {
            let before = woken.0.load(Relaxed);
            assert!(connection.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            if woken.0.load(Relaxed) == before {
                break;
            }
        }
    }
}

#[test]
fn what_the_client_does_not_take_is_not_asked_for() {
    let pulled = Arc::new(AtomicUsize::new(0));
    let counted = pulled.clone();
    let (mut connection, peer) = asked(move |_: Request, _: Environ| {
        let counted = counted.clone();
        let chunks = stream::repeat_with(move || {
            counted.fetch_add(CHUNK, Relaxed);
            Bytes::from_static(&[7; CHUNK])
        });
        future::ready(Ok::<_, Error>(Response::new(Body::from_stream(chunks))))
    });
    for round in 1..=20 {
        turns(&mut connection);
        let (room, got) = *peer.0.lock().unwrap();
        assert_eq!(room, 0, "round {round}: nothing more was given to a client that has room");
        let held = pulled.load(Relaxed).saturating_sub(got);
        assert!(held <= 192 * 1024, "round {round}: {held} octets are held for a client that takes nothing");
        peer.0.lock().unwrap().0 = 100_000;
    }
}

/// Octets that tell whether somebody holds them.
struct Held(Vec<u8>, Arc<AtomicBool>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.1.store(true, Relaxed);
    }
}

/// hyper lets go of what it has copied: as long as the client has not taken most of it, that is not all of it.
#[test]
fn large_octets_are_not_copied_for_who_does_not_take_them() {
    const SIZE: usize = 1024 * 1024;
    for streamed in [false, true] {
        let copied = Arc::new(AtomicBool::new(false));
        let told = copied.clone();
        let (mut connection, peer) = asked(move |_: Request, _: Environ| {
            let octets = Bytes::from_owner(Held(vec![7; SIZE], told.clone()));
            let body = match streamed {
                true => Body::from_stream(stream::once(octets)),
                false => Body::from(octets),
            };
            future::ready(Ok::<_, Error>(Response::new(body)))
        });
        let mut got = 0;
        while got < SIZE {
            turns(&mut connection);
            let (room, taken) = *peer.0.lock().unwrap();
            assert!(room == 0 || taken > SIZE, "there is more for a client that has room");
            assert!(taken + 192 * 1024 >= SIZE || !copied.load(Relaxed), "{taken} octets were taken, and all are held");
            got = taken;
            peer.0.lock().unwrap().0 = 100_000;
        }
        assert!(copied.load(Relaxed), "what was taken is still held");
    }
}
