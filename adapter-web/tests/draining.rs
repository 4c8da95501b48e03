//! A drain, and clients that are just about to ask, on every server.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use adapter_core::{Body, Environ, Error, Request, Response};

use crate::support::{Client, each};

async fn hello(_: Request, _: Environ) -> Result<Response, Error> {
    Ok(Response::new(Body::from("hello")))
}

/// \[SHU-15\] A head that comes in two packets is as much on its way as one that comes whole.
#[test]
fn who_is_in_the_middle_of_a_head_is_answered() {
    for _ in 0..2 {
        each(hello, |server| {
            let mut client = Client::connect(server.addr);
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            client.head();
            assert_eq!(client.exact(5).unwrap(), b"hello");
            client.send(b"GET / HTTP/1.1\r\nHo");
            // Time in which the server sees that.
            let mut other = Client::connect(server.addr);
            other.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            other.whole();
            server.trigger().drain();
            client.send(b"st: a\r\n\r\n");
            let head = client.head();
            assert!(head.starts_with("HTTP/1.1 200 "), "{head:?}");
            assert_eq!(client.exact(5).unwrap(), b"hello");
            server.wait();
        });
    }
}
