//! Where one direction of a WebSocket stands: within a frame, or between two. RFC 6455 §5.2
//!
//! Pure, and sees all octets of that direction, in pieces of any size. What a frame is good for is not its business.

/// A cursor in a stream of frames.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrameCursor {
    /// The head of the frame under way, as far as it is known.
    head: [u8; 10],
    known: usize,
    /// Octets of the frame behind those, once its head is whole.
    left: u64,
}

impl FrameCursor {
    /// Whether the next octet begins a frame.
    pub(crate) fn is_between(&self) -> bool {
        self.known == 0 && self.left == 0
    }

    /// The opcode of the frame that is under way, or was last.
    #[cfg(feature = "axum")]
    pub(crate) fn opcode(&self) -> u8 {
        self.head[0] & 0x0f
    }

    /// Goes over `octets` up to the end of one frame at most; how many they were.
    pub(crate) fn step(&mut self, octets: &[u8]) -> usize {
        let mut count = 0;
        if self.left == 0 {
            for &octet in octets {
                count += 1;
                if let Some(slot) = self.head.get_mut(self.known) {
                    *slot = octet;
                }
                self.known += 1;
                if let Some(left) = self.behind_head() {
                    self.known = 0;
                    self.left = left;
                    break;
                }
            }
        }
        let rest = (octets.len() - count) as u64;
        let payload = self.left.min(rest);
        self.left -= payload;
        count + payload as usize
    }

    /// Octets behind the head, once it is whole; the mask of a frame that has one counts among them.
    fn behind_head(&self) -> Option<u64> {
        let [_, second, extended @ ..] = self.head;
        if self.known < 2 {
            return None;
        }
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let length = match (second & 0x7f, extended) {
            (126, [high, low, ..]) if self.known == 4 => u64::from(u16::from_be_bytes([high, low])),
            (127, long) if self.known == 10 => u64::from_be_bytes(long),
            (126 | 127, _) => return None,
            (short, _) => u64::from(short),
        };
        Some(length.saturating_add(mask))
    }
}
