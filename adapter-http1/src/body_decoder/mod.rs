//! Request bodies: sized and chunked. \[REQ-01\] to \[REQ-10\], \[LIM-03\], \[LIM-08\], \[TRL-01\] to \[TRL-03\] RFC 9112 §6, §7
//!
//! A state machine over slices: the caller gives the bytes it has, and is told which of them are data and how many it
//! can let go. In chunk framing every line ends in CRLF; a bare LF is an error, and so is a bare CR.
//!
//! *What is no data is bounded* \[LIM-08\]: a chunk-size line by its length, whatever fills it (leading zeros, blanks,
//! extensions), and the lines of a body together by what its data pays for, as Go's net/http does since CVE-2023-39326. So
//! a body may have any number of chunks, of one octet too, each with an extension of ordinary size, and is refused once it
//! consists of little else. A trailer section is bounded like a head.

use adapter_core::RequestBodyError;
use adapter_core::rules::request::BodyLength;
use adapter_core::rules::trailers;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Bytes of a chunk-size line before its CRLF: digits, blanks and extension. \[LIM-08a\] Go net/http has the same.
const MAX_LINE: u64 = 4096;
/// Bytes of framing that neither chunks nor data have paid for. \[LIM-08a\]
const MAX_EXCESS: u64 = 16 * 1024;
/// What the framing of any chunk may take, at no charge: a size, and a signature of 80 octets as an extension. \[LIM-08c\]
const FREE: u64 = 128;
/// What an octet of data pays for.
const PAID: u64 = 2;
/// Bytes of a trailer section. \[LIM-08\]
const MAX_TRAILERS: usize = 16 * 1024;
/// Lines of a trailer section. \[LIM-08\]
const MAX_TRAILER_LINES: usize = 100;

/// What [`Decoder::decode`] found; `consumed` bytes of the input are done with.
#[derive(Debug)]
pub enum Event {
    /// `input[start..consumed]` is data, at least one byte of it.
    Data {
        /// Where the data starts.
        start: usize,
        /// Where it ends.
        consumed: usize,
    },
    /// All of the input was taken, and there is more to come.
    More {
        /// How much was taken.
        consumed: usize,
    },
    /// The body is complete.
    End {
        /// Trailers, if there were any. \[TRL-01\]
        trailers: Option<HeaderMap>,
        /// How much was taken; what follows is the next request's.
        consumed: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// This many bytes of a sized body are to come.
    Sized(u64),
    /// Before the first digit of a chunk's size.
    SizeStart,
    /// Within the size.
    Size(u64),
    /// Blanks after the size (RFC 9112 §7.1.1: BWS).
    Blank(u64),
    /// Within an extension, which is ignored. \[REQ-08\]
    Extension(u64),
    /// The LF of the size line.
    SizeLf(u64),
    /// This many bytes of the chunk are to come.
    Data(u64),
    DataCr,
    DataLf,
    /// Within the trailer section, which is gathered.
    Trailers,
    Done,
}

/// Decodes one body.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Decoded so far, against the limit.
    received: u64,
    limit: Option<u64>,
    /// Bytes of the chunk-size line so far.
    line: u64,
    /// Bytes of framing beyond what was paid for.
    excess: u64,
    trailers: Vec<u8>,
    trailer_lines: usize,
}

impl Decoder {
    /// For a body of that length, refusing more than `limit` bytes. \[LIM-03\]
    pub fn new(length: BodyLength, limit: Option<u64>) -> Self {
        let state = match length {
            BodyLength::Sized(0) => State::Done,
            BodyLength::Sized(length) => State::Sized(length),
            BodyLength::Unknown => State::SizeStart,
        };
        Decoder { state, received: 0, limit, line: 0, excess: 0, trailers: Vec::new(), trailer_lines: 0 }
    }

    /// Whether the end has been reached.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes to come, if they are known.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Sized(remaining) => Some(remaining),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Takes in the next bytes of the stream. After [`Event::Data`] call again with the rest.
    ///
    /// # Errors
    /// [`RequestBodyError::Malformed`] and [`RequestBodyError::TooLarge`]; the stream can't be understood any more.
    pub fn decode(&mut self, input: &[u8]) -> Result<Event, RequestBodyError> {
        let mut at = 0;
        loop {
            // Data does not go byte by byte.
            if let State::Sized(remaining) | State::Data(remaining) = self.state {
                return self.data(input.len(), at, remaining);
            }
            if self.state == State::Done {
                return Ok(Event::End { trailers: self.take_trailers()?, consumed: at });
            }
            let Some(byte) = input.get(at).copied() else { return Ok(Event::More { consumed: at }) };
            at += 1;
            self.state = self.step(byte)?;
        }
    }

    fn data(&mut self, available: usize, at: usize, remaining: u64) -> Result<Event, RequestBodyError> {
        let count = remaining.min((available - at) as u64);
        if count == 0 {
            return Ok(Event::More { consumed: at });
        }
        self.received += count;
        // [LIM-03] a chunked body that grows beyond the limit
        if let Some(limit) = self.limit
            && self.received > limit
        {
            return Err(RequestBodyError::TooLarge { limit });
        }
        self.state = match self.state {
            State::Sized(_) if remaining == count => State::Done,
            State::Sized(_) => State::Sized(remaining - count),
            _ if remaining == count => State::DataCr,
            _ => State::Data(remaining - count),
        };
        // `count` is at most the length of the input
        Ok(Event::Data { start: at, consumed: at + count as usize })
    }

