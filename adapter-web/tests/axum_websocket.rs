//! axum's own `WebSocketUpgrade`, and `hyper::upgrade::on`, on every server, as under `axum::serve`; and what a server owes
//! every WebSocket. \[UPG-19\], \[UPG-20\], \[UPG-22\], \[UPG-26\]

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::future::poll_fn;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use adapter_core::http::{Method, Request as HttpRequest, StatusCode, Version, header};
use adapter_core::websocket::{self, Upgrade};
use adapter_web::{Environ, axum as application};
use axum::body::{Body, Bytes};
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Extension, Router};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{
    ASK, BINARY, CLOSE, Client, PATIENCE, PING, PONG, TEXT, ask, close, config, each, each_with, frame, handshake,
    status, text,
};

async fn echoing(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_) | Message::Binary(_)) && socket.send(message).await.is_err() {
            return;
        }
    }
}

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.protocols(["chat.v2", "chat.v1"]).on_upgrade(echoing)
}

fn router() -> Router {
    Router::new().route("/", any(echo)).route("/plain", get(|| async { "plain" }))
}

#[test]
fn messages_go_both_ways() {
    each(application(router()), |server| {
        let mut client = Client::connect(server.addr);
        // with the first frame right behind the handshake
        let offer = "Sec-WebSocket-Protocol: chat.v1, chat.v3\r\n";
        client.send(&[handshake("/", offer).as_bytes(), &text("early")].concat());
        let head = client.head().to_lowercase();
        assert!(head.starts_with("http/1.1 101 switching protocols\r\n"), "{head}");
        for line in ["upgrade: websocket", "connection: upgrade", "sec-websocket-protocol: chat.v1"] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
        }
        assert!(head.contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "RFC 6455 §1.3: {head}");
        client.expect(TEXT, b"early");
        for length in [0, 1, 125, 126, 70_000, 3_000_000] {
            let payload: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let message = frame(0x80 | BINARY, &payload);
            let mut writer = client.stream.try_clone().unwrap();
            std::thread::scope(|scope| {
                scope.spawn(move || writer.write_all(&message).unwrap());
                client.expect(BINARY, &payload);
            });
        }
        client.send(&frame(0x80 | PING, b"are you there"));
        client.expect(PONG, b"are you there");
        client.send(&close(1000, "bye"));
        let answer = client.frame().unwrap();
        assert_eq!(answer.close(), Some((1000, "bye".into())));
        client.expect_end();
    });
}

#[test]
fn what_is_no_handshake_is_answered_as_ever() {
    each(application(router()), |server| {
        let mut client = Client::connect(server.addr);
        client.send(handshake("/plain", "").as_bytes());
        assert!(client.head().starts_with("HTTP/1.1 200 "), "a route that does not care");
        assert_eq!(client.exact(5).unwrap(), b"plain");
        client.send(handshake("/", "").replace("Version: 13", "Version: 8").as_bytes());
        assert_eq!(status(&client.head()), 400);
        assert_eq!(ask(&server, "/").0, 400, "no upgrade at all");
    });
}

/// As `axum::serve`: the program learns that there will be no WebSocket.
#[test]
fn a_handler_may_change_its_mind() {
    let (failed, failures) = mpsc::channel();
    let failed = Mutex::new(failed);
    let refusing = move |upgrade: WebSocketUpgrade| {
        let failed: Sender<String> = failed.lock().unwrap().clone();
        let accepted = upgrade
            .on_failed_upgrade(move |error: axum::Error| failed.send(error.to_string()).unwrap())
            .on_upgrade(|_socket| async { panic!("there is none") });
        assert_eq!(accepted.status(), StatusCode::SWITCHING_PROTOCOLS);
        async { StatusCode::FORBIDDEN }
    };
    let refusing = std::sync::Arc::new(refusing);
    let handler = move |upgrade: WebSocketUpgrade| refusing(upgrade);
    each(application(Router::new().route("/", any(handler))), |server| {
        let mut client = Client::connect(server.addr);
        client.send(handshake("/", "").as_bytes());
        assert!(client.head().starts_with("HTTP/1.1 403 "));
        assert_eq!(failures.recv_timeout(PATIENCE).unwrap(), "operation was canceled");
    });
}

