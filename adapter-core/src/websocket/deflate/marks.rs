//! Which messages that come are compressed: known of each by its first frame, below the library, which takes no reserved bit.
//!
//! RSV1 is taken off the first frame of a data message, and a text becomes a binary message, so that the library does not look for
//! UTF-8 in what is compressed. On frames of other kinds RSV1 stays, and is refused. RFC 7692 §6, §7.2.2

use std::collections::VecDeque;

use super::offer::Agreed;
use crate::frame_cursor::FrameCursor;

const RSV1: u8 = 0x40;
const OPCODE: u8 = 0x0f;
/// RFC 6455 §5.2
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;

/// How the payload of a message is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Plain,
    Compressed { is_text: bool },
}

/// The marks of the messages that have begun and were not taken from the library. It reads no further than to the end of a
/// frame and one read, so these are not many.
#[derive(Debug)]
pub(in super::super) struct Marks {
    cursor: FrameCursor,
    begun: VecDeque<Mark>,
}

impl Marks {
    /// Where compression was agreed on.
    pub(in super::super) fn new(_agreed: &Agreed) -> Self {
        Marks { cursor: FrameCursor::default(), begun: VecDeque::new() }
    }

    /// Goes over octets that have come.
    pub(in super::super) fn pass(&mut self, mut octets: &mut [u8]) {
        while let Some(first) = octets.first_mut() {
            if self.cursor.is_between() {
                self.begin(first);
            }
            let count = self.cursor.step(octets);
            octets = octets.get_mut(count..).unwrap_or_default();
        }
    }

    fn begin(&mut self, first: &mut u8) {
        let opcode = *first & OPCODE;
        if !matches!(opcode, TEXT | BINARY) {
            return;
        }
        self.begun.push_back(match *first & RSV1 {
            0 => Mark::Plain,
            _ => {
                *first = (*first & !(RSV1 | OPCODE)) | BINARY;
                Mark::Compressed { is_text: opcode == TEXT }
            }
        });
    }

    /// The next message was given out by the library. Whether it is a text, if it is compressed.
    pub(in super::super) fn take_compressed(&mut self) -> Option<bool> {
        match self.begun.pop_front()? {
            Mark::Plain => None,
            Mark::Compressed { is_text } => Some(is_text),
        }
    }
}
