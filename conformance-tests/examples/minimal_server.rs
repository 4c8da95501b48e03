//! A complete server in one file: blocking `std::net`, one thread per connection and a second one that reads for it.
//!
//! What HTTP asks for is decided by `adapter_core` and put into octets by `adapter_http1`. The rest is sockets, threads,
//! and who waits for what. A connection is a [`Wire`]. Its *reader* blocks in `read`, so that the end of the client's
//! stream is seen whatever the application does. Its *server* blocks on one future, [`Wire::exchange`], in which `or`
//! and `timeout` say what it waits for. `spec/IMPLEMENTING.md` walks through it.

use std::collections::HashMap;
use std::future::{Future, pending, poll_fn};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use adapter_core::body::{BodySender, Exact};
use adapter_core::environ::{Connection, Serving};
use adapter_core::http::Request;
use adapter_core::refused::Asked;
use adapter_core::rules::{request::Facts, response::Framing};
use adapter_core::runtime::Threads;
use adapter_core::server::{Guard, LastReference, Lifecycle, ShutdownLevel, Tracker};
use adapter_core::signal::Signal;
use adapter_core::{
    Body, Bytes, Concurrency, DynApplication, Environ, Error, ListenAddr, Response, Runtime, ServeError, Server,
    ServerConfig, ServerHandle, ServerInfo, ShutdownTrigger, contain, dispatch,
};
use adapter_http1::encoder;
use adapter_http1::inbound::{Feed, Idle, Inbound};
use adapter_listen::blocking::{accept_on_thread, bind_tcp};
use futures_lite::future::{block_on, or, zip};

/// How long a half-closed client may be kept waiting. \[DIS-04b\]
const GRACE: Duration = Duration::from_millis(250);

/// How long an idle connection is spared when another client waits. \[LIM-07\]
const SPARED: Duration = Duration::from_secs(1);

/// The server.
pub(crate) struct MinimalServer;

impl Server for MinimalServer {
    fn info(&self) -> ServerInfo {
        ServerInfo::new("minimal", "0.1").with_concurrency(Concurrency::threads())
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
        let (turns, places, wires) = (Tracker::default(), Tracker::default(), Mutex::default());
        let state = Arc::new(State { application, config, serving, turns, places, wires });
        for listener in listeners {
            // One more, which waits for a place.
            let (shared, most) = (state.clone(), state.config.limits.connections.saturating_add(1));
            let serve = move |socket, peer, open| {
                let state = shared.clone();
                // Without a thread the connection is closed again.
                let _ = thread::Builder::new().spawn(move || Wire::serve(state, socket, peer, open));
            };
            accept_on_thread(listener, &state.serving, life.tracker(), most, serve).inspect_err(|_| trigger.force())?;
        }
        let ended = Signal::new();
        let end = ended.fire_on_drop();
        let stopper = thread::spawn(move || {
            let _end = end;
            let outcome = block_on(state.stop(&life, &threads));
            drop((state, life));
            last.drop_as_last(Duration::from_secs(1));
            outcome
        });
        let wait = move || stopper.join().expect("invariant: the stopper does not panic");
        Ok(ServerHandle::new(addrs, trigger, wait).with_end(ended))
    }
}

/// What all threads of a server share.
struct State {
    application: DynApplication,
    config: ServerConfig,
    serving: Arc<Serving>,
    /// Threads that are in the application.
    turns: Tracker,
    /// Connections that are served.
    places: Tracker,
    wires: Mutex<HashMap<(SocketAddr, SocketAddr), Arc<Wire>>>,
}

impl State {
    /// Waits for the end of the server. \[LIF-06\], \[SHU-02\], \[SHU-06\], \[SHU-07\]
    async fn stop(&self, life: &Lifecycle, threads: &Threads) -> Result<(), ServeError> {
        let force = async {
            self.serving.shutdown.reached(ShutdownLevel::Forced).await;
            lock(&self.wires).values().for_each(|wire| wire.cut(true));
        };
        let (ended, ()) = zip(life.run(), force).await;
        threads.stop();
        let _ = self.serving.runtime.timeout(Duration::from_secs(1), threads.idle()).await;
        ended
    }

