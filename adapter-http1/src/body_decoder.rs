//! Request bodies: sized and chunked. \[REQ-01\] to \[REQ-10\], \[LIM-03\], \[LIM-08\], \[TRL-01\] to \[TRL-03\] RFC 9112 §6, §7
//!
//! A state machine over slices: the caller gives the bytes it has, and is told which of them are data and how many it
//! can let go. In chunk framing every line ends in CRLF; a bare LF is an error, and so is a bare CR.

use std::task::Poll;

use adapter_core::RequestBodyError;
use adapter_core::rules::request::BodyLength;
use adapter_core::rules::trailers;
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

/// Bytes of chunk-size lines beyond their digits, over a whole body. \[LIM-08\]
const MAX_EXTENSIONS: usize = 16 * 1024;
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
    overhead: usize,
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
        Decoder { state, received: 0, limit, overhead: 0, trailers: Vec::new(), trailer_lines: 0 }
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

    /// [`decode`](Self::decode) for a server that keeps its input in a [`BytesMut`]: takes the next frame out of it, without
    /// a copy. Pending when all of the input was taken; the caller comes back when it has more.
    pub fn poll_frame(&mut self, input: &mut BytesMut) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        match self.decode(input) {
            Ok(Event::Data { start, consumed }) => {
                input.advance(start);
                Poll::Ready(Some(Ok(Frame::data(input.split_to(consumed - start).freeze()))))
            }
            Ok(Event::More { consumed }) => {
                input.advance(consumed);
                Poll::Pending
            }
            Ok(Event::End { trailers, consumed }) => {
                input.advance(consumed);
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Err(error) => Poll::Ready(Some(Err(error))),
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
                Some(digit) => Ok(State::Size(digit)),
                None => bad("a chunk size is missing"),
            },
            (State::Size(size), _) if hex(byte).is_some() => {
                self.spend()?;
                // [REQ-05] any case, leading zeros; more than 64 bits are none
                let digit = hex(byte).unwrap_or_default();
                match size.checked_mul(16).and_then(|size| size.checked_add(digit)) {
                    Some(size) => Ok(State::Size(size)),
                    None => bad("a chunk size is too large"),
                }
            }
            (State::Size(size) | State::Blank(size) | State::Extension(size), b'\r') => Ok(State::SizeLf(size)),
            (State::Size(size) | State::Blank(size), b' ' | b'\t') => {
                self.spend()?;
                Ok(State::Blank(size))
            }
            (State::Size(size) | State::Blank(size), b';') => Ok(State::Extension(size)),
            (State::Size(_) | State::Blank(_), _) => bad("a chunk size is malformed"),
            (State::Extension(_), b'\n') => bad("a chunk extension is malformed"),
            (State::Extension(size), _) => {
                self.spend()?;
                Ok(State::Extension(size))
            }
            (State::SizeLf(0), b'\n') => Ok(State::Trailers),
            (State::SizeLf(size), b'\n') => Ok(State::Data(size)),
            (State::SizeLf(_), _) => bad("a chunk-size line ends in a bare CR"),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::SizeStart),
            (State::DataCr | State::DataLf, _) => bad("a chunk is longer than its size"),
            (State::Trailers, _) => self.trailer(byte),
            (state @ (State::Sized(_) | State::Data(_) | State::Done), _) => Ok(state),
        }
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

    /// \[LIM-08\] counts a byte that carries nothing.
    fn spend(&mut self) -> Result<(), RequestBodyError> {
        self.overhead += 1;
        if self.overhead > MAX_EXTENSIONS {
            return Err(RequestBodyError::Malformed("the chunk extensions are too large".into()));
        }
        Ok(())
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encoder;

    type Decoded = Result<(Vec<u8>, Option<HeaderMap>, Vec<u8>), RequestBodyError>;

    /// Feeds `pieces` one after another, as a socket would; gives the data, the trailers and what is left over.
    fn decode(mut decoder: Decoder, pieces: &[&[u8]]) -> Option<Decoded> {
        let mut data = Vec::new();
        for (n, piece) in pieces.iter().enumerate() {
            let mut rest = *piece;
            loop {
                match decoder.decode(rest) {
                    Ok(Event::Data { start, consumed }) => {
                        data.extend_from_slice(&rest[start..consumed]);
                        rest = &rest[consumed..];
                    }
                    Ok(Event::More { consumed }) => {
                        assert_eq!(consumed, rest.len());
                        break;
                    }
                    Ok(Event::End { trailers, consumed }) => {
                        let left = [&rest[consumed..], &pieces[n + 1..].concat()].concat();
                        return Some(Ok((data, trailers, left)));
                    }
                    Err(error) => return Some(Err(error)),
                }
            }
        }
        None
    }

    fn chunked(input: &[u8]) -> Option<Decoded> {
        decode(Decoder::new(BodyLength::Unknown, None), &[input])
    }

    #[test]
    fn every_split_point_gives_the_same_body() {
        let input = b"4;x=\"y\"\r\nWiki\r\n0005 \r\npedia\r\n0E\r\n in\r\n\r\nchunks.\r\n0\r\nX-Sum: 1\r\nHost: no\r\n\r\nGET /";
        for first in 0..=input.len() {
            for second in first..=input.len() {
                let pieces = [&input[..first], &input[first..second], &input[second..]];
                let (data, trailers, left) = decode(Decoder::new(BodyLength::Unknown, None), &pieces).unwrap().unwrap();
                assert_eq!(data, b"Wikipedia in\r\n\r\nchunks.");
                let trailers = trailers.unwrap();
                assert_eq!(trailers["x-sum"], "1");
                assert!(!trailers.contains_key("host"), "[TRL-02]");
                assert_eq!(left, b"GET /");
            }
        }
    }

    #[test]
    fn a_sized_body_ends_where_it_said() {
        let (data, _, left) = decode(Decoder::new(BodyLength::Sized(5), None), &[b"ab", b"cdeGET"]).unwrap().unwrap();
        assert_eq!((data.as_slice(), left.as_slice()), (b"abcde".as_slice(), b"GET".as_slice()));
        assert!(decode(Decoder::new(BodyLength::Sized(5), None), &[b"abcd"]).is_none());
    }

    #[test]
    fn frames_are_taken_out_of_the_input() {
        let mut decoder = Decoder::new(BodyLength::Unknown, None);
        let mut input = BytesMut::from("3\r\nab".as_bytes());
        let next = |decoder: &mut Decoder, input: &mut BytesMut| match decoder.poll_frame(input) {
            Poll::Ready(frame) => frame.map(Result::unwrap),
            Poll::Pending => panic!("pending"),
        };
        assert_eq!(next(&mut decoder, &mut input).unwrap().into_data().unwrap(), "ab");
        assert!(decoder.poll_frame(&mut input).is_pending());
        input.extend_from_slice(b"c\r\n0\r\nA: b\r\n\r\nGET");
        assert_eq!(next(&mut decoder, &mut input).unwrap().into_data().unwrap(), "c");
        assert_eq!(next(&mut decoder, &mut input).unwrap().into_trailers().unwrap()["a"], "b");
        for _ in 0..2 {
            assert!(next(&mut decoder, &mut input).is_none());
        }
        assert_eq!(input, "GET");
        let mut decoder = Decoder::new(BodyLength::Unknown, None);
        assert!(matches!(decoder.poll_frame(&mut BytesMut::from("x")), Poll::Ready(Some(Err(_)))));
    }

    #[test]
    fn what_is_malformed() {
        let cases: [&[u8]; 17] = [
            b"\r\n",
            b"g\r\n",
            b"5\n",
            b"5\r\r\n",
            b"5\rx",
            b"-1\r\n",
            b"0x5\r\n",
            b"5 5\r\n",
            b"1\r\nab",
            b"1\r\na\n",
            b"1\r\na\rb",
            b"10000000000000000\r\n",
            b"5;a\nb\r\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\nA b\r\n\r\n",
            b"0\r\n : b\r\n\r\n",
            b"0\r\nA: b\rc\r\n\r\n",
        ];
        for input in cases {
            let outcome = chunked(input);
            assert!(matches!(outcome, Some(Err(RequestBodyError::Malformed(_)))), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn extensions_trailers_and_size_are_bounded() {
        let extension = [b"1;".to_vec(), vec![b'x'; MAX_EXTENSIONS + 1]].concat();
        assert!(matches!(chunked(&extension), Some(Err(RequestBodyError::Malformed(_)))));
        let many = b"1;xxxxxxxx\r\na\r\n".repeat(MAX_EXTENSIONS / 8 + 1);
        assert!(matches!(chunked(&many), Some(Err(RequestBodyError::Malformed(_)))));
        let trailers = [b"0\r\nA: ".to_vec(), vec![b'x'; MAX_TRAILERS]].concat();
        assert!(matches!(chunked(&trailers), Some(Err(RequestBodyError::Malformed(_)))));
        let lines = [b"0\r\n".to_vec(), b"A: b\r\n".repeat(MAX_TRAILER_LINES + 1), b"\r\n".to_vec()].concat();
        assert!(matches!(chunked(&lines), Some(Err(RequestBodyError::Malformed(_)))));
        let outcome = decode(Decoder::new(BodyLength::Unknown, Some(3)), &[b"2\r\nab\r\n2\r\ncd\r\n"]);
        assert!(matches!(outcome, Some(Err(RequestBodyError::TooLarge { limit: 3 }))));
    }

    proptest! {
        #[test]
        fn what_the_encoder_writes_is_read_back(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..8),
            sum in proptest::option::of("[a-z]{1,9}"),
            cuts in proptest::collection::vec(1_usize..40, 0..200),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                encoder::chunk_size(&mut wire, chunk.len());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(encoder::CHUNK_END);
            }
            let mut trailers = HeaderMap::new();
            if let Some(sum) = &sum {
                trailers.insert("x-sum", sum.parse().unwrap());
            }
            encoder::last_chunk(&mut wire, Some(&trailers));
            let mut pieces = Vec::new();
            let mut rest = wire.as_slice();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let (data, seen, left) = decode(Decoder::new(BodyLength::Unknown, None), &pieces).unwrap().unwrap();
            prop_assert_eq!(data, chunks.concat());
            prop_assert_eq!(seen.unwrap_or_default(), trailers);
            prop_assert!(left.is_empty());
        }

        #[test]
        fn splits_never_change_the_outcome(input in proptest::collection::vec(
            proptest::sample::select(b"0123aAfF;\r\n: x\0".to_vec()), 0..60), cut in 0_usize..60)
        {
            let cut = cut.min(input.len());
            let whole = chunked(&input);
            let split = decode(Decoder::new(BodyLength::Unknown, None), &[&input[..cut], &input[cut..]]);
            prop_assert_eq!(format!("{whole:?}"), format!("{split:?}"));
        }
    }
}
