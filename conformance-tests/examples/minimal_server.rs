//! A complete server in one file: blocking `std::net`, one thread per connection and a second one that reads for it.
//!
//! What HTTP asks for is done by `adapter_http1::connection` over a [`Transport`]. The rest is sockets and threads. A connection's
//! *reader* blocks in `read`, so that the end of the client's stream is seen whatever the application does; its *server*
//! blocks on one future. `spec/IMPLEMENTING.md` walks through it.

use std::collections::HashMap;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

use adapter_core::body::BodySender;
use adapter_core::environ::Serving;
use adapter_core::server::{Guard, LastReference, Lifecycle, Roster, ShutdownLevel, Threads};
use adapter_core::signal::Signal;
use adapter_core::{
    Body, Bytes, Concurrency, DynApplication, ListenAddr, Runtime, ServeError, Server, ServerConfig, ServerHandle,
    ServerInfo, ShutdownTrigger, Sleep, contain,
};
use adapter_http1::connection::{Connection, Served, Settings, Transport};
use adapter_listen::blocking::{accept_on_thread, bind_tcp};
use futures_lite::future::{block_on, or, zip};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};

/// The server.
pub(crate) struct MinimalServer;

impl Server for MinimalServer {
    fn info(&self) -> ServerInfo {
        let mut can = adapter_core::Capabilities::none();
        (can.trailers, can.early_hints, can.upgrade, can.websocket) = (true, true, true, true);
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
        let (trigger, threads) = (ShutdownTrigger::new(), Threads::new(&config));
        let runtime = Runtime::new(threads.clone());
        let info = self.info().listening(addrs.clone(), runtime.clone());
        let serving = Serving::new(info, runtime, trigger.clone(), &config);
        let life = Lifecycle::new(application.clone(), serving.clone(), &config);
        block_on(life.startup()).inspect_err(|_| threads.stop())?; // [LIF-01], [LIF-02]
        let settings = Settings::new(application, serving.clone(), &config, Arc::new(Roster::default()));
        let settings = Arc::new(settings.with_turns(config.threads.unwrap_or(usize::MAX))); // [CON-07]
        let state = Arc::new(State { settings, config, sockets: Mutex::default() });
        for listener in listeners {
            let (shared, roster) = (state.clone(), state.settings.roster().clone());
            let serve = move |socket, peer, place| {
                let state = shared.clone();
                // Without a thread the connection is closed again.
                let _ = thread::Builder::new().spawn(move || state.serve(socket, peer, place));
            };
            accept_on_thread(listener, &serving, life.tracker(), roster, state.config.limits.connections, serve)
                .inspect_err(|_| trigger.force())?;
        }
        let end = move || block_on(state.stop(&life, &threads));
        Ok(ServerHandle::on_thread(addrs, trigger, last, end)?)
    }
}

/// What all threads of a server share.
struct State {
    settings: Arc<Settings>,
    config: ServerConfig,
    sockets: Mutex<HashMap<(SocketAddr, SocketAddr), Arc<TcpStream>>>,
}

impl State {
    fn serving(&self) -> &Serving {
        self.settings.serving()
    }

    fn sockets(&self) -> MutexGuard<'_, HashMap<(SocketAddr, SocketAddr), Arc<TcpStream>>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of the server. \[LIF-06\], \[SHU-02\], \[SHU-06\], \[SHU-07\]
    async fn stop(&self, life: &Lifecycle, threads: &Threads) -> Result<(), ServeError> {
        let force = async {
            self.serving().shutdown.reached(ShutdownLevel::Forced).await;
            // The only way to wake a thread that reads or writes; one in application code holds none.
            self.sockets().drain().for_each(|(_, socket)| drop(socket.shutdown(Shutdown::Both)));
        };
        let (ended, ()) = zip(life.run(), force).await;
        threads.stop();
        let _ = self.serving().runtime.timeout(Duration::from_secs(1), threads.idle()).await;
        ended
    }