/// The interface's own WebSockets in an axum handler go on working.
#[test]
fn a_handler_may_use_the_interfaces_own() {
    async fn native(Extension(environ): Extension<Environ>, request: Request) -> Response {
        let upgrade = match Upgrade::from_request(&request, &environ) {
            Ok(upgrade) => upgrade,
            Err(error) => return error.response().map(Body::from),
        };
        let accepted = upgrade.accept(|mut socket| async move {
            while let Some(message) = socket.recv().await {
                socket.send(message?).await?;
            }
            Ok::<_, websocket::Error>(())
        });
        accepted.unwrap().map(Body::from)
    }
    each(application(Router::new().route("/", any(native))), |server| {
        let mut client = Client::open(server.addr, "/");
        client.send(&text("native"));
        client.expect(TEXT, b"native");
    });
}

#[test]
fn any_protocol_may_take_the_connection() {
    async fn other(request: Request) -> Response {
        tokio::spawn(async move {
            let upgraded = hyper::upgrade::on(request).await.unwrap();
            let mut stream = hyper_util::rt::TokioIo::new(upgraded);
            let mut octets = [0; 5];
            stream.read_exact(&mut octets).await.unwrap();
            stream.write_all(b"\x82\x7fHTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
            stream.write_all(&octets).await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut octets).await.unwrap(), 0);
        });
        (StatusCode::SWITCHING_PROTOCOLS, [(header::UPGRADE, "echo")]).into_response()
    }
    each(application(Router::new().route("/echo", any(other))), |server| {
        let mut client = Client::connect(server.addr);
        client.send(&[ASK, b"hello"].concat());
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        assert_eq!(client.exact(32).unwrap(), b"\x82\x7fHTTP/1.1 100 Continue\r\n\r\nhello");
        client.expect_end();
    });
}

/// Tells what a program sees of its WebSocket.
async fn witnessed(upgrade: WebSocketUpgrade, State(seen): State<Sender<String>>) -> Response {
    upgrade.on_upgrade(|mut socket| async move {
        socket.send(Message::Text("open".into())).await.unwrap();
        while let Some(message) = socket.recv().await {
            seen.send(match message {
                Ok(Message::Close(Some(CloseFrame { code, .. }))) => format!("close {code}"),
                Ok(message) => format!("{message:?}"),
                Err(error) => format!("error {error}"),
            })
            .unwrap();
        }
        let sent = socket.send(Message::Text("too late".into())).await;
        seen.send(format!("end, sent {}", sent.is_ok())).unwrap();
    })
}

fn witness() -> (Router, Receiver<String>) {
    let (seen, saw) = mpsc::channel();
    (Router::new().route("/", any(witnessed)).with_state(seen), saw)
}

/// [UPG-22] the program and the client learn that the server goes away, and then it stops.
#[test]
fn a_shutdown_closes_with_1001() {
    let (router, saw) = witness();
    each(application(router), |server| {
        let mut client = Client::open(server.addr, "/");
        client.expect(TEXT, b"open");
        let stopping = std::thread::spawn(move || server.stop());
        client.expect_close_answering(1001);
        assert_eq!(saw.recv_timeout(PATIENCE).unwrap(), "close 1001");
        assert_eq!(saw.recv_timeout(PATIENCE).unwrap(), "end, sent false");
        stopping.join().unwrap();
    });
}

/// [UPG-22] a client that does not answer is waited for a while, not until the deadline.
#[test]
fn a_shutdown_does_not_wait_for_a_silent_client() {
    let (router, saw) = witness();
    let mut config = config();
    config.timeouts.graceful_shutdown = PATIENCE * 10;
    each_with(config, application(router), |server| {
        let mut client = Client::open(server.addr, "/");
        client.expect(TEXT, b"open");
        let stopping = std::thread::spawn(move || server.stop());
        client.expect_close(1001);
        assert!(saw.recv_timeout(PATIENCE).unwrap().starts_with("error "), "no closing handshake");
        stopping.join().unwrap();
        while saw.try_recv().is_ok() {}
    });
}

/// A Close comes between two frames of the program's, and nothing behind it.
#[test]
fn a_shutdown_does_not_break_a_frame() {
    async fn pouring(upgrade: WebSocketUpgrade, State(ended): State<Sender<()>>) -> Response {
        upgrade.on_upgrade(|mut socket| async move {
            let message = Bytes::from(vec![0x88; 300_000]);
            while socket.send(Message::Binary(message.clone())).await.is_ok() {}
            ended.send(()).unwrap();
        })
    }
    let (ended, has_ended) = mpsc::channel();
    each(application(Router::new().route("/", any(pouring)).with_state(ended)), |server| {
        let mut client = Client::open(server.addr, "/");
        client.expect(BINARY, &[0x88; 300_000]);
        // Nothing is read until the output is stuck within a frame, or will be.
        server.trigger().trigger();
        let last = loop {
            let frame = client.frame().unwrap();
            if frame.opcode() != BINARY {
                break frame;
            }
            assert_eq!(frame.payload.len(), 300_000);
        };
        assert_eq!(last.close().unwrap().0, 1001);
        client.expect_end();
        has_ended.recv_timeout(PATIENCE).unwrap();
        server.wait();
    });
}

