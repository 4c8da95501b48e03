//! A connection as a future: with a timer, and an eye on the shutdown.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use adapter_core::server::{Guard, ShutdownLevel, ShutdownWatch};
use adapter_core::{Runtime, Sleep};

use super::handle::{Handle, Late};
use super::transport::Transport;
use super::{Connection, End, Shared};

/// Times a connection is polled whose deadline has passed, before others get their turn.
const AT_ONCE: u32 = 4;

/// The future of a [`Connection`], ready when that has ended. Cancel safe: dropping it closes the connection.
///
/// The deadline mostly moves later, so one timer is armed and looked at lazily: a request costs a clock read and a few loads.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Served<T: Transport> {
    connection: Connection<T>,
    shutdown: ShutdownWatch,
    draining: bool,
    /// The armed timer and when it fires.
    timer: Option<(Sleep, Instant)>,
    /// Who is woken by `timer` and `shutdown`.
    waker: Option<Waker>,
    /// Dropped last: the connection is closed before it is counted as closed.
    guard: Option<Guard>,
}

impl<T: Transport> Served<T> {
    /// Serves `connection`, which `guard` counts.
    pub fn new(connection: Connection<T>, guard: Guard) -> Self {
        let settings = connection.settings();
        let runtime = &settings.serving.runtime;
        if let Some(limit) = settings.timeouts.handler.filter(|_| runtime.may_block()) {
            runtime.drive(look_after(Arc::downgrade(&connection.shared), runtime.clone(), limit));
        }
        let shutdown = settings.serving.shutdown.reached(ShutdownLevel::Draining);
        Served { connection, shutdown, draining: false, timer: None, waker: None, guard: Some(guard) }
    }

    /// What counted the connection, for who goes on with it.
    pub fn take_guard(&mut self) -> Option<Guard> {
        self.guard.take()
    }

    /// Waits for the next rise of the shutdown.
    fn watch(&mut self, cx: &mut Context<'_>) {
        while Pin::new(&mut self.shutdown).poll(cx).is_ready() {
            if self.draining {
                return;
            }
            self.draining = true;
            self.shutdown = self.connection.settings().serving.shutdown.reached(ShutdownLevel::Forced);
        }
    }
}

/// Answers where application code holds the connection's own thread beyond its `limit`, until there is no connection. \[LIM-09\]
async fn look_after<T: Transport>(connection: Weak<Shared<T>>, runtime: Runtime, limit: Duration) {
    let mut wait = limit;
    loop {
        runtime.sleep(wait).await;
        let Some(shared) = connection.upgrade() else { return };
        let now = shared.now();
        // Code that is beyond its limit was there when it was looked at before.
        wait = match Handle::new(shared).answer_late(now) {
            Some(Late::At(until)) => until.saturating_duration_since(now),
            _ => limit,
        };
    }
}

impl<T: Transport> Future for Served<T> {
    type Output = End<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End<T>> {
        let this = &mut *self;
        let same_waker = this.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !same_waker {
            this.waker = Some(cx.waker().clone());
            // It keeps the waker that it was polled with.
            this.timer = None;
        }
        let level = this.connection.settings().serving.shutdown.level();
        if !same_waker || level != ShutdownLevel::Running {
            this.watch(cx);
        }
        for _ in 0..AT_ONCE {
            let now = this.connection.shared.now();
            if let Poll::Ready(end) = this.connection.poll(cx, now) {
                return Poll::Ready(end);
            }
            let Some(deadline) = this.connection.deadline() else { return Poll::Pending };
            // Armed for earlier is fine: it is looked at again then.
            if this.timer.as_ref().is_none_or(|(_, armed)| *armed > deadline || *armed <= now) {
                this.timer = Some((this.connection.settings().serving.runtime.sleep_until(deadline), deadline));
                let Some((sleep, _)) = &mut this.timer else { return Poll::Pending };
                if Pin::new(sleep).poll(cx).is_ready() {
                    // It has passed meanwhile.
                    this.timer = None;
                    continue;
                }
            }
            return Poll::Pending;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
