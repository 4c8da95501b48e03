//! The frames of HTTP/2 in what h2 writes: where they begin, so that the engine can say a last word between two, and which streams they
//! reset. RFC 9113 §4.1
//!
//! No I/O: told of every octet that goes to the socket.

/// A GOAWAY that does not say which streams were served: all of them may have been. RFC 9113 §6.8, §7
pub(super) const ENHANCE_YOUR_CALM: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0x0b];

/// Octets of a frame's head.
pub(super) const HEAD: usize = 9;

/// RFC 9113 §6.4: one of them with all of its payload, a code.
const RST_STREAM: u8 = 3;
const RESET: usize = HEAD + 4;
/// RFC 9113 §7
const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];

/// Follows the frames of one direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The head under way, and of a reset its code.
    head: [u8; RESET],
    seen: usize,
    /// Octets of the payload that are to come.
    left: usize,
    /// Streams that were reset for what their client has sent.
    malformed: usize,
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
            if self.seen == 0
                && let Some((&[a, b, c, kind, ..], after)) = rest.split_first_chunk::<HEAD>()
                && kind != RST_STREAM
            {
                self.left = length([a, b, c]);
                rest = after;
                continue;
            }
            self.keep(*first);
            rest = after;
        }
    }

    /// Takes one more octet of a head that is looked at by itself.
    #[cold]
    fn keep(&mut self, octet: u8) {
        if let Some(place) = self.head.get_mut(self.seen) {
            *place = octet;
        }
        self.seen += 1;
        let [a, b, c, kind, _, _, _, _, _, code @ ..] = self.head;
        match self.seen {
            HEAD if kind != RST_STREAM => (self.seen, self.left) = (0, length([a, b, c])),
            RESET => {
                self.seen = 0;
                self.malformed += usize::from(code == PROTOCOL_ERROR);
            }
            _ => {}
        }
    }

    /// Whether a frame can begin here.
    pub(super) fn is_between(&self) -> bool {
        self.seen == 0 && self.left == 0
    }

    /// Streams that h2 has reset since the last call because their client broke a rule: nobody else says so. RFC 9113 §8.1.1
    pub(super) fn take_malformed(&mut self) -> usize {
        std::mem::take(&mut self.malformed)
    }
}

fn length([a, b, c]: [u8; 3]) -> usize {
    usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
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

    #[test]
    fn resets_for_what_came_are_counted_however_they_are_cut() {
        let reset = |code| [0, 0, 4, RST_STREAM, 0, 0, 0, 0, 1, 0, 0, 0, code];
        let ping = [[0, 0, 8, 6, 0, 0, 0, 0, 0].as_slice(), &reset(1)[..8]].concat();
        let wire = [&reset(1)[..], &reset(8), &ping, &reset(1), &ping].concat();
        for cut in 0..=wire.len() {
            let mut frames = Frames::default();
            frames.advance(&wire[..cut]);
            frames.advance(&wire[cut..]);
            assert!(frames.is_between());
            assert_eq!((frames.take_malformed(), frames.take_malformed()), (2, 0), "{cut}");
        }
    }
}