    /// One byte of framing. RFC 9112 §7.1
    fn step(&mut self, byte: u8) -> Result<State, RequestBodyError> {
        let bad = |what: &str| Err(RequestBodyError::Malformed(what.into()));
        match (self.state, byte) {
            (State::SizeStart, _) => match hex(byte) {
                Some(digit) => {
                    self.line = 1;
                    Ok(State::Size(digit))
                }
                None => bad("a chunk size is missing"),
            },
            (State::Size(size) | State::Blank(size) | State::Extension(size), b'\r') => Ok(State::SizeLf(size)),
            (State::Size(_) | State::Blank(_) | State::Extension(_), _) if self.line >= MAX_LINE => {
                bad("a chunk-size line is too long")
            }
            (State::Size(size) | State::Blank(size) | State::Extension(size), _) => {
                self.line += 1;
                self.within_line(size, byte)
            }
            (State::SizeLf(size), b'\n') => {
                self.account(size)?;
                Ok(if size == 0 { State::Trailers } else { State::Data(size) })
            }
            (State::SizeLf(_), _) => bad("a chunk-size line ends in a bare CR"),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::SizeStart),
            (State::DataCr | State::DataLf, _) => bad("a chunk is longer than its size"),
            (State::Trailers, _) => self.trailer(byte),
            (state @ (State::Sized(_) | State::Data(_) | State::Done), _) => Ok(state),
        }
    }

    /// One byte of a chunk-size line behind its first digit.
    fn within_line(&self, size: u64, byte: u8) -> Result<State, RequestBodyError> {
        let bad = |what: &str| Err(RequestBodyError::Malformed(what.into()));
        match (self.state, byte) {
            (State::Extension(_), b'\n') => bad("a chunk extension is malformed"),
            (State::Extension(size), _) => Ok(State::Extension(size)),
            (_, b' ' | b'\t') => Ok(State::Blank(size)),
            (_, b';') => Ok(State::Extension(size)),
            (State::Size(size), _) => match hex(byte) {
                // [REQ-05] any case, leading zeros; more than 64 bits are none
                Some(digit) => match size.checked_mul(16).and_then(|size| size.checked_add(digit)) {
                    Some(size) => Ok(State::Size(size)),
                    None => bad("a chunk size is too large"),
                },
                None => bad("a chunk size is malformed"),
            },
            _ => bad("a chunk size is malformed"),
        }
    }

    /// \[LIM-08a\] A chunk-size line is complete: charges its bytes, and pays with those of its chunk. These are still to
    /// come, but before the next line.
    fn account(&mut self, size: u64) -> Result<(), RequestBodyError> {
        // With the CRLF behind it and the one behind the data.
        let framing = self.line + 4;
        self.excess = (self.excess + framing).saturating_sub(FREE.saturating_add(size.saturating_mul(PAID)));
        if self.excess > MAX_EXCESS {
            return Err(RequestBodyError::Malformed("the body is little but chunk framing".into()));
        }
        Ok(())
    }

    /// Gathers the trailer section until its empty line.
    fn trailer(&mut self, byte: u8) -> Result<State, RequestBodyError> {
        // Told at once, and not when the section has ended.
        match (self.trailers.last() == Some(&b'\r'), byte == b'\n') {
            (false, true) => return Err(RequestBodyError::Malformed("a trailer line ends in a bare LF".into())),
            (true, false) => return Err(RequestBodyError::Malformed("a trailer line ends in a bare CR".into())),
            _ => {}
        }
        let starts_line = matches!(self.trailers.last(), None | Some(b'\n')) && byte != b'\r';
        self.trailer_lines += usize::from(starts_line);
        if self.trailers.len() >= MAX_TRAILERS || self.trailer_lines > MAX_TRAILER_LINES {
            return Err(RequestBodyError::Malformed("the trailers are too large".into()));
        }
        self.trailers.push(byte);
        let done = self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n");
        Ok(if done { State::Done } else { State::Trailers })
    }

    fn take_trailers(&mut self) -> Result<Option<HeaderMap>, RequestBodyError> {
        let section = std::mem::take(&mut self.trailers);
        if section.len() <= 2 {
            return Ok(None);
        }
        // [TRL-03]
        let malformed = || RequestBodyError::Malformed("a trailer is malformed".into());
        let mut lines = [httparse::EMPTY_HEADER; MAX_TRAILER_LINES];
        let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(&section, &mut lines) else {
            return Err(malformed());
        };
        let mut map = HeaderMap::with_capacity(fields.len());
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| malformed())?;
            let value = HeaderValue::from_bytes(field.value).map_err(|_| malformed())?;
            map.append(name, value);
        }
        // [TRL-02]
        trailers::sanitize(&mut map);
        Ok((!map.is_empty()).then_some(map))
    }
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

#[cfg(test)]
mod tests;
