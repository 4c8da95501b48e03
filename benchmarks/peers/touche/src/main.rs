//! touche: a thread holds a connection for its whole life, so it wants as many threads as connections.

use std::time::Duration;

use peer_support::{Arguments, HELLO, number};
use touche::{Body, Request, Response, Server, StatusCode};

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let listener = arguments.listen(false);
    Server::builder()
        .max_threads(arguments.threads)
        .nodelay(true)
        .from_connections(std::iter::from_fn(move || listener.accept().ok()))
        .serve(answer)
}

fn answer(request: Request<Body>) -> Result<Response<Body>, touche::http::Error> {
    let query = request.uri().query();
    match request.uri().path() {
        "/" => hello(),
        "/sleep" | "/sleep-blocking" => {
            std::thread::sleep(Duration::from_millis(number(query, "ms")));
            hello()
        }
        "/stream" | "/stream-blocking" => {
            let chunk = vec![b'x'; number(query, "size") as usize];
            let chunks = (0..number(query, "n")).map(move |_| chunk.clone());
            Response::builder().body(Body::from_iter(chunks))
        }
        "/echo" => Response::builder().body(request.into_body()),
        _ => Response::builder().status(StatusCode::NOT_FOUND).body(Body::empty()),
    }
}

fn hello() -> Result<Response<Body>, touche::http::Error> {
    Response::builder().header("content-type", "text/plain; charset=utf-8").body(HELLO.into())
}
