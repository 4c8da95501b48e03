//! A complete server in one file: blocking `std::net`, one thread per connection, built on `adapter_core::rules`.
//!
//! Threads: one that accepts per address, one per connection, one per spawned future or blocking job, and one that
//! stops the rest. A connection's thread polls the application and looks at its socket every [`TICK`] in between, so
//! that nothing has to wake it; timers are futures that look at the clock. `spec/IMPLEMENTING.md` walks through it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use adapter_core::body::Exact;
use adapter_core::environ::{Connection, Serving};
use adapter_core::http::{Method, Request, Uri, Version, header};
use adapter_core::request_body::Source;
use adapter_core::rules::{self, request::BodyLength, response::Framing};
use adapter_core::runtime::{BlockingJob, BoxFuture, Driver};
use adapter_core::server::{InheritedSocket, ShutdownLevel};
use adapter_core::signal::Signal;
use adapter_core::{
    Application, Bind, Bytes, Concurrency, DynApplication, Environ, Error, ListenAddr, RequestBody, RequestBodyError,
    Response, Runtime, ServeError, Server, ServerConfig, ServerHandle, ServerInfo, ShutdownTrigger, contain, dispatch,
};
use http_body::{Frame, SizeHint};

/// How often a thread that waits looks around.
const TICK: Duration = Duration::from_millis(10);
/// How long a half-closed client may be kept waiting. \[DIS-04b\]
const GRACE: Duration = Duration::from_millis(250);
/// What is read and thrown away of a body nobody wants. \[REQ-12\], \[KAP-13\]
const DRAINED: u64 = 256 * 1024;

/// The server.
pub(crate) struct MinimalServer;

impl Server for MinimalServer {
    fn info(&self) -> ServerInfo {
        ServerInfo::new("minimal", "0.1").with_concurrency(Concurrency::threads())
    }

    fn start(&self, application: DynApplication, config: ServerConfig) -> Result<ServerHandle, ServeError> {
        config.validate()?;
        config.refuse_unknown_options("minimal", &[])?;
        let listeners = config.binds_or_default().iter().map(listen).collect::<Result<Vec<_>, _>>()?;
        let addrs: Vec<ListenAddr> = listeners.iter().map(|(_, addr)| ListenAddr::Tcp(*addr)).collect();
        let threads = Arc::new(Threads::new(&config));
        let info = self.info().listening(addrs.clone(), Runtime::new(Shared(threads.clone())));
        let trigger = ShutdownTrigger::new();
        let startup = hook("startup", config.timeouts.hooks, application.startup(&info))?; // [LIF-01]
        startup.map_err(ServeError::Startup)?;
        let runtime = Runtime::new(Shared(threads.clone()));
        let one = (config.threads == Some(1)).then(Mutex::default); // [CON-07]
        let serving = Serving::new(info, runtime, trigger.clone(), &config);
        let server = Arc::new(State {
            application,
            config,
            serving,
            trigger: trigger.clone(),
            threads,
            open: AtomicUsize::new(0),
            one,
        });
        let acceptors: Vec<_> = listeners
            .into_iter()
            .map(|(listener, addr)| {
                let server = server.clone();
                thread::spawn(move || server.accept(&listener, addr))
            })
            .collect();
        let stopper = thread::spawn(move || server.stop(acceptors));
        Ok(ServerHandle::new(addrs, trigger, move || stopper.join().expect("invariant: the stopper does not panic")))
    }
}

/// Binds one address.
fn listen(bind: &Bind) -> Result<(TcpListener, SocketAddr), ServeError> {
    let listener = match bind {
        Bind::Tcp(addr) => TcpListener::bind(addr),
        Bind::Inherited(inherited) => match inherited.take() {
            Some(InheritedSocket::Tcp(listener)) => Ok(listener),
            _ => return Err(ServeError::config("binds", "only TCP listeners, each once")),
        },
        _ => return Err(ServeError::config("binds", "only TCP addresses")),
    };
    let bound = listener.and_then(|listener| {
        // `accept` then looks at the shutdown now and then.
        socket2::SockRef::from(&listener).set_read_timeout(Some(TICK))?;
        let addr = listener.local_addr()?;
        Ok((listener, addr))
    });
    bound.map_err(|source| ServeError::Bind { address: bind.to_string(), source })
}

