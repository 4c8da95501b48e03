//! A program with work of its own, and a page that tells how far it is.
//!
//! ```text
//! $ cargo run -p embedded
//! listening on 127.0.0.1:36119
//! 3 of 3 jobs are done, says hyper
//! stopped
//! ```
//!
//! The server is a future on the program's runtime, or, where `ADAPTER_SERVER` names one, that server beside it on threads
//! of its own. Either listens on a port that was free, is asked by the program itself, and is stopped by it.

mod jobs;

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use adapter_web::{Application, Bind, DynApplication, Environ, ListenAddr, ServerConfig, hyper, registry};
use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::jobs::Jobs;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// How long the program waits for its jobs.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Outcome {
    let jobs = Jobs::start(3);
    let application = adapter_web::axum(page(jobs.clone()));
    let address: Bind = "127.0.0.1:0".parse()?;
    // The empty name is none: `ADAPTER_SERVER= embedded`.
    match std::env::var("ADAPTER_SERVER").ok().filter(|name| !name.is_empty()) {
        Some(name) => beside(name, application, address).await,
        None => within(application, address).await,
    }?;
    println!("stopped");
    Ok(())
}

/// An axum program as any other.
fn page(jobs: Jobs) -> Router {
    async fn progress(State(jobs): State<Jobs>, Extension(environ): Extension<Environ>) -> Json<Value> {
        Json(json!({ "done": jobs.done(), "all": jobs.all(), "server": environ.server().name }))
    }
    Router::new().route("/", get(progress)).with_state(jobs)
}

/// The server is a future of this program, on its runtime.
async fn within(application: impl Application, address: Bind) -> Outcome {
    let listeners = hyper::Listeners::bind(address)?;
    let bound = tcp(listeners.local_addrs().first().and_then(ListenAddr::tcp))?;
    let (stop, stopping) = tokio::sync::oneshot::channel::<()>();
    let serving = hyper::serve(listeners, application, ServerConfig::default(), async {
        // A sender that is dropped stops it, too.
        let _ = stopping.await;
    });
    let work = async {
        let told = watch(bound).await;
        drop(stop);
        told
    };
    let (served, told) = tokio::join!(serving, work);
    served?;
    told
}

/// The server is one by name, on threads of its own.
async fn beside(name: String, application: impl Application, address: Bind) -> Outcome {
    let (application, config) = (DynApplication::new(application), ServerConfig::default().bind(address));
    // It returns when the server accepts, for which the startup hook has to have run: that may take a while.
    let starting = tokio::task::spawn_blocking(move || registry::server(&name)?.start(application, config));
    let mut server = starting.await??;
    let bound = tcp(server.local_addrs().first().and_then(ListenAddr::tcp))?;
    // With `?` here the handle would be dropped, which stops the server without waiting for its end.
    let told = watch(bound).await;
    server.trigger().trigger();
    server.stopped().await?;
    told
}

fn tcp(address: Option<SocketAddr>) -> Outcome<SocketAddr> {
    Ok(address.ok_or("there is no TCP address")?)
}

/// Asks the page until all is done.
async fn watch(address: SocketAddr) -> Outcome {
    println!("listening on {address}");
    let asking = async {
        loop {
            let progress = ask(address).await?;
            if progress["done"] == progress["all"] {
                return Outcome::Ok(progress);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let progress = tokio::time::timeout(PATIENCE, asking).await??;
    let server = progress["server"].as_str().unwrap_or_default();
    println!("{} of {} jobs are done, says {server}", progress["done"], progress["all"]);
    Ok(())
}

/// One request; a program would use a client library.
async fn ask(address: SocketAddr) -> Outcome<Value> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET / HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("no head")?;
    Ok(serde_json::from_str(body)?)
}
