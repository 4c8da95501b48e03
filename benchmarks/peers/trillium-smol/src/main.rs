//! trillium on smol's global executor, with trillium's own listener (and so its own backlog).

use std::io::Result;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::Timer;
use futures_lite::AsyncRead;
use peer_support::{Arguments, HELLO, number};
use trillium::{Body, Conn};
use trillium_smol::async_global_executor::{GlobalExecutorConfig, init_with_config};

fn main() {
    let arguments = Arguments::parse();
    let threads = arguments.threads;
    init_with_config(GlobalExecutorConfig::default().with_min_threads(threads).with_max_threads(threads));
    trillium_smol::config()
        .with_host("127.0.0.1")
        .with_port(arguments.port)
        .with_nodelay()
        .without_signals()
        .run(answer);
}

async fn answer(mut conn: Conn) -> Conn {
    let value = |name| number(Some(conn.querystring()), name);
    match conn.path() {
        "/" => conn.ok(HELLO),
        "/sleep" => {
            Timer::after(Duration::from_millis(value("ms"))).await;
            conn.ok(HELLO)
        }
        "/sleep-blocking" => {
            let time = Duration::from_millis(value("ms"));
            blocking::unblock(move || std::thread::sleep(time)).await;
            conn.ok(HELLO)
        }
        "/stream" => {
            let body = Repeat { size: value("size") as usize, left: value("n") };
            conn.ok(Body::new_streaming(body, None))
        }
        "/echo" => match conn.request_body().with_max_len(1 << 30).read_bytes().await {
            Ok(bytes) => conn.ok(bytes),
            Err(_) => conn.with_status(500),
        },
        _ => conn.with_status(404),
    }
}

/// `left` reads of `size` bytes each, as far as the reader's buffer allows.
struct Repeat {
    size: usize,
    left: u64,
}

impl AsyncRead for Repeat {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize>> {
        if self.left == 0 {
            return Poll::Ready(Ok(0));
        }
        assert!(buffer.len() >= self.size, "the reader's buffer is smaller than a chunk");
        self.left -= 1;
        buffer[..self.size].fill(b'x');
        Poll::Ready(Ok(self.size))
    }
}
