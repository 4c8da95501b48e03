//! HTTP over the sockets of this crate: HTTP/1.1, HTTP/2, big bodies, Unix-domain sockets, closing.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use adapter_core::{DynApplication, Server, ServerConfig};
use adapter_smol::SmolServer;
use support::{Client, DEADLINE, connect, get, routes, start};

#[test]
fn a_connection_is_kept_alive_and_pipelined_requests_are_answered_in_order() {
    let (server, addr, _told) = start(ServerConfig::default());
    let mut client = connect(addr);
    for n in 0..3 {
        client.get(&format!("/{n}"));
        assert_eq!(client.answer(), format!("/{n}"));
    }
    let requests: String = (0..100).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: test\r\n\r\n")).collect();
    client.send(requests);
    for n in 0..100 {
        assert_eq!(client.answer(), format!("/{n}"));
    }
    client.send("GET /last HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer(), "/last");
    assert_eq!(client.rest(), b"", "FIN follows the last response");
    server.stop().unwrap();
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let (server, addr, _told) = start(ServerConfig::default());
    let mut client = connect(addr);
    for byte in b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.answer(), "/slow");
    server.stop().unwrap();
}

#[test]
fn three_megabytes_are_echoed_while_they_come() {
    let (server, addr, _told) = start(ServerConfig::default());
    let mut client = connect(addr);
    let body: Vec<u8> = (0..3 << 20).map(|n: u32| (n % 251) as u8).collect();
    let mut writer = Client::new(client.stream.try_clone().unwrap());
    let sent = body.clone();
    let sender = thread::spawn(move || {
        writer.send("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        for chunk in sent.chunks(10_000) {
            writer.send(format!("{:x}\r\n", chunk.len()));
            writer.send(chunk);
            writer.send("\r\n");
        }
        writer.send("0\r\n\r\n");
    });
    assert!(client.body() == body, "another body came back");
    sender.join().unwrap();
    client.get("/after");
    assert_eq!(client.answer(), "/after");
    server.stop().unwrap();
}

#[test]
fn a_reader_that_pauses_gets_everything() {
    // The server's socket is full meanwhile: it waits until it can be written again.
    let (server, addr, _told) = start(ServerConfig::default().threads(1));
    let mut client = connect(addr);
    let length = 16 << 20;
    client.send(format!("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"));
    let mut writer = Client::new(client.stream.try_clone().unwrap());
    let sender = thread::spawn(move || (0..16).for_each(|n| writer.send(vec![n; 1 << 20])));
    // Others are served while it is stuck.
    for _ in 0..20 {
        assert_eq!(get(addr, "/other"), "/other");
    }
    let body = client.body();
    assert_eq!(body.len(), length);
    assert!(body.chunks(1 << 20).enumerate().all(|(n, chunk)| chunk.iter().all(|byte| *byte as usize == n)));
    sender.join().unwrap();
    server.stop().unwrap();
}

#[test]
fn the_end_of_the_request_stream_does_not_cost_the_answer() {
    let (server, addr, _told) = start(ServerConfig::default());
    let mut client = connect(addr);
    client.get("/half-closed");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.answer(), "/half-closed");
    assert_eq!(client.rest(), b"");
    server.stop().unwrap();
}

#[test]
fn blocking_bodies_run_beside_the_executor() {
    let (server, addr, _told) = start(ServerConfig::default().threads(1));
    assert_eq!(get(addr, "/iterator"), "0\n1\n2\n");
    server.stop().unwrap();
}

#[test]
fn a_unix_socket_serves_and_its_path_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (app, _told) = routes();
    let config = ServerConfig::default().bind(format!("unix:{}", path.display()).parse().unwrap());
    let server = SmolServer::new().start(DynApplication::new(app), config).unwrap();
    let stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut client = Client::new(stream);
    for n in 0..3 {
        client.get(&format!("/{n}"));
        assert_eq!(client.answer(), format!("/{n}"));
    }
    server.stop().unwrap();
    assert_eq!(client.rest(), b"");
    assert!(!path.exists());
}

/// A frame: type, flags, stream, payload. RFC 9113 §4.1
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[test]
fn http2_by_prior_knowledge() {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    let (server, addr, _told) = start(ServerConfig::default());
    let mut client = connect(addr);
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send(frame(SETTINGS, 0, 0, &[]));
    // RFC 7541 appendix A: `:method: GET`, `:scheme: http`, `:path: /`; then `:authority: test`, literal
    let fields = b"\x82\x86\x84\x41\x04test";
    for stream in [1, 3, 5] {
        client.send(frame(HEADERS, 0x4 | 0x1, stream, fields));
    }
    let (mut statuses, mut bodies) = (0, Vec::new());
    let start = Instant::now();
    while bodies.len() < 3 {
        assert!(start.elapsed() < DEADLINE);
        let head = client.exactly(9);
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = client.exactly(length);
        match head[3] {
            HEADERS => {
                assert_eq!(payload[0], 0x88, "`:status: 200`, indexed");
                statuses += 1;
            }
            DATA if !payload.is_empty() => bodies.push(payload),
            SETTINGS if head[4] == 0 => client.send(frame(SETTINGS, 1, 0, &[])),
            _ => {}
        }
    }
    assert_eq!((statuses, bodies), (3, vec![b"/".to_vec(); 3]));
    // A graceful end would wait for our answer to its PING.
    drop(client);
    server.stop().unwrap();
}

#[test]
fn a_failed_close_delimited_response_is_reset() {
    use adapter_core::{Body, Bytes, Environ, Error, Request, Response};
    use futures_lite::stream;

    async fn app(_request: Request, environ: Environ) -> Result<Response, Error> {
        let runtime = environ.runtime().clone();
        let chunks = stream::unfold(0, move |n| {
            let runtime = runtime.clone();
            async move {
                if n == 1 {
                    runtime.sleep(Duration::from_millis(50)).await;
                    return Some((Err(Error::new("it breaks")), 2));
                }
                (n == 0).then(|| (Ok(Bytes::from("some")), 1))
            }
        });
        Ok(Response::new(Body::from_stream(chunks)))
    }
    let config = ServerConfig::default().bind("127.0.0.1:0".parse().unwrap());
    let server = SmolServer::new().start(DynApplication::new(app), config).unwrap();
    let mut client = connect(server.local_addrs()[0].tcp().unwrap());
    client.send("GET / HTTP/1.0\r\n\r\n");
    let mut answer = Vec::new();
    let error = std::io::Read::read_to_end(&mut client.stream, &mut answer).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(answer.ends_with(b"\r\n\r\nsome"), "{}", answer.escape_ascii());
    server.stop().unwrap();
}
