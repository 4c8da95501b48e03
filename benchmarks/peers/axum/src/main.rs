//! axum on one tokio multi-thread runtime, with its own `serve`; only the listener's backlog is ours.

use axum::extract::WebSocketUpgrade;
use axum::extract::ws::{Message, WebSocket};
use axum::response::Response;
use axum::routing::get;
use axum::serve::ListenerExt;
use peer_support::Arguments;

fn main() {
    let arguments = Arguments::parse();
    let listener = arguments.listen_nonblocking(false);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.threads).enable_all().build();
    let application = peer_axum::router().route("/ws", get(websocket));
    runtime.expect("runtime").block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        tokio::spawn(async { axum::serve(listener, application).await }).await.expect("no panic").expect("serve");
    });
}

async fn websocket(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(repeat)
}

async fn repeat(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_) | Message::Binary(_)) && socket.send(message).await.is_err() {
            break;
        }
    }
}
