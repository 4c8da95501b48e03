//! Streams of HTTP/2 have tasks of their own, which run beside their connection's. With the `h2` client.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use adapter_core::http::Request as HttpRequest;
use adapter_core::{Body, Bytes, Environ, Error, Request, Response};
use futures_lite::Stream;
use h2::client::{Connection, SendRequest};
use h2::{Reason, RecvStream};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, Running, config, servers, start};

/// Ends at once, and is long about being dropped.
struct Lingers;

impl Stream for Lingers {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}

impl Drop for Lingers {
    fn drop(&mut self) {
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// `/lingers`, or a body of as many octets as the path says, and then a failure.
async fn application(request: Request, _: Environ) -> Result<Response, Error> {
    let body = match request.uri().path().trim_start_matches('/').parse::<usize>() {
        Ok(size) => Body::from_iterator([Ok(Bytes::from(vec![b'x'; size])), Err(Error::from("it failed"))]),
        Err(_) => Body::from_stream(Lingers),
    };
    Ok(Response::new(body))
}

async fn connect(server: &Running) -> (SendRequest<Bytes>, Connection<TcpStream>) {
    h2::client::handshake(TcpStream::connect(server.addr).await.unwrap()).await.unwrap()
}

async fn get(client: &mut SendRequest<Bytes>, path: &str) -> RecvStream {
    let request = HttpRequest::get(format!("http://test.example{path}")).body(()).unwrap();
    client.send_request(request, true).unwrap().0.await.unwrap().into_body()
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("hangs") })
}

#[test]
fn a_connection_is_idle_also_after_a_response_that_is_dropped_late() {
    for server in servers() {
        let mut config = config();
        config.threads = Some(2);
        config.timeouts.keep_alive = Some(Duration::from_millis(50));
        let server = start(&*server, application, config);
        run(async {
            let (mut client, connection) = connect(&server).await;
            // It ends by itself, and not because nobody holds the client.
            let ended = tokio::spawn(connection);
            let mut body = get(&mut client, "/lingers").await;
            while let Some(data) = body.data().await {
                assert!(data.unwrap().is_empty());
            }
            ended.await.unwrap().unwrap();
            drop(client);
        });
    }
}

#[test]
fn what_comes_before_a_failure_arrives_before_the_reset() {
    for server in servers() {
        let server = start(&*server, application, config());
        run(async {
            let (mut client, connection) = connect(&server).await;
            tokio::spawn(connection);
            for size in [1, 5, 1000, 20_000, 300_000, 2_000_000].repeat(5) {
                let mut body = get(&mut client, &format!("/{size}")).await;
                let mut count = 0;
                let error = loop {
                    match body.data().await.expect("no proper end") {
                        // Room is made as the data comes, and no sooner.
                        Ok(data) => {
                            count += data.len();
                            body.flow_control().release_capacity(data.len()).unwrap();
                        }
                        Err(error) => break error,
                    }
                };
                assert_eq!((count, error.reason()), (size, Some(Reason::INTERNAL_ERROR)));
            }
        });
    }
}