    fn serve(self: Arc<Self>, socket: TcpStream, peer: SocketAddr, place: Guard) {
        let (Ok(local), Ok(())) = (socket.local_addr(), socket.set_nodelay(true)) else { return };
        let (socket, (feed, pieces)) = (Arc::new(socket), Body::channel(1));
        let (ended, reset) = (Signal::new(), Signal::new());
        let wire = Wire {
            socket: Arc::downgrade(&socket),
            pieces,
            piece: Bytes::new(),
            ended: ended.clone(),
            reset: reset.clone(),
            runtime: self.serving().runtime.clone(),
            retry: None,
        };
        let connection = Connection::new(
            self.settings.clone(),
            wire,
            Some(peer),
            ListenAddr::Tcp(local),
            self.serving().runtime.now(),
        );
        let gone = connection.environ().disconnected.clone();
        self.sockets().insert((peer, local), socket.clone());
        let state = self.clone();
        let reader = thread::Builder::new().spawn(move || {
            state.read(&socket, &feed, &reset);
            drop(socket);
            ended.fire();
            gone.fire(); // [DIS-01a]
        });
        // Application code is contained where it is called; this is for mistakes of our own.
        let _ = contain::catch("connection", || block_on(Served::new(connection, place)));
        let socket = self.sockets().remove(&(peer, local));
        let _ = socket.map(|socket| socket.shutdown(Shutdown::Read)); // wakes the reader
        let _ = reader.map(thread::JoinHandle::join);
    }

    /// Reads until the end of the client's stream.
    fn read(&self, mut socket: &TcpStream, feed: &BodySender, reset: &Signal) {
        let mut piece = vec![0; 16 * 1024];
        loop {
            match socket.read(&mut piece) {
                Ok(count @ 1..) => {
                    let piece = Bytes::copy_from_slice(&piece[..count]);
                    // [REQ-16] waits while nobody takes it, and asks the socket meanwhile: [DIS-01c]
                    let broken = async {
                        while matches!(socket.take_error(), Ok(None)) {
                            self.serving().runtime.sleep(Duration::from_millis(50)).await;
                        }
                        reset.fire()
                    };
                    if block_on(or(async { feed.send(piece).await.is_err() }, broken)) {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) => return,
                Err(_) => {
                    reset.fire();
                    return;
                }
            }
        }
    }
}

/// A connection's socket, and what its reader has read.
struct Wire {
    /// The server's: a forced shutdown takes it away, whatever thread is in here. \[SHU-09\]
    socket: Weak<TcpStream>,
    pieces: Body,
    /// As far as it is not taken.
    piece: Bytes,
    /// The client's stream has ended.
    ended: Signal,
    /// The client has reset the connection.
    reset: Signal,
    runtime: Runtime,
    /// There was no room.
    retry: Option<Sleep>,
}

impl Transport for Wire {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        while self.piece.is_empty() {
            match ready!(http_body::Body::poll_frame(Pin::new(&mut self.pieces), cx)) {
                Some(frame) => self.piece = frame.ok().and_then(|frame| frame.into_data().ok()).unwrap_or_default(),
                None if self.reset.is_fired() => return Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
                None => return Poll::Ready(Ok(0)),
            }
        }
        let count = self.piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Poll::Ready(Ok(count))
    }

    // It must not wait in here, where others want the connection, and std has nothing that tells of room: it tries again.
    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            if let Some(retry) = &mut self.retry {
                ready!(Pin::new(retry).poll(cx));
            }
            let socket = self.socket.upgrade().ok_or(ErrorKind::ConnectionAborted)?;
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmsg(&socket, parts, &mut SendAncillaryBuffer::default(), flags) {
                Err(Errno::AGAIN) => self.retry = Some(self.runtime.sleep(Duration::from_millis(20))),
                outcome => {
                    self.retry = None;
                    return Poll::Ready(Ok(outcome?));
                }
            }
        }
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = self.socket.upgrade().map(|socket| socket.shutdown(Shutdown::Write)); // a client that is gone is no error
        Poll::Ready(Ok(()))
    }

    fn was_reset(&self) -> bool {
        self.reset.is_fired()
    }

    fn has_ended(&self) -> bool {
        self.ended.is_fired()
    }

    fn has_input(&self) -> bool {
        let look = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let looked = self.socket.upgrade().map(|socket| recv(&socket, &mut [0_u8; 1], look));
        matches!(looked, Some(Ok((_, 1..))))
    }

    fn reset_on_close(&mut self) {
        let Some(socket) = self.socket.upgrade() else { return };
        let _ = socket2::SockRef::from(&*socket).set_linger(Some(Duration::ZERO)); // [BOD-14b]
    }
}

/// Serves the conformance application at the address given, until the process is killed.
#[allow(dead_code, reason = "the tests include this file for the server alone")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    Ok(conformance_tests::serve(&MinimalServer, address.parse()?)?)
}
