//! What the process logs with `tracing`, caught. Only in a process of one case ([`crate::alone`]), so that every event
//! is that case's.

use std::fmt::{Debug, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// One event.
#[derive(Clone, Debug)]
pub struct Entry {
    /// How bad it is.
    pub level: Level,
    /// Its message and fields.
    pub text: String,
}

static ENTRIES: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

/// Catches what is logged from now on. Only the first call of a process counts.
pub(crate) fn catch() {
    let _ = tracing::subscriber::set_global_default(Catcher::default());
}

/// What was logged above debug level, in order.
pub(crate) fn entries() -> Vec<Entry> {
    let entries = ENTRIES.lock().unwrap_or_else(PoisonError::into_inner);
    entries.iter().filter(|entry| entry.level <= Level::INFO).cloned().collect()
}

/// Keeps events, and gives spans a number.
#[derive(Default)]
struct Catcher(AtomicU64);

impl Subscriber for Catcher {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(format!("{}:", event.metadata().target()));
        event.record(&mut text);
        let entry = Entry { level: *event.metadata().level(), text: text.0 };
        ENTRIES.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
