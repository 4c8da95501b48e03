//! One connection to the server under test.
//!
//! Used by the thread of a case (or a helper thread it started); every call blocks at most for [`patience`].

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::patience;
use super::response::{Framing, Head, Response};
use super::stream::{Endpoint, Stream};
use super::tls::Ended;
use super::transcript::{Direction, Transcript};
use crate::abilities::Abilities;
use crate::case::{Failure, ensure};
use crate::text;

/// Sending that is under way on another thread.
pub struct Sending(std::thread::JoinHandle<()>);

impl Sending {
    /// Waits for its end, which the client's patience bounds.
    pub fn finish(self) {
        // The thread does nothing that could panic.
        let _ = self.0.join();
    }
}

/// What reading gave.
enum Got {
    Octets,
    End,
    Reset,
}

/// A connection, and what was read from it and not yet used.
pub struct Connection {
    pub(super) stream: Stream,
    number: usize,
    transcript: Transcript,
    abilities: Abilities,
    buffer: Vec<u8>,
    ended: Option<&'static str>,
    /// To be sent with what is sent next.
    held: Vec<u8>,
}

impl Connection {
    /// Connects to a server.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn open(endpoint: &Endpoint, transcript: &Transcript) -> Result<Self, Failure> {
        let address = endpoint.address;
        let stream = TcpStream::connect_timeout(&address, patience())
            .map_err(|error| format!("cannot connect to {address}: {error}"))?;
        Self::new(stream, endpoint, transcript)
    }

    /// Connects `socket` to a server.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn with(socket: socket2::Socket, endpoint: &Endpoint, transcript: &Transcript) -> Result<Self, Failure> {
        let address = endpoint.address;
        let connected = socket.connect_timeout(&address.into(), patience());
        connected.map_err(|error| format!("cannot connect to {address}: {error}"))?;
        Self::new(socket.into(), endpoint, transcript)
    }

    /// Connects to a server, sends `pieces` in the clear, each in a segment of its own, and then begins with TLS, if that is
    /// spoken.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(crate) fn behind<'p>(
        pieces: impl IntoIterator<Item = &'p [u8]>,
        endpoint: &Endpoint,
        transcript: &Transcript,
    ) -> Result<Self, Failure> {
        let address = endpoint.address;
        let connected = TcpStream::connect_timeout(&address, patience());
        let mut socket = connected.map_err(|error| format!("cannot connect to {address}: {error}"))?;
        socket.set_nodelay(true).map_err(|error| format!("set_nodelay: {error}"))?;
        let mut sent = Vec::new();
        for piece in pieces {
            socket.write_all(piece).map_err(|error| format!("cannot send {} octets: {error}", piece.len()))?;
            sent.extend_from_slice(piece);
        }
        let connection = Self::new(socket, endpoint, transcript)?;
        connection.transcript.add(connection.number, Direction::Sent, &sent);
        Ok(connection)
    }

    /// Sends `octets` in front of what is sent next, with it.
    pub(crate) fn hold(&mut self, octets: Vec<u8>) {
        self.held = octets;
    }

    fn new(socket: TcpStream, endpoint: &Endpoint, transcript: &Transcript) -> Result<Self, Failure> {
        // Small writes are what many cases are about.
        socket.set_nodelay(true).map_err(|error| format!("set_nodelay: {error}"))?;
        let number = transcript.open();
        let stream = Stream::new(socket, endpoint)?;
        Ok(Connection {
            stream,
            number,
            transcript: transcript.clone(),
            abilities: endpoint.abilities.clone(),
            buffer: Vec::new(),
            ended: None,
            held: Vec::new(),
        })
    }

    /// What the application at the other end can do.
    pub(super) fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// The client's own address.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.stream.socket.local_addr().ok()
    }

    fn event(&self, text: &str) {
        self.transcript.add(self.number, Direction::Event, text.as_bytes());
    }

    /// Sends `bytes`.
    ///
    /// # Errors
    /// The server closed the connection, or does not read; or the application lacks what is asked for.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
        let mut bytes = bytes.as_ref();
        self.abilities.can_answer(bytes)?;
        let mut both = std::mem::take(&mut self.held);
        if !both.is_empty() {
            both.extend_from_slice(bytes);
            bytes = &both;
        }
        self.transcript.add(self.number, Direction::Sent, bytes);
        self.stream.socket.set_write_timeout(Some(patience())).map_err(|error| error.to_string())?;
        self.stream.write_all(bytes).map_err(|error| format!("cannot send {} octets: {error}", bytes.len()).into())
    }

    /// Sends `bytes` on a thread of its own, while this one reads. What the server does not take is not sent.
    ///
    /// # Errors
    /// The socket can't be shared, or the application lacks what is asked for.
    pub fn send_in_background(&mut self, bytes: Vec<u8>) -> Result<Sending, Failure> {
        self.abilities.can_answer(&bytes)?;
        self.transcript.add(self.number, Direction::Sent, &bytes);
        let mut stream = self.stream.try_clone().map_err(|error| error.to_string())?;
        // An error is what the server's closing looks like from here; the case looks at its response.
        Ok(Sending(std::thread::spawn(move || {
            stream.open(patience());
            let _ = stream.socket.set_write_timeout(Some(patience()));
            let _ = stream.write_all(&bytes);
        })))
    }

    /// Sends as much of `bytes` as the server takes; how much that was.
    pub fn send_what_fits(&mut self, bytes: &[u8], stall: Duration) -> usize {
        let mut sent = 0;
        let _ = self.stream.socket.set_write_timeout(Some(stall));
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(count) if count > 0 => sent += count,
                _ => break,
            }
        }
        self.transcript.add(self.number, Direction::Sent, &bytes[..sent]);
        sent
    }

    /// Ends the client's direction.
    pub fn finish(&mut self) {
        self.event("half-close");
        self.stream.finish();
    }

    /// Resets the connection, as a client does that crashed.
    pub fn reset(self) {
        self.event("reset");
        let _ = socket2::SockRef::from(&self.stream.socket).set_linger(Some(Duration::ZERO));
    }

    /// Makes the window for responses small, so that a response that is not read stops early.
    pub fn small_window(&self) {
        // Decryption takes its time: a window of less than a loopback segment would be opened by probes, a few in a second.
        let octets = if self.stream.is_secure() { 64 * 1024 } else { 16 * 1024 };
        let _ = socket2::SockRef::from(&self.stream.socket).set_recv_buffer_size(octets);
    }

    /// The server's stream has ended in order.
    fn end(&mut self) {
        self.event(self.stream.ended().map_or("end of the stream", Ended::event));
        self.ended = Some("end");
    }

    /// Reads some octets, until `deadline`.
    fn fill(&mut self, deadline: Instant, waiting_for: &str) -> Result<Got, Failure> {
        match self.ended {
            Some("reset") => return Ok(Got::Reset),
            Some(_) => return Ok(Got::End),
            None => {}
        }
        let mut piece = [0; 64 * 1024];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.event("gave up waiting");
                return Err(format!("nothing came within {:?} while waiting for {waiting_for}", patience()).into());
            }
            self.stream.socket.set_read_timeout(Some(left)).map_err(|error| error.to_string())?;
            match self.stream.read(&mut piece) {
                Ok(0) => {
                    self.end();
                    return Ok(Got::End);
                }
                Ok(count) => {
                    self.transcript.add(self.number, Direction::Received, &piece[..count]);
                    self.buffer.extend_from_slice(&piece[..count]);
                    return Ok(Got::Octets);
                }
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => {}
                Err(error) => {
                    self.event(&format!("broken: {error}"));
                    self.ended = Some("reset");
                    return Ok(Got::Reset);
                }
            }
        }
    }

    /// Whatever has arrived, without waiting.
    pub fn arrived(&mut self) -> &[u8] {
        let mut piece = [0; 64 * 1024];
        if self.ended.is_none() && self.stream.socket.set_nonblocking(true).is_ok() {
            loop {
                let count = match self.stream.read(&mut piece) {
                    Ok(count) => count,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(_) => break,
                };
                if count == 0 {
                    self.end();
                    break;
                }
                self.transcript.add(self.number, Direction::Received, &piece[..count]);
                self.buffer.extend_from_slice(&piece[..count]);
            }
            let _ = self.stream.socket.set_nonblocking(false);
        }
        &self.buffer
    }

    /// Fails if anything arrives, or the connection ends, within `duration`. For what must not happen while something
    /// else has not: there is no event to wait for.
    ///
    /// # Errors
    /// What arrived.
    pub fn stays_silent(&mut self, duration: Duration, when: &str) -> Result<(), Failure> {
        let until = Instant::now() + duration;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.nothing_arrived(when)?;
            let _ = self.stream.socket.set_read_timeout(Some(left));
            let _ = self.stream.socket.peek(&mut [0]);
        }
        self.nothing_arrived(when)
    }

    /// Fails if anything has arrived that was not read yet, or the connection has ended.
    ///
    /// # Errors
    /// What has arrived.
    pub fn nothing_arrived(&mut self, when: &str) -> Result<(), Failure> {
        let arrived = text::show(self.arrived(), 300);
        ensure!(arrived.is_empty(), "octets arrived {when}: {arrived}");
        ensure!(self.ended.is_none(), "the connection was closed {when}");
        Ok(())
    }

    /// The next head, interim or final.
    ///
    /// # Errors
    /// None comes, or it is malformed.
    pub fn head(&mut self) -> Result<Head, Failure> {
        let deadline = Instant::now() + patience();
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Head::parse(&head);
            }
            match self.fill(deadline, "a response head")? {
                Got::Octets => {}
                Got::End if self.buffer.is_empty() => return Err("the connection was closed without a response".into()),
                Got::Reset if self.buffer.is_empty() => {
                    return Err("the connection was reset without a response".into());
                }
                _ => {
                    return Err(format!("the connection ended within a head: {}", text::show(&self.buffer, 600)).into());
                }
            }
        }
    }

    /// Waits for the next octets or the end; `true` if the connection ended with nothing more.
    ///
    /// # Errors
    /// Neither comes.
    pub fn peek_end(&mut self) -> Result<bool, Failure> {
        if self.buffer.is_empty() {
            self.fill(Instant::now() + patience(), "more octets, or the end of the connection")?;
        }
        Ok(self.buffer.is_empty())
    }

    /// The next final response to a request of `method`, read to its end; a body that broke off is `truncated`.
    ///
    /// # Errors
    /// None comes, or it is malformed.
    pub fn response(&mut self, method: &str) -> Result<Response, Failure> {
        let mut interim = Vec::new();
        let head = loop {
            let head = self.head()?;
            if head.status >= 200 || head.status == 101 {
                break head;
            }
            interim.push(head);
        };
        let framing = head.framing(method)?;
        let mut response = Response {
            interim,
            head,
            framing,
            body: Vec::new(),
            chunks: Vec::new(),
            trailers: Vec::new(),
            truncated: false,
        };
        self.body(&mut response)?;
        Ok(response)
    }

    /// Reads the body that belongs to the head in `response`.
    ///
    /// # Errors
    /// It does not end, or its chunks are malformed.
    pub fn body(&mut self, response: &mut Response) -> Result<(), Failure> {
        match response.framing {
            Framing::None => {}
            Framing::Length(length) => {
                response.body = self.take(length as usize, "the rest of a sized body")?;
                response.truncated = (response.body.len() as u64) < length;
            }
            Framing::Close => response.body = self.rest()?,
            Framing::Chunked => loop {
                let Some(chunk) = self.chunk()? else {
                    response.truncated = true;
                    return Ok(());
                };
                if chunk.is_empty() {
                    response.truncated = !self.trailers(response)?;
                    return Ok(());
                }
                response.body.extend_from_slice(&chunk);
                response.chunks.push(chunk);
            },
        }
        Ok(())
    }

    /// The next chunk, empty for the last one; `None` if the connection ended before it did.
    ///
    /// # Errors
    /// It does not come, or is malformed.
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let Some(line) = self.line()? else { return Ok(None) };
        let size = String::from_utf8_lossy(&line).into_owned();
        let Some(size) = usize::from_str_radix(&size, 16).ok().filter(|_| !size.starts_with('+')) else {
            return Err(format!("not a chunk size: {size:?}").into());
        };
        if size == 0 {
            return Ok(Some(Vec::new()));
        }
        let mut chunk = self.take(size + 2, "the rest of a chunk")?;
        if chunk.len() < size + 2 {
            return Ok(None);
        }
        ensure!(chunk.ends_with(b"\r\n"), "a chunk that does not end in CRLF");
        chunk.truncate(size);
        Ok(Some(chunk))
    }

    /// Trailer section after the last chunk; `false` if the connection ended before it did.
    fn trailers(&mut self, response: &mut Response) -> Result<bool, Failure> {
        loop {
            match self.line()? {
                None => return Ok(false),
                Some(line) if line.is_empty() => return Ok(true),
                Some(line) => {
                    let colon = line.iter().position(|byte| *byte == b':').ok_or("a trailer line without a colon")?;
                    // RFC 9110 §5.1: in any case
                    let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
                    response.trailers.push((name, line[colon + 1..].trim_ascii().to_vec()));
                }
            }
        }
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let deadline = Instant::now() + patience();
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let mut line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                line.truncate(end);
                return Ok(Some(line));
            }
            if !matches!(self.fill(deadline, "a line of a chunked body")?, Got::Octets) {
                return Ok(None);
            }
        }
    }

    /// The next `count` octets; fewer if the connection ends before.
    ///
    /// # Errors
    /// They do not come.
    pub fn take(&mut self, count: usize, what: &str) -> Result<Vec<u8>, Failure> {
        let mut deadline = Instant::now() + patience();
        while self.buffer.len() < count {
            match self.fill(deadline, what)? {
                // Patience is for silence, not for large bodies.
                Got::Octets => deadline = Instant::now() + patience(),
                _ => break,
            }
        }
        let count = count.min(self.buffer.len());
        Ok(self.buffer.drain(..count).collect())
    }

    /// Everything up to the end of the stream.
    ///
    /// # Errors
    /// It does not end.
    pub fn rest(&mut self) -> Result<Vec<u8>, Failure> {
        let mut deadline = Instant::now() + patience();
        while let Got::Octets = self.fill(deadline, "the end of the connection")? {
            deadline = Instant::now() + patience();
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Checks that the server closes the connection, and sends nothing more before it does.
    ///
    /// # Errors
    /// It sends more, or does not close.
    pub fn closed(&mut self) -> Result<(), Failure> {
        let rest = self.rest().map_err(|failure| Failure(format!("the connection is not closed: {failure}")))?;
        ensure!(rest.is_empty(), "octets after the end of the response: {}", text::show(&rest, 300));
        Ok(())
    }

    /// Whether the stream ended by a reset; `None` while it has not ended.
    pub fn was_reset(&self) -> Option<bool> {
        self.ended.map(|how| how == "reset")
    }
}
