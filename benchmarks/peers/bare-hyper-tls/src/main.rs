//! hyper 1 over tokio-rustls with nothing around it, on one tokio multi-thread runtime: the base of the ratios under TLS.

#[path = "../../bare-hyper/src/application.rs"]
mod application;

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use peer_support::Arguments;
use tokio_rustls::TlsAcceptor;

struct Tokio;

impl application::Runtime for Tokio {
    async fn sleep(milliseconds: u64) {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }

    async fn sleep_blocking(milliseconds: u64) {
        let nap = move || std::thread::sleep(Duration::from_millis(milliseconds));
        tokio::task::spawn_blocking(nap).await.expect("a nap does not panic");
    }
}

fn main() {
    let arguments = Arguments::parse();
    let acceptor = TlsAcceptor::from(Arc::new(peer_tls::config(&arguments)));
    let listener = arguments.listen_nonblocking(false);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.threads).enable_all().build();
    let runtime = runtime.expect("runtime");
    // Accepting on a worker rather than on the main thread saves a hand-over per connection.
    runtime.block_on(async { tokio::spawn(serve(listener, acceptor)).await.expect("the accept loop does not panic") });
}

async fn serve(listener: std::net::TcpListener, acceptor: TlsAcceptor) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(application::answer::<Tokio>);
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
