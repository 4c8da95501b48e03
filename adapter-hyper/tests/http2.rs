//! Streams of HTTP/2 have tasks of their own, which run beside their connection's. With the `h2` client.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;

use adapter_core::http::Request as HttpRequest;
use adapter_core::{Body, Bytes, Environ, Error, Request, Response};
use adapter_hyper::HyperServer;
use h2::client::{Connection, SendRequest};
use h2::{Reason, RecvStream};
use http_body::Frame;
use tokio::net::TcpStream;

use crate::support::{PATIENCE, Running, config, servers, start};

/// One octet. Being dropped, it waits until the client has the end of the response, which its connection's task sends.
struct Lingers {
    sent: bool,
    seen: mpsc::Receiver<()>,
}

impl http_body::Body for Lingers {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let first = !std::mem::replace(&mut self.sent, true);
        Poll::Ready(first.then(|| Ok(Frame::data(Bytes::from_static(b"x")))))
    }
}

impl Drop for Lingers {
    fn drop(&mut self) {
        // A worker keeps to itself the task it woke last: not the connection's.
        tokio::spawn(async {});
        let _ = self.seen.recv_timeout(PATIENCE);
    }
}

/// A body of as many octets as the path says, and then a failure.
async fn failing(request: Request, _: Environ) -> Result<Response, Error> {
    let size = request.uri().path().trim_start_matches('/').parse()?;
    let chunks = [Ok(Bytes::from(vec![b'x'; size])), Err(Error::from("it failed"))];
    Ok(Response::new(Body::from_iterator(chunks)))
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
    let (see, seen) = mpsc::channel();
    let seen = Mutex::new(Some(seen));
    let application = move |_: Request, _: Environ| {
        let seen = seen.lock().unwrap().take().expect("one request");
        async move {
            let mut response = Response::new(Body::from_http_body(Lingers { sent: false, seen }));
            // The end is known then, and the body is not asked for more before it is said.
            response.headers_mut().insert("content-length", 1.into());
            Ok::<_, Error>(response)
        }
    };
    let mut config = config();
    // One that waits in the drop, and one for the connection.
    config.threads = Some(2);
    config.timeouts.keep_alive = Some(Duration::from_millis(50));
    let server = start(&HyperServer::new(), application, config);
    run(async {
        let (mut client, connection) = connect(&server).await;
        // It ends by itself, and not because nobody holds the client.
        let ended = tokio::spawn(connection);
        let mut body = get(&mut client, "/").await;
        while let Some(data) = body.data().await {
            assert_eq!(data.unwrap(), "x");
        }
        see.send(()).unwrap();
        ended.await.unwrap().unwrap();
        drop(client);
    });
}

