//! The stream under the library: reads ahead of it, gathers what it writes, counts what goes through, holds a fast sender up after a
//! turn's reads, and marks what is compressed. Messages that are one frame go past the library (`whole`).
//!
//! Both ways there are buffers that the thread lends for a turn, so that one call fetches many messages and a connection holds
//! nothing of them while it waits. What nobody has asked for at the end of a turn is kept, in as much room as it needs.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};

use super::deflate::Marks;
use crate::upgrade::Upgraded;

/// Octets read at once, and of the largest buffer that is lent for what is written.
const ROOM: usize = 16 * 1024;
/// Reads in one turn; a fast sender must not hold the thread.
const READS: usize = 8;

thread_local! {
    /// What the thread lends: empty, or of [`ROOM`].
    static LENT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// The same for what is written: empty.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
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
    /// Octets to be handed over, behind `sent` that are.
    output: Vec<u8>,
    sent: usize,
    /// What was handed over is not flushed.
    is_unflushed: bool,
    /// `None` where compression was not agreed on.
    marks: Option<Box<Marks>>,
}

impl Meter {
    pub(super) fn new(stream: Upgraded, marks: Option<Marks>) -> Self {
        Meter {
            stream,
            read: 0,
            written: 0,
            reads_left: READS,
            buffer: Vec::new(),
            begin: 0,
            end: 0,
            output: Vec::new(),
            sent: 0,
            is_unflushed: false,
            marks: marks.map(Box::new),
        }
    }

    pub(super) fn into_inner(self) -> Upgraded {
        self.stream
    }

    /// Octets read since the beginning.
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// Those of them that the library has got, or who [consumes](Self::consume) them.
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

    /// What has been read for the library; none where it goes with the marks of what is compressed.
    pub(super) fn available(&self) -> &[u8] {
        if self.marks.is_some() {
            return &[];
        }
        self.buffer.get(self.begin..self.end).unwrap_or_default()
    }

    /// The first `count` octets of that are taken, by somebody else.
    pub(super) fn consume(&mut self, count: usize) {
        self.begin = (self.begin + count).min(self.end);
    }

    /// Whether something is to be handed over, or flushed.
    pub(super) fn is_unflushed(&self) -> bool {
        self.is_unflushed || !self.output.is_empty()
    }

    /// Where frames are written to, behind what is there. To be followed by a flush.
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        if self.output.capacity() == 0 {
            self.output = SPARE.take();
        } else if self.sent > self.output.len() / 2 {
            // A peer that never takes all of it must not make it grow.
            self.output.drain(..self.sent);
            self.sent = 0;
        }
        &mut self.output
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
    /// Gathers it: who queues looks what waits.
    fn poll_write(mut self: Pin<&mut Self>, _cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.output().extend_from_slice(octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while let Some(octets) = this.output.get(this.sent..).filter(|octets| !octets.is_empty()) {
            let count = ready!(Pin::new(&mut this.stream).poll_write(cx, octets))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            this.is_unflushed = true;
            this.sent += count;
            this.written += count as u64;
        }
        if this.output.capacity() > 0 {
            let mut output = std::mem::take(&mut this.output);
            output.clear();
            this.sent = 0;
            if output.capacity() <= ROOM {
                SPARE.set(output);
            }
        }
        if this.is_unflushed {
            ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
            this.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Wake, Waker};

    use futures_lite::AsyncWriteExt as _;
    use futures_lite::future::block_on;

    use super::*;
    use crate::testing::{Pipe, pipe};
    use crate::upgrade::Tether;

    struct Setup {
        meter: Meter,
        client: Pipe,
        _tether: Tether,
    }

    fn open() -> Setup {
        let (server, client) = pipe(1 << 20);
        let (stream, _tether) = Upgraded::new(server, "");
        Setup { meter: Meter::new(stream, None), client, _tether }
    }

    /// One call of the library for at most `most` octets, in a turn of its own.
    fn take(meter: &mut Meter, most: usize) -> Option<Vec<u8>> {
        let mut room = vec![0; most];
        meter.begin_turn();
        let polled = Pin::new(&mut *meter).poll_read(&mut Context::from_waker(Waker::noop()), &mut room);
        meter.give_back();
        match polled {
            Poll::Ready(count) => Some(room[..count.unwrap()].to_vec()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_read_fetches_what_is_there_and_what_is_left_is_all_that_is_kept() {
        let Setup { mut meter, mut client, _tether } = open();
        let octets: Vec<u8> = (0..ROOM + 100).map(|n| n as u8).collect();
        block_on(client.write_all(&octets)).unwrap();
        assert_eq!(take(&mut meter, 10), Some(octets[..10].to_vec()));
        assert_eq!((meter.read(), meter.passed(), meter.buffer.len()), (ROOM as u64, 10, ROOM - 10));
        assert_eq!(take(&mut meter, ROOM), Some(octets[10..ROOM].to_vec()), "what it has, without a read");
        assert_eq!(take(&mut meter, ROOM), Some(octets[ROOM..].to_vec()));
        assert_eq!((meter.read(), meter.passed()), (octets.len() as u64, octets.len() as u64));
        assert_eq!(take(&mut meter, ROOM), None);
        assert_eq!(meter.buffer.capacity(), 0, "who waits has nothing");
        drop(client);
        assert_eq!(take(&mut meter, ROOM), Some(vec![]));
        assert_eq!(take(&mut meter, ROOM), Some(vec![]), "the end is told again");
    }

    #[test]
    fn a_fast_sender_is_read_for_one_turn() {
        let Setup { mut meter, mut client, _tether } = open();
        block_on(client.write_all(&vec![1; (READS + 1) * ROOM])).unwrap();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        while Pin::new(&mut meter).poll_read(&mut Context::from_waker(&waker), &mut [0; ROOM]).is_ready() {}
        assert_eq!(meter.read(), (READS * ROOM) as u64);
        assert!(woken.0.load(Ordering::SeqCst), "it goes on by itself");
        assert_eq!(take(&mut meter, ROOM), Some(vec![1; ROOM]));
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}
