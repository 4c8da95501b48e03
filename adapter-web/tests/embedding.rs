//! Servers inside of a program: handles that are dropped and awaited, futures that are dropped, several listeners, and the
//! application's own drop, on all servers of this build and in all embedded entries.

#![cfg(all(unix, feature = "hyper", feature = "smol"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::future::{Future, pending};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use adapter_web::signal::Signal;
use adapter_web::{
    Application, Bind, Body, DynApplication, Environ, Error, ListenAddr, Request, Response, ServeError, Server,
    ServerConfig, ServerHandle, ServerInfo, hyper, smol,
};
use futures_lite::future::{block_on, or, poll_once};

const DEADLINE: Duration = Duration::from_secs(20);
/// How long a spawned task goes on that ends by itself.
const PAUSE: Duration = Duration::from_millis(100);

/// What the application does of which a test wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Called,
    /// What was spawned is dropped, having ended or not.
    TaskGone,
    TaskDone,
    ShutDown,
    /// Where a runtime can be dropped.
    Dropped,
}

/// Owns a runtime, which can't be dropped just anywhere, and panics in its drop if it is told to.
struct Owner {
    events: Sender<Event>,
    starts: bool,
    panics: bool,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Application for Owner {
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        let _ = self.events.send(Event::Called);
        match request.uri().path() {
            "/pending" => pending().await,
            "/spawn" => {
                let gone = Tell(self.events.clone(), Event::TaskGone);
                let endless = async move {
                    let _gone = gone;
                    pending::<()>().await;
                };
                environ.runtime().spawn(endless).detach();
            }
            "/work" => {
                let (done, sleep) = (Tell(self.events.clone(), Event::TaskDone), environ.runtime().sleep(PAUSE));
                let work = async move {
                    sleep.await;
                    drop(done);
                };
                environ.runtime().spawn(work).detach();
            }
            _ => {}
        }
        Ok(Response::new(Body::from("owned")))
    }

    async fn startup(&self, _: &ServerInfo) -> Result<(), Error> {
        if self.starts { Ok(()) } else { Err("it does not start".into()) }
    }

    async fn shutdown(&self) -> Result<(), Error> {
        let _ = self.events.send(Event::ShutDown);
        Ok(())
    }
}

/// Tells of its drop.
struct Tell(Sender<Event>, Event);

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Panics where blocking is not allowed, and then the test is told nothing.
        drop(self.runtime.take());
        let _ = self.events.send(Event::Dropped);
        assert!(!self.panics, "in the drop of the application");
    }
}

fn tokio() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn owner() -> (Owner, Receiver<Event>) {
    let (events, told) = channel();
    (Owner { events, starts: true, panics: false, runtime: Some(tokio()) }, told)
}

fn is_dropped(told: &Receiver<Event>) {
    while told.recv_timeout(DEADLINE).expect("the application is not dropped, or not where it may block")
        != Event::Dropped
    {}
}

fn config() -> ServerConfig {
    ServerConfig::default().bind("127.0.0.1:0".parse().unwrap())
}

