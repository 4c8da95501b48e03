//! From a thread that blocks to a task that polls: the queue of an offloaded body.
//!
//! The blocking thread puts frames in until [`AHEAD`] bytes are queued; the connection's task takes them out and sends them
//! meanwhile, whatever the next frame takes (\[BOD-04\], the second of PEP 3333's choices). It is bounded by bytes, not by
//! frames: handing over one small frame at a time costs two thread switches each (58 MB/s for chunks of 1 KiB, measured),
//! and the same number of large ones would hold megabytes. \[BOD-15\], \[BOD-16\]
//!
//! No thread waits for a client: a queue that stays full for more than [`BRIEF`] gives the thread back. What feeds it is
//! [parked](Giver::park) in the queue, and goes on by a job of its own when half of the queue is sent. \[CON-11\]

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};

use crate::error::Error;
use crate::runtime::{BlockingJob, Runtime};
use crate::sync::{Condvar, Mutex, MutexGuard, now};

/// Bytes that may wait for the connection. One frame more may: the one that crosses the mark.
const AHEAD: usize = 64 * 1024;
/// Frames below this size are joined, up to [`JOINED`] bytes: each frame costs its own framing and bookkeeping.
const SMALL: usize = 4 * 1024;
const JOINED: usize = 16 * 1024;
/// How long a thread waits for the connection at once: many times what a client that keeps up takes for half of the queue, as
/// waiting for that is cheaper than a job. A shorter one costs more: it comes before the next tick of the system's clock, which
/// is then set for each wait (10 µs, measured).
const BRIEF: Duration = Duration::from_millis(5);
/// How long it waits in all. Then it goes to whoever is next in the line.
const PATIENCE: Duration = Duration::from_millis(10);

pub(super) type Message = Result<Frame<Bytes>, Error>;

/// What feeds the queue, without its thread. Dropped where it may block.
pub(super) trait Feeder: Send + Sized + 'static {
    /// Feeds on, by `giver`. Blocks.
    fn go_on(self, giver: Giver<Self>);

    /// Nobody wants more. Blocks as the application's drop does.
    fn let_go(self);
}

/// A queue for a body of `length` bytes, if that is known. What was parked goes on by `runtime`.
pub(super) fn handover<F: Feeder>(length: Option<u64>, runtime: &Runtime) -> (Giver<F>, Taker<F>) {
    let shared = Arc::new(Shared { state: Mutex::new(State::default()), room: Condvar::new() });
    let giver = Giver { shared: shared.clone(), over: false, patience: PATIENCE };
    (giver, Taker { shared, remaining: length, runtime: runtime.clone() })
}

struct Shared<F> {
    state: Mutex<State<F>>,
    /// The giver waits here.
    room: Condvar,
}

struct State<F> {
    queue: VecDeque<Message>,
    bytes: usize,
    /// Nothing more is given.
    ended: bool,
    /// A frame has been asked for.
    wanted: bool,
    /// Nothing more is taken.
    unwanted: bool,
    giver_waits: bool,
    /// What has no thread, and since when.
    parked: Option<(F, Instant)>,
    /// A job is in line that goes on with it.
    called: bool,
    taker: Option<Waker>,
}

impl<F> Default for State<F> {
    fn default() -> Self {
        State {
            queue: VecDeque::new(),
            bytes: 0,
            ended: false,
            wanted: false,
            unwanted: false,
            giver_waits: false,
            parked: None,
            called: false,
            taker: None,
        }
    }
}

impl<F> State<F> {
    fn is_full(&self) -> bool {
        self.bytes >= AHEAD
    }

    /// The giver has something to do: to give, or to let go.
    fn is_for_giver(&self) -> bool {
        self.unwanted || (self.wanted && !self.is_full())
    }
}

impl<F> Shared<F> {
    fn lock(&self) -> MutexGuard<'_, State<F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits a little, while `waits` says so and somebody may want more, if there is `patience`, which becomes less by that.
fn wait<'a, F>(
    shared: &'a Shared<F>,
    mut state: MutexGuard<'a, State<F>>,
    patience: &mut Duration,
    waits: fn(&State<F>) -> bool,
) -> MutexGuard<'a, State<F>> {
    if patience.is_zero() || state.unwanted || !waits(&state) {
        return state;
    }
    state.giver_waits = true;
    let since = now();
    loop {
        state = shared.room.wait_timeout(state, BRIEF).unwrap_or_else(PoisonError::into_inner).0;
        let waited = now().saturating_duration_since(since);
        if waited >= BRIEF || state.unwanted || !waits(&state) {
            state.giver_waits = false;
            *patience = patience.saturating_sub(waited);
            return state;
        }
    }
}

/// Puts `message`, or the end, into the queue of `state`.
fn put<F>(mut state: MutexGuard<'_, State<F>>, message: Option<Message>) {
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

fn size(message: &Message) -> usize {
    message.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len)
}

