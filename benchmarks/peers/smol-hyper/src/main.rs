//! hyper 1 on smol through the published smol-hyper glue; the multi-threaded executor runs on `--threads` threads.

#[path = "../../bare-hyper/src/application.rs"]
mod application;

use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use peer_support::Arguments;
use smol::{Async, Executor, Timer, net::TcpStream};
use smol_hyper::rt::FuturesIo;

struct Smol;

impl application::Runtime for Smol {
    async fn sleep(milliseconds: u64) {
        Timer::after(Duration::from_millis(milliseconds)).await;
    }

    async fn sleep_blocking(milliseconds: u64) {
        smol::unblock(move || std::thread::sleep(Duration::from_millis(milliseconds))).await;
    }
}

static EXECUTOR: Executor<'static> = Executor::new();

fn main() {
    let arguments = Arguments::parse();
    let listener = Async::new(arguments.listen(false)).expect("listener");
    EXECUTOR.spawn(serve(listener)).detach();
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| smol::block_on(EXECUTOR.run(std::future::pending::<()>())));
        }
    });
}

async fn serve(listener: Async<std::net::TcpListener>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            Timer::after(Duration::from_millis(10)).await;
            continue;
        };
        let stream = TcpStream::from(stream);
        let _ = stream.set_nodelay(true);
        let connection = async move {
            let service = service_fn(application::answer::<Smol>);
            let _ = http1::Builder::new().serve_connection(FuturesIo::new(stream), service).await;
        };
        EXECUTOR.spawn(connection).detach();
    }
}
