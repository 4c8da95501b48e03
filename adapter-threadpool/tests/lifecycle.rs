//! Timeouts, disconnects, hooks and shutdown.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use adapter_core::{
    Application, Body, DynApplication, Environ, Error, Outcome, Request, Response, ServeError, Server, ServerConfig,
    ServerInfo,
};
use adapter_threadpool::ThreadPoolServer;
use support::{DEADLINE, serve, serve_with};

/// Tells when it is dropped.
struct Tell(Sender<&'static str>, &'static str);

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

/// Tells what happens to its handlers and bodies.
fn telling() -> (impl Application, Receiver<&'static str>) {
    let (sender, told) = channel();
    let app = move |request: Request, environ: Environ| {
        let sender = sender.clone();
        async move {
            match request.uri().path() {
                "/pending" => {
                    let _tell = Tell(sender.clone(), "handler dropped");
                    let _ = sender.send("called");
                    environ.disconnected().await;
                    let _ = sender.send("disconnected");
                    std::future::pending::<()>().await;
                }
                "/answer-late" => {
                    environ.disconnected().await;
                    environ.runtime().sleep(Duration::from_millis(50)).await;
                }
                "/endless" => {
                    let tell = Tell(sender.clone(), "body dropped");
                    let (feed, body) = Body::channel(1);
                    let runtime = environ.runtime().clone();
                    environ
                        .runtime()
                        .spawn(async move {
                            let _tell = tell;
                            while feed.send("tick\n").await.is_ok() {
                                runtime.sleep(Duration::from_millis(10)).await;
                            }
                        })
                        .detach();
                    return Ok(Response::new(body));
                }
                "/silent" => {
                    let (feed, body) = Body::channel(1);
                    let told = sender.clone();
                    let body = body.on_finish(move |outcome, _| {
                        assert_eq!(outcome, Outcome::Aborted);
                        let _ = told.send("finished");
                    });
                    let _ = sender.send("called");
                    environ
                        .runtime()
                        .spawn(async move {
                            let _feed = feed;
                            std::future::pending::<()>().await;
                        })
                        .detach();
                    return Ok(Response::new(body));
                }
                "/slow" => environ.runtime().sleep(Duration::from_millis(300)).await,
                "/until-shutdown" => {
                    let _ = sender.send("called");
                    environ.shutting_down().await;
                }
                _ => {}
            }
            Ok::<_, Error>(Response::new(Body::from("done")))
        }
    };
    (app, told)
}

