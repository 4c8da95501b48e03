//! A proxy that breaks what passes through it, so that a server can be wrong on the wire.
//!
//! Two threads a connection, one each way; they share a [`Flow`] and hold its lock while a filter runs.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use adapter_core::signal::Signal;

use crate::fault::{Fault, Way};
use crate::frames::Tap;

/// What a filter knows of a connection and can make happen.
#[derive(Default)]
pub(crate) struct Flow {
    /// Everything the client sent.
    pub(crate) sent: Vec<u8>,
    /// Everything the server sent.
    pub(crate) received: Vec<u8>,
    /// Goes to the client at once.
    pub(crate) reply: Vec<u8>,
    /// Goes to the server on a connection of its own, whose answer nobody sees.
    pub(crate) aside: Vec<u8>,
    /// The client is told of the server's end only after something went aside, or the client's own end.
    pub(crate) end_waits: bool,
    /// Either of the two has happened.
    may_end: Signal,
    /// Ends both sides.
    pub(crate) close: bool,
    /// Resets both sides.
    pub(crate) reset: bool,
    /// Does not tell the other side of an end.
    pub(crate) swallow_end: bool,
    /// Kept by a filter.
    pub(crate) held: Vec<u8>,
    /// Frames of a WebSocket on their way to the server.
    pub(crate) up: Tap,
    /// Frames of a WebSocket on their way to the client.
    pub(crate) down: Tap,
    /// The client's end was a reset.
    pub(crate) client_reset: bool,
    /// Gives up on a client that is silent for this long.
    pub(crate) silence: Option<Duration>,
}

impl Flow {
    /// Whether the client's first request begins so.
    pub(crate) fn asks(&self, text: &str) -> bool {
        self.sent.windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// The Content-Length of the client's first request.
    pub(crate) fn declares(&self) -> Option<u64> {
        let head = self.sent.get(..self.sent.windows(4).position(|window| window == b"\r\n\r\n")?)?;
        let field = head.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"content-length: "))?;
        std::str::from_utf8(field).ok()?.trim().parse().ok()
    }
}

/// Whether `text` is in `data`.
pub(crate) fn has(data: &[u8], text: &[u8]) -> bool {
    data.windows(text.len()).any(|window| window == text)
}

/// Adds a line to each head that begins in `data`.
pub(crate) fn inject(data: &mut Vec<u8>, line: &[u8]) {
    if data.starts_with(b"HTTP/1.")
        && let Some(at) = data.windows(2).position(|pair| pair == b"\r\n")
    {
        data.splice(at + 2..at + 2, line.iter().copied());
    }
}

/// Replaces every `from` in `data`.
pub(crate) fn replace(data: &mut Vec<u8>, from: &[u8], to: &[u8]) {
    let mut at = 0;
    while let Some(found) = data[at..].windows(from.len()).position(|window| window == from) {
        data.splice(at + found..at + found + from.len(), to.iter().copied());
        at += found + to.len();
    }
}

/// Accepts at `listener` and passes on to `server`, until `over`.
pub(crate) fn run(listener: TcpListener, server: SocketAddr, fault: &'static Fault, over: Arc<AtomicBool>) {
    let _ = socket2::SockRef::from(&listener).set_read_timeout(Some(Duration::from_millis(10)));
    while !over.load(Ordering::SeqCst) {
        let client = match listener.accept() {
            Ok((client, _)) => client,
            Err(error) if fault.deaf && error.kind() != std::io::ErrorKind::WouldBlock => return,
            Err(_) => continue,
        };
        let _ = client.set_nodelay(true);
        let over = over.clone();
        thread::spawn(move || pass(client, server, fault, &over));
    }
}

fn pass(client: TcpStream, address: SocketAddr, fault: &'static Fault, over: &Arc<AtomicBool>) {
    let Some(server) = patiently(over, || TcpStream::connect(address)) else { return };
    let _ = server.set_nodelay(true);
    let flow = Arc::new(Mutex::new(Flow::default()));
    let clone = |stream: &TcpStream| patiently(over, || stream.try_clone());
    let (Some(from_client), Some(to_client), Some(from_server), Some(to_server)) =
        (clone(&client), clone(&client), clone(&server), clone(&server))
    else {
        return;
    };
    let shared = flow.clone();
    let stop = over.clone();
    let upwards = thread::spawn(move || {
        upwards(from_client, to_server, address, fault, &shared, &stop);
        lock(&shared).may_end.fire();
    });
    downwards(from_server, to_client, fault, &flow, over);
    let _ = upwards.join();
}

