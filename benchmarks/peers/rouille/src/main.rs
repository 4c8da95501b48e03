//! rouille (on tiny_http) with a pool of `--threads` threads.

use std::io::Read;
use std::time::Duration;

use peer_support::{Arguments, HELLO, number};
use rouille::{Request, Response, ResponseBody, Server};

fn main() {
    let arguments = Arguments::parse();
    Server::new(arguments.address(), answer).expect("server").pool_size(arguments.threads).run();
}

fn answer(request: &Request) -> Response {
    let query = Some(request.raw_query_string());
    match request.url().as_str() {
        "/" => Response::text(HELLO),
        "/sleep" | "/sleep-blocking" => {
            std::thread::sleep(Duration::from_millis(number(query, "ms")));
            Response::text(HELLO)
        }
        "/stream" | "/stream-blocking" => {
            let length = number(query, "n") * number(query, "size");
            let body = ResponseBody::from_reader(std::io::repeat(b'x').take(length));
            Response { data: body, ..Response::text("") }
        }
        "/echo" => {
            let mut body = Vec::new();
            match request.data().map(|mut data| data.read_to_end(&mut body)) {
                Some(Ok(_)) => Response::from_data("application/octet-stream", body),
                _ => Response::empty_400(),
            }
        }
        _ => Response::empty_404(),
    }
}
