//! Clients that send as fast as they can, in every phase that reads: whoever reads for them gives way, so that others are
//! served by one thread too. \[CON-05\], \[REQ-12\], \[KAP-13\]

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use adapter_core::{Body, Bytes, Environ, Error, Request, Response, ServerConfig};
use support::{Running, serve_with};

/// More than there are threads and cores.
const CLIENTS: usize = 4;

async fn app(request: Request, _environ: Environ) -> Result<Response, Error> {
    let mut count = 0;
    if request.uri().path() == "/read" {
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            count += frame?.data_ref().map_or(0, Bytes::len);
        }
    }
    Ok(Response::new(Body::from(count.to_string())))
}

/// Others are served while clients send `begin` and then `piece` without end.
fn others_are_served(server: &Running, what: &str, begin: &str, piece: &[u8]) {
    let piece = piece.repeat(64 * 1024 / piece.len() + 1);
    let (sent, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let mut client = server.connect();
            client.send(begin);
            let (piece, sent, over) = (&piece, &sent, &over);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) && client.stream.write_all(piece).is_ok() {
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let served = thread::spawn({
            let addr = server.addr;
            move || {
                for _ in 0..8 {
                    let mut client = support::Client::connect(addr);
                    client.get("/");
                    assert_eq!(client.answer().text(), "0");
                }
            }
        })
        .join();
        over.store(true, Ordering::SeqCst);
        assert!(served.is_ok(), "{what}: others are not served");
    });
    assert!(sent.into_inner() > 0, "{what}: nothing was sent");
}

#[test]
fn floods_hold_up_nobody() {
    for threads in [1, 4] {
        let server = serve_with(app, ServerConfig::default().threads(threads));
        let chunked = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let sized = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999\r\n\r\n");
        for (what, begin, piece) in [
            ("an upload that is read", sized("/read"), &b"x"[..]),
            ("large chunks that are read", chunked("/read") + "fffffffffff\r\n", b"x"),
            ("small chunks that are read", chunked("/read"), b"1\r\nx\r\n"),
            ("signed chunks that are read", chunked("/read"), b"1;chunk-signature=0123456789abcdef\r\nx\r\n"),
            ("zeros", chunked("/read"), b"0"),
            ("trailers", chunked("/read") + "0\r\n", b"a: b\r\n"),
            ("an upload that is not read", sized("/"), b"x"),
            ("chunks that are not read", chunked("/"), b"1\r\nx\r\n"),
            ("a refusal", "BAD\r\n\r\n".into(), b"x"),
            ("a head", "GET / HTTP/1.1\r\nHost: a\r\nx: ".into(), b"x"),
            ("empty lines", "\r\n".into(), b"\r\n"),
        ] {
            others_are_served(&server, &format!("{what}, {threads} threads"), &begin, piece);
        }
    }
}
