//! Frames of RFC 6455 §5: octets to messages and back. No I/O, no clock.
//!
//! The decoder is fed whatever has arrived and fails at the first octet that breaks a rule, before the payload of the
//! frame: a reserved bit or an over-long message costs its sender a header. It holds the message under way and nothing
//! else, so an idle connection costs no buffer.
//!
//! \[UPG-09\], \[UPG-11\], \[UPG-12\], \[UPG-24\]

use bytes::Bytes;

use super::message::{Message, code};

/// A control frame's payload is at most this long. RFC 6455 §5.5
pub(super) const CONTROL_LIMIT: usize = 125;
/// A message's buffer begins with at most this capacity, whatever its frame says: the octets have to come first.
const FIRST_CAPACITY: usize = 16 * 1024;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What the client has sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Message(Message),
    Ping(Vec<u8>),
    Pong,
    /// Code and reason, if it had any.
    Close(Option<(u16, String)>),
}

/// What the client did wrong, and the close code that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) code: u16,
    pub(super) reason: &'static str,
}

fn protocol<T>(reason: &'static str) -> Result<T, Violation> {
    Err(Violation { code: code::PROTOCOL_ERROR, reason })
}

fn not_utf8<T>() -> Result<T, Violation> {
    Err(Violation { code: code::INVALID_DATA, reason: "the text is not UTF-8" })
}

/// A frame whose payload is arriving.
struct Frame {
    opcode: u8,
    fin: bool,
    mask: [u8; 4],
    left: u64,
}

/// A data message of which not all frames are here.
struct Partial {
    text: bool,
    data: Vec<u8>,
    /// Bytes of `data` that are valid UTF-8.
    valid: usize,
}

/// The receiving side.
pub(super) struct Decoder {
    header: [u8; 14],
    header_length: usize,
    frame: Option<Frame>,
    message: Option<Partial>,
    control: Vec<u8>,
    max_message: u64,
    max_frame: u64,
}

impl Decoder {
    pub(super) fn new(max_message: usize, max_frame: usize) -> Self {
        Decoder {
            header: [0; 14],
            header_length: 0,
            frame: None,
            message: None,
            control: Vec::new(),
            max_message: max_message as u64,
            max_frame: max_frame as u64,
        }
    }

    /// Takes octets from the front of `input` until there is an event; `None`: all are taken.
    ///
    /// # Errors
    /// The violation; the decoder can't be used any more.
    pub(super) fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Violation> {
        loop {
            let Some(frame) = &mut self.frame else {
                if !self.decode_header(input)? {
                    return Ok(None);
                }
                continue;
            };
            let count = usize::try_from(frame.left).unwrap_or(usize::MAX).min(input.len());
            let (taken, rest) = input.split_at(count);
            *input = rest;
            let buffer = if frame.opcode >= CLOSE {
                &mut self.control
            } else {
                &mut self.message.as_mut().expect("invariant: a data frame has a message").data
            };
            if buffer.capacity() == 0 {
                let expected = usize::try_from(frame.left).unwrap_or(FIRST_CAPACITY);
                buffer.reserve(expected.min(FIRST_CAPACITY.max(count)));
            }
            let start = buffer.len();
            buffer.extend_from_slice(taken);
            unmask(&mut buffer[start..], &mut frame.mask);
            frame.left -= count as u64;
            let (opcode, whole) = (frame.opcode, frame.left == 0);
            let fin = frame.fin;
            if opcode < CLOSE {
                self.check_text(whole && fin)?;
            }
            if !whole {
                return Ok(None);
            }
            self.frame = None;
            if let Some(event) = self.end_frame(opcode, fin)? {
                return Ok(Some(event));
            }
        }
    }

    /// Gathers a header and checks it. `false`: not all of it is here. RFC 6455 §5.2
    fn decode_header(&mut self, input: &mut &[u8]) -> Result<bool, Violation> {
        loop {
            let needed = self.check_header()?;
            let missing = needed - self.header_length;
            if missing == 0 {
                break;
            }
            let (taken, rest) = input.split_at(missing.min(input.len()));
            *input = rest;
            self.header[self.header_length..self.header_length + taken.len()].copy_from_slice(taken);
            self.header_length += taken.len();
            if taken.len() < missing {
                // What is here may break a rule already.
                self.check_header()?;
                return Ok(false);
            }
        }
        let length = self.payload_length();
        let mask_at = self.header_length - 4;
        let mut mask = [0; 4];
        mask.copy_from_slice(&self.header[mask_at..self.header_length]);
        let (opcode, fin) = (self.header[0] & 0x0f, self.header[0] & 0x80 != 0);
        self.header_length = 0;
        if opcode == TEXT || opcode == BINARY {
            self.message = Some(Partial { text: opcode == TEXT, data: Vec::new(), valid: 0 });
        }
        self.frame = Some(Frame { opcode, fin, mask, left: length });
        Ok(true)
    }

