//! Frames of WebSockets and of HTTP/2 on their way through the proxy, for filters that change them.

use conformance_tests::wire::websocket::Frame;

/// One direction of a connection: what is not a whole frame yet.
#[derive(Default)]
pub(crate) struct Tap {
    buffer: Vec<u8>,
    switched: bool,
}

impl Tap {
    /// Passes `data` on, once its head has gone by frame by frame, as `edit` leaves them; `false` drops the frame.
    /// A direction is switched by a head that contains `sign`.
    pub(crate) fn edit(&mut self, data: &mut Vec<u8>, sign: &str, mut edit: impl FnMut(&mut Frame) -> bool) {
        self.buffer.append(data);
        if !self.switched {
            let end = self.buffer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
            let end = end.unwrap_or(self.buffer.len());
            data.extend(self.buffer.drain(..end));
            self.switched = String::from_utf8_lossy(data).to_ascii_lowercase().contains(sign);
            if !self.switched {
                return data.append(&mut self.buffer);
            }
        }
        while let Some((mut frame, length)) = parse(&self.buffer) {
            self.buffer.drain(..length);
            if edit(&mut frame) {
                data.extend(frame.bytes());
            }
        }
    }
}

/// The first frame of `octets` and its length, if it is whole.
fn parse(octets: &[u8]) -> Option<(Frame, usize)> {
    let (first, second) = (*octets.first()?, *octets.get(1)?);
    let (length, mut at) = match second & 0x7f {
        126 => (octets.get(2..4)?.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)), 4),
        127 => (octets.get(2..10)?.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)), 10),
        short => (usize::from(short), 2),
    };
    let masked = second & 0x80 != 0;
    let mut key = [0; 4];
    if masked {
        key.copy_from_slice(octets.get(at..at + 4)?);
        at += 4;
    }
    let payload = octets.get(at..at.checked_add(length)?)?;
    let payload = payload.iter().zip(key.iter().cycle()).map(|(octet, key)| octet ^ key).collect();
    Some((Frame { first, payload, masked }, at + length))
}

/// A frame of HTTP/2. RFC 9113 §4.1
#[derive(Clone, Debug)]
pub(crate) struct Http2Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// Types of frames, and flags.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// What a client begins HTTP/2 with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether what a client has sent so far is HTTP/2.
pub(crate) fn is_http2(sent: &[u8]) -> bool {
    sent.starts_with(PREFACE)
}

impl Http2Frame {
    pub(crate) fn new(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        Http2Frame { kind, flags, stream, payload: payload.to_vec() }
    }

    fn bytes(&self) -> Vec<u8> {
        let length = (self.payload.len() as u32).to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], self.kind, self.flags];
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

impl Tap {
    /// Passes `data` of HTTP/2 on frame by frame; `edit` gets each alone in a list, and may empty or extend that.
    pub(crate) fn edit_http2(&mut self, data: &mut Vec<u8>, mut edit: impl FnMut(&mut Vec<Http2Frame>)) {
        self.buffer.append(data);
        if self.buffer.starts_with(PREFACE) {
            data.extend(self.buffer.drain(..PREFACE.len()));
        }
        while let [a, b, c, kind, flags, d, e, f, g, ref rest @ ..] = self.buffer[..] {
            let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            let Some(payload) = rest.get(..length) else { return };
            let mut frames = vec![Http2Frame::new(kind, flags, u32::from_be_bytes([d, e, f, g]), payload)];
            self.buffer.drain(..9 + length);
            edit(&mut frames);
            frames.iter().for_each(|frame| data.extend(frame.bytes()));
        }
    }
}
