//! The thread that answers, and its connections.
//!
//! All sockets are non-blocking, and `poll` waits for any of them: who is slow holds up nobody. Each turn tries every connection there is,
//! which are a few. A connection is read until its head is whole, written, closed, and read to its end, so that the answer is not lost by
//! a reset; all that within its deadline.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use adapter_core::observe::Counters;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Readiness;
use super::page::{About, page};
use super::request::{Asked, MOST, Refusal, parse};

/// Connections at once.
const CONNECTIONS: usize = 16;
/// From the accept to the end of a connection.
const DEADLINE: Duration = Duration::from_secs(5);
/// Octets that are read behind a head, for what comes with a request that is not to be answered.
const REST: usize = 64 << 10;
/// How long nothing is accepted after that has failed, mostly for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the end of the process waits for those that are connected.
const LAST: Duration = Duration::from_millis(500);

/// What there is to tell.
pub(crate) struct Site {
    pub(crate) counters: Arc<Counters>,
    pub(crate) about: About,
    pub(crate) readiness: Box<dyn Fn() -> Readiness + Send>,
}

/// Listeners, and the thread that answers there. It ends when this is dropped.
pub(crate) struct Endpoint {
    /// An octet lets go of the listeners; the end of it ends the thread.
    wake: Arc<UnixStream>,
    /// Until it is started.
    answering: Option<Answering>,
    thread: Option<JoinHandle<()>>,
}

/// The way to have an [`Endpoint`] let go of its listeners, from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Release(Arc<UnixStream>);

impl Release {
    /// Accepts no more; connections that are open are answered.
    pub(crate) fn release(&self) {
        // Where it is gone there is nothing to let go of.
        let _ = (&*self.0).write_all(b"l");
    }
}

impl Endpoint {
    /// For `listeners`, which nobody answers at before [`start`](Self::start).
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn new(listeners: Vec<TcpListener>, site: Site) -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        for listener in &listeners {
            listener.set_nonblocking(true)?;
        }
        let answering = Answering { woken, listeners, connections: Vec::new(), accepts: None, ends: false, site };
        Ok(Endpoint { wake: Arc::new(wake), answering: Some(answering), thread: None })
    }

    /// Starts the thread, if it is not yet.
    ///
    /// # Errors
    /// No thread can be had.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        if let Some(answering) = self.answering.take() {
            self.thread = Some(thread::Builder::new().name("adapter-metrics".into()).spawn(move || answering.run())?);
        }
        Ok(())
    }

    pub(crate) fn release(&self) -> Release {
        Release(self.wake.clone())
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let _ = self.wake.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            // It does not panic, and if it did there would be nothing to do about it here.
            let _ = thread.join();
        }
    }
}

struct Answering {
    woken: UnixStream,
    listeners: Vec<TcpListener>,
    /// The oldest first.
    connections: Vec<Connection>,
    /// When to accept again; `None` is at any time.
    accepts: Option<Instant>,
    /// Nothing more is said by `woken`.
    ends: bool,
    site: Site,
}

struct Connection {
    stream: TcpStream,
    deadline: Instant,
    phase: Phase,
}

enum Phase {
    Reading(Vec<u8>),
    Writing {
        answer: Vec<u8>,
        written: usize,
    },
    /// The answer is sent; so much may still come.
    Closing(usize),
}

impl Answering {
    fn run(mut self) {
        loop {
            self.wait();
            let mut said = [0];
            match self.woken.read(&mut said) {
                Ok(0) => return self.finish(),
                Ok(_) => self.listeners.clear(),
                Err(error) if is_to_come(&error) => {}
                Err(_) => return,
            }
            let now = Instant::now();
            self.accepts.take_if(|at| *at <= now);
            if self.accepts.is_none() {
                self.accept(now);
            }
            let site = &self.site;
            self.connections.retain_mut(|connection| connection.deadline > now && connection.go_on(site));
        }
    }

    /// The process ends: who is connected is answered, within a moment.
    fn finish(&mut self) {
        self.listeners.clear();
        self.ends = true;
        let until = Instant::now() + LAST;
        self.connections.iter_mut().for_each(|connection| connection.deadline = connection.deadline.min(until));
        loop {
            let (now, site) = (Instant::now(), &self.site);
            self.connections.retain_mut(|connection| connection.deadline > now && connection.go_on(site));
            if self.connections.is_empty() {
                return;
            }
            self.wait();
        }
    }

