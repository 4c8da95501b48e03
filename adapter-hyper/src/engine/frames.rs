//! Where the frames of HTTP/2 begin in what h2 writes, so that the engine can say a last word between two. RFC 9113 §4.1
//!
//! No I/O: told of every octet that goes to the socket.

/// A GOAWAY that does not say which streams were served: all of them may have been. RFC 9113 §6.8, §7
pub(super) const ENHANCE_YOUR_CALM: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0x0b];

/// Octets of a frame's head.
pub(super) const HEAD: usize = 9;

/// Follows the frames of one direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Octets of the head under way.
    head: usize,
    length: usize,
    /// Octets of the payload that are to come.
    left: usize,
}

impl Frames {
    /// `octets` were sent.
    pub(super) fn advance(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while let Some((first, after)) = rest.split_first() {
            if self.left > 0 {
                let count = self.left.min(rest.len());
                self.left -= count;
                rest = rest.get(count..).unwrap_or_default();
                continue;
            }
            // Nearly always a head is written in one piece.
            if self.head == 0
                && let Some(([a, b, c, ..], after)) = rest.split_first_chunk::<HEAD>()
            {
                self.left = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
                rest = after;
                continue;
            }
            if self.head < 3 {
                self.length = self.length << 8 | usize::from(*first);
            }
            self.head += 1;
            if self.head == HEAD {
                *self = Frames { left: self.length, ..Frames::default() };
            }
            rest = after;
        }
    }

    /// Whether a frame can begin here.
    pub(super) fn is_between(&self) -> bool {
        self.head == 0 && self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_between_two_frames_is_known_however_they_are_cut() {
        let data = [[0, 0, 3, 0, 1, 0, 0, 0, 1].as_slice(), b"abc"].concat();
        let wire = [ENHANCE_YOUR_CALM.as_slice(), &[0, 0, 0, 4, 1, 0, 0, 0, 0], &data].concat();
        let ends = [0, 17, 26, 38];
        for cut in 0..=wire.len() {
            let mut frames = Frames::default();
            frames.advance(&wire[..cut]);
            assert_eq!(frames.is_between(), ends.contains(&cut), "{cut}");
            frames.advance(&wire[cut..]);
            assert!(frames.is_between());
        }
    }
}
