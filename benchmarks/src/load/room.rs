//! A full room of the example `chat`: half of its members on WebSockets, half long-polling. One thread, one epoll.
//!
//! Members only count what they hear: the number of the last message, and when it came. They answer pings, and poll
//! again once a poll is answered.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll;

use super::begin_connect;
use super::frame::{self, KEY};
use super::steady::wait;

pub struct Room {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    members: Vec<Member>,
    buffer: Vec<u8>,
    said: u64,
    /// What the first member that failed failed of.
    pub failure: Option<String>,
}

struct Member {
    stream: TcpStream,
    way: Way,
    name: String,
    state: State,
    /// What has come of a head, a body or a frame that is not whole yet.
    inbox: Vec<u8>,
    /// The last message that was heard, and when.
    heard: (u64, Instant),
}

#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    WebSocket,
    Poll,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Connecting,
    /// A poll waits, or the handshake was sent.
    Asked,
    /// Frames come.
    Upgraded,
    Failed,
}

impl Room {
    /// Begins to connect members of both ways, in turn; [`attend`](Self::attend) does the rest.
    pub fn open(address: SocketAddr, count: usize) -> Result<Self, String> {
        let attempt = || -> std::io::Result<Self> {
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            let mut members = Vec::with_capacity(count);
            for token in 0..count as u64 {
                members.push(Member {
                    stream: begin_connect(&epoll, address, token)?,
                    way: if token % 2 == 0 { Way::WebSocket } else { Way::Poll },
                    name: format!("member-{token}"),
                    state: State::Connecting,
                    inbox: Vec::new(),
                    heard: (0, Instant::now()),
                });
            }
            let (events, buffer) = (Vec::with_capacity(1024), vec![0; 64 * 1024]);
            Ok(Self { epoll, events, members, buffer, said: 0, failure: None })
        };
        attempt().map_err(|error| format!("opening {count} connections: {error}"))
    }

    /// Sends, receives and counts until `end`, or until all have heard the last message.
    pub fn attend(&mut self, end: Instant, until_heard: bool) -> Result<(), String> {
        while !(until_heard && self.members.iter().all(|member| member.heard.0 >= self.said)) {
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() || self.failure.is_some() {
                break;
            }
            wait(&self.epoll, &mut self.events, rest.min(Duration::from_millis(100)))
                .map_err(|error| format!("epoll: {error}"))?;
            for event in self.events.drain(..) {
                let member = &mut self.members[event.data.u64() as usize];
                if member.state == State::Failed {
                    continue;
                }
                if let Err(error) = member.advance(event.flags, &mut self.buffer) {
                    self.failure.get_or_insert(format!("{}: {error}", member.name));
                    member.state = State::Failed;
                }
            }
        }
        Ok(())
    }

    /// The first member says something; waits until all have heard it. How long it took to the last of each way, in
    /// milliseconds.
    pub fn say(&mut self, limit: Duration) -> Result<[f64; 2], String> {
        self.said += 1;
        let begun = Instant::now();
        let speaker = self.members.first_mut().ok_or("nobody is here")?;
        speaker.frame(0x1, format!("message {}", self.said).as_bytes())?;
        self.attend(begun + limit, true)?;
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let missing = self.members.iter().filter(|member| member.heard.0 != self.said).count();
        if missing > 0 {
            return Err(format!("{missing} did not hear message {} in {} s", self.said, limit.as_secs()));
        }
        Ok([Way::WebSocket, Way::Poll].map(|way| {
            let of_way = self.members.iter().filter(|member| member.way == way);
            let last = of_way.map(|member| member.heard.1.duration_since(begun)).max().unwrap_or_default();
            last.as_secs_f64() * 1e3
        }))
    }
}

