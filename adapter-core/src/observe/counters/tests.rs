use http::{Method, StatusCode, Version};

use super::series::PLACES;
use super::*;
use crate::observe::RequestEnd;

fn request<'a>(method: &'a Method, status: u16, route: Option<&'a str>, millis: u64) -> RequestEnded<'a> {
    RequestEnded {
        method,
        version: Version::HTTP_11,
        scheme: "http",
        route,
        status: StatusCode::from_u16(status).ok(),
        received: 1,
        sent: 2,
        to_first: Some(Duration::from_millis(millis)),
        to_last: Duration::from_millis(millis),
        how: RequestEnd::Complete,
    }
}

#[test]
fn requests_are_counted_by_what_they_have_in_common() {
    let counters = Counters::new();
    let odd = Method::from_bytes(b"BREW").unwrap();
    for millis in [1, 5, 6, 20_000] {
        counters.request_ended(&request(&Method::GET, 200, None, millis));
    }
    counters.request_ended(&request(&Method::GET, 200, Some("/x"), 1));
    counters.request_ended(&request(&odd, 418, None, 1));
    let snapshot = counters.snapshot();
    let mut found: Vec<_> = snapshot
        .requests
        .iter()
        .map(|it| (it.method, it.status.map(|it| it.as_u16()), it.route.as_deref(), it.durations.count))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [("GET", Some(200), None, 4), ("GET", Some(200), Some("/x"), 1), ("_OTHER", Some(418), None, 1)]);
    let plain = snapshot.requests.iter().find(|it| it.durations.count == 4).unwrap();
    assert_eq!(plain.durations.buckets[..2], [2, 1]);
    assert_eq!(plain.durations.buckets[14], 1);
    assert_eq!(plain.durations.sum, Duration::from_millis(20_012));
    assert_eq!((snapshot.octets_received, snapshot.octets_sent, snapshot.requests_ended), (6, 12, 6));
}

#[test]
fn threads_count_apart_and_are_added_up() {
    let counters = Counters::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    counters.request_started(&started(&Request::default()));
                    counters.request_ended(&request(&Method::GET, 200, Some("/a"), 1));
                }
            });
        }
    });
    let snapshot = counters.snapshot();
    assert_eq!((snapshot.requests_started, snapshot.requests_ended, snapshot.requests_active()), (8000, 8000, 0));
    assert_eq!(snapshot.requests.iter().map(|it| it.durations.count).sum::<u64>(), 8000);
}

type Request = http::Request<()>;

#[derive(Debug)]
struct Nothing;

impl crate::observe::StartedFacts for Nothing {
    fn is_https(&self) -> bool {
        false
    }

    fn peer(&self) -> Option<std::net::SocketAddr> {
        None
    }
}

fn started(request: &Request) -> RequestStarted<'_> {
    RequestStarted::new(request.into(), &Nothing)
}

#[test]
fn more_routes_than_there_is_room_for_are_counted_all_the_same() {
    let counters = Counters::new();
    for route in 0..3 * PLACES {
        counters.request_ended(&request(&Method::GET, 200, Some(&format!("/{route}")), 1));
    }
    let snapshot = counters.snapshot();
    let counted: u64 = snapshot.requests.iter().map(|it| it.durations.count).sum();
    assert_eq!(counted + snapshot.requests_uncategorized, 3 * PLACES as u64);
    assert!(snapshot.requests.len() <= PLACES);
}

#[test]
fn keys_keep_what_is_in_them() {
    for how in RequestEnd::ALL {
        for (status, version) in [(200, Version::HTTP_10), (599, Version::HTTP_2), (999, Version::HTTP_11)] {
            let ended = RequestEnded { how: *how, version, ..request(&Method::TRACE, status, None, 1) };
            let key = Key::begun(ended.method, version, false).ended(ended.status, *how);
            assert_eq!((key.method(), key.status(), key.scheme(), key.how()), ("TRACE", ended.status, "http", *how));
            assert_eq!(
                key.version(),
                match version {
                    Version::HTTP_10 => "1.0",
                    Version::HTTP_2 => "2",
                    _ => "1.1",
                }
            );
        }
    }
}
