//! What an application has begun beside its requests: counted, so that the end of a server can wait for it, and dropped
//! when its time is over.
//!
//! Kept by [`Runtime`](super::Runtime), whatever its [`Driver`](super::Driver) is; nothing here starts a thread. A future that
//! is to be dropped is woken, and dropped by whoever polls it. \[RTM-05b\], \[RTM-05c\], \[RTM-06\]

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use super::job::JobWatch;
use super::task::Sender;
use crate::carried::Within;
use crate::contain::Contained;
use crate::signal::{Fired, Signal};
use crate::tracker::{Guard, Tracker};

/// The spawned futures and the blocking work of one [`Runtime`](super::Runtime). For servers; clones are the same ones.
///
/// [`Lifecycle`](crate::server::Lifecycle) does with it what the end of a server has to do; a server that has a life of its
/// own awaits [`finished`](Self::finished) until the deadline, calls [`end`](Self::end) before the shutdown hook, awaits
/// [`gone`](Self::gone) for a moment, and calls [`close`](Self::close) after the hook.
#[derive(Clone, Debug, Default)]
pub struct Tasks(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Spawned futures that are waited for.
    futures: Tracker,
    /// Blocking work that waits for a thread or runs on one.
    jobs: Tracker,
    /// Every spawned future, daemons too.
    alive: Tracker,
    /// Fired when the time is over of all that was begun with it.
    over: Mutex<Signal>,
    /// Who is told of blocking work.
    watch: OnceLock<Arc<dyn JobWatch>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { futures, jobs, alive, .. } = self;
        write!(f, "{} futures of {}, {} jobs", futures.open(), alive.open(), jobs.open())
    }
}

impl Tasks {
    /// How many there are that a graceful shutdown waits for: futures, and blocking work that has not ended.
    pub fn unfinished(&self) -> usize {
        self.0.futures.open() + self.0.jobs.open()
    }

    /// Waits until there are none of these, also of those that they begin meanwhile. Cancel safe.
    pub async fn finished(&self) {
        while self.unfinished() > 0 {
            self.0.futures.below(1).await;
            self.0.jobs.below(1).await;
        }
    }

    /// How many futures there are, daemons too.
    pub fn alive(&self) -> usize {
        self.0.alive.open()
    }

    /// Waits until every future is gone, daemons too; not for blocking work, which nothing can interrupt. Cancel safe.
    pub async fn gone(&self) {
        self.0.alive.below(1).await;
    }

    /// Has every future dropped that there is now, and the blocking work that has not begun. What begins after it, such as in
    /// the shutdown hook, runs. Does not block, does not wait.
    pub fn end(&self) {
        let over = std::mem::take(&mut *self.0.over.lock().unwrap_or_else(PoisonError::into_inner));
        over.fire();
    }

    /// As [`end`](Self::end), for what will begin, too.
    pub fn close(&self) {
        let over = self.0.over.lock().unwrap_or_else(PoisonError::into_inner).clone();
        over.fire();
    }

