//! What a server does under a listener with TLS, over real sockets. Each test is for one server; their crates take this file by its path.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use adapter_core::http::{StatusCode, header};
use adapter_core::tls::Tls;
use adapter_core::{
    Body, Bytes, DynApplication, Environ, Error, ListenAddr, Request, Response, Server, ServerConfig, ServerHandle,
};
use futures_lite::{AsyncReadExt, AsyncWriteExt, stream};

use super::toy_tls::{
    self, CLOSE_NOTIFY, HANDSHAKE_FAILURE, ToyAcceptor, ToyClient, close_notify, finished, hello, record,
};

const LARGE: usize = 4 << 20;

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| b'a' + (at % 23) as u8).collect()
}

type Told = Arc<Mutex<mpsc::Sender<Result<usize, ErrorKind>>>>;

/// Answers as the path says; `told` learns how a stream has ended.
async fn answer(request: Request, environ: Environ, told: Told) -> Result<Response, Error> {
    let path = request.uri().path().to_owned();
    let body = match path.as_str() {
        "/count" => {
            let (mut body, mut count) = (request.into_body(), 0);
            while let Some(chunk) = body.chunk().await {
                count += chunk?.len();
            }
            Body::from(count.to_string())
        }
        "/large" => Body::from(text(LARGE)),
        "/pieces" => {
            Body::from_stream(stream::iter((0..LARGE / 8192).map(|_| Ok::<_, Error>(Bytes::from(text(8192))))))
        }
        "/echo" => Body::from(request.into_body()),
        "/broken" => {
            let pieces = [Ok("half".to_owned()), Err(Error::from("a failure that was asked for"))];
            Body::from_stream(stream::iter(pieces))
        }
        "/upgrade" => {
            let upgrade = environ.upgrade()?;
            let talk = async move {
                let mut stream = upgrade.await?;
                let mut octets = vec![0; 5000];
                let ended = loop {
                    match stream.read(&mut octets).await {
                        Ok(0) => break Ok(0),
                        Ok(count) => stream.write_all(&octets[..count]).await?,
                        Err(error) => break Err(error.kind()),
                    }
                };
                stream.write_all(b"bye").await?;
                stream.close().await?;
                told.lock().unwrap().send(ended)?;
                Ok::<_, Error>(())
            };
            environ.runtime().spawn(talk).detach();
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert(header::UPGRADE, "echo".parse()?);
            return Ok(response);
        }
        _ => {
            let tls = environ.tls().cloned().unwrap_or_default();
            let alpn = String::from_utf8(tls.alpn.unwrap_or_default())?;
            Body::from(format!("{} {} {alpn}", environ.scheme(), tls.protocol.unwrap_or_default()))
        }
    };
    Ok(Response::new(body))
}

struct Serving {
    handle: Option<ServerHandle>,
    addr: SocketAddr,
    ends: mpsc::Receiver<Result<usize, ErrorKind>>,
}

impl Serving {
    fn start(server: &dyn Server, adjust: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut config = ServerConfig::default().bind("127.0.0.1:0".parse().unwrap()).threads(2);
        config.tls = Some(Tls::new(ToyAcceptor));
        adjust(&mut config);
        let (told, ends) = mpsc::channel();
        let told = Arc::new(Mutex::new(told));
        let app = DynApplication::new(move |request: Request, environ: Environ| answer(request, environ, told.clone()));
        let handle = server.start(app, config).unwrap();
        let ListenAddr::Tcp(addr) = handle.local_addrs()[0].clone() else { panic!("it listens on TCP") };
        Serving { handle: Some(handle), addr, ends }
    }

