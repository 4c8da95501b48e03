//! A request as the observers are told of it, at the times that a server says. \[OBS-05\], \[OBS-12\]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use adapter_core::dispatch::Observed;
use adapter_core::environ::{Connection, Serving};
use adapter_core::http::{self, Extensions, StatusCode};
use adapter_core::observe::{Counters, Ending, Observer, RequestEnd, RequestEnded};
use adapter_core::runtime::{BlockingJob, BoxFuture, Driver};
use adapter_core::{Environ, ListenAddr, Runtime, ServerConfig, ServerInfo, ShutdownTrigger};

/// The time is `now`, and nothing else happens.
struct Stopped(Instant);

impl Driver for Stopped {
    fn now(&self) -> Instant {
        self.0
    }

    fn sleep_until(&self, _deadline: Instant) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }

    fn spawn(&self, _future: BoxFuture<()>) {}

    fn run_blocking(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        Err(job)
    }
}

type Told = (Option<u16>, RequestEnd, Option<Duration>, Duration);

/// What was told of each request.
#[derive(Default)]
struct Seen(Mutex<Vec<Told>>);

impl Observer for Seen {
    fn request_ended(&self, request: &RequestEnded<'_>) {
        let status = request.status.map(|status| status.as_u16());
        self.0.lock().unwrap().push((status, request.how, request.to_first, request.to_last));
    }
}

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What observers are told of a request that `lives`, from that instant on; who counts alone counts the same.
fn told(lives: impl Fn(Box<Observed>, Instant)) -> Told {
    let (seen, counters, alone) = (Arc::new(Seen::default()), Arc::new(Counters::new()), Arc::new(Counters::new()));
    let both = ServerConfig::default().observe(counters.clone()).observe(seen.clone());
    for config in [both, ServerConfig::default().observe(alone.clone())] {
        let start = Instant::now();
        let runtime = Runtime::new(Stopped(start + millis(900)));
        let serving = Serving::new(ServerInfo::new("test", "1"), runtime, ShutdownTrigger::new(), &config);
        let local = ListenAddr::Tcp("127.0.0.1:80".parse().unwrap());
        let environ = Environ::new(Arc::new(Connection::new(serving, None, local)), start);
        let request = http::Request::new(());
        lives(Observed::begin(&environ, &request, start).expect("somebody observes"), start);
    }
    let told = seen.0.lock().unwrap().pop().expect("it has ended");
    for counters in [counters, alone] {
        let snapshot = counters.snapshot();
        assert_eq!((snapshot.requests_started, snapshot.requests_ended), (1, 1));
        let [one] = &snapshot.requests[..] else { panic!("{:?}", snapshot.requests) };
        assert_eq!((one.status.map(|status| status.as_u16()), one.how), (told.0, told.1));
        assert_eq!((one.durations.count, one.durations.sum), (1, told.3));
        let to_first = (snapshot.to_first.count, snapshot.to_first.sum);
        assert_eq!(to_first, told.2.map_or((0, Duration::ZERO), |it| (1, it)));
    }
    told
}

#[test]
fn a_response_that_goes_out_at_once_has_one_time() {
    let told = told(|mut observed, start| {
        observed.answered_at_once(StatusCode::OK);
        observed.delivered(start + millis(20));
    });
    assert_eq!(told, (Some(200), RequestEnd::Complete, Some(millis(20)), millis(20)));
}

#[test]
fn a_client_that_takes_its_time_does_not_make_the_head_late() {
    let told = told(|mut observed, start| {
        observed.answered_at_once(StatusCode::OK);
        observed.waits(start + millis(20));
        observed.waits(start + millis(300));
        observed.delivered(start + millis(500));
    });
    assert_eq!(told, (Some(200), RequestEnd::Complete, Some(millis(20)), millis(500)));
}

#[test]
fn a_body_that_follows_ends_later() {
    let told = told(|mut observed, start| {
        // There is nothing to wait with yet.
        observed.waits(start + millis(10));
        observed.answered(StatusCode::CREATED, start + millis(20));
        observed.waits(start + millis(40));
        observed.delivered(start + millis(500));
    });
    assert_eq!(told, (Some(201), RequestEnd::Complete, Some(millis(20)), millis(500)));
}

#[test]
fn what_is_dropped_ends_now() {
    let gone = told(|observed, _| drop(observed));
    assert_eq!(gone, (None, RequestEnd::ClientGone, None, millis(900)));
    let answered = told(|mut observed, _| observed.answered_at_once(StatusCode::OK));
    assert_eq!(answered, (Some(200), RequestEnd::ClientGone, Some(millis(900)), millis(900)));
}

/// One is used for many requests.
#[test]
fn nothing_is_left_of_the_request_before() {
    told(|mut observed, start| {
        observed.answered(StatusCode::NOT_FOUND, start + millis(7));
        observed.sent(5);
        observed.failed();
        observed.delivered(start + millis(8));
    });
    let told = told(|mut observed, start| {
        observed.answered_at_once(StatusCode::OK);
        observed.delivered(start + millis(1));
    });
    assert_eq!(told, (Some(200), RequestEnd::Complete, Some(millis(1)), millis(1)));
}

#[test]
fn who_asks_for_the_ending_is_told_once() {
    let endings = Arc::<Mutex<Vec<RequestEnd>>>::default();
    let asking = |panics: bool| {
        let (endings, mut extensions) = (endings.clone(), Extensions::new());
        extensions.insert(Ending::new(move |how| {
            endings.lock().unwrap().push(how);
            assert!(!panics, "contained");
        }));
        extensions
    };
    told(|mut observed, start| {
        observed.extended(&asking(true));
        observed.answered_at_once(StatusCode::OK);
        observed.delivered(start);
    });
    told(|mut observed, _| observed.extended(&asking(false)));
    let (complete, gone) = (RequestEnd::Complete, RequestEnd::ClientGone);
    assert_eq!(*endings.lock().unwrap(), [complete, complete, gone, gone]);
}
