//! The program that is tested: what it answers, and other ones for cases of their own.

use std::io::Write as _;
use std::thread;
use std::time::Duration;

use adapter_web::{
    Application as _, Body, DynApplication, Environ, Error, Request, Response, ServeError, Server, ServerConfig,
    ServerHandle, ServerInfo,
};

use crate::program::DEADLINE;
use crate::websockets;

/// In one piece, for it may be one process of several.
pub(crate) fn called_here(path: &str) -> std::io::Result<()> {
    std::io::stderr().write_all(format!("called {path} by {}\n", std::process::id()).as_bytes())
}

/// The program under test.
pub(crate) async fn application(request: Request, environ: Environ) -> Result<Response, Error> {
    let path = request.uri().path();
    if path.starts_with("/report/") {
        environ.report(format!("reported {path}"));
    }
    if path.starts_with("/panic/") {
        panic!("panicked at {path}");
    }
    if path == "/slow" {
        writeln!(std::io::stderr(), "called {path}")?;
        environ.shutting_down().await;
        environ.runtime().sleep(Duration::from_millis(300)).await;
    }
    if path == "/hold" {
        called_here(path)?;
        thread::sleep(DEADLINE);
    }
    if path == "/blocks" {
        let holds = adapter_web::blocking(|_, _| {
            called_here("/blocks")?;
            thread::sleep(DEADLINE);
            Ok::<_, Error>(Response::new(Body::empty()))
        });
        return holds.call(request, environ).await;
    }
    if path == "/held" {
        called_here(path)?;
        environ.shutting_down().await;
    }
    if path == "/peer" {
        return Ok(Response::new(Body::from(format!("{:?}", environ.peer_addr().map(|peer| peer.ip())))));
    }
    if path == "/process" {
        return Ok(Response::new(Body::from(std::process::id().to_string())));
    }
    if path == "/spawn" {
        environ.runtime().spawn(std::future::pending::<()>()).detach();
        environ.runtime().spawn_daemon(std::future::pending::<()>()).detach();
    }
    if path == "/websocket" {
        return websockets::echo(&request, &environ);
    }
    if path == "/drained" || path == "/never" {
        // tells the test that the request is in flight
        writeln!(std::io::stderr(), "called {path}")?;
        environ.shutting_down().await;
        if path == "/never" {
            std::future::pending::<()>().await;
        }
    }
    Ok(Response::new(Body::from("hello")))
}

/// A server of the program's own.
pub(crate) struct Mine;

impl Server for Mine {
    fn info(&self) -> ServerInfo {
        ServerInfo::new("mine", "1.2.3")
    }

    fn start(&self, _: DynApplication, _: ServerConfig) -> Result<ServerHandle, ServeError> {
        Err(std::io::Error::other("mine was picked").into())
    }
}

/// Owns what can't be dropped just anywhere, and its drop panics.
pub(crate) struct Fragile(Option<tokio::runtime::Runtime>);

impl Fragile {
    pub(crate) fn new() -> Self {
        Fragile(Some(tokio::runtime::Builder::new_multi_thread().build().expect("a runtime")))
    }
}

impl adapter_web::Application for Fragile {
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        application(request, environ).await
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        drop(self.0.take());
        panic!("in the drop of the application");
    }
}
