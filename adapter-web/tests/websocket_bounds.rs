//! Time, bounds and the shutdown of WebSockets on every server. \[UPG-10a\], \[UPG-20\], \[UPG-22\],
//! \[UPG-23\]

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use adapter_core::websocket::{Error as SocketError, Sender, Upgrade};
use adapter_core::{Environ, Error, Request, Response};

use crate::support::{BINARY, Client, PATIENCE, PING, TEXT, close, config, each, each_with, frame, text};

async fn echo(request: Request, environ: Environ) -> Result<Response, Error> {
    let upgrade = Upgrade::from_request(&request, &environ)?;
    Ok(upgrade.accept(|mut socket| async move {
        while let Some(message) = socket.recv().await {
            socket.send(message?).await?;
        }
        Ok::<_, SocketError>(())
    })?)
}

#[test]
fn pings_go_out_at_the_interval_and_silence_ends_it() {
    let (told, tell) = mpsc::channel();
    each(
        move |request: Request, environ: Environ| {
            let told = told.clone();
            async move {
                let upgrade = Upgrade::from_request(&request, &environ)?.ping_interval(Duration::from_millis(300));
                Ok::<_, Error>(upgrade.accept(move |mut socket| async move {
                    let end = socket.recv().await;
                    told.send((end, socket.closed().unwrap().code)).unwrap();
                })?)
            }
        },
        |server| {
            let mut client = Client::open(server.addr, "/");
            for _ in 0..4 {
                let ping = client.frame().unwrap();
                assert_eq!(ping.opcode(), PING, "[UPG-23b]");
                client.send(&frame(0x8a, &ping.payload));
            }
            // no more pongs
            assert_eq!(client.frame().unwrap().opcode(), PING);
            client.expect_end();
            let (end, code) = tell.recv_timeout(PATIENCE).unwrap();
            assert!(matches!(end, Some(Err(SocketError::Unresponsive(_)))), "{end:?}");
            assert_eq!(code, 1006);
        },
    );
}

#[test]
fn pings_are_answered_while_the_handler_does_something_else() {
    each(
        |request: Request, environ: Environ| async move {
            let upgrade = Upgrade::from_request(&request, &environ)?;
            Ok::<_, Error>(upgrade.accept(|socket| async move {
                let sender = socket.split().0;
                sender.wait_closed().await;
            })?)
        },
        |server| {
            let mut client = Client::open(server.addr, "/");
            // Nobody receives: the messages are dropped and hold up nothing.
            client.send(&[text("one"), text("two"), frame(0x80 | PING, b"are you there"), text("three")].concat());
            client.expect(0xa, b"are you there");
            client.send(&close(1000, ""));
            client.expect_close(1000);
        },
    );
}

#[test]
fn idle_ones_are_closed_if_that_is_asked_for() {
    each(
        |request: Request, environ: Environ| async move {
            let upgrade = Upgrade::from_request(&request, &environ)?.idle_timeout(Duration::from_millis(100));
            Ok::<_, Error>(upgrade.accept(|mut socket| async move {
                while let Some(Ok(message)) = socket.recv().await {
                    socket.send(message).await?;
                }
                Ok::<_, SocketError>(())
            })?)
        },
        |server| {
            let mut client = Client::open(server.addr, "/");
            let begun = Instant::now();
            client.send(&text("x"));
            client.expect(TEXT, b"x");
            client.expect_close_answering(1001);
            assert!(begun.elapsed() >= Duration::from_millis(100));
        },
    );
}

#[test]
fn quiet_ones_outlive_every_timeout() {
    let mut config = config();
    let short = Some(Duration::from_millis(50));
    (config.timeouts.keep_alive, config.timeouts.header_read) = (short, short);
    (config.timeouts.body_read, config.timeouts.write, config.timeouts.handler) = (short, short, short);
    each_with(config, echo, |server| {
        let mut client = Client::open(server.addr, "/");
        client.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        assert!(std::io::Read::read(&mut client.stream, &mut [0; 1]).is_err(), "[UPG-23a]");
        client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send(&text("still here"));
        client.expect(TEXT, b"still here");
    });
}

/// A room: everything sent to anybody goes to all, by `try_send`.
#[derive(Clone, Default)]
struct Room(Arc<Mutex<Vec<Sender>>>);

impl Room {
    fn application(&self) -> impl adapter_core::Application + use<> {
        let room = self.clone();
        move |request: Request, environ: Environ| {
            let room = room.clone();
            async move {
                let upgrade = Upgrade::from_request(&request, &environ)?.max_write_buffer(256 * 1024);
                Ok::<_, Error>(upgrade.accept(move |socket| async move {
                    let (sender, mut receiver) = socket.split();
                    sender.send("welcome").await?;
                    room.0.lock().unwrap().push(sender);
                    while let Some(message) = receiver.recv().await {
                        let message = message?;
                        room.0.lock().unwrap().retain(|sender| sender.try_send(message.clone()).is_ok());
                    }
                    Ok::<_, SocketError>(())
                })?)
            }
        }
    }
}

