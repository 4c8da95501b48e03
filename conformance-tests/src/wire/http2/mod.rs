//! A client for HTTP/2 by prior knowledge or ALPN (RFC 9113 §3.2, §3.3), frame by frame, on one [`Connection`].
//!
//! It answers SETTINGS and PING, gives the server room for what it has sent, and keeps what came on each stream. It
//! reads strictly: what no server may send is a failure.

use std::collections::BTreeMap;

use super::hpack;
use super::response::Head;
use crate::application::{DO, TOKEN};
use crate::case::{Failure, ensure, ensure_eq};
use crate::context::Context;
use crate::mount;
use crate::wire::Connection;

/// RFC 9113 §3.4
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The authority of every request.
pub const AUTHORITY: &str = "conformance.test";

/// Types of frames. RFC 9113 §6
mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PUSH_PROMISE: u8 = 5;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
}

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// What came on a stream.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Heads of interim responses, then of the final one.
    heads: Vec<Head>,
    /// The octets of DATA frames.
    pub body: Vec<u8>,
    /// How many DATA frames there were.
    pub frames: usize,
    /// Trailer fields.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// The stream was ended by the server.
    pub ended: bool,
    /// It was reset, with this code.
    pub reset: Option<u32>,
    /// Octets the server still takes.
    window: i64,
}

impl Answer {
    /// The final head.
    pub fn head(&self) -> Option<&Head> {
        self.heads.last().filter(|head| head.status >= 200)
    }

    /// The status; 0 where there is no response.
    pub fn status(&self) -> u16 {
        self.head().map_or(0, |head| head.status)
    }
}

/// A connection of many streams.
pub struct Http2 {
    connection: Connection,
    scheme: &'static str,
    token: String,
    next: u32,
    streams: BTreeMap<u32, Answer>,
    settings: Option<Vec<(u16, u32)>>,
    initial_window: i64,
    window: i64,
    /// Makes no room for responses.
    stingy: bool,
    /// Answers neither SETTINGS nor PING.
    deaf: bool,
    /// The last stream of a GOAWAY, and its code.
    pub goaway: Option<(u32, u32)>,
}

impl Http2 {
    /// A connection to the server of `cx`, for requests under its token.
    ///
    /// # Errors
    /// Nobody accepts it.
    pub fn open(cx: &Context) -> Result<Self, Failure> {
        Self::over(cx.connect_http2()?, cx)
    }

    /// Over a connection to the server of `cx`.
    ///
    /// # Errors
    /// It is closed.
    pub fn over(connection: Connection, cx: &Context) -> Result<Self, Failure> {
        let mut http2 = Http2 {
            connection,
            scheme: cx.scheme(),
            token: cx.token().to_owned(),
            next: 1,
            streams: BTreeMap::new(),
            settings: None,
            initial_window: 65_535,
            window: 65_535,
            stingy: false,
            deaf: false,
            goaway: None,
        };
        http2.connection.send(PREFACE)?;
        // No dynamic table, no pushes.
        http2.send(kind::SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0])?;
        Ok(http2)
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<(), Failure> {
        let length = (payload.len() as u32).to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.connection.send(frame)
    }

    /// Sends what the protocol wants of a reader. The server may have closed already: what it sent is there to read.
    fn acknowledge(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        if !self.deaf {
            let _ = self.send(kind, flags, stream, payload);
        }
    }

    /// Requests from now on are under the token of `cx`.
    pub fn again(&mut self, cx: &Context) {
        cx.token().clone_into(&mut self.token);
    }

    /// From now on there is no room for more than the first 64 KiB.
    pub fn stingy(&mut self) {
        self.stingy = true;
    }