/// Tries again until there are descriptors. `None` where nobody listens any more: a connection that was not passed on in
/// time for the server's shutdown ends, as it would have in the server's own queue.
fn patiently<T>(over: &AtomicBool, attempt: impl Fn() -> std::io::Result<T>) -> Option<T> {
    while !over.load(Ordering::SeqCst) {
        match attempt() {
            Ok(made) => return Some(made),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return None,
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
    None
}

fn lock(flow: &Mutex<Flow>) -> std::sync::MutexGuard<'_, Flow> {
    flow.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn upwards(
    mut client: TcpStream,
    mut server: TcpStream,
    address: SocketAddr,
    fault: &Fault,
    flow: &Mutex<Flow>,
    over: &AtomicBool,
) {
    let mut piece = [0; 65536];
    let mut silent = Duration::ZERO;
    const TICK: Duration = Duration::from_millis(50);
    let _ = client.set_read_timeout(Some(TICK));
    loop {
        let got = client.read(&mut piece);
        let mut state = lock(flow);
        match got {
            Ok(count @ 1..) => {
                silent = Duration::ZERO;
                let mut data = piece[..count].to_vec();
                state.sent.extend_from_slice(&data);
                fault.filter(Way::Up, &mut state, &mut data);
                let (reply, aside) = (std::mem::take(&mut state.reply), std::mem::take(&mut state.aside));
                let (close, broken) = (state.close, state.reset);
                drop(state);
                let _ = client.write_all(&reply);
                if !aside.is_empty()
                    && let Ok(mut beside) = TcpStream::connect(address)
                {
                    let _ = beside.write_all(&aside);
                    let _ = beside.shutdown(Shutdown::Write);
                    let _ = beside.read_to_end(&mut Vec::new());
                    lock(flow).may_end.fire();
                }
                if close || broken {
                    return end(&client, &server, broken);
                }
                if server.write_all(&data).is_err() {
                    return;
                }
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                silent += TICK;
                let late = state.silence.is_some_and(|limit| silent >= limit);
                if state.close || state.reset || late || over.load(Ordering::SeqCst) {
                    return end(&client, &server, state.reset);
                }
            }
            other => {
                state.client_reset |= other.is_err();
                if let Some(at_end) = fault.end {
                    at_end(&mut state);
                }
                let (swallow, close, is_reset) = (state.swallow_end, state.close, state.client_reset || state.reset);
                drop(state);
                match (swallow, close) {
                    // Kept open as long as the server lives.
                    (true, _) => {
                        while !over.load(Ordering::SeqCst) {
                            thread::sleep(TICK);
                        }
                    }
                    (_, true) => return end(&client, &server, is_reset),
                    _ if is_reset => return end(&client, &server, true),
                    _ => drop(server.shutdown(Shutdown::Write)),
                }
                return;
            }
        }
    }
}

fn end(client: &TcpStream, server: &TcpStream, is_reset: bool) {
    if is_reset {
        reset(client);
        reset(server);
    }
    // The other thread holds clones: shutting down reaches it.
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
}

fn downwards(mut server: TcpStream, mut client: TcpStream, fault: &Fault, flow: &Mutex<Flow>, over: &AtomicBool) {
    let mut piece = [0; 65536];
    loop {
        let got = server.read(&mut piece);
        let mut state = lock(flow);
        let ended = !matches!(got, Ok(1..));
        let mut data = piece[..*got.as_ref().unwrap_or(&0)].to_vec();
        state.received.extend_from_slice(&data);
        fault.filter(Way::Down, &mut state, &mut data);
        let (close, broken, swallow) = (state.close, state.reset, state.swallow_end);
        let end_waits = (ended && state.end_waits).then(|| state.may_end.clone());
        drop(state);
        if let Some(may_end) = end_waits {
            may_end.wait();
        }
        let failed = client.write_all(&data).is_err();
        let mut state = lock(flow);
        // A client that can't be written to has reset its connection, and the other thread may not be told of it again.
        let client_reset = failed && !close && !state.close;
        state.client_reset |= client_reset;
        drop(state);
        if failed || (close && !swallow) || broken {
            return end(&client, &server, broken || client_reset);
        }
        if ended {
            if swallow {
                while !over.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(20));
                }
            }
            if got.is_err() {
                reset(&client);
            }
            let _ = client.shutdown(Shutdown::Write);
            // The rest of what the client sends is of no interest, but must not become a reset.
            lock(flow).silence = Some(Duration::from_secs(3));
            return;
        }
    }
}
