//! A connection in memory for the models: its client, its threads, its time. MODELS.md
//!
//! Engine, connection, hyper and h2 are the real ones. What hyper and h2 have of their own takes one step: nobody else gets a turn within
//! it. h2 has a lock around each step, under which it writes to the socket; so only the connection's thread may enter it, and handles on
//! its streams stay there.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use adapter_core::environ::Serving;
use adapter_core::runtime::{BlockingJob, BoxFuture, Driver};
use adapter_core::server::{ShutdownTrigger, Tracker};
use adapter_core::sync::thread;
use adapter_core::sync::{Condvar, Mutex, MutexGuard, block_on, block_on_any, now, pass_to};
use adapter_core::{Application, DynApplication, ListenAddr, Runtime, ServerConfig, ServerInfo};
use hyper::rt::ReadBufCursor;
use memchr::memmem;

use super::io::Shared;
use super::{Engine, Transport};

/// A request by HTTP/2: the client's preface, SETTINGS, and HEADERS of a GET.
pub(super) const HTTP2_GET: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
    \0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a";

/// What the parts of the connection share, for its application.
#[derive(Clone, Default)]
pub(super) struct Parts(Arc<OnceLock<Weak<Shared>>>);

impl Parts {
    pub(super) fn shared(&self) -> Arc<Shared> {
        self.0.get().and_then(Weak::upgrade).expect("the connection is there")
    }
}

/// A connection whose task has a thread.
pub(super) struct World {
    pub(super) client: Client,
    pub(super) engine: Arc<Engine>,
    pub(super) shutdown: ShutdownTrigger,
    pub(super) time: Arc<Time>,
    pub(super) shared: Arc<Shared>,
    task: thread::JoinHandle<Instant>,
}

impl World {
    /// A connection on which `sent` has come.
    pub(super) fn start<A: Application>(sent: &[u8], application: impl FnOnce(Parts) -> A) -> Self {
        Self::by(&ServerConfig::default(), sent, application)
    }

    /// One that waits for its client for ever.
    pub(super) fn patient<A: Application>(sent: &[u8], application: impl FnOnce(Parts) -> A) -> Self {
        let mut config = ServerConfig::default();
        (config.timeouts.header_read, config.timeouts.keep_alive) = (None, None);
        Self::by(&config, sent, application)
    }

    fn by<A: Application>(config: &ServerConfig, sent: &[u8], application: impl FnOnce(Parts) -> A) -> Self {
        let (time, client) = (Arc::<Time>::default(), Client::default());
        client.send(sent);
        let parts = Parts::default();
        let application = DynApplication::new(application(parts.clone()));
        let runtime = Runtime::new(Threads(time.clone()));
        let shutdown = ShutdownTrigger::new();
        let serving = Serving::new(ServerInfo::new("model", "0"), runtime, shutdown.clone(), config);
        let engine = Engine::new(application, serving, config).expect("the settings are the default ones");
        let local = ListenAddr::Tcp(([127, 0, 0, 1], 1).into());
        let connection = engine.connection(Server(client.clone()), None, local, Tracker::default().add());
        let shared = connection.shared.clone();
        parts.0.set(Arc::downgrade(&shared)).expect("there is one connection");
        let ends = time.clone();
        let runs = move || {
            // hyper wakes it where a body is polled, which is under the body's lock.
            block_on_any(connection);
            ends.end();
            now()
        };
        let task = thread::Builder::new().spawn(runs).expect("nothing fails");
        World { client, engine, shutdown, time, shared, task }
    }

    /// Waits for the end of the connection, and says when that was.
    pub(super) fn ended(self) -> Instant {
        self.task.join().expect("it does not panic")
    }
}

/// The client, and what is between it and the server. It takes whatever it is sent.
#[derive(Clone, Default)]
pub(super) struct Client(Arc<Wire>);

#[derive(Default)]
struct Wire {
    state: Mutex<State>,
    /// Something has come for the client.
    came: Condvar,
}

