//! The client's side of a WebSocket, frame by frame: sends any octets, and reads frames as strictly as RFC 6455 §5 has
//! them for servers.

use crate::case::{Failure, ensure, ensure_eq};
use crate::text;
use crate::wire::Connection;

/// Opcodes. RFC 6455 §11.8
pub mod opcode {
    /// A further fragment.
    pub const CONTINUATION: u8 = 0;
    /// UTF-8.
    pub const TEXT: u8 = 1;
    /// Octets.
    pub const BINARY: u8 = 2;
    /// The end.
    pub const CLOSE: u8 = 8;
    /// A question.
    pub const PING: u8 = 9;
    /// Its answer.
    pub const PONG: u8 = 10;
}

/// A frame, well-formed or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// FIN, the reserved bits and the opcode.
    pub first: u8,
    /// The payload, unmasked.
    pub payload: Vec<u8>,
    /// Whether it is masked on the wire: a client's must be, a server's must not.
    pub masked: bool,
}

/// The key the client masks with; any will do.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

impl Frame {
    /// A whole message, or a control frame.
    pub fn new(opcode: u8, payload: impl AsRef<[u8]>) -> Frame {
        Frame { first: 0x80 | opcode, payload: payload.as_ref().to_vec(), masked: true }
    }

    /// A close frame.
    pub fn close(code: u16, reason: &str) -> Frame {
        Frame::new(opcode::CLOSE, [&code.to_be_bytes(), reason.as_bytes()].concat())
    }

    /// Without FIN: more of the message follows.
    #[must_use]
    pub fn unfinished(mut self) -> Frame {
        self.first &= 0x7f;
        self
    }

    /// Without a mask.
    #[must_use]
    pub fn unmasked(mut self) -> Frame {
        self.masked = false;
        self
    }

    /// With other reserved bits.
    #[must_use]
    pub fn reserved(mut self, bits: u8) -> Frame {
        self.first |= bits;
        self
    }

