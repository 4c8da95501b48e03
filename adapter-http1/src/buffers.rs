//! What has been read and not been used, and what is to be written, of one connection.
//!
//! An idle connection has none of it: full buffers are lent from one connection to the next and go back when they are
//! empty ([`Spare`]).

use std::io::IoSlice;

use bytes::Bytes;

/// Octets of a buffer for reading, and of output gathered for one write.
pub const BUFFER: usize = 32 * 1024;
/// Bodies up to this size are copied behind their head; larger ones go out beside it.
pub const COPY: usize = 16 * 1024;

/// Buffers that nobody uses now.
#[derive(Debug, Default)]
pub struct Spare {
    input: Vec<u8>,
    output: Vec<u8>,
}

/// Octets that were read and not consumed.
#[derive(Debug, Default)]
pub struct Input {
    data: Vec<u8>,
    /// They are `data[start..end]`.
    start: usize,
    end: usize,
}

impl Input {
    /// What there is.
    pub fn bytes(&self) -> &[u8] {
        self.data.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// How much there is.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// The first `count` octets are used.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// All of it is.
    pub fn clear(&mut self) {
        self.start = self.end;
    }

    /// Puts `bytes` in front of what is there.
    pub fn unread(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let data = [bytes, self.bytes()].concat();
            (self.start, self.end) = (0, data.len());
            self.data = data;
        }
    }

    /// Where the next octets are to be read to, at least one: [`BUFFER`], and more behind what is not consumed.
    pub fn space(&mut self, spare: &mut Spare) -> &mut [u8] {
        let length = self.len();
        if self.data.len() < BUFFER {
            let mut data = std::mem::take(&mut spare.input);
            if data.len() != BUFFER {
                data = vec![0; BUFFER];
            }
            if let Some(front) = data.get_mut(..length).filter(|_| length > 0) {
                front.copy_from_slice(self.bytes());
            }
            self.data = data;
            (self.start, self.end) = (0, length);
        } else if self.start > 0 && (length == 0 || self.end == self.data.len()) {
            if length > 0 {
                self.data.copy_within(self.start..self.end, 0);
            }
            (self.start, self.end) = (0, length);
        } else if self.end == self.data.len() {
            self.data.resize(self.data.len() * 2, 0);
        }
        self.data.get_mut(self.end..).unwrap_or_default()
    }

    /// `count` octets were read into the [`space`](Self::space).
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.data.len());
    }

    /// Gives back the buffer, and keeps what is left in one of its size.
    pub fn settle(&mut self, spare: &mut Spare) {
        if self.data.is_empty() {
            return;
        }
        let rest = if self.is_empty() { Vec::new() } else { self.bytes().to_vec() };
        let data = std::mem::replace(&mut self.data, rest);
        (self.start, self.end) = (0, self.data.len());
        if data.len() == BUFFER {
            spare.input = data;
        }
    }
}

/// Octets to be written, in this order: `buffer[sent..]`, `large`, `tail`.
#[derive(Debug, Default)]
pub struct Output {
    buffer: Vec<u8>,
    sent: usize,
    large: Bytes,
    tail: &'static [u8],
}

impl Output {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.sent == self.buffer.len() && self.large.is_empty() && self.tail.is_empty()
    }

    /// How many octets wait.
    pub fn gathered(&self) -> usize {
        self.buffer.len() - self.sent + self.large.len()
    }

    /// The buffer to append to, lent by `spare` if there is none.
    pub fn buffer(&mut self, spare: &mut Spare) -> &mut Vec<u8> {
        if self.buffer.capacity() == 0 {
            self.buffer = std::mem::take(&mut spare.output);
        }
        self.appendable()
    }

    /// The buffer to append to.
    #[inline]
    pub fn appendable(&mut self) -> &mut Vec<u8> {
        if !self.is_one_piece() {
            self.join();
        }
        &mut self.buffer
    }

    /// Whether all of it is in the buffer: most of the time.
    #[inline]
    fn is_one_piece(&self) -> bool {
        self.large.is_empty() && self.tail.is_empty()
    }

    /// Something is added behind a large piece that could not be written.
    #[cold]
    fn join(&mut self) {
        let large = std::mem::take(&mut self.large);
        self.buffer.extend_from_slice(&large);
        self.buffer.extend_from_slice(std::mem::take(&mut self.tail));
    }

    /// Appends `data` and then `tail`: by copying, or beside the buffer if it is large.
    pub fn append(&mut self, data: Bytes, tail: &'static [u8]) {
        let buffer = self.appendable();
        if data.len() <= COPY {
            buffer.extend_from_slice(&data);
            buffer.extend_from_slice(tail);
        } else {
            self.large = data;
            self.tail = tail;
        }
    }

    /// Throws all of it away.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.sent = 0;
        self.large = Bytes::new();
        self.tail = &[];
    }

    /// What is to be written, if it is in one piece: most of the time.
    pub fn single(&self) -> Option<&[u8]> {
        self.is_one_piece().then(|| self.buffer.get(self.sent..).unwrap_or_default())
    }

    /// What is to be written, in pieces.
    pub fn parts(&self) -> [IoSlice<'_>; 3] {
        let head = self.buffer.get(self.sent..).unwrap_or_default();
        [IoSlice::new(head), IoSlice::new(&self.large), IoSlice::new(self.tail)]
    }

    /// The first `count` octets were written.
    #[inline]
    pub fn sent(&mut self, count: usize) {
        if self.is_one_piece() && count >= self.buffer.len() - self.sent {
            self.buffer.clear();
            self.sent = 0;
        } else {
            self.sent_in_part(count);
        }
    }

    #[inline(never)]
    fn sent_in_part(&mut self, count: usize) {
        let from_head = count.min(self.buffer.len() - self.sent);
        self.sent += from_head;
        let left = count - from_head;
        let from_large = left.min(self.large.len());
        if from_large == self.large.len() {
            self.large = Bytes::new();
        } else {
            self.large = self.large.slice(from_large..);
        }
        self.tail = self.tail.get(left - from_large..).unwrap_or_default();
        if self.sent == self.buffer.len() {
            self.buffer.clear();
            self.sent = 0;
        }
    }

    /// Gives back the buffer, if it is empty.
    pub fn settle(&mut self, spare: &mut Spare) {
        if self.buffer.capacity() > 0 && self.buffer.is_empty() {
            let buffer = std::mem::take(&mut self.buffer);
            // One that had to grow beyond a batch is not kept.
            if buffer.capacity() <= 4 * BUFFER {
                spare.output = buffer;
            }
        }
    }
}
