//! What was taken, at its limits: much of it, nobody who reads, its ends, and what comes before it. On every server.
//! \[UPG-06\], \[UPG-16\], \[UPG-17\], \[UPG-19b\], \[KAP-13\], \[ERR-01\], \[SHU-06\]

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::future::Future;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use adapter_core::upgrade::Upgraded;
use adapter_core::{Application, Body, Environ, Error, Request, Response};
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{ASK, Client, PATIENCE, config, each, each_with, switching};

/// An application that gives each connection to `talk`, in a task.
fn talking<F, T>(talk: F) -> impl Application
where
    F: Fn(Upgraded) -> T + Clone + Send + Sync + 'static,
    T: Future<Output = io::Result<()>> + Send + 'static,
{
    move |_request: Request, environ: Environ| {
        let talk = talk.clone();
        async move {
            let upgrade = environ.upgrade()?;
            let talk = async move { talk(upgrade.await?).await.map_err(Error::new) };
            environ.runtime().spawn(talk).detach();
            Ok::<_, Error>(switching())
        }
    }
}

fn taken(addr: std::net::SocketAddr) -> Client {
    let mut client = Client::connect(addr);
    client.send(ASK);
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    client
}

/// Octets whose order shows.
fn pattern(length: usize) -> Vec<u8> {
    let mut octets = (0..251).collect::<Vec<u8>>().repeat(length / 251 + 1);
    octets.truncate(length);
    octets
}

/// Waits until `count` has stood still for a while; gives it.
fn standstill(count: impl Fn() -> usize) -> usize {
    let begun = Instant::now();
    let (mut last, mut since) = (count(), Instant::now());
    while since.elapsed() < Duration::from_millis(200) {
        let now = count();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        assert!(begun.elapsed() < PATIENCE, "it never stood still: {now}");
        thread::yield_now();
    }
    last
}

#[test]
fn a_writer_waits_for_a_slow_reader() {
    const ALL: usize = 32 << 20;
    static WRITTEN: AtomicUsize = AtomicUsize::new(0);
    let application = talking(|mut stream: Upgraded| async move {
        WRITTEN.store(0, Ordering::SeqCst);
        for piece in pattern(ALL).chunks(100_000) {
            stream.write_all(piece).await?;
            WRITTEN.fetch_add(piece.len(), Ordering::SeqCst);
        }
        Ok(())
    });
    each(application, |server| {
        let mut client = taken(server.addr);
        let first = client.exact(1).unwrap();
        let written = standstill(|| WRITTEN.load(Ordering::SeqCst));
        assert!(written < ALL, "nobody reads, and all of it was taken");
        let rest = client.exact(ALL - 1).unwrap();
        assert!([first, rest].concat() == pattern(ALL));
        client.expect_end();
    });
}

#[test]
fn a_client_waits_for_a_slow_application_and_is_answered_after_its_end() {
    let (go, gate) = mpsc::channel::<()>();
    let gate = std::sync::Arc::new(Mutex::new(gate));
    let application = move |_request: Request, environ: Environ| {
        let gate = gate.clone();
        async move {
            let upgrade = environ.upgrade()?;
            let gone = environ.clone();
            let read = move || {
                let mut stream = upgrade.wait().unwrap().into_blocking();
                gate.lock().unwrap().recv().unwrap();
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                // It has ended its half, and still reads.
                assert!(!gone.is_disconnected());
                assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "the end stays the end");
                let verdict = if all == pattern(all.len()) { "intact" } else { "garbled" };
                write!(stream, "{} {verdict}", all.len()).unwrap();
            };
            environ.runtime().run_blocking(read).detach();
            Ok::<_, Error>(switching())
        }
    };
    each(application, |server| {
        let mut client = taken(server.addr);
        client.stream.set_nonblocking(true).unwrap();
        let data = pattern(64 << 20);
        let (mut sent, mut since) = (0, Instant::now());
        while since.elapsed() < Duration::from_millis(200) {
            match client.stream.write(&data[sent..]) {
                Ok(count) => (sent, since) = (sent + count, Instant::now()),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            assert!(sent < data.len(), "nobody reads, and all of it was taken");
        }
        go.send(()).unwrap();
        client.stream.set_nonblocking(false).unwrap();
        client.stream.shutdown(Shutdown::Write).unwrap();
        let expected = format!("{sent} intact");
        assert_eq!(String::from_utf8(client.exact(expected.len()).unwrap()).unwrap(), expected);
        client.expect_end();
    });
}

