//! Connections that the application has taken, on this server's threads. What holds for every server is tested by the
//! facade (`upgrade.rs` and `websocket.rs` there). \[UPG-17\], \[UPG-19b\], \[DIS-01\], \[CON-01\]

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::future::Future;
use std::io::{self, ErrorKind, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use adapter_core::upgrade::{Upgraded, WriteHalf};
use adapter_core::{Application, Body, Environ, Error, Request, Response, ServerConfig};
use futures_lite::future::{block_on, poll_once};
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};
use http::{HeaderValue, StatusCode, header};
use support::{Client, DEADLINE, Running, serve_with};

const ASK: &str = "GET /taken HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";

/// These tests count the threads of the process, or keep them busy: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn workers() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    // A thread may end while it is being looked at.
    let names = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("adapter-worker")).count()
}

/// An application that gives `/taken` to `talk`, in a task, and answers the rest.
fn talking<F, T>(talk: F) -> impl Application
where
    F: Fn(Upgraded, Environ) -> T + Clone + Send + Sync + 'static,
    T: Future<Output = io::Result<()>> + Send + 'static,
{
    move |request: Request, environ: Environ| {
        let talk = talk.clone();
        async move {
            let mut response = Response::new(Body::from("plain"));
            if request.uri().path() == "/taken" {
                let upgrade = environ.upgrade()?;
                let runtime = environ.runtime().clone();
                runtime.spawn(async move { talk(upgrade.await?, environ).await.map_err(Error::new) }).detach();
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("x"));
            }
            Ok::<_, Error>(response)
        }
    }
}

fn taken(server: &Running) -> Client {
    let mut client = server.connect();
    client.send(ASK);
    assert_eq!(client.head().0, 101);
    client
}

async fn echo(mut stream: Upgraded, _environ: Environ) -> io::Result<()> {
    let mut octets = [0; 1024];
    loop {
        match stream.read(&mut octets).await? {
            0 => return Ok(()),
            count => stream.write_all(&octets[..count]).await?,
        }
    }
}

#[test]
fn a_thousand_that_wait_hold_no_threads_and_a_broadcast_reaches_them() {
    static WRITERS: Mutex<Vec<WriteHalf>> = Mutex::new(Vec::new());
    let _alone = alone();
    let application = talking(|stream, _environ| async move {
        let (mut reader, writer) = stream.split();
        WRITERS.lock().unwrap().push(writer);
        while reader.read(&mut [0; 64]).await? > 0 {}
        Ok(())
    });
    let server = serve_with(application, ServerConfig::default().threads(4));
    let mut clients: Vec<Client> = (0..1000).map(|_| taken(&server)).collect();
    let start = Instant::now();
    while WRITERS.lock().unwrap().len() < clients.len() {
        assert!(start.elapsed() < DEADLINE);
        thread::yield_now();
    }
    assert_eq!(server.get("/").text(), "plain");
    assert!(workers() <= 5, "{} threads for connections that wait", workers());
    // From a thread of the test's own, while every client is silent and every reader waits.
    for writer in std::mem::take(&mut *WRITERS.lock().unwrap()) {
        writer.into_blocking().write_all(b"news").unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.exactly(4), b"news");
    }
    clients.iter().for_each(Client::half_close);
    for client in &mut clients {
        client.closed();
    }
}

