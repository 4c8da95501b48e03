//! astra with at most `--threads` workers. No `/echo`: a body that is not already buffered deadlocks it.

use std::time::Duration;

use astra::{Body, Request, Response, ResponseBuilder, Server};
use peer_support::{Arguments, HELLO, number};

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    Server::bind(arguments.address()).max_workers(arguments.threads).serve(|request, _| answer(&request))
}

fn answer(request: &Request) -> Response {
    match request.uri().path() {
        "/" => hello(),
        "/sleep" | "/sleep-blocking" => {
            std::thread::sleep(Duration::from_millis(number(request.uri().query(), "ms")));
            hello()
        }
        _ => ResponseBuilder::new().status(404).body(Body::empty()).expect("a valid response"),
    }
}

fn hello() -> Response {
    // Without a declared length astra sends even this body chunked.
    ResponseBuilder::new()
        .header("content-type", "text/plain; charset=utf-8")
        .header("content-length", HELLO.len())
        .body(Body::new(HELLO))
        .expect("a valid response")
}
