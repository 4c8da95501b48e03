//! WebSockets on every server: handshake, both faces, the end in all its forms. Frames are in `autobahn.rs`,
//! time and bounds in `websocket_bounds.rs`.
//! \[UPG-01\] to \[UPG-05\], \[UPG-07\], \[UPG-08\], \[UPG-12\] to \[UPG-15\], \[UPG-21\], \[UPG-24\]

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::net::Shutdown;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use adapter_core::http::header::{self, HeaderName};
use adapter_core::http::{HeaderValue, StatusCode};
use adapter_core::websocket::{Close, Error as SocketError, HandshakeError, Message, Upgrade};
use adapter_core::{Body, Environ, Error, Request, Response, blocking};

use crate::support::{BINARY, CLOSE, Client, PATIENCE, TEXT, close, each, frame, handshake, text};

async fn echo(request: Request, environ: Environ) -> Result<Response, Error> {
    let upgrade = Upgrade::from_request(&request, &environ)?.protocols(["chat.v2", "chat.v1"]);
    let upgrade = upgrade.header(HeaderName::from_static("x-more"), HeaderValue::from_static("yes"));
    Ok(upgrade.accept(|mut socket| async move {
        while let Some(message) = socket.recv().await {
            socket.send(message?).await?;
        }
        Ok::<_, SocketError>(())
    })?)
}

fn ask(addr: std::net::SocketAddr, request: &str) -> (Client, String) {
    let mut client = Client::connect(addr);
    client.send(request.as_bytes());
    let head = client.head();
    (client, head.to_lowercase())
}

#[test]
fn the_accept_is_that_of_the_key() {
    each(echo, |server| {
        let (mut client, head) = ask(server.addr, &handshake("/", ""));
        assert!(head.starts_with("http/1.1 101 switching protocols\r\n"), "[UPG-01] {head}");
        for line in ["upgrade: websocket", "connection: upgrade", "x-more: yes"] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
        }
        assert!(head.contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "RFC 6455 §1.3: {head}");
        assert!(!head.contains("sec-websocket-protocol"), "[UPG-07] none was offered");
        client.send(&text("hi"));
        client.expect(TEXT, b"hi");
        let stopping = std::thread::spawn(move || server.stop());
        client.expect_close_answering(1001);
        stopping.join().unwrap();
    });
}

