//! Calling an application: what it gets wrong is answered and logged, once. \[ERR-01\], \[ERR-02\]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use adapter_core::http::StatusCode;
use adapter_core::testing::Client;
use adapter_core::{Application, Body, DynApplication, Environ, Error, Request, Response};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Counts the errors the adapter logs.
#[derive(Clone, Default)]
struct Errors(Arc<AtomicUsize>);

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "adapter" && *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The status `application` answers `GET /` with, and how many errors that logs.
fn outcome(application: impl Application) -> (u16, usize) {
    let errors = Errors::default();
    let client = Client::new(application);
    let answer = tracing::subscriber::with_default(errors.clone(), || client.get("/").send());
    (answer.status().as_u16(), errors.0.load(Ordering::Relaxed))
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