    /// How long the header is, as far as what is here tells; fails as soon as a rule is broken.
    fn check_header(&self) -> Result<usize, Violation> {
        if self.header_length == 0 {
            return Ok(2);
        }
        let first = self.header[0];
        let (opcode, fin) = (first & 0x0f, first & 0x80 != 0);
        // [UPG-11a], [UPG-24] no extension is ever negotiated
        if first & 0x70 != 0 {
            return protocol("a reserved bit is set");
        }
        match opcode {
            CONTINUATION if self.message.is_none() => return protocol("a continuation without a beginning"),
            TEXT | BINARY if self.message.is_some() => return protocol("a message within a message"),
            CONTINUATION | TEXT | BINARY => {}
            CLOSE | PING | PONG if !fin => return protocol("a fragmented control frame"),
            CLOSE | PING | PONG => {}
            _ => return protocol("a reserved opcode"),
        }
        if self.header_length == 1 {
            return Ok(2);
        }
        let second = self.header[1];
        // [UPG-11d] RFC 6455 §5.1
        if second & 0x80 == 0 {
            return protocol("a frame that is not masked");
        }
        let length_bytes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if opcode >= CLOSE && length_bytes != 0 {
            return protocol("a control frame that is too long");
        }
        let needed = 2 + length_bytes + 4;
        if self.header_length >= 2 + length_bytes {
            let length = self.payload_length();
            if length >> 63 != 0 {
                return protocol("a frame length with the highest bit set");
            }
            if opcode < CLOSE {
                let before = self.message.as_ref().map_or(0, |message| message.data.len() as u64);
                // [UPG-11c]
                if length > self.max_frame || length > self.max_message.saturating_sub(before) {
                    return Err(Violation { code: code::TOO_BIG, reason: "the message is too big" });
                }
            }
        }
        Ok(needed)
    }

    /// The length in a header of which everything before the mask is here.
    fn payload_length(&self) -> u64 {
        match self.header[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([self.header[2], self.header[3]])),
            127 => self.header[2..10].iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)),
            length => u64::from(length),
        }
    }

    /// \[UPG-11b\] fails at the first octet that can't be UTF-8; `end`: nothing more comes.
    fn check_text(&mut self, end: bool) -> Result<(), Violation> {
        let Some(Partial { text: true, data, valid }) = &mut self.message else { return Ok(()) };
        match std::str::from_utf8(data.get(*valid..).unwrap_or_default()) {
            Ok(_) => *valid = data.len(),
            Err(error) if error.error_len().is_some() || end => return not_utf8(),
            // At most three octets of a character wait for the rest.
            Err(error) => *valid += error.valid_up_to(),
        }
        Ok(())
    }

    fn end_frame(&mut self, opcode: u8, fin: bool) -> Result<Option<Event>, Violation> {
        match opcode {
            PING => Ok(Some(Event::Ping(std::mem::take(&mut self.control)))),
            PONG => {
                self.control = Vec::new();
                Ok(Some(Event::Pong))
            }
            CLOSE => parse_close(std::mem::take(&mut self.control)).map(|close| Some(Event::Close(close))),
            _ if !fin => Ok(None),
            _ => {
                let message = self.message.take().expect("invariant: a data frame has a message");
                if !message.text {
                    return Ok(Some(Event::Message(Message::Binary(Bytes::from(message.data)))));
                }
                String::from_utf8(message.data)
                    .map_or_else(|_| not_utf8(), |text| Ok(Some(Event::Message(Message::Text(text)))))
            }
        }
    }
}

/// \[UPG-12\] RFC 6455 §5.5.1
fn parse_close(payload: Vec<u8>) -> Result<Option<(u16, String)>, Violation> {
    match payload.as_slice() {
        [] => Ok(None),
        [_] => protocol("half a close code"),
        [high, low, reason @ ..] => {
            let close_code = u16::from_be_bytes([*high, *low]);
            if !code::is_sendable(close_code) {
                return protocol("a close code that must not be sent");
            }
            match std::str::from_utf8(reason) {
                Ok(reason) => Ok(Some((close_code, reason.to_owned()))),
                Err(_) => not_utf8(),
            }
        }
    }
}

/// Removes the mask, and turns it on for what follows. RFC 6455 §5.3
fn unmask(data: &mut [u8], mask: &mut [u8; 4]) {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let mut words = data.chunks_exact_mut(8);
    for word in &mut words {
        let mut octets = [0; 8];
        octets.copy_from_slice(word);
        word.copy_from_slice(&(u64::from_ne_bytes(octets) ^ wide).to_ne_bytes());
    }
    let rest = words.into_remainder();
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
    mask.rotate_left(rest.len() % 4);
}

fn header(out: &mut Vec<u8>, opcode: u8, length: usize) {
    out.push(0x80 | opcode);
    match length {
        0..126 => out.push(length as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Bytes of the frame that carries a payload of this length.
pub(super) fn encoded_length(payload: usize) -> usize {
    payload.saturating_add(match payload {
        0..126 => 2,
        126..=0xffff => 4,
        _ => 10,
    })
}

fn encode(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.reserve(encoded_length(payload.len()));
    header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// A message as one frame; a server does not mask. RFC 6455 §5.1
pub(super) fn encode_message(out: &mut Vec<u8>, message: &Message) {
    let opcode = if matches!(message, Message::Text(_)) { TEXT } else { BINARY };
    encode(out, opcode, message.as_bytes());
}

pub(super) fn encode_ping(out: &mut Vec<u8>) {
    encode(out, PING, b"");
}

pub(super) fn encode_pong(out: &mut Vec<u8>, payload: &[u8]) {
    encode(out, PONG, payload);
}

/// A close frame; [`code::NO_STATUS`] is said by leaving it out. The reason is cut at a character. \[UPG-13c\]
pub(super) fn encode_close(out: &mut Vec<u8>, close_code: u16, reason: &str) {
    if close_code == code::NO_STATUS {
        return encode(out, CLOSE, b"");
    }
    let mut end = reason.len().min(CONTROL_LIMIT - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = close_code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.get(..end).unwrap_or_default().as_bytes());
    encode(out, CLOSE, &payload);
}
