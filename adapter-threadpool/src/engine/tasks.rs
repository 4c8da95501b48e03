//! Futures spawned by the application, polled by workers. \[RTM-02\], \[RTM-05\]
//!
//! Their wakers push them to the shared queue. All are kept in a map, so that the end of the server can drop them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::task::{Context, Wake, Waker};

use adapter_core::contain;
use adapter_core::runtime::BoxFuture;
use adapter_core::sync::Mutex;
use adapter_core::sync::atomic::{AtomicU8, Ordering};

use super::schedule::Job;
use super::{Engine, lock};

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
/// Woken while it ran.
const AGAIN: u8 = 3;

#[derive(Default)]
pub(crate) struct Tasks(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    tasks: HashMap<u64, Arc<SpawnedTask>>,
    last: u64,
    closed: bool,
}

pub(crate) struct SpawnedTask {
    engine: Weak<Engine>,
    id: u64,
    state: AtomicU8,
    future: Mutex<Option<BoxFuture<()>>>,
}

impl Tasks {
    pub(crate) fn spawn(&self, engine: &Arc<Engine>, future: BoxFuture<()>) {
        let mut inner = lock(&self.0);
        if inner.closed {
            drop(inner);
            contain::discard("drop of a task", future);
            return;
        }
        inner.last += 1;
        let task = Arc::new(SpawnedTask {
            engine: Arc::downgrade(engine),
            id: inner.last,
            state: AtomicU8::new(QUEUED),
            future: Mutex::new(Some(future)),
        });
        inner.tasks.insert(task.id, task.clone());
        drop(inner);
        engine.push(Job::Task(task));
    }

    /// Drops every task and refuses new ones.
    pub(crate) fn close(&self) {
        let mut inner = lock(&self.0);
        inner.closed = true;
        let tasks = std::mem::take(&mut inner.tasks);
        drop(inner);
        for task in tasks.into_values() {
            // One that is being polled right now is dropped by its poller.
            let future = task.future.try_lock().ok().and_then(|mut future| future.take());
            contain::discard("drop of a task", future);
        }
    }
}

impl SpawnedTask {
    /// Polls it once, or again and again while it wakes itself, a few times.
    pub(crate) fn run(self: &Arc<Self>, engine: &Arc<Engine>) {
        self.state.store(RUNNING, Ordering::SeqCst);
        let waker = Waker::from(self.clone());
        let mut future = lock(&self.future);
        let done = match future.as_mut() {
            None => true,
            Some(polled) => {
                contain::catch("task", || polled.as_mut().poll(&mut Context::from_waker(&waker)).is_ready())
                    .unwrap_or(true)
            }
        };
        drop(future);
        // Asked behind that: whoever closes them and finds this future in use has said so before it is asked.
        if done || lock(&engine.tasks.0).closed {
            let future = lock(&self.future).take();
            contain::discard("drop of a task", future);
            lock(&engine.tasks.0).tasks.remove(&self.id);
            return;
        }
        if self.state.compare_exchange(RUNNING, IDLE, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            self.state.store(QUEUED, Ordering::SeqCst);
            engine.push(Job::Task(self.clone()));
        }
    }
}

impl Wake for SpawnedTask {
    fn wake(self: Arc<Self>) {
        let queue = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |state| match state {
            IDLE => Some(QUEUED),
            RUNNING => Some(AGAIN),
            _ => None,
        });
        if queue == Ok(IDLE)
            && let Some(engine) = self.engine.upgrade()
        {
            engine.push(Job::Task(self));
        }
    }
}
