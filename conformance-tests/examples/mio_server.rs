//! A complete server in one file: an event loop of one thread on `mio`, and HTTP/1.1 by `adapter_http1::connection`.
//!
//! A [`Watched`] socket is its `Transport`, an [`EventLoop`] polls its future, `Threads` has the timers and runs what blocks.

use std::collections::{HashMap, HashSet};
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use adapter_core::contain::{self, Contained};
use adapter_core::runtime::BoxFuture;
use adapter_core::server::{
    Capabilities, LastReference, Lifecycle, ListenAddr, Listening, ShutdownTrigger, Threads, Tracker, warn_of_blocking,
};
use adapter_core::{DynApplication, Runtime, ServeError, Server, ServerConfig, ServerHandle, ServerInfo, environ};
use adapter_http1::connection::{Connection, Served, Settings, Transport};
use adapter_listen::{AcceptError, blocking::bind_tcp, classify};
use futures_lite::future::{block_on, or, yield_now};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token, event::Source};
use socket2::SockRef;

/// The server.
pub(crate) struct MioServer;

impl Server for MioServer {
    fn info(&self) -> ServerInfo {
        let mut can = Capabilities::none();
        (can.early_hints, can.trailers, can.full_duplex, can.upgrade, can.websocket) = (true, true, true, true, true);
        ServerInfo::new("mio", "0.1").with_capabilities(can)
    }

    fn start(&self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        let last = LastReference::of(&application); // [LIF-09]
        let application = application; // dropped before it, should the start fail
        config.validate()?;
        config.refuse_unknown_options("mio", &[])?; // [REG-03]
        let poll = mio::Poll::new()?;
        let (events, mut listeners, mut addrs) = (EventLoop::new(&poll)?, Vec::new(), Vec::new()); // [SHU-11]
        for listener in bind_tcp(&config.binds_or_default())? {
            listener.set_nonblocking(true)?;
            addrs.push(ListenAddr::Tcp(listener.local_addr()?));
            listeners.push(Watched::new(TcpListener::from_std(listener), &events)?);
        }
        let (trigger, threads) = (ShutdownTrigger::new(), Threads::for_event_loop(&config));
        let runtime = Runtime::new(threads.clone());
        let info = self.info().listening(addrs.clone(), runtime.clone());
        let serving = environ::Serving::new(info, runtime.clone(), trigger.clone(), &config);
        let life = Lifecycle::new(application.clone(), serving.clone(), &config);
        block_on(life.startup()).inspect_err(|_| threads.stop())?; // [LIF-01], [LIF-02]
        let run = move || {
            let settings = Arc::new(Settings::new(application, serving, &config, Arc::default()));
            for listener in listeners {
                // Counted here: a shutdown may come before the first poll.
                let (tracker, listening) = (life.tracker().clone(), life.tracker().listening());
                events.spawn(accept((listening, listener), settings.clone(), tracker, config.limits.connections));
            }
            let outcome = events.run(poll, life.run()); // [LIF-06], [SHU-02], [SHU-06], [SHU-07]
            lock(&events.tasks).clear();
            drop((settings, life));
            threads.stop();
            let idle = block_on(runtime.timeout(Duration::from_secs(1), threads.idle()));
            idle.unwrap_or_else(|_| warn_of_blocking()); // [SHU-09]
            outcome.unwrap_or_else(|error| Err(error.into()))
        };
        Ok(ServerHandle::on_thread(addrs, trigger, last, run)?)
    }
}

