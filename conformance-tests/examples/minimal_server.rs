//! A complete server in one file: `std::net`, and one thread per connection, which sleeps in `poll` until its socket or one of
//! its wakers has something to say.
//!
//! What HTTP asks for is done by `adapter_http1::connection` over a [`Transport`]. The rest is sockets and threads. What blocks runs
//! on `Threads`. `spec/IMPLEMENTING.md` walks through it.

use std::collections::HashMap;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use adapter_core::environ::Serving;
use adapter_core::server::{Guard, LastReference, Lifecycle, Roster, Threads};
use adapter_core::{
    Concurrency, DynApplication, ListenAddr, Runtime, ServeError, Server, ServerConfig, ServerHandle, ServerInfo,
    ShutdownTrigger, contain,
};
use adapter_http1::connection::{Connection, Served, Settings, Transport};
use adapter_listen::blocking::{accept_on_thread, bind_tcp};
use futures_lite::future::block_on;
use rustix::event::{PollFd, PollFlags, poll};
use socket2::SockRef;

/// The server.
pub(crate) struct MinimalServer;

impl Server for MinimalServer {
    fn info(&self) -> ServerInfo {
        let mut can = adapter_core::Capabilities::none();
        (can.trailers, can.early_hints, can.full_duplex, can.upgrade, can.websocket) = (true, true, true, true, true);
        ServerInfo::new("minimal", "0.1").with_concurrency(Concurrency::threads()).with_capabilities(can)
    }

    fn start(&self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        let last = LastReference::of(&application); // [LIF-09]
        let application = application; // dropped before it, should the start fail
        config.validate()?;
        config.refuse_unknown_options("minimal", &[])?; // [REG-03]
        let listeners = bind_tcp(&config.binds_or_default())?; // [SHU-11]
        let addrs = listeners.iter().map(|listener| listener.local_addr().map(ListenAddr::Tcp));
        let addrs = addrs.collect::<Result<Vec<_>, _>>()?;
        let (trigger, threads) = (ShutdownTrigger::new(), Threads::for_event_loop(&config));
        let runtime = Runtime::new(threads.clone());
        let info = self.info().listening(addrs.clone(), runtime.clone());
        let serving = Serving::new(info, runtime.clone(), trigger.clone(), &config);
        let life = Lifecycle::new(application.clone(), serving.clone(), &config);
        block_on(life.startup()).inspect_err(|_| threads.stop())?; // [LIF-01], [LIF-02]
        let settings = Settings::new(application, serving.clone(), &config, Arc::new(Roster::default()));
        let settings = Arc::new(settings.with_turns(config.threads.unwrap_or(usize::MAX))); // [CON-07]
        let sockets = Sockets::default();
        for listener in listeners {
            let (settings, sockets, roster) = (settings.clone(), sockets.clone(), settings.roster().clone());
            let serve = move |socket, peer, place| {
                let (settings, sockets) = (settings.clone(), sockets.clone());
                // Without a thread the connection is closed again.
                let _ = thread::Builder::new().spawn(move || serve(settings, &sockets, socket, peer, place));
            };
            accept_on_thread(listener, &serving, life.tracker(), roster, config.limits.connections, serve)
                .inspect_err(|_| trigger.force())?;
        }
        let end = move || {
            let ended = block_on(life.run()); // [LIF-06], [SHU-02], [SHU-06], [SHU-07]
            threads.stop();
            let _ = block_on(runtime.timeout(Duration::from_secs(1), threads.idle()));
            // A thread in code that does not return holds no socket. [SHU-09]
            let left = lock(&sockets).drain().filter_map(|(_, socket)| socket.upgrade()).collect::<Vec<_>>();
            left.iter().for_each(|socket| drop(socket.shutdown(Shutdown::Both)));
            ended
        };
        Ok(ServerHandle::on_thread(addrs, trigger, last, end)?)
    }
}