#[test]
fn what_comes_before_a_failure_arrives_before_the_reset() {
    for server in servers() {
        let server = start(&*server, failing, config());
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

/// A client with one connection, as those of gRPC are, is not served by one thread.
#[test]
fn who_takes_time_holds_up_no_neighbour() {
    let both = Arc::new(Barrier::new(2));
    let application = move |request: Request, _: Environ| {
        let both = both.clone();
        async move {
            match request.uri().path() {
                // Longer than is quick.
                "/slow" => std::thread::sleep(Duration::from_millis(5)),
                // Neither goes on without the other.
                _ => _ = both.wait(),
            }
            Ok::<_, Error>(Response::default())
        }
    };
    let mut config = config();
    config.threads = Some(4);
    let server = start(&HyperServer::new(), application, config);
    run(async {
        let (mut client, connection) = connect(&server).await;
        tokio::spawn(connection);
        drop(get(&mut client, "/slow").await);
        let mut other = client.clone();
        drop(futures_lite::future::zip(get(&mut client, "/"), get(&mut other, "/")).await);
    });
}

/// What comes while an application is called in its connection's task wakes that task all the same.
#[test]
fn what_comes_during_the_call_is_read() {
    let (calls, called) = mpsc::channel();
    let (sends, sent) = mpsc::channel();
    let sent = Mutex::new(sent);
    let application = move |mut request: Request, _: Environ| {
        if request.method() == "POST" {
            // A worker keeps to itself the task it woke last; another one comes for the first, and then waits for sockets.
            tokio::spawn(async {});
            tokio::spawn(async {});
            calls.send(()).unwrap();
            sent.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        async move {
            let text = request.body_mut().text(100).await?;
            Ok::<_, Error>(Response::new(Body::from(text)))
        }
    };
    let mut config = config();
    config.threads = Some(4);
    // Not on actix, where one thread sees to the sockets and to what is called.
    let server = start(&HyperServer::new(), application, config);
    let connect = || {
        let socket = std::net::TcpStream::connect(server.addr).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    let mut socket = connect();
    // POST, http, /, a
    let request = b"\0\0\x06\x01\x04\0\0\0\x01\x83\x86\x84\x41\x01a";
    let begin = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..], request].concat();
    socket.write_all(&begin).unwrap();
    called.recv_timeout(PATIENCE).unwrap();
    socket.write_all(b"\0\0\x05\0\x01\0\0\0\x01hello").unwrap();
    // Who sees this come has seen that come.
    let mut other = connect();
    other.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(other.read(&mut [0; 1]).unwrap() > 0, "another request");
    sends.send(()).unwrap();
    let (mut seen, mut buffer) = (Vec::new(), [0; 1024]);
    while !seen.ends_with(b"hello") {
        let count = socket.read(&mut buffer).expect("an answer");
        assert!(count > 0, "the end: {}", seen.escape_ascii());
        seen.extend_from_slice(&buffer[..count]);
    }
}

/// A refusal comes to who still sends, and no reset that it may be lost with; a success is followed by one. \[REQ-12\] RFC 9113 §8.1
#[test]
fn a_refusal_is_not_overtaken_by_a_reset() {
    let application = |request: Request, _: Environ| async move {
        let status = request.uri().path().trim_start_matches('/').parse()?;
        let mut response = Response::new(Body::from("early"));
        *response.status_mut() = status;
        Ok::<_, Error>(response)
    };
    let mut config = config();
    config.limits.body_bytes = Some(1000);
    for server in servers() {
        let server = start(&*server, application, config.clone());
        run(async {
            let (mut client, connection) = connect(&server).await;
            tokio::spawn(connection);
            // The server's own refusal, and the application's.
            for (path, length, is_reset) in [("/204", 1001, false), ("/403", 8, false), ("/200", 8, true)] {
                let request = HttpRequest::post(format!("http://test.example{path}")).header("content-length", length);
                let (response, mut upload) = client.send_request(request.body(()).unwrap(), false).unwrap();
                let mut body = response.await.unwrap().into_body();
                assert!(!body.data().await.unwrap().unwrap().is_empty(), "{path}");
                if is_reset {
                    let reason = poll_fn(|cx| upload.poll_reset(cx)).await.unwrap();
                    assert_eq!(reason, Reason::NO_ERROR, "{path}");
                } else {
                    upload.send_data(vec![b'x'; length].into(), true).unwrap();
                    // Behind the answer to another request a reset would be here.
                    drop(get(&mut client, "/200").await);
                    assert!(poll_fn(|cx| Poll::Ready(upload.poll_reset(cx))).await.is_pending(), "{path}");
                }
            }
        });
    }
}

/// What a body says and does.
struct Says {
    hint: Option<u64>,
    ended: bool,
    frames: Vec<Frame<Bytes>>,
}

impl http_body::Body for Says {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = (!self.frames.is_empty()).then(|| self.frames.remove(0));
        let count = next.as_ref().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
        self.hint = self.hint.map(|left| left - count);
        Poll::Ready(next.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.hint.map_or_else(http_body::SizeHint::new, http_body::SizeHint::with_exact)
    }
}

/// gRPC's "trailers only" is a HEADERS frame that ends the stream; clients take another end for a loss.
#[test]
fn a_body_that_has_ended_is_headers_alone() {
    let application = |_: Request, _: Environ| async {
        let body = Body::from_http_body(Says { hint: None, ended: true, frames: Vec::new() });
        let mut response = Response::new(body);
        response.headers_mut().insert("grpc-status", 7.into());
        Ok::<_, Error>(response)
    };
    for server in servers() {
        let server = start(&*server, application, config());
        run(async {
            let (mut client, connection) = connect(&server).await;
            tokio::spawn(connection);
            let body = get(&mut client, "/").await;
            assert!(body.is_end_stream(), "END_STREAM is on the HEADERS");
        });
    }
}

#[test]
fn trailers_follow_whatever_the_hint_says() {
    let application = |request: Request, _: Environ| async move {
        let mut trailers = adapter_core::http::HeaderMap::new();
        trailers.insert("grpc-status", 0.into());
        let data = || Frame::data(Bytes::from_static(b"ab"));
        let (hint, mut frames) = match request.uri().path() {
            "/none" => (Some(0), vec![]),
            "/known" => (Some(2), vec![data()]),
            _ => (None, vec![data()]),
        };
        frames.push(Frame::trailers(trailers));
        Ok::<_, Error>(Response::new(Body::from_http_body(Says { hint, ended: false, frames })))
    };
    for server in servers() {
        let server = start(&*server, application, config());
        run(async {
            let (mut client, connection) = connect(&server).await;
            tokio::spawn(connection);
            for (path, expected) in [("/none", 0), ("/known", 2), ("/unknown", 2)] {
                let mut body = get(&mut client, path).await;
                let mut count = 0;
                while let Some(data) = body.data().await {
                    count += data.unwrap().len();
                }
                assert_eq!(count, expected, "{path}");
                let trailers = body.trailers().await.unwrap().expect(path);
                assert_eq!(trailers["grpc-status"], "0", "{path}");
            }
        });
    }
}

/// [RTM-03], [DIS-05] a job that no thread has begun goes with its stream, and leaves its place to others.
#[test]
fn a_job_that_has_not_begun_goes_with_its_stream() {
    for server in servers() {
        let (begun, has_begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let application = adapter_core::blocking(move |request: Request<adapter_core::BlockingBody>, _: Environ| {
            begun.send(request.uri().path().to_owned()).unwrap();
            if request.uri().path() == "/first" {
                let _ = released.lock().unwrap().recv_timeout(PATIENCE);
            }
            Ok::<_, Error>(Response::new(Body::from("done")))
        });
        let mut config = config();
        (config.blocking_threads, config.blocking_queue) = (1, 1);
        let server = start(&*server, application, config);
        run(async {
            let (mut client, connection) = connect(&server).await;
            tokio::spawn(connection);
            let mut send = |path: &str| {
                let request = HttpRequest::get(format!("http://test.example{path}")).body(()).unwrap();
                client.send_request(request, true).unwrap()
            };
            let (first, _) = send("/first");
            let on_thread = tokio::task::spawn_blocking(move || (has_begun.recv_timeout(PATIENCE), has_begun));
            let (path, has_begun) = on_thread.await.unwrap();
            assert_eq!(path.unwrap(), "/first");
            // Not so many that h2 takes it for an attack.
            for _ in 0..10 {
                // It takes the one place in the line, unless the one before it has not left it yet.
                let (waiting, mut stream) = send("/abandoned");
                stream.send_reset(Reason::CANCEL);
                assert!(waiting.await.is_err());
            }
            // Refused until the last reset was handled, and then it waits for the one thread.
            let mut last = tokio::spawn(send("/last").0);
            while let Ok(answer) = tokio::time::timeout(Duration::from_millis(300), &mut last).await {
                assert_eq!(answer.unwrap().unwrap().status(), 503);
                last = tokio::spawn(send("/last").0);
            }
            release.send(()).unwrap();
            assert_eq!(first.await.unwrap().status(), 200);
            assert_eq!(last.await.unwrap().unwrap().status(), 200);
            let begun: Vec<String> = has_begun.try_iter().collect();
            assert_eq!(begun, ["/last"], "what was abandoned was not begun");
        });
    }
}
