//! An incremental reader of HTTP/1.1 responses that checks what it reads: the status is 200 (or 101, and WebSocket
//! follows), and the body ends where the head said it would. Bodies are counted, not kept.

use super::frame::ACCEPT;

/// The state of one connection's reading side. After a response has ended it is ready for the next.
#[derive(Default)]
pub struct Reader {
    state: State,
    /// What has come so far of a head, a chunk's size line or the trailers.
    text: Vec<u8>,
    body: u64,
    head: usize,
    close: bool,
    /// It is to be the answer to a WebSocket's handshake.
    switches: bool,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Head,
    Sized(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
}

/// A whole response.
#[derive(Debug, PartialEq)]
pub struct Response {
    /// Bytes of its head, the empty line included.
    pub head: usize,
    /// Bytes of its body, without the framing.
    pub body: u64,
    /// Whether the body came with Content-Length.
    pub sized: bool,
    /// Whether the server said that it closes the connection.
    pub close: bool,
}

/// More than any honest head, size line or trailer section of a benchmark.
const TEXT_LIMIT: usize = 16 * 1024;

impl Reader {
    /// One for the answer to the handshake of [`frame`](super::frame).
    pub fn switching() -> Self {
        Self { switches: true, ..Self::default() }
    }

    /// Whether the next byte begins a response.
    pub fn between(&self) -> bool {
        self.state == State::Head && self.text.is_empty()
    }

    /// Takes bytes from the front of `input`, up to the end of one response; says how many it took, and the response if
    /// it is complete.
    pub fn read(&mut self, input: &[u8]) -> Result<(usize, Option<Response>), String> {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            match self.state {
                State::Sized(0) => return Ok((taken, Some(self.finish(true)))),
                _ if rest.is_empty() => return Ok((taken, None)),
                State::Head => {
                    let (used, ended) = self.text_until(rest, b"\r\n\r\n")?;
                    taken += used;
                    if ended {
                        self.head = self.text.len();
                        self.body = 0;
                        (self.state, self.close) = framing(&self.text, self.switches)?;
                        self.text.clear();
                    }
                }
                State::Sized(left) => {
                    let used = left.min(rest.len() as u64);
                    self.body += used;
                    taken += used as usize;
                    self.state = State::Sized(left - used);
                }
                State::ChunkSize => {
                    let (used, ended) = self.text_until(rest, b"\r\n")?;
                    taken += used;
                    if ended {
                        let size = chunk_size(&self.text)?;
                        self.text.clear();
                        self.state = if size == 0 { State::Trailers } else { State::Chunk(size) };
                    }
                }
                State::Chunk(left) => {
                    let used = left.min(rest.len() as u64);
                    self.body += used;
                    taken += used as usize;
                    self.state = if left == used { State::ChunkEnd } else { State::Chunk(left - used) };
                }
                State::ChunkEnd => {
                    let (used, ended) = self.text_until(rest, b"\r\n")?;
                    taken += used;
                    if ended {
                        if self.text.len() != 2 {
                            return Err("a chunk is longer than its size line says".into());
                        }
                        self.text.clear();
                        self.state = State::ChunkSize;
                    }
                }
                State::Trailers => {
                    let (used, ended) = self.text_until(rest, b"\r\n")?;
                    taken += used;
                    if ended {
                        let last = self.text.len() == 2;
                        self.text.clear();
                        if last {
                            return Ok((taken, Some(self.finish(false))));
                        }
                    }
                }
            }
        }
    }

    fn finish(&mut self, sized: bool) -> Response {
        self.state = State::Head;
        Response { head: self.head, body: self.body, sized, close: self.close }
    }

