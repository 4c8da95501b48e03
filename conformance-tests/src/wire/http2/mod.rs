//! A client for HTTP/2 by prior knowledge or ALPN (RFC 9113 §3.2, §3.3), frame by frame, on one [`Connection`].
//!
//! It answers SETTINGS and PING, gives the server room for what it has sent, and keeps what came on each stream. It
//! reads strictly: what no server may send is a failure.

pub mod frame;
mod read;

use std::collections::BTreeMap;

use self::frame::{END_HEADERS, END_STREAM, PREFACE, kind};
use super::hpack;
use super::response::Head;
use crate::application::{DO, TOKEN};
use crate::case::{Failure, ensure};
use crate::context::Context;
use crate::mount;
use crate::wire::Connection;

/// The authority of every request.
pub const AUTHORITY: &str = "conformance.test";

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

    /// The heads of interim responses.
    pub fn interim(&self) -> &[Head] {
        let count = self.heads.len() - usize::from(self.head().is_some());
        self.heads.get(..count).unwrap_or_default()
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
    /// How many SETTINGS the server has acknowledged.
    pub acknowledged: usize,
    /// What the server's answers to PING frames say.
    pub pongs: Vec<Vec<u8>>,
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
        let mut http2 = Self::silent(connection, cx);
        http2.octets(PREFACE)?;
        // No dynamic table, no pushes.
        http2.send(kind::SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0])?;
        Ok(http2)
    }

    /// One on which nothing is sent yet, the preface neither.
    pub fn silent(connection: Connection, cx: &Context) -> Self {
        Http2 {
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
            acknowledged: 0,
            pongs: Vec::new(),
        }
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<(), Failure> {
        self.connection.send(frame::frame(kind, flags, stream, payload))
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// The token of requests from now on.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Sends octets as they are.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn octets(&mut self, octets: &[u8]) -> Result<(), Failure> {
        self.connection.send(octets)
    }

    /// Sends octets until the server has taken nothing for `stall`, or has closed; says how many it was.
    pub fn push(&mut self, octets: &[u8], stall: std::time::Duration) -> usize {
        self.connection.send_what_fits(octets, stall)
    }

    /// The next stream, on which nothing is sent yet.
    pub fn next_stream(&mut self) -> u32 {
        let stream = self.next;
        self.next += 2;
        self.streams.insert(stream, Answer { window: self.initial_window, ..Answer::default() });
        stream
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
        for (_, script) in fields.iter().filter(|(name, _)| *name == DO) {
            self.connection.abilities().can_do(script)?;
        }
        let block = hpack::block(fields);
        let stream = self.next_stream();
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
        let block = self.block(method, path, script, more);
        let stream = self.next_stream();
        self.send(kind::HEADERS, END_HEADERS | if end { END_STREAM } else { 0 }, stream, &block)?;
        Ok(stream)
    }

    /// The field block of a request that does `script`, with further fields.
    pub fn block(&self, method: &str, path: &str, script: &str, more: &[(&str, &str)]) -> Vec<u8> {
        let (path, token) = (mount::mounted(path), self.token.clone());
        let mut fields =
            vec![(":method", method), (":scheme", self.scheme), (":path", &path), (":authority", AUTHORITY)];
        fields.extend([(TOKEN, &token[..]), (DO, script)]);
        fields.extend_from_slice(more);
        hpack::block(&fields)
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
        let block = hpack::block(fields);
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

    /// Waits for the head of interim response number `number`, from 1 on.
    ///
    /// # Errors
    /// It does not come.
    pub fn interim(&mut self, stream: u32, number: usize) -> Result<Head, Failure> {
        self.until(stream, |answer| answer.interim().len() >= number || answer.head().is_some())?;
        let head = self.answer(stream)?.interim().get(number - 1);
        head.cloned().ok_or_else(|| "no interim response".into())
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

    /// Reads until the server has answered as many PING frames.
    ///
    /// # Errors
    /// It does not.
    pub fn pong(&mut self, count: usize) -> Result<(), Failure> {
        while self.pongs.len() < count {
            self.read()?;
        }
        Ok(())
    }

    /// Waits for something to read; `true`: the connection has ended instead.
    ///
    /// # Errors
    /// Neither comes.
    pub fn has_ended(&mut self) -> Result<bool, Failure> {
        self.connection.peek_end()
    }

    /// Reads until the server closes the connection.
    ///
    /// # Errors
    /// It does not.
    pub fn closed(&mut self) -> Result<(), Failure> {
        while !self.has_ended()? {
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
}
