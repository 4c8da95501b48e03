//! What the application saw, kept by token until somebody asks, and the gates clients open.
//!
//! Written from any thread that runs application code, read by report requests. One lock, held for a moment; waiting
//! is done by wakers, so that a handler that waits at a gate holds no thread and an iterator that waits blocks its own.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use adapter_core::Environ;
use adapter_core::lint::{Side, Violations};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which call under its token, from 0.
    pub call: usize,
    /// The thread it happened on.
    pub thread: String,
    /// What happened: a word, and percent-encoded details.
    pub text: String,
}

#[derive(Default)]
struct Record {
    calls: usize,
    events: Vec<Event>,
    gates: HashSet<String>,
    /// Nobody asks any more.
    ended: bool,
    violations: Vec<Violations>,
    wakers: Vec<Waker>,
}

/// Everything one conformance application saw. Cheap to clone; clones share.
#[derive(Clone, Default)]
pub struct Records(Arc<Mutex<HashMap<String, Record>>>);

impl Records {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update<T>(&self, token: &str, change: impl FnOnce(&mut Record) -> T) -> T {
        let mut records = self.lock();
        let record = records.entry(token.to_owned()).or_default();
        let output = change(record);
        let wakers = std::mem::take(&mut record.wakers);
        drop(records);
        // Woken outside the lock: a waker may run the task at once.
        wakers.into_iter().for_each(Waker::wake);
        output
    }

    /// The next call under `token`, as a log of its own.
    pub fn begin(&self, token: &str) -> Log {
        let call = self.update(token, |record| {
            record.calls += 1;
            record.calls - 1
        });
        Log { records: self.clone(), token: token.to_owned(), call }
    }

    /// Everything that happened under `token`.
    pub fn events(&self, token: &str) -> Vec<Event> {
        self.lock().get(token).map(|record| record.events.clone()).unwrap_or_default()
    }

    /// What lint saw servers do wrong in calls under `token`.
    pub fn violations(&self, token: &str) -> Vec<String> {
        let records = self.lock();
        let lists = records.get(token).map(|record| record.violations.as_slice()).unwrap_or_default();
        let found = lists.iter().flat_map(Violations::list).filter(|violation| violation.side == Side::Server);
        found.map(|violation| violation.to_string()).collect()
    }

    /// What lint saw servers do wrong in any call.
    pub fn all_violations(&self) -> Vec<String> {
        let tokens: Vec<String> = self.lock().keys().cloned().collect();
        tokens.iter().flat_map(|token| self.violations(token)).collect()
    }

    /// Opens a gate; who waits at it goes on, and who comes later does not stop.
    pub fn open(&self, token: &str, gate: &str) {
        self.update(token, |record| record.gates.insert(gate.to_owned()));
    }

    /// Forgets what happened under `token`, and opens all of its gates for good.
    pub fn end(&self, token: &str) {
        self.update(token, |record| {
            *record = Record {
                calls: record.calls,
                ended: true,
                wakers: std::mem::take(&mut record.wakers),
                ..Record::default()
            };
        });
    }

    /// Waits until `gate` is open.
    pub async fn gate(&self, token: &str, gate: &str) {
        self.until(token, |record| record.ended || record.gates.contains(gate)).await;
    }

    /// Waits until at least `count` events begin with `prefix`.
    pub async fn wait(&self, token: &str, prefix: &str, count: usize) {
        self.until(token, |record| matching(&record.events, prefix) >= count).await;
    }

    async fn until(&self, token: &str, reached: impl Fn(&Record) -> bool) {
        poll_fn(|cx| {
            let mut records = self.lock();
            let record = records.entry(token.to_owned()).or_default();
            if reached(record) {
                return Poll::Ready(());
            }
            if !record.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                record.wakers.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// How many of `events` are `prefix`, or begin with it and a space.
pub fn matching(events: &[Event], prefix: &str) -> usize {
    events.iter().filter(|event| is_match(&event.text, prefix)).count()
}

/// Whether `text` is `prefix`, or begins with it and a space.
pub fn is_match(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// Where one call writes down what happens to it.
#[derive(Clone)]
pub struct Log {
    records: Records,
    token: String,
    call: usize,
}

impl Log {
    /// Writes down an event of the current thread.
    pub fn record(&self, text: impl Into<String>) {
        self.record_all([text.into()]);
    }

    /// Writes down events that belong together: whoever sees the first sees all of them.
    pub fn record_all(&self, texts: impl IntoIterator<Item = String>) {
        let thread = std::thread::current();
        // Pools give all their threads one name.
        let thread = format!("{} {:?}", thread.name().unwrap_or("unnamed"), thread.id());
        let events = texts.into_iter().map(|text| Event { call: self.call, thread: thread.clone(), text });
        self.records.update(&self.token, |record| record.events.extend(events));
    }

    /// Which records it writes to, so that two applications are told apart.
    pub(super) fn instance(&self) -> String {
        format!("{:p}", Arc::as_ptr(&self.records.0))
    }

    /// Keeps what lint sees of this call.
    pub(super) fn attach(&self, violations: Violations) {
        self.records.update(&self.token, |record| record.violations.push(violations));
    }

    /// Waits until the client opened `gate`.
    pub async fn gate(&self, gate: &str) {
        self.record(format!("at {gate}"));
        self.records.gate(&self.token, gate).await;
    }

    /// [`gate`](Self::gate), blocking the thread.
    pub fn gate_blocking(&self, gate: &str) {
        futures_lite::future::block_on(self.gate(gate));
    }
}

/// Records that it was dropped, once, and panics in its drop if it was told to.
pub(super) struct Dropped {
    log: Log,
    text: String,
    /// Of the request, to record what it knew when it was dropped.
    environ: Option<Environ>,
    panics: bool,
}

impl Dropped {
    pub(super) fn new(log: &Log, text: impl Into<String>) -> Self {
        Dropped { log: log.clone(), text: text.into(), environ: None, panics: false }
    }

    /// Will record whether the client was known to be gone, too.
    pub(super) fn of(mut self, environ: &Environ) -> Self {
        self.environ = Some(environ.clone());
        self
    }

    /// Will record `text` instead.
    pub(super) fn becomes(&mut self, text: &str) {
        text.clone_into(&mut self.text);
    }

    /// Will panic when dropped.
    pub(super) fn panics(&mut self) {
        self.panics = true;
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(environ) = self.environ.take()
            && self.text == "handler-cancelled"
        {
            self.log.record(format!("cancelled-knowing {}", environ.is_disconnected()));
        }
        self.log.record(self.text.as_str());
        // A panic during a panic would abort the process, which no server can contain.
        if self.panics && !std::thread::panicking() {
            super::panic("in a drop");
        }
    }
}