/// A program that closes by itself is not closed once more.
#[test]
fn a_program_that_has_closed_is_left_alone_by_a_shutdown() {
    async fn leaving(upgrade: WebSocketUpgrade) -> Response {
        upgrade.on_upgrade(|mut socket| async move {
            let frame = CloseFrame { code: 4000, reason: "mine".into() };
            socket.send(Message::Close(Some(frame))).await.unwrap();
            while socket.recv().await.is_some() {}
        })
    }
    each(application(Router::new().route("/", any(leaving))), |server| {
        let mut client = Client::open(server.addr, "/");
        let closing = client.frame().unwrap();
        assert_eq!(closing.close(), Some((4000, "mine".into())));
        server.trigger().trigger();
        client.send(&close(4000, "mine"));
        client.expect_end();
        server.wait();
    });
}

#[test]
fn a_deadline_takes_the_connection_away() {
    async fn deaf(upgrade: WebSocketUpgrade, State(ended): State<Sender<bool>>) -> Response {
        upgrade.on_upgrade(|mut socket| async move {
            socket.send(Message::Text("open".into())).await.unwrap();
            // Of no use to the server: neither reads nor writes.
            let _kept = (socket, Drops(ended));
            std::future::pending::<()>().await;
        })
    }
    struct Drops(Sender<bool>);
    impl Drop for Drops {
        fn drop(&mut self) {
            let _ = self.0.send(true);
        }
    }
    let (ended, _has_ended) = mpsc::channel();
    let mut config = config();
    config.timeouts.graceful_shutdown = Duration::from_millis(200);
    each_with(config, application(Router::new().route("/", any(deaf)).with_state(ended)), |server| {
        let mut client = Client::open(server.addr, "/");
        client.expect(TEXT, b"open");
        let stopping = std::thread::spawn(move || {
            let mut server = server;
            server.end()
        });
        let frame = client.frame().unwrap();
        assert_eq!(frame.opcode(), CLOSE);
        client.expect_end();
        let _ = stopping.join().unwrap();
    });
}

/// [UPG-26] RFC 8441
#[test]
fn websockets_come_over_http2_too() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for server in adapter_web::servers() {
        if !server.info().capabilities.http2 {
            continue;
        }
        println!("on {}", server.info().name);
        let running = support::start(server, application(router()), config());
        let talk = async {
            let tcp = tokio::net::TcpStream::connect(running.addr).await.unwrap();
            let (client, connection) = h2::client::handshake(tcp).await.unwrap();
            tokio::spawn(connection);
            let mut client = client.ready().await.unwrap();
            while !client.is_extended_connect_protocol_enabled() {
                poll_fn(|cx| client.poll_ready(cx)).await.unwrap();
                tokio::task::yield_now().await;
            }
            let request = HttpRequest::builder()
                .method(Method::CONNECT)
                .version(Version::HTTP_2)
                .uri("http://test.example/")
                .header("sec-websocket-version", "13")
                .extension(h2::ext::Protocol::from_static("websocket"));
            let (response, mut send) = client.send_request(request.body(()).unwrap(), false).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), 200);
            let mut receive = response.into_body();
            let mut received = Vec::new();
            send.send_data(text("over HTTP/2").into(), false).unwrap();
            while received.len() < 13 {
                received.extend_from_slice(&receive.data().await.unwrap().unwrap());
            }
            assert_eq!(received, b"\x81\x0bover HTTP/2");
            received.clear();
            let trigger = running.trigger();
            trigger.trigger();
            while received.len() < 4 {
                received.extend_from_slice(&receive.data().await.unwrap().unwrap());
            }
            assert_eq!(received, [0x88, 2, 0x03, 0xe9], "[UPG-22]");
            send.send_data(close(1001, "").into(), false).unwrap();
            while let Some(data) = receive.data().await {
                assert!(data.unwrap().is_empty());
            }
            running.wait();
        };
        runtime.block_on(async { tokio::time::timeout(PATIENCE, talk).await.expect("hangs") });
    }
}
