//! What hyper gets to see of the client's octets in HTTP/2: everything as it came, but for two things that h2 0.4 lets pass.
//!
//! * A connection that does not begin with SETTINGS (RFC 9113 §3.4): instead of its first frame h2 gets one that is never right, and
//!   nothing after it. So it says GOAWAY, with PROTOCOL_ERROR, and ends. \[MUX-03\]
//! * Trailers with a pseudo-header field (RFC 9113 §8.1, §8.3): h2 gets them as if they did not end their stream, which it answers
//!   with a reset, and reads their block, as the client's table has it. Trailers are held back until that is known. \[MUX-15\]
//!
//! The payload of other frames is not looked at, and may be read straight to hyper. Frames that are wrong are h2's business: behind
//! one that can't be followed everything goes through, since h2 ends the connection there.

mod fields;

use self::fields::Table;
use crate::engine::frames::HEAD;

/// RFC 9113 §3.4
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
/// RFC 9113 §4.2: a larger frame ends the connection.
const LARGEST: usize = 16_384;
/// A field block that is kept for the next one to be copied to.
const KEPT: usize = 1024;

/// Types of frames, and flags. RFC 9113 §6
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// SETTINGS on a stream. RFC 9113 §6.5
const NEVER_RIGHT: [u8; HEAD] = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 1];

/// Follows what the client sends.
#[derive(Debug)]
pub(super) struct Arriving {
    at: At,
    /// The head of the frame under way, as far as it is here.
    head: [u8; HEAD],
    seen: usize,
    /// Nothing but the preface has come.
    is_first: bool,
    /// The greatest stream on which something has begun.
    highest: u32,
    /// The field block under way.
    block: Option<Block>,
    /// Its octets.
    octets: Vec<u8>,
    /// How many there may be.
    most: usize,
    table: Table,
}

#[derive(Clone, Copy, Debug)]
enum At {
    /// So much of the preface is to come.
    Preface(usize),
    Head,
    /// So much of a payload is to come, of a field block or not.
    Payload(usize, bool),
    /// Everything goes through.
    Lost,
    /// Nothing goes through.
    Ended,
}

/// A field block under way.
#[derive(Debug)]
struct Block {
    /// Its frames, where they are held back: those of trailers.
    held: Option<Vec<u8>>,
}

/// The head of a frame. RFC 9113 §4.1
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn read(octets: [u8; HEAD]) -> Self {
        let [a, b, c, kind, flags, d, e, f, g] = octets;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        Head { length, kind, flags, stream: u32::from_be_bytes([d & 0x7f, e, f, g]) }
    }
}

impl Arriving {
    /// At the beginning of a connection on which heads of `head_bytes` are allowed.
    pub(super) fn new(head_bytes: usize) -> Self {
        Arriving {
            at: At::Preface(PREFACE),
            head: [0; HEAD],
            seen: 0,
            is_first: true,
            highest: 0,
            block: None,
            octets: Vec::new(),
            // h2 ends a connection below that: six frames, or a quarter more than there have to be.
            most: LARGEST * 8 + head_bytes.saturating_mul(2),
            table: Table::default(),
        }
    }

    /// How many octets go through without a look at them.
    pub(super) fn unseen(&self) -> u64 {
        match self.at {
            At::Payload(left, false) => left as u64,
            At::Lost => u64::MAX,
            _ => 0,
        }
    }

