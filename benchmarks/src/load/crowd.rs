//! A crowd: thousands of connections opened at once, each of which sends one request and then stays open.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustls::ClientConfig;

use super::response::Reader;
use super::steady::wait;
use super::wire::Wire;
use super::{begin_connect, get};

/// Open connections, and how far each one is.
pub struct Crowd {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    members: Vec<Member>,
    request: Vec<u8>,
    begun: Instant,
    /// What the first failed member failed of.
    pub failure: Option<String>,
}

struct Member {
    stream: Wire,
    reader: Reader,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Connecting,
    Waiting,
    /// Answered, so long after the crowd began to open, and still open.
    Answered(Duration),
    /// Refused, closed early or answered wrongly.
    Failed,
    /// Answered once, and closed by the server since.
    Left(Duration),
}

impl Crowd {
    /// Begins to connect `count` times; `attend` does the rest.
    pub fn open(address: SocketAddr, count: usize, target: &str) -> Result<Self, String> {
        Self::open_over(address, None, count, target)
    }

    /// The same, plain or under TLS.
    pub fn open_over(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
        count: usize,
        target: &str,
    ) -> Result<Self, String> {
        let attempt = || -> std::io::Result<Self> {
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            let begun = Instant::now();
            let mut members = Vec::with_capacity(count);
            for token in 0..count as u64 {
                let stream = begin_connect(&epoll, address, token)?;
                let stream = Wire::new(stream, tls).map_err(std::io::Error::other)?;
                members.push(Member { stream, reader: Reader::default(), state: State::Connecting });
            }
            Ok(Self { epoll, events: Vec::with_capacity(1024), members, request: get(target), begun, failure: None })
        };
        attempt().map_err(|error| format!("opening {count} connections: {error}"))
    }

    /// Sends, receives and checks until `end`, or until every member is answered or has failed.
    pub fn attend(&mut self, end: Instant) -> Result<(), String> {
        let pending = |member: &Member| matches!(member.state, State::Connecting | State::Waiting);
        while self.members.iter().any(pending) {
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                break;
            }
            self.take_events(rest.min(Duration::from_millis(100)))?;
        }
        Ok(())
    }

    /// Takes notice of what has happened since, such as the server's closing of idle connections.
    pub fn notice(&mut self) -> Result<(), String> {
        while self.take_events(Duration::ZERO)? > 0 {}
        Ok(())
    }

    fn take_events(&mut self, limit: Duration) -> Result<usize, String> {
        wait(&self.epoll, &mut self.events, limit).map_err(|error| format!("epoll: {error}"))?;
        let count = self.events.len();
        for event in self.events.drain(..) {
            let member = &mut self.members[event.data.u64() as usize];
            if let Err(error) = member.advance(event.flags, &self.request, self.begun) {
                member.state = match member.state {
                    State::Answered(time) | State::Left(time) => State::Left(time),
                    _ => {
                        self.failure.get_or_insert(error);
                        State::Failed
                    }
                };
            }
        }
        Ok(count)
    }

    /// When each answered member was answered, in order.
    pub fn answered(&self) -> Vec<Duration> {
        let times = self.members.iter().filter_map(|member| match member.state {
            State::Answered(time) | State::Left(time) => Some(time),
            _ => None,
        });
        let mut times: Vec<_> = times.collect();
        times.sort_unstable();
        times
    }

    /// Members that are answered and, as far as has been seen, still connected.
    pub fn idle(&self) -> usize {
        self.members.iter().filter(|member| matches!(member.state, State::Answered(_))).count()
    }
}

impl Member {
    fn advance(&mut self, flags: epoll::EventFlags, request: &[u8], begun: Instant) -> Result<(), String> {
        if flags.intersects(epoll::EventFlags::OUT | epoll::EventFlags::ERR) {
            self.begin(request)?;
        }
        if !flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            return Ok(());
        }
        let mut buffer = [0; 4096];
        loop {
            let read = match self.stream.read(&mut buffer) {
                Ok(0) => return Err("closed by the server".into()),
                Ok(read) => read,
                // A handshake may be over now.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return self.begin(request),
                Err(error) => return Err(error.to_string()),
            };
            if self.state != State::Waiting {
                return Err("an answer without a request".into());
            }
            let (taken, response) = self.reader.read(&buffer[..read])?;
            if taken < read {
                return Err("more than one answer".into());
            }
            if response.is_some() {
                self.state = State::Answered(begun.elapsed());
            }
        }
    }

    /// Sends the request, once it can be sent.
    fn begin(&mut self, request: &[u8]) -> Result<(), String> {
        if self.state == State::Connecting {
            match self.stream.write(request) {
                Ok(written) if written == request.len() => self.state = State::Waiting,
                Ok(_) => return Err("connecting: the request does not fit".into()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(format!("connecting: {error}")),
            }
        }
        Ok(())
    }
}