#[derive(Default)]
struct State {
    to_server: Vec<u8>,
    has_ended: bool,
    to_client: Vec<u8>,
    is_closed: bool,
    reader: Option<Waker>,
}

impl Client {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("nobody panics")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    pub(super) fn send(&self, octets: &[u8]) {
        self.change(|state| state.to_server.extend_from_slice(octets));
    }

    /// It sends nothing more.
    pub(super) fn end(&self) {
        self.change(|state| state.has_ended = true);
    }

    /// What has come once there is `what` in it, so many times, or the server has closed the connection.
    pub(super) fn until(&self, what: &[u8], count: usize) -> Vec<u8> {
        let mut state = self.lock();
        while !state.is_closed && memmem::find_iter(&state.to_client, what).count() < count {
            state = self.0.came.wait(state).expect("nobody panics");
        }
        state.to_client.clone()
    }

    /// What has come once there are so many answers of HTTP/1, or the server has closed the connection.
    pub(super) fn answers(&self, count: usize) -> String {
        String::from_utf8(self.until(b"HTTP/1.1 ", count)).expect("it is text")
    }
}

/// The server's end.
struct Server(Client);

impl Transport for Server {
    fn poll_read(&mut self, cx: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock();
        let count = state.to_server.len().min(buffer.remaining());
        if count == 0 && !state.has_ended {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        buffer.put_slice(&state.to_server[..count]);
        state.to_server.drain(..count);
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().to_client.extend_from_slice(bytes);
        self.0.0.came.notify_all();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().is_closed = true;
        self.0.0.came.notify_all();
        Poll::Ready(Ok(()))
    }

    fn was_reset(&self) -> bool {
        false
    }

    fn has_input(&self) -> bool {
        !self.0.lock().to_server.is_empty()
    }

    fn reset_on_close(&mut self) {}
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.0.came.notify_all();
    }
}

/// Time stands still, but where a model has it pass.
#[derive(Default)]
pub(super) struct Time {
    alarms: Mutex<Alarms>,
    changed: Condvar,
}

#[derive(Default)]
struct Alarms {
    last: u64,
    set: BTreeMap<(Instant, u64), Waker>,
    is_over: bool,
}

impl Time {
    fn lock(&self) -> MutexGuard<'_, Alarms> {
        self.alarms.lock().expect("nobody panics")
    }

    /// Has time pass, from alarm to alarm, until the connection has ended.
    pub(super) fn passes(&self) {
        let mut alarms = self.lock();
        while !alarms.is_over {
            let Some(((at, _), waker)) = alarms.set.pop_first() else {
                alarms = self.changed.wait(alarms).expect("nobody panics");
                continue;
            };
            drop(alarms);
            pass_to(at);
            waker.wake();
            alarms = self.lock();
        }
    }

    /// So much passes at once.
    pub(super) fn skips(time: Duration) {
        pass_to(now() + time);
    }

    fn end(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }
}

struct Alarm {
    time: Arc<Time>,
    at: Instant,
    id: u64,
}

impl Future for Alarm {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if now() >= self.at {
            return Poll::Ready(());
        }
        let before = self.time.lock().set.insert((self.at, self.id), cx.waker().clone());
        drop(before);
        self.time.changed.notify_all();
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let waker = self.time.lock().set.remove(&(self.at, self.id));
        drop(waker);
    }
}

/// A thread for each task and job.
struct Threads(Arc<Time>);

impl Driver for Threads {
    fn now(&self) -> Instant {
        now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<()> {
        let mut alarms = self.0.lock();
        alarms.last += 1;
        let id = alarms.last;
        drop(alarms);
        Box::pin(Alarm { time: self.0.clone(), at, id })
    }

    fn spawn(&self, future: BoxFuture<()>) {
        thread::spawn(move || block_on(future));
    }

    fn run_blocking(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        thread::spawn(move || job.run());
        Ok(())
    }
}