    fn over(&self) -> Signal {
        self.0.over.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One more future, of which the shutdown waits for those that are no `daemon`.
    pub(super) fn begin<T>(
        &self,
        future: Within<Contained<T>>,
        sender: Sender<T>,
        daemon: bool,
    ) -> impl Future<Output = ()> + Send + use<T>
    where
        T: Send + 'static,
    {
        let counted = (self.0.alive.add(), (!daemon).then(|| self.0.futures.add()));
        Spawned { future: Some(future), over: self.over(), fired: None, sender: Some(sender), counted: Some(counted) }
    }

    /// `work`, which is not done when its time is over before it begins.
    pub(super) fn in_time(&self, work: impl FnOnce() + Send + 'static) -> impl FnOnce() + Send + 'static {
        let over = self.over();
        move || if over.is_fired() { drop(work) } else { work() }
    }

    /// `watch` is told of blocking work from now on, if nobody is yet.
    pub(crate) fn watch_jobs(&self, watch: Arc<dyn JobWatch>) {
        // What was said first holds.
        let _ = self.0.watch.set(watch);
    }

    pub(super) fn watch(&self) -> Option<&Arc<dyn JobWatch>> {
        self.0.watch.get()
    }

    /// One more job, until the guard is dropped.
    pub(super) fn job(&self) -> Guard {
        self.0.jobs.add()
    }
}

/// A future that is dropped when its time is over.
struct Spawned<T> {
    /// `None` once it has ended.
    future: Option<Within<Contained<T>>>,
    over: Signal,
    /// Waits for `over`; `None` before it had to.
    fired: Option<Fired>,
    sender: Option<Sender<T>>,
    /// Dropped after the future, in each case; in this order, so that who has waited for all sees none alive.
    counted: Option<(Guard, Option<Guard>)>,
}

impl<T> Spawned<T> {
    fn end(&mut self) {
        // In this order: who learns that nothing is left finds it so.
        self.future = None;
        self.sender = None;
        self.counted = None;
    }
}

impl<T> Future for Spawned<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if !this.over.is_fired()
            && let Some(future) = &mut this.future
        {
            if let Some(Poll::Ready(outcome)) = future.using(|future| Pin::new(future).poll(cx)) {
                this.future = None;
                if let Some(sender) = this.sender.take() {
                    sender.send(outcome);
                }
            } else {
                let fired = this.fired.get_or_insert_with(|| this.over.fired());
                if Pin::new(fired).poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        }
        this.end();
        Poll::Ready(())
    }
}

impl<T> Drop for Spawned<T> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_lite::future::{block_on, pending, poll_once};

    use crate::runtime::{Runtime, TaskError};
    use crate::server::ServerConfig;
    use crate::threads::Threads;

    const DEADLINE: Duration = Duration::from_secs(10);

    #[test]
    fn what_is_spawned_is_waited_for_and_what_it_spawns_too() {
        let runtime = Runtime::new(Threads::new(&ServerConfig::default()));
        let (sender, receiver) = async_channel::bounded::<()>(1);
        let outer = runtime.clone();
        runtime
            .spawn(async move {
                let inner = async move { receiver.recv().await };
                outer.spawn(inner).detach();
            })
            .detach();
        runtime.spawn_daemon(pending::<()>()).detach();
        assert_eq!(block_on(poll_once(runtime.tasks().finished())), None);
        sender.send_blocking(()).unwrap();
        block_on(runtime.timeout(DEADLINE, runtime.tasks().finished())).expect("nobody is waited for");
        assert_eq!(runtime.tasks().alive(), 1, "the daemon");
        runtime.tasks().end();
        block_on(runtime.timeout(DEADLINE, runtime.tasks().gone())).expect("the daemon is dropped");
    }

    #[test]
    fn the_end_drops_what_is_there_and_the_close_what_comes() {
        let runtime = Runtime::new(Threads::new(&ServerConfig::default()));
        let before = runtime.spawn(pending::<()>());
        runtime.tasks().end();
        assert_eq!(block_on(before), Err(TaskError::Refused));
        assert_eq!(block_on(runtime.spawn(async { 7 })), Ok(7), "as in the shutdown hook");
        runtime.tasks().close();
        assert_eq!(block_on(runtime.spawn(async { 7 })), Err(TaskError::Refused));
        assert_eq!(block_on(runtime.run_blocking(|| 7)), Err(TaskError::Refused));
        block_on(runtime.timeout(DEADLINE, runtime.tasks().finished())).expect("nothing is left");
    }

    #[test]
    fn blocking_work_is_waited_for_while_it_runs_and_while_it_waits() {
        let config = ServerConfig { blocking_threads: 1, ..ServerConfig::default() };
        let runtime = Runtime::new(Threads::new(&config));
        let (sender, receiver) = async_channel::bounded::<()>(1);
        runtime.run_blocking(move || receiver.recv_blocking()).detach();
        let waiting = runtime.run_blocking(|| 7);
        assert_eq!(runtime.tasks().unfinished(), 2);
        sender.send_blocking(()).unwrap();
        block_on(runtime.timeout(DEADLINE, runtime.tasks().finished())).expect("it ends");
        assert_eq!(block_on(waiting), Ok(7));
    }
}
