//! Serving inside programs that run smol already.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::future::pending;
use std::net::TcpListener;
use std::thread;

use adapter_core::signal::Signal;
use adapter_core::{Error, ServeError, ServerConfig};
use adapter_smol::{serve, serve_on};
use async_executor::Executor;
use futures_lite::future::{block_on, or};
use support::{DEADLINE, connect, get, routes};

fn listener() -> (TcpListener, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

#[test]
fn serve_carries_its_connections_on_any_executor() {
    let ((listener, addr), (app, told), stop) = (listener(), routes(), Signal::new());
    let stopped = stop.fired();
    let served = thread::spawn(move || {
        async_io::block_on(serve(listener, app, ServerConfig::default(), async {
            stopped.await;
        }))
    });
    let mut client = connect(addr);
    client.get("/spawn");
    assert_eq!(client.answer(), "spawned");
    assert_eq!(get(addr, "/iterator"), "0\n1\n2\n");
    assert_eq!(get(addr, "/from-outside"), "from outside");
    stop.fire();
    served.join().unwrap().unwrap();
    assert_eq!(told.try_recv(), Ok("task dropped"));
    assert_eq!(client.rest(), b"");
    TcpListener::bind(addr).unwrap();
}

#[test]
fn a_serve_that_is_dropped_drops_everything() {
    let ((listener, addr), (app, told), stop) = (listener(), routes(), Signal::new());
    let stopped = stop.fired();
    let served = thread::spawn(move || {
        // An executor that knows nothing of async-io: its own thread drives the reactor.
        block_on(or(
            async {
                serve(listener, app, ServerConfig::default(), pending()).await.unwrap();
                unreachable!("nothing stops it");
            },
            async {
                stopped.await;
            },
        ));
    });
    let mut client = connect(addr);
    client.get("/pending");
    assert_eq!(told.recv_timeout(DEADLINE), Ok("called"));
    stop.fire();
    served.join().unwrap();
    assert_eq!(told.try_recv(), Ok("dropped"));
    assert_eq!(client.rest(), b"");
    TcpListener::bind(addr).unwrap();
}

#[test]
fn serve_on_spreads_over_the_executor_it_is_given() {
    static EXECUTOR: Executor<'static> = Executor::new();
    let ((listener, addr), (app, told), stop, end) = (listener(), routes(), Signal::new(), Signal::new());
    let threads: Vec<_> =
        (0..2).map(|_| end.fired()).map(|end| thread::spawn(|| async_io::block_on(EXECUTOR.run(end)))).collect();
    let stopped = stop.fired();
    let spawn = |task| EXECUTOR.spawn(task).detach();
    let served = thread::spawn(move || {
        block_on(serve_on(spawn, listener, app, ServerConfig::default(), async {
            stopped.await;
        }))
    });
    let mut clients: Vec<_> = (0..50).map(|_| connect(addr)).collect();
    clients.iter_mut().for_each(|client| client.get("/sleep"));
    clients.iter_mut().for_each(|client| assert_eq!(client.answer(), "slept"));
    let mut client = connect(addr);
    client.get("/pending");
    assert_eq!(told.recv_timeout(DEADLINE), Ok("called"));
    drop(client);
    assert_eq!(told.recv_timeout(DEADLINE), Ok("dropped"));
    stop.fire();
    served.join().unwrap().unwrap();
    clients.iter_mut().for_each(|client| assert_eq!(client.rest(), b""));
    TcpListener::bind(addr).unwrap();
    support::eventually("the executor is empty", || EXECUTOR.is_empty());
    end.fire();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_serve_on_that_is_dropped_ends_its_connections() {
    static EXECUTOR: Executor<'static> = Executor::new();
    let ((listener, addr), (app, told), stop) = (listener(), routes(), Signal::new());
    let (stopped, end) = (stop.fired(), Signal::new());
    let ended = end.fired();
    let spawn = |task| EXECUTOR.spawn(task).detach();
    let thread = thread::spawn(move || {
        async_io::block_on(EXECUTOR.run(async move {
            let serving = serve_on(spawn, listener, app, ServerConfig::default(), pending());
            or(
                async {
                    serving.await.unwrap();
                },
                async {
                    stopped.await;
                },
            )
            .await;
            ended.await;
        }));
    });
    let mut client = connect(addr);
    client.get("/pending");
    assert_eq!(told.recv_timeout(DEADLINE), Ok("called"));
    stop.fire();
    assert_eq!(told.recv_timeout(DEADLINE), Ok("dropped"));
    assert_eq!(client.rest(), b"");
    support::eventually("the executor is empty", || EXECUTOR.is_empty());
    end.fire();
    thread.join().unwrap();
    TcpListener::bind(addr).unwrap();
}

#[test]
fn errors_come_back() {
    let ((listener, _addr), (app, _told)) = (listener(), routes());
    let mut config = ServerConfig::default();
    config.options.insert("http2".into(), "perhaps".into());
    let error = async_io::block_on(serve(listener, app, config, pending())).unwrap_err();
    assert!(matches!(error, ServeError::Config { .. }), "{error}");
    let _: Error = error.into();
}
