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
        if self.sent >= BUFFER {
            self.compact();
        }
        &mut self.buffer
    }

    /// Lets go of what was sent: who takes a little at a time may never take all that there is. Not while more is left than that, so
    /// that no octet is moved more than once for each that was sent. \[BOD-16\]
    #[cold]
    fn compact(&mut self) {
        if self.sent >= self.buffer.len() - self.sent {
            self.buffer.drain(..self.sent);
            self.sent = 0;
        }
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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_sent_is_let_go_of_though_there_is_always_more() {
        let (mut output, mut spare) = (Output::default(), Spare::default());
        for _ in 0..2000 {
            while output.gathered() < 2 * BUFFER {
                output.buffer(&mut spare);
                output.append(Bytes::from(vec![0; 1000]), b"");
            }
            output.sent(900);
        }
        assert!(output.buffer.capacity() <= 8 * BUFFER, "{}", output.buffer.capacity());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Fill(usize),
        Consume(usize),
        Unread(usize),
        Settle,
        Clear,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let sizes = || prop_oneof![0_usize..9, Just(BUFFER - 1), Just(BUFFER)];
        let step = prop_oneof![
            4 => sizes().prop_map(Step::Fill),
            4 => sizes().prop_map(Step::Consume),
            1 => (0_usize..9).prop_map(Step::Unread),
            2 => Just(Step::Settle),
            1 => Just(Step::Clear),
        ];
        vec(step, 0..40)
    }

    proptest! {
        #[test]
        fn input_is_a_queue(steps in steps()) {
            let (mut input, mut spare) = (Input::default(), Spare::default());
            let (mut expected, mut most) = (Vec::new(), BUFFER);
            let mut octets = (0_u8..251).cycle();
            for step in steps {
                match step {
                    Step::Fill(count) => {
                        let space = input.space(&mut spare);
                        prop_assert!(!space.is_empty());
                        let count = count.min(space.len());
                        for place in &mut space[..count] {
                            *place = octets.next().unwrap();
                            expected.push(*place);
                        }
                        input.filled(count);
                    }
                    Step::Consume(count) => {
                        input.consume(count);
                        expected.drain(..count.min(expected.len()));
                    }
                    Step::Unread(count) => {
                        let front: Vec<u8> = octets.by_ref().take(count).collect();
                        input.unread(&front);
                        expected.splice(..0, front);
                    }
                    Step::Settle => {
                        input.settle(&mut spare);
                        prop_assert_eq!(input.data.len(), expected.len(), "no more is held than is needed");
                    }
                    Step::Clear => {
                        input.clear();
                        expected.clear();
                    }
                }
                prop_assert_eq!(input.bytes(), &expected);
                prop_assert_eq!((input.len(), input.is_empty()), (expected.len(), expected.is_empty()));
                most = most.max(expected.len());
                prop_assert!(input.data.len() <= 4 * most, "it grows with what is held");
            }
        }

        #[test]
        fn output_comes_in_order(pieces in vec((0_usize..3, any::<bool>(), 0_usize..40_000), 0..12)) {
            let (mut output, mut spare) = (Output::default(), Spare::default());
            let (mut expected, mut written) = (Vec::new(), Vec::new());
            for (n, (kind, tailed, take)) in pieces.into_iter().enumerate() {
                let data = vec![n as u8; [3, COPY, COPY + 1][kind]];
                let tail: &[u8] = if tailed { b"tail" } else { b"" };
                expected.extend([&data[..], tail].concat());
                if kind == 0 {
                    output.buffer(&mut spare).extend([&data[..], tail].concat());
                } else {
                    output.append(data.into(), if tailed { b"tail" } else { b"" });
                }
                let left = expected.len() - written.len();
                let held: Vec<u8> = output.parts().iter().flat_map(|part| part.to_vec()).collect();
                prop_assert_eq!(&held[..], &expected[written.len()..]);
                prop_assert_eq!(output.is_empty(), left == 0);
                // What is behind a large piece is not counted: it is a few octets.
                prop_assert!(output.gathered() <= left && output.gathered() + 4 >= left);
                if let Some(single) = output.single() {
                    prop_assert_eq!(single, &held[..]);
                }
                let count = take.min(left);
                written.extend_from_slice(&held[..count]);
                output.sent(count);
                output.settle(&mut spare);
            }
            let rest: Vec<u8> = output.parts().iter().flat_map(|part| part.to_vec()).collect();
            prop_assert_eq!([written, rest].concat(), expected);
            output.clear();
            prop_assert!(output.is_empty() && output.gathered() == 0 && output.single() == Some(&[]));
        }
    }

    #[test]
    fn empty_buffers_are_lent_on() {
        let mut spare = Spare::default();
        let mut output = Output::default();
        output.buffer(&mut spare).extend_from_slice(&[0; 100]);
        output.settle(&mut spare);
        assert_eq!(spare.output.capacity(), 0, "there is something in it");
        output.sent(100);
        output.settle(&mut spare);
        let capacity = spare.output.capacity();
        assert!(capacity >= 100 && output.buffer.capacity() == 0);
        Output::default().settle(&mut spare);
        assert_eq!(spare.output.capacity(), capacity, "who has none gives none");
        output.buffer(&mut spare).reserve(4 * BUFFER + 1);
        output.settle(&mut spare);
        assert_eq!(spare.output.capacity(), 0, "large ones are not kept");

        let mut input = Input::default();
        input.space(&mut spare);
        input.filled(2);
        input.consume(1);
        input.settle(&mut spare);
        assert_eq!((spare.input.len(), input.data.len()), (BUFFER, 1));
        let place = spare.input.as_ptr();
        assert_eq!(Input::default().space(&mut spare).as_ptr(), place);
    }
}
