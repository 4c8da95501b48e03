//! Whether a server lives: its event loops answer, or don't.
//!
//! Who watches asks from a thread of its own; tasks on the server's loops answer when they are polled. Without a watcher there is
//! no task and no cost.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use event_listener::{Event, Listener as _};

/// The pulse of a server, to be felt by who watches it, such as for a service manager's watchdog. Cheap to clone.
///
/// [`Serving`](crate::environ::Serving) answers for the server's runtime, timers included; a server with more than one event loop
/// adds a [`beat`](Self::beat) to each.
#[derive(Clone, Default)]
pub struct Pulse(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// How often was asked.
    asked: AtomicU64,
    ask: Event,
    answer: Event,
    loops: Mutex<Vec<Weak<AtomicU64>>>,
}

impl Pulse {
    /// A pulse that nobody beats yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// For server authors: a future that answers on the event loop that polls it, and never ends. It counts from now on, until it
    /// is dropped. Cancel safe.
    pub fn beat(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.beat_after(|| std::future::ready(()))
    }

    /// The same, which answers after what `pause` makes: a timer of the loop's.
    pub(crate) fn beat_after<F, P>(&self, pause: P) -> impl Future<Output = ()> + Send + 'static + use<F, P>
    where
        F: Future<Output = ()> + Send + 'static,
        P: Fn() -> F + Send + 'static,
    {
        let (inner, own) = (self.0.clone(), Arc::new(AtomicU64::new(self.0.asked.load(Ordering::SeqCst))));
        self.loops().push(Arc::downgrade(&own));
        async move {
            loop {
                let asked = inner.ask.listen();
                let seen = inner.asked.load(Ordering::SeqCst);
                if own.load(Ordering::SeqCst) == seen {
                    asked.await;
                    continue;
                }
                pause().await;
                own.store(seen, Ordering::SeqCst);
                inner.answer.notify(usize::MAX);
            }
        }
    }

    /// Asks every event loop, and waits until all have answered; `false` if one has not within `patience`, or there is none. Blocks.
    pub fn is_felt(&self, patience: Duration) -> bool {
        let deadline = Instant::now().checked_add(patience);
        let asked = self.0.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.ask.notify(usize::MAX);
        loop {
            let answer = self.0.answer.listen();
            let mut loops = self.loops();
            loops.retain(|own| own.strong_count() > 0);
            let late = |own: &Weak<AtomicU64>| own.upgrade().is_some_and(|own| own.load(Ordering::SeqCst) < asked);
            if loops.is_empty() {
                return false;
            }
            if !loops.iter().any(late) {
                return true;
            }
            drop(loops);
            match deadline {
                Some(deadline) => {
                    if answer.wait_deadline(deadline).is_none() {
                        return false;
                    }
                }
                None => answer.wait(),
            }
        }
    }

    fn loops(&self) -> MutexGuard<'_, Vec<Weak<AtomicU64>>> {
        self.0.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").field("loops", &self.loops().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, or};

    use super::*;
    use crate::signal::Signal;

    #[test]
    fn every_loop_must_answer() {
        let pulse = Pulse::new();
        assert!(!pulse.is_felt(Duration::from_secs(60)), "nobody is there");
        let stop = Signal::new();
        let (beat, stopped) = (pulse.beat(), stop.fired());
        let other = pulse.beat();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                block_on(or(beat, async {
                    stopped.await;
                }));
            });
            assert!(!pulse.is_felt(Duration::from_millis(1)), "one hangs");
            drop(other);
            assert!(pulse.is_felt(Duration::from_secs(60)));
            assert!(pulse.is_felt(Duration::from_secs(60)));
            stop.fire();
        });
        assert!(!pulse.is_felt(Duration::from_secs(60)), "it is gone");
    }
}
