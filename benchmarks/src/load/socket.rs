//! A WebSocket whose messages are echoed, one after the other, each checked octet by octet.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll;

use super::exchange::{connect, exchange_by};
use super::frame::{Came, Echo, Message, PONG, handshake, masked};
use super::response::Reader;
use super::steady::{Steady, Talk};
use super::wire::Wire;

/// So many messages are made, and sent in turn by all: to mask each one anew would be the loader's, not the server's, work.
const MESSAGES: u64 = 8;

/// How long opening one may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Socket {
    stream: Wire,
    echo: Echo,
    messages: Arc<[Message]>,
    /// The message that was last sent, and how much of its frame is.
    current: usize,
    sent: usize,
    waits: bool,
    /// What goes out after it: answers to pings.
    pongs: Vec<u8>,
}

impl Socket {
    /// Many of them, with messages of that size.
    pub fn many(address: SocketAddr, connections: usize, threads: usize, size: usize) -> Result<Steady<Self>, String> {
        let messages: Arc<[Message]> = (0..MESSAGES).map(|seed| Message::new(size, seed)).collect();
        // Each begins with another message.
        Steady::of(connections, threads, |index| Self::open(address, messages.clone(), index))
    }

    fn open(address: SocketAddr, messages: Arc<[Message]>, index: usize) -> Result<Self, String> {
        let mut stream = connect(address, None, PATIENCE)?;
        let handshake = handshake();
        exchange_by(Reader::switching(), &mut stream, &mut [0; 4096], [handshake.as_slice()], PATIENCE)?;
        let current = index % messages.len();
        let sent = messages[current].frame.len();
        Ok(Self { stream, echo: Echo::default(), messages, current, sent, waits: false, pongs: Vec::new() })
    }

    /// Sends as much as the socket takes.
    fn send(&mut self) -> Result<(), String> {
        loop {
            let rest = &self.messages[self.current].frame[self.sent..];
            let whole = rest.is_empty();
            let rest = if whole { self.pongs.as_slice() } else { rest };
            if rest.is_empty() {
                return Ok(());
            }
            match self.stream.write(rest) {
                Ok(written) if whole => drop(self.pongs.drain(..written)),
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("sending: {error}")),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Talk for Socket {
    // Edge by edge: a frame may not fit the socket, and room for the rest is to be told of once.
    const EVENTS: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::OUT).union(epoll::EventFlags::ET);

    fn ask(&mut self) -> Result<(), String> {
        if !self.pongs.is_empty() {
            return Err("sending: a pong does not go out".into());
        }
        self.current = (self.current + 1) % self.messages.len();
        self.sent = 0;
        self.waits = true;
        self.send()
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, String> {
        self.send()?;
        let mut answered = 0;
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return Err("the server closed a WebSocket".into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(answered),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("receiving: {error}")),
            };
            let mut rest = &buffer[..read];
            while !rest.is_empty() {
                let (taken, came) = self.echo.read(rest, &self.messages[self.current].payload)?;
                rest = &rest[taken..];
                match came {
                    None => {}
                    Some(Came::Message) if self.waits && self.sent == self.messages[self.current].frame.len() => {
                        self.waits = false;
                        answered += 1;
                    }
                    Some(Came::Message) => return Err("an echo of what was not sent".into()),
                    Some(Came::Ping(payload)) => {
                        self.pongs.extend(masked(PONG, [0; 4], &payload));
                        self.send()?;
                    }
                }
            }
            // What has not filled the buffer was all there is.
            if read < buffer.len() {
                return Ok(answered);
            }
        }
    }

    fn waits(&self) -> bool {
        self.waits
    }
}
