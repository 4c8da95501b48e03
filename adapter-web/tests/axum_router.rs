//! What an axum program finds in `axum::serve` is there on every server.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter_core::http::{HeaderMap, StatusCode, Uri};
use adapter_web::observe::Counters;
use adapter_web::{
    Application, Body, DynApplication, Environ, Error, Request, Response, ServerInfo, axum as application,
};
use axum::body::Bytes;
use axum::extract::{ConnectInfo, MatchedPath, Multipart, OriginalUri, Path};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_lite::stream;

use crate::support::{Client, Running, ask, config, each, each_with, start, status};

async fn facts(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<u32>,
    matched: MatchedPath,
    OriginalUri(original): OriginalUri,
    uri: Uri,
    Extension(environ): Extension<Environ>,
) -> String {
    assert_eq!(environ.peer_addr(), Some(peer));
    format!("{} {id} {} {original} {uri} {:?}", peer.ip(), matched.as_str(), environ.mount_prefix())
}

fn router() -> Router {
    let inner = Router::new().route("/items/{id}", get(facts));
    Router::new()
        .route("/", get(|uri: Uri| async move { format!("root {uri}") }))
        .route("/items/{id}", get(facts))
        .nest("/in", inner)
        .fallback(|uri: Uri| async move { (StatusCode::NOT_FOUND, format!("no {uri}")) })
}

#[test]
fn an_application_knows_its_peer_and_its_paths() {
    each(application(router()), |server| {
        let expect = |path, body: &str| assert_eq!(ask(&server, path), (200, body.to_owned()), "{path}");
        expect("/items/7?a=b", "127.0.0.1 7 /items/{id} /items/7?a=b /items/7?a=b \"\"");
        expect("/in/items/7", "127.0.0.1 7 /in/items/{id} /in/items/7 /items/7 \"\"");
    });
}

#[test]
fn a_router_is_an_application_by_itself() {
    let late = || async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        "late"
    };
    each(DynApplication::new(router().route("/late", get(late))), |server| {
        assert_eq!(ask(&server, "/late"), (200, "late".to_owned()), "with tokio");
        assert_eq!(ask(&server, "/in/items/7").0, 200);
    });
}

#[test]
fn the_peer_is_what_a_trusted_proxy_said() {
    let mut config = config();
    config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    each_with(config, application(router()), |server| {
        let mut client = Client::connect(server.addr);
        client.send(b"GET /items/7 HTTP/1.0\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n");
        assert!(client.whole().1.starts_with("192.0.2.7 7 "));
    });
}

/// Where the server does not know who its client is, axum's extractor says so.
#[test]
fn there_may_be_no_peer() {
    let mut config = config();
    config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let peer = |peer: Option<Extension<ConnectInfo<SocketAddr>>>| async move { peer.is_some().to_string() };
    each_with(config, application(Router::new().route("/", get(peer))), |server| {
        let mut client = Client::connect(server.addr);
        client.send(b"GET / HTTP/1.0\r\nHost: a\r\nX-Forwarded-For: unknown\r\n\r\n");
        assert_eq!(client.whole().1, "false", "[HDR-22]");
    });
}

#[test]
fn routes_are_below_the_mount_prefix() {
    let mut config = config();
    config.mount_prefix = "/shop".into();
    each_with(config, application(router()), |server| {
        let expect = |path, status, body: &str| assert_eq!(ask(&server, path), (status, body.to_owned()), "{path}");
        expect("/shop/items/7?a=b", 200, "127.0.0.1 7 /items/{id} /shop/items/7?a=b /items/7?a=b \"/shop\"");
        expect("/shop/in/items/7", 200, "127.0.0.1 7 /in/items/{id} /shop/in/items/7 /items/7 \"/shop\"");
        expect("/shop", 200, "root /");
        expect("/shop?q", 200, "root /?q");
        expect("/shop/", 200, "root /");
        expect("/shop//items/7", 404, "no //items/7");
        expect("/shop/%2e%2e/x?", 404, "no /%2e%2e/x?");
        // outside
        expect("/shopping", 404, "no /shopping");
        expect("/items/7", 200, "127.0.0.1 7 /items/{id} /items/7 /items/7 \"/shop\"");
    });
}

/// Middleware that mounts, by the book: the URI stays whole.
struct Mount<A>(A);

impl<A: Application> Application for Mount<A> {
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        self.0.call(request, environ.mounted_at("/admin")).await
    }

    async fn startup(&self, server: &ServerInfo) -> Result<(), Error> {
        self.0.startup(server).await
    }

    async fn shutdown(&self) -> Result<(), Error> {
        self.0.shutdown().await
    }
}

#[test]
fn and_below_what_middleware_adds_to_it() {
    let mut config = config();
    config.mount_prefix = "/shop".into();
    each_with(config, Mount(application(router())), |server| {
        let body = "127.0.0.1 7 /items/{id} /shop/admin/items/7 /items/7 \"/shop/admin\"";
        assert_eq!(ask(&server, "/shop/admin/items/7"), (200, body.to_owned()));
    });
}

