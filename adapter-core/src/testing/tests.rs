//! The in-process client keeps the rules a server keeps. \[TST-01\]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use futures_lite::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, StatusCode, Version};

use super::{Client, upload};
use crate::{
    Application, BlockingBody, Body, Environ, Error, Outcome, Request, RequestBody, RequestBodyError, Response,
    ServerConfig, ServerInfo, TaskError, blocking,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// Answers by path what the rules have something to say about.
async fn cases(request: Request, _environ: Environ) -> Result<Response, Error> {
    let path = request.uri().path().to_owned();
    let mut response = Response::new(Body::from("four"));
    match path.as_str() {
        "/204" => *response.status_mut() = StatusCode::NO_CONTENT,
        "/205" => *response.status_mut() = StatusCode::RESET_CONTENT,
        "/304" => *response.status_mut() = StatusCode::NOT_MODIFIED,
        "/100" => *response.status_mut() = StatusCode::CONTINUE,
        "/short" => _ = response.headers_mut().insert("content-length", 9.into()),
        "/long" => _ = response.headers_mut().insert("content-length", 2.into()),
        "/nan" => _ = response.headers_mut().insert("content-length", HeaderValue::from_static("x")),
        "/iter" => *response.body_mut() = Body::from_iterator(["fo", "", "ur"]),
        "/error" => return Err("secret".into()),
        "/panic" => panic!("secret"),
        "/uri" => *response.body_mut() = Body::from(format!("{:?} {:?}", request.uri(), request.headers()["host"])),
        _ => {}
    }
    Ok(response)
}

#[test]
fn responses_are_prepared_as_on_a_server() {
    for client in [Client::new(cases), Client::new(cases).on_threads()] {
        let seen = |path: &str| {
            let answer = client.get(path).send();
            (answer.status().as_u16(), answer.header("content-length").map(str::to_owned), answer.text())
        };
        assert_eq!(seen("/"), (200, Some("4".into()), "four".into()));
        assert_eq!(seen("/204"), (204, None, String::new()));
        assert_eq!(seen("/205"), (205, Some("0".into()), String::new()));
        assert_eq!(seen("/304"), (304, None, String::new()));
        assert_eq!(seen("/long"), (200, Some("2".into()), "fo".into()));
        assert_eq!(seen("/iter"), (200, None, "four".into()));
        for broken in ["/100", "/nan", "/error", "/panic"] {
            let (status, _, text) = seen(broken);
            assert_eq!((status, text.as_str()), (500, "Internal Server Error"), "{broken}");
        }
        let short = client.get("/short").send();
        assert_eq!((short.text().as_str(), short.is_complete()), ("four", false));
        assert!(client.get("/iter").send().header("date").is_some());
    }
}

#[test]
fn a_closure_that_panics_before_it_has_made_its_future_is_answered_for() {
    let application = |request: Request, _environ: Environ| {
        assert!(request.headers().contains_key("x-a"), "not even a future");
        async { Ok::<_, Error>(Response::default()) }
    };
    let client = Client::new(application);
    assert_eq!(client.get("/").send().status(), 500);
    assert_eq!(client.get("/").header("x-a", "1").send().status(), 200);
}

#[test]
fn head_has_the_head_of_get_and_no_body() {
    let client = Client::new(cases);
    let answer = client.head("/").send();
    assert_eq!((answer.header("content-length"), answer.text().as_str()), (Some("4"), ""));
    let answer = client.head("/iter").send();
    assert_eq!((answer.header("transfer-encoding"), answer.text().as_str()), (None, ""));
}

#[test]
fn requests_are_checked_and_targets_normalised() {
    let client = Client::new(cases);
    assert_eq!(client.get("/").without_host().send().status(), 400);
    assert_eq!(client.get("/").without_host().version(Version::HTTP_10).send().status(), 200);
    assert_eq!(client.get("/").header("host", "a b").send().status(), 400);
    assert_eq!(client.get("*").send().status(), 400);
    assert_eq!(client.get("/a b").send().status(), 400);
    assert_eq!(client.get("/").header("expect", "tea").send().status(), 417);
    assert_eq!(client.post("/", "x").header("transfer-encoding", "gzip, chunked").send().status(), 501);
    let refused = client.get("http://a:x/").send();
    assert_eq!((refused.status().as_u16(), refused.header("connection")), (400, Some("close")));
    assert_eq!(client.get("http://a.example/uri?q").send().text(), "/uri?q \"a.example\"");
    assert_eq!(client.get("/uri").send().text(), "/uri \"testing\"");
}

#[test]
fn http_1_0_gets_no_chunks_and_a_close() {
    let answer = Client::new(cases).get("/iter").version(Version::HTTP_10).send();
    assert_eq!((answer.header("transfer-encoding"), answer.header("connection")), (None, Some("close")));
    assert_eq!((answer.text().as_str(), answer.version()), ("four", Version::HTTP_10));
}

/// Reads the body and tells what went wrong with it.
async fn count(request: Request, _environ: Environ) -> Result<Response, Error> {
    let mut body = request.into_body();
    let length = body.len();
    let text = body.text(1000).await?;
    let sum = body.trailers().map_or("", |trailers| trailers["x-sum"].to_str().unwrap());
    Ok(Response::new(Body::from(format!("{length:?} {text} {sum}"))))
}

#[test]
fn request_bodies_are_held_to_their_framing() {
    let client = Client::new(count);
    assert_eq!(client.post("/", "12345").send().text(), "Some(5) 12345 ");
    assert_eq!(client.get("/").send().text(), "Some(0)  ");
    assert_eq!(client.post("/", "12345").header("content-length", "3").send().text(), "Some(3) 123 ");
    assert_eq!(client.post("/", "12345").header("content-length", "9").send().status(), 400);
    assert_eq!(client.post("/", RequestBody::failed(RequestBodyError::TimedOut)).send().status(), 408);

    let (feed, body) = upload();
    feed.send("1");
    feed.send("2");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", 3.into());
    trailers.insert("host", HeaderValue::from_static("evil"));
    feed.finish_with_trailers(trailers);
    assert_eq!(client.post("/", body).send().text(), "None 12 3");

    let (feed, body) = upload();
    feed.send("1");
    drop(feed);
    assert_eq!(client.post("/", body).send().status(), 400);
}

#[test]
fn the_body_limit_counts() {
    let mut config = ServerConfig::default();
    config.limits.body_bytes = Some(3);
    let client = Client::new(count).configured(config);
    assert_eq!(client.post("/", "123").send().status(), 200);
    assert_eq!(client.post("/", "1234").send().status(), 413);
    let (feed, body) = upload();
    feed.send("1234");
    feed.finish();
    assert_eq!(client.post("/", body).send().status(), 413);
}

#[test]
fn blocking_code_runs_off_the_calling_thread_only_where_that_must_not_block() {
    fn threads(client: Client) -> Vec<ThreadId> {
        let seen = client.get("/").send();
        assert_eq!(seen.text(), "x");
        let seen = seen.head().extensions.get::<Arc<Mutex<Vec<ThreadId>>>>().unwrap();
        let seen = seen.lock().unwrap();
        seen.clone()
    }
    let application = || {
        blocking(|_request: Request<BlockingBody>, _environ: Environ| {
            let seen = Arc::new(Mutex::new(vec![thread::current().id()]));
            let also = seen.clone();
            let body = std::iter::once("x").inspect(move |_| also.lock().unwrap().push(thread::current().id()));
            let mut response = Response::new(Body::from_iterator(body));
            response.extensions_mut().insert(seen);
            Ok::<_, Error>(response)
        })
    };
    let here = thread::current().id();
    let off = threads(Client::new(application()));
    assert!(off.len() == 2 && off[0] == off[1] && off[0] != here, "one job on one other thread");
    assert_eq!(threads(Client::new(application()).on_threads()), [here, here]);
}

#[test]
fn blocking_work_is_bounded() {
    let (release, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let application = move |_request: Request, environ: Environ| {
        let wait = wait.clone();
        async move {
            let job = || {
                let wait = wait.clone();
                environ.runtime().run_blocking(move || _ = wait.lock().unwrap().recv())
            };
            // One at work, one waiting, no room for a third.
            let (first, second, third) = (job(), job(), job());
            assert_eq!(third.await, Err(TaskError::Refused));
            drop((first, second));
            environ.runtime().run_blocking(|| ()).await?;
            Ok::<_, Error>(Response::default())
        }
    };
    let config = ServerConfig { blocking_threads: 1, blocking_queue: 1, ..ServerConfig::default() };
    let client = Client::new(application).configured(config);
    assert_eq!(client.get("/").send().status(), 503);
    drop(release);
}

#[test]
fn the_runtime_sleeps_spawns_and_times_out() {
    let (told, panicked) = mpsc::channel();
    let application = move |_request: Request, environ: Environ| {
        let told = told.clone();
        async move {
            let runtime = environ.runtime();
            let began = Instant::now();
            runtime.sleep(Duration::from_millis(20)).await;
            assert!(began.elapsed() >= Duration::from_millis(20));
            let never = std::future::pending::<()>();
            assert!(runtime.timeout(Duration::from_millis(10), never).await.is_err());
            assert_eq!(runtime.spawn(async { 7 }).await, Ok(7));
            told.send(runtime.spawn(async { panic!("spawned") }).await).unwrap();
            Ok::<_, Error>(Response::new(Body::from("done")))
        }
    };
    assert_eq!(Client::new(application).get("/").send().text(), "done");
    assert_eq!(panicked.recv_timeout(DEADLINE), Ok(Err::<(), _>(TaskError::Panicked("spawned".into()))));
}

struct Dropped(mpsc::Sender<&'static str>, &'static str);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

#[test]
fn a_client_that_leaves_ends_handler_and_body() {
    let (told, heard) = mpsc::channel();
    let application = move |request: Request, environ: Environ| {
        let told = told.clone();
        async move {
            let guard = Dropped(told.clone(), "handler");
            if request.uri().path() == "/pending" {
                let gone = environ.disconnected();
                told.send("called")?;
                gone.await;
                told.send("disconnected")?;
                std::future::pending::<()>().await;
            }
            drop(guard);
            let guard = Dropped(told.clone(), "body");
            let body = Body::from_stream(stream::once("first").chain(stream::pending()));
            let outcome = move |outcome, bytes| {
                let _guard = guard;
                assert_eq!((outcome, bytes), (Outcome::Aborted, 5));
            };
            Ok::<_, Error>(Response::new(body.on_finish(outcome)))
        }
    };
    let client = Client::new(application);
    let answer = client.get("/pending").open();
    assert_eq!(heard.recv_timeout(DEADLINE), Ok("called"));
    let began = Instant::now();
    answer.disconnect();
    assert!(began.elapsed() >= Duration::from_millis(250), "dropped before its 250 ms were over");
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["disconnected", "handler"]);

    let mut answer = client.get("/").open();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.chunk().unwrap().unwrap(), "first");
    answer.disconnect();
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["handler", "body"]);
}

