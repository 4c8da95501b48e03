//! hyper 1 with nothing around it: the base of every ratio.
//! By default one tokio multi-thread runtime; `--current-thread` starts one runtime per thread, each with its own
//! SO_REUSEPORT listener. `--http2` serves that instead of HTTP/1.

mod application;

use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use peer_support::Arguments;

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
    let http2 = arguments.has("--http2");
    if arguments.has("--current-thread") {
        std::thread::scope(|scope| {
            for _ in 0..arguments.threads {
                let listener = arguments.listen_nonblocking(true);
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    runtime.expect("runtime").block_on(serve(listener, http2));
                });
            }
        });
    } else {
        let listener = arguments.listen_nonblocking(false);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.threads).enable_all().build();
        let runtime = runtime.expect("runtime");
        // Accepting on a worker rather than on the main thread saves a hand-over per connection.
        runtime.block_on(async { tokio::spawn(serve(listener, http2)).await.expect("the accept loop does not panic") });
    }
}

async fn serve(listener: std::net::TcpListener, http2: bool) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let service = service_fn(application::answer::<Tokio>);
            if http2 {
                let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            } else {
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
        });
    }
}
