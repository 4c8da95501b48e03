//! The stream under the library: reads ahead of it, counts what goes through, holds a fast sender up after a turn's reads,
//! and marks what is compressed.
//!
//! It is read into a buffer that the thread lends for a turn, so that one call fetches many messages and a connection holds
//! nothing of it while it waits. What the library has not asked for at the end of a turn is kept, in as much room as it needs.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};

use super::deflate::Marks;
use crate::upgrade::Upgraded;

/// Octets read at once.
const ROOM: usize = 16 * 1024;
/// Reads in one turn; a fast sender must not hold the thread.
const READS: usize = 8;

thread_local! {
    /// What the thread lends: empty, or of [`ROOM`].
    static LENT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

pub(super) struct Meter {
    stream: Upgraded,
    /// Octets read, and handed over, since the beginning.
    read: u64,
    written: u64,
    reads_left: usize,
    /// Octets that the library has not asked for are those of `buffer` from `begin` to `end`.
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    /// `None` where compression was not agreed on.
    marks: Option<Marks>,
}

impl Meter {
    pub(super) fn new(stream: Upgraded, marks: Option<Marks>) -> Self {
        Meter { stream, read: 0, written: 0, reads_left: READS, buffer: Vec::new(), begin: 0, end: 0, marks }
    }

    pub(super) fn into_inner(self) -> Upgraded {
        self.stream
    }

    /// Octets read since the beginning.
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// Those of them that the library has got.
    pub(super) fn passed(&self) -> u64 {
        self.read - (self.end - self.begin) as u64
    }

    /// Octets handed over since the beginning.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Reads may be done again until the turn is over.
    pub(super) fn begin_turn(&mut self) {
        self.reads_left = READS;
    }

    /// Whether the library's last message, if it is compressed, is a text.
    pub(super) fn take_compressed(&mut self) -> Option<bool> {
        self.marks.as_mut()?.take_compressed()
    }

    /// Looks for octets, unless some are left: `false` is the end of the stream. Pending, with a wake-up on its way, also at the
    /// end of the turn. To be followed by [`Self::give_back`].
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.begin < self.end {
            return Poll::Ready(Ok(true));
        }
        if self.reads_left == 0 {
            // There may be more; the others get a turn first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.buffer.len() < ROOM {
            self.buffer = LENT.take();
            self.buffer.resize(ROOM, 0);
        }
        let count = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut self.buffer))?;
        self.reads_left -= 1;
        self.read += count as u64;
        (self.begin, self.end) = (0, count);
        Poll::Ready(Ok(count > 0))
    }

    /// Gives the thread its buffer back, and keeps what is left in it.
    pub(super) fn give_back(&mut self) {
        if self.buffer.len() == ROOM {
            let left = self.buffer.get(self.begin..self.end).unwrap_or_default().to_vec();
            (self.begin, self.end) = (0, left.len());
            LENT.set(std::mem::replace(&mut self.buffer, left));
        }
    }

    /// Reads to the end of the stream, and heeds nothing.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let end = loop {
            self.begin = self.end;
            match self.poll_fill(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(_) => break Poll::Ready(()),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.give_back();
        end
    }
}

impl AsyncRead for Meter {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if !ready!(this.poll_fill(cx))? {
            return Poll::Ready(Ok(0));
        }
        let count = room.len().min(this.end - this.begin);
        let (from, to) = (this.buffer.get(this.begin..this.begin + count), room.get_mut(..count));
        if let (Some(from), Some(to)) = (from, to) {
            to.copy_from_slice(from);
            if let Some(marks) = &mut this.marks {
                marks.pass(to);
            }
        }
        this.begin += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Meter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, octets))?;
        self.written += count as u64;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