    fn stop(&mut self) {
        self.handle.take().unwrap().stop().unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.trigger().force();
            let _ = handle.wait();
        }
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

pub(crate) fn requests_are_answered_and_told_what_they_are_under(server: &dyn Server) {
    let serving = Serving::start(server, |_| {});
    for (offered, agreed) in [("http/1.1", "http/1.1"), ("", "")] {
        let mut client = ToyClient::connect(serving.addr, offered);
        for _ in 0..3 {
            client.send(get("/"));
            let (head, body) = client.response();
            assert!(head.starts_with("http/1.1 200 "), "{head}");
            assert_eq!(String::from_utf8(body).unwrap(), format!("https toy {agreed}"));
        }
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.response();
        assert!(client.rest().is_empty());
        assert!(client.heard.is_closed(), "an orderly end says so");
    }
    // A pipeline in one record, and a request an octet a record.
    let mut client = ToyClient::connect(serving.addr, "http/1.1");
    client.send(get("/").repeat(20));
    (0..20).for_each(|_| _ = client.response());
    get("/").bytes().for_each(|octet| client.send([octet]));
    client.response();
}

pub(crate) fn large_bodies_pass_both_ways(server: &dyn Server) {
    let serving = Serving::start(server, |_| {});
    let mut client = ToyClient::connect(serving.addr, "http/1.1");
    for _ in 0..2 {
        client.send(format!("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"));
        text(LARGE).chunks(100_000).for_each(|piece| client.send(piece));
        assert_eq!(client.response().1, LARGE.to_string().as_bytes());
        client.send(get("/large"));
        assert!(client.response().1 == text(LARGE));
    }
    client.send(get("/pieces"));
    let head = String::from_utf8(client.receive_until(b"\r\n\r\n")).unwrap().to_lowercase();
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    assert!(client.receive_until(b"\r\n0\r\n\r\n").len() > LARGE);
    // Both at once, so that each waits for the other.
    let mut writer = client.socket.try_clone().unwrap();
    client.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"));
    let sending = std::thread::spawn(move || writer.write_all(&toy_tls::seal(&text(LARGE))).unwrap());
    let (_, body) = {
        let head = String::from_utf8(client.receive_until(b"\r\n\r\n")).unwrap().to_lowercase();
        if head.contains("chunked") {
            let mut body = Vec::new();
            loop {
                let size = String::from_utf8(client.receive_until(b"\r\n")).unwrap();
                let size = usize::from_str_radix(size.trim(), 16).unwrap();
                body.extend(client.receive(size));
                client.receive(2);
                if size == 0 {
                    break (head, body);
                }
            }
        } else {
            (head, client.receive(LARGE))
        }
    };
    sending.join().unwrap();
    assert!(body == text(LARGE));
}

pub(crate) fn streams_go_on_under_it(server: &dyn Server) {
    let serving = Serving::start(server, |_| {});
    for says_so in [true, false] {
        let mut client = ToyClient::connect(serving.addr, "http/1.1");
        client.send("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly");
        let head = String::from_utf8(client.receive_until(b"\r\n\r\n")).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(client.receive(5), b"early");
        let data = text(1 << 20);
        let mut writer = client.socket.try_clone().unwrap();
        let sealed = toy_tls::seal(&data);
        let sending = std::thread::spawn(move || {
            writer.write_all(&sealed).unwrap();
            writer.write_all(&record(toy_tls::UPDATE, b"")).unwrap();
            if says_so {
                writer.write_all(&close_notify()).unwrap();
            } else {
                writer.shutdown(std::net::Shutdown::Write).unwrap();
            }
        });
        assert!(client.receive(data.len()) == data);
        sending.join().unwrap();
        assert_eq!(client.receive(3), b"bye", "our direction goes on");
        assert!(client.rest().is_empty());
        assert!(client.heard.is_closed());
        assert_eq!(client.heard.updates, 1);
        let ended = serving.ends.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(ended, if says_so { Ok(0) } else { Err(ErrorKind::UnexpectedEof) });
    }
}

pub(crate) fn handshakes_have_a_deadline(server: &dyn Server) {
    let serving = Serving::start(server, |config| {
        config.timeouts.tls_handshake = Some(Duration::from_millis(300));
    });
    for sent in [Vec::new(), hello("")[..4].to_vec(), hello("http/1.1")] {
        let mut client = ToyClient::silent(serving.addr);
        client.socket.write_all(&sent).unwrap();
        assert!(client.rest().is_empty());
        assert!(client.heard.alerts.is_empty(), "there is nothing to close");
    }
    let mut client = ToyClient::connect(serving.addr, "");
    client.send(get("/"));
    client.response();
}

pub(crate) fn handshakes_wait_for_their_turn(server: &dyn Server) {
    let serving = Serving::start(server, |config| config.limits.handshakes = 1);
    let _silent = ToyClient::silent(serving.addr);
    let mut slow = ToyClient::silent(serving.addr);
    slow.socket.write_all(&hello("")).unwrap();
    assert!(slow.hear(), "its handshake goes on");
    let mut next = ToyClient::silent(serving.addr);
    next.socket.write_all(&[hello(""), finished()].concat()).unwrap();
    next.send(get("/"));
    slow.socket.write_all(&finished()).unwrap();
    next.response();
    slow.send(get("/"));
    slow.response();
}

pub(crate) fn who_breaks_the_protocol_is_told(server: &dyn Server) {
    let serving = Serving::start(server, |_| {});
    let mut client = ToyClient::silent(serving.addr);
    client.socket.write_all(&[record(toy_tls::HANDSHAKE, b"rubbish"), vec![7; 100_000]].concat()).unwrap();
    client.rest();
    assert_eq!(client.heard.alerts, [HANDSHAKE_FAILURE]);
    let mut client = ToyClient::silent(serving.addr);
    client.socket.write_all(&hello("gopher")).unwrap();
    client.rest();
    assert_eq!(client.heard.alerts, [HANDSHAKE_FAILURE]);
    let mut client = ToyClient::connect(serving.addr, "");
    client.send(get("/"));
    client.response();
    client.socket.write_all(&record(toy_tls::HANDSHAKE, b"again")).unwrap();
    client.rest();
    assert_eq!(client.heard.alerts, [HANDSHAKE_FAILURE]);
}

pub(crate) fn plain_http_is_answered_in_plain(server: &dyn Server) {
    let serving = Serving::start(server, |_| {});
    let mut socket = std::net::TcpStream::connect(serving.addr).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let rest = "x".repeat(100_000);
    socket.write_all(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{rest}").as_bytes()).unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut socket, &mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{said}");
    assert!(said.contains("TLS port"), "{said}");
}

pub(crate) fn what_is_broken_off_does_not_look_whole(server: &dyn Server) {
    let serving = Serving::start(server, |_| {});
    for request in [get("/broken"), "GET /broken HTTP/1.0\r\nHost: a\r\n\r\n".to_owned()] {
        let mut client = ToyClient::connect(serving.addr, "");
        client.send(&request);
        client.rest();
        assert!(client.heard.alerts.is_empty(), "{request}");
    }
    // What is whole and delimited by its end does.
    let mut client = ToyClient::connect(serving.addr, "");
    client.send("GET /pieces HTTP/1.0\r\nHost: a\r\n\r\n");
    assert!(client.rest().len() > LARGE);
    assert_eq!(client.heard.alerts, [CLOSE_NOTIFY]);
}

pub(crate) fn idle_connections_end_with_close_notify(server: &dyn Server) {
    let mut serving = Serving::start(server, |config| {
        config.timeouts.keep_alive = Some(Duration::from_millis(200));
    });
    let mut client = ToyClient::connect(serving.addr, "");
    client.send(get("/"));
    client.response();
    client.rest();
    assert!(client.heard.is_closed(), "at the keep-alive timeout");
    for says_so in [true, false] {
        let mut client = ToyClient::connect(serving.addr, "");
        client.send(get("/"));
        client.response();
        if says_so {
            client.socket.write_all(&close_notify()).unwrap();
        } else {
            client.socket.shutdown(std::net::Shutdown::Write).unwrap();
        }
        client.rest();
        assert!(client.heard.is_closed(), "when the client ends it");
    }
    serving.stop();
    let mut serving = Serving::start(server, |_| {});
    let mut client = ToyClient::connect(serving.addr, "");
    client.send(get("/"));
    client.response();
    let mut silent = ToyClient::silent(serving.addr);
    serving.stop();
    client.rest();
    assert!(client.heard.is_closed(), "at a shutdown");
    silent.rest();
}

pub(crate) fn who_needs_its_place_closes_an_idle_connection(server: &dyn Server) {
    let serving = Serving::start(server, |config| config.limits.connections = 1);
    let mut first = ToyClient::connect(serving.addr, "");
    first.send(get("/"));
    first.response();
    let mut second = ToyClient::connect(serving.addr, "");
    second.send(get("/"));
    second.response();
    first.rest();
    assert!(first.heard.is_closed());
    drop((first, second));
    // One that is silent is closed, too.
    let mut silent = ToyClient::silent(serving.addr);
    let mut third = ToyClient::connect(serving.addr, "");
    third.send(get("/"));
    third.response();
    silent.rest();
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn speaks_http2(serving: &Serving) {
    let mut client = ToyClient::connect(serving.addr, "h2,http/1.1");
    assert_eq!(client.heard.messages[0], "hello h2");
    client.send(PREFACE);
    let mut answered = false;
    // HEADERS that end headers and stream: GET, https, /, and a literal `:authority: a`.
    client.send(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x87\x84\x41\x01a");
    while !answered {
        let head = client.receive(9);
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = client.receive(length);
        answered = head[3] == 0;
        if answered {
            assert_eq!(payload, b"https toy h2");
        }
    }
}

pub(crate) fn alpn_alone_says_which_http_follows(server: &dyn Server) {
    let serving = Serving::start(server, |_| {});
    let has_http2 = server.info().capabilities.http2;
    if has_http2 {
        speaks_http2(&serving);
    }
    let mut client = ToyClient::connect(serving.addr, "http/1.1");
    client.send(PREFACE);
    let said = client.rest();
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 "), "no guess from what is sent");
    let without = Serving::start(server, |config| {
        if has_http2 {
            config.options.insert("http2".into(), "off".into());
        }
    });
    let client = ToyClient::connect(without.addr, "h2,http/1.1");
    assert_eq!(client.heard.messages[0], "hello http/1.1");
}

/// A test for each case, for a server.
macro_rules! cases {
    ($name:ident, $server:expr) => {
        mod $name {
            use crate::*;

            cases::cases!(@ $server, requests_are_answered_and_told_what_they_are_under large_bodies_pass_both_ways
                streams_go_on_under_it handshakes_have_a_deadline handshakes_wait_for_their_turn
                who_breaks_the_protocol_is_told plain_http_is_answered_in_plain what_is_broken_off_does_not_look_whole
                idle_connections_end_with_close_notify who_needs_its_place_closes_an_idle_connection
                alpn_alone_says_which_http_follows);
        }
    };
    (@ $server:expr, $($case:ident)*) => {
        $(#[test]
        fn $case() {
            cases::$case(&$server);
        })*
    };
}
pub(crate) use cases;
