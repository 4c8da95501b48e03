//! Where messages are kept: a small trait, and one that keeps them in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Counts from 1 in each room.
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) text: String,
    /// Milliseconds since 1970.
    pub(crate) at: u64,
}

impl Entry {
    pub(crate) fn to_json(&self) -> Value {
        json!({ "number": self.number, "name": self.name, "text": self.text, "at": self.at })
    }
}

/// The messages of all rooms. Called under the lock of the room, so it must be quick; a database would be behind a queue.
pub(crate) trait Log: Send + Sync + 'static {
    /// Adds a message to a room and numbers it.
    fn append(&self, room: &str, name: &str, text: &str) -> Entry;

    /// The messages after number `since` that are still there, in order; all of them if there is no such number yet,
    /// as when the program was started anew.
    fn since(&self, room: &str, since: u64) -> Vec<Entry>;
}

/// The last messages of each room, until the program ends.
#[derive(Default)]
pub(crate) struct Memory(Mutex<HashMap<String, Kept>>);

#[derive(Default)]
struct Kept {
    last: u64,
    entries: VecDeque<Entry>,
}

impl Memory {
    /// Messages kept in a room.
    const KEPT: usize = 200;
}

impl Log for Memory {
    fn append(&self, room: &str, name: &str, text: &str) -> Entry {
        let mut rooms = self.0.lock().expect("invariant: nothing panics under this lock");
        let kept = rooms.entry(room.to_owned()).or_default();
        kept.last += 1;
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let entry = Entry { number: kept.last, name: name.to_owned(), text: text.to_owned(), at };
        if kept.entries.len() == Self::KEPT {
            kept.entries.pop_front();
        }
        kept.entries.push_back(entry.clone());
        entry
    }

    fn since(&self, room: &str, since: u64) -> Vec<Entry> {
        let rooms = self.0.lock().expect("invariant: nothing panics under this lock");
        let Some(kept) = rooms.get(room) else { return Vec::new() };
        let since = if since > kept.last { 0 } else { since };
        kept.entries.iter().filter(|entry| entry.number > since).cloned().collect()
    }
}