/// Runs a hook of the application, panics contained, for at most `limit`.
fn hook(
    name: &'static str,
    limit: Option<Duration>,
    future: impl Future<Output = Result<(), Error>>,
) -> Result<Result<(), Error>, ServeError> {
    let mut future = pin!(future);
    let deadline = limit.map(|limit| Instant::now() + limit);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match contain::catch(name, || future.as_mut().poll(&mut Context::from_waker(&waker))) {
            Ok(Poll::Ready(outcome)) => return Ok(outcome),
            Err(panic) => return Ok(Err(Error::new(panic))),
            Ok(Poll::Pending) if deadline.is_some_and(|deadline| Instant::now() > deadline) => {
                return Err(ServeError::HookTimeout { hook: name });
            }
            Ok(Poll::Pending) => thread::park_timeout(TICK),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The threads of spawned futures and blocking work.
struct Threads {
    over: AtomicBool,
    alive: AtomicUsize,
    jobs: Mutex<(usize, VecDeque<BlockingJob>)>,
    bounds: (usize, usize),
}

impl Threads {
    fn new(config: &ServerConfig) -> Self {
        let bounds = (config.blocking_threads, config.blocking_queue);
        Threads { over: AtomicBool::new(false), alive: AtomicUsize::new(0), jobs: Mutex::default(), bounds }
    }
}

/// The runtime applications get. \[RTM-01\] to \[RTM-05b\]
struct Shared(Arc<Threads>);

impl Driver for Shared {
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<()> {
        // Whoever polls futures here polls them every TICK.
        Box::pin(std::future::poll_fn(
            move |_| if Instant::now() >= deadline { Poll::Ready(()) } else { Poll::Pending },
        ))
    }

    fn spawn(&self, mut future: BoxFuture<()>) {
        let threads = self.0.clone();
        threads.alive.fetch_add(1, SeqCst);
        thread::spawn(move || {
            let waker = Waker::from(Arc::new(Unpark(thread::current())));
            while future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() && !threads.over.load(SeqCst) {
                thread::park_timeout(TICK);
            }
            drop(future);
            threads.alive.fetch_sub(1, SeqCst);
        });
    }

    fn run_blocking(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        let mut jobs = self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if jobs.0 >= self.0.bounds.0 && jobs.1.len() >= self.0.bounds.1 {
            return Err(job);
        }
        jobs.1.push_back(job);
        if jobs.0 < self.0.bounds.0 {
            jobs.0 += 1;
            let threads = self.0.clone();
            thread::spawn(move || {
                loop {
                    let mut jobs = threads.jobs.lock().unwrap_or_else(PoisonError::into_inner);
                    let Some(job) = jobs.1.pop_front() else {
                        jobs.0 -= 1;
                        return;
                    };
                    drop(jobs);
                    job();
                }
            });
        }
        Ok(())
    }
}

/// What the threads of one server share.
struct State {
    application: DynApplication,
    config: ServerConfig,
    serving: Arc<Serving>,
    trigger: ShutdownTrigger,
    threads: Arc<Threads>,
    open: AtomicUsize,
    one: Option<Mutex<()>>,
}

impl State {
    fn accept(self: Arc<Self>, listener: &TcpListener, local: SocketAddr) {
        while self.trigger.level() == ShutdownLevel::Running {
            if self.open.load(SeqCst) >= self.config.limits.connections {
                thread::sleep(TICK); // [LIM-07] the next one waits in the backlog
                continue;
            }
            match listener.accept() {
                Ok((stream, peer)) => {
                    self.open.fetch_add(1, SeqCst);
                    let server = self.clone();
                    thread::spawn(move || {
                        let _ = contain::catch("connection", || Wire::serve(&server, stream, peer, local));
                        server.open.fetch_sub(1, SeqCst);
                    });
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => thread::sleep(TICK), // [ERR-06]
            }
        }
    }

    /// Waits for the shutdown, the end of what is in flight, and forces it at the deadline.
    fn stop(&self, acceptors: Vec<thread::JoinHandle<()>>) -> Result<(), ServeError> {
        self.trigger.draining().wait();
        acceptors.into_iter().for_each(|acceptor| drop(acceptor.join()));
        let graceful = Instant::now() + self.config.timeouts.graceful_shutdown;
        let mut deadline = graceful + Duration::from_secs(1);
        while self.open.load(SeqCst) > 0 && Instant::now() < deadline {
            if Instant::now() >= graceful {
                self.trigger.force(); // [SHU-06]
            }
            if self.trigger.level() == ShutdownLevel::Forced {
                deadline = deadline.min(Instant::now() + Duration::from_secs(1));
            }
            thread::sleep(TICK);
        }
        self.threads.over.store(true, SeqCst); // [RTM-05b]
        while self.threads.alive.load(SeqCst) > 0 && Instant::now() < deadline + Duration::from_secs(1) {
            thread::sleep(TICK);
        }
        hook("shutdown", self.config.timeouts.hooks, self.application.shutdown())?.map_err(ServeError::Shutdown)
    }
}

/// What is still to come of a request body.
#[derive(Clone, Copy, PartialEq)]
enum Left {
    Sized(u64),
    Size,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    Nothing,
}

/// Why a response can't go on.
enum Stop {
    Gone,
    Late,
}

/// One connection: what was read and not used, and where in the request body it stands.
struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    server: Arc<State>,
    gone: Signal,
    left: Left,
    allowed: u64,
    extensions: usize,
    broken: Option<RequestBodyError>,
    unwanted: bool,
    continue_due: bool,
    reset: bool,
    requests: u64,
    served: Option<u64>,
}

fn lock(wire: &Mutex<Wire>) -> std::sync::MutexGuard<'_, Wire> {
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

impl Wire {
    fn serve(server: &Arc<State>, stream: TcpStream, peer: SocketAddr, local: SocketAddr) {
        let _ = (stream.set_nodelay(true), stream.set_read_timeout(Some(TICK)), stream.set_write_timeout(Some(TICK)));
        let connection = Arc::new(Connection::new(server.serving.clone(), Some(peer), ListenAddr::Tcp(local)));
        let gone = connection.disconnected.clone();
        let wire = Arc::new(Mutex::new(Wire {
            stream,
            buffer: Vec::new(),
            server: server.clone(),
            gone,
            left: Left::Nothing,
            allowed: 0,
            extensions: 0,
            broken: None,
            unwanted: false,
            continue_due: false,
            reset: false,
            requests: 0,
            served: None,
        }));
        while Wire::exchange(&wire, &connection) {}
        let mut wire = lock(&wire);
        if wire.reset {
            let _ = socket2::SockRef::from(&wire.stream).set_linger(Some(Duration::ZERO)); // [BOD-14b]
            return;
        }
        // [KAP-13] end our direction, and read on for a while so that the response is not lost
        let _ = wire.stream.shutdown(Shutdown::Write);
        let until = Instant::now() + Duration::from_secs(1);
        let mut waste = [0; 65536];
        while Instant::now() < until && wire.server.trigger.level() != ShutdownLevel::Forced {
            match wire.stream.read(&mut waste) {
                Ok(0) => return,
                Err(error) if !waits(&error) => return,
                _ => {}
            }
        }
    }

    /// Serves one request; whether there may be another.
    fn exchange(wire: &Arc<Mutex<Wire>>, connection: &Arc<Connection>) -> bool {
        let mut w = lock(wire);
        let server = w.server.clone();
        let mut head = match w.head() {
            Ok(Some(head)) => head,
            Ok(None) => return false,
            Err(status) => return w.refuse(&dispatch::failure(status), false),
        };
        let mut facts = match rules::request::check(&head, &server.config.limits) {
            Ok(facts) => facts,
            Err(rejection) => return w.refuse(&rejection.response(), head.method == Method::HEAD),
        };
        rules::target::normalize(&mut head);
        w.left = match facts.body {
            BodyLength::Sized(0) => Left::Nothing,
            BodyLength::Sized(length) => Left::Sized(length),
            BodyLength::Unknown => Left::Size,
        };
        (w.allowed, w.extensions) = (server.config.limits.body_bytes.unwrap_or(u64::MAX), 0);
        (w.unwanted, w.continue_due) = (false, facts.expects_continue);
        w.requests += 1;
        let number = w.requests;
        w.served = Some(number);
        let body = match w.left {
            Left::Nothing => RequestBody::empty(),
            _ => RequestBody::from_source(Incoming { wire: wire.clone(), request: number, since: None }),
        };
        drop(w);

        let environ = Environ::new(connection.clone(), Instant::now()).with_forwarded(&head.headers);
        let mut call = dispatch::call(&server.application, Request::from_parts(head, body), environ);
        let answer = Wire::wait(wire, server.config.timeouts.handler, |cx| Pin::new(&mut call).poll(cx));
        drop(call);
        let response = match answer {
            Ok(response) => response,
            Err(Stop::Late) => dispatch::failure(adapter_core::http::StatusCode::SERVICE_UNAVAILABLE), // [LIM-09]
            Err(Stop::Gone) => return false,
        };
        if dispatch::is_unanswerable(&response) {
            return false; // [ERR-12]
        }

        let w = lock(wire);
        let last = server.config.limits.requests_per_connection.is_some_and(|limit| number >= limit);
        let drainable = matches!(w.left, Left::Nothing) || matches!(w.left, Left::Sized(left) if left <= DRAINED);
        facts.keep_alive &= server.trigger.level() == ShutdownLevel::Running && server.config.keep_alive && !last;
        // [REQ-12], [EXP-02b], [KAP-11]
        facts.keep_alive &= w.broken.is_none() && !(w.unwanted && (!drainable || w.continue_due)) && !facts.is_connect;
        facts.upgrade = false;
        drop(w);
        let (mut head, mut body) = response.into_parts();
        let plan = rules::response::prepare(&mut head, body.len(), &facts).or_else(|_| {
            (head, body) = dispatch::failure(adapter_core::http::StatusCode::INTERNAL_SERVER_ERROR).into_parts();
            rules::response::prepare(&mut head, body.len(), &facts)
        });
        let Ok(plan) = plan else { return false };
        let chunked = plan.framing == Framing::Chunked && plan.send_body;
        let text = head_text(&head, chunked, !plan.close && facts.version == Version::HTTP_10);
        let _ = contain::catch("drop of a response", || drop(head)); // [ERR-08]
        if lock(wire).write(&text).is_err() {
            return false;
        }
        let runtime = &server.serving.runtime;
        let complete = !plan.send_body
            || match plan.framing {
                Framing::Length(length) => match body.offload(runtime, Some(length)) {
                    Ok(body) => Wire::send(wire, Exact::new(body, length), false, false),
                    Err(_) => false,
                },
                framing => match body.offload(runtime, None) {
                    Ok(body) => Wire::send(wire, body, chunked, framing == Framing::Close),
                    Err(_) => false,
                },
            };
        let mut w = lock(wire);
        w.served = None; // [REQ-15] what reads the request body now gets an error
        complete && !plan.close && w.drain()
    }

    /// Sends a body; whether all of it was.
    fn send<B>(wire: &Mutex<Wire>, body: B, chunked: bool, reset: bool) -> bool
    where
        B: http_body::Body<Data = Bytes, Error = Error>,
    {
        let mut body = pin!(body);
        loop {
            let Ok(next) = Wire::wait(wire, None, |cx| body.as_mut().poll_frame(cx)) else { return false };
            let mut w = lock(wire);
            let sent = match next.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) if chunked => {
                    let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
                    chunk.extend_from_slice(&data);
                    chunk.extend_from_slice(b"\r\n");
                    w.write(&chunk)
                }
                Some(Ok(Ok(data))) => w.write(&data),
                Some(Ok(Err(_trailers))) => Ok(()), // [TRL-05a]
                Some(Err(_)) => {
                    w.reset = reset; // [BOD-14a], [FRM-07]
                    return false;
                }
                None => return !chunked || w.write(b"0\r\n\r\n").is_ok(),
            };
            if sent.is_err() {
                return false;
            }
        }
    }

    /// Polls until it is ready, and looks after the client and the clock in between. \[DIS-01a\] to \[DIS-04c\]
    fn wait<T>(
        wire: &Mutex<Wire>,
        limit: Option<Duration>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Stop> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let (started, mut ended, server) = (Instant::now(), None, lock(wire).server.clone());
        loop {
            let alone = server.one.as_ref().map(|one| one.lock().unwrap_or_else(PoisonError::into_inner));
            if let Poll::Ready(value) = poll(&mut Context::from_waker(&waker)) {
                return Ok(value);
            }
            drop(alone);
            let w = lock(wire);
            let _ = w.stream.set_nonblocking(true);
            let peeked = w.stream.peek(&mut [0]);
            let _ = w.stream.set_nonblocking(false);
            let reset =
                matches!(&peeked, Err(error) if !waits(error)) || w.server.trigger.level() == ShutdownLevel::Forced;
            if reset || (matches!(peeked, Ok(0)) && w.buffer.is_empty()) {
                w.gone.fire();
                if reset || ended.get_or_insert_with(Instant::now).elapsed() >= GRACE {
                    return Err(Stop::Gone);
                }
            }
            drop(w);
            if limit.is_some_and(|limit| started.elapsed() >= limit) {
                return Err(Stop::Late);
            }
            thread::park_timeout(TICK);
        }
    }

    fn refuse(&mut self, response: &Response, head_only: bool) -> bool {
        let status = response.status();
        let text = if head_only { "" } else { status.canonical_reason().unwrap_or("") };
        let head = format!(
            "HTTP/1.1 {} {}\r\ncontent-length: {}\r\nconnection: close\r\n",
            status.as_str(),
            status.canonical_reason().unwrap_or(""),
            text.len()
        );
        let date = rules::date::with_now(|date| String::from_utf8_lossy(date).into_owned());
        let _ = self.write(format!("{head}date: {date}\r\n\r\n{text}").as_bytes());
        false
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut since = Instant::now();
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => (bytes, since) = (&bytes[count..], Instant::now()),
                Err(error) => {
                    let late = self.server.config.timeouts.write.is_some_and(|limit| since.elapsed() > limit); // [LIM-06]
                    if late || !waits(&error) || self.server.trigger.level() == ShutdownLevel::Forced {
                        self.gone.fire();
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads what is there; waits for it at most for a TICK.
    fn fill(&mut self) -> io::Result<usize> {
        let mut piece = [0; 65536];
        let count = self.stream.read(&mut piece)?;
        self.buffer.extend_from_slice(&piece[..count]);
        Ok(count)
    }

    /// The next request head; `None` if there is none any more. \[LIM-01\], \[LIM-02\], \[LIM-04a\], \[KAP-08\]
    fn head(&mut self) -> Result<Option<adapter_core::http::request::Parts>, adapter_core::http::StatusCode> {
        use adapter_core::http::StatusCode as Status;
        let config = &self.server.config.clone();
        let (mut since, mut begun) = (Instant::now(), !self.buffer.is_empty());
        loop {
            let mut fields = vec![httparse::EMPTY_HEADER; config.limits.header_count];
            let mut parsed = httparse::Request::new(&mut fields);
            match parsed.parse(&self.buffer) {
                Ok(httparse::Status::Complete(length)) if length <= config.limits.head_bytes => {
                    let head = parts(&parsed);
                    self.buffer.drain(..length);
                    return head.map(Some).ok_or(Status::BAD_REQUEST);
                }
                Ok(httparse::Status::Partial) if self.buffer.len() < config.limits.head_bytes => {}
                Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Status::REQUEST_HEADER_FIELDS_TOO_LARGE),
                Err(_) => return Err(Status::BAD_REQUEST),
            }
            match self.fill() {
                Ok(0) => return Ok(None),
                Ok(_) if !begun && self.requests > 0 => (begun, since) = (true, Instant::now()),
                Ok(_) => begun = true,
                Err(error) if !waits(&error) => return Ok(None),
                Err(_) => {
                    let fresh = begun || self.requests == 0;
                    let limit = if fresh { config.timeouts.header_read } else { config.timeouts.keep_alive };
                    let level = self.server.trigger.level();
                    if level == ShutdownLevel::Forced || (level == ShutdownLevel::Draining && !begun) {
                        return Ok(None); // [SHU-03], [SHU-04]
                    }
                    if limit.is_some_and(|limit| since.elapsed() > limit) {
                        return if begun { Err(Status::REQUEST_TIMEOUT) } else { Ok(None) };
                    }
                }
            }
        }
    }

    /// Reads the rest of a body nobody wanted; whether it came to its end.
    fn drain(&mut self) -> bool {
        let until = Instant::now() + Duration::from_secs(1);
        self.allowed = self.allowed.min(DRAINED);
        while self.left != Left::Nothing {
            match self.piece() {
                Some(Ok(_)) => {}
                Some(Err(_)) => return false,
                None if Instant::now() > until => return false,
                None => match self.fill() {
                    Ok(0) => return false,
                    Err(error) if !waits(&error) => return false,
                    _ => {}
                },
            }
        }
        true
    }

    /// The next piece of the body in the buffer; `None` if there is none yet. RFC 9112 §7.1
    fn piece(&mut self) -> Option<Result<Frame<Bytes>, RequestBodyError>> {
        let malformed = |what: &str| Some(Err(RequestBodyError::Malformed(what.into())));
        loop {
            match self.left {
                Left::Nothing => return None,
                Left::Sized(left) | Left::Chunk(left) if !self.buffer.is_empty() => {
                    let count = left.min(self.buffer.len() as u64);
                    let data: Bytes = self.buffer.drain(..count as usize).collect::<Vec<_>>().into();
                    let chunk = matches!(self.left, Left::Chunk(_));
                    self.left = match left - count {
                        0 if chunk => Left::ChunkEnd,
                        0 => Left::Nothing,
                        left if chunk => Left::Chunk(left),
                        left => Left::Sized(left),
                    };
                    return Some(Ok(Frame::data(data)));
                }
                Left::ChunkEnd if self.buffer.len() >= 2 => {
                    if !self.buffer.starts_with(b"\r\n") {
                        return malformed("a chunk without its end"); // [REQ-28]
                    }
                    self.buffer.drain(..2);
                    self.left = Left::Size;
                }
                Left::Size if !self.buffer.is_empty() => match httparse::parse_chunk_size(&self.buffer) {
                    _ if !self.buffer[0].is_ascii_hexdigit() => return malformed("a chunk without a size"),
                    _ if bare_lf(&self.buffer) => return malformed("a bare LF in the framing"),
                    Err(_) => return malformed("not a chunk size"),
                    Ok(httparse::Status::Partial) if self.buffer.len() < 8192 => return None,
                    Ok(httparse::Status::Partial) => return malformed("a chunk size without end"), // [LIM-08a]
                    Ok(httparse::Status::Complete((length, size))) => {
                        self.extensions += length.saturating_sub(20);
                        self.buffer.drain(..length);
                        if self.extensions > 16 * 1024 {
                            return malformed("too many chunk extensions"); // [LIM-08a]
                        }
                        if size > self.allowed {
                            return Some(Err(RequestBodyError::TooLarge { limit: self.allowed })); // [LIM-03b]
                        }
                        self.allowed -= size;
                        self.left = if size == 0 { Left::Trailers } else { Left::Chunk(size) };
                    }
                },
                Left::Trailers => {
                    let section = if self.buffer.starts_with(b"\r\n") {
                        Some(2)
                    } else {
                        self.buffer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
                    };
                    let seen = &self.buffer[..section.unwrap_or(self.buffer.len())];
                    if bare_lf(seen) {
                        return malformed("a bare LF in the trailers"); // [REQ-28]
                    }
                    let Some(length) = section else {
                        return if seen.len() < 16 * 1024 { None } else { malformed("too many trailers") }; // [LIM-08b]
                    };
                    let mut fields = [httparse::EMPTY_HEADER; 64];
                    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(seen, &mut fields) else {
                        return malformed("malformed trailers"); // [TRL-03]
                    };
                    let mut map = header::HeaderMap::new();
                    for field in fields {
                        let (Ok(name), Ok(value)) = (
                            header::HeaderName::from_bytes(field.name.as_bytes()),
                            header::HeaderValue::from_bytes(field.value),
                        ) else {
                            return malformed("malformed trailers");
                        };
                        map.append(name, value);
                    }
                    rules::trailers::sanitize(&mut map); // [TRL-02]
                    self.buffer.drain(..length);
                    self.left = Left::Nothing;
                    return Some(Ok(Frame::trailers(map)));
                }
                _ => return None,
            }
        }
    }
}

/// Whether the first LF has no CR before it. \[REQ-28\]
fn bare_lf(text: &[u8]) -> bool {
    text.iter().position(|byte| *byte == b'\n').is_some_and(|at| at == 0 || text[at - 1] != b'\r')
}

/// A parsed head in the types of the `http` crate.
fn parts(parsed: &httparse::Request<'_, '_>) -> Option<adapter_core::http::request::Parts> {
    rules::target::check_raw(parsed.path?.as_bytes()).ok()?; // [TGT-17b]
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
    *request.uri_mut() = Uri::try_from(parsed.path?).ok()?;
    *request.version_mut() = if parsed.version? == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    for field in parsed.headers.iter() {
        let name = header::HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        request.headers_mut().append(name, header::HeaderValue::from_bytes(field.value).ok()?);
    }
    Some(request.into_parts().0)
}

/// The octets of a response head.
fn head_text(head: &adapter_core::http::response::Parts, chunked: bool, keep_alive: bool) -> Vec<u8> {
    let mut text =
        format!("HTTP/1.1 {} {}\r\n", head.status.as_str(), head.status.canonical_reason().unwrap_or("")).into_bytes();
    for (name, value) in &head.headers {
        text.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    if !head.headers.contains_key(header::DATE) {
        rules::date::with_now(|date| text.extend_from_slice(&[b"date: ", date, b"\r\n"].concat())); // [RSP-06]
    }
    text.extend_from_slice(if chunked { b"transfer-encoding: chunked\r\n" } else { b"" });
    text.extend_from_slice(if keep_alive { b"connection: keep-alive\r\n" } else { b"" }); // [KAP-03]
    text.extend_from_slice(b"\r\n");
    text
}

/// A request body, read from its connection when the application asks.
struct Incoming {
    wire: Arc<Mutex<Wire>>,
    request: u64,
    since: Option<Instant>,
}

impl Incoming {
    fn step(&mut self) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let mut w = lock(&self.wire);
        if w.served != Some(self.request) {
            return Poll::Ready(Some(Err(RequestBodyError::Disconnected))); // [REQ-15]
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let mut next = w.piece();
        if next.is_none() && w.left == Left::Nothing {
            return Poll::Ready(None);
        }
        if next.is_none() {
            if std::mem::take(&mut w.continue_due) && w.buffer.is_empty() {
                let _ = w.write(b"HTTP/1.1 100 Continue\r\n\r\n"); // [EXP-01a]
            }
            let _ = w.stream.set_nonblocking(true);
            let got = w.fill();
            let _ = w.stream.set_nonblocking(false);
            let forced = w.server.trigger.level() == ShutdownLevel::Forced;
            let late = w.server.config.timeouts.body_read.is_some_and(|limit| since.elapsed() > limit);
            next = match got {
                Ok(1..) => w.piece(),
                Err(error) if waits(&error) && !forced && !late => None,
                Err(error) if waits(&error) && late => Some(Err(RequestBodyError::TimedOut)),
                _ => {
                    w.gone.fire();
                    Some(Err(RequestBodyError::Disconnected)) // [REQ-10]
                }
            };
            if next.is_none() {
                return if w.left == Left::Nothing { Poll::Ready(None) } else { Poll::Pending };
            }
        }
        if let Some(Err(error)) = &next {
            w.broken = Some(error.clone());
        }
        self.since = None;
        Poll::Ready(next)
    }
}

impl Source for Incoming {
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        self.step()
    }

    fn next_frame(mut self: Pin<&mut Self>) -> Option<Result<Frame<Bytes>, RequestBodyError>> {
        loop {
            match self.step() {
                Poll::Ready(next) => return next,
                Poll::Pending => thread::sleep(TICK / 5),
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match lock(&self.wire).left {
            Left::Sized(left) => SizeHint::with_exact(left),
            Left::Nothing => SizeHint::with_exact(0),
            _ => SizeHint::new(),
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        lock(&self.wire).unwanted = true;
    }
}

/// Serves the conformance application at the address given, until the process is killed.
#[allow(dead_code, reason = "the tests include this file for the server alone")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    Ok(conformance_tests::serve(&MinimalServer, address.parse()?)?)
}
