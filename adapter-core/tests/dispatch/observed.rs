//! What observers are told of a request. \[OBS-04\] to \[OBS-06\]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter_core::dispatch::{Observed, error_response};
use adapter_core::http::{Extensions, StatusCode};
use adapter_core::observe::{
    ConnectionEnd, Counters, Ending, Observer, RequestEnd, RequestEnded, RequestStarted, Route,
};
use adapter_core::runtime::Driver as _;
use adapter_core::{ServerConfig, TaskError};

use crate::{Still, connection, environ, request};

const SECOND: Duration = Duration::from_secs(1);

/// What was told of requests.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn request_started(&self, request: &RequestStarted<'_>) {
        self.0.lock().unwrap().push(format!("started {} {}", request.head.method, request.scheme()));
    }

    fn request_ended(&self, it: &RequestEnded<'_>) {
        let (status, route) = (it.status.map_or(0, |status| status.as_u16()), it.route.unwrap_or("-"));
        let first = it.to_first.map_or(-1, |first| first.as_secs() as i64);
        let (last, sizes) = (it.to_last.as_secs(), (it.received, it.sent));
        self.0.lock().unwrap().push(format!("{:?} {} {status} {route} {sizes:?} {first} {last}", it.how, it.method));
    }
}

/// What is told of a request that `lives`, to any observer and to counters. Its clock is at ten seconds when it begins.
fn told(lives: impl Fn(Box<Observed>, &Still, &adapter_core::environ::Connection)) -> (Vec<String>, Vec<String>) {
    let (told, counters) = (Arc::new(Told::default()), Arc::new(Counters::new()));
    let mut both = ServerConfig::default().observe(told.clone());
    both = both.observe(counters.clone());
    let alone = Arc::new(Counters::new());
    for config in [both, ServerConfig::default().observe(alone.clone())] {
        let clock = Still::new();
        clock.passes(10 * SECOND);
        let connection = connection(&clock, &config);
        let environ = environ(&connection);
        let observed = Observed::begin(&environ, &request().0, clock.now()).expect("somebody wants to know");
        lives(observed, &clock, &connection);
    }
    let counted = |counters: &Counters| {
        let seen = counters.snapshot();
        assert_eq!((seen.requests_started, seen.requests_ended), (1, 1));
        let one = &seen.requests[0];
        let (sizes, status) =
            ((seen.octets_received, seen.octets_sent), one.status.map_or(0, |status| status.as_u16()));
        let sum = |of: &adapter_core::observe::HistogramSnapshot| of.sum.as_secs();
        let route = one.route.as_deref().unwrap_or("-");
        format!(
            "{:?} {} {status} {route} {sizes:?} {} {}",
            one.how,
            one.method,
            sum(&seen.to_first),
            sum(&one.durations)
        )
    };
    let counted = vec![counted(&counters), counted(&alone)];
    let told = std::mem::take(&mut *told.0.lock().unwrap());
    (told, counted)
}

#[track_caller]
fn assert_told(seen: (Vec<String>, Vec<String>), ended: &str, counted: &str) {
    assert_eq!(seen.0, ["started GET http", ended]);
    assert_eq!(seen.1, [counted, counted]);
}

#[test]
fn nobody_is_told_where_nobody_asks() {
    let clock = Still::new();
    let connection = connection(&clock, &ServerConfig::default());
    assert!(Observed::begin(&environ(&connection), &request().0, clock.now()).is_none());
}

#[test]
fn a_response_in_one_piece() {
    let seen = told(|mut it, clock, _| {
        it.received(3);
        it.received(4);
        it.sent(20);
        it.sent(1);
        clock.passes(2 * SECOND);
        it.answered(StatusCode::CREATED, clock.now());
        it.delivered(clock.now());
    });
    assert_told(seen, "Complete GET 201 - (7, 21) 2 2", "Complete GET 201 - (7, 21) 2 2");
}

