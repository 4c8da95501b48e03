//! The socket as h2 uses it: HTTP/2.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;

use super::{INPUT, LENT, READS, Socket};
use crate::engine::inflow::Want;
use crate::engine::status::Status;

/// Octets gathered at most before they are written: frames are of 16 KiB.
const CORK: usize = 66 * 1024;

impl Socket {
    /// Reads what h2 reads next.
    pub(in crate::engine::io) fn poll_read_frames(
        &mut self,
        status: &Status,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.give_early(buffer.remaining(), |octets| buffer.put_slice(octets)) {
            return Poll::Ready(Ok(()));
        }
        let room = buffer.remaining();
        loop {
            // A fast sender must not hold the thread, whatever h2 does with what it sends.
            if status.reads_so_far() > READS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.inflow.want() == Want::Nothing {
                return Poll::Pending;
            }
            let Socket { inflow, early, io, .. } = self;
            let mut out = |octets: &[u8]| {
                let fits = if early.is_empty() { octets.len().min(buffer.remaining()) } else { 0 };
                buffer.put_slice(&octets[..fits]);
                early.extend_from_slice(&octets[fits..]);
            };
            let read = if !inflow.raw().is_empty() {
                inflow.pass_raw(&mut out);
                Poll::Ready(Ok(1))
            } else if status.has_ended() {
                Poll::Ready(Ok(0))
            } else {
                LENT.with_borrow_mut(|input| {
                    input.resize(INPUT, 0);
                    // No more than h2 has room for: what is read too early would be copied once more.
                    let read = io.poll_read_slice(cx, input.get_mut(..room.min(INPUT)).unwrap_or_default());
                    if let Poll::Ready(Ok(count)) = read {
                        inflow.pass(input.get(..count).unwrap_or_default(), &mut out);
                    }
                    read
                })
            };
            match read {
                Poll::Ready(Ok(count)) if count > 0 => {
                    // h2 looks again before each request that it gives out: what finds nothing does not count.
                    status.reads();
                    status.received(false);
                    if let Some(stream) = self.inflow.fragment() {
                        status.fragment.store(stream, Relaxed);
                    }
                }
                read => return self.no_octets(status, cx, read),
            }
            if buffer.remaining() < room {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// [`poll_write`](Self::poll_write) for h2, with an eye on the frames.
    pub(in crate::engine::io) fn poll_write_frames(
        &mut self,
        status: &Status,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(self.poll_write(status, cx, bytes, CORK))?;
        self.frames.advance(bytes.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    /// Streams that h2 has reset since the last call because their client broke a rule.
    pub(in crate::engine) fn take_malformed(&mut self) -> usize {
        self.frames.take_malformed()
    }

    /// Whether h2 is not in the middle of a frame.
    pub(in crate::engine) fn is_between_frames(&self) -> bool {
        self.frames.is_between()
    }
}