#[test]
fn dropping_an_async_send_is_a_disconnect() {
    let (told, heard) = mpsc::channel();
    let application = move |_request: Request, environ: Environ| {
        let told = told.clone();
        async move {
            let _ = told.send(environ.disconnected());
            std::future::pending::<Result<Response, Error>>().await
        }
    };
    let mut send = Box::pin(Client::new(application).get("/").send_async());
    let polled = futures_lite::future::block_on(futures_lite::future::poll_once(&mut send));
    assert!(polled.is_none());
    drop(send);
    futures_lite::future::block_on(heard.recv_timeout(DEADLINE).unwrap());
}

struct Hooked {
    startups: AtomicUsize,
    fails: bool,
}

impl Application for Hooked {
    async fn call(&self, _request: Request, environ: Environ) -> Result<Response, Error> {
        environ.shutting_down().await;
        Ok(Response::new(Body::from(self.startups.load(Ordering::SeqCst).to_string())))
    }

    async fn startup(&self, server: &ServerInfo) -> Result<(), Error> {
        assert_eq!(server.local_addrs.len(), 1);
        self.startups.fetch_add(1, Ordering::SeqCst);
        if self.fails { Err("no database".into()) } else { Ok(()) }
    }

    async fn shutdown(&self) -> Result<(), Error> {
        Err("still dirty".into())
    }
}

