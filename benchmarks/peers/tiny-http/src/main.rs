//! tiny_http with `--threads` workers, each taking requests from its queue.

use std::io::Read;
use std::time::Duration;

use peer_support::{Arguments, HELLO, number};
use tiny_http::{Header, Request, Response, Server};

fn main() {
    let arguments = Arguments::parse();
    let server = Server::from_listener(arguments.listen(false), None).expect("server");
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| {
                for request in server.incoming_requests() {
                    answer(request);
                }
            });
        }
    });
}

fn answer(mut request: Request) {
    let target = request.url().to_owned();
    let (path, query) = target.split_once('?').map_or((target.as_str(), None), |(path, query)| (path, Some(query)));
    // An error here means that the client has gone.
    let _ = match path {
        "/" => request.respond(hello()),
        "/sleep" | "/sleep-blocking" => {
            std::thread::sleep(Duration::from_millis(number(query, "ms")));
            request.respond(hello())
        }
        "/stream" | "/stream-blocking" => {
            let length = number(query, "n") * number(query, "size");
            let body = std::io::repeat(b'x').take(length);
            request.respond(Response::new(200.into(), Vec::new(), body, None, None))
        }
        "/echo" => {
            let mut body = Vec::new();
            match request.as_reader().read_to_end(&mut body) {
                Ok(_) => request.respond(Response::from_data(body)),
                Err(_) => request.respond(Response::empty(400)),
            }
        }
        _ => request.respond(Response::empty(404)),
    };
}

fn hello() -> Response<std::io::Cursor<Vec<u8>>> {
    let content_type = Header::from_bytes("Content-Type", "text/plain; charset=utf-8").expect("a valid header");
    Response::from_string(HELLO).with_header(content_type)
}