#[test]
fn a_message_reaches_five_hundred() {
    let room = Room::default();
    each(room.application(), |server| {
        let mut clients: Vec<_> = (0..500).map(|_| Client::open(server.addr, "/")).collect();
        for client in &mut clients {
            client.expect(TEXT, b"welcome");
        }
        while room.0.lock().unwrap().len() < clients.len() {
            std::thread::yield_now();
        }
        clients[250].send(&text("to all"));
        for client in &mut clients {
            client.expect(TEXT, b"to all");
        }
        room.0.lock().unwrap().clear();
        let stopping = std::thread::spawn(move || server.stop());
        for client in &mut clients {
            assert_eq!(client.frame().unwrap().close().unwrap().0, 1001, "[UPG-22]");
            client.send(&close(1001, ""));
        }
        drop(clients);
        stopping.join().unwrap();
    });
}

#[test]
fn who_never_reads_is_disconnected_and_nobody_else_notices() {
    let room = Room::default();
    each(room.application(), |server| {
        let mut deaf = Client::open(server.addr, "/");
        let mut good = Client::open(server.addr, "/");
        deaf.expect(TEXT, b"welcome");
        good.expect(TEXT, b"welcome");
        while room.0.lock().unwrap().len() < 2 {
            std::thread::yield_now();
        }
        let big = vec![b'x'; 200 * 1024];
        let begun = Instant::now();
        while room.0.lock().unwrap().len() == 2 {
            good.send(&frame(0x80 | BINARY, &big));
            good.expect(BINARY, &big);
            assert!(begun.elapsed() < PATIENCE, "[UPG-20] it was never disconnected");
        }
        good.send(&text("on we go"));
        good.expect(TEXT, b"on we go");
        // What the operating system has taken is all it gets.
        while deaf.frame().is_some() {}
        room.0.lock().unwrap().clear();
    });
}

#[test]
fn sending_waits_for_a_slow_reader_and_gives_up_on_one_that_never_reads() {
    let (told, tell) = mpsc::channel();
    each(
        move |request: Request, environ: Environ| {
            let told = told.clone();
            async move {
                let upgrade = Upgrade::from_request(&request, &environ)?.send_timeout(Duration::from_millis(300));
                Ok::<_, Error>(upgrade.accept(move |mut socket| async move {
                    let mut sent = 0;
                    let error = loop {
                        match socket.send(vec![0; 1 << 20]).await {
                            Ok(()) => sent += 1,
                            Err(error) => break error,
                        }
                    };
                    told.send((sent, error)).unwrap();
                })?)
            }
        },
        |server| {
            let mut client = Client::open(server.addr, "/");
            for _ in 0..30 {
                assert_eq!(client.frame().unwrap().payload.len(), 1 << 20);
            }
            let (sent, error) = tell.recv_timeout(PATIENCE).unwrap();
            assert!((30..100).contains(&sent), "[UPG-20] {sent} MiB can't be anywhere but in a buffer");
            assert!(matches!(error, SocketError::Unresponsive(_)), "{error:?}");
        },
    );
}

#[test]
fn a_flood_of_pings_without_reading_is_held_back() {
    each(echo, |server| {
        let mut client = Client::open(server.addr, "/");
        client.stream.set_nonblocking(true).unwrap();
        let flood = frame(0x80 | PING, &[b'p'; 125]).repeat(1000);
        let mut sent = 0;
        let begun = Instant::now();
        let mut stalled = None;
        while begun.elapsed() < PATIENCE {
            match std::io::Write::write(&mut client.stream, &flood[sent % flood.len()..]) {
                Ok(count) => {
                    sent += count;
                    stalled = None;
                }
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                    if stalled.get_or_insert_with(Instant::now).elapsed() > Duration::from_millis(300) {
                        return;
                    }
                    std::thread::yield_now();
                }
            }
            assert!(sent < 64 << 20, "[UPG-20] {sent} bytes of pings were taken without an answer being read");
        }
        panic!("neither held back nor too much: {sent} bytes");
    });
}

#[test]
fn the_deadline_ends_a_handler_that_goes_on() {
    let mut config = config();
    config.timeouts.graceful_shutdown = Duration::from_millis(300);
    let application = |request: Request, environ: Environ| async move {
        let upgrade = Upgrade::from_request(&request, &environ)?;
        Ok::<_, Error>(upgrade.accept(|socket| async move {
            std::future::pending::<()>().await;
            drop(socket);
        })?)
    };
    each_with(config, application, |server| {
        let mut client = Client::open(server.addr, "/");
        let begun = Instant::now();
        server.trigger().trigger();
        client.expect_close_answering(1001);
        server.wait();
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(3), "[SHU-06] {took:?}");
    });
}

#[test]
fn a_handler_ends_in_peace_within_the_deadline() {
    let (told, tell) = mpsc::channel();
    each(
        move |request: Request, environ: Environ| {
            let told = told.clone();
            async move {
                let upgrade = Upgrade::from_request(&request, &environ)?;
                let runtime = environ.runtime().clone();
                Ok::<_, Error>(upgrade.accept(move |mut socket| async move {
                    assert_eq!(socket.recv().await, None);
                    runtime.sleep(Duration::from_millis(200)).await;
                    told.send(()).unwrap();
                })?)
            }
        },
        |server| {
            let mut client = Client::open(server.addr, "/");
            server.trigger().trigger();
            assert_eq!(client.frame().unwrap().close().unwrap().0, 1001);
            client.send(&close(1001, ""));
            client.expect_end();
            server.wait();
            tell.try_recv().expect("the shutdown waits for the handler, not for the connection alone");
        },
    );
}
