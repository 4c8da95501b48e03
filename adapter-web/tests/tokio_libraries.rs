//! tokio's libraries on every server, also on those without a runtime of tokio's.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::mpsc;
use std::time::Duration;

use adapter_core::http::StatusCode;
use adapter_core::tokio::application;
use adapter_core::{Application, Body, Environ, Error, Request, Response, ServerInfo, blocking, tower};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use futures_lite::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Handle;
use tower_http::services::ServeDir;
use tower_http::timeout::TimeoutLayer;

use crate::support::{Client, PATIENCE, Running, ask, config, each, start};

const SOON: Duration = Duration::from_millis(5);

#[track_caller]
fn expect(server: &Running, path: &str, body: &str) {
    assert_eq!(ask(server, path), (200, body.to_owned()), "{path}");
}

async fn uses_tokio(request: Request, environ: Environ) -> Result<Response, Error> {
    let body = match request.uri().path() {
        "/sleep" => {
            tokio::time::sleep(SOON).await;
            "slept".into()
        }
        "/timeout" => match tokio::time::timeout(SOON, std::future::pending::<()>()).await {
            Ok(()) => "never".into(),
            Err(elapsed) => elapsed.to_string().into(),
        },
        "/spawn" => tokio::spawn(async { tokio::time::sleep(SOON).await }).await.map(|()| "spawned")?.into(),
        "/spawn_blocking" => tokio::task::spawn_blocking(|| "blocked").await?.into(),
        "/fs" => tokio::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).await?.len().to_string().into(),
        "/net" => {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            let mut near = tokio::net::TcpStream::connect(listener.local_addr()?).await?;
            let (mut far, _) = listener.accept().await?;
            far.write_all(b"through a socket").await?;
            drop(far);
            let mut text = String::new();
            near.read_to_string(&mut text).await?;
            text.into()
        }
        "/stream" => Body::from_stream(futures_lite::stream::unfold(0, |n| async move {
            tokio::time::sleep(SOON).await;
            (n < 3).then(|| (format!("{n}"), n + 1))
        })),
        "/iterator" => Body::from_iterator((0..3).map(|n| {
            Handle::current().block_on(tokio::time::sleep(SOON));
            n.to_string()
        })),
        "/task" => environ.runtime().spawn(async { tokio::time::sleep(SOON).await }).await.map(|()| "done")?.into(),
        "/thread" => {
            let work = || Handle::current().block_on(async { tokio::time::sleep(SOON).await });
            environ.runtime().run_blocking(work).await.map(|()| "done")?.into()
        }
        _ => Body::from("without tokio"),
    };
    Ok(Response::new(body))
}

#[test]
fn handlers_bodies_and_tasks_find_tokio() {
    each(application(uses_tokio), |server| {
        expect(&server, "/", "without tokio");
        expect(&server, "/sleep", "slept");
        expect(&server, "/timeout", "deadline has elapsed");
        expect(&server, "/spawn", "spawned");
        expect(&server, "/spawn_blocking", "blocked");
        let length = include_str!("../Cargo.toml").len().to_string();
        expect(&server, "/fs", &length);
        expect(&server, "/net", "through a socket");
        expect(&server, "/stream", "012");
        expect(&server, "/iterator", "012");
        expect(&server, "/task", "done");
        expect(&server, "/thread", "done");
        server.stop();
    });
}

#[test]
fn so_do_blocking_applications() {
    let sleeps = blocking(|_request: Request<_>, _environ: Environ| {
        Handle::current().block_on(tokio::time::sleep(SOON));
        let rest = (0..3).map(|n| {
            Handle::current().block_on(tokio::time::sleep(SOON));
            n.to_string()
        });
        Ok::<_, Error>(Response::new(Body::from_iterator(rest)))
    });
    each(application(sleeps), |server| expect(&server, "/", "012"));
}

#[test]
fn a_runtime_of_one_thread_will_do() {
    let one = std::num::NonZeroUsize::MIN;
    each(application(uses_tokio).worker_threads(one), |server| {
        for path in ["/sleep", "/spawn", "/net", "/iterator"] {
            assert_eq!(ask(&server, path).0, 200, "{path}");
        }
    });
}