fn get(mut stream: impl std::io::Read + std::io::Write, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn tcp(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn is_free(addr: SocketAddr) -> bool {
    TcpListener::bind(addr).is_ok()
}

fn start(server: &dyn Server, owner: Owner, config: ServerConfig) -> (ServerHandle, SocketAddr) {
    let handle = server.start(DynApplication::new(owner), config).unwrap();
    let addr = handle.local_addrs()[0].tcp().unwrap();
    (handle, addr)
}

#[test]
fn a_dropped_handle_stops_its_server_and_a_detached_one_does_not() {
    for server in adapter_web::servers() {
        let name = server.info().name;
        let (app, told) = owner();
        let (handle, addr) = start(server, app, config());
        assert!(get(tcp(addr), "/").ends_with("owned"), "{name}");
        drop(handle);
        eventually(&format!("{name} still listens"), || is_free(addr));
        assert_eq!(told.recv_timeout(DEADLINE), Ok(Event::Called));
        assert_eq!(told.recv_timeout(DEADLINE), Ok(Event::ShutDown), "{name}: gracefully");
        is_dropped(&told);

        let (app, told) = owner();
        let (handle, addr) = start(server, app, config());
        let trigger = handle.trigger();
        handle.detach();
        assert!(get(tcp(addr), "/").ends_with("owned"), "{name}: detached");
        trigger.trigger();
        is_dropped(&told);
    }
}

#[test]
fn the_end_can_be_awaited_and_given_up_and_awaited_again() {
    for server in adapter_web::servers() {
        let name = server.info().name;
        let (app, told) = owner();
        let (mut handle, addr) = start(server, app, config());
        assert!(block_on(poll_once(handle.stopped())).is_none(), "{name}");
        assert!(get(tcp(addr), "/").ends_with("owned"), "{name}: it goes on");
        let trigger = handle.trigger();
        let runtime = tokio();
        let ended = runtime.block_on(async {
            let stop = async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                trigger.trigger();
                pending().await
            };
            or(handle.stopped(), stop).await
        });
        assert!(ended.is_ok(), "{name}: {ended:?}");
        assert!(is_free(addr), "{name}: everything is gone");
        is_dropped(&told);
        assert!(block_on(handle.stopped()).is_ok(), "{name}: told already");
    }
}

#[test]
fn an_application_is_dropped_where_it_may_block_however_the_start_fails() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = Bind::Tcp(taken.local_addr().unwrap());
    let runtime = tokio();
    // Gateways, too.
    for name in adapter_web::registry::names() {
        let server = adapter_web::registry::server(&name).unwrap();
        let mut unknown = config();
        unknown.options.insert("no-such".into(), "option".into());
        for (why, starts, config) in [
            ("the hook", false, config()),
            ("an option", true, unknown),
            ("an address", true, ServerConfig::default().bind(taken.clone())),
        ] {
            for panics in [false, true] {
                let (mut app, told) = owner();
                app.panics = panics;
                app.starts = starts;
                // From where blocking is not allowed.
                let outcome = runtime.block_on(async { server.start(DynApplication::new(app), config.clone()) });
                assert!(outcome.is_err(), "{name}: {why}");
                assert_eq!(told.try_recv(), Ok(Event::Dropped), "{name}: {why}");
            }
        }
    }
}

#[test]
fn an_application_whose_drop_panics_ends_no_server_badly() {
    for server in adapter_web::servers() {
        let (mut app, told) = owner();
        app.panics = true;
        let (handle, addr) = start(server, app, config());
        assert!(get(tcp(addr), "/").ends_with("owned"));
        let outcome = handle.stop();
        assert!(outcome.is_ok(), "{}: {outcome:?}", server.info().name);
        is_dropped(&told);
    }
}

type Serving = Pin<Box<dyn Future<Output = Result<(), ServeError>> + Send>>;

/// An embedded entry: serves until the signal.
type Entry = fn(hyper::Listeners, Owner, ServerConfig, Signal) -> Serving;

/// Polls what it is given until the other is ready, on whatever it needs.
fn drive<T>(entry: &str, serving: impl Future<Output = T>) -> T {
    if entry == "hyper::serve" { tokio().block_on(serving) } else { block_on(EXECUTOR.run(serving)) }
}

static EXECUTOR: async_executor::Executor<'static> = async_executor::Executor::new();

const ENTRIES: [(&str, Entry); 3] = [
    ("hyper::serve", |listeners, app, config, stop| {
        Box::pin(hyper::serve(listeners, app, config, async move { stop.fired().await }))
    }),
    ("smol::serve", |listeners, app, config, stop| {
        Box::pin(smol::serve(listeners, app, config, async move { stop.fired().await }))
    }),
    ("smol::serve_on", |listeners, app, config, stop| {
        let spawn = |task| EXECUTOR.spawn(task).detach();
        Box::pin(smol::serve_on(spawn, listeners, app, config, async move { stop.fired().await }))
    }),
];

/// Listeners of each kind, and where they are.
fn listeners(folder: &Path, name: &str) -> (hyper::Listeners, Vec<SocketAddr>, std::path::PathBuf) {
    let (own, path) = (TcpListener::bind("127.0.0.1:0").unwrap(), folder.join(name.replace(':', "-")));
    let unix = UnixListener::bind(&path).unwrap();
    let binds = [Bind::from(own), Bind::from(unix), "127.0.0.1:0".parse().unwrap()];
    let listeners = hyper::Listeners::bind(binds).unwrap();
    let addrs: Vec<_> = listeners.local_addrs().iter().filter_map(ListenAddr::tcp).collect();
    assert_eq!((listeners.local_addrs().len(), addrs.len()), (3, 2));
    assert!(addrs.iter().all(|addr| addr.port() != 0));
    (listeners, addrs, path)
}