/// Accepts until the shutdown begins, and who waits already, then closes the listener. \[SHU-01\], \[SHU-13\]
async fn accept(open: (Listening, Watched<TcpListener>), settings: Arc<Settings>, tracker: Tracker, most: usize) {
    let (_counted, listener) = open; // the last one is dropped first
    let (serving, events) = (settings.serving(), &listener.events);
    let serve = |socket: TcpStream, peer, guard| {
        let (Ok(local), Ok(())) = (socket.local_addr(), socket.set_nodelay(true)) else { return };
        let Ok(socket) = Watched::new(socket, events) else { return };
        let (local, now) = (ListenAddr::Tcp(local), serving.runtime.now());
        events.spawn(Served::new(Connection::new(settings.clone(), socket, Some(peer), local, now), guard));
    };
    let accepting = async {
        loop {
            match poll_fn(|cx| listener.poll(READ, cx, TcpListener::accept)).await {
                Ok((socket, peer)) => {
                    // One more than the limit allows waits here for a place. [LIM-07]
                    serve(socket, peer, settings.roster().place(&tracker, most, &serving.runtime).await);
                    yield_now().await; // others get their turn
                }
                Err(error) => {
                    let AcceptError::Backoff(pause) = classify(&error) else { continue };
                    tracing::warn!(target: "adapter", %error, "can't accept; trying again"); // [ERR-06]
                    serving.runtime.sleep(pause).await;
                }
            }
        }
    };
    or(serving.shutdown.draining().fired(), accepting).await;
    std::iter::from_fn(|| listener.socket.accept().ok()).for_each(|(socket, peer)| serve(socket, peer, tracker.add()));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread of the loop shares with others. Tasks and sockets have numbers.
struct EventLoop {
    registry: mio::Registry,
    /// Ends the wait for events.
    bell: mio::Waker,
    next: AtomicUsize,
    tasks: Mutex<HashMap<usize, (BoxFuture<()>, Waker)>>,
    /// Which of them are to be polled.
    woken: Mutex<HashSet<usize>>,
    /// Who waits for an event of a socket, to read and to write.
    waiting: Mutex<HashMap<Token, [Option<Waker>; 2]>>,
}

impl EventLoop {
    fn new(poll: &mio::Poll) -> io::Result<Arc<Self>> {
        let (registry, bell) = (poll.registry().try_clone()?, mio::Waker::new(poll.registry(), Token(usize::MAX))?);
        let (next, tasks, woken, waiting) = Default::default();
        Ok(Arc::new(EventLoop { registry, bell, next, tasks, woken, waiting }))
    }

    /// Runs `task` on the loop. A panic in it, which is a mistake of our own, is contained.
    fn spawn<T: Send + 'static>(self: &Arc<Self>, task: impl Future<Output = T> + Send + 'static) {
        let (task, number) = (Contained::new(task), self.next.fetch_add(1, Relaxed));
        let waker = Waker::from(Arc::new(Alarm(number, self.clone())));
        lock(&self.tasks).insert(number, (Box::pin(async { drop(task.await) }), waker.clone()));
        waker.wake();
    }

    /// Polls `main` and what was woken, waits for events, until `main` is ready.
    fn run<T>(self: &Arc<Self>, mut poll: mio::Poll, main: impl Future<Output = T>) -> io::Result<T> {
        let (mut main, mut news) = (pin!(main), mio::Events::with_capacity(256));
        let main_waker = Waker::from(Arc::new(Alarm(usize::MAX, self.clone())));
        loop {
            let woken = std::mem::take(&mut *lock(&self.woken)); // first: who is woken from here on rings the bell
            if let Poll::Ready(outcome) = main.as_mut().poll(&mut Context::from_waker(&main_waker)) {
                return Ok(outcome);
            }
            for number in woken {
                // Taken out, since a task may spawn another one.
                let Some((mut task, waker)) = lock(&self.tasks).remove(&number) else { continue };
                if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                    lock(&self.tasks).insert(number, (task, waker));
                }
            }
            poll.poll(&mut news, None)
                .or_else(|it| if it.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(it) })?;
            for event in &news {
                // Woken without the lock, and contained: after an upgrade they may be anybody's.
                let wakers = lock(&self.waiting).get_mut(&event.token()).map(std::mem::take);
                wakers.into_iter().flatten().flatten().for_each(|it| drop(contain::catch("waker", || it.wake())));
            }
        }
    }
}

/// Wakes the task of that number.
struct Alarm(usize, Arc<EventLoop>);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        let mut woken = lock(&self.1.woken);
        if woken.is_empty() {
            let _ = self.1.bell.wake(); // once for all of them
        }
        woken.insert(self.0);
    }
}

const READ: usize = 0;
const WRITE: usize = 1;

/// A socket that the loop watches.
struct Watched<S: Source> {
    socket: S,
    token: Token,
    events: Arc<EventLoop>,
}

impl<S: Source> Watched<S> {
    fn new(socket: S, events: &Arc<EventLoop>) -> io::Result<Self> {
        let mut watched = Watched { socket, token: Token(events.next.fetch_add(1, Relaxed)), events: events.clone() };
        events.registry.register(&mut watched.socket, watched.token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(watched)
    }

    /// Attempts what does not block; where it would, the socket's next event wakes the task.
    fn poll<T>(&self, side: usize, cx: &Context<'_>, attempt: impl FnOnce(&S) -> io::Result<T>) -> Poll<io::Result<T>> {
        // Before the attempt: the event may come right after it. The waker before is dropped without the lock.
        let _before = lock(&self.events.waiting).entry(self.token).or_default()[side].replace(cx.waker().clone());
        match attempt(&self.socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
            outcome => Poll::Ready(outcome),
        }
    }
}

impl<S: Source> Drop for Watched<S> {
    fn drop(&mut self) {
        let _ = self.events.registry.deregister(&mut self.socket);
        let _waiting = lock(&self.events.waiting).remove(&self.token);
    }
}

impl Transport for Watched<TcpStream> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll(READ, cx, |mut socket| socket.read(buffer))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll(WRITE, cx, |mut socket| socket.write_vectored(parts))
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.shutdown(std::net::Shutdown::Write).or(Ok(()))) // fails where the client is gone
    }

    fn was_reset(&self) -> bool {
        !matches!(self.socket.take_error(), Ok(None))
    }

    fn has_ended(&self) -> bool {
        matches!(self.socket.peek(&mut [0]), Ok(0))
    }

    fn has_input(&self) -> bool {
        self.socket.peek(&mut [0]).is_ok_and(|count| count > 0)
    }

    fn limit_unsent(&self, limit: Duration) {
        let _ = SockRef::from(&self.socket).set_tcp_user_timeout(Some(limit));
    }

    fn reset_on_close(&mut self) {
        let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }
}

/// Serves the conformance application at the address given, until the process is killed.
#[allow(dead_code, reason = "the tests include this file for the server alone")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    Ok(conformance_tests::serve(&MioServer, address.parse()?)?)
}
