//! Handshakes, frames and sockets, in memory. Over real sockets: `adapter-hyper/tests`.

mod handshake;
mod socket;
mod wire;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use futures_io::{AsyncRead, AsyncWrite};

use crate::environ::{Connection, Environ, Serving};
use crate::server::{Capabilities, ListenAddr, ServerConfig, ServerInfo, ShutdownTrigger};
use crate::testing::Client;
use crate::{Body, Error, Request, Response, Runtime};

/// The runtime of a testing client.
fn runtime() -> Runtime {
    let (found, find) = mpsc::channel();
    let application = move |_request: Request, environ: Environ| {
        found.send(environ.runtime().clone()).unwrap();
        async { Ok::<_, Error>(Response::new(Body::empty())) }
    };
    Client::new(application).get("/").send();
    find.recv().unwrap()
}

/// An environ of a server with these capabilities.
fn environ(upgrade: bool, websocket: bool, shutdown: ShutdownTrigger) -> Environ {
    let capabilities = Capabilities { upgrade, websocket, ..Capabilities::none() };
    let info = ServerInfo::new("test", "0").with_capabilities(capabilities);
    let serving = Serving::new(info, runtime(), shutdown, &ServerConfig::default());
    let local = ListenAddr::Tcp(([127, 0, 0, 1], 80).into());
    Environ::new(Arc::new(Connection::new(serving, None, local)), Instant::now())
}

/// One direction of a pipe.
#[derive(Default)]
struct Channel {
    octets: VecDeque<u8>,
    /// No more than this many wait.
    capacity: usize,
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Channel {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

/// An end of an in-memory pipe; dropping it ends both directions.
struct Pipe {
    inbound: Arc<Mutex<Channel>>,
    outbound: Arc<Mutex<Channel>>,
}

fn pipe(capacity: usize) -> (Pipe, Pipe) {
    let channel = || Arc::new(Mutex::new(Channel { capacity, ..Channel::default() }));
    let (one, two) = (channel(), channel());
    (Pipe { inbound: one.clone(), outbound: two.clone() }, Pipe { inbound: two, outbound: one })
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut channel = self.inbound.lock().unwrap();
        if channel.octets.is_empty() && !channel.ended {
            channel.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = io::Read::read(&mut channel.octets, buffer)?;
        channel.wake();
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let mut channel = self.outbound.lock().unwrap();
        if channel.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = octets.len().min(channel.capacity - channel.octets.len());
        if count == 0 {
            channel.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        channel.octets.extend(&octets[..count]);
        channel.wake();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut channel = self.outbound.lock().unwrap();
        channel.ended = true;
        channel.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        for channel in [&self.inbound, &self.outbound] {
            let mut channel = channel.lock().unwrap();
            channel.ended = true;
            channel.wake();
        }
    }
}

/// A masked frame, as a client sends it.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        length @ 0..126 => out.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    let mask = [0xa1, 0x02, 0x43, 0xff];
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}
