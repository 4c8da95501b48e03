//! A toy in place of TLS, for tests of what is around a session: records of a kind, a length and octets that are XORed, a handshake of two
//! messages each way, ALPN, alerts, close_notify. It protects nothing.
//!
//! Other crates' tests take this file by its path.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "for tests, and none uses all of it")]

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use adapter_core::Error;
use adapter_core::tls::{Acceptor, Session, TlsError, TlsInfo};

pub const ALERT: u8 = 0x15;
pub const HANDSHAKE: u8 = 0x16;
pub const DATA: u8 = 0x17;
/// Is answered by the same.
pub const UPDATE: u8 = 0x18;

pub const CLOSE_NOTIFY: u8 = 0;
pub const HANDSHAKE_FAILURE: u8 = 40;

/// Plaintext of one record.
const RECORD: usize = 16 * 1024;
/// Plaintext that a session holds.
const HOLDS: usize = 32 * 1024;

fn scramble(octets: &mut [u8]) {
    for octet in octets {
        *octet ^= 0x5a;
    }
}

/// Appends one record.
fn append(kind: u8, payload: &[u8], to: &mut Vec<u8>) {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    to.extend_from_slice(&[kind, length[0], length[1]]);
    let start = to.len();
    to.extend_from_slice(payload);
    scramble(&mut to[start..]);
}

/// One record.
pub fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    append(kind, payload, &mut record);
    record
}

/// `data` as records.
pub fn seal(data: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::new();
    data.chunks(RECORD).for_each(|piece| append(DATA, piece, &mut sealed));
    sealed
}

pub fn hello(alpn: &str) -> Vec<u8> {
    record(HANDSHAKE, format!("hello {alpn}").as_bytes())
}

pub fn finished() -> Vec<u8> {
    record(HANDSHAKE, b"finished")
}

pub fn close_notify() -> Vec<u8> {
    record(ALERT, &[CLOSE_NOTIFY])
}

/// Puts records together, in whatever pieces they come.
#[derive(Default)]
pub struct Records(Vec<u8>);

impl Records {
    /// Takes octets up to the end of a record: how many, and the record if it is whole.
    pub fn take(&mut self, octets: &[u8]) -> (usize, Option<(u8, Vec<u8>)>) {
        let mut taken = 0;
        loop {
            let wanted = match self.0[..] {
                [_, high, low, ..] => 3 + usize::from(u16::from_be_bytes([high, low])),
                _ => 3,
            };
            if self.0.len() >= 3 && self.0.len() == wanted {
                let kind = self.0[0];
                let mut payload = self.0.split_off(3);
                self.0.clear();
                scramble(&mut payload);
                return (taken, Some((kind, payload)));
            }
            let count = (wanted - self.0.len()).min(octets.len() - taken);
            if count == 0 {
                return (taken, None);
            }
            self.0.extend_from_slice(&octets[taken..taken + count]);
            taken += count;
        }
    }
}

/// Makes [`ToySession`]s.
#[derive(Debug, Default)]
pub struct ToyAcceptor;

impl Acceptor for ToyAcceptor {
    fn accept(&self, http2: bool) -> Box<dyn Session> {
        Box::new(ToySession::new(http2))
    }

    fn reload(&self) -> Result<(), Error> {
        Ok(())
    }
}

#[derive(PartialEq)]
enum State {
    Hello,
    Finish,
    Open,
    Ended,
    Failed,
}

/// The server's side.
pub struct ToySession {
    state: State,
    http2: bool,
    alpn: Option<Vec<u8>>,
    records: Records,
    plaintext: VecDeque<u8>,
    output: Vec<u8>,
}

impl ToySession {
    pub fn new(http2: bool) -> Self {
        ToySession {
            state: State::Hello,
            http2,
            alpn: None,
            records: Records::default(),
            plaintext: VecDeque::new(),
            output: Vec::new(),
        }
    }

    fn take(&mut self, kind: u8, payload: &[u8]) -> Result<(), TlsError> {
        match (&self.state, kind) {
            (State::Hello, HANDSHAKE) if payload.starts_with(b"hello ") => {
                let offered = String::from_utf8_lossy(&payload[6..]).into_owned();
                let ours: &[&str] = if self.http2 { &["h2", "http/1.1"] } else { &["http/1.1"] };
                let chosen = ours.iter().find(|ours| offered.split(',').any(|theirs| theirs == **ours));
                if chosen.is_none() && !offered.is_empty() {
                    return Err(TlsError::new("no protocol in common"));
                }
                self.alpn = chosen.map(|name| name.as_bytes().to_vec());
                self.output.extend(record(HANDSHAKE, format!("hello {}", chosen.unwrap_or(&"")).as_bytes()));
                self.state = State::Finish;
            }
            (State::Finish, HANDSHAKE) if payload == b"finished" => {
                self.output.extend(record(HANDSHAKE, b"ticket"));
                self.state = State::Open;
            }
            (State::Open, DATA) => self.plaintext.extend(payload),
            (State::Open, UPDATE) => self.output.extend(record(UPDATE, b"updated")),
            (State::Open, ALERT) if payload == [CLOSE_NOTIFY] => self.state = State::Ended,
            _ => return Err(TlsError::new(format!("a record of kind {kind} is out of place"))),
        }
        Ok(())
    }
}

