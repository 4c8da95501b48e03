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
    Application, Bind, Body, Bytes, Concurrency, DynApplication, Environ, Error, ListenAddr, RequestBody, RequestBodyError,
    Response, Runtime, ServeError, Server, ServerConfig, ServerHandle, ServerInfo, ShutdownTrigger, contain, dispatch,
};
use http_body::{Body as _, Frame, SizeHint};

/// How often a thread that waits looks around.
const TICK: Duration = Duration::from_millis(10);
/// How long a half-closed client may be kept waiting. \[DIS-04b\]
const GRACE: Duration = Duration::from_millis(250);
/// What is read and thrown away of a body nobody wants. \[REQ-12\], \[KAP-13\]
const DRAINED: u64 = 256 * 1024;

/// The server.
pub struct MinimalServer;

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
        let serving = Serving::new(info, runtime, trigger.clone(), &config);
        let server = Arc::new(State { application, config, serving, trigger: trigger.clone(), threads, open: AtomicUsize::new(0) });
        let acceptors: Vec<_> = listeners.into_iter().map(|(listener, addr)| {
            let server = server.clone();
            thread::spawn(move || server.accept(&listener, addr))
        }).collect();
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
fn hook(name: &'static str, limit: Option<Duration>, future: impl Future<Output = Result<(), Error>>) -> Result<Result<(), Error>, ServeError> {
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
        Box::pin(std::future::poll_fn(move |_| if Instant::now() >= deadline { Poll::Ready(()) } else { Poll::Pending }))
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
            thread::spawn(move || loop {
                let mut jobs = threads.jobs.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(job) = jobs.1.pop_front() else {
                    jobs.0 -= 1;
                    return;
                };
                drop(jobs);
                job();
            });
        }
        Ok(())
    }

    fn may_block(&self) -> bool {
        true
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
