//! The server's threads: what holds one, what does not, and how it all ends.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::net::{TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use adapter_core::{Application, DynApplication, Error, ServeError, Server, ServerConfig, ServerInfo};
use adapter_smol::SmolServer;
use support::{Client, DEADLINE, connect, eventually, get, start, thread_names};

/// These tests count the threads of the process: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ours() -> Vec<String> {
    let mut names = thread_names();
    names.retain(|name| name.starts_with("adapter-"));
    names
}

/// A thread that has been joined is in the process's list for a moment still.
fn none_is_left() {
    eventually("no thread of ours is left", || ours().is_empty());
}

#[test]
fn two_thousand_sleepers_hold_no_threads() {
    let _alone = alone();
    let (server, addr, _told) = start(ServerConfig::default().threads(2));
    let mut clients: Vec<Client<TcpStream>> = (0..2000).map(|_| connect(addr)).collect();
    let begin = Instant::now();
    clients.iter_mut().for_each(|client| client.get("/sleep"));
    assert_eq!(get(addr, "/quick"), "/quick");
    let names = ours();
    assert!(names.len() <= 3, "{names:?}");
    for client in &mut clients {
        assert_eq!(client.answer(), "slept");
    }
    assert!(begin.elapsed() < DEADLINE, "{:?}", begin.elapsed());
    server.stop().unwrap();
}

#[test]
fn blocking_work_does_not_stall_the_executor() {
    let _alone = alone();
    let (server, addr, _told) = start(ServerConfig::default().threads(1));
    let mut clients: Vec<Client<TcpStream>> = (0..50).map(|_| connect(addr)).collect();
    clients.iter_mut().for_each(|client| client.get("/block"));
    assert_eq!(get(addr, "/open"), "open");
    for client in &mut clients {
        assert_eq!(client.answer(), "blocked");
    }
    server.stop().unwrap();
    // The pool counts its threads and does not join them: the last may still be leaving.
    eventually("the pool's threads are gone, too", || ours().is_empty());
}

#[test]
fn the_runtime_works_from_threads_without_an_executor() {
    let _alone = alone();
    let (server, addr, _told) = start(ServerConfig::default().threads(1));
    assert_eq!(get(addr, "/from-outside"), "from outside");
    server.stop().unwrap();
}

#[test]
fn a_client_that_goes_takes_its_handler_along() {
    let _alone = alone();
    let (server, addr, told) = start(ServerConfig::default());
    let mut client = connect(addr);
    client.get("/pending");
    assert_eq!(told.recv_timeout(DEADLINE), Ok("called"));
    drop(client);
    assert_eq!(told.recv_timeout(DEADLINE), Ok("dropped"));
    server.stop().unwrap();
}

#[test]
fn a_graceful_shutdown_finishes_what_is_under_way_and_leaves_nothing() {
    let _alone = alone();
    let (server, addr, told) = start(ServerConfig::default());
    let mut idle = connect(addr);
    idle.get("/spawn");
    assert_eq!(idle.answer(), "spawned");
    let mut busy = connect(addr);
    busy.get("/sleep");
    // It is being answered once another request that was sent later has been.
    eventually("served", || get(addr, "/quick") == "/quick");
    let (trigger, begin) = (server.trigger(), Instant::now());
    trigger.trigger();
    assert_eq!(idle.rest(), b"", "idle connections close");
    assert_eq!(busy.answer(), "slept");
    assert_eq!(busy.rest(), b"");
    server.wait().unwrap();
    assert!(begin.elapsed() < DEADLINE, "{:?}", begin.elapsed());
    assert_eq!(told.try_recv(), Ok("task dropped"), "spawned tasks end with the server");
    none_is_left();
    TcpListener::bind(addr).unwrap();
}

#[test]
fn a_second_trigger_forces() {
    let _alone = alone();
    let (server, addr, told) = start(ServerConfig::default());
    let mut client = connect(addr);
    client.get("/pending");
    assert_eq!(told.recv_timeout(DEADLINE), Ok("called"));
    let begin = Instant::now();
    server.trigger().trigger();
    server.stop().unwrap();
    assert!(begin.elapsed() < DEADLINE, "{:?}", begin.elapsed());
    assert_eq!(told.try_recv(), Ok("dropped"));
    assert_eq!(client.rest(), b"");
    none_is_left();
}

#[test]
fn a_handler_that_blocks_its_thread_for_good_does_not_hold_up_the_end() {
    let _alone = alone();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (called, has_called) = std::sync::mpsc::channel();
    let (released, called) = (Mutex::new(released), called);
    let app = move |_request: adapter_core::Request, _environ: adapter_core::Environ| {
        called.send(()).unwrap();
        let _ = released.lock().unwrap().recv();
        async { Ok::<_, Error>(adapter_core::Response::default()) }
    };
    let mut config = ServerConfig::default().threads(2).bind("127.0.0.1:0".parse().unwrap());
    config.timeouts.graceful_shutdown = Duration::from_millis(100);
    let server = SmolServer::new().start(DynApplication::new(app), config).unwrap();
    let mut client = connect(server.local_addrs()[0].tcp().unwrap());
    client.get("/");
    has_called.recv_timeout(DEADLINE).unwrap();
    let begin = Instant::now();
    server.stop().unwrap();
    assert!(begin.elapsed() < DEADLINE, "{:?}", begin.elapsed());
    drop(release);
    eventually("the thread ends once it can", || ours().is_empty());
}

#[test]
fn a_failed_startup_is_an_error_and_leaves_nothing() {
    struct Fails;

    impl Application for Fails {
        async fn startup(&self, _server: &ServerInfo) -> Result<(), Error> {
            Err(Error::new("no database"))
        }

        async fn call(
            &self,
            _request: adapter_core::Request,
            _environ: adapter_core::Environ,
        ) -> Result<adapter_core::Response, Error> {
            Ok(adapter_core::Response::default())
        }
    }

    let _alone = alone();
    let config = ServerConfig::default().bind("127.0.0.1:0".parse().unwrap());
    let error = SmolServer::new().start(DynApplication::new(Fails), config).unwrap_err();
    assert!(matches!(error, ServeError::Startup(_)), "{error}");
    none_is_left();
}

#[test]
fn settings_nobody_knows_are_refused() {
    let (app, _told) = support::routes();
    let mut config = ServerConfig::default().bind("127.0.0.1:0".parse().unwrap());
    config.options.insert("speed".into(), "high".into());
    let error = SmolServer::new().start(DynApplication::new(app), config).unwrap_err();
    assert!(error.to_string().starts_with("speed: the server \"smol\" has no such option"), "{error}");
}

#[test]
fn many_connections_come_and_go() {
    let _alone = alone();
    // The places of closed sockets are used again; nothing meant for one may reach its successor.
    let (server, addr, _told) = start(ServerConfig::default().threads(2));
    thread::scope(|scope| {
        for worker in 0..8 {
            scope.spawn(move || {
                for n in 0..200 {
                    let path = format!("/{worker}/{n}");
                    if n % 3 == 0 {
                        // Gone before the answer.
                        connect(addr).get(&path);
                    } else {
                        assert_eq!(get(addr, &path), path);
                    }
                }
            });
        }
    });
    server.stop().unwrap();
}
