//! The route of a request that axum's handler has not answered: the same on every server, with an access log around it and without. \[OBS-04\]

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter_core::axum as application;
use adapter_web::DynApplication;
use adapter_web::access_log::{AccessLog, Format};
use adapter_web::observe::Counters;
use axum::Router;
use axum::routing::get;

use crate::support::{Client, PATIENCE, config, start};

fn router() -> Router {
    async fn never() {
        std::future::pending::<()>().await;
    }
    async fn panics() -> &'static str {
        panic!("somebody asked")
    }
    Router::new()
        .route("/panics/{id}", get(panics))
        .route("/late/{id}", get(never))
        .route("/left/{id}", get(never))
        .route("/fine/{id}", get(|| async { "fine" }))
}

#[test]
fn who_is_not_answered_has_a_route_too() {
    for server in adapter_web::servers() {
        for is_logged in [false, true] {
            let name = server.info().name;
            let counters = Arc::new(Counters::new());
            let mut config = config().observe(counters.clone());
            config.timeouts.handler = Some(Duration::from_millis(400));
            let plain = DynApplication::new(application(router()));
            let application = match is_logged {
                true => DynApplication::new(AccessLog::new(plain, Format::Events, None)),
                false => plain,
            };
            let server = start(server, application, config);
            for path in ["/panics/1", "/late/1", "/fine/1", "/none"] {
                let mut client = Client::connect(server.addr);
                client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes());
                client.whole();
            }
            let mut client = Client::connect(server.addr);
            client.send(b"GET /left/1 HTTP/1.1\r\nHost: a\r\n\r\n");
            until(|| counters.snapshot().requests_started == 5);
            drop(client);
            until(|| counters.snapshot().requests_ended == 5);
            let mut seen: Vec<_> = counters
                .snapshot()
                .requests
                .iter()
                .map(|it| {
                    let status = it.status.map_or(0, |status| status.as_u16());
                    format!("{} {status} {}", it.route.as_deref().unwrap_or("-"), it.how.name())
                })
                .collect();
            seen.sort();
            let expected = [
                "- 404 complete",
                "/fine/{id} 200 complete",
                "/late/{id} 503 complete",
                "/left/{id} 0 client_gone",
                "/panics/{id} 500 complete",
            ];
            assert_eq!(seen, expected, "{name}, logged: {is_logged}");
            server.stop();
        }
    }
}

fn until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never is");
        std::thread::sleep(Duration::from_millis(1));
    }
}
