//! Where one direction of a WebSocket stands, and what of it is control frames: where one of ours fits, and what has to be answered.
//! RFC 6455 §5.5
//!
//! Pure, and sees all octets of that direction, in pieces of any size.

use crate::frame_cursor::FrameCursor;

/// The opcode of a Close. RFC 6455 §5.5.1
const CLOSE: u8 = 0x8;
/// The opcode of a Ping. RFC 6455 §5.5.2
const PING: u8 = 0x9;

/// A cursor in a stream of frames, which remembers a Close.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frames {
    cursor: FrameCursor,
    closed: bool,
}

impl Frames {
    /// Whether the next octet begins a frame.
    pub(super) fn is_between(&self) -> bool {
        self.cursor.is_between()
    }

    /// Whether a Close has begun.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Goes over `octets`.
    pub(super) fn advance(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let count = self.step(octets);
            octets = octets.get(count..).unwrap_or_default();
        }
    }

    /// How many of `octets` belong to the frame that is under way, or begins with them.
    pub(super) fn rest_of_frame(mut self, octets: &[u8]) -> usize {
        self.step(octets)
    }

    /// Goes over the control frames that `octets` begin with, and the rest of the frame under way; how many octets these are.
    /// RFC 6455 §5.5
    pub(super) fn skip_control(&mut self, octets: &[u8]) -> usize {
        let mut count = 0;
        while let Some(rest @ [first, ..]) = octets.get(count..)
            && (!self.is_between() || first & 0x08 != 0)
        {
            count += self.step(rest);
        }
        count
    }

    /// Goes over `octets`; how many of them belong to Pings, which somebody has to answer with as many. RFC 6455 §5.5.3
    pub(super) fn count_pings(&mut self, octets: &[u8]) -> usize {
        let mut rest = octets;
        let mut pings = 0;
        while !rest.is_empty() {
            let count = self.step(rest);
            if self.cursor.opcode() == PING {
                pings += count;
            }
            rest = rest.get(count..).unwrap_or_default();
        }
        pings
    }

    /// Goes over `octets` up to the end of one frame at most; how many they were.
    fn step(&mut self, octets: &[u8]) -> usize {
        self.closed |= self.is_between() && octets.first().is_some_and(|first| first & 0x0f == CLOSE);
        self.cursor.step(octets)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            0..126 => frame.push(mask | length as u8),
            126..65536 => {
                frame.push(mask | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.resize(frame.len() + length + if masked { 4 } else { 0 }, 0x88);
        frame
    }

    proptest! {
        /// In whatever pieces it comes, the cursor is between frames where one ends, and nowhere else.
        #[test]
        fn it_is_between_frames_where_one_ends(
            sizes in prop::collection::vec((prop_oneof![0..130usize, 65_530..65_540usize], any::<bool>()), 1..5),
            cuts in prop::collection::vec(1..70_000usize, 0..20),
        ) {
            let mut octets = Vec::new();
            let mut ends = Vec::new();
            for (length, masked) in sizes {
                octets.extend(frame(2, length, masked));
                ends.push(octets.len());
            }
            let mut frames = Frames::default();
            let mut at = 0usize;
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let to = at.saturating_add(cut).min(octets.len());
                let end = ends.iter().copied().find(|&end| end > at).unwrap_or(octets.len());
                prop_assert_eq!(frames.rest_of_frame(&octets[at..to]), end.min(to) - at);
                frames.advance(&octets[at..to]);
                at = to;
                prop_assert_eq!(frames.is_between(), at == 0 || ends.contains(&at));
            }
            prop_assert!(!frames.is_closed());
        }
    }

    #[test]
    fn a_close_is_seen_and_payload_is_none() {
        let mut frames = Frames::default();
        frames.advance(&frame(2, 300, false));
        assert!(!frames.is_closed(), "its payload is octets that a Close begins with");
        frames.advance(&[0x88]);
        assert!(frames.is_closed() && !frames.is_between());
    }

    #[test]
    fn lengths_of_all_sizes_overflow_nothing() {
        let mut frames = Frames::default();
        frames.advance(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        frames.advance(&[0; 1000]);
        assert!(!frames.is_between());
    }

    #[test]
    fn pings_are_counted_whatever_their_pieces() {
        let octets = [frame(9, 125, true), frame(2, 70_000, true), frame(9, 0, true), frame(10, 9, true)].concat();
        assert_eq!(Frames::default().count_pings(&octets), (6 + 125) + 6);
        let mut frames = Frames::default();
        assert_eq!(octets.iter().map(|&octet| frames.count_pings(&[octet])).sum::<usize>(), (6 + 125) + 6);
    }

    #[test]
    fn control_frames_are_told_from_data() {
        let control = [frame(0x8, 2, false), frame(0xa, 0, false)].concat();
        let skipped = |octets: &[u8]| Frames::default().skip_control(octets);
        assert_eq!(skipped(&control), control.len());
        let and_data = [control.clone(), frame(1, 5, false)].concat();
        assert_eq!(skipped(&and_data), control.len());
        assert_eq!(skipped(&frame(1, 5, false)), 0);
        assert_eq!(skipped(&[]), 0);
        let mut frames = Frames::default();
        assert_eq!(frames.skip_control(&and_data[..3]), 3);
        assert_eq!(frames.skip_control(&and_data[3..]), control.len() - 3, "whatever its payload looks like");
    }
}