#[test]
fn the_last_octets_arrive_whatever_the_client_still_sends() {
    let application = talking(|mut stream: Upgraded| async move { stream.write_all(&pattern(1 << 20)).await });
    each(application, |server| {
        let mut client = taken(server.addr);
        let mut writer = client.stream.try_clone().unwrap();
        // It may be told at some point that nobody listens any more.
        let sending = thread::spawn(move || (0..64).try_for_each(|_| writer.write_all(&[b'x'; 4096])));
        assert!(client.exact(1 << 20).unwrap() == pattern(1 << 20), "[KAP-13]");
        client.expect_end();
        let _ = sending.join().unwrap();
    });
}

#[test]
fn either_half_ends_without_the_other() {
    let application = talking(|mut stream: Upgraded| async move {
        stream.write_all(b"that is all").await?;
        stream.close().await?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await?;
        assert_eq!(rest, b"a late answer");
        Ok(())
    });
    each(application, |server| {
        let mut client = taken(server.addr);
        assert_eq!(client.exact(11).unwrap(), b"that is all");
        assert_eq!(client.exact(1), None);
        client.send(b"a late answer");
        client.stream.shutdown(Shutdown::Write).unwrap();
        server.stop();
    });
}

#[test]
fn answers_to_earlier_requests_come_first() {
    let application = |request: Request, environ: Environ| async move {
        if request.uri().path() != "/echo" {
            return Ok::<_, Error>(Response::new(Body::from(request.uri().path().to_owned())));
        }
        let upgrade = environ.upgrade()?;
        let talk = async move {
            let mut stream = upgrade.await?;
            let mut early = [0; 5];
            stream.read_exact(&mut early).await?;
            stream.write_all(&early).await.map_err(Error::new)
        };
        environ.runtime().spawn(talk).detach();
        Ok(switching())
    };
    each(application, |server| {
        let mut client = Client::connect(server.addr);
        let plain = |path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        client.send(&[plain("/1").as_bytes(), plain("/2").as_bytes(), ASK, b"early"].concat());
        for path in ["/1", "/2"] {
            assert!(client.head().starts_with("HTTP/1.1 200 "));
            assert_eq!(client.exact(2).unwrap(), path.as_bytes());
        }
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        assert_eq!(client.exact(5).unwrap(), b"early");
        client.expect_end();
    });
}

#[test]
fn http_1_0_and_requests_with_a_body_are_not_upgraded() {
    each(talking(|_stream| async { Ok(()) }), |server| {
        let ask = String::from_utf8(ASK.to_vec()).unwrap();
        for request in [
            ask.replace("HTTP/1.1", "HTTP/1.0"),
            ask.replace("\r\n\r\n", "\r\nContent-Length: 3\r\n\r\nabc"),
            ask.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ] {
            let mut client = Client::connect(server.addr);
            client.send(request.as_bytes());
            assert!(client.head().contains(" 400 "), "[UPG-06] {request}");
        }
    });
}

#[test]
fn a_panic_ends_its_own_connection() {
    let application = talking(|mut stream: Upgraded| async move {
        loop {
            let mut octet = [0];
            stream.read_exact(&mut octet).await?;
            assert_ne!(&octet, b"!", "the test wants it");
            stream.write_all(&octet).await?;
        }
    });
    each(application, |server| {
        let (mut first, mut other) = (taken(server.addr), taken(server.addr));
        first.send(b"a!");
        assert_eq!(first.exact(1).unwrap(), b"a");
        first.expect_end();
        other.send(b"b");
        assert_eq!(other.exact(1).unwrap(), b"b");
        drop(other);
        server.stop();
    });
}

#[test]
fn the_force_takes_readers_and_writers_away() {
    let mut config = config();
    config.timeouts.graceful_shutdown = PATIENCE;
    let (told, tell) = mpsc::channel();
    let application = move |_request: Request, environ: Environ| {
        let told = told.clone();
        async move {
            let upgrade = environ.upgrade()?;
            let work = move || {
                let (mut reader, mut writer) = upgrade.wait().unwrap().into_blocking().split();
                let reading = thread::spawn(move || reader.read(&mut [0; 1]).unwrap_err().kind());
                // The client does not read: this waits for room.
                let error = loop {
                    if let Err(error) = writer.write_all(&[0; 100_000]) {
                        break error.kind();
                    }
                };
                told.send((reading.join().unwrap(), error)).unwrap();
            };
            environ.runtime().run_blocking(work).detach();
            Ok::<_, Error>(switching())
        }
    };
    each_with(config, application, |server| {
        let mut client = taken(server.addr);
        client.exact(1).unwrap();
        let begun = Instant::now();
        server.trigger().force();
        server.wait();
        let errors = tell.recv_timeout(PATIENCE).unwrap();
        assert_eq!(errors, (io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionAborted), "[SHU-06]");
        assert!(begun.elapsed() < Duration::from_secs(5));
    });
}
