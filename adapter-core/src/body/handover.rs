//! From a thread that blocks to a task that polls: the queue of an offloaded body.
//!
//! The blocking thread puts frames in and waits while [`AHEAD`] bytes are queued; the connection's task takes them out
//! and sends them meanwhile, whatever the next frame takes (\[BOD-04\], the second of PEP 3333's choices). It is bounded
//! by bytes, not by frames: handing over one small frame at a time costs two thread switches each (58 MB/s for chunks
//! of 1 KiB, measured), and the same number of large ones would hold megabytes. \[BOD-15\], \[BOD-16\]

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};

use crate::error::Error;

/// Bytes that may wait for the connection. One frame more may: the one that crosses the mark.
const AHEAD: usize = 64 * 1024;
/// Frames below this size are joined, up to [`JOINED`] bytes: each frame costs its own framing and bookkeeping.
const SMALL: usize = 4 * 1024;
const JOINED: usize = 16 * 1024;

type Message = Result<Frame<Bytes>, Error>;

/// A queue for a body of `length` bytes, if that is known.
pub(super) fn handover(length: Option<u64>) -> (Giver, Taker) {
    let shared = Arc::new(Shared { state: Mutex::default(), room: Condvar::new() });
    (Giver { shared: shared.clone(), ended: false }, Taker { shared, remaining: length })
}

struct Shared {
    state: Mutex<State>,
    /// The giver waits here.
    room: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Message>,
    bytes: usize,
    /// Nothing more is given.
    ended: bool,
    /// A frame has been asked for.
    wanted: bool,
    /// Nothing more is taken.
    unwanted: bool,
    giver_waits: bool,
    taker: Option<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, message: Option<Message>) {
        let mut state = self.lock();
        match message {
            Some(message) => {
                state.bytes += size(&message);
                state.queue.push_back(message);
            }
            None => state.ended = true,
        }
        let taker = state.taker.take();
        drop(state);
        if let Some(taker) = taker {
            taker.wake();
        }
    }
}

fn size(message: &Message) -> usize {
    message.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len)
}

/// The blocking thread's end. Dropped without [`end`](Self::end), it breaks the body off.
pub(super) struct Giver {
    shared: Arc<Shared>,
    ended: bool,
}

impl Giver {
    /// Puts a frame into the queue, waiting while it is full. `false` if nobody wants it any more. Blocks.
    pub(super) fn give(&self, message: Message) -> bool {
        let mut state = self.shared.lock();
        while state.bytes >= AHEAD && !state.unwanted {
            state.giver_waits = true;
            state = self.shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.unwanted {
            return false;
        }
        drop(state);
        self.shared.give(Some(message));
        true
    }

    /// Waits for the first poll of the other end; `false` if it is dropped unpolled. Blocks.
    pub(super) fn wait_until_wanted(&self) -> bool {
        let mut state = self.shared.lock();
        while !state.wanted && !state.unwanted {
            state.giver_waits = true;
            state = self.shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.unwanted
    }

    /// The body has ended as it should.
    pub(super) fn end(mut self) {
        self.ended = true;
        self.shared.give(None);
    }
}

impl Drop for Giver {
    fn drop(&mut self) {
        // A job that was dropped unrun, or by a panic, must not look like the end of the body. [BOD-14]
        if !self.ended {
            self.shared.give(Some(Err(Error::new("what fed the body stopped before its end"))));
            self.shared.give(None);
        }
    }
}

/// The connection's end, as a body.
pub(super) struct Taker {
    shared: Arc<Shared>,
    remaining: Option<u64>,
}

impl http_body::Body for Taker {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let mut state = self.shared.lock();
        let Some(first) = state.queue.pop_front() else {
            if state.ended {
                return Poll::Ready(None);
            }
            state.taker = Some(cx.waker().clone());
            if !std::mem::replace(&mut state.wanted, true) && std::mem::take(&mut state.giver_waits) {
                drop(state);
                self.shared.room.notify_one();
            }
            return Poll::Pending;
        };
        let next = join(first, &mut state.queue);
        state.bytes -= size(&next);
        // Not at the first free byte: the giver would be woken for every frame.
        let wake = state.giver_waits && state.bytes <= AHEAD / 2;
        if wake {
            state.giver_waits = false;
        }
        drop(state);
        if wake {
            self.shared.room.notify_one();
        }
        let count = size(&next) as u64;
        self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(count));
        Poll::Ready(Some(next))
    }

    fn is_end_stream(&self) -> bool {
        // What is given beyond a known length is not taken, and trailers go beside it.
        self.remaining == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

/// `first`, with the small frames behind it.
fn join(first: Message, queue: &mut VecDeque<Message>) -> Message {
    let is_small =
        |message: &Message| message.as_ref().ok().and_then(Frame::data_ref).is_some_and(|data| data.len() < SMALL);
    if !is_small(&first) || !queue.front().is_some_and(is_small) {
        return first;
    }
    let Ok(Ok(data)) = first.map(Frame::into_data) else { unreachable!("only data is small") };
    let mut joined = BytesMut::with_capacity(JOINED);
    joined.extend_from_slice(&data);
    while let Some(Ok(next)) = queue.front()
        && let Some(data) = next.data_ref()
        && data.len() < SMALL
        && joined.len() + data.len() <= JOINED
    {
        joined.extend_from_slice(data);
        queue.pop_front();
    }
    Ok(Frame::data(joined.freeze()))
}

impl Drop for Taker {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.unwanted = true;
        let left = std::mem::take(&mut state.queue);
        drop(state);
        self.shared.room.notify_one();
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::thread;

    use http_body::Body as _;

    use super::*;

    fn next(taker: &mut Taker) -> Option<Message> {
        futures_lite::future::block_on(poll_fn(|cx| Pin::new(&mut *taker).poll_frame(cx)))
    }

    #[test]
    fn keeps_order_across_threads_and_ends() {
        let (giver, mut taker) = handover(None);
        let thread = thread::spawn(move || {
            for n in 0..100_000_u32 {
                assert!(giver.give(Ok(Frame::data(Bytes::copy_from_slice(&n.to_be_bytes())))));
            }
            giver.end();
        });
        let mut seen = Vec::new();
        while let Some(message) = next(&mut taker) {
            seen.extend_from_slice(&message.unwrap().into_data().unwrap());
        }
        thread.join().unwrap();
        let expected: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
        assert!(seen == expected);
    }

    #[test]
    fn a_giver_that_is_dropped_breaks_the_body_off_after_what_it_gave() {
        let (giver, mut taker) = handover(Some(9));
        giver.give(Ok(Frame::data(Bytes::from_static(b"abc"))));
        drop(giver);
        assert_eq!(next(&mut taker).unwrap().unwrap().into_data().unwrap(), "abc");
        assert_eq!(taker.size_hint().exact(), Some(6));
        assert!(next(&mut taker).unwrap().is_err());
        assert!(next(&mut taker).is_none());
    }

    #[test]
    fn a_taker_that_is_dropped_frees_a_waiting_giver() {
        let (giver, mut taker) = handover(None);
        let thread = thread::spawn(move || {
            let mut given = 0;
            while giver.give(Ok(Frame::data(Bytes::from_static(&[0; 8192])))) {
                given += 1;
            }
            given
        });
        next(&mut taker);
        drop(taker);
        assert!(thread.join().unwrap() >= 1);
    }
}
