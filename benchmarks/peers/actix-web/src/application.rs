//! The routes, shared with the peer `actix-web-tls`.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, rt, web};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use peer_support::{HELLO, number};

/// The application.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/", web::get().to(|| async { HELLO }))
        .route("/sleep", web::get().to(sleep))
        .route("/sleep-blocking", web::get().to(sleep_blocking))
        .route("/stream", web::get().to(repeat))
        .route("/count", web::post().to(count))
        .route("/echo", web::post().to(echo));
}

/// Reads the body, and answers with its length.
async fn count(mut payload: web::Payload) -> String {
    let mut length = 0;
    while let Some(Ok(data)) = payload.next().await {
        length += data.len();
    }
    length.to_string()
}

async fn sleep(request: HttpRequest) -> &'static str {
    rt::time::sleep(Duration::from_millis(number(Some(request.query_string()), "ms"))).await;
    HELLO
}

async fn sleep_blocking(request: HttpRequest) -> &'static str {
    let time = Duration::from_millis(number(Some(request.query_string()), "ms"));
    web::block(move || std::thread::sleep(time)).await.expect("a nap does not panic");
    HELLO
}

async fn repeat(request: HttpRequest) -> HttpResponse {
    let query = Some(request.query_string());
    let chunk = Bytes::from(vec![b'x'; number(query, "size") as usize]);
    HttpResponse::Ok().streaming(stream::iter((0..number(query, "n")).map(move |_| Ok::<_, Infallible>(chunk.clone()))))
}

async fn echo(payload: web::Payload) -> HttpResponse {
    HttpResponse::Ok().streaming(payload)
}