    /// Waits for a place among the connections, and ends the one that has been idle for longest if there is none.
    async fn place(&self) -> Option<Guard> {
        let (runtime, most) = (&self.serving.runtime, self.config.limits.connections);
        let room = async {
            loop {
                let wires: Vec<Arc<Wire>> = lock(&self.wires).values().cloned().collect();
                let idle = wires.iter().filter_map(|wire| Some((wire.idle.since()?, &wire.idle)));
                let longest = idle.min_by_key(|(since, _)| *since).filter(|(since, _)| since.elapsed() >= SPARED);
                // If it is not idle any more, another one is looked for.
                if longest.is_some_and(|(_, idle)| idle.end()) {
                    pending::<()>().await;
                }
                runtime.sleep(SPARED / 4).await;
            }
        };
        let place = async { Some(self.places.enter(most).await) };
        let stop = async {
            self.serving.shutdown.draining().fired().await;
            None
        };
        or(place, or(stop, room)).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection.
struct Wire {
    state: Arc<State>,
    facts: Arc<Connection>,
    /// Taken away to end the connection.
    socket: Mutex<Option<Arc<TcpStream>>>,
    /// Held while writing.
    writing: Mutex<()>,
    /// The connection was reset, by the client or by us.
    broken: Signal,
    idle: Idle,
}

/// How a connection ends.
#[derive(PartialEq)]
enum End {
    Close,
    Reset,
}

/// What the reader has read, as the receiving side wants it.
struct Piped {
    wire: Arc<Wire>,
    pieces: Body,
}

impl Feed for Piped {
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        http_body::Body::poll_frame(Pin::new(&mut self.pieces), cx).map(|frame| frame?.ok()?.into_data().ok())
    }

    fn send_continue(&mut self) {
        let _ = self.wire.write(encoder::CONTINUE); // [EXP-01]; a client that is gone is noticed elsewhere
    }
}

impl Wire {
    fn serve(state: Arc<State>, socket: TcpStream, peer: SocketAddr, _open: Guard) {
        let (Ok(local), Ok(())) = (socket.local_addr(), socket.set_nodelay(true)) else { return };
        let Some(_place) = block_on(state.place()) else { return };
        let _ = socket.set_write_timeout(state.config.timeouts.write); // [LIM-06]
        let facts = Arc::new(Connection::new(state.serving.clone(), Some(peer), ListenAddr::Tcp(local)));
        let (socket, writing, broken, idle) = (Arc::new(socket), Mutex::default(), Signal::new(), Idle::default());
        let wire = Wire { state, facts, socket: Mutex::new(Some(socket.clone())), writing, broken, idle };
        let (wire, (pieces, body)) = (Arc::new(wire), Body::channel(1));
        let reading = wire.clone();
        let Ok(reader) = thread::Builder::new().spawn(move || reading.read(&socket, &pieces)) else { return };
        lock(&wire.state.wires).insert((peer, local), wire.clone());
        let feed = Piped { wire: wire.clone(), pieces: body };
        let mut inbound =
            Inbound::new(feed, wire.state.serving.clone(), &wire.state.config).with_idle(wire.idle.clone());
        // Application code is contained where it is called; this is for mistakes of our own.
        let end = contain::catch("connection", || block_on(wire.exchanges(&mut inbound)));
        wire.cut(!matches!(end, Ok(End::Close)));
        drop(inbound);
        lock(&wire.state.wires).remove(&(peer, local));
        let _ = reader.join();
    }

    /// Reads until the end of the client's stream.
    fn read(&self, mut socket: &TcpStream, pieces: &BodySender) {
        let mut piece = vec![0; 16 * 1024];
        let _was_reset = loop {
            match socket.read(&mut piece) {
                Ok(count @ 1..) => {
                    let piece = Bytes::copy_from_slice(&piece[..count]);
                    // [REQ-16] waits while nobody takes it, and asks the socket meanwhile: [DIS-01c]
                    let reset = async {
                        while matches!(socket.take_error(), Ok(None)) {
                            self.state.serving.runtime.sleep(Duration::from_millis(50)).await;
                        }
                        self.broken.fire();
                    };
                    let taken = async { pieces.send(piece).await.unwrap_or(()) };
                    block_on(or(taken, or(self.broken.fired(), reset)));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) => break false,
                Err(_) => break self.broken.fire(),
            }
        };
        self.facts.disconnected.fire(); // [DIS-01a]
    }

    fn write(&self, octets: &[u8]) -> Result<(), End> {
        let _writing = lock(&self.writing);
        let socket = lock(&self.socket).clone().ok_or(End::Reset)?;
        (&*socket).write_all(octets).map_err(|_| End::Reset)
    }

    /// Ends the connection, whoever is using it.
    fn cut(&self, reset: bool) {
        let Some(socket) = lock(&self.socket).take() else { return };
        let mut how = Shutdown::Both;
        if reset {
            self.broken.fire();
            let _ = socket2::SockRef::from(&*socket).set_linger(Some(Duration::ZERO)); // [BOD-14b]
            // An orderly end is no part of a reset, but the only way to wake a thread that writes.
            if self.writing.try_lock().is_ok() {
                how = Shutdown::Read;
            }
        }
        let _ = socket.shutdown(how);
    }