/// Those of the connections that are open, by their threads.
type Sockets = Arc<Mutex<HashMap<ThreadId, Weak<TcpStream>>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves a connection, on this thread.
fn serve(settings: Arc<Settings>, sockets: &Sockets, socket: TcpStream, peer: SocketAddr, place: Guard) {
    let (Ok(local), Ok(()), Ok(())) = (socket.local_addr(), socket.set_nodelay(true), socket.set_nonblocking(true))
    else {
        return;
    };
    let watch = loop {
        match Watch::new() {
            Ok(watch) => break watch,
            Err(_) => thread::sleep(Duration::from_millis(50)), // there are no descriptors now
        }
    };
    let (socket, now) = (Arc::new(socket), settings.serving().runtime.now());
    lock(sockets).insert(watch.thread, Arc::downgrade(&socket));
    let wire = Wire { socket: socket.clone(), watch: watch.clone() };
    let connection = Connection::new(settings, wire, Some(peer), ListenAddr::Tcp(local), now);
    // Application code is contained where it is called; this is for mistakes of our own.
    let _ = contain::catch("connection", || watch.run(&socket, Served::new(connection, place)));
    lock(sockets).remove(&watch.thread);
    lock(&watch.waiting).fill(None); // they keep the watch
}

const READ: usize = 0;
const WRITE: usize = 1;

/// What the thread of a connection sleeps for.
struct Watch {
    /// A waker rings it, the thread hears it.
    bell: (UnixStream, UnixStream),
    /// Who is to be woken when there is something to read, and when there is room to write.
    waiting: Mutex<[Option<Waker>; 2]>,
    thread: ThreadId,
}

impl Watch {
    fn new() -> io::Result<Arc<Self>> {
        let bell = UnixStream::pair()?;
        bell.0.set_nonblocking(true)?;
        bell.1.set_nonblocking(true)?;
        Ok(Arc::new(Watch { bell, waiting: Mutex::default(), thread: thread::current().id() }))
    }

    fn ring(&self) {
        let _ = (&self.bell.0).write(&[0]); // where it is full it rings already
    }

    /// Polls `future` until it is ready, and sleeps while it has nothing to do.
    fn run(self: &Arc<Self>, socket: &TcpStream, future: impl Future) {
        let (mut future, waker) = (pin!(future), Waker::from(self.clone()));
        while future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            let wanted = lock(&self.waiting).each_ref().map(Option::is_some);
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, wanted[READ]);
            flags.set(PollFlags::OUT, wanted[WRITE]);
            let mut sources = [PollFd::new(&self.bell.1, PollFlags::IN), PollFd::new(socket, flags)];
            // The end of the connection is told, wanted or not.
            let count = if flags.is_empty() { 1 } else { 2 };
            let _ = poll(&mut sources[..count], None); // interrupted is as good as woken
            let seen = sources[1].revents();
            let _ = (&self.bell.1).read(&mut [0; 64]);
            for (side, flag) in [(READ, PollFlags::IN), (WRITE, PollFlags::OUT)] {
                if seen.intersects(flag | PollFlags::HUP | PollFlags::ERR) {
                    let waiter = lock(&self.waiting)[side].take();
                    // After an upgrade it may be anybody's; this future is polled anyway.
                    let _ = waiter.filter(|it| !it.will_wake(&waker)).map(|it| contain::catch("waker", || it.wake()));
                }
            }
        }
    }
}

impl Wake for Watch {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

/// A connection's socket.
struct Wire {
    socket: Arc<TcpStream>,
    watch: Arc<Watch>,
}

impl Wire {
    /// Attempts what does not block; where it would, the socket wakes who asks.
    fn poll<T>(
        &self,
        side: usize,
        cx: &Context<'_>,
        attempt: impl FnOnce(&TcpStream) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        match attempt(&self.socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // The one before is dropped without the lock.
                let _before = lock(&self.watch.waiting)[side].replace(cx.waker().clone());
                if thread::current().id() != self.watch.thread {
                    self.watch.ring(); // it sleeps for less than that
                }
                Poll::Pending
            }
            outcome => Poll::Ready(outcome),
        }
    }
}

impl Transport for Wire {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll(READ, cx, |mut socket| socket.read(buffer))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll(WRITE, cx, |mut socket| socket.write_vectored(parts))
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.shutdown(Shutdown::Write).or(Ok(()))) // fails where the client is gone
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
        let _ = SockRef::from(&*self.socket).set_tcp_user_timeout(Some(limit));
    }

    fn reset_on_close(&mut self) {
        let _ = SockRef::from(&*self.socket).set_linger(Some(Duration::ZERO)); // [BOD-14b]
    }
}

/// Serves the conformance application at the address given, until the process is killed.
#[allow(dead_code, reason = "the tests include this file for the server alone")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    Ok(conformance_tests::serve(&MinimalServer, address.parse()?)?)
}
