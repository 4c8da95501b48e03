//! A native application in axum's own server: `tower::service` and `tower::Host`, with nothing of this project serving.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use adapter_web::{Application, Body, Environ, Error, ListenAddr, Request, Response, ServerConfig, ServerInfo, tower};
use axum::Router;
use axum::routing::get;

const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Counts {
    started: AtomicUsize,
    done: AtomicUsize,
    done_at_the_hook: AtomicUsize,
}

struct App(Arc<Counts>);

impl Application for App {
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        let runtime = environ.runtime();
        let text = match request.uri().path() {
            "/sleep" => {
                runtime.sleep(Duration::from_millis(5)).await;
                "slept".to_owned()
            }
            "/blocking" => {
                runtime.run_blocking(|| thread::sleep(Duration::from_millis(5))).await.map(|()| "ran".into())?
            }
            "/iterator" => return Ok(Response::new(Body::from_iterator(["a", "b"]))),
            "/peer" => format!("{:?} {}", environ.peer_addr().map(|peer| peer.ip()), environ.local_addr()),
            "/value" => format!("{:?}", environ.deployed::<u32>()),
            "/spawn" => {
                let (counts, sleep) = (self.0.clone(), runtime.sleep(Duration::from_millis(200)));
                let work = async move {
                    sleep.await;
                    counts.done.fetch_add(1, Ordering::SeqCst);
                };
                runtime.spawn(work).detach();
                runtime.spawn_daemon(std::future::pending::<()>()).detach();
                "spawned".into()
            }
            path => format!("native {path}"),
        };
        Ok(Response::new(Body::from(text)))
    }

    async fn startup(&self, _: &ServerInfo) -> Result<(), Error> {
        self.0.started.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn shutdown(&self) -> Result<(), Error> {
        self.0.done_at_the_hook.store(self.0.done.load(Ordering::SeqCst), Ordering::SeqCst);
        Ok(())
    }
}

fn ask(addr: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())
}

#[test]
fn an_application_lives_in_axums_own_server() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let counts = Arc::new(Counts::default());
    let app = App(counts.clone());
    let (sender, addr) = std::sync::mpsc::channel();
    let (stop, stopped) = async_channel::bounded::<()>(1);
    let served = thread::spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            let addr = listener.local_addr()?;
            let host =
                tower::Host::tokio().listening(ListenAddr::Tcp(addr)).configured(ServerConfig::default().value(7_u32));
            let service = tower::service(app, host.clone());
            let life = host.lifecycle(&service);
            life.startup().await?;
            let router = Router::new().route("/axum", get(|| async { "axum" })).fallback_service(service);
            sender.send(addr).unwrap();
            let make = router.into_make_service_with_connect_info::<SocketAddr>();
            let stopping = async move {
                let _ = stopped.recv().await;
            };
            axum::serve(listener, make).with_graceful_shutdown(stopping).await?;
            host.trigger().trigger();
            life.run().await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        })
    });
    let addr = addr.recv_timeout(DEADLINE).unwrap();
    for (path, says) in [
        ("/axum", "axum".to_owned()),
        ("/x", "native /x".into()),
        ("/sleep", "slept".into()),
        ("/blocking", "ran".into()),
        ("/iterator", "ab".into()),
        ("/peer", format!("Some(127.0.0.1) {addr}")),
        ("/value", "Some(7)".into()),
        ("/spawn", "spawned".into()),
    ] {
        assert_eq!(ask(addr, path), says, "{path}");
    }
    stop.send_blocking(()).unwrap();
    served.join().unwrap().unwrap();
    assert_eq!(counts.started.load(Ordering::SeqCst), 1);
    assert_eq!(counts.done_at_the_hook.load(Ordering::SeqCst), 1, "what was spawned has ended before the hook");
}
