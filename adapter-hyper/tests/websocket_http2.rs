//! WebSockets and tunnels over HTTP/2 by extended CONNECT, with the `h2` client. \[UPG-26\] RFC 8441

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::mpsc;

use adapter_core::http::{Method, Request as HttpRequest, StatusCode, Version};
use adapter_core::websocket::{Deflate, Error as SocketError, Upgrade};
use adapter_core::{Body, Bytes, Environ, Error, Request, Response};
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};

use crate::support::{PATIENCE, TEXT, close, config, frame, serve, servers, start, text};

async fn echo(request: Request, environ: Environ) -> Result<Response, Error> {
    // As any other request: origin-form, and Host.
    assert_eq!(request.version(), Version::HTTP_2);
    assert_eq!(request.headers()["host"], "test.example");
    if request.uri().path() == "/plain" {
        return Ok(Response::new(Body::from("plain")));
    }
    assert_eq!(request.uri(), "/chat?room=1");
    let upgrade = Upgrade::from_request(&request, &environ)?.protocols(["echo"]);
    let upgrade = upgrade.deflate(Deflate::default().server_context_takeover(true).min_message_bytes(0));
    Ok(upgrade.accept(|mut socket| async move {
        while let Some(message) = socket.recv().await {
            socket.send(message?).await?;
        }
        Ok::<_, SocketError>(())
    })?)
}

/// One stream of a WebSocket.
struct Stream {
    send: SendStream<Bytes>,
    receive: RecvStream,
    buffer: Vec<u8>,
}

impl Stream {
    fn send(&mut self, octets: Vec<u8>) {
        self.send.send_data(octets.into(), false).unwrap();
    }

    async fn exact(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            let data = self.receive.data().await.expect("not the end").unwrap();
            self.receive.flow_control().release_capacity(data.len()).unwrap();
            self.buffer.extend_from_slice(&data);
        }
        let rest = self.buffer.split_off(count);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// The next short frame.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.exact(2).await;
        (head[0], self.exact(usize::from(head[1])).await)
    }

    async fn end(&mut self) {
        while let Some(data) = self.receive.data().await {
            assert!(data.unwrap().is_empty());
        }
    }
}

async fn connect(addr: SocketAddr) -> SendRequest<Bytes> {
    let tcp = tokio::net::TcpStream::connect(addr).await.unwrap();
    let (client, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    // RFC 8441 §3: the server's settings have to be here first
    while !client.is_extended_connect_protocol_enabled() {
        poll_fn(|cx| client.poll_ready(cx)).await.unwrap();
        tokio::task::yield_now().await;
    }
    client
}

async fn open(client: &mut SendRequest<Bytes>, fields: &[(&str, &str)]) -> (Response<()>, Stream) {
    let mut request = HttpRequest::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_2)
        .uri("http://test.example/chat?room=1")
        .extension(Protocol::from_static("websocket"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let (response, send) = client.send_request(request.body(()).unwrap(), false).unwrap();
    let (head, receive) = response.await.unwrap().into_parts();
    (Response::from_parts(head, ()), Stream { send, receive, buffer: Vec::new() })
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("hangs") });
}

const VERSION: (&str, &str) = ("sec-websocket-version", "13");

#[test]
fn the_same_application_has_websockets_over_http2() {
    for server in servers() {
        let server = start(&*server, echo, config());
        run(async {
            let mut client = connect(server.addr).await;
            let (head, mut one) = open(&mut client, &[VERSION, ("sec-websocket-protocol", "x, echo")]).await;
            assert_eq!(head.status(), 200);
            assert_eq!(head.headers()["sec-websocket-protocol"], "echo");
            for name in ["sec-websocket-accept", "upgrade", "connection", "content-length"] {
                assert!(!head.headers().contains_key(name), "{name}");
            }
            let (_, mut two) = open(&mut client, &[VERSION]).await;
            // both on one connection, and plain requests beside them
            for n in 0..20 {
                one.send(text(&format!("one {n}")));
                two.send(text(&format!("two {n}")));
                assert_eq!(two.frame().await, (0x80 | TEXT, format!("two {n}").into_bytes()));
                assert_eq!(one.frame().await, (0x80 | TEXT, format!("one {n}").into_bytes()));
            }
            let plain = HttpRequest::get("http://test.example/plain").body(()).unwrap();
            let response = client.send_request(plain, true).unwrap().0.await.unwrap();
            assert_eq!(response.status(), 200);
            one.send(close(1000, ""));
            assert_eq!(one.frame().await, (0x88, vec![3, 232]));
            one.end().await;
            // every octet by itself
            for octet in frame(0x81, b"piecewise") {
                two.send(vec![octet]);
            }
            assert_eq!(two.frame().await, (0x81, b"piecewise".to_vec()));
            two.send(frame(0xf1, b""));
            assert_eq!(two.frame().await.1[..2], [3, 234]);
            two.end().await;
        });
        server.stop();
    }
}