    /// Makes room again, also for what has come on `stream` meanwhile.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn generous(&mut self, stream: u32) -> Result<(), Failure> {
        self.stingy = false;
        let room = (self.answer(stream)?.body.len() as u32).to_be_bytes();
        if room == [0; 4] {
            return Ok(());
        }
        self.send(kind::WINDOW_UPDATE, 0, 0, &room)?;
        self.send(kind::WINDOW_UPDATE, 0, stream, &room)
    }

    /// From now on nothing the server says is answered.
    pub fn answers_nothing(&mut self) {
        self.deaf = true;
    }

    /// Resets the whole connection.
    pub fn lose(self) {
        self.connection.reset();
    }

    /// What the server's first SETTINGS say.
    ///
    /// # Errors
    /// They do not come.
    pub fn settings(&mut self) -> Result<Vec<(u16, u32)>, Failure> {
        loop {
            if let Some(settings) = &self.settings {
                return Ok(settings.clone());
            }
            self.read()?;
        }
    }

    /// Sends the fields of a request as they are, on a new stream.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn fields(&mut self, fields: &[(&str, &str)], end: bool) -> Result<u32, Failure> {
        self.open_stream(fields, END_HEADERS | if end { END_STREAM } else { 0 })
    }

    fn open_stream(&mut self, fields: &[(&str, &str)], flags: u8) -> Result<u32, Failure> {
        let mut block = Vec::new();
        fields.iter().for_each(|(name, value)| hpack::write(&mut block, name, value.as_bytes()));
        let stream = self.next;
        self.next += 2;
        self.streams.insert(stream, Answer { window: self.initial_window, ..Answer::default() });
        self.send(kind::HEADERS, flags, stream, &block)?;
        Ok(stream)
    }

    /// Sends the head of a request that does `script`, with further fields.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        script: &str,
        more: &[(&str, &str)],
        end: bool,
    ) -> Result<u32, Failure> {
        let (path, token) = (mount::mounted(path), self.token.clone());
        let mut fields =
            vec![(":method", method), (":scheme", self.scheme), (":path", &path), (":authority", AUTHORITY)];
        fields.extend([(TOKEN, &token[..]), (DO, script)]);
        fields.extend_from_slice(more);
        self.fields(&fields, end)
    }

    /// A GET that does `script`.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn get(&mut self, path: &str, script: &str) -> Result<u32, Failure> {
        self.request("GET", path, script, &[], true)
    }

    /// A POST of `body` that does `script`.
    ///
    /// # Errors
    /// The connection is closed, or the server does not read.
    pub fn post(&mut self, script: &str, body: &[u8]) -> Result<u32, Failure> {
        let stream = self.request("POST", "/", script, &[], false)?;
        self.data(stream, body, true)?;
        Ok(stream)
    }

    /// An extended CONNECT. RFC 8441 §4
    ///
    /// # Errors
    /// The connection is closed.
    pub fn connect(&mut self, protocol: &str, path: &str, script: &str, more: &[(&str, &str)]) -> Result<u32, Failure> {
        let (path, token) = (mount::mounted(path), self.token.clone());
        let mut fields =
            vec![(":method", "CONNECT"), (":protocol", protocol), (":scheme", self.scheme), (":path", &path)];
        fields.extend([(":authority", AUTHORITY), (TOKEN, &token[..]), (DO, script)]);
        fields.extend_from_slice(more);
        self.fields(&fields, false)
    }

    /// Sends octets on a stream, as the server makes room for them.
    ///
    /// # Errors
    /// The server does not.
    pub fn data(&mut self, stream: u32, mut octets: &[u8], end: bool) -> Result<(), Failure> {
        loop {
            let room = self.window.min(self.answer(stream)?.window).clamp(0, 16_384) as usize;
            if room == 0 && !octets.is_empty() {
                self.read()?;
                continue;
            }
            let (now, later) = octets.split_at(room.min(octets.len()));
            octets = later;
            let last = end && octets.is_empty();
            self.send(kind::DATA, if last { END_STREAM } else { 0 }, stream, now)?;
            self.window -= now.len() as i64;
            self.streams.entry(stream).or_default().window -= now.len() as i64;
            if octets.is_empty() {
                return Ok(());
            }
        }
    }

    /// Sends trailers, which end our half of a stream.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn trailers(&mut self, stream: u32, fields: &[(&str, &str)]) -> Result<(), Failure> {
        let mut block = Vec::new();
        fields.iter().for_each(|(name, value)| hpack::write(&mut block, name, value.as_bytes()));
        self.send(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block)
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn ping(&mut self) -> Result<(), Failure> {
        self.send(kind::PING, 0, 0, b"a ping !")
    }

    /// Begins a GET, and never sends the CONTINUATION that has to follow.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn begin(&mut self, path: &str, script: &str) -> Result<(), Failure> {
        let (path, token) = (mount::mounted(path), self.token.clone());
        let fields = [(":method", "GET"), (":scheme", self.scheme), (":path", &path), (TOKEN, &token), (DO, script)];
        self.deaf = true;
        self.open_stream(&fields, END_STREAM).map(drop)
    }

    /// Resets a stream with CANCEL.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn reset(&mut self, stream: u32) -> Result<(), Failure> {
        self.send(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())
    }

    /// What has come on a stream.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn answer(&self, stream: u32) -> Result<&Answer, Failure> {
        self.streams.get(&stream).ok_or_else(|| "a stream nobody opened".into())
    }

    /// Waits for the head of the final response.
    ///
    /// # Errors
    /// It does not come.
    pub fn head(&mut self, stream: u32) -> Result<Head, Failure> {
        self.until(stream, |answer| answer.head().is_some())?;
        self.answer(stream)?.head().cloned().ok_or_else(|| "the stream ended without a response".into())
    }

    /// Waits for the end of the stream.
    ///
    /// # Errors
    /// It does not come, or it is a reset.
    pub fn response(&mut self, stream: u32) -> Result<Answer, Failure> {
        let answer = self.end(stream)?;
        ensure!(answer.reset.is_none(), "the stream was reset with code {:?}", answer.reset);
        ensure!(answer.head().is_some(), "the stream ended without a response");
        Ok(answer)
    }

    /// Waits for the end of the stream, whichever it is.
    ///
    /// # Errors
    /// It does not come.
    pub fn end(&mut self, stream: u32) -> Result<Answer, Failure> {
        self.until(stream, |_| false)?;
        self.answer(stream).cloned()
    }

    /// The first `count` octets of the body, which are taken away.
    ///
    /// # Errors
    /// They do not come.
    pub fn take(&mut self, stream: u32, count: usize) -> Result<Vec<u8>, Failure> {
        self.until(stream, |answer| answer.body.len() >= count)?;
        let answer = self.streams.entry(stream).or_default();
        ensure!(answer.body.len() >= count, "the stream ended after {} of {count} octets", answer.body.len());
        Ok(answer.body.drain(..count).collect())
    }

    fn until(&mut self, stream: u32, reached: impl Fn(&Answer) -> bool) -> Result<(), Failure> {
        loop {
            let answer = self.answer(stream)?;
            if reached(answer) || answer.ended || answer.reset.is_some() {
                return Ok(());
            }
            self.read()?;
        }
    }

    /// Reads until the server closes the connection.
    ///
    /// # Errors
    /// It does not.
    fn closed(&mut self) -> Result<(), Failure> {
        while !self.connection.peek_end()? {
            self.read()?;
        }
        Ok(())
    }

    /// Reads until the server closes the connection, after a GOAWAY without an error (RFC 9113 §6.8).
    ///
    /// # Errors
    /// It does not, or without one.
    pub fn closed_gracefully(&mut self) -> Result<(), Failure> {
        self.closed()?;
        ensure!(self.goaway.is_some_and(|(_, code)| code == 0), "closed with {:?} as its GOAWAY", self.goaway);
        Ok(())
    }

    /// What is below it.
    #[cfg(feature = "tls")]
    pub(crate) fn into_connection(self) -> Connection {
        self.connection
    }

    /// Reads until the connection ends, whichever way.
    ///
    /// # Errors
    /// It does not.
    pub fn ends(&mut self) -> Result<(), Failure> {
        self.connection.rest().map(drop)
    }

    /// Reads one frame.
    fn read(&mut self) -> Result<(), Failure> {
        let (kind, flags, stream, payload) = self.frame()?;
        match kind {
            kind::DATA => {
                ensure!(flags & 8 == 0, "padding, which the client does not read");
                let answer = self.streams.get_mut(&stream).ok_or("DATA on a stream nobody opened")?;
                ensure!(answer.head().is_some(), "DATA before the head of the response");
                ensure!(!answer.ended, "DATA after the end of the stream");
                answer.body.extend_from_slice(&payload);
                answer.frames += 1;
                answer.ended = flags & END_STREAM != 0;
                if !payload.is_empty() && !self.stingy {
                    let room = (payload.len() as u32).to_be_bytes();
                    self.acknowledge(kind::WINDOW_UPDATE, 0, 0, &room);
                    self.acknowledge(kind::WINDOW_UPDATE, 0, stream, &room);
                }
            }
            kind::HEADERS => self.headers(flags, stream, payload)?,
            kind::RST_STREAM => {
                let code = word(&payload)?;
                self.streams.get_mut(&stream).ok_or("a reset of a stream nobody opened")?.reset = Some(code);
            }
            kind::SETTINGS if flags & ACK == 0 => self.configured(&payload)?,
            kind::PING if flags & ACK == 0 => self.acknowledge(kind::PING, ACK, 0, &payload),
            kind::GOAWAY => {
                let code = payload.get(4..).ok_or("a short GOAWAY")?;
                self.goaway = Some((word(&payload)?, word(code)?));
            }
            kind::WINDOW_UPDATE => {
                let more = i64::from(word(&payload)?);
                match stream {
                    0 => self.window += more,
                    _ => {
                        if let Some(answer) = self.streams.get_mut(&stream) {
                            answer.window += more;
                        }
                    }
                }
            }
            kind::PUSH_PROMISE => return Err("a push, which the client has forbidden".into()),
            kind::CONTINUATION => return Err("a continuation of nothing".into()),
            _ => {}
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<(u8, u8, u32, Vec<u8>), Failure> {
        let head = self.connection.take(9, "a frame")?;
        let [a, b, c, kind, flags, ref stream @ ..] = head[..] else {
            return Err("the connection ended".into());
        };
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        // RFC 9113 §4.2
        ensure!(length <= 16_384, "a frame of {length} octets");
        let payload = self.connection.take(length, "the payload of a frame")?;
        ensure_eq!(payload.len(), length, "octets of a frame");
        Ok((kind, flags, word(stream)?, payload))
    }

    fn headers(&mut self, flags: u8, stream: u32, mut block: Vec<u8>) -> Result<(), Failure> {
        ensure!(flags & 0x28 == 0, "padding or priority, which the client does not read");
        let mut whole = flags & END_HEADERS != 0;
        while !whole {
            let (kind, flags, same, more) = self.frame()?;
            ensure!(kind == kind::CONTINUATION && same == stream, "a field block that is interrupted");
            whole = flags & END_HEADERS != 0;
            block.extend_from_slice(&more);
        }
        let fields = hpack::read(&block)?;
        for (name, _) in &fields {
            // RFC 9113 §8.2
            ensure!(!name.bytes().any(|octet| octet.is_ascii_uppercase()), "an upper-case field name: {name}");
        }
        let answer = self.streams.get_mut(&stream).ok_or("HEADERS on a stream nobody opened")?;
        ensure!(!answer.ended, "HEADERS after the end of the stream");
        answer.ended = flags & END_STREAM != 0;
        if answer.head().is_some() {
            ensure!(answer.ended, "trailers that do not end the stream");
            ensure!(fields.iter().all(|(name, _)| !name.starts_with(':')), "pseudo-header fields in trailers");
            answer.trailers = fields;
            return Ok(());
        }
        let mut fields = fields.into_iter();
        let status = fields.next().filter(|(name, value)| name == ":status" && value.len() == 3);
        let status = status.and_then(|(_, value)| String::from_utf8(value).ok()?.parse().ok());
        let status = status.ok_or("a response that does not begin with :status")?;
        answer.heads.push(Head { version: "2".into(), status, reason: String::new(), fields: fields.collect() });
        Ok(())
    }

    fn configured(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let mut settings = Vec::new();
        for setting in payload.chunks(6) {
            let [a, b, ref value @ ..] = *setting else { return Err("a setting that is cut off".into()) };
            settings.push((u16::from_be_bytes([a, b]), word(value)?));
        }
        // SETTINGS_INITIAL_WINDOW_SIZE also moves the windows there are. RFC 9113 §6.9.2
        if let Some((_, size)) = settings.iter().find(|(id, _)| *id == 4) {
            let change = i64::from(*size) - self.initial_window;
            self.initial_window += change;
            self.streams.values_mut().for_each(|answer| answer.window += change);
        }
        self.settings.get_or_insert(settings);
        self.acknowledge(kind::SETTINGS, ACK, 0, &[]);
        Ok(())
    }
}

/// 31 bits.
fn word(octets: &[u8]) -> Result<u32, Failure> {
    let four = octets.first_chunk::<4>().ok_or("a number that is cut off")?;
    Ok(u32::from_be_bytes(*four) & 0x7fff_ffff)
}
