//! An event that happens once and is seen by everybody who asks, before or after.
//!
//! Used for "the client is gone" and "the server is stopping". Fired from whichever thread learns it; waiting tasks
//! are woken by the thread that fires. Checking is one atomic load.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Event, EventListener, Listener as _};

/// A one-time event, cheap to clone; all clones are the same event.
///
/// ```
/// use adapter_core::signal::Signal;
/// let gone = Signal::new();
/// assert!(!gone.is_fired());
/// assert!(gone.fire());
/// assert!(!gone.fire(), "only the first call fires");
/// futures_lite::future::block_on(gone.fired());
/// futures_lite::future::block_on(gone.fired());
/// ```
#[derive(Clone, Default)]
pub struct Signal(Arc<Inner>);

#[derive(Default)]
struct Inner {
    fired: AtomicBool,
    event: Event,
}

impl Signal {
    /// A signal that has not fired.
    pub fn new() -> Self {
        Self::default()
    }

    /// Fires it and wakes every waiter. `true` if this call was the first. Does not block.
    pub fn fire(&self) -> bool {
        let first = !self.0.fired.swap(true, Ordering::SeqCst);
        if first {
            self.0.event.notify(usize::MAX);
        }
        first
    }

    /// Whether it has fired. Does not block.
    pub fn is_fired(&self) -> bool {
        self.0.fired.load(Ordering::Acquire)
    }

    /// A future that is ready once the signal has fired; may be asked for as often as wanted, before and after.
    /// Cancel safe.
    pub fn fired(&self) -> Fired {
        Fired { signal: self.clone(), listener: None }
    }

    /// Fires it when what is returned is dropped, also by a panic.
    pub fn fire_on_drop(&self) -> FireOnDrop {
        FireOnDrop(self.clone())
    }

    /// Blocks the calling thread until the signal has fired.
    pub fn wait(&self) {
        while !self.is_fired() {
            let listener = self.0.event.listen();
            if self.is_fired() {
                return;
            }
            listener.wait();
        }
    }
}

impl std::fmt::Debug for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Signal").field(&self.is_fired()).finish()
    }
}

/// Fires a signal in its drop: see [`Signal::fire_on_drop`].
#[derive(Debug)]
#[must_use = "dropped at once, it fires at once"]
pub struct FireOnDrop(Signal);

impl Drop for FireOnDrop {
    fn drop(&mut self) {
        self.0.fire();
    }
}

/// The future of [`Signal::fired`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Fired {
    signal: Signal,
    /// With whom it wakes.
    listener: Option<(EventListener, Waker)>,
}

impl Future for Fired {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            if this.signal.is_fired() {
                this.listener = None;
                return Poll::Ready(());
            }
            match &mut this.listener {
                // Listen first, look again after: a firing between the two would be lost otherwise.
                None => {
                    let mut listener = this.signal.0.event.listen();
                    if Pin::new(&mut listener).poll(cx).is_pending() {
                        this.listener = Some((listener, cx.waker().clone()));
                    }
                }
                Some((listener, waker)) => {
                    // It need not be told again, under the lock of all who listen.
                    if !waker.will_wake(cx.waker()) {
                        if Pin::new(listener).poll(cx).is_ready() {
                            this.listener = None;
                            continue;
                        }
                        waker.clone_from(cx.waker());
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn wakes_threads_and_tasks_and_late_comers() {
        let signal = Signal::new();
        let threads: Vec<_> =
            (0..4)
                .map(|n| {
                    let signal = signal.clone();
                    thread::spawn(move || {
                        if n % 2 == 0 { signal.wait() } else { futures_lite::future::block_on(signal.fired()) }
                    })
                })
                .collect();
        signal.fire();
        for thread in threads {
            thread.join().unwrap();
        }
        signal.wait();
    }

    #[test]
    fn it_wakes_who_polled_last() {
        let woken = [(); 2].map(|()| Arc::new(Woken::default()));
        let [first, second] = woken.clone().map(Waker::from);
        let (signal, never) = (Signal::new(), Signal::new());
        let mut fired = [signal.fired(), never.fired()];
        for waker in [&first, &first, &second, &second] {
            for fired in &mut fired {
                assert!(Pin::new(fired).poll(&mut Context::from_waker(waker)).is_pending());
            }
        }
        signal.fire();
        assert_eq!(woken.map(|woken| woken.0.load(Ordering::SeqCst)), [false, true]);
        assert!(Pin::new(&mut fired[0]).poll(&mut Context::from_waker(&first)).is_ready());
        assert!(Pin::new(&mut fired[1]).poll(&mut Context::from_waker(&second)).is_pending());
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    /// A hundred times, as the one may be too late to wait.
    #[test]
    fn nobody_goes_on_before_it() {
        for _ in 0..100 {
            let (signal, begins) = (Signal::new(), Signal::new());
            let waiter = {
                let (signal, begins) = (signal.clone(), begins.clone());
                thread::spawn(move || {
                    begins.fire();
                    signal.wait();
                    signal.is_fired()
                })
            };
            futures_lite::future::block_on(begins.fired());
            thread::yield_now();
            signal.fire();
            assert!(waiter.join().unwrap(), "it was not fired");
        }
    }

    #[test]
    fn fires_once_and_where_it_was_to_be_fired_by_a_drop() {
        let signal = Signal::new();
        let guard = signal.fire_on_drop();
        assert!(!signal.is_fired());
        assert_eq!(format!("{signal:?}"), "Signal(false)");
        drop(guard);
        assert!(signal.is_fired());
        assert!(!signal.fire(), "it was fired before");
        assert!(Signal::new().fire());
    }
}
