//! Applications with WebSockets, driven by the testing client. \[TST-01\], \[UPG-01\], \[UPG-04\], \[UPG-07\], \[UPG-22\]

use std::sync::mpsc;
use std::time::Duration;

use futures_lite::AsyncReadExt as _;
use futures_lite::future::block_on;

use super::super::{Close, Error as SocketError, Message, Upgrade};
use crate::testing::Client;
use crate::{Body, Environ, Error, Request, Response, blocking};

async fn echo(request: Request, environ: Environ) -> Result<Response, Error> {
    let upgrade = Upgrade::from_request(&request, &environ)?.protocols(["chat"]);
    if request.uri().path() == "/denied" {
        return Ok(Response::new(Body::from("not you")));
    }
    Ok(upgrade.accept(|mut socket| async move {
        while let Some(message) = socket.recv().await {
            socket.send(message?).await?;
        }
        Ok::<_, SocketError>(())
    })?)
}

#[test]
fn messages_of_any_size_there_and_back() {
    let mut socket = Client::new(echo).get("/").header("sec-websocket-protocol", "other, chat").websocket().unwrap();
    assert_eq!((socket.head().status.as_u16(), socket.protocol()), (101, Some("chat")));
    for size in [0, 1, 125, 126, 65535, 65536, 1 << 20] {
        socket.send(vec![7; size]).unwrap();
        assert_eq!(socket.recv(), Some(Ok(Message::from(vec![7; size]))));
        socket.send("ä".repeat(size / 2)).unwrap();
        assert_eq!(socket.recv(), Some(Ok(Message::from("ä".repeat(size / 2)))));
    }
    socket.close(4000, "enough").unwrap();
    assert_eq!(socket.closed(), Some(Close { code: 4000, reason: "enough".into(), by_peer: false }));
    assert_eq!(socket.recv(), None);
}

#[test]
fn what_is_denied_or_no_websocket_is_an_answer() {
    let client = Client::new(echo);
    let denied = client.get("/denied").websocket().unwrap_err();
    assert_eq!((denied.status().as_u16(), denied.text().as_str()), (200, "not you"));
    assert_eq!(client.post("/", "a body").websocket().unwrap_err().status(), 400);
    assert_eq!(client.get("/").send().status(), 400);
    let plain = Client::new(|_request: Request, _environ: Environ| async { Ok::<_, Error>(Response::default()) });
    assert_eq!(plain.get("/").websocket().unwrap_err().status(), 200);
}

#[test]
fn a_blocking_application_learns_that_the_client_has_gone() {
    let (told, tell) = mpsc::channel();
    let application = blocking(move |request: Request<_>, environ: Environ| {
        let told = told.clone();
        let upgrade = Upgrade::from_request(&request, &environ)?;
        upgrade
            .blocking_accept(move |mut socket| {
                socket.send("welcome")?;
                let end = socket.recv();
                told.send((end, socket.closed().map(|close| close.code))).map_err(Error::from)
            })
            .map_err(Error::from)
    });
    let client = Client::new(application);
    for client in [client.clone(), client.on_threads()] {
        let mut socket = client.get("/").websocket().unwrap();
        assert_eq!(socket.recv(), Some(Ok(Message::from("welcome"))));
        drop(socket);
        assert_eq!(tell.recv_timeout(Duration::from_secs(20)).unwrap(), (None, Some(1000)));
        let (_, mut stream) = client
            .get("/")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .upgrade()
            .unwrap();
        let mut welcome = [0; 9];
        block_on(stream.read_exact(&mut welcome)).unwrap();
        assert_eq!(&welcome, b"\x81\x07welcome");
        drop(stream);
        let lost = (Some(Err(SocketError::Lost)), Some(1006));
        assert_eq!(tell.recv_timeout(Duration::from_secs(20)).unwrap(), lost, "[UPG-12c]");
    }
}

#[test]
fn the_shutdown_says_1001() {
    let client = Client::new(echo);
    let mut socket = client.get("/").websocket().unwrap();
    client.trigger().trigger();
    assert_eq!(socket.recv(), None);
    assert_eq!(socket.closed().map(|close| (close.code, close.by_peer)), Some((1001, true)));
    let mut other = client.get("/").websocket().unwrap();
    client.trigger().force();
    while let Some(Ok(_)) = other.recv() {}
    assert!(other.closed().is_some());
}