#[test]
fn hooks_run_once_and_their_errors_come_back() {
    let client = Client::new(Hooked { startups: AtomicUsize::new(0), fails: false });
    client.startup().unwrap();
    let first = client.get("/").open();
    let second = client.clone().get("/").open();
    assert_eq!(client.shutdown().unwrap_err().to_string(), "still dirty");
    assert_eq!((first.finish().text(), second.finish().text()), ("1".into(), "1".into()));

    let client = Client::new(Hooked { startups: AtomicUsize::new(0), fails: true });
    assert_eq!(client.startup().unwrap_err().to_string(), "no database");
    assert_eq!(client.startup().unwrap_err().to_string(), "no database");
}

/// What happened, in order.
struct Ending(Arc<Mutex<Vec<&'static str>>>);

/// Says that it was dropped.
struct Says(Arc<Mutex<Vec<&'static str>>>, &'static str);

impl Drop for Says {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(self.1);
    }
}

impl Application for Ending {
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        let runtime = environ.runtime();
        let says = |what| Says(self.0.clone(), what);
        let endless = |said: Says| async move {
            let _said = said;
            std::future::pending::<()>().await;
        };
        match request.uri().path() {
            "/daemon" => runtime.spawn_daemon(endless(says("dropped"))).detach(),
            "/endless" => runtime.spawn(endless(says("dropped"))).detach(),
            "/blocking" => {
                let ended = says("ended");
                let work = move || {
                    thread::sleep(Duration::from_millis(50));
                    drop(ended);
                };
                runtime.run_blocking(work).detach();
            }
            _ => {
                let (ended, sleep) = (says("ended"), runtime.sleep(Duration::from_millis(50)));
                let work = async move {
                    sleep.await;
                    drop(ended);
                };
                runtime.spawn(work).detach();
            }
        }
        Ok(Response::default())
    }

    async fn shutdown(&self) -> Result<(), Error> {
        self.0.lock().unwrap().push("hook");
        Ok(())
    }
}

