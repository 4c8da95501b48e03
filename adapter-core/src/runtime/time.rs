//! Sleep, timeout and interval over a server's own timer. \[RTM-01\], \[RTM-04\]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;

use super::{BoxFuture, Runtime};

/// The future of [`Runtime::sleep`]. Dropping it cancels the timer.
#[must_use = "futures do nothing unless polled"]
pub struct Sleep(BoxFuture<()>);

impl Sleep {
    pub(super) fn new(timer: BoxFuture<()>) -> Self {
        Sleep(timer)
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl std::fmt::Debug for Sleep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sleep")
    }
}

/// The time of a [`Runtime::timeout`] ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time ran out")]
pub struct Elapsed;

pin_project_lite::pin_project! {
    /// The future of [`Runtime::timeout`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Timeout<F> {
        sleep: Sleep,
        #[pin]
        future: F,
    }
}

impl<F> Timeout<F> {
    pub(super) fn new(sleep: Sleep, future: F) -> Self {
        Timeout { sleep, future }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(this.sleep).poll(cx).map(|()| Err(Elapsed))
    }
}

/// The ticks of [`Runtime::interval`]; also a [`Stream`] that never ends.
#[derive(Debug)]
pub struct Interval {
    runtime: Runtime,
    period: Duration,
    next: Instant,
    sleep: Option<Sleep>,
}

impl Interval {
    pub(super) fn new(runtime: Runtime, period: Duration) -> Self {
        let next = runtime.deadline_after(period);
        Interval { runtime, period, next, sleep: None }
    }

    /// Waits for the next tick and gives the instant it was due. Cancel safe.
    pub async fn tick(&mut self) -> Instant {
        std::future::poll_fn(|cx| self.poll_tick(cx)).await
    }

    fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        let sleep = self.sleep.get_or_insert_with(|| self.runtime.sleep_until(self.next));
        if Pin::new(sleep).poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.sleep = None;
        let due = self.next;
        // Missed ticks are skipped: the next one is the first multiple of the period that lies ahead.
        let late = self.runtime.now().saturating_duration_since(due);
        let missed = u32::try_from(late.as_nanos() / self.period.as_nanos()).unwrap_or(u32::MAX - 1);
        self.next = due + self.period.saturating_mul(missed + 1);
        Poll::Ready(due)
    }
}

impl Stream for Interval {
    type Item = Instant;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.poll_tick(cx).map(Some)
    }
}