    /// Moves bytes of `input` to `self.text` up to and including `end`.
    fn text_until(&mut self, input: &[u8], end: &[u8]) -> Result<(usize, bool), String> {
        let had = self.text.len();
        let part = &input[..input.len().min(TEXT_LIMIT)];
        self.text.extend_from_slice(part);
        let from = had.saturating_sub(end.len() - 1);
        match self.text[from..].windows(end.len()).position(|window| window == end) {
            Some(position) => {
                self.text.truncate(from + position + end.len());
                Ok((self.text.len() - had, true))
            }
            None if self.text.len() > TEXT_LIMIT => Err("a head or a size line without an end".into()),
            None => Ok((part.len(), false)),
        }
    }
}

/// What the head of a response says of its body and of its connection's end; an error if the status is not
/// the one that is wanted.
fn framing(head: &[u8], switches: bool) -> Result<(State, bool), String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(head).map_err(|error| format!("a malformed head: {error}"))?;
    match response.code {
        Some(code) if code == if switches { 101 } else { 200 } => {}
        Some(code) => return Err(format!("status {code}")),
        None => return Err("a head without a status".into()),
    }
    let header = |name: &str| response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    if switches {
        let right = header("sec-websocket-accept").is_some_and(|header| header.value == ACCEPT.as_bytes());
        return match header("sec-websocket-extensions") {
            Some(_) => Err("an extension that was not offered".into()),
            None if !right => Err("not the accept of this handshake".into()),
            None => Ok((State::Sized(0), false)),
        };
    }
    let close = header("connection").is_some_and(|header| header.value.eq_ignore_ascii_case(b"close"));
    if header("transfer-encoding").is_some_and(|header| header.value.eq_ignore_ascii_case(b"chunked")) {
        return Ok((State::ChunkSize, close));
    }
    let length = header("content-length").ok_or("neither Content-Length nor chunked")?;
    let length = std::str::from_utf8(length.value).ok().and_then(|text| text.trim().parse().ok());
    Ok((State::Sized(length.ok_or("a malformed Content-Length")?), close))
}

fn chunk_size(line: &[u8]) -> Result<u64, String> {
    let line = std::str::from_utf8(line).map_err(|_| "a malformed chunk size")?;
    let digits = line.split(';').next().unwrap_or("").trim();
    u64::from_str_radix(digits, 16).map_err(|_| format!("a malformed chunk size: {digits:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    const CHUNKED: &[u8] =
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\na;x=y\r\n0123456789\r\n0\r\nt: u\r\n\r\n";

    #[test]
    fn reads_responses_split_anywhere() {
        let both = [SIZED, CHUNKED, SIZED].concat();
        for step in 1..both.len() {
            let mut reader = Reader::default();
            let mut bodies = Vec::new();
            for part in both.chunks(step) {
                let mut rest = part;
                while !rest.is_empty() {
                    let (taken, response) = reader.read(rest).unwrap();
                    rest = &rest[taken..];
                    bodies.extend(response.map(|response| (response.body, response.close)));
                }
            }
            assert_eq!(bodies, [(5, false), (15, true), (5, false)], "in steps of {step}");
            assert!(reader.between());
        }
    }

    #[test]
    fn reads_the_answer_to_a_handshake() {
        let answer = |more: &str| format!("HTTP/1.1 101 Yes\r\nSec-WebSocket-Accept: {ACCEPT}\r\n{more}\r\n");
        let good = answer("");
        let (taken, response) = Reader::switching().read(good.as_bytes()).unwrap();
        assert_eq!((taken, response.unwrap().body), (good.len(), 0));
        let extended = answer("Sec-WebSocket-Extensions: permessage-deflate\r\n");
        assert!(Reader::switching().read(extended.as_bytes()).is_err());
        assert!(Reader::switching().read(b"HTTP/1.1 101 Yes\r\nSec-WebSocket-Accept: x\r\n\r\n").is_err());
        assert!(Reader::switching().read(SIZED).is_err());
        assert!(Reader::default().read(good.as_bytes()).is_err());
    }

    #[test]
    fn refuses_wrong_responses() {
        for wrong in [
            &b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"nonsense\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        ] {
            assert!(Reader::default().read(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }
}