    /// Whether nothing more goes through.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.at, At::Ended)
    }

    /// That many went straight to hyper.
    pub(super) fn passed(&mut self, count: usize) {
        if let At::Payload(left, false) = self.at {
            self.at = match left.saturating_sub(count) {
                0 => At::Head,
                left => At::Payload(left, false),
            };
        }
    }

    /// Gives hyper what it may have of `input`, through `out`.
    pub(super) fn pass(&mut self, mut input: &[u8], out: &mut impl FnMut(&[u8])) {
        while !input.is_empty() {
            let wanted = match self.at {
                At::Preface(left) | At::Payload(left, _) => left,
                At::Head => HEAD - self.seen,
                At::Lost => input.len(),
                At::Ended => return,
            };
            let (piece, rest) = input.split_at(wanted.min(input.len()));
            input = rest;
            match self.at {
                At::Preface(left) => {
                    out(piece);
                    let left = left - piece.len();
                    self.at = if left == 0 { At::Head } else { At::Preface(left) };
                }
                At::Head => {
                    if let Some(to) = self.head.get_mut(self.seen..self.seen + piece.len()) {
                        to.copy_from_slice(piece);
                    }
                    self.seen += piece.len();
                    if self.seen == HEAD {
                        self.seen = 0;
                        self.begin(out);
                    }
                }
                At::Payload(_, false) => {
                    out(piece);
                    self.passed(piece.len());
                }
                At::Payload(left, true) => {
                    self.octets.extend_from_slice(piece);
                    match self.held() {
                        Some(held) => held.extend_from_slice(piece),
                        None => out(piece),
                    }
                    self.at = At::Payload(left - piece.len(), true);
                    if left == piece.len() {
                        self.end_of_piece(out);
                    }
                }
                At::Lost => out(piece),
                At::Ended => {}
            }
        }
    }

    fn held(&mut self) -> Option<&mut Vec<u8>> {
        self.block.as_mut()?.held.as_mut()
    }

    /// The head of a frame is here.
    fn begin(&mut self, out: &mut impl FnMut(&[u8])) {
        let head = Head::read(self.head);
        if std::mem::take(&mut self.is_first) && (head.kind != SETTINGS || head.flags & ACK != 0) {
            out(&NEVER_RIGHT);
            self.at = At::Ended;
            return;
        }
        let is_of_block = match head.kind {
            HEADERS => self.block.is_none(),
            CONTINUATION => self.block.is_some(),
            _ => false,
        };
        // RFC 9113 §4.2, §6.10
        if head.length > LARGEST || (!is_of_block && (self.block.is_some() || head.kind == CONTINUATION)) {
            return self.lose(&self.head.clone(), out);
        }
        if head.kind == HEADERS {
            let is_late = head.stream <= self.highest;
            self.highest = self.highest.max(head.stream);
            self.block = Some(Block { held: is_late.then(Vec::new) });
        }
        let octets = self.head;
        match self.held() {
            Some(held) => held.extend_from_slice(&octets),
            None => out(&octets),
        }
        self.at = At::Payload(head.length, is_of_block);
        match head.length {
            0 if is_of_block => self.end_of_piece(out),
            0 => self.at = At::Head,
            _ => {}
        }
    }

    /// A frame of the field block is whole.
    fn end_of_piece(&mut self, out: &mut impl FnMut(&[u8])) {
        self.at = At::Head;
        let head = Head::read(self.head);
        if head.kind == HEADERS && !trim(&mut self.octets, head.flags) {
            return self.lose(&[], out);
        }
        if head.flags & END_HEADERS == 0 {
            // What is beyond that, or of frames without an octet, h2 does not bear either.
            if self.octets.len() > self.most {
                self.lose(&[], out);
            }
            return;
        }
        let Ok(is_pseudo) = self.table.read(&self.octets) else { return self.lose(&[], out) };
        if let Some(mut held) = self.block.take().and_then(|block| block.held) {
            if is_pseudo && let Some(flags) = held.get_mut(4) {
                *flags &= !END_STREAM;
            }
            out(&held);
        }
        self.octets.clear();
        if self.octets.capacity() > KEPT {
            self.octets = Vec::new();
        }
    }

    /// What comes from here on makes no sense: it is for h2 to say so.
    #[cold]
    fn lose(&mut self, head: &[u8], out: &mut impl FnMut(&[u8])) {
        if let Some(held) = self.block.take().and_then(|block| block.held) {
            out(&held);
        }
        out(head);
        self.octets = Vec::new();
        self.table = Table::default();
        self.at = At::Lost;
    }
}

/// Takes padding and priority off the payload of HEADERS. `false`: it is too short for them. RFC 9113 §6.2
fn trim(payload: &mut Vec<u8>, flags: u8) -> bool {
    let is_padded = flags & PADDED != 0;
    let padding = if is_padded { payload.first().copied() } else { Some(0) };
    let front = usize::from(is_padded) + if flags & PRIORITY != 0 { 5 } else { 0 };
    let Some(end) = padding.and_then(|padding| payload.len().checked_sub(usize::from(padding))) else { return false };
    if end < front {
        return false;
    }
    payload.truncate(end);
    payload.drain(..front);
    true
}

#[cfg(test)]
mod tests;
