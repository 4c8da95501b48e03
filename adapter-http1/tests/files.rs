//! Files that a transport can send without reading them: how much of one is sent so, and what is read instead.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::future::pending;
use std::io::{self, ErrorKind, IoSlice, Write as _};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use adapter_core::environ::Serving;
use adapter_core::runtime::{BlockingJob, BoxFuture, Driver};
use adapter_core::{
    Body, DynApplication, Environ, Error, ListenAddr, Outcome, Request, Response, Runtime, ServerConfig, ServerInfo,
    ShutdownTrigger,
};
use adapter_http1::connection::{Connection, SendFile, Settings, Transport};

/// What has gone over a connection, and how.
#[derive(Default)]
struct Wire {
    incoming: Vec<u8>,
    out: Vec<u8>,
    /// Of which so many were sent as parts of a file.
    sent: usize,
    /// What the client takes.
    room: usize,
    /// What comes of an attempt to send a part of a file, where not that.
    refuses: Option<ErrorKind>,
}

#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Wire>>);

impl Transport for Socket {
    fn poll_read(&mut self, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut wire = self.0.lock().unwrap();
        if wire.incoming.is_empty() {
            return Poll::Pending;
        }
        let count = wire.incoming.len().min(buffer.len());
        buffer[..count].copy_from_slice(&wire.incoming[..count]);
        wire.incoming.drain(..count);
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut wire = self.0.lock().unwrap();
        let taken: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).take(wire.room).collect();
        if taken.is_empty() {
            return Poll::Pending;
        }
        wire.room -= taken.len();
        wire.out.extend(&taken);
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn file_sender(&self) -> Option<Arc<dyn SendFile>> {
        Some(Arc::new(self.clone()))
    }

    fn reset_on_close(&mut self) {}
}

impl SendFile for Socket {
    fn try_send_file(&self, file: &File, position: u64, length: u64) -> io::Result<usize> {
        let mut wire = self.0.lock().unwrap();
        if let Some(kind) = wire.refuses {
            return Err(kind.into());
        }
        if wire.room == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut piece = vec![0; (length as usize).min(wire.room)];
        let count = std::os::unix::fs::FileExt::read_at(file, &mut piece, position)?;
        wire.room -= count;
        wire.sent += count;
        wire.out.extend(&piece[..count]);
        Ok(count)
    }
}

/// A thread that may block, and nothing else.
struct Here;

impl Driver for Here {
    fn sleep_until(&self, _: Instant) -> BoxFuture<()> {
        Box::pin(pending())
    }

    fn spawn(&self, _: BoxFuture<()>) {}

    fn run_blocking(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        Err(job)
    }

    fn may_block(&self) -> bool {
        true
    }
}

const LENGTH: usize = 3 * 1024 * 1024 + 5;

fn octet(place: usize) -> u8 {
    (place % 251) as u8
}

/// A connection that has been asked once for a file; the file, the wire and how the body ended.
struct Asked {
    connection: Connection<Socket>,
    file: File,
    wire: Arc<Mutex<Wire>>,
    ended: Arc<Mutex<Option<(Outcome, u64)>>>,
}

impl Asked {
    fn for_file(request: &str) -> Self {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&(0..LENGTH).map(octet).collect::<Vec<_>>()).unwrap();
        let ended = Arc::<Mutex<Option<(Outcome, u64)>>>::default();
        let (shared, told) = (file.try_clone().unwrap(), ended.clone());
        let app = move |_: Request, _: Environ| {
            let (file, told) = (shared.try_clone(), told.clone());
            async move {
                let body = Body::from_file(file?, 0..)?;
                Ok::<_, Error>(Response::new(
                    body.on_finish(move |how, count| *told.lock().unwrap() = Some((how, count))),
                ))
            }
        };
        let config = ServerConfig::default();
        let serving = Serving::new(ServerInfo::new("files", "1"), Runtime::new(Here), ShutdownTrigger::new(), &config);
        let settings = Arc::new(Settings::new(DynApplication::new(app), serving, &config, Arc::default()));
        let socket = Socket::default();
        let wire = socket.0.clone();
        wire.lock().unwrap().incoming.extend(request.as_bytes());
        let local = ListenAddr::Tcp("127.0.0.1:80".parse().unwrap());
        let connection = Connection::new(settings, socket, None, local, Instant::now());
        Asked { connection, file, wire, ended }
    }

    /// Lets the client take so many octets more.
    fn take(&mut self, octets: usize) -> bool {
        self.wire.lock().unwrap().room += octets;
        self.connection.poll(&mut Context::from_waker(Waker::noop()), Instant::now()).is_ready()
    }

    /// What came behind the head.
    fn body(&self) -> Vec<u8> {
        let wire = self.wire.lock().unwrap();
        let head = wire.out.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        wire.out[head..].to_vec()
    }

    fn assert_whole(&self) {
        let body = self.body();
        assert_eq!(body.len(), LENGTH);
        assert!(body.iter().enumerate().all(|(place, found)| *found == octet(place)));
        assert_eq!(*self.ended.lock().unwrap(), Some((Outcome::Complete, LENGTH as u64)));
    }

    fn sent(&self) -> usize {
        self.wire.lock().unwrap().sent
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_client_that_takes_all_gets_it_unread() {
    let mut asked = Asked::for_file(GET);
    assert!(!asked.take(usize::MAX / 2));
    asked.assert_whole();
    assert_eq!(asked.sent(), LENGTH);
}

/// What the client has no room for is read once, as somebody has to be told when there is.
#[test]
fn a_client_that_takes_little_gets_all_of_it_in_order() {
    for step in [1000, 70_000, 500_000] {
        let mut asked = Asked::for_file(GET);
        while asked.ended.lock().unwrap().is_none() {
            assert!(!asked.take(step));
        }
        asked.take(usize::MAX / 2);
        asked.assert_whole();
    }
}

#[test]
fn what_cannot_be_sent_so_is_read() {
    for kind in [ErrorKind::InvalidInput, ErrorKind::Unsupported, ErrorKind::WouldBlock] {
        let mut asked = Asked::for_file(GET);
        asked.wire.lock().unwrap().refuses = Some(kind);
        asked.take(usize::MAX / 2);
        asked.assert_whole();
        assert_eq!(asked.sent(), 0);
    }
}

/// \[FIL-02\], \[FRM-04\]
#[test]
fn a_file_that_becomes_shorter_breaks_off() {
    let mut asked = Asked::for_file(GET);
    asked.take(200_000);
    asked.file.set_len(300_000).unwrap();
    while !asked.take(1_000_000) && asked.ended.lock().unwrap().is_none() {}
    assert!(asked.body().len() <= 300_000);
    assert_eq!(asked.ended.lock().unwrap().map(|(how, _)| how), Some(Outcome::Aborted));
}

#[test]
fn a_head_has_none_of_it() {
    let mut asked = Asked::for_file("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    asked.take(usize::MAX / 2);
    assert_eq!((asked.body().len(), asked.sent()), (0, 0));
}

/// HTTP/1.0 to a client that keeps no connection: the same octets.
#[test]
fn old_clients_get_the_same() {
    let mut asked = Asked::for_file("GET / HTTP/1.0\r\n\r\n");
    asked.take(usize::MAX / 2);
    asked.assert_whole();
    assert_eq!(asked.sent(), LENGTH);
}
