//! actix-web with its own server: `--threads` workers, each a current-thread runtime.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, rt, web};
use bytes::Bytes;
use futures_util::stream;
use peer_support::{Arguments, HELLO, number};

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let application = || {
        App::new()
            .route("/", web::get().to(|| async { HELLO }))
            .route("/sleep", web::get().to(sleep))
            .route("/sleep-blocking", web::get().to(sleep_blocking))
            .route("/stream", web::get().to(repeat))
            .route("/echo", web::post().to(echo))
    };
    rt::System::new().block_on(
        HttpServer::new(application)
            .workers(arguments.threads)
            .backlog(4096)
            .disable_signals()
            .bind(arguments.address())?
            .run(),
    )
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