#[test]
fn a_shutdown_waits_for_what_was_spawned_as_a_servers_does() {
    let mut config = ServerConfig::default();
    for (path, limit, forced, expected) in [
        ("/", 60_000, false, "ended"),
        ("/blocking", 60_000, false, "ended"),
        ("/daemon", 60_000, false, "dropped"),
        ("/endless", 50, false, "dropped"),
        ("/endless", 60_000, true, "dropped"),
    ] {
        let events = Arc::new(Mutex::new(Vec::new()));
        config.timeouts.graceful_shutdown = Duration::from_millis(limit);
        let client = Client::new(Ending(events.clone())).configured(config.clone());
        assert_eq!(client.get(path).send().status(), 200);
        if forced {
            client.trigger().force();
        }
        client.shutdown().unwrap();
        assert_eq!(*events.lock().unwrap(), [expected, "hook"], "{path}, {limit} ms");
    }
}

#[test]
fn early_hints_go_out_before_the_head_and_not_after() {
    let application = |_request: Request, environ: Environ| async move {
        let Some(hints) = environ.early_hints().cloned() else {
            return Ok(Response::new(Body::from("none")));
        };
        let mut links = HeaderMap::new();
        links.insert("link", HeaderValue::from_static("</style.css>; rel=preload"));
        hints.send(&links)?;
        links.insert("content-length", 1.into());
        assert!(hints.send(&links).is_err());
        let late = std::iter::once_with(move || format!("{:?}", hints.send(&HeaderMap::new())));
        Ok::<_, Error>(Response::new(Body::from_iterator(late)))
    };
    let client = Client::new(application);
    let answer = client.get("/").send();
    assert_eq!((answer.early_hints().len(), answer.text().as_str()), (1, "Err(TooLate)"));
    assert_eq!(client.get("/").version(Version::HTTP_10).send().text(), "none");
}