    /// Waits until there is something to do.
    fn wait(&self) {
        let woken = PollFd::from_borrowed_fd(self.woken.as_fd(), PollFlags::IN);
        let mut fds: Vec<_> = (!self.ends).then_some(woken).into_iter().collect();
        if self.accepts.is_none() {
            fds.extend(self.listeners.iter().map(|listener| PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)));
        }
        fds.extend(self.connections.iter().map(|connection| {
            let writes = matches!(connection.phase, Phase::Writing { .. });
            let flags = if writes { PollFlags::OUT } else { PollFlags::IN };
            PollFd::from_borrowed_fd(connection.stream.as_fd(), flags)
        }));
        let deadline = self.connections.iter().map(|connection| connection.deadline).chain(self.accepts).min();
        // Up to the next millisecond, or it would wake too early, and at once again.
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        // It fails where it is interrupted: everything is tried then.
        let _ = poll(&mut fds, left.as_ref());
    }

    fn accept(&mut self, now: Instant) {
        for listener in &self.listeners {
            // A few each turn, so that those that are there come to their turn under any load.
            for _ in 0..CONNECTIONS / 4 {
                match listener.accept().and_then(|(stream, _)| stream.set_nonblocking(true).map(|()| stream)) {
                    Ok(stream) => {
                        if self.connections.len() >= CONNECTIONS {
                            self.connections.remove(0);
                        }
                        let phase = Phase::Reading(Vec::new());
                        self.connections.push(Connection { stream, deadline: now + DEADLINE, phase });
                    }
                    Err(error) if is_to_come(&error) => break,
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(_) => {
                        self.accepts = Some(now + PAUSE);
                        return;
                    }
                }
            }
        }
    }
}

/// Whether an attempt that failed so is to be made again when `poll` says so.
fn is_to_come(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl Connection {
    /// Goes as far as it can, and says whether there is more to come.
    fn go_on(&mut self, site: &Site) -> bool {
        loop {
            match self.step(site) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(error) => return is_to_come(&error),
            }
        }
    }

    /// One attempt; `false` at the end.
    fn step(&mut self, site: &Site) -> io::Result<bool> {
        let mut piece = [0; 2048];
        match &mut self.phase {
            Phase::Reading(octets) => {
                let count = self.stream.read(&mut piece)?;
                octets.extend_from_slice(piece.get(..count).unwrap_or_default());
                let answer = match parse(octets) {
                    Ok(None) => return Ok(count > 0),
                    Ok(Some(asked)) => site.answer(&asked),
                    Err(refusal) => refused(&refusal),
                };
                self.phase = Phase::Writing { answer, written: 0 };
            }
            Phase::Writing { answer, written } => {
                match self.stream.write(answer.get(*written..).unwrap_or_default())? {
                    0 => {
                        self.stream.shutdown(Shutdown::Write)?;
                        self.phase = Phase::Closing(REST);
                    }
                    count => *written += count,
                }
            }
            Phase::Closing(left) => match self.stream.read(&mut piece)? {
                0 => return Ok(false),
                count => match left.checked_sub(count) {
                    Some(less) => *left = less,
                    None => return Ok(false),
                },
            },
        }
        Ok(true)
    }
}

impl Site {
    fn answer(&self, asked: &Asked) -> Vec<u8> {
        const PLAIN: &str = "text/plain; charset=utf-8";
        let (status, kind, body) = match &*asked.path {
            "/metrics" => {
                let page = page(&self.about, &self.counters.snapshot(), asked.format);
                ("200 OK", asked.format.content_type(), page)
            }
            "/healthz" => ("200 OK", PLAIN, "alive\n".into()),
            "/readyz" => {
                let readiness = (self.readiness)();
                let is_ready = readiness == Readiness::Serving;
                let status = if is_ready { "200 OK" } else { "503 Service Unavailable" };
                (status, PLAIN, format!("{}\n", readiness.name()))
            }
            _ => ("404 Not Found", PLAIN, "there are /metrics, /healthz and /readyz\n".into()),
        };
        let mut answer = head(status, kind, "", body.len());
        if !asked.is_head {
            answer.extend_from_slice(body.as_bytes());
        }
        answer
    }
}

fn refused(refusal: &Refusal) -> Vec<u8> {
    let (status, more) = match refusal {
        Refusal::BadRequest => ("400 Bad Request", ""),
        Refusal::MethodNotAllowed => ("405 Method Not Allowed", "Allow: GET, HEAD\r\n"),
        Refusal::TooLarge => ("431 Request Header Fields Too Large", ""),
    };
    head(status, "text/plain; charset=utf-8", more, 0)
}

fn head(status: &str, kind: &str, more: &str, length: usize) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n{more}\
         Connection: close\r\n\r\n"
    )
    .into_bytes()
}

// A head that is not whole is no larger than this, and what is answered is the page.
const _: () = assert!(MOST + 2048 < REST);
