//! Frames as octets. RFC 9113 §4.1, §6

/// Types of frames.
pub mod kind {
    #![allow(missing_docs, reason = "they are called as RFC 9113 §6 calls them")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// DATA, HEADERS: the last of the stream's.
pub const END_STREAM: u8 = 1;
/// SETTINGS, PING: an answer.
pub const ACK: u8 = 1;
/// HEADERS, CONTINUATION: the last of the field block's.
pub const END_HEADERS: u8 = 4;
/// DATA, HEADERS: begins with the length of the padding.
pub const PADDED: u8 = 8;
/// HEADERS: begins with a priority, behind the length of the padding.
pub const PRIORITY: u8 = 0x20;

/// RFC 9113 §3.4
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame of whatever makes no sense.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A setting in a SETTINGS frame. RFC 9113 §6.5.1
pub fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}