/// The blocking thread's end. Dropped without [`end`](Self::end) or [`park`](Self::park), it breaks the body off.
pub(super) struct Giver<F: Feeder> {
    shared: Arc<Shared<F>>,
    over: bool,
    /// How long it may still wait.
    patience: Duration,
}

/// What became of a frame.
pub(super) enum Given {
    Taken,
    /// Nobody wants it any more.
    Unwanted,
    /// There is no room for it: time to [park](Giver::park).
    Full(Message),
}

impl<F: Feeder> Giver<F> {
    /// Puts a frame into the queue, waiting a little while it is full. Blocks no longer than that.
    pub(super) fn give(&mut self, message: Message) -> Given {
        let mut state = self.shared.lock();
        if state.is_full() {
            state = wait(&self.shared, state, &mut self.patience, State::is_full);
        }
        if state.unwanted {
            return Given::Unwanted;
        }
        if state.is_full() {
            return Given::Full(message);
        }
        put(state, Some(message));
        Given::Taken
    }

    /// Waits a little for the first poll of the other end. `Some(false)` if it was dropped unpolled, `None` if it is time to
    /// [park](Self::park). Blocks no longer than that.
    pub(super) fn wait_until_wanted(&mut self) -> Option<bool> {
        let state = self.shared.lock();
        let state = wait(&self.shared, state, &mut self.patience, |state| !state.wanted);
        (state.wanted || state.unwanted).then_some(!state.unwanted)
    }

    /// Leaves `feeder` in the queue, for a later thread to go on with. It comes back where there is something to do at once.
    pub(super) fn park(mut self, feeder: F) -> Option<(Self, F)> {
        let mut state = self.shared.lock();
        if state.is_for_giver() {
            drop(state);
            return Some((self, feeder));
        }
        state.parked = Some((feeder, now()));
        drop(state);
        self.over = true;
        None
    }

    /// Goes on with what is parked, unless that was let go. Blocks.
    fn resume(mut self) {
        let mut state = self.shared.lock();
        state.called = false;
        let parked = state.parked.take();
        drop(state);
        let Some((feeder, since)) = parked else { return };
        // To wait is worth it where the client was quick, and nobody was before us in the line.
        self.patience = if now().saturating_duration_since(since) < BRIEF { PATIENCE } else { Duration::ZERO };
        feeder.go_on(self);
    }

    /// The body has ended as it should.
    pub(super) fn end(mut self) {
        self.over = true;
        put(self.shared.lock(), None);
    }
}

impl<F: Feeder> Drop for Giver<F> {
    fn drop(&mut self) {
        // A job that was dropped unrun, or by a panic, must not look like the end of the body. [BOD-14]
        if !self.over {
            let parked = self.shared.lock().parked.take();
            drop(parked);
            put(self.shared.lock(), Some(Err(Error::new("what fed the body stopped before its end"))));
            put(self.shared.lock(), None);
        }
    }
}

/// The connection's end, as a body.
pub(super) struct Taker<F: Feeder> {
    shared: Arc<Shared<F>>,
    remaining: Option<u64>,
    runtime: Runtime,
}

impl<F: Feeder> http_body::Body for Taker<F> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let mut state = self.shared.lock();
        state.wanted = true;
        let next = state.queue.pop_front().map(|first| join(first, &mut state.queue));
        let count = next.as_ref().map_or(0, size);
        state.bytes -= count;
        if next.is_none() {
            if state.ended {
                return Poll::Ready(None);
            }
            state.taker = Some(cx.waker().clone());
        }
        // Not at the first free byte: the giver would be woken for every frame.
        let room = state.bytes <= AHEAD / 2;
        let wake = room && std::mem::take(&mut state.giver_waits);
        let call = room && state.parked.is_some() && !std::mem::replace(&mut state.called, true);
        drop(state);
        if wake {
            self.shared.room.notify_one();
        }
        if call {
            let giver = Giver { shared: self.shared.clone(), over: false, patience: Duration::ZERO };
            // Refused by a server that ends, it is dropped here, and breaks the body off.
            drop(self.runtime.run_blocking_job(BlockingJob::continuing(move || giver.resume())));
        }
        let Some(next) = next else { return Poll::Pending };
        self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(count as u64));
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

impl<F: Feeder> Drop for Taker<F> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.unwanted = true;
        let left = std::mem::take(&mut state.queue);
        let parked = state.parked.take();
        drop(state);
        self.shared.room.notify_one();
        drop(left);
        // [BOD-10], [BOD-15] soon, and where it may block
        if let Some((feeder, _)) = parked {
            drop(self.runtime.run_blocking_job(BlockingJob::closing(move || feeder.let_go())));
        }
    }
}

#[cfg(all(test, adapter_model))]
mod models;
#[cfg(test)]
#[cfg(not(adapter_model))]
mod tests;
