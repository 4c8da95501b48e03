//! Messages that are one frame each, as most are: read and written here, at a part of what the library takes for them (spec/DESIGN.md).
//!
//! What is anything else, or breaks a rule at its head, is left to the library as it came. That is fragments and control
//! frames, reserved bits, a length in a longer form than it needs or above the limit. RFC 6455 §5.2

use super::message::Message;

/// FIN and the opcode of a text, and of octets. RFC 6455 §5.2, §5.6
pub(super) const TEXT: u8 = 0x81;
pub(super) const BINARY: u8 = 0x82;
/// The first octet's RSV1. RFC 7692 §6
pub(super) const RSV1: u8 = 0x40;
/// The second octet's bit of a masked frame, and lengths that say that theirs is in the next two octets, or eight.
const MASKED: u8 = 0x80;
const TWO: u8 = 126;
const EIGHT: u8 = 127;
/// Octets for which there is room before they have come. A head is cheap.
const ROOM: usize = 16 * 1024;

/// A message whose head has come.
pub(super) struct Whole {
    is_text: bool,
    /// That of the next octet first.
    mask: [u8; 4],
    payload: Vec<u8>,
    /// Octets that have not come.
    left: usize,
}

impl Whole {
    /// By the head in front of `octets`, and the octets of that: of a masked message in one frame, of at most `most` octets.
    pub(super) fn begin(octets: &[u8], most: usize) -> Option<(Self, usize)> {
        let (&[first, second], rest) = octets.split_first_chunk()?;
        if (first != TEXT && first != BINARY) || second & MASKED == 0 {
            return None;
        }
        let (length, rest) = match second & !MASKED {
            EIGHT => {
                let (length, rest) = rest.split_first_chunk()?;
                let length = u64::from_be_bytes(*length);
                (usize::try_from(length).ok().filter(|_| length > u64::from(u16::MAX))?, rest)
            }
            TWO => {
                let (length, rest) = rest.split_first_chunk()?;
                let length = u16::from_be_bytes(*length);
                (Some(usize::from(length)).filter(|_| length >= u16::from(TWO))?, rest)
            }
            length => (usize::from(length), rest),
        };
        let (mask, rest) = rest.split_first_chunk()?;
        let payload = Vec::with_capacity(length.min(ROOM));
        let whole = Whole { is_text: first == TEXT, mask: *mask, payload, left: length };
        (length <= most).then_some((whole, octets.len() - rest.len()))
    }

    /// Takes what is its own of `octets`, and says how many that are.
    pub(super) fn take(&mut self, octets: &[u8]) -> usize {
        let octets = octets.get(..self.left).unwrap_or(octets);
        let begin = self.payload.len();
        self.payload.extend_from_slice(octets);
        unmask(self.payload.get_mut(begin..).unwrap_or_default(), self.mask);
        self.mask.rotate_left(octets.len() % 4);
        self.left -= octets.len();
        octets.len()
    }

    /// Whether all of it is here.
    pub(super) fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// The message; `None` for a text that is not UTF-8.
    pub(super) fn into_message(self) -> Option<Message> {
        Some(match self.is_text {
            true => Message::Text(String::from_utf8(self.payload).ok()?),
            false => Message::Binary(self.payload.into()),
        })
    }
}

/// RFC 6455 §5.3
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u128::from_ne_bytes([a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d]);
    let (pieces, rest) = payload.as_chunks_mut();
    for piece in pieces {
        *piece = (u128::from_ne_bytes(*piece) ^ wide).to_ne_bytes();
    }
    for (octet, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *octet ^= mask;
    }
}

/// Appends a frame that is not masked, whose first octet is `first`.
pub(super) fn write(first: u8, payload: &[u8], into: &mut Vec<u8>) {
    let length = payload.len() as u64;
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length), _) if length < TWO => into.extend_from_slice(&[first, length]),
        (_, Ok(length)) => {
            into.extend_from_slice(&[first, TWO]);
            into.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            into.extend_from_slice(&[first, EIGHT]);
            into.extend_from_slice(&length.to_be_bytes());
        }
    }
    into.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use async_tungstenite::tungstenite::protocol::frame::Frame;
    use async_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn by_library(payload: &[u8], is_text: bool, mask: Option<[u8; 4]>) -> Vec<u8> {
        let kind = if is_text { Data::Text } else { Data::Binary };
        let mut frame = Frame::message(payload.to_vec(), OpCode::Data(kind), true);
        frame.header_mut().mask = mask;
        let mut octets = Vec::new();
        frame.format(&mut octets).expect("room");
        octets
    }

    fn payload() -> impl Strategy<Value = Vec<u8>> {
        let length = prop_oneof![0..300_usize, 65_530..65_540_usize];
        let octets = |(length, seed)| (0..length).map(|n: usize| (n as u8).wrapping_mul(31) ^ seed).collect();
        (length, any::<u8>()).prop_map(octets)
    }

    proptest! {
        #[test]
        fn frames_are_the_librarys(payload in payload(), text: bool, mask: [u8; 4], most in 0..400_usize, cuts: [Index; 3]) {
            let mut written = Vec::new();
            write(if text { TEXT } else { BINARY }, &payload, &mut written);
            prop_assert_eq!(written, by_library(&payload, text, None));

            let mut octets = by_library(&payload, text, Some(mask));
            octets.push(7);
            prop_assert_eq!(Whole::begin(&octets, most).is_some(), payload.len() <= most);
            let (mut whole, head) = Whole::begin(&octets, usize::MAX).expect("it is one frame");
            prop_assert_eq!(head, octets.len() - 1 - payload.len());
            prop_assert!(Whole::begin(&octets[..head - 1], usize::MAX).is_none());
            // It comes in four pieces.
            let mut at = head;
            let mut cuts = cuts.map(|cut| head + cut.index(payload.len() + 1));
            cuts.sort_unstable();
            for cut in cuts.into_iter().chain([octets.len()]) {
                prop_assert!(!whole.is_complete() || at + 1 == octets.len() || cut == at);
                at += whole.take(&octets[at..cut]);
            }
            prop_assert!(whole.is_complete());
            prop_assert_eq!(at, octets.len() - 1);
            let message = match text {
                true => String::from_utf8(payload.clone()).ok().map(Message::Text),
                false => Some(Message::Binary(payload.clone().into())),
            };
            prop_assert_eq!(whole.into_message(), message);
        }

        #[test]
        fn a_head_is_one_or_the_librarys(octets: Vec<u8>) {
            if let Some((whole, head)) = Whole::begin(&octets, usize::MAX) {
                prop_assert!([6, 8, 14].contains(&head) && head <= octets.len());
                prop_assert!(whole.payload.capacity() <= ROOM);
            }
        }
    }

    #[test]
    fn what_is_something_else_is_left() {
        for octets in [
            &b"\x01\x80aaaa"[..],     // a first fragment
            b"\x80\x80aaaa",          // a last one
            b"\x89\x80aaaa",          // a ping
            b"\xC2\x80aaaa",          // RSV1
            b"\x82\x00",              // not masked
            b"\x82\xFE\x00\x7Daaaab", // a length in a longer form than it needs
            b"\x82\xFF\0\0\0\0\0\0\xFF\xFFaaaab",
            b"\x82",
            b"",
        ] {
            assert!(Whole::begin(octets, usize::MAX).is_none(), "{octets:?}");
        }
    }
}