    /// The opcode.
    pub fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    /// As octets, with the shortest length there is.
    pub fn bytes(&self) -> Vec<u8> {
        let mask = if self.masked { 0x80 } else { 0 };
        let mut bytes = vec![self.first];
        match self.payload.len() {
            length @ 0..=125 => bytes.push(mask | length as u8),
            length @ 126..=65535 => {
                bytes.push(mask | 126);
                bytes.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                bytes.push(mask | 127);
                bytes.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        if self.masked {
            bytes.extend_from_slice(&KEY);
            bytes.extend(self.payload.iter().zip(KEY.iter().cycle()).map(|(octet, key)| octet ^ key));
        } else {
            bytes.extend_from_slice(&self.payload);
        }
        bytes
    }
}

/// An open WebSocket.
pub struct WebSocket {
    /// The connection below it.
    pub connection: Connection,
}

impl WebSocket {
    /// On `connection`, which was switched.
    pub fn new(connection: Connection) -> Self {
        WebSocket { connection }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The server closed the connection, or does not read.
    pub fn send(&mut self, frame: &Frame) -> Result<(), Failure> {
        self.connection.send(frame.bytes())
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.send(&Frame::new(opcode::TEXT, text))
    }

    /// Sends a binary message.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn binary(&mut self, octets: &[u8]) -> Result<(), Failure> {
        self.send(&Frame::new(opcode::BINARY, octets))
    }

    /// The next frame; `None` if the connection ends instead.
    ///
    /// # Errors
    /// None comes, or it is one that no server may send.
    pub fn frame_or_end(&mut self) -> Result<Option<Frame>, Failure> {
        let head = self.connection.take(2, "a frame")?;
        let [first, second] = head[..] else {
            ensure!(head.is_empty(), "the connection ended within a frame");
            return Ok(None);
        };
        // [UPG-24] RFC 6455 §5.2
        ensure!(first & 0x70 == 0, "reserved bits in a frame: {first:#04x}");
        ensure!(matches!(first & 0x0f, 0..=2 | 8..=10), "an unknown opcode in a frame: {first:#04x}");
        // RFC 6455 §5.1
        ensure!(second & 0x80 == 0, "a masked frame from a server");
        let length = match second & 0x7f {
            short @ 0..=125 => u64::from(short),
            126 => self.length(2, 126)?,
            _ => self.length(8, 65536)?,
        };
        if first & 0x08 != 0 {
            // RFC 6455 §5.5
            ensure!(first & 0x80 != 0, "a control frame in fragments");
            ensure!(length <= 125, "a control frame of {length} octets");
        }
        let payload = self.connection.take(length as usize, "the payload of a frame")?;
        ensure!(payload.len() as u64 == length, "the connection ended within a frame");
        Ok(Some(Frame { first, payload, masked: false }))
    }

    fn length(&mut self, octets: usize, least: u64) -> Result<u64, Failure> {
        let taken = self.connection.take(octets, "the length of a frame")?;
        ensure!(taken.len() == octets, "the connection ended within a frame");
        let length = taken.iter().fold(0_u64, |sum, octet| sum << 8 | u64::from(*octet));
        // RFC 6455 §5.2: the minimal number of octets
        ensure!(length >= least, "a length of {length} in {octets} octets");
        Ok(length)
    }

    /// The next frame.
    ///
    /// # Errors
    /// As [`frame_or_end`](Self::frame_or_end), or the connection ends.
    pub fn frame(&mut self) -> Result<Frame, Failure> {
        self.frame_or_end()?.ok_or_else(|| "the connection ended without a close frame".into())
    }

    /// The next message, put together: its opcode and payload.
    ///
    /// # Errors
    /// As [`frame`](Self::frame), or it is a control frame, or fragments are out of order.
    pub fn message(&mut self) -> Result<(u8, Vec<u8>), Failure> {
        let first = self.frame()?;
        let kind = first.opcode();
        ensure!(matches!(kind, 1 | 2), "expected a message, seen {}", describe(&first));
        let (mut payload, mut finished) = (first.payload, first.first & 0x80 != 0);
        while !finished {
            let next = self.frame()?;
            ensure_eq!(next.opcode(), opcode::CONTINUATION, "the opcode of a further fragment");
            finished = next.first & 0x80 != 0;
            payload.extend_from_slice(&next.payload);
        }
        Ok((kind, payload))
    }

    /// The next message must be this text.
    ///
    /// # Errors
    /// It is not.
    pub fn expect_text(&mut self, expected: &str) -> Result<(), Failure> {
        let (kind, payload) = self.message()?;
        let seen = String::from_utf8_lossy(&payload);
        ensure!(
            kind == opcode::TEXT && payload == expected.as_bytes(),
            "expected the text {expected:?}, seen one of opcode {kind}: {:?}",
            text::show(seen.as_bytes(), 200)
        );
        Ok(())
    }

    /// The next frame must be a close frame: its code, 1005 if it has none, and its reason.
    ///
    /// # Errors
    /// It is not.
    pub fn close_frame(&mut self) -> Result<(u16, String), Failure> {
        closing(self.frame()?)
    }

    /// The next frame must be a close frame, or the connection ends; pings and messages before it are passed over.
    ///
    /// # Errors
    /// Neither comes.
    pub fn close_or_end(&mut self) -> Result<Option<(u16, String)>, Failure> {
        loop {
            match self.frame_or_end()? {
                None => return Ok(None),
                Some(frame) if frame.opcode() == opcode::CLOSE => return closing(frame).map(Some),
                Some(_) => {}
            }
        }
    }

    /// Closes with 1000, and waits for the answer and the end of the connection.
    ///
    /// # Errors
    /// They do not come.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.send(&Frame::close(1000, ""))?;
        ensure_eq!(self.close_frame()?.0, 1000, "the code of the answer to a close");
        self.connection.closed()
    }
}

fn closing(frame: Frame) -> Result<(u16, String), Failure> {
    ensure!(frame.opcode() == opcode::CLOSE, "expected a close frame, seen {}", describe(&frame));
    match frame.payload[..] {
        [] => Ok((1005, String::new())),
        [high, low, ref reason @ ..] => {
            let reason = std::str::from_utf8(reason).map_err(|_| "the reason of a close frame is not UTF-8")?;
            let code = u16::from_be_bytes([high, low]);
            ensure!(matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999), "the close code {code} was sent");
            Ok((code, reason.to_owned()))
        }
        _ => Err("a close frame of one octet".into()),
    }
}

fn describe(frame: &Frame) -> String {
    let name = match frame.opcode() {
        opcode::CONTINUATION => "a continuation",
        opcode::TEXT => "a text",
        opcode::BINARY => "a binary",
        opcode::CLOSE => "a close",
        opcode::PING => "a ping",
        _ => "a pong",
    };
    format!("{name} frame of {} octets: {}", frame.payload.len(), text::show(&frame.payload, 100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_the_rfc() {
        // RFC 6455 §5.7
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(Frame::new(opcode::TEXT, "Hello").bytes(), hello);
        let part = Frame::new(opcode::TEXT, "Hel").unfinished().unmasked();
        assert_eq!(part.bytes(), [0x01, 0x03, 0x48, 0x65, 0x6c]);
        assert_eq!(Frame::new(opcode::BINARY, [0; 256]).unmasked().bytes()[..4], [0x82, 126, 1, 0]);
        assert_eq!(
            Frame::new(opcode::BINARY, [0; 65536]).unmasked().bytes()[..10],
            [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]
        );
    }
}
