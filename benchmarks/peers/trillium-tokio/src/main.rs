//! trillium on one tokio multi-thread runtime, with trillium's own listener (and so its own backlog): `/ws` sends
//! messages back, and nothing else is asked for but `/`.

use futures_lite::StreamExt;
use peer_support::{Arguments, HELLO};
use trillium::Conn;
use trillium_websockets::{WebSocketConn, websocket};

fn main() {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.threads).enable_all().build();
    let config =
        trillium_tokio::config().with_host("127.0.0.1").with_port(arguments.port).with_nodelay().without_signals();
    // What is not an upgrade goes on to the second.
    runtime.expect("runtime").block_on(config.run_async((websocket(repeat), hello)));
}

async fn hello(conn: Conn) -> Conn {
    conn.ok(HELLO)
}

async fn repeat(mut conn: WebSocketConn) {
    while let Some(Ok(message)) = conn.next().await {
        if (message.is_text() || message.is_binary()) && conn.send(message).await.is_err() {
            break;
        }
    }
}
