//! Slow clients: each sends one byte of a request head a second, and never the end of it.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::exchange::connect;
use super::wire::Wire;

/// Running slow clients; dropping it ends them.
pub struct Slow {
    end: Sender<()>,
    thread: JoinHandle<usize>,
}

impl Slow {
    pub fn open(address: SocketAddr, count: usize) -> Self {
        // A server that refuses some of them is judged by its answers to others.
        let give_up = Instant::now() + Duration::from_secs(5);
        let connect = |_| connect(address, None, give_up.saturating_duration_since(Instant::now())).ok();
        let mut clients: Vec<Wire> = (0..count).map_while(connect).collect();
        let (end, ended) = channel();
        let thread = std::thread::spawn(move || {
            let mut head = b"GET / HTTP/1.1\r\nhost: localhost\r\nx-slow: ".iter().chain(std::iter::repeat(&b'a'));
            loop {
                let byte = head.next().copied().unwrap_or(b'a');
                clients.retain_mut(|client| client.write_all(&[byte]).is_ok() && is_open(client));
                if ended.recv_timeout(Duration::from_secs(1)) != Err(RecvTimeoutError::Timeout) {
                    clients.retain_mut(is_open);
                    return clients.len();
                }
            }
        });
        Self { end, thread }
    }

    /// Ends them; returns how many the server still had open.
    pub fn end(self) -> usize {
        drop(self.end);
        self.thread.join().unwrap_or(0)
    }
}

fn is_open(client: &mut Wire) -> bool {
    matches!(client.read(&mut [0; 512]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}