#[test]
fn handshakes_are_told_from_bad_ones_and_from_plain_requests() {
    each(echo, |server| {
        let good = handshake("/", "");
        let with = |from: &str, to: &str| good.replace(from, to);
        let accepted = [
            with("Upgrade: websocket", "upgrade: WebSocket"),
            with("keep-alive, Upgrade", "UPGRADE"),
            with("Upgrade: websocket", "Upgrade: h2c, websocket"),
            with("Connection: keep-alive, Upgrade", "Connection: keep-alive\r\nConnection: upgrade"),
        ];
        for request in accepted {
            let (_client, head) = ask(server.addr, &request);
            assert!(head.starts_with("http/1.1 101 "), "[UPG-02] {request}{head}");
        }
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let refused = [
            ("[UPG-03a] no key", with(key, ""), 400),
            ("[UPG-03a] repeated", with(key, &format!("{key}{key}")), 400),
            ("[UPG-03a] too short", with("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400),
            ("[UPG-03a] not base64", with("dGhlIHNhbXBsZSBub25jZQ==", "!!!!!!!!!!!!!!!!!!!!!!=="), 400),
            ("[UPG-03b] version 8", with("Version: 13", "Version: 8"), 426),
            ("[UPG-03b] no number", with("Version: 13", "Version: x"), 426),
            ("no version", with("Sec-WebSocket-Version: 13\r\n", ""), 400),
            ("[UPG-05] plain", "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
            ("not GET", with("GET", "POST"), 400),
            ("HTTP/1.0", with("HTTP/1.1", "HTTP/1.0"), 400),
            ("no Connection", with("Connection: keep-alive, Upgrade\r\n", ""), 400),
            ("another protocol", with("Upgrade: websocket", "Upgrade: websockets"), 400),
        ];
        for (what, request, status) in refused {
            let (_client, head) = ask(server.addr, &request);
            assert_eq!(head.split(' ').nth(1), Some(status.to_string().as_str()), "{what}: {head}");
            assert_eq!(head.contains("sec-websocket-version: 13"), status == 426, "{what}: {head}");
        }
    });
}

#[test]
fn subprotocols_are_chosen_from_what_is_offered() {
    each(
        |request: Request, environ: Environ| async move {
            let upgrade = Upgrade::from_request(&request, &environ)?;
            let upgrade = match request.uri().path() {
                "/ours" => upgrade.protocols(["chat.v2", "chat.v1"]),
                "/not-offered" => upgrade.protocol("mqtt"),
                _ => upgrade.header(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static("permessage-deflate")),
            };
            Ok::<_, Error>(upgrade.accept(|socket| async move { drop(socket) })?)
        },
        |server| {
            let offer = "Sec-WebSocket-Protocol: chat.v1, x\r\nSec-WebSocket-Protocol: chat.v2\r\n\
                 Sec-WebSocket-Extensions: permessage-deflate\r\n";
            let (mut client, head) = ask(server.addr, &handshake("/ours", offer));
            assert!(head.contains("\r\nsec-websocket-protocol: chat.v2\r\n"), "{head}");
            assert!(!head.contains("sec-websocket-extensions"), "[UPG-24] {head}");
            assert_eq!(client.frame().unwrap().close().unwrap().0, 1000, "[UPG-13b]");
            for path in ["/not-offered", "/extension"] {
                let (_client, head) = ask(server.addr, &handshake(path, offer));
                assert!(head.starts_with("http/1.1 500 "), "{path}: {head}");
            }
        },
    );
}

#[test]
fn denial_and_failure_before_the_accept_are_ordinary_responses() {
    each(
        |request: Request, environ: Environ| async move {
            let upgrade = Upgrade::from_request(&request, &environ)?;
            match request.uri().path() {
                "/denied" => {
                    let mut response = Response::new(Body::from("not you"));
                    *response.status_mut() = StatusCode::FORBIDDEN;
                    Ok(response)
                }
                "/failed" => Err(Error::new("broken")),
                "/panicked" => panic!("broken"),
                _ => {
                    drop(upgrade.accept(|socket| async move { drop(socket) })?);
                    // [UPG-19a]
                    let again = Upgrade::from_request(&request, &environ).unwrap_err();
                    assert_eq!(again, HandshakeError::Taken);
                    Ok(again.into())
                }
            }
        },
        |server| {
            let (mut client, head) = ask(server.addr, &handshake("/denied", ""));
            assert!(head.starts_with("http/1.1 403 "), "[UPG-04] {head}");
            assert_eq!(client.exact(7).unwrap(), b"not you");
            client.send(handshake("/denied", "").as_bytes());
            assert!(client.head().starts_with("HTTP/1.1 403 "), "the connection goes on");
            for path in ["/failed", "/panicked", "/twice"] {
                let (_client, head) = ask(server.addr, &handshake(path, ""));
                assert!(head.starts_with("http/1.1 500 "), "[UPG-15a] {path} {head}");
            }
        },
    );
}

/// An application that tells how its WebSocket ended.
fn telling(told: mpsc::Sender<(Option<Close>, Option<SocketError>)>) -> impl adapter_core::Application {
    move |request: Request, environ: Environ| {
        let told = told.clone();
        async move {
            let upgrade = Upgrade::from_request(&request, &environ)?.max_message_bytes(100);
            Ok::<_, Error>(upgrade.accept(move |mut socket| async move {
                let mut failure = None;
                while let Some(message) = socket.recv().await {
                    match message {
                        Ok(message) => socket.send(message).await?,
                        Err(error) => failure = Some(error),
                    }
                }
                // [UPG-14] neither waits
                assert_eq!(socket.recv().await, None);
                assert!(socket.send("late").await.is_err());
                assert!(socket.close(1000, "").await.is_err());
                told.send((socket.closed(), failure)).unwrap();
                Ok::<_, SocketError>(())
            })?)
        }
    }
}

#[test]
fn the_application_learns_how_it_ended() {
    let (told, tell) = mpsc::channel();
    each(telling(told), |server| {
        let ended = |octets: &[u8], end: bool| {
            let mut client = Client::open(server.addr, "/");
            client.send(octets);
            if end {
                client.stream.shutdown(Shutdown::Both).unwrap();
            }
            let (close, failure) = tell.recv_timeout(PATIENCE).unwrap();
            let close = close.unwrap();
            ((close.code, close.reason, close.by_peer), failure)
        };
        assert_eq!(ended(&close(4001, "gé"), false), ((4001, "gé".into(), true), None), "[UPG-12a]");
        assert_eq!(ended(&frame(0x80 | CLOSE, b""), false), ((1005, String::new(), true), None), "[UPG-12b]");
        let lost = ((1006, String::new(), true), Some(SocketError::Lost));
        assert_eq!(ended(b"", true), lost, "[UPG-12c]");
        assert_eq!(ended(&text("hello")[..7], true), lost, "[UPG-12c] within a frame");
        for (octets, code) in [
            (frame(0xf1, b""), 1002),
            (frame(0x81, b"\xff"), 1007),
            (frame(0x82, &[0; 101]), 1009),
            (b"\x81\x00".to_vec(), 1002),
        ] {
            let (close, failure) = ended(&octets, false);
            assert_eq!((close.0, close.2), (code, false), "[UPG-11]");
            assert!(matches!(failure, Some(SocketError::Protocol { code: found, .. }) if found == code), "{failure:?}");
        }
    });
}

#[test]
fn the_application_says_how_it_ends() {
    each(
        |request: Request, environ: Environ| async move {
            let path = request.uri().path().to_owned();
            let upgrade = Upgrade::from_request(&request, &environ)?;
            let upgrade = upgrade.close_timeout(Duration::from_millis(200));
            Ok::<_, Error>(upgrade.accept(move |mut socket| async move {
                match path.as_str() {
                    "/code" => socket.close(4321, "so be it").await?,
                    "/long" => socket.close(4000, &"é".repeat(100)).await?,
                    "/bad" => assert_eq!(socket.close(1005, "").await, Err(SocketError::InvalidCode(1005))),
                    "/error" => return Err(Error::new("broken")),
                    "/panic" => panic!("broken"),
                    "/recv" => {
                        socket.close(1000, "").await?;
                        assert_eq!(socket.recv().await, None);
                    }
                    _ => {}
                }
                Ok(())
            })?)
        },
        |server| {
            let say = |path: &str| {
                let mut client = Client::open(server.addr, path);
                let close = client.frame().unwrap().close().unwrap();
                // Without an answer to the close, the end comes after the close timeout.
                client.expect_end();
                close
            };
            assert_eq!(say("/code"), (4321, "so be it".into()), "[UPG-13a]");
            assert_eq!(say("/long"), (4000, "é".repeat(61)), "[UPG-13c]");
            assert_eq!(say("/nothing").0, 1000, "[UPG-13b]");
            assert_eq!(say("/bad").0, 1000);
            assert_eq!(say("/recv").0, 1000);
            assert_eq!(say("/error").0, 1011, "[UPG-15b]");
            assert_eq!(say("/panic").0, 1011, "[UPG-15b]");
            // The answer to the close is awaited, and messages before it are dropped.
            let mut client = Client::open(server.addr, "/code");
            client.frame().unwrap();
            client.send(&[text("crossing"), close(4321, "")].concat());
            client.expect_end();
        },
    );
}

#[test]
fn a_blocking_handler_is_the_loop_of_the_primer() {
    let application = Arc::new(blocking(|request: Request<_>, environ: Environ| {
        let upgrade = Upgrade::from_request(&request, &environ)?;
        upgrade
            .blocking_accept(|mut socket| {
                while let Some(message) = socket.recv() {
                    let message = message?;
                    match message.as_text() {
                        Some("fail") => return Err(Error::new("broken")),
                        Some("panic") => panic!("broken"),
                        Some(text) => socket.send(format!("Your message was: {text}"))?,
                        None => socket.send(message)?,
                    }
                }
                Ok(())
            })
            .map_err(Error::from)
    }));

    each(application, |server| {
        let mut client = Client::open(server.addr, "/");
        client.send(&text("Höher"));
        client.expect(TEXT, "Your message was: Höher".as_bytes());
        client.send(&frame(0x80 | BINARY, b"\0\xff"));
        client.expect(BINARY, b"\0\xff");
        client.send(&text("fail"));
        client.expect_close_answering(1011);
        let mut client = Client::open(server.addr, "/");
        client.send(&text("panic"));
        client.expect_close_answering(1011);
        let mut client = Client::open(server.addr, "/");
        client.send(&close(1000, ""));
        client.expect_close(1000);
        // one that waits for a message is told of the shutdown
        let mut client = Client::open(server.addr, "/");
        client.send(&text("in"));
        client.expect(TEXT, b"Your message was: in");
        let stopping = std::thread::spawn(move || server.stop());
        client.expect_close_answering(1001);
        stopping.join().unwrap();
    });
}

#[test]
fn a_blocking_handler_sends_and_receives_on_two_threads() {
    let application = blocking(|request: Request<_>, environ: Environ| {
        let upgrade = Upgrade::from_request(&request, &environ)?;
        upgrade
            .blocking_accept(|socket| {
                let (sender, mut receiver) = socket.split();
                // The client is silent, and is sent to meanwhile.
                let sending = std::thread::spawn(move || (0..3).try_for_each(|n| sender.send(format!("news {n}"))));
                let answer = receiver.recv().unwrap()?;
                assert_eq!(answer, Message::from("thanks"));
                sending.join().unwrap()
            })
            .map_err(Error::from)
    });
    each(application, |server| {
        let mut client = Client::open(server.addr, "/");
        for n in 0..3 {
            client.expect(TEXT, format!("news {n}").as_bytes());
        }
        client.send(&text("thanks"));
        client.expect_close_answering(1000);
    });
}

/// RFC 6455 §5.5.1: the close comes in one packet with it, and the handler takes its time.
#[test]
fn a_message_in_front_of_a_close_is_answered() {
    const WORK: Duration = Duration::from_millis(30);
    async fn answer(request: Request, environ: Environ) -> Result<Response, Error> {
        let upgrade = Upgrade::from_request(&request, &environ)?;
        if request.uri().path() == "/blocking" {
            return Ok(upgrade.blocking_accept(|mut socket| {
                while let Some(message) = socket.recv() {
                    std::thread::sleep(WORK);
                    socket.send(message?)?;
                }
                Ok::<_, SocketError>(())
            })?);
        }
        Ok(upgrade.accept(move |mut socket| async move {
            while let Some(message) = socket.recv().await {
                environ.runtime().sleep(WORK).await;
                socket.send(message?).await?;
            }
            Ok::<_, SocketError>(())
        })?)
    }
    each(answer, |server| {
        for path in ["/async", "/blocking"] {
            for ask in [text("ask"), [frame(1, b"as"), frame(0x80, b"k")].concat()] {
                let (mut client, head) = ask_at(server.addr, path);
                assert!(head.contains(" 101 "), "{head}");
                client.send(&[ask, close(1000, "")].concat());
                client.expect(TEXT, b"ask");
                client.expect_close(1000);
            }
        }
    });
}

fn ask_at(addr: std::net::SocketAddr, path: &str) -> (Client, String) {
    ask(addr, &handshake(path, ""))
}

#[test]
fn the_environment_is_that_of_any_request() {
    each(
        |request: Request, environ: Environ| async move {
            let upgrade = Upgrade::from_request(&request, &environ)?;
            assert_eq!(upgrade.origin().unwrap(), "http://page.example");
            let facts = format!(
                "{} {} {} {}",
                environ.scheme(),
                request.uri(),
                request.headers()["cookie"].to_str().unwrap(),
                environ.peer_addr().unwrap()
            );
            Ok::<_, Error>(upgrade.accept(move |mut socket| async move { socket.send(facts).await })?)
        },
        |server| {
            let mut client = Client::connect(server.addr);
            client.send(handshake("/a%20b?c=d", "Cookie: e=f\r\nOrigin: http://page.example\r\n").as_bytes());
            client.head();
            let peer = client.stream.local_addr().unwrap();
            client.expect(TEXT, format!("http /a%20b?c=d e=f {peer}").as_bytes());
        },
    );
}

/// tungstenite's client, as a program has it; what the octets are is checked by the raw client everywhere else.
#[test]
fn a_client_library_agrees() {
    each(echo, |server| {
        let stream = std::net::TcpStream::connect(server.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut socket, response) = tungstenite::client(format!("ws://{}/", server.addr), stream).unwrap();
        assert_eq!(response.status(), 101);
        for size in [0, 1, 125, 126, 65535, 65536, 1 << 20] {
            let text = "ä".repeat(size / 2);
            socket.send(tungstenite::Message::text(text.clone())).unwrap();
            assert_eq!(socket.read().unwrap().into_text().unwrap().as_str(), text);
            socket.send(tungstenite::Message::binary(vec![7; size])).unwrap();
            assert_eq!(socket.read().unwrap().into_data(), vec![7; size]);
        }
        socket.send(tungstenite::Message::Ping(vec![1, 2].into())).unwrap();
        assert_eq!(socket.read().unwrap(), tungstenite::Message::Pong(vec![1, 2].into()));
        socket.close(None).unwrap();
        assert!(matches!(socket.read(), Ok(tungstenite::Message::Close(None))));
        assert!(matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)));
    });
}
