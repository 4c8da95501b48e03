//! Requests that wait in hyper's buffer. \[KAP-06\]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::task::Poll;
use std::time::Duration;

use adapter_core::{Body, Bytes, DynApplication, Environ, Error, Request, Response, Server, ServerConfig};
use adapter_hyper::HyperServer;
use futures_lite::stream;

/// A timer may be due at the second of two polls without waking anybody. hyper polls twice, finds the end of the body, and does
/// not look at the request that waits in its buffer.
#[test]
fn a_pipelined_request_is_seen_after_a_body_that_was_ready_when_looked_at_again() {
    async fn app(_request: Request, _environ: Environ) -> Result<Response, Error> {
        let mut polls = 0;
        Ok(Response::new(Body::from_stream(stream::poll_fn(move |_| {
            polls += 1;
            match polls {
                1 => Poll::Ready(Some(Ok::<_, Error>(Bytes::from("some")))),
                2 => Poll::Pending,
                _ => Poll::Ready(None),
            }
        }))))
    }
    let config = ServerConfig::default().bind("127.0.0.1:0".parse().unwrap());
    let server = HyperServer::new().start(DynApplication::new(app), config).unwrap();
    let mut client = TcpStream::connect(server.local_addrs()[0].tcp().unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write_all("GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(3).as_bytes()).unwrap();
    let (mut answers, mut piece) = (Vec::new(), [0; 4096]);
    while answers.windows(4).filter(|window| window == b"some").count() < 3 {
        let count = client.read(&mut piece).expect("an answer comes");
        assert!(count > 0, "the connection ended: {}", answers.escape_ascii());
        answers.extend_from_slice(&piece[..count]);
    }
    server.stop().unwrap();
}
