//! axum on one tokio multi-thread runtime, with its own `serve`; only the listener's backlog is ours.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, Request};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use bytes::Bytes;
use futures_util::stream;
use peer_support::{Arguments, HELLO, number};

fn main() {
    let arguments = Arguments::parse();
    let listener = arguments.listen_nonblocking(false);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.threads).enable_all().build();
    let application = Router::new()
        .route("/", get(|| async { HELLO }))
        .route("/sleep", get(sleep))
        .route("/sleep-blocking", get(sleep_blocking))
        .route("/stream", get(repeat))
        .route("/echo", post(|request: Request| async { request.into_body() }));
    runtime.expect("runtime").block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        tokio::spawn(async { axum::serve(listener, application).await }).await.expect("no panic").expect("serve");
    });
}

async fn sleep(RawQuery(query): RawQuery) -> &'static str {
    tokio::time::sleep(Duration::from_millis(number(query.as_deref(), "ms"))).await;
    HELLO
}

async fn sleep_blocking(RawQuery(query): RawQuery) -> &'static str {
    let time = Duration::from_millis(number(query.as_deref(), "ms"));
    tokio::task::spawn_blocking(move || std::thread::sleep(time)).await.expect("a nap does not panic");
    HELLO
}

async fn repeat(RawQuery(query): RawQuery) -> Body {
    let query = query.as_deref();
    let chunk = Bytes::from(vec![b'x'; number(query, "size") as usize]);
    Body::from_stream(stream::iter((0..number(query, "n")).map(move |_| Ok::<_, Infallible>(chunk.clone()))))
}
