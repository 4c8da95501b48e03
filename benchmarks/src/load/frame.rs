//! WebSocket frames (RFC 6455, without extensions): what the loader sends, and a check of what comes back for it.

/// The key of every handshake, and what the server makes of it: the example of RFC 6455 §1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const CONTINUATION: u8 = 0x0;
const BINARY: u8 = 0x2;
const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;

/// A handshake at `/ws` that offers no extension.
pub fn handshake() -> Vec<u8> {
    format!(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
    .into_bytes()
}

/// A whole frame as a client sends it.
pub fn masked(opcode: u8, key: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Opcode, and begin and length of the payload, of an unmasked frame.
pub fn head(input: &[u8]) -> Option<(u8, usize, usize)> {
    let opcode = input.first()? & 0x0f;
    Some(match input.get(1)? & 0x7f {
        126 => (opcode, 4, u16::from_be_bytes(input.get(2..4)?.try_into().ok()?).into()),
        127 => (opcode, 10, u64::from_be_bytes(input.get(2..10)?.try_into().ok()?) as usize),
        length => (opcode, 2, length.into()),
    })
}

/// A binary message, and the one frame that it is sent in.
pub struct Message {
    pub payload: Vec<u8>,
    pub frame: Vec<u8>,
}

impl Message {
    /// Octets and mask by chance, the same for the same `seed`, and others for another: an echo of the wrong message shows.
    pub fn new(size: usize, seed: u64) -> Self {
        // xorshift64*, which is nothing but cheap; from zero it would not come away.
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut chance = || {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes()
        };
        let [key @ .., _, _, _, _] = chance();
        let mut payload = Vec::with_capacity(size + 8);
        while payload.len() < size {
            payload.extend(chance());
        }
        payload.truncate(size);
        let frame = masked(BINARY, key, &payload);
        Self { payload, frame }
    }
}

/// Reads the echo of one binary message after the other, whatever frames it comes in.
#[derive(Default)]
pub struct Echo {
    /// What has come of a frame's head.
    head: Vec<u8>,
    /// The frame whose payload comes.
    frame: Option<Frame>,
    /// What has come of a ping.
    control: Vec<u8>,
    /// How much of the message has come; a frame of it has ended, but not the message.
    position: usize,
    continues: bool,
}

#[derive(Clone, Copy)]
struct Frame {
    last: bool,
    control: bool,
    left: usize,
}

#[derive(Debug, PartialEq)]
pub enum Came {
    /// The whole message, as it was sent.
    Message,
    Ping(Vec<u8>),
}

impl Echo {
    /// Takes bytes from the front of `input`, up to the end of the message or of a ping; says how many it took.
    pub fn read(&mut self, input: &[u8], expected: &[u8]) -> Result<(usize, Option<Came>), String> {
        let mut taken = 0;
        loop {
            let Some(frame) = &mut self.frame else {
                let Some(byte) = input.get(taken) else { return Ok((taken, None)) };
                self.head.push(*byte);
                taken += 1;
                if let Some((opcode, _, length)) = head(&self.head) {
                    self.frame = Some(self.begin(opcode, length)?);
                    self.head.clear();
                }
                continue;
            };
            let part = &input[taken..input.len().min(taken + frame.left)];
            if frame.control {
                self.control.extend_from_slice(part);
            } else {
                if expected.get(self.position..self.position + part.len()) != Some(part) {
                    return Err("an echo of something else".into());
                }
                self.position += part.len();
            }
            taken += part.len();
            frame.left -= part.len();
            if frame.left > 0 {
                return Ok((taken, None));
            }
            let Frame { last, control, .. } = *frame;
            self.frame = None;
            if control {
                return Ok((taken, Some(Came::Ping(std::mem::take(&mut self.control)))));
            }
            self.continues = !last;
            if last {
                let length = std::mem::take(&mut self.position);
                if length != expected.len() {
                    return Err(format!("an echo of {length} octets, not {}", expected.len()));
                }
                return Ok((taken, Some(Came::Message)));
            }
        }
    }

    /// Checks the head of a frame.
    fn begin(&self, opcode: u8, length: usize) -> Result<Frame, String> {
        let (first, second) = (self.head[0], self.head[1]);
        let shortest = match self.head.len() {
            2 => true,
            4 => length >= 126,
            _ => length >= 0x1_0000,
        };
        if first & 0x70 != 0 || second & 0x80 != 0 || !shortest {
            return Err(format!("a malformed frame: {:02x?}", self.head));
        }
        let last = first & 0x80 != 0;
        match opcode {
            PING if last && length < 126 => Ok(Frame { last, control: true, left: length }),
            BINARY if !self.continues => Ok(Frame { last, control: false, left: length }),
            CONTINUATION if self.continues => Ok(Frame { last, control: false, left: length }),
            _ => Err(format!("a frame with opcode {opcode}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as a server sends it.
    fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = masked(0, [0; 4], payload);
        frame[0] = first;
        frame[1] &= 0x7f;
        let key = frame.len() - payload.len() - 4;
        frame.drain(key..key + 4);
        frame
    }

    #[test]
    fn masks_as_the_standard_says() {
        // RFC 6455 §5.7.
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(masked(1, [0x37, 0xfa, 0x21, 0x3d], b"Hello"), hello);
        for (length, begin) in [
            (125, &[0x82, 0xfd][..]),
            (126, &[0x82, 0xfe, 0, 126]),
            (0xffff, &[0x82, 0xfe, 0xff, 0xff]),
            (0x1_0000, &[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = masked(BINARY, [1, 2, 3, 4], &vec![7; length]);
            assert_eq!(frame[..begin.len()], *begin);
            assert_eq!(frame[begin.len()..begin.len() + 8], [1, 2, 3, 4, 6, 5, 4, 3]);
            assert_eq!(frame.len(), begin.len() + 4 + length);
        }
    }

    #[test]
    fn reads_heads() {
        assert_eq!(head(&[0x81, 5]), Some((1, 2, 5)));
        assert_eq!(head(&[0x81, 126, 1, 2]), Some((1, 4, 258)));
        assert_eq!(head(&[0x89, 127, 0]), None);
    }

    #[test]
    fn messages_differ_and_are_masked() {
        let (one, other) = (Message::new(64, 0), Message::new(64, 1));
        assert_ne!(one.payload, other.payload);
        assert_eq!((one.payload.len(), one.frame.len()), (64, 70));
        let (key, body) = one.frame[2..].split_at(4);
        assert_ne!(key, [0; 4]);
        let unmasked: Vec<u8> = body.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        assert_eq!(unmasked, one.payload);
    }

    #[test]
    fn checks_an_echo_split_anywhere() {
        let message = Message::new(300, 3);
        let (begin, end) = message.payload.split_at(120);
        let whole = [
            plain(0x82, &message.payload),
            plain(0x02, begin),
            plain(0x89, b"there?"),
            plain(0x80, end),
            plain(0x82, &message.payload),
        ]
        .concat();
        for step in 1..whole.len() {
            let (mut echo, mut came) = (Echo::default(), Vec::new());
            for part in whole.chunks(step) {
                let mut rest = part;
                while !rest.is_empty() {
                    let (taken, one) = echo.read(rest, &message.payload).unwrap();
                    rest = &rest[taken..];
                    came.extend(one);
                }
            }
            let expected = [Came::Message, Came::Ping(b"there?".into()), Came::Message, Came::Message];
            assert_eq!(came, expected, "in steps of {step}");
        }
        let empty = Echo::default().read(&[0x82, 0], b"");
        assert_eq!(empty, Ok((2, Some(Came::Message))));
    }

    #[test]
    fn refuses_what_is_no_echo() {
        let right = b"0123456789";
        for wrong in [
            plain(0x82, b"0123456780"),
            plain(0x82, b"012345678"),
            plain(0x82, b"0123456789+"),
            plain(0x81, right),
            plain(0x80, right),
            plain(0xc2, right),
            plain(0x88, b""),
            masked(BINARY, [0; 4], right),
            [&[0x82, 126, 0, 10], &right[..]].concat(),
            [plain(0x02, b"01234"), plain(0x82, b"56789")].concat(),
        ] {
            assert!(Echo::default().read(&wrong, right).is_err(), "{wrong:02x?}");
        }
    }
}