impl Session for ToySession {
    fn receive(&mut self, ciphertext: &[u8]) -> Result<usize, TlsError> {
        let mut taken = 0;
        while taken < ciphertext.len() && self.plaintext.len() < HOLDS && self.state != State::Ended {
            if self.state == State::Failed {
                return Err(TlsError::new("failed before"));
            }
            let (count, record) = self.records.take(&ciphertext[taken..]);
            taken += count;
            if let Some((kind, payload)) = record
                && let Err(error) = self.take(kind, &payload)
            {
                self.state = State::Failed;
                self.output.extend(self::record(ALERT, &[HANDSHAKE_FAILURE]));
                return Err(error);
            }
        }
        Ok(taken)
    }

    fn read(&mut self, buffer: &mut [u8]) -> usize {
        self.plaintext.read(buffer).unwrap()
    }

    fn has_plaintext(&self) -> bool {
        !self.plaintext.is_empty()
    }

    fn write(&mut self, parts: &[IoSlice<'_>], ciphertext: &mut Vec<u8>) -> usize {
        assert!(!self.is_handshaking(), "plaintext before the end of the handshake");
        let plaintext = parts.iter().map(|part| &part[..]).collect::<Vec<_>>().concat();
        ciphertext.extend_from_slice(&seal(&plaintext));
        plaintext.len()
    }

    fn output(&mut self, ciphertext: &mut Vec<u8>) {
        ciphertext.append(&mut self.output);
    }

    fn is_handshaking(&self) -> bool {
        matches!(self.state, State::Hello | State::Finish)
    }

    fn close(&mut self, ciphertext: &mut Vec<u8>) {
        ciphertext.extend(close_notify());
    }

    fn has_ended(&self) -> bool {
        self.state == State::Ended && self.plaintext.is_empty()
    }

    fn info(&self) -> TlsInfo {
        let mut info = TlsInfo::default();
        info.protocol = Some("toy".into());
        info.alpn = self.alpn.clone();
        info
    }
}

/// What a client has understood of what the server has sent.
#[derive(Default)]
pub struct Heard {
    records: Records,
    /// Messages of the handshake, and behind it.
    pub messages: Vec<String>,
    pub plaintext: Vec<u8>,
    /// Alerts, close_notify among them.
    pub alerts: Vec<u8>,
    pub updates: usize,
}

impl Heard {
    pub fn hear(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let (count, record) = self.records.take(octets);
            octets = &octets[count..];
            let Some((kind, payload)) = record else { return };
            assert!(self.alerts.is_empty(), "something behind an alert");
            match kind {
                HANDSHAKE => self.messages.push(String::from_utf8(payload).unwrap()),
                DATA => self.plaintext.extend_from_slice(&payload),
                ALERT => self.alerts.extend(payload),
                UPDATE => self.updates += 1,
                _ => panic!("a record of kind {kind}"),
            }
        }
    }

    /// Everything that came says so.
    pub fn of(octets: &[u8]) -> Self {
        let mut heard = Heard::default();
        heard.hear(octets);
        heard
    }

    pub fn is_closed(&self) -> bool {
        self.alerts == [CLOSE_NOTIFY]
    }
}

/// A client on a socket of the operating system, which blocks, but not for ever.
pub struct ToyClient {
    pub socket: TcpStream,
    pub heard: Heard,
    /// Plaintext that was looked at.
    used: usize,
    /// The server's stream has ended.
    pub ended: bool,
}

impl ToyClient {
    /// Connected, before the handshake.
    pub fn silent(addr: SocketAddr) -> Self {
        let socket = TcpStream::connect(addr).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        socket.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
        ToyClient { socket, heard: Heard::default(), used: 0, ended: false }
    }

    /// Behind the handshake.
    pub fn connect(addr: SocketAddr, alpn: &str) -> Self {
        let mut client = ToyClient::silent(addr);
        client.socket.write_all(&hello(alpn)).unwrap();
        while client.heard.messages.is_empty() {
            assert!(client.hear(), "the server says hello");
        }
        client.socket.write_all(&finished()).unwrap();
        client
    }

    /// Reads once; false at the end.
    pub fn hear(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        let count = match self.socket.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("the server is silent: {error}"),
        };
        self.heard.hear(&buffer[..count]);
        self.ended = count == 0;
        !self.ended
    }

    pub fn send(&mut self, data: impl AsRef<[u8]>) {
        self.socket.write_all(&seal(data.as_ref())).unwrap();
    }

    /// The next `count` octets of plaintext.
    pub fn receive(&mut self, count: usize) -> Vec<u8> {
        while self.heard.plaintext.len() - self.used < count {
            assert!(self.hear(), "the server ends behind {} octets", self.heard.plaintext.len());
        }
        let data = self.heard.plaintext[self.used..self.used + count].to_vec();
        self.used += count;
        data
    }

    /// Plaintext up to and with `mark`.
    pub fn receive_until(&mut self, mark: &[u8]) -> Vec<u8> {
        let mut looked_at = 0;
        loop {
            let rest = &self.heard.plaintext[self.used..];
            if let Some(at) = rest[looked_at..].windows(mark.len()).position(|window| window == mark) {
                return self.receive(looked_at + at + mark.len());
            }
            looked_at = rest.len().saturating_sub(mark.len());
            let rest = String::from_utf8_lossy(rest).into_owned();
            assert!(self.hear(), "the server ends behind {rest:?}");
        }
    }

    /// A response with a Content-Length.
    pub fn response(&mut self) -> (String, Vec<u8>) {
        let head = String::from_utf8(self.receive_until(b"\r\n\r\n")).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        let length = length.trim().parse().unwrap();
        (head, self.receive(length))
    }

    /// Everything up to the end of the server's stream.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.hear() {}
        self.heard.plaintext.split_off(self.used)
    }
}