#[test]
fn towers_layers_and_services_find_tokio() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file.txt"), "of a file").unwrap();
    let within = |router: axum::Router<()>| {
        router.layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_millis(50)))
    };
    let slow = axum::Router::new()
        .route("/slow", get(|| async { std::future::pending::<()>().await }))
        .route("/fast", get(|| async { "fast" }));
    let quiet = || async {
        Sse::new(futures_lite::stream::pending::<Result<Event, std::convert::Infallible>>())
            .keep_alive(KeepAlive::new().interval(SOON).text("still here"))
    };
    let router = within(slow).nest_service("/files", ServeDir::new(folder.path())).route("/events", get(quiet));
    each(application(tower::application(router)), |server| {
        expect(&server, "/fast", "fast");
        assert_eq!(ask(&server, "/slow").0, 504);
        expect(&server, "/files/file.txt", "of a file");
        assert_eq!(ask(&server, "/files/nothing").0, 404);
        let mut client = Client::connect(server.addr);
        client.send(b"GET /events HTTP/1.0\r\nHost: a\r\n\r\n");
        client.head();
        assert_eq!(client.exact(28).unwrap(), b": still here\n\n: still here\n\n");
    });
}

#[test]
fn a_timeout_of_towers_own_is_an_error_of_the_application() {
    let router = axum::Router::new()
        .route("/slow", get(|| async { std::future::pending::<()>().await }))
        .route("/fast", get(|| async { "fast" }));
    let service = ::tower::timeout::Timeout::new(router, Duration::from_millis(50));
    each(application(tower::application(service)), |server| {
        expect(&server, "/fast", "fast");
        assert_eq!(ask(&server, "/slow").0, 500);
    });
}

/// Spawns with tokio in each of its hooks and in each drop, and tells what was run.
struct Everywhere {
    told: mpsc::Sender<&'static str>,
    /// What a program brings that worked around a server without tokio.
    _own: tokio::runtime::Runtime,
}

/// Tells from a task of tokio's when it is dropped.
struct OnDrop(mpsc::Sender<&'static str>, &'static str);

impl Drop for OnDrop {
    fn drop(&mut self) {
        tell(&self.0, self.1);
    }
}

fn tell(told: &mpsc::Sender<&'static str>, what: &'static str) {
    // An error panics, and nothing is told.
    let _handle = Handle::current();
    let _ = told.send(what);
}

impl Application for Everywhere {
    async fn call(&self, request: Request, _environ: Environ) -> Result<Response, Error> {
        let _handler = OnDrop(self.told.clone(), "handler dropped");
        tokio::time::sleep(SOON).await;
        if request.uri().path() == "/panic" {
            panic!("as asked");
        }
        let body = OnDrop(self.told.clone(), "body dropped");
        let finished = self.told.clone();
        let chunks = futures_lite::stream::once("body").map(move |chunk| {
            let _body = &body;
            chunk
        });
        let body = Body::from_stream(chunks).on_finish(move |_, _| tell(&finished, "finished"));
        Ok(Response::new(body))
    }

    async fn startup(&self, _server: &ServerInfo) -> Result<(), Error> {
        tokio::time::sleep(SOON).await;
        tell(&self.told, "started");
        Ok(())
    }

    async fn shutdown(&self) -> Result<(), Error> {
        tokio::time::sleep(SOON).await;
        tell(&self.told, "shut down");
        Ok(())
    }
}

impl Drop for Everywhere {
    fn drop(&mut self) {
        tell(&self.told, "application dropped");
    }
}

#[test]
fn hooks_and_drops_find_tokio_and_the_application_may_own_a_runtime() {
    for server in adapter_web::servers() {
        println!("on {}", server.info().name);
        let (told, tell) = mpsc::channel();
        let next = || tell.recv_timeout(PATIENCE).unwrap();
        let own = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let running = start(server, application(Everywhere { told, _own: own }), config());
        assert_eq!(next(), "started");
        expect(&running, "/", "body");
        assert_eq!([next(), next(), next()], ["handler dropped", "body dropped", "finished"]);
        assert_eq!(ask(&running, "/panic").0, 500);
        assert_eq!(next(), "handler dropped");
        running.stop();
        assert_eq!(next(), "shut down");
        assert_eq!(next(), "application dropped");
        assert_eq!(tell.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
    }
}

#[test]
fn an_application_that_panics_when_it_is_dropped_ends_no_server() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("as asked");
        }
    }
    impl Application for Panics {
        async fn call(&self, _request: Request, _environ: Environ) -> Result<Response, Error> {
            Ok(Response::new(Body::from("hi")))
        }
    }
    for server in adapter_web::servers() {
        println!("on {}", server.info().name);
        let running = start(server, application(Panics), config());
        expect(&running, "/", "hi");
        running.stop();
    }
}

#[test]
fn without_the_wrapper_tokio_is_where_the_server_has_it() {
    for server in adapter_web::servers() {
        let name = server.info().name;
        let running = start(server, uses_tokio, config());
        let expected = if ["hyper", "actix"].contains(&&*name) { 200 } else { 500 };
        assert_eq!(ask(&running, "/sleep").0, expected, "on {name}");
    }
}