fn reading() -> Router {
    Router::new()
        .route("/bytes", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/string", post(|body: String| async move { body.len().to_string() }))
        .route("/json", post(|Json(value): Json<String>| async move { value.len().to_string() }))
        .route(
            "/multipart",
            post(|mut fields: Multipart| async move {
                while let Some(field) = fields.next_field().await? {
                    field.bytes().await?;
                }
                Ok::<_, axum::extract::multipart::MultipartError>("all")
            }),
        )
        .route(
            "/own",
            post(|body: Result<Bytes, axum::extract::rejection::BytesRejection>| async move {
                body.map_or(StatusCode::IM_A_TEAPOT, |_| StatusCode::OK)
            }),
        )
        .route("/unread", post(|| async { StatusCode::BAD_REQUEST }))
}

fn upload(server: &Running, path: &str, body: &[u8]) -> Client {
    let mut client = Client::connect(server.addr);
    let kind = match path {
        "/json" => "application/json",
        _ => "multipart/form-data; boundary=x",
    };
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(&[head.as_bytes(), body].concat());
    client
}

/// Chunks of a string of JSON, which is a part of a form too.
fn chunks(count: usize) -> Vec<u8> {
    let start = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n";
    let mut all = format!("{:x}\r\n{start}\r\n", start.len()).into_bytes();
    for _ in 0..count {
        all.extend(format!("64\r\n{}\r\n", "a".repeat(100)).bytes());
    }
    all
}

#[test]
fn a_body_that_is_too_large_or_late_or_wrong_has_its_own_status() {
    let mut config = config();
    config.limits.body_bytes = Some(1000);
    config.timeouts.body_read = Some(Duration::from_millis(100));
    each_with(config, application(reading()), |server| {
        for path in ["/bytes", "/string", "/json", "/multipart"] {
            let answer = |body: &[u8]| {
                let head = upload(&server, path, body).head();
                (status(&head), head.to_lowercase().contains("\r\nconnection: close\r\n"))
            };
            assert_eq!(answer(&chunks(20)), (413, true), "{path}: more than 1000");
            assert_eq!(answer(&chunks(1)), (408, true), "{path}: the rest does not come");
            assert_eq!(answer(b"no chunk\r\n"), (400, true), "{path}: no chunk");
        }
        assert_eq!(status(&upload(&server, "/own", &chunks(20)).head()), 418, "the handler's own answer stays");
        assert_eq!(status(&upload(&server, "/unread", &chunks(20)).head()), 400);
        assert_eq!(status(&upload(&server, "/bytes", b"2\r\nhi\r\n0\r\n\r\n").head()), 200);
    });
}

#[test]
fn bodies_and_errors_are_at_home_in_handlers() {
    let finished = Arc::new(Mutex::new(0));
    let count = finished.clone();
    let router = Router::new()
        .route("/bytes", get(|| async { Body::from("bytes") }))
        .route("/empty", get(|| async { Body::empty() }))
        .route("/stream", get(|| async { Body::from_stream(stream::iter(["a", "b"])) }))
        .route(
            "/iterator",
            get(|| async {
                Body::from_iterator(["a", "b"].into_iter().inspect(|_| {
                    // What blocks is not for a thread that polls.
                    tokio::runtime::Handle::current().block_on(tokio::time::sleep(Duration::from_millis(1)));
                }))
            }),
        )
        .route(
            "/file",
            get(|| async { Ok::<_, Error>(Body::from_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))?) }),
        )
        .route(
            "/hook",
            get(move || async move { Body::from("hook").on_finish(move |_, bytes| *count.lock().unwrap() += bytes) }),
        )
        .route("/response", get(|| async { Response::new(Body::from("response")).map(axum::body::Body::from) }))
        .route(
            "/error",
            get(|| async {
                Err::<(), _>(Error::new(io::Error::other("secret")).with_status(StatusCode::SERVICE_UNAVAILABLE))
            }),
        )
        .route("/echo", post(|request: axum::extract::Request| async { Body::from(request.into_body()) }))
        .route(
            "/headers",
            get(|| async {
                (HeaderMap::from_iter([("x-a".parse().unwrap(), "b".parse().unwrap())]), Body::from("x"))
                    .into_response()
            }),
        );
    each(application(router), |server| {
        let expect = |path, status, body: &str| assert_eq!(ask(&server, path), (status, body.to_owned()), "{path}");
        expect("/bytes", 200, "bytes");
        expect("/empty", 200, "");
        expect("/stream", 200, "ab");
        expect("/iterator", 200, "ab");
        expect("/file", 200, include_str!("../Cargo.toml"));
        expect("/hook", 200, "hook");
        expect("/response", 200, "response");
        expect("/error", 503, "Service Unavailable");
        expect("/headers", 200, "x");
        let mut client = Client::connect(server.addr);
        client.send(b"POST /echo HTTP/1.0\r\nHost: a\r\nContent-Length: 4\r\n\r\necho");
        assert_eq!(client.whole().1, "echo");
        server.stop();
    });
    assert_eq!(*finished.lock().unwrap(), 4 * adapter_web::servers().len() as u64);
}

/// What needs tokio works without a further wrapper.
#[test]
fn tokio_is_there() {
    let router = Router::new().route("/", get(|| async { tokio::time::sleep(Duration::from_millis(5)).await }));
    each(application(router), |server| assert_eq!(ask(&server, "/").0, 200));
}

/// \[OBS-04\]
#[test]
fn observers_are_told_the_path_that_matched() {
    for server in adapter_web::servers() {
        let counters = Arc::new(Counters::new());
        let running = start(server, application(router()), config().observe(counters.clone()));
        for (path, status) in [("/", 200), ("/items/7", 200), ("/items/8", 200), ("/in/items/9", 200), ("/else", 404)] {
            assert_eq!(ask(&running, path).0, status, "{path}");
        }
        running.stop();
        let requests = counters.snapshot().requests;
        let mut routes: Vec<_> = requests.iter().map(|it| (it.route.as_deref(), it.durations.count)).collect();
        routes.sort_unstable();
        let expected = [(None, 1), (Some("/"), 1), (Some("/in/items/{id}"), 1), (Some("/items/{id}"), 2)];
        assert_eq!(routes, expected, "{}", server.info().name);
    }
}