#[test]
fn configuration_reaches_the_environ() {
    let application = |request: Request, environ: Environ| async move {
        let path = request.uri().path();
        let text = format!(
            "{} {} {:?} {:?}",
            environ.mount_prefix(),
            environ.path_info(path),
            environ.deployed::<u8>(),
            environ.peer_addr().map(|peer| peer.ip())
        );
        Ok::<_, Error>(Response::new(Body::from(text)))
    };
    let mut config = ServerConfig::default().value(7_u8);
    config.mount_prefix = "/app".into();
    config.trusted_proxies = vec![[127, 0, 0, 1].into()];
    let client = Client::new(application).configured(config);
    let answer = client.get("/app/x").header("x-forwarded-for", "192.0.2.7").send();
    assert_eq!(answer.text(), "/app /x Some(7) Some(192.0.2.7)");
}

#[test]
fn a_handler_that_is_late_is_answered_for() {
    let mut config = ServerConfig::default();
    config.timeouts.handler = Some(Duration::from_millis(10));
    let application = |_request: Request, _environ: Environ| std::future::pending::<Result<Response, Error>>();
    assert_eq!(Client::new(application).configured(config).get("/").send().status(), 503);
}

#[test]
fn trailers_need_te() {
    let application = |_request: Request, _environ: Environ| async {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", 1.into());
        trailers.insert("content-length", 1.into());
        Ok::<_, Error>(Response::new(Body::from_iterator(["x"]).with_trailers(trailers)))
    };
    let client = Client::new(application);
    assert!(client.get("/").send().trailers().is_none());
    let answer = client.get("/").header("te", "trailers").send();
    assert_eq!((answer.header("trailer"), answer.trailers().unwrap().len()), (Some("x-sum"), 1));
    let old = client.get("/").header("te", "trailers").version(Version::HTTP_10).send();
    assert!(old.trailers().is_none());
}

/// \[OBS-04\] to \[OBS-07\], as on servers.
#[test]
fn observers_are_told_what_the_client_does() {
    use crate::observe::{Counters, RequestEnd, Route};

    async fn app(request: Request, _environ: Environ) -> Result<Response, Error> {
        if request.uri().path() == "/fails" {
            return Ok(Response::new(Body::from_stream(futures_lite::stream::iter([
                Ok("ab"),
                Err(Error::new("broken")),
            ]))));
        }
        let read = request.into_body().bytes(100).await?;
        let mut response = Response::new(Body::from(read));
        response.extensions_mut().insert(Route::from("/{any}"));
        Ok(response)
    }

    let counters = Arc::new(Counters::new());
    let client = Client::new(app).configured(ServerConfig::default().observe(counters.clone()));
    client.post("/x", "hello").send();
    client.get("/fails").send();
    client.get("/x").header("content-length", "x").send();
    let seen = counters.snapshot();
    assert_eq!((seen.requests_started, seen.requests_active(), seen.octets_received, seen.octets_sent), (2, 0, 5, 7));
    let ended = |how| seen.requests.iter().find(|requests| requests.how == how).unwrap();
    assert_eq!(ended(RequestEnd::Complete).route.as_deref(), Some("/{any}"));
    assert_eq!(ended(RequestEnd::Failed).status, Some(http::StatusCode::OK));
    assert_eq!(seen.refused, [(400, 1)]);
    assert_eq!(seen.connections_open(), 0);
}