fn next(told: &Receiver<&'static str>) -> &'static str {
    told.recv_timeout(DEADLINE).unwrap()
}

#[test]
fn an_abandoned_handler_is_told_and_then_dropped() {
    let (app, told) = telling();
    let server = serve(app);
    let mut client = server.connect();
    client.get("/pending");
    assert_eq!(next(&told), "called");
    drop(client);
    assert_eq!(next(&told), "disconnected");
    assert_eq!(next(&told), "handler dropped");
}

#[test]
fn a_reset_drops_the_handler_too() {
    let (app, told) = telling();
    let server = serve(app);
    let mut client = server.connect();
    client.get("/pending");
    assert_eq!(next(&told), "called");
    let fd = std::os::fd::AsFd::as_fd(&client.stream);
    rustix::net::sockopt::set_socket_linger(fd, Some(Duration::ZERO)).unwrap();
    drop(client);
    assert!(["disconnected", "handler dropped"].contains(&next(&told)));
}

#[test]
fn half_closed_clients_get_their_answer() {
    let (app, _told) = telling();
    let server = serve(app);
    let mut client = server.connect();
    client.get("/");
    client.get("/answer-late");
    client.get("/");
    client.half_close();
    for _ in 0..3 {
        assert_eq!(client.answer().text(), "done");
    }
    client.closed();
}

#[test]
fn an_abandoned_body_is_dropped() {
    let (app, told) = telling();
    let server = serve(app);
    for path in ["/endless", "/silent"] {
        let mut client = server.connect();
        client.get(path);
        assert_eq!(client.head().0, 200);
        if path == "/endless" {
            assert_eq!(client.chunk().unwrap(), b"tick\n");
        } else {
            assert_eq!(next(&told), "called");
        }
        drop(client);
        assert_eq!(next(&told), if path == "/endless" { "body dropped" } else { "finished" });
    }
}

#[test]
fn timeouts_close_idle_and_slow_connections() {
    let mut config = ServerConfig::default();
    config.timeouts.header_read = Some(Duration::from_millis(150));
    config.timeouts.keep_alive = Some(Duration::from_millis(300));
    config.timeouts.handler = Some(Duration::from_millis(100));
    let (app, told) = telling();
    let server = serve_with(app, config);
    let mut silent = server.connect();
    let took = silent.closed();
    assert!(took > Duration::from_millis(100) && took < Duration::from_secs(2), "{took:?}");
    let mut slow = server.connect();
    slow.send("GET / HT");
    let answer = slow.answer();
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
    slow.closed();
    let mut idle = server.connect();
    idle.get("/");
    assert_eq!(idle.answer().status, 200);
    let took = idle.closed();
    assert!(took > Duration::from_millis(250) && took < Duration::from_secs(2), "{took:?}");
    // [LIM-09]
    let mut late = server.connect();
    late.get("/pending");
    assert_eq!(late.answer().status, 503);
    assert_eq!((next(&told), next(&told)), ("called", "handler dropped"));
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let mut config = ServerConfig::default();
    config.timeouts.write = Some(Duration::from_millis(200));
    let (told, dropped) = channel();
    let told = std::sync::Mutex::new(told);
    let app = move |_request: Request, _environ: Environ| {
        let tell = Tell(told.lock().unwrap().clone(), "body dropped");
        async move {
            let endless = std::iter::repeat_with(move || {
                let _ = &tell;
                vec![b'x'; 100_000]
            });
            Ok::<_, Error>(Response::new(Body::from_iterator(endless)))
        }
    };
    let server = serve_with(app, config);
    let mut client = server.connect();
    client.get("/");
    assert_eq!(next(&dropped), "body dropped");
}

#[test]
fn shutdown_closes_the_idle_and_completes_the_rest() {
    let (app, told) = telling();
    let server = serve(app);
    let mut idle = server.connect();
    idle.get("/");
    assert_eq!(idle.answer().status, 200);
    let mut fresh = server.connect();
    let mut busy = server.connect();
    busy.get("/until-shutdown");
    assert_eq!(next(&told), "called");
    let addr = server.addr;
    let handle = server.take();
    let start = Instant::now();
    handle.trigger().trigger();
    idle.closed();
    fresh.closed();
    let answer = busy.answer();
    assert_eq!((answer.text(), answer.header("connection")), ("done", Some("close")));
    drop(busy);
    handle.wait().unwrap();
    assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
    // [SHU-09]
    let again = std::net::TcpListener::bind(addr);
    assert!(again.is_ok(), "{again:?}");
}

#[test]
fn the_deadline_and_a_second_trigger_force_the_end() {
    for second in [false, true] {
        let mut config = ServerConfig::default();
        config.timeouts.graceful_shutdown = Duration::from_millis(if second { 60_000 } else { 100 });
        let (app, told) = telling();
        let server = serve_with(app, config);
        let mut endless = server.connect();
        endless.get("/endless");
        assert_eq!(endless.head().0, 200);
        let mut pending = server.connect();
        pending.get("/pending");
        assert_eq!(next(&told), "called");
        let handle = server.take();
        let start = Instant::now();
        handle.trigger().trigger();
        if second {
            handle.trigger().trigger();
        }
        handle.wait().unwrap();
        assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
        let told: Vec<_> = told.try_iter().collect();
        assert!(told.contains(&"handler dropped") && told.contains(&"body dropped"), "{told:?}");
        assert!(!endless.rest().ends_with(b"0\r\n\r\n"), "[FRM-07]");
    }
}

struct Hooked {
    fail: bool,
    started: AtomicBool,
    stopped: Sender<&'static str>,
}

impl Application for Hooked {
    async fn call(&self, _request: Request, _environ: Environ) -> Result<Response, Error> {
        Ok(Response::new(Body::from(self.started.load(Ordering::SeqCst).to_string())))
    }

    async fn startup(&self, server: &ServerInfo) -> Result<(), Error> {
        assert_eq!(server.local_addrs.len(), 1);
        let runtime = server.runtime.clone().ok_or("no runtime")?;
        runtime.sleep(Duration::from_millis(10)).await;
        if self.fail {
            Err("it won't")?;
        }
        self.started.store(true, Ordering::SeqCst);
        Ok(())
    }

    async fn shutdown(&self) -> Result<(), Error> {
        let _ = self.stopped.send("stopped");
        Err("reported".into())
    }
}

#[test]
fn hooks_run_once_and_their_errors_are_reported() {
    let (stopped, told) = channel();
    let hooked = |fail| Hooked { fail, started: AtomicBool::new(false), stopped: stopped.clone() };
    let server = serve(Arc::new(hooked(false)));
    assert_eq!(server.get("/").text(), "true");
    assert!(told.try_recv().is_err());
    let result = server.take().stop();
    assert!(matches!(result, Err(ServeError::Shutdown(_))), "{result:?}");
    assert_eq!(next(&told), "stopped");

    let config = ServerConfig::default().bind("127.0.0.1:0".parse().unwrap());
    let result = ThreadPoolServer::new().start(DynApplication::new(hooked(true)), config);
    assert!(matches!(result, Err(ServeError::Startup(_))));
    assert!(told.try_recv().is_err(), "no shutdown hook without a startup");
}

#[test]
fn unix_sockets_and_unknown_options() {
    use std::io::{Read, Write};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let config = ServerConfig::default().bind(format!("unix:{}", path.display()).parse().unwrap());
    let app = |_request: Request, environ: Environ| async move {
        Ok::<_, Error>(Response::new(Body::from(format!("{:?}", environ.peer_addr()))))
    };
    let handle = ThreadPoolServer::new().start(DynApplication::new(app), config).unwrap();
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("\r\n\r\nNone"), "{text}");
    handle.stop().unwrap();
    assert!(!path.exists());

    let mut config = ServerConfig::default().bind("127.0.0.1:0".parse().unwrap());
    config.options.insert("colour".into(), "red".into());
    assert!(ThreadPoolServer::new().start(DynApplication::new(app), config).is_err());
}

#[test]
fn nothing_is_left_of_many_short_connections() {
    let (app, _told) = telling();
    let server = serve(app);
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    assert_eq!(server.get("/").status, 200);
    let (descriptors, threads) = (count("/proc/self/fd"), count("/proc/self/task"));
    for n in 0..2000 {
        let mut client = server.connect();
        if n % 2 == 0 {
            client.get("/");
        }
    }
    let start = Instant::now();
    // Other tests of this process have connections of their own.
    while count("/proc/self/fd") > descriptors + 60 {
        assert!(start.elapsed() < DEADLINE, "{} descriptors, {descriptors} before", count("/proc/self/fd"));
        assert_eq!(server.get("/").status, 200);
    }
    assert!(count("/proc/self/task") <= threads + 40, "threads: {threads} before, {} now", count("/proc/self/task"));
}