#[test]
fn a_response_that_takes_its_time() {
    let seen = told(|mut it, clock, _| {
        clock.passes(2 * SECOND);
        it.answered(StatusCode::OK, clock.now());
        it.sent(5);
        clock.passes(3 * SECOND);
        it.delivered(clock.now());
    });
    assert_told(seen, "Complete GET 200 - (0, 5) 2 5", "Complete GET 200 - (0, 5) 2 5");
}

/// Most do: its head has gone out with its last octet.
#[test]
fn a_response_that_goes_out_at_once() {
    let seen = told(|mut it, clock, _| {
        it.answered_at_once(StatusCode::OK);
        it.sent(5);
        it.received(3);
        clock.passes(2 * SECOND);
        it.delivered(clock.now());
    });
    assert_told(seen, "Complete GET 200 - (3, 5) 2 2", "Complete GET 200 - (3, 5) 2 2");
    let seen = told(|mut it, clock, _| {
        it.answered_at_once(StatusCode::OK);
        clock.passes(2 * SECOND);
    });
    assert_told(seen, "ClientGone GET 200 - (0, 0) 2 2", "ClientGone GET 200 - (0, 0) 2 2");
}

/// \[OBS-12\] a client that takes its time for a whole response does not make its head late.
#[test]
fn a_response_whose_client_takes_its_time() {
    let seen = told(|mut it, clock, _| {
        // There is none yet.
        it.waits(clock.now());
        clock.passes(SECOND);
        it.answered_at_once(StatusCode::OK);
        it.waits(clock.now());
        clock.passes(2 * SECOND);
        it.waits(clock.now());
        clock.passes(3 * SECOND);
        it.delivered(clock.now());
    });
    assert_told(seen, "Complete GET 200 - (0, 0) 1 6", "Complete GET 200 - (0, 0) 1 6");
}

/// \[OBS-07\] also where the answer has reached nobody.
#[test]
fn what_found_no_place_behind_its_call_is_counted_as_refused() {
    for is_delivered in [true, false] {
        let counters = Arc::new(Counters::new());
        let told = Arc::new(Told::default());
        let config = ServerConfig::default().observe(counters.clone()).observe(told.clone());
        let clock = Still::new();
        let connection = connection(&clock, &config);
        let mut it = Observed::begin(&environ(&connection), &request().0, clock.now()).unwrap();
        it.extended(error_response(&TaskError::Refused.into()).extensions());
        it.answered_at_once(StatusCode::SERVICE_UNAVAILABLE);
        it.sent(9);
        if is_delivered {
            it.delivered(clock.now());
        } else {
            drop(it);
        }
        assert_eq!(told.0.lock().unwrap()[1], "Refused GET 503 - (0, 9) 0 0");
        let seen = counters.snapshot();
        assert_eq!((seen.requests_started, seen.requests_ended, seen.requests_turned_away), (1, 1, 1));
        assert_eq!(
            (seen.refused, seen.requests.len(), seen.to_first.count, seen.octets_sent),
            (vec![(503, 1)], 0, 0, 0)
        );
    }
}

#[test]
fn who_asks_for_the_ending_is_told_once() {
    let endings = Arc::<Mutex<Vec<RequestEnd>>>::default();
    let asking = |panics: bool| {
        let (endings, mut extensions) = (endings.clone(), Extensions::new());
        extensions.insert(Ending::new(move |end| {
            endings.lock().unwrap().push(end.how);
            assert!(!panics, "contained");
        }));
        extensions
    };
    let complete = told(|mut it, clock, _| {
        it.extended(&asking(true));
        it.answered_at_once(StatusCode::OK);
        it.delivered(clock.now());
    });
    assert_told(complete, "Complete GET 200 - (0, 0) 0 0", "Complete GET 200 - (0, 0) 0 0");
    let gone = told(|mut it, _, _| it.extended(&asking(false)));
    assert_told(gone, "ClientGone GET 0 - (0, 0) -1 0", "ClientGone GET 0 - (0, 0) 0 0");
    // With two sets of observers each.
    let (complete, gone) = (RequestEnd::Complete, RequestEnd::ClientGone);
    assert_eq!(*endings.lock().unwrap(), [complete, complete, gone, gone]);
}

