//! What is around a connection in these tests: a network, a clock, and chance.

use std::collections::VecDeque;
use std::future::pending;
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use adapter_core::runtime::{BlockingJob, BoxFuture, Driver};
use adapter_http1::connection::Transport;

/// xorshift64*, so that a seed is the same life on every machine.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, most: usize) -> usize {
        (self.next() >> 33) as usize % most.max(1)
    }

    pub(crate) fn one_in(&mut self, most: usize) -> bool {
        self.below(most) == 0
    }
}

/// What is between client and server.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) incoming: VecDeque<Vec<u8>>,
    /// The client's stream ends behind that.
    pub(crate) ended: bool,
    pub(crate) reset: bool,
    /// More has come than anybody was told of.
    pub(crate) unseen: bool,
    /// What the client takes.
    pub(crate) room: usize,
    /// Of which nothing is told: only who tries learns it.
    pub(crate) untold: bool,
    /// There was something for it, and no room.
    pub(crate) blocked: bool,
    pub(crate) out: Vec<u8>,
    pub(crate) shut: bool,
    pub(crate) closed: bool,
    /// It is closed with a reset.
    pub(crate) by_reset: bool,
    pub(crate) wakers: Vec<Waker>,
}

impl Wire {
    fn read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        assert!(!buffer.is_empty(), "a read of nothing");
        if self.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if let Some(piece) = self.incoming.front_mut() {
            let count = piece.len().min(buffer.len());
            buffer[..count].copy_from_slice(&piece[..count]);
            piece.drain(..count);
            if piece.is_empty() {
                self.incoming.pop_front();
            }
            return Poll::Ready(Ok(count));
        }
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        self.wakers.push(cx.waker().clone());
        Poll::Pending
    }

    fn write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        assert!(!self.shut, "a write behind the end");
        if self.reset {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = if self.untold { 0 } else { self.room };
        let most = room.min(parts.iter().map(|part| part.len()).sum());
        if most == 0 {
            self.blocked = true;
            self.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        self.blocked = false;
        self.room -= most;
        let mut left = most;
        for part in parts {
            let count = left.min(part.len());
            self.out.extend_from_slice(&part[..count]);
            left -= count;
        }
        Poll::Ready(Ok(most))
    }
}

/// What the world holds is not the connection's.
fn uncounted<R>(run: impl FnOnce() -> R) -> R {
    let mut result = None;
    allocation_counter::opt_out(|| result = Some(catch_unwind(AssertUnwindSafe(run))));
    result.expect("it ran").unwrap_or_else(|panic| resume_unwind(panic))
}

pub(crate) struct Socket(pub(crate) Arc<Mutex<Wire>>);

impl Transport for Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        uncounted(|| self.0.lock().unwrap().read(cx, buffer))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        uncounted(|| self.0.lock().unwrap().write(cx, parts))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().unwrap().shut = true;
        Poll::Ready(Ok(()))
    }

    fn was_reset(&self) -> bool {
        self.0.lock().unwrap().reset
    }

    fn has_input(&self) -> bool {
        self.0.lock().unwrap().unseen
    }

    fn expect_room(&mut self) {
        self.0.lock().unwrap().untold = false;
    }

    fn reset_on_close(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_reset = true;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Also where the life ends by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
    }
}

/// Time as the life has it; nothing sleeps, spawns or blocks.
pub(crate) struct Still(pub(crate) Arc<Mutex<Instant>>);

impl Driver for Still {
    fn now(&self) -> Instant {
        *self.0.lock().unwrap()
    }

    fn sleep_until(&self, _: Instant) -> BoxFuture<()> {
        Box::pin(pending())
    }

    fn spawn(&self, _: BoxFuture<()>) {}

    fn run_blocking(&self, job: BlockingJob) -> Result<(), BlockingJob> {
        Err(job)
    }
}