#[test]
fn a_reset_is_an_error_for_reader_and_writer_and_stays_one() {
    let _alone = alone();
    let (told, tell) = mpsc::channel();
    let application = talking(move |stream, environ| {
        let told = told.clone();
        async move {
            let (mut reader, mut writer) = stream.split();
            environ.disconnected().await;
            let mut kinds = Vec::new();
            for _ in 0..2 {
                kinds.push(reader.read(&mut [0; 8]).await.map_err(|error| error.kind()));
            }
            let error = loop {
                if let Err(error) = writer.write(b"x").await {
                    break error.kind();
                }
            };
            told.send((kinds, error)).unwrap();
            Ok(())
        }
    });
    let server = serve_with(application, ServerConfig::default());
    let client = taken(&server);
    rustix::net::sockopt::set_socket_linger(&client.stream, Some(Duration::ZERO)).unwrap();
    drop(client);
    let (reads, write) = tell.recv_timeout(DEADLINE).unwrap();
    assert_eq!(reads, [Err(ErrorKind::ConnectionReset); 2]);
    assert!(matches!(write, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{write:?}");
}

#[test]
fn a_reset_wakes_a_reader() {
    let _alone = alone();
    let (told, tell) = mpsc::channel();
    let application = talking(move |mut stream, environ| {
        let told = told.clone();
        async move {
            stream.write_all(b"!").await?;
            let error = stream.read(&mut [0; 8]).await.unwrap_err();
            told.send((error.kind(), environ.is_disconnected())).unwrap();
            Ok(())
        }
    });
    let server = serve_with(application, ServerConfig::default());
    let mut client = taken(&server);
    assert_eq!(client.exactly(1), b"!");
    rustix::net::sockopt::set_socket_linger(&client.stream, Some(Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(tell.recv_timeout(DEADLINE).unwrap(), (ErrorKind::ConnectionReset, true));
}

/// One thread, and a stream that never has to wait: the others get their turn.
#[test]
fn a_busy_stream_lets_others_go_on() {
    let _alone = alone();
    let application = talking(|mut stream, _environ| async move {
        loop {
            // Always ready: there is more to read for as long as the test goes on.
            if stream.read(&mut [0; 1]).await? == 0 {
                return Ok(());
            }
        }
    });
    let server = serve_with(application, ServerConfig::default().threads(1));
    let client = taken(&server);
    let mut writer = client.stream.try_clone().unwrap();
    let flooding = thread::spawn(move || while writer.write_all(&[0; 65536]).is_ok() {});
    for _ in 0..20 {
        assert_eq!(server.get("/").text(), "plain");
    }
    client.stream.shutdown(std::net::Shutdown::Both).unwrap();
    flooding.join().unwrap();
}

#[test]
fn one_thread_carries_many() {
    let _alone = alone();
    let server = serve_with(talking(echo), ServerConfig::default().threads(1));
    let mut clients: Vec<Client> = (0..50).map(|_| taken(&server)).collect();
    for round in 0..5_u8 {
        clients.iter_mut().for_each(|client| client.send([round; 100]));
        for client in &mut clients {
            assert_eq!(client.exactly(100), [round; 100]);
        }
    }
}

/// The server shuts the socket down before it takes it away: that is not the client's end.
#[test]
fn the_force_is_never_taken_for_the_end() {
    let _alone = alone();
    let (told, tell) = mpsc::channel();
    let application = talking(move |mut stream, _environ| {
        let told = told.clone();
        async move {
            // It does not wait to be woken.
            thread::spawn(move || {
                let poll = || block_on(poll_once(stream.read(&mut [0; 1])));
                told.send(std::iter::repeat_with(poll).find_map(|read| read).unwrap()).unwrap();
            });
            Ok(())
        }
    });
    let server = serve_with(application, ServerConfig::default());
    let clients: Vec<Client> = (0..4).map(|_| taken(&server)).collect();
    let handle = server.take();
    handle.trigger().force();
    for _ in &clients {
        let read = tell.recv_timeout(DEADLINE).unwrap();
        assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionAborted, "[SHU-06]");
    }
    handle.wait().unwrap();
}

#[test]
fn the_signal_fires_when_the_stream_is_dropped() {
    let _alone = alone();
    let (told, tell) = mpsc::channel();
    let application = talking(move |stream, environ| {
        let told = told.clone();
        async move {
            assert!(!environ.is_disconnected());
            drop(stream);
            environ.disconnected().await;
            told.send(()).unwrap();
            Ok(())
        }
    });
    let server = serve_with(application, ServerConfig::default());
    // The client keeps its end open.
    let mut client = taken(&server);
    tell.recv_timeout(DEADLINE).unwrap();
    client.closed();
}

#[test]
fn a_client_that_leaves_before_the_answer_is_told_of() {
    let _alone = alone();
    let (told, tell) = mpsc::channel();
    let application = move |_request: Request, environ: Environ| {
        let told = told.clone();
        async move {
            let upgrade = environ.upgrade()?;
            let waiting = async move { told.send(upgrade.await.map(drop)).unwrap() };
            environ.runtime().spawn(waiting).detach();
            // The handler is dropped when the client is gone.
            std::future::pending::<()>().await;
            Ok::<_, Error>(Response::new(Body::empty()))
        }
    };
    let server = serve_with(application, ServerConfig::default());
    let mut client = server.connect();
    client.send(ASK);
    drop(client);
    let outcome = tell.recv_timeout(DEADLINE).unwrap();
    assert_eq!(outcome, Err(adapter_core::upgrade::UpgradeError::Disconnected));
}
