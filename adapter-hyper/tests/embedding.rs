//! The servers inside of a program: what a dropped future leaves, and what becomes of the application.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use adapter_core::{Application, Body, Environ, Error, Request, Response, ServerConfig};

use crate::support::{PATIENCE, config, servers, start};

async fn hello(_: Request, _: Environ) -> Result<Response, Error> {
    Ok(Response::new(Body::from("hello")))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn a_dropped_serve_closes_its_listener() {
    let runtime = runtime();
    for aborted in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = adapter_hyper::serve(listener, hello, ServerConfig::default(), std::future::pending());
        if aborted {
            let task = runtime.spawn(serving);
            assert!(TcpStream::connect(addr).is_ok(), "it listens");
            task.abort();
            assert!(runtime.block_on(task).unwrap_err().is_cancelled());
        } else {
            // Polled once, and lost to the other.
            runtime.block_on(futures_lite::future::or(async { drop(serving.await) }, tokio::task::yield_now()));
        }
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(addr).is_ok() {
            assert!(Instant::now() < deadline, "it is still listened to (aborted: {aborted})");
            std::thread::yield_now();
        }
        let bound = TcpListener::bind(addr).map_err(|error| error.kind());
        assert!(matches!(bound, Ok(_) | Err(ErrorKind::AddrInUse)), "TIME_WAIT at most: {bound:?}");
    }
}

/// Tells when it is dropped, by what the drop does then.
struct Owner<F: Fn() + Send + Sync + 'static> {
    dropped: F,
    _runtime: tokio::runtime::Runtime,
}

impl<F: Fn() + Send + Sync + 'static> Application for Owner<F> {
    async fn call(&self, _: Request, _: Environ) -> Result<Response, Error> {
        Ok(Response::new(Body::from("owned")))
    }
}

impl<F: Fn() + Send + Sync + 'static> Drop for Owner<F> {
    fn drop(&mut self) {
        (self.dropped)();
    }
}

#[test]
fn an_application_may_own_a_runtime() {
    for server in servers() {
        let dropped = Arc::new(AtomicBool::new(false));
        let told = dropped.clone();
        let dropped_at = move || told.store(true, Ordering::SeqCst);
        let running = start(&*server, Owner { dropped: dropped_at, _runtime: runtime() }, config());
        assert!(TcpStream::connect(running.addr).is_ok());
        running.stop();
        assert!(dropped.load(Ordering::SeqCst), "before the server has ended");
    }
    let (told, dropped) = mpsc::channel();
    let owner = Owner { dropped: move || told.send(()).unwrap(), _runtime: runtime() };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let outside = runtime();
    outside.block_on(adapter_hyper::serve(listener, owner, ServerConfig::default(), async {})).unwrap();
    dropped.recv_timeout(PATIENCE).expect("it is not dropped");
}

#[test]
fn an_application_whose_drop_panics_ends_no_server_badly() {
    for server in servers() {
        let owner = Owner { dropped: || panic!("the drop of an application"), _runtime: runtime() };
        let running = start(&*server, owner, config());
        running.stop();
    }
}
