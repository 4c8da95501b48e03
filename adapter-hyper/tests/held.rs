//! A transport that holds what is written, as TLS does, and lets go of it when it is read: the engine over one of the test's own.

use std::future::Future as _;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use adapter_core::environ::Serving;
use adapter_core::observe::{ConnectionEnd, ConnectionInfo, Observer, TimeLimit};
use adapter_core::server::{ServerInfo, ShutdownTrigger, Threads, Tracker};
use adapter_core::{Body, DynApplication, Environ, Error, ListenAddr, Request, Response, Runtime, ServerConfig};
use adapter_hyper::engine::{Engine, Transport};
use futures_lite::future;
use hyper::rt::ReadBufCursor;

/// What is between the engine and its client.
#[derive(Default)]
struct Wire {
    request: &'static [u8],
    ended: bool,
    has_room: bool,
    held: usize,
    got: usize,
    wakers: Vec<Waker>,
}

#[derive(Clone, Default)]
struct Holding(Arc<Mutex<Wire>>);

impl Holding {
    fn change(&self, change: impl FnOnce(&mut Wire)) {
        let mut wire = self.0.lock().expect("a lock");
        change(&mut wire);
        wire.wakers.drain(..).for_each(Waker::wake);
    }
}

impl Wire {
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.held > 0 && !self.has_room {
            self.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        self.got += self.held;
        Poll::Ready(Ok(std::mem::take(&mut self.held)))
    }
}

impl Transport for Holding {
    fn is_secured(&self) -> bool {
        true
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<usize>> {
        let mut wire = self.0.lock().expect("a lock");
        let _ = wire.send(cx);
        let count = wire.request.len();
        if count == 0 && !wire.ended {
            wire.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        buffer.put_slice(std::mem::take(&mut wire.request));
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().expect("a lock").held += bytes.len();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.0.lock().expect("a lock").send(cx)
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn was_reset(&self) -> bool {
        false
    }

    fn has_input(&self) -> bool {
        !self.0.lock().expect("a lock").request.is_empty()
    }

    fn reset_on_close(&mut self) {}
}

/// How connections have ended, and whether a time limit has passed.
#[derive(Default)]
struct Seen(Mutex<(Vec<ConnectionEnd>, Vec<TimeLimit>)>);

impl Observer for Seen {
    fn connection_closed(&self, _: ConnectionInfo, why: ConnectionEnd) {
        self.0.lock().expect("a lock").0.push(why);
    }

    fn timed_out(&self, limit: TimeLimit) {
        self.0.lock().expect("a lock").1.push(limit);
    }
}

/// \[LIM-06\], \[OBS-10\] what was held is out, whoever has let go of it: the client takes what there is, and its end is seen at once.
#[test]
fn what_a_read_lets_go_of_is_not_taken_for_stuck() {
    let seen = Arc::new(Seen::default());
    let config = ServerConfig::default().observe(seen.clone());
    let runtime = Runtime::new(Threads::new(&config));
    let serving = Serving::new(ServerInfo::new("test", "0"), runtime, ShutdownTrigger::default(), &config);
    let app = |_: Request, _: Environ| future::ready(Ok::<_, Error>(Response::new(Body::from("hello"))));
    let engine = Engine::new(DynApplication::new(app), serving, &config).expect("an engine");
    let wire = Holding::default();
    wire.change(|wire| wire.request = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let address = ListenAddr::Tcp(([127, 0, 0, 1], 1).into());
    let mut connection = Box::pin(engine.connection(wire.clone(), None, address, Tracker::default().add()));
    let cx = &mut Context::from_waker(Waker::noop());
    let mut turns = || (0..8).any(|_| connection.as_mut().poll(cx).is_ready());
    assert!(!turns());
    assert!(wire.0.lock().expect("a lock").held > 0, "the response waits for room");
    wire.change(|wire| wire.has_room = true);
    assert!(!turns());
    assert!(wire.0.lock().expect("a lock").got > 0, "the response is out");
    wire.change(|wire| wire.ended = true);
    assert!(turns(), "the client has taken all, and has left");
    drop(connection);
    let (ends, limits) = &*seen.0.lock().expect("a lock");
    assert_eq!((ends.as_slice(), limits.as_slice()), (&[ConnectionEnd::Client][..], &[][..]));
}
