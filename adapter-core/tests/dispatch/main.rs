//! Calling an application: what it gets wrong is answered and logged, once. \[ERR-01\], \[ERR-02\]

#![allow(clippy::unwrap_used, reason = "a test")]

mod exchange;
mod observed;
mod outgoing;
mod responses;

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use adapter_core::environ::{Connection, Serving};
use adapter_core::http::StatusCode;
use adapter_core::rules::request::{Facts, check};
use adapter_core::runtime::{BlockingJob, BoxFuture, Driver, Runtime};
use adapter_core::server::{ListenAddr, ServerInfo, ShutdownTrigger};
use adapter_core::testing::Client;
use adapter_core::{
    Application, Body, DynApplication, Environ, Error, Limits, Request, RequestBody, Response, ServerConfig,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps what the adapter logs at one level.
#[derive(Clone)]
struct Logged(Level, Arc<Mutex<Vec<String>>>);

impl Logged {
    /// How many lines `what` logs at `level`.
    fn by<T>(level: Level, what: impl FnOnce() -> T) -> (T, usize) {
        let (done, lines) = Self::lines(level, what);
        (done, lines.len())
    }

    /// The messages that `what` logs at `level`.
    fn lines<T>(level: Level, what: impl FnOnce() -> T) -> (T, Vec<String>) {
        let logged = Logged(level, Arc::default());
        let done = tracing::subscriber::with_default(logged.clone(), what);
        let lines = std::mem::take(&mut *logged.1.lock().unwrap());
        (done, lines)
    }
}

impl Subscriber for Logged {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "adapter" && *metadata.level() == self.0
    }

    // Others are asked at the same time, on other threads.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        self.1.lock().unwrap().push(message.0);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The message of an event.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

/// The status `application` answers `GET /` with, and how many errors that logs.
fn outcome(application: impl Application) -> (u16, usize) {
    let client = Client::new(application);
    let (answer, errors) = Logged::by(Level::ERROR, || client.get("/").send());
    (answer.status().as_u16(), errors)
}

/// A clock that goes on when it is told to; nothing runs by it.
#[derive(Clone)]
struct Still(Arc<Mutex<Instant>>);

impl Still {
    fn new() -> Self {
        Still(Arc::new(Mutex::new(Instant::now())))
    }

    fn passes(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

impl Driver for Still {
    fn now(&self) -> Instant {
        *self.0.lock().unwrap()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<()> {
        let clock = self.clone();
        Box::pin(std::future::poll_fn(move |_| if clock.now() < deadline { Poll::Pending } else { Poll::Ready(()) }))
    }

    fn spawn(&self, _: BoxFuture<()>) {}

    fn run_blocking(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        Err(job)
    }
}

/// What a server has of a connection, as `config` says.
fn connection(clock: &Still, config: &ServerConfig) -> Arc<Connection> {
    let runtime = Runtime::new(clock.clone());
    let serving = Serving::new(ServerInfo::new("test", "0"), runtime, ShutdownTrigger::new(), config);
    Arc::new(Connection::new(serving, None, ListenAddr::Tcp(([127, 0, 0, 1], 80).into())))
}

/// What there is of a request on it.
fn environ(connection: &Arc<Connection>) -> Environ {
    Environ::new(connection.clone(), connection.serving.runtime.now())
}

/// A request, and what a server knows of it.
fn request() -> (Request, Facts) {
    let request = http::Request::get("/here").header("host", "a").body(RequestBody::empty()).expect("a request");
    let (head, body) = request.into_parts();
    let facts = check(&head, &Limits::default()).expect("it is in order");
    (Request::from_parts(head, body), facts)
}

/// What a server knows of such a request, changed.
fn with(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = request().1;
    change(&mut facts);
    facts
}

/// Polls once.
fn poll<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    poll(&mut Context::from_waker(std::task::Waker::noop()))
}

type Answered = std::future::Ready<Result<Response, Error>>;

fn panics_before_there_is_a_future(_: Request, _: Environ) -> Answered {
    panic!("before")
}

async fn panics_in_its_future(_: Request, _: Environ) -> Result<Response, Error> {
    panic!("within")
}

async fn fails(_: Request, _: Environ) -> Result<Response, Error> {
    Err(Error::new("a fault"))
}

async fn answers(_: Request, _: Environ) -> Result<Response, Error> {
    Ok(Response::new(Body::from("fine")))
}

/// Panics when it is dropped.
struct Grudge;

impl Drop for Grudge {
    fn drop(&mut self) {
        panic!("dropped")
    }
}

/// Ready with `outcome`; its drop panics.
struct Grudging(Option<Result<Response, Error>>, Grudge);

impl Future for Grudging {
    type Output = Result<Response, Error>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.take().map_or_else(|| panic!("within"), Poll::Ready)
    }
}

/// An application that is no function.
struct Inner<A>(A);

impl<A: Application> Application for Inner<A> {
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        self.0.call(request, environ).await
    }
}

#[test]
fn each_fault_is_answered_and_logged_once() {
    assert_eq!(outcome(answers), (200, 0));
    assert_eq!(outcome(fails), (500, 1));
    assert_eq!(outcome(panics_in_its_future), (500, 1));
    assert_eq!(outcome(panics_before_there_is_a_future), (500, 1));
}

/// \[ERR-09\] whose mistake it is decides, as where a handler returns it.
#[test]
fn what_is_reported_is_an_error_unless_it_is_the_clients() {
    let reporting = |status| {
        move |_: Request, environ: Environ| async move {
            environ.report(Error::new("seen").with_status(status));
            Ok::<_, Error>(Response::new(Body::from("fine")))
        }
    };
    assert_eq!(outcome(reporting(StatusCode::INTERNAL_SERVER_ERROR)), (200, 1));
    assert_eq!(outcome(reporting(StatusCode::NOT_FOUND)), (200, 0));
}

#[test]
fn an_answer_outlives_a_handler_that_can_not_be_dropped() {
    let answering = |_: Request, _: Environ| Grudging(Some(Ok(Response::new(Body::from("fine")))), Grudge);
    assert_eq!(outcome(answering), (200, 1));
    let failing = |_: Request, _: Environ| Grudging(Some(Err(Error::new("no").with_status(StatusCode::GONE))), Grudge);
    assert_eq!(outcome(failing), (410, 1));
    let panicking = |_: Request, _: Environ| Grudging(None, Grudge);
    assert_eq!(outcome(panicking), (500, 2));
}

#[test]
fn also_through_an_application_that_calls_it() {
    assert_eq!(outcome(DynApplication::new(answers)), (200, 0));
    assert_eq!(outcome(DynApplication::new(fails)), (500, 1));
    assert_eq!(outcome(DynApplication::new(panics_in_its_future)), (500, 1));
    assert_eq!(outcome(DynApplication::new(panics_before_there_is_a_future)), (500, 1));
    assert_eq!(outcome(Inner(panics_before_there_is_a_future)), (500, 1));
    assert_eq!(outcome(Inner(DynApplication::new(panics_before_there_is_a_future))), (500, 1));
}
