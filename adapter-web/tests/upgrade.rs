//! Taking a connection over, on every server; how much and for how long is in `upgrade_bounds.rs`.
//! \[UPG-06\], \[UPG-16\] to \[UPG-19\], \[UPG-23a\]

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use adapter_core::upgrade::{UpgradeError, Upgraded};
use adapter_core::{Body, Environ, Error, Request, Response, blocking};
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{ASK, Client, PATIENCE, config, each, each_with, switching};

async fn echo_on(mut stream: Upgraded) -> Result<(), Error> {
    let mut octets = [0; 4096];
    loop {
        match stream.read(&mut octets).await? {
            0 => return Ok(()),
            count => stream.write_all(&octets[..count]).await?,
        }
    }
}

async fn echo(_request: Request, environ: Environ) -> Result<Response, Error> {
    let upgrade = environ.upgrade()?;
    assert_eq!(environ.clone().upgrade().unwrap_err(), UpgradeError::Taken, "[UPG-19a]");
    environ.runtime().spawn(async move { echo_on(upgrade.await?).await }).detach();
    Ok(switching())
}

#[test]
fn octets_flow_both_ways_after_the_head_and_nothing_else() {
    each(echo, |server| {
        let mut client = Client::connect(server.addr);
        // [UPG-16] in the same segment as the request
        client.send(&[ASK, b"early"].concat());
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
        let head = head.to_lowercase();
        assert!(head.contains("\r\nupgrade: echo\r\n") && head.contains("\r\nconnection: upgrade\r\n"), "{head}");
        assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
        assert_eq!(client.exact(5).unwrap(), b"early", "[UPG-18] not the body");
        for n in 0..50 {
            let line = format!("line {n}\n");
            client.send(line.as_bytes());
            assert_eq!(client.exact(line.len()).unwrap(), line.as_bytes());
        }
        // [UPG-19b] our end of stream ends the echo, which drops the stream
        client.stream.shutdown(Shutdown::Write).unwrap();
        client.expect_end();
        server.stop();
    });
}

#[test]
fn early_octets_arrive_whole_wherever_the_request_is_split() {
    each(echo, |server| {
        let all = [ASK, b"early"].concat();
        for at in 1..all.len() {
            let mut client = Client::connect(server.addr);
            client.send(&all[..at]);
            client.send(&all[at..]);
            client.head();
            assert_eq!(client.exact(5).unwrap(), b"early", "split at {at}");
        }
    });
}

#[test]
fn a_large_transfer_each_way_at_once() {
    each(echo, |server| {
        let mut client = Client::connect(server.addr);
        client.send(ASK);
        client.head();
        let data: Vec<u8> = (0..8_u32 << 20).map(|n| (n % 251) as u8).collect();
        let mut writer = client.stream.try_clone().unwrap();
        let sent = data.clone();
        let sending = thread::spawn(move || writer.write_all(&sent).unwrap());
        assert!(client.exact(data.len()).unwrap() == data);
        sending.join().unwrap();
    });
}

#[test]
fn what_is_not_taken_or_not_asked_for_stays_http() {
    each(
        |request: Request, environ: Environ| async move {
            Ok::<_, Error>(match request.uri().path() {
                "/ignore" => Response::new(Body::from("plain")),
                "/refuse" => {
                    let upgrade = environ.upgrade()?;
                    let (sender, body) = Body::channel(1);
                    environ
                        .runtime()
                        .spawn(async move {
                            let error = upgrade.await.unwrap_err();
                            let _ = sender.send(error.to_string()).await;
                        })
                        .detach();
                    Response::new(body)
                }
                _ => {
                    drop(environ.upgrade()?);
                    switching()
                }
            })
        },
        |server| {
            let mut client = Client::connect(server.addr);
            let ask = |path| format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
            client.send(ask("/ignore").as_bytes());
            assert!(client.head().starts_with("HTTP/1.1 200 "), "[UPG-06]");
            assert_eq!(client.exact(5).unwrap(), b"plain");
            client.send(ask("/refuse").as_bytes());
            assert!(client.head().starts_with("HTTP/1.1 200 "));
            let expected = "25\r\nthe response did not switch protocols\r\n0\r\n\r\n";
            assert_eq!(String::from_utf8(client.exact(expected.len()).unwrap()).unwrap(), expected);
            // no Upgrade
            client.send(b"GET /take HTTP/1.1\r\nHost: a\r\n\r\n");
            assert!(client.head().starts_with("HTTP/1.1 400 "), "NotRequested");
        },
    );
}

#[test]
fn a_switch_nobody_took_closes() {
    each(
        |_request: Request, _environ: Environ| async { Ok::<_, Error>(switching()) },
        |server| {
            let mut client = Client::connect(server.addr);
            client.send(&[ASK, b"unread"].concat());
            assert!(client.head().starts_with("HTTP/1.1 101 "));
            client.expect_end();
            drop(client);
            server.stop();
        },
    );
}