#[test]
fn the_embedded_entries_take_several_listeners_and_stop_when_they_are_told() {
    let folder = tempfile::tempdir().unwrap();
    for (name, entry) in ENTRIES {
        let (app, told) = owner();
        let (listeners, addrs, path) = listeners(folder.path(), name);
        let stop = Signal::new();
        let serving = entry(listeners, app, ServerConfig::default(), stop.clone());
        let served = std::thread::spawn(move || drive(name, serving));
        for addr in &addrs {
            assert!(get(tcp(*addr), "/").ends_with("owned"), "{name}");
        }
        assert!(get(UnixStream::connect(&path).unwrap(), "/").ends_with("owned"), "{name}");
        assert!(get(tcp(addrs[0]), "/work").ends_with("owned"), "{name}");
        stop.fire();
        let ended = served.join().unwrap();
        assert!(ended.is_ok(), "{name}: {ended:?}");
        let events: Vec<_> = told.try_iter().skip_while(|event| *event == Event::Called).collect();
        assert_eq!(events, [Event::TaskDone, Event::ShutDown, Event::Dropped], "{name}: before the future is ready");
        assert!(addrs.iter().all(|addr| is_free(*addr)), "{name}");
    }
}

#[test]
fn a_future_that_is_dropped_ends_everything_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for (name, entry) in ENTRIES {
        for polled in [false, true] {
            let (app, told) = owner();
            let (listeners, addrs, path) = listeners(folder.path(), &format!("{name}{polled}"));
            let serving = entry(listeners, app, ServerConfig::default(), Signal::new());
            let (gone, left) = (Signal::new(), Signal::new());
            let (abandon, dropped, end) = (gone.fired(), left.clone(), Signal::new());
            let ended = end.fired();
            let thread = std::thread::spawn(move || {
                drive(name, async move {
                    if polled {
                        or(async { drop(serving.await) }, abandon).await;
                    } else {
                        drop(serving);
                    }
                    dropped.fire();
                    ended.await;
                });
            });
            if polled {
                assert!(get(tcp(addrs[0]), "/spawn").ends_with("owned"), "{name}");
                let mut waiting = tcp(addrs[1]);
                waiting.write_all(b"GET /pending HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
                assert_eq!(told.recv_timeout(DEADLINE), Ok(Event::Called));
                assert_eq!(told.recv_timeout(DEADLINE), Ok(Event::Called));
                gone.fire();
                left.wait();
                let mut rest = Vec::new();
                let _ = waiting.read_to_end(&mut rest);
                assert_eq!(rest, b"", "{name}: the connection ends without an answer");
            }
            // Neither hook nor answer, and the program's runtime goes on.
            let mut events = vec![told.recv_timeout(DEADLINE)];
            if polled {
                events.push(told.recv_timeout(DEADLINE));
                assert!(events.contains(&Ok(Event::TaskGone)), "{name}: {events:?}");
            }
            assert!(events.contains(&Ok(Event::Dropped)), "{name}, polled: {polled}: {events:?}");
            for addr in addrs {
                eventually(&format!("{name} still listens (polled: {polled})"), || is_free(addr));
            }
            assert!(UnixStream::connect(&path).is_err(), "{name}");
            end.fire();
            thread.join().unwrap();
        }
    }
}

#[test]
fn an_embedded_start_that_fails_drops_the_application_where_it_may_block() {
    for (name, entry) in ENTRIES {
        let mut bad = ServerConfig::default();
        bad.options.insert("http2".into(), "perhaps".into());
        let free = || hyper::Listeners::bind(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        for (why, starts, config, listeners) in [
            ("the hook", false, ServerConfig::default(), free()),
            ("an option", true, bad, free()),
            ("no listener", true, ServerConfig::default(), Vec::<Bind>::new().into()),
        ] {
            let (mut app, told) = owner();
            app.starts = starts;
            app.panics = true;
            let outcome = drive(name, entry(listeners, app, config, Signal::new()));
            assert!(outcome.is_err(), "{name}: {why}");
            assert_eq!(told.try_recv(), Ok(Event::Dropped), "{name}: {why}");
        }
    }
}