    /// Polls the application; an error if the client goes away meanwhile. \[DIS-01\], \[DIS-04\]
    async fn drive<F: Future>(&self, work: F) -> Result<F::Output, End> {
        let gone = async {
            self.facts.disconnected.fired().await;
            or(self.broken.fired(), async { self.state.serving.runtime.sleep(GRACE).await }).await;
            Err(End::Close)
        };
        let (mut work, most) = (pin!(work), self.state.config.threads.unwrap_or(usize::MAX));
        let polled = poll_fn(|cx| {
            let _turn = block_on(self.state.turns.enter(most)); // [CON-07]
            work.as_mut().poll(cx).map(Ok)
        });
        or(gone, polled).await
    }

    /// Serves all requests.
    async fn exchanges(self: &Arc<Self>, inbound: &mut Inbound) -> End {
        loop {
            let Err(end) = self.exchange(inbound).await else { continue };
            let socket = lock(&self.socket).clone();
            if let (End::Close, Some(socket)) = (&end, socket) {
                let _ = socket.shutdown(Shutdown::Write);
                inbound.linger().await; // [KAP-13]
            }
            return end;
        }
    }

    /// Serves one request.
    async fn exchange(self: &Arc<Self>, inbound: &mut Inbound) -> Result<(), End> {
        let head = match inbound.head().await.ok_or(End::Close)? {
            Ok(head) => head,
            Err((rejection, facts)) => {
                self.facts.refused(&rejection, Asked::Nothing);
                return self.answer(rejection.response(), &facts).await; // [ERR-05]
            }
        };
        let mut facts = head.facts;
        let request = Request::from_parts(head.parts, inbound.body(&facts));
        let environ = Environ::new(self.facts.clone(), Instant::now()).with_forwarded(request.headers());
        let (asked, limit) = (dispatch::Asked::of(&request), self.state.config.timeouts.handler);
        let call = dispatch::call(&self.state.application, request, environ);
        let response = self.drive(dispatch::within(&self.state.serving.runtime, limit, asked, call)).await?; // [LIM-09]
        if dispatch::is_unanswerable(&response) {
            return Err(End::Close); // [ERR-12]
        }
        inbound.commit(&mut facts);
        // There are no trailers here, no upgrades and no tunnels. [TRL-05a], [UPG-06], [TGT-15]
        (facts.trailers, facts.upgrade) = (false, false);
        facts.keep_alive &= !facts.is_connect;
        self.answer(response, &facts).await?;
        if inbound.finish().await { Ok(()) } else { Err(End::Close) }
    }

    /// Sends a response.
    async fn answer(&self, response: Response, facts: &Facts) -> Result<(), End> {
        let (head, body, plan) = dispatch::prepare(response, facts, false);
        let mut octets = Vec::new();
        encoder::head(&mut octets, &head, &plan, facts.version, facts.is_head);
        self.write(&octets)?; // [RSP-10]
        match plan.framing {
            _ if !plan.send_body => drop(body), // [NOB-03]
            Framing::Length(length) => self.send(Exact::new(body, length), plan.framing).await?,
            framing => self.send(body, framing).await?,
        }
        if plan.close { Err(End::Close) } else { Ok(()) }
    }

    async fn send<B>(&self, body: B, framing: Framing) -> Result<(), End>
    where
        B: http_body::Body<Data = Bytes, Error = Error>,
    {
        let mut body = pin!(body);
        while let Some(frame) = self.drive(poll_fn(|cx| body.as_mut().poll_frame(cx))).await? {
            let frame = frame.map_err(|error| {
                dispatch::log_broken(&error); // [ERR-04]
                if framing == Framing::Close { End::Reset } else { End::Close } // [BOD-14], [FRM-07]
            });
            let Ok(data) = frame?.into_data() else { continue };
            let mut octets = Vec::new();
            match framing {
                Framing::Chunked => encoder::chunk(&mut octets, &data),
                _ => octets.extend_from_slice(&data),
            }
            self.write(&octets)?; // [BOD-04]
        }
        if framing == Framing::Chunked { self.write(encoder::LAST_CHUNK) } else { Ok(()) }
    }
}

/// Serves the conformance application at the address given, until the process is killed.
#[allow(dead_code, reason = "the tests include this file for the server alone")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    Ok(conformance_tests::serve(&MinimalServer, address.parse()?)?)
}
