//! What h2 gets to see of the client's octets in HTTP/2: everything as it came, but for three things that h2 0.4 does not see as it
//! should.
//!
//! * A connection that does not begin with SETTINGS (RFC 9113 §3.4): instead of its first frame h2 gets one that is never right, and
//!   nothing after it. So it says GOAWAY, with PROTOCOL_ERROR, and ends. \[MUX-03\]
//! * Trailers with a pseudo-header field (RFC 9113 §8.1, §8.3): h2 gets them as if they did not end their stream, which it answers
//!   with a reset, and reads their block, as the client's table has it. Trailers are held back until that is known. \[MUX-15\]
//! * HEADERS with a priority that depends on its own stream, which RFC 7540 §5.3.1 had as an error, and RFC 9113 §5.3 has not: h2 resets
//!   the stream without a look at the block, and what later ones index is another field then (RFC 9113 §4.3). It gets a priority that
//!   depends on none. \[MUX-11\]
//!
//! And the paths of requests, of which h2 takes a fragment off that has no place there. \[TGT-17b\] RFC 9113 §8.3.1
//!
//! The payload of other frames is not looked at. Frames that are wrong are h2's business: behind
//! one that can't be followed everything goes through, since h2 ends the connection there.

mod fields;

use std::collections::VecDeque;

use self::fields::Table;
use crate::engine::frames::HEAD;

/// RFC 9113 §3.4
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
/// RFC 9113 §4.2: a larger frame ends the connection.
const LARGEST: usize = 16_384;
/// A field block that is kept for the next one to be copied to.
const KEPT: usize = 1024;
/// Streams with fragments that are remembered.
const FRAGMENTS: usize = 256;

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
    /// A head was under way where what came made no sense any more.
    is_cut: bool,
    /// Its octets.
    octets: Vec<u8>,
    /// How many there may be.
    most: usize,
    /// What a head may count, decoded; h2 answers one that counts as much with 431, and tells nobody.
    most_listed: usize,
    /// What came since it was taken.
    heads: Heads,
    /// The last streams, in their order, whose `:path` has a fragment.
    fragments: VecDeque<u32>,
    table: Table,
}

/// Heads of requests that came. \[OBS-07\]
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct Heads {
    /// Those that h2 gives out, if it has nothing against them.
    pub(in crate::engine) whole: usize,
    /// Those that it answers with 431. \[LIM-01\]
    pub(in crate::engine) too_large: usize,
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
    /// It is of trailers.
    is_late: bool,
    /// Its frames, where they are held back: those of trailers, and one with a priority until it is whole.
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
            is_cut: false,
            octets: Vec::new(),
            // h2 ends a connection below that: six frames, or a quarter more than there have to be.
            most: LARGEST * 8 + head_bytes.saturating_mul(2),
            most_listed: head_bytes,
            heads: Heads::default(),
            fragments: VecDeque::new(),
            table: Table::default(),
        }
    }

    /// The heads that came since the last call.
    pub(super) fn take_heads(&mut self) -> Heads {
        std::mem::take(&mut self.heads)
    }

    /// The first stream that is known to have a fragment in its target.
    pub(super) fn first_fragment(&self) -> Option<u32> {
        self.fragments.front().copied()
    }

    /// Whether the target of `stream` has one; h2 gives them out in their order.
    pub(super) fn take_fragment(&mut self, stream: u32) -> bool {
        while let Some(first) = self.fragments.front().copied().filter(|first| *first <= stream) {
            self.fragments.pop_front();
            if first == stream {
                return true;
            }
        }
        false
    }

    /// Whether the octets end within the head of a request, or what came behind it makes no sense.
    pub(super) fn is_in_head(&self) -> bool {
        self.is_cut || self.block.as_ref().is_some_and(|block| !block.is_late)
    }

    /// Whether nothing more goes through.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.at, At::Ended)
    }

    /// Gives h2 what it may have of `input`, through `out`.
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
                At::Payload(left, false) => {
                    out(piece);
                    let left = left - piece.len();
                    self.at = if left == 0 { At::Head } else { At::Payload(left, false) };
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
            self.is_cut = head.kind == HEADERS && head.stream > self.highest;
            return self.lose(&self.head.clone(), out);
        }
        if head.kind == HEADERS {
            let is_late = head.stream <= self.highest;
            self.highest = self.highest.max(head.stream);
            let is_held = is_late || head.flags & PRIORITY != 0;
            self.block = Some(Block { is_late, held: is_held.then(Vec::new) });
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
        if head.kind == HEADERS {
            if !trim(&mut self.octets, head.flags) {
                return self.lose(&[], out);
            }
            if let Some(held) = self.held()
                && head.flags & PRIORITY != 0
            {
                unbind(held, &head);
            }
            self.release_early(out);
        }
        if head.flags & END_HEADERS == 0 {
            // What is beyond that, or of frames without an octet, h2 does not bear either.
            if self.octets.len() > self.most {
                self.lose(&[], out);
            }
            return;
        }
        let Ok(is_pseudo) = self.table.read(&self.octets) else { return self.lose(&[], out) };
        let block = self.block.take();
        if block.as_ref().is_some_and(|block| !block.is_late) {
            if self.table.listed() >= self.most_listed {
                self.heads.too_large += 1;
            } else {
                self.heads.whole += 1;
                if self.table.has_fragment() {
                    // Those that h2 refuses would stay.
                    if self.fragments.len() == FRAGMENTS {
                        self.fragments.pop_front();
                    }
                    self.fragments.push_back(self.highest);
                }
            }
        }
        if let Some(mut held) = block.and_then(|block| block.held) {
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

    /// Gives out the first frame of a block that is not of trailers, if it was held.
    fn release_early(&mut self, out: &mut impl FnMut(&[u8])) {
        if let Some(block) = self.block.as_mut().filter(|block| !block.is_late)
            && let Some(held) = block.held.take()
        {
            out(&held);
        }
    }

    /// What comes from here on makes no sense: it is for h2 to say so.
    #[cold]
    fn lose(&mut self, head: &[u8], out: &mut impl FnMut(&[u8])) {
        self.is_cut = self.is_in_head();
        if let Some(held) = self.block.take().and_then(|block| block.held) {
            out(&held);
        }
        out(head);
        self.octets = Vec::new();
        self.table = Table::default();
        self.at = At::Lost;
    }
}

/// Has the priority in a frame of HEADERS depend on no stream, if it depends on its own.
fn unbind(frame: &mut [u8], head: &Head) {
    let at = HEAD + usize::from(head.flags & PADDED != 0);
    let Some(dependency) = frame.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) else { return };
    let on = u32::from_be_bytes(*dependency);
    // The first bit is another matter. RFC 7540 §6.2
    let exclusive = on & 1 << 31;
    if on == head.stream | exclusive {
        *dependency = exclusive.to_be_bytes();
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
