//! A crowd: thousands of connections opened at once, each of which sends one request and then stays open. Those that are
//! WebSockets have one message echoed first.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustls::ClientConfig;

use super::frame::{Came, Echo, Message, handshake};
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
    /// What is to be echoed, once the request is answered.
    message: Option<Message>,
    begun: Instant,
    /// What the first failed member failed of.
    pub failure: Option<String>,
}

struct Member {
    stream: Wire,
    reader: Reader,
    echo: Echo,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Connecting,
    Waiting,
    /// The message was sent.
    Echoing,
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
        Self::asking(address, tls, count, get(target), None)
    }

    /// WebSockets, on each of which one message is echoed.
    pub fn open_sockets(address: SocketAddr, count: usize, message: Message) -> Result<Self, String> {
        Self::asking(address, None, count, handshake(), Some(message))
    }

    fn asking(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
        count: usize,
        request: Vec<u8>,
        message: Option<Message>,
    ) -> Result<Self, String> {
        let attempt = move || -> std::io::Result<Self> {
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            let begun = Instant::now();
            let mut members = Vec::with_capacity(count);
            for token in 0..count as u64 {
                let stream = begin_connect(&epoll, address, token)?;
                let stream = Wire::new(stream, tls).map_err(std::io::Error::other)?;
                let reader = if message.is_some() { Reader::switching() } else { Reader::default() };
                members.push(Member { stream, reader, echo: Echo::default(), state: State::Connecting });
            }
            Ok(Self { epoll, events: Vec::with_capacity(1024), members, request, message, begun, failure: None })
        };
        attempt().map_err(|error| format!("opening {count} connections: {error}"))
    }

    /// Sends, receives and checks until `end`, or until every member is answered or has failed.
    pub fn attend(&mut self, end: Instant) -> Result<(), String> {
        let pending = |member: &Member| matches!(member.state, State::Connecting | State::Waiting | State::Echoing);
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
            if let Err(error) = member.advance(event.flags, &self.request, self.message.as_ref(), self.begun) {
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
    fn advance(
        &mut self,
        flags: epoll::EventFlags,
        request: &[u8],
        message: Option<&Message>,
        begun: Instant,
    ) -> Result<(), String> {
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
            match (self.state, message) {
                (State::Waiting, _) => {
                    let (taken, response) = self.reader.read(&buffer[..read])?;
                    if taken < read {
                        return Err("more than one answer".into());
                    }
                    match (response, message) {
                        (None, _) => {}
                        (Some(_), None) => self.state = State::Answered(begun.elapsed()),
                        (Some(_), Some(message)) => {
                            self.stream.write_all(&message.frame).map_err(|error| format!("sending: {error}"))?;
                            self.state = State::Echoing;
                        }
                    }
                }
                (State::Echoing, Some(message)) => match self.echo.read(&buffer[..read], &message.payload)? {
                    (_, None) => {}
                    (taken, Some(Came::Message)) if taken == read => self.state = State::Answered(begun.elapsed()),
                    _ => return Err("more than the echo".into()),
                },
                _ => return Err("an answer without a request".into()),
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