/// \[OBS-05\] the end is no earlier than the answer.
#[test]
fn times_that_another_counts() {
    let seen = told(|mut it, _, _| {
        it.answered_after(StatusCode::OK, 4 * SECOND);
        it.delivered_after(3 * SECOND);
    });
    assert_told(seen, "Complete GET 200 - (0, 0) 4 4", "Complete GET 200 - (0, 0) 4 4");
    let seen = told(|mut it, _, _| {
        it.answered_after(StatusCode::OK, 4 * SECOND);
        it.meter().received(2);
        it.meter().received(3);
        it.received(10);
        it.delivered_after(3 * SECOND);
    });
    assert_told(seen, "Complete GET 200 - (15, 0) 4 4", "Complete GET 200 - (15, 0) 4 4");
}

#[test]
fn its_route() {
    let seen = told(|mut it, clock, _| {
        let mut extensions = Extensions::new();
        it.extended(&extensions);
        extensions.insert(Route::from("/users/{id}"));
        it.extended(&extensions);
        it.answered(StatusCode::OK, clock.now());
        it.delivered(clock.now());
    });
    assert_told(seen, "Complete GET 200 /users/{id} (0, 0) 0 0", "Complete GET 200 /users/{id} (0, 0) 0 0");
}

#[test]
fn a_body_that_fails() {
    let seen = told(|mut it, clock, _| {
        it.answered(StatusCode::OK, clock.now());
        it.failed();
        it.delivered(clock.now());
    });
    assert_told(seen, "Failed GET 200 - (0, 0) 0 0", "Failed GET 200 - (0, 0) 0 0");
    let seen = told(|mut it, _, _| it.failed());
    assert_told(seen, "Failed GET 0 - (0, 0) -1 0", "Failed GET 0 - (0, 0) 0 0");
}

#[test]
fn one_that_is_given_up() {
    let seen = told(|it, clock, _| {
        clock.passes(6 * SECOND);
        drop(it);
    });
    assert_told(seen, "ClientGone GET 0 - (0, 0) -1 6", "ClientGone GET 0 - (0, 0) 0 6");
    let seen = told(|_it, _, connection| connection.ends(ConnectionEnd::Stalled));
    assert_told(seen, "TimedOut GET 0 - (0, 0) -1 0", "TimedOut GET 0 - (0, 0) 0 0");
    let seen = told(|_it, _, connection| connection.ends(ConnectionEnd::Forced));
    assert_told(seen, "Forced GET 0 - (0, 0) -1 0", "Forced GET 0 - (0, 0) 0 0");
    // It was to be closed behind the response that its client does not take.
    let seen = told(|_it, _, connection| {
        connection.ends(ConnectionEnd::Done);
        connection.ends(ConnectionEnd::Stalled);
        connection.ends(ConnectionEnd::Forced);
    });
    assert_told(seen, "TimedOut GET 0 - (0, 0) -1 0", "TimedOut GET 0 - (0, 0) 0 0");
}

/// Most have the room of one that is over: nothing of that one is left there.
#[test]
fn the_next_one_is_another() {
    let clock = Still::new();
    let told = Arc::new(Told::default());
    let connection = connection(&clock, &ServerConfig::default().observe(told.clone()));
    let mut first = Observed::begin(&environ(&connection), &request().0, clock.now()).unwrap();
    let mut extensions = Extensions::new();
    extensions.insert(Route::from("/first"));
    first.extended(&extensions);
    first.meter().received(100);
    first.received(7);
    first.sent(1000);
    first.failed();
    clock.passes(SECOND);
    first.answered(StatusCode::ACCEPTED, clock.now());
    clock.passes(SECOND);
    first.delivered(clock.now());
    let second = Observed::begin(&environ(&connection), &request().0, clock.now()).unwrap();
    clock.passes(SECOND);
    second.delivered(clock.now());
    let told = told.0.lock().unwrap();
    assert_eq!(told[1], "Failed GET 202 /first (107, 1000) 1 2");
    assert_eq!(told[3], "Complete GET 0 - (0, 0) -1 1");
}