/// RFC 7692 §7.2.3.1, §7.2.3.2
#[test]
fn messages_are_compressed_over_http2_too() {
    const COMPRESSED: u8 = 0xc0 | TEXT;
    for server in servers() {
        let server = start(&*server, echo, config());
        run(async {
            let mut client = connect(server.addr).await;
            let offer = ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits");
            let (head, mut stream) = open(&mut client, &[VERSION, offer]).await;
            assert_eq!(head.headers()["sec-websocket-extensions"], "permessage-deflate; client_no_context_takeover");
            let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
            stream.send(frame(COMPRESSED, &hello));
            let (first, payload) = stream.frame().await;
            assert_eq!((first, &payload[..]), (COMPRESSED, &hello[..]));
            stream.send(frame(COMPRESSED, &hello));
            let (first, payload) = stream.frame().await;
            assert_eq!((first, payload.len()), (COMPRESSED, 5), "it refers to the one before");
            stream.send(frame(0xc0 | 9, b""));
            assert_eq!(stream.frame().await.1[..2], 1002_u16.to_be_bytes());
            stream.end().await;
        });
    }
}

#[test]
fn a_large_message_passes_flow_control() {
    let server = serve(echo);
    run(async {
        let mut client = connect(server.addr).await;
        let (_, mut stream) = open(&mut client, &[VERSION]).await;
        let octets = frame(0x82, &vec![9; 1 << 20]);
        let mut sent = 0;
        while sent < octets.len() {
            stream.send.reserve_capacity(octets.len() - sent);
            let capacity = poll_fn(|cx| stream.send.poll_capacity(cx)).await.unwrap().unwrap();
            let end = octets.len().min(sent + capacity);
            stream.send(octets[sent..end].to_vec());
            sent = end;
        }
        let head = stream.exact(10).await;
        assert_eq!(head[..2], [0x82, 127]);
        assert!(stream.exact(1 << 20).await.iter().all(|octet| *octet == 9));
    });
}

#[test]
fn what_is_no_handshake_is_refused() {
    let server = serve(echo);
    run(async {
        let mut client = connect(server.addr).await;
        let (head, _) = open(&mut client, &[]).await;
        assert_eq!(head.status(), 400, "no version");
        let (head, _) = open(&mut client, &[("sec-websocket-version", "8")]).await;
        assert_eq!(
            (head.status(), &head.headers()["sec-websocket-version"]),
            (StatusCode::UPGRADE_REQUIRED, &"13".parse().unwrap())
        );
        let request =
            HttpRequest::get("http://test.example/chat?room=1").header(VERSION.0, VERSION.1).body(()).unwrap();
        assert_eq!(client.send_request(request, true).unwrap().0.await.unwrap().status(), 400, "not CONNECT");
    });
}

#[test]
fn a_reset_stream_is_a_loss_and_the_others_go_on() {
    let (told, tell) = mpsc::channel();
    let server = serve(move |request: Request, environ: Environ| {
        let told = told.clone();
        async move {
            let upgrade = Upgrade::from_request(&request, &environ)?;
            let gone = environ.disconnected();
            Ok::<_, Error>(upgrade.accept(move |mut socket| async move {
                let mut end = None;
                while let Some(message) = socket.recv().await {
                    match message {
                        Ok(message) => socket.send(message).await?,
                        Err(error) => end = Some(error),
                    }
                }
                gone.await;
                told.send((end, socket.closed().unwrap().code)).unwrap();
                Ok::<_, SocketError>(())
            })?)
        }
    });
    run(async {
        let mut client = connect(server.addr).await;
        let (_, mut one) = open(&mut client, &[VERSION]).await;
        let (_, mut two) = open(&mut client, &[VERSION]).await;
        one.send.send_reset(h2::Reason::CANCEL);
        let tell = tokio::task::spawn_blocking(move || tell.recv_timeout(PATIENCE).unwrap());
        assert_eq!(tell.await.unwrap(), (Some(SocketError::Lost), 1006));
        two.send(text("still here"));
        assert_eq!(two.frame().await.1, b"still here");
    });
}

#[test]
fn the_shutdown_closes_with_1001_and_waits() {
    for server in servers() {
        let server = start(&*server, echo, config());
        run(async {
            let mut client = connect(server.addr).await;
            let (_, mut stream) = open(&mut client, &[VERSION]).await;
            stream.send(text("hi"));
            assert_eq!(stream.frame().await.1, b"hi");
            server.trigger().trigger();
            assert_eq!(stream.frame().await.1[..2], [3, 233]);
            stream.send(close(1001, ""));
            stream.end().await;
        });
        server.wait();
    }
}

#[test]
fn quiet_streams_outlive_the_timeouts() {
    let mut config = config();
    config.timeouts.keep_alive = Some(std::time::Duration::from_millis(50));
    let server = start(&adapter_hyper::HyperServer::new(), echo, config);
    run(async {
        let mut client = connect(server.addr).await;
        let (_, mut stream) = open(&mut client, &[VERSION]).await;
        // Waits for an event that must not come.
        let quiet = tokio::time::timeout(std::time::Duration::from_millis(300), stream.receive.data()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        stream.send(text("still here"));
        assert_eq!(stream.frame().await.1, b"still here", "[UPG-23a]");
    });
}
