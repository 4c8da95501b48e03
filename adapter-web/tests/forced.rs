//! A forced end in the middle of a response, on every server.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{ErrorKind, Read as _};

use adapter_core::{Body, Environ, Error, Request, Response};
use futures_lite::{StreamExt as _, stream};

use crate::support::{Client, each};

async fn begins(_: Request, _: Environ) -> Result<Response, Error> {
    let begun = stream::iter([Ok::<_, Error>("begun")]);
    Ok(Response::new(Body::from_stream(begun.chain(stream::pending()))))
}

/// \[BOD-14b\] An orderly end would be the end of a body that only the connection ends.
#[test]
fn what_it_cuts_off_looks_cut_off() {
    each(begins, |server| {
        let mut client = Client::connect(server.addr);
        client.send(b"GET / HTTP/1.0\r\n\r\n");
        client.head();
        assert_eq!(client.exact(5).unwrap(), b"begun");
        server.trigger().force();
        let end = client.stream.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(end, Err(ErrorKind::ConnectionReset));
        server.wait();
    });
}
