//! How many of something there are, and waiting for fewer: open connections, calls that run. \[LIM-07\], \[SHU-09\]

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use crate::sync::Event;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// Counts open connections; shared by all listeners of a server. Clones are the same count.
#[derive(Debug, Clone, Default)]
pub struct Tracker(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: AtomicUsize,
    listening: AtomicUsize,
    /// One connection, or one listener, less.
    fewer: Event,
}

/// One listener that is open; drop it when the listener is closed.
#[derive(Debug)]
pub struct Listening(Arc<Inner>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.listening.fetch_sub(1, Ordering::SeqCst);
        self.0.fewer.notify(usize::MAX);
    }
}

/// One open connection; drop it when the connection is gone.
#[derive(Debug)]
pub struct Guard(Arc<Inner>);

impl Tracker {
    /// Connections open now.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::SeqCst)
    }

    /// Counts one more, however many there are.
    pub fn add(&self) -> Guard {
        self.0.open.fetch_add(1, Ordering::SeqCst);
        Guard(self.0.clone())
    }

    /// Waits until fewer than `limit` are open, and counts one more. Cancel safe.
    pub async fn enter(&self, limit: usize) -> Guard {
        loop {
            self.below(limit).await;
            if let Some(guard) = self.try_enter(limit) {
                return guard;
            }
        }
    }

    /// Polls `accept` while fewer than `limit` are open, and counts one more for what it makes; `None` at once where there is no
    /// room, so that whoever else has some takes it. Cancel safe where `accept` is.
    pub async fn enter_with<T, E>(
        &self,
        limit: usize,
        accept: impl Future<Output = Result<T, E>>,
    ) -> Option<Result<(T, Guard), E>> {
        let mut accept = pin!(accept);
        // Counted before each attempt, for there may be others who accept, and given back if there was nobody.
        poll_fn(|cx| match self.try_enter(limit) {
            Some(guard) => accept.as_mut().poll(cx).map(|outcome| Some(outcome.map(|made| (made, guard)))),
            None => Poll::Ready(None),
        })
        .await
    }

    fn try_enter(&self, limit: usize) -> Option<Guard> {
        let enter = |open| (open < limit).then_some(open + 1);
        self.0.open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, enter).ok().map(|_| Guard(self.0.clone()))
    }

    /// Waits until fewer than `limit` are open. Cancel safe.
    pub async fn below(&self, limit: usize) {
        self.until(|inner| inner.open.load(Ordering::SeqCst) < limit).await;
    }

    /// Counts a listener.
    pub fn listening(&self) -> Listening {
        self.0.listening.fetch_add(1, Ordering::SeqCst);
        Listening(self.0.clone())
    }

    /// Waits until every listener is closed. Cancel safe. \[SHU-09\]
    pub async fn closed(&self) {
        self.until(|inner| inner.listening.load(Ordering::SeqCst) == 0).await;
    }

    async fn until(&self, holds: impl Fn(&Inner) -> bool) {
        while !holds(&self.0) {
            let listener = self.0.fewer.listen();
            if holds(&self.0) {
                return;
            }
            listener.await;
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
        self.0.fewer.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn who_accepts_holds_a_place_only_for_who_is_there() {
        let tracker = Tracker::default();
        let nobody = pending::<Result<(), ()>>;
        block_on(async {
            let mut waiting = Box::pin(tracker.enter_with(1, nobody()));
            assert!(poll_once(&mut waiting).await.is_none());
            assert_eq!(tracker.open(), 0, "nobody is there");
            let entered = tracker.enter_with(1, ready(Ok::<_, ()>("a client"))).await;
            let (client, guard) = entered.and_then(Result::ok).expect("there is room");
            assert_eq!((client, tracker.open()), ("a client", 1));
            assert!(waiting.await.is_none(), "who waits learns that there is no room any more");
            assert!(tracker.enter_with(1, ready(Ok::<_, ()>("one more"))).await.is_none());
            drop(guard);
            let failed = tracker.enter_with(1, ready(Err::<(), _>("descriptors"))).await;
            assert_eq!(failed.and_then(Result::err), Some("descriptors"));
            assert_eq!(tracker.open(), 0);
        });
    }

    #[test]
    fn who_waits_goes_on_when_there_are_fewer() {
        let tracker = Tracker::default();
        let (first, second) = (tracker.add(), tracker.add());
        block_on(async {
            let mut below = Box::pin(tracker.below(2));
            let mut enter = Box::pin(tracker.enter(1));
            assert!(poll_once(&mut below).await.is_none() && poll_once(&mut enter).await.is_none());
            drop(first);
            assert!(poll_once(&mut below).await.is_some() && poll_once(&mut enter).await.is_none());
            drop(second);
            let third = poll_once(&mut enter).await;
            assert_eq!((third.is_some(), tracker.open()), (true, 1));
        });
    }

    #[test]
    fn listeners_are_counted_apart_from_connections() {
        let tracker = Tracker::default();
        let (first, second, _connection) = (tracker.listening(), tracker.listening(), tracker.add());
        block_on(async {
            let mut closed = Box::pin(tracker.closed());
            assert!(poll_once(&mut closed).await.is_none());
            drop(first);
            assert!(poll_once(&mut closed).await.is_none(), "one is left");
            drop(second);
            assert!(poll_once(&mut closed).await.is_some());
        });
    }
}
