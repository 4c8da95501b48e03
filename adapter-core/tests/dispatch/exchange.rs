//! How long an application has to answer. \[LIM-09\], \[ERR-08\]

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use adapter_core::dispatch::{Call, Exchange, Limit, answered_instead, call, within};
use adapter_core::http::StatusCode;
use adapter_core::observe::{Counters, TimeLimit};
use adapter_core::runtime::Driver as _;
use adapter_core::{Application, Body, DynApplication, Environ, Error, Request, Response, ServerConfig};

use crate::{Grudge, Still, answers, connection, environ, poll, request};

const LIMIT: Duration = Duration::from_secs(3);

async fn never(_: Request, _: Environ) -> Result<Response, Error> {
    std::future::pending().await
}

/// Answers when the clock says so much more, as code that blocks does. What it has answered with learns what it is dropped for.
fn after(clock: &Still, time: Duration, dropped: &Arc<std::sync::Mutex<Option<StatusCode>>>) -> impl Application {
    let (clock, dropped) = (clock.clone(), dropped.clone());
    move |_: Request, _: Environ| {
        let (clock, dropped) = (clock.clone(), dropped.clone());
        async move {
            clock.passes(time);
            let body = Body::from("fine")
                .on_finish(move |_, _| *dropped.lock().unwrap() = answered_instead().map(|own| own.status()));
            Ok::<_, Error>(Response::new(body))
        }
    }
}

/// What an exchange, and what `within`, makes of an application that answers `after` so long.
fn both_answer(time: Duration) -> [(StatusCode, Option<StatusCode>, usize); 2] {
    let by_exchange = |clock: &Still, application: &DynApplication, environ: Environ| {
        let (request, facts) = request();
        let mut exchange = Exchange::begin(application, request, environ, facts, Some(LIMIT), clock.now());
        let mut answer = None;
        assert!(poll(|cx| exchange.poll(cx, || clock.now(), &mut answer)).is_ready());
        answer.unwrap()
    };
    let by_within = |_: &Still, application: &DynApplication, environ: Environ| {
        let (mut request, _) = request();
        let runtime = environ.runtime().clone();
        let limit = Limit::set(Some(LIMIT), runtime.now(), &mut request, &environ);
        let call = call(application, request, environ);
        let mut within = std::pin::pin!(within(&runtime, limit, call));
        let Poll::Ready(answer) = poll(|cx| within.as_mut().poll(cx)) else { panic!("it has answered") };
        answer
    };
    let of = |answer: &dyn Fn(&Still, &DynApplication, Environ) -> Response| {
        let (clock, dropped, counters) = (Still::new(), Arc::default(), Arc::new(Counters::new()));
        let connection = connection(&clock, &ServerConfig::default().observe(counters.clone()));
        let application = DynApplication::new(after(&clock, time, &dropped));
        let status = answer(&clock, &application, environ(&connection)).status();
        let late = counters
            .snapshot()
            .timeouts
            .iter()
            .filter(|(limit, _)| *limit == TimeLimit::Handler)
            .map(|(_, count)| *count)
            .sum::<u64>();
        let dropped = *dropped.lock().unwrap();
        (status, dropped, late as usize)
    };
    [of(&by_exchange), of(&by_within)]
}

#[test]
fn an_answer_that_blocked_beyond_its_time_is_none() {
    assert_eq!(both_answer(LIMIT - Duration::from_nanos(1)), [(StatusCode::OK, None, 0); 2]);
    let late = (StatusCode::SERVICE_UNAVAILABLE, Some(StatusCode::SERVICE_UNAVAILABLE), 1);
    assert_eq!(both_answer(LIMIT), [late; 2]);
    assert_eq!(both_answer(2 * LIMIT), [late; 2]);
}

#[test]
fn who_does_not_answer_is_asked_again_until_its_time_is_over() {
    let clock = Still::new();
    let connection = connection(&clock, &ServerConfig::default());
    let (request, facts) = request();
    let application = DynApplication::new(never);
    let began = clock.now();
    let mut exchange = Exchange::begin(&application, request, environ(&connection), facts, Some(LIMIT), began);
    assert_eq!(exchange.deadline(), Some(began + LIMIT));
    let mut answer = None;
    for time in [Duration::ZERO, LIMIT - Duration::from_nanos(1)] {
        assert!(poll(|cx| exchange.poll(cx, || began + time, &mut answer)).is_pending() && answer.is_none());
    }
    assert!(poll(|cx| exchange.poll(cx, || began + LIMIT, &mut answer)).is_ready());
    assert_eq!(answer.map(|answer| answer.status()), Some(StatusCode::SERVICE_UNAVAILABLE));
}

#[test]
fn within_its_time_too() {
    let clock = Still::new();
    let connection = connection(&clock, &ServerConfig::default());
    let (mut request, _) = request();
    let environ = environ(&connection);
    let runtime = environ.runtime().clone();
    let limit = Limit::set(Some(LIMIT), runtime.now(), &mut request, &environ);
    let call = call(&DynApplication::new(never), request, environ);
    let mut within = std::pin::pin!(within(&runtime, limit, call));
    for time in [Duration::ZERO, LIMIT - Duration::from_nanos(1)] {
        clock.passes(time);
        assert!(poll(|cx| within.as_mut().poll(cx)).is_pending());
    }
    clock.passes(Duration::from_nanos(1));
    let Poll::Ready(answer) = poll(|cx| within.as_mut().poll(cx)) else { panic!("its time is over") };
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn without_a_limit_there_is_no_deadline() {
    let clock = Still::new();
    let connection = connection(&clock, &ServerConfig::default());
    let (request, facts) = request();
    let application = DynApplication::new(answers);
    let mut exchange = Exchange::begin(&application, request, environ(&connection), facts, None, clock.now());
    assert_eq!(exchange.deadline(), None);
    let mut answer = None;
    assert!(poll(|cx| exchange.poll(cx, || clock.now(), &mut answer)).is_ready());
    assert_eq!(answer.map(|answer| answer.status()), Some(StatusCode::OK));
}

#[test]
fn a_call_given_up_contains_what_its_handler_does() {
    let clock = Still::new();
    let connection = connection(&clock, &ServerConfig::default());
    let grudging = |_: Request, _: Environ| async move {
        let _grudge = Grudge;
        std::future::pending::<Result<Response, Error>>().await
    };
    let (request, _) = request();
    let mut call: Call = call(&DynApplication::new(grudging), request, environ(&connection));
    assert!(poll(|cx| call.poll_into(cx, &mut None)).is_pending());
    // Would be a panic of the server.
    drop(call);
}