impl Member {
    fn advance(&mut self, flags: epoll::EventFlags, buffer: &mut [u8]) -> Result<(), String> {
        if self.state == State::Connecting && flags.intersects(epoll::EventFlags::OUT | epoll::EventFlags::ERR) {
            match self.way {
                Way::WebSocket => self.handshake()?,
                Way::Poll => self.poll()?,
            }
        }
        if !flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            return Ok(());
        }
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err("closed by the server".into()),
                Ok(read) => self.inbox.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        while self.take_one()? {}
        Ok(())
    }

    /// Takes one whole answer or frame from the inbox, if there is one.
    fn take_one(&mut self) -> Result<bool, String> {
        if self.state == State::Upgraded {
            return self.take_frame();
        }
        let Some(end) = self.inbox.windows(4).position(|window| window == b"\r\n\r\n").map(|end| end + 4) else {
            return Ok(false);
        };
        let length = match self.way {
            Way::WebSocket => head(&self.inbox[..end], 101)?.map_or(Ok(0), |_| Err("a length in an upgrade"))?,
            Way::Poll => head(&self.inbox[..end], 200)?.ok_or("an answer without Content-Length")?,
        };
        let Some(body) = self.inbox.get(end..end + length) else { return Ok(false) };
        if let Some(number) = last_number(body) {
            self.heard = (number, Instant::now());
        }
        self.inbox.drain(..end + length);
        match self.way {
            Way::WebSocket => self.state = State::Upgraded,
            Way::Poll => self.poll()?,
        }
        Ok(true)
    }

    fn take_frame(&mut self) -> Result<bool, String> {
        let Some((opcode, start, length)) = frame::head(&self.inbox) else { return Ok(false) };
        let Some(payload) = self.inbox.get(start..start + length) else { return Ok(false) };
        let mut ping = None;
        match opcode {
            0x1 => {
                if let Some(number) = last_number(payload) {
                    self.heard = (number, Instant::now());
                }
            }
            0x9 => ping = Some(payload.to_vec()),
            opcode => return Err(format!("a frame with opcode {opcode}")),
        }
        self.inbox.drain(..start + length);
        if let Some(payload) = ping {
            self.frame(0xa, &payload)?;
        }
        Ok(true)
    }

    fn handshake(&mut self) -> Result<(), String> {
        let request = format!(
            "GET /ws?room=bench&name={} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n",
            self.name
        );
        self.ask(&request)
    }

    fn poll(&mut self) -> Result<(), String> {
        let (name, heard) = (&self.name, self.heard.0);
        let request = format!("GET /poll?room=bench&name={name}&since={heard} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.ask(&request)
    }

    fn ask(&mut self, request: &str) -> Result<(), String> {
        self.state = State::Asked;
        self.stream.write_all(request.as_bytes()).map_err(|error| format!("sending: {error}"))
    }

    /// Sends a frame, masked with zeros.
    fn frame(&mut self, opcode: u8, payload: &[u8]) -> Result<(), String> {
        let frame = frame::masked(opcode, [0; 4], payload);
        self.stream.write_all(&frame).map_err(|error| format!("sending: {error}"))
    }
}

/// The Content-Length of an answer that has the wanted status.
fn head(head: &[u8], wanted: u16) -> Result<Option<usize>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(head).map_err(|error| format!("a malformed head: {error}"))?;
    if response.code != Some(wanted) {
        return Err(format!("status {}", response.code.unwrap_or(0)));
    }
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let number = |value: &[u8]| std::str::from_utf8(value).ok()?.trim().parse().ok();
    length.map(|header| number(header.value).ok_or_else(|| "a malformed Content-Length".into())).transpose()
}

/// The number of the last message in the chat's JSON.
fn last_number(json: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\"number\":";
    let at = json.windows(KEY.len()).rposition(|window| window == KEY)? + KEY.len();
    let digits = json.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_chat_sends() {
        assert_eq!(last_number(br#"{"entries":[{"number":7,"at":1},{"at":2,"number":18}]}"#), Some(18));
        assert_eq!(last_number(br#"{"entries":[]}"#), None);
        assert_eq!(head(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n", 200), Ok(Some(12)));
        assert_eq!(head(b"HTTP/1.1 501 No\r\n\r\n", 101), Err("status 501".into()));
    }
}