#[test]
fn none_of_the_timeouts_is_for_a_taken_connection() {
    let mut config = config();
    let short = Some(Duration::from_millis(50));
    config.timeouts.keep_alive = short;
    config.timeouts.header_read = short;
    config.timeouts.body_read = short;
    config.timeouts.write = short;
    config.timeouts.handler = short;
    each_with(config, echo, |server| {
        let mut client = Client::connect(server.addr);
        client.send(ASK);
        client.head();
        // Waits for an event that must not come.
        client.stream.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
        let quiet = client.stream.read(&mut [0; 1]).unwrap_err();
        assert!(matches!(quiet.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{quiet}");
        client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send(b"still here");
        assert_eq!(client.exact(10).unwrap(), b"still here", "[UPG-23a]");
    });
}

#[test]
fn the_shutdown_waits_for_the_stream() {
    let mut config = config();
    config.timeouts.graceful_shutdown = PATIENCE;
    let (told, tell) = mpsc::channel();
    let application = move |_request: Request, environ: Environ| {
        let told = told.clone();
        async move {
            let upgrade = environ.upgrade()?;
            let runtime = environ.runtime().clone();
            let talk = async move {
                let mut stream = upgrade.await.unwrap();
                stream.write_all(b"ready").await.unwrap();
                environ.shutting_down().await;
                told.send(environ.is_disconnected()).unwrap();
                stream.write_all(b"bye").await.unwrap();
            };
            runtime.spawn(talk).detach();
            Ok::<_, Error>(switching())
        }
    };
    each_with(config, application, |server| {
        let mut client = Client::connect(server.addr);
        client.send(ASK);
        client.head();
        assert_eq!(client.exact(5).unwrap(), b"ready");
        let begun = Instant::now();
        server.trigger().trigger();
        assert_eq!(client.exact(3).unwrap(), b"bye", "[SHU-03]");
        client.expect_end();
        assert!(!tell.recv_timeout(PATIENCE).unwrap(), "the client was still there");
        server.wait();
        assert!(begun.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn the_deadline_takes_the_stream_away() {
    let mut config = config();
    config.timeouts.graceful_shutdown = Duration::from_millis(200);
    let (told, tell) = mpsc::channel();
    let application = move |_request: Request, environ: Environ| {
        let told = told.clone();
        async move {
            let upgrade = environ.upgrade()?;
            let runtime = environ.runtime().clone();
            // On a thread: it goes on after the force, where tasks are dropped.
            let read = move || {
                let mut stream = upgrade.wait().unwrap().into_blocking();
                stream.write_all(b"ready").unwrap();
                let error = stream.read(&mut [0; 1]).unwrap_err();
                told.send((error.kind(), environ.is_disconnected())).unwrap();
            };
            runtime.run_blocking(read).detach();
            Ok::<_, Error>(switching())
        }
    };
    each_with(config, application, |server| {
        let mut client = Client::connect(server.addr);
        client.send(ASK);
        client.head();
        assert_eq!(client.exact(5).unwrap(), b"ready");
        let begun = Instant::now();
        server.trigger().trigger();
        client.expect_end();
        server.wait();
        assert!(begun.elapsed() >= Duration::from_millis(200) && begun.elapsed() < Duration::from_secs(5));
        let outcome = tell.recv_timeout(PATIENCE).unwrap();
        assert_eq!(outcome, (std::io::ErrorKind::ConnectionAborted, true), "[SHU-06], [DIS-05]");
    });
}

#[test]
fn blocking_code_reads_and_writes_on_two_threads() {
    let application = std::sync::Arc::new(blocking(|_request: Request<_>, environ: Environ| {
        let upgrade = environ.upgrade()?;
        environ
            .runtime()
            .run_blocking(move || {
                let (mut reader, mut writer) = upgrade.wait().unwrap().into_blocking().split();
                // A silent client is written to while it is read from.
                let writing = thread::spawn(move || writer.write_all(b"hello"));
                let mut line = [0; 4];
                reader.read_exact(&mut line).unwrap();
                writing.join().unwrap().unwrap();
                assert_eq!(&line, b"pong");
            })
            .detach();
        Ok::<_, Error>(switching())
    }));

    each(application, |server| {
        let mut client = Client::connect(server.addr);
        client.send(ASK);
        client.head();
        assert_eq!(client.exact(5).unwrap(), b"hello");
        client.send(b"pong");
        client.expect_end();
        server.stop();
    });
}

#[test]
fn connect_tunnels() {
    each(
        |_request: Request, environ: Environ| async move {
            let upgrade = environ.upgrade()?;
            environ.runtime().spawn(async move { echo_on(upgrade.await?).await }).detach();
            Ok::<_, Error>(Response::new(Body::empty()))
        },
        |server| {
            let mut client = Client::connect(server.addr);
            client.send(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\nthrough");
            let head = client.head();
            assert!(head.starts_with("HTTP/1.1 200 ") && !head.to_lowercase().contains("length"), "{head}");
            assert_eq!(client.exact(7).unwrap(), b"through");
        },
    );
}
