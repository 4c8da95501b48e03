//! One connection of HTTP/2 by prior knowledge, that asks by GET and then waits; what comes is checked. As much of RFC 9113 and 7541 as that takes:
//! no dynamic table, no Huffman code, answers small enough for the first windows.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::HELLO;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub struct Multiplexed {
    stream: TcpStream,
    next: u32,
}

impl Multiplexed {
    /// Connects, and sends the preface; each answer may take so long.
    pub fn open(address: SocketAddr, limit: Duration) -> Result<Self, String> {
        let attempt = || -> std::io::Result<Self> {
            let stream = TcpStream::connect_timeout(&address, limit)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(limit))?;
            let mut this = Self { stream, next: 1 };
            this.stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())?;
            Ok(this)
        };
        attempt().map_err(|error| format!("cannot connect: {error}"))
    }

    /// Asks for `target` on so many new streams.
    pub fn ask(&mut self, target: &str, streams: usize) -> Result<(), String> {
        let mut frames = Vec::new();
        for _ in 0..streams {
            frames.extend(frame(HEADERS, END_STREAM | END_HEADERS, self.next, &fields(target)));
            self.next += 2;
        }
        self.stream.write_all(&frames).map_err(|error| format!("sending: {error}"))
    }

    /// Waits for so many answers, each a 200; how many octets their bodies have together.
    pub fn answers(&mut self, streams: usize) -> Result<usize, String> {
        let (mut ended, mut octets) = (0, 0);
        while ended < streams {
            let mut head = [0; 9];
            self.read(&mut head)?;
            let [high, middle, low, kind, flags, ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
            self.read(&mut payload)?;
            match kind {
                DATA => octets += payload.len(),
                // The first field is :status, 200 by the static table; a new size of the dynamic one may come before it.
                HEADERS => match payload.iter().find(|octet| **octet >> 5 != 0b001) {
                    Some(0x88) => {}
                    _ => return Err("an answer that is no 200".into()),
                },
                SETTINGS | PING if flags & ACK == 0 => {
                    let echo = if kind == PING { payload.as_slice() } else { &[] };
                    let sent = self.stream.write_all(&frame(kind, ACK, 0, echo));
                    sent.map_err(|error| format!("sending: {error}"))?;
                }
                RST_STREAM => return Err("a stream was reset".into()),
                GOAWAY => return Err("the server goes away".into()),
                _ => {}
            }
            if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                ended += 1;
            }
        }
        Ok(octets)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), String> {
        self.stream.read_exact(buffer).map_err(|error| format!("receiving: {error}"))
    }
}

/// A connection of its own, on which `GET /` was answered.
pub fn greeted(address: SocketAddr, limit: Duration) -> Result<Multiplexed, String> {
    let mut connection = Multiplexed::open(address, limit)?;
    connection.ask("/", 1)?;
    match connection.answers(1)? {
        octets if octets == HELLO.len() => Ok(connection),
        octets => Err(format!("a body of {octets} bytes, not {}", HELLO.len())),
    }
}

/// As `exchange::probe`, over HTTP/2.
pub fn probe(address: SocketAddr, limit: Duration) -> Result<Duration, String> {
    let begun = Instant::now();
    greeted(address, limit).map(|_| begun.elapsed())
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// GET, http, the path and the authority, by names of the static table; a text as it is, shorter than 127 octets.
fn fields(target: &str) -> Vec<u8> {
    let text = |name: u8, value: &str| [&[name, value.len() as u8], value.as_bytes()].concat();
    [&[0x82, 0x86], text(0x04, target).as_slice(), &text(0x01, "localhost")].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        assert_eq!(frame(PING, ACK, 0, &[7; 8]), [0, 0, 8, 6, 1, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7]);
        assert_eq!(frame(HEADERS, END_STREAM | END_HEADERS, 3, &[]), [0, 0, 0, 1, 5, 0, 0, 0, 3]);
        assert_eq!(fields("/a"), b"\x82\x86\x04\x02/a\x01\x09localhost");
    }
}
