//! The routes, as an axum `Router`: served by axum itself here, and by the adapters in `axum-on-adapter`.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, Request};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use peer_support::{HELLO, number};

/// The application.
pub fn router() -> Router {
    Router::new()
        .route("/", get(|| async { HELLO }))
        .route("/sleep", get(sleep))
        .route("/sleep-blocking", get(sleep_blocking))
        .route("/stall", get(stall))
        .route("/stream", get(repeat))
        .route("/count", post(count))
        .route("/echo", post(|request: Request| async { request.into_body() }))
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

/// What an event loop must not do.
async fn stall(RawQuery(query): RawQuery) -> &'static str {
    std::thread::sleep(Duration::from_millis(number(query.as_deref(), "ms")));
    HELLO
}

/// Reads the body, and answers with its length.
async fn count(request: Request) -> String {
    let mut body = request.into_body().into_data_stream();
    let mut length = 0;
    while let Some(Ok(data)) = body.next().await {
        length += data.len();
    }
    length.to_string()
}

async fn repeat(RawQuery(query): RawQuery) -> Body {
    let query = query.as_deref();
    let chunk = Bytes::from(vec![b'x'; number(query, "size") as usize]);
    Body::from_stream(stream::iter((0..number(query, "n")).map(move |_| Ok::<_, Infallible>(chunk.clone()))))
}
