//! The members of this process, and how a message reaches them.
//!
//! One lock, under which nothing waits: a sender queues, and who does not read is disconnected. The room has the last messages, as
//! the store has them: so who comes in gets what was said and what will be said without a gap, and without asking the
//! store, which may be away.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use adapter_web::websocket::Sender;

use crate::message::{Entry, HISTORY, Id};
use crate::store::Page;
use crate::told::Told;

/// A newcomer gets so many messages.
const FIRST: usize = 50;

#[derive(Default)]
pub(crate) struct Room(Mutex<State>);

#[derive(Default)]
struct State {
    next_key: u64,
    members: HashMap<u64, Member>,
    /// [`HISTORY`] at most.
    history: VecDeque<Entry>,
    last: Id,
}

struct Member {
    sender: Sender,
    /// Another process may have told it more than this one knows yet: that is not told again.
    seen: Id,
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("invariant: nothing panics under this lock")
    }

    /// The last message that was delivered.
    pub(crate) fn last(&self) -> Id {
        self.lock().last
    }

    /// Tells everybody of messages after [`last`](Self::last), there being some. Who can't be told is gone.
    pub(crate) fn deliver(&self, page: Page) {
        let Page { entries, whole } = page;
        let mut state = self.lock();
        let Some(last) = entries.last().map(|entry| entry.id) else { return };
        // Who came before this process had read anything, and may have been away for long.
        let is_full = state.last == Id::default() && entries.len() >= HISTORY;
        let has_missed = |member: &Member| is_full && member.seen != Id::default();
        // One frame however many they are: it fits where nothing waits.
        let told = |known: usize, gap| Told::News { messages: entries[known..].iter().collect(), last, gap }.to_json();
        let all = told(0, !whole);
        state.members.retain(|_, member| {
            let known = entries.partition_point(|entry| entry.id <= member.seen);
            let sent = match known {
                0 if has_missed(member) => member.sender.try_send(told(0, true)),
                0 => member.sender.try_send(all.as_str()),
                _ if known == entries.len() => return true,
                _ => member.sender.try_send(told(known, !whole)),
            };
            member.seen = last;
            sent.is_ok()
        });
        state.last = last;
        state.history.extend(entries);
        let extra = state.history.len().saturating_sub(HISTORY);
        state.history.drain(..extra);
    }

    /// Somebody comes in who has seen everything up to `since`, or comes for the first time.
    pub(crate) fn enter(self: &Arc<Self>, since: Option<Id>, sender: Sender) -> Membership {
        let mut state = self.lock();
        let known = match since {
            Some(since) => state.history.partition_point(|entry| entry.id <= since),
            None => state.history.len().saturating_sub(FIRST),
        };
        let messages = state.history.iter().skip(known).collect();
        let seen = since.unwrap_or_default().max(state.last);
        // Where there are fewer, there were no more.
        let is_full = state.history.len() == HISTORY;
        let gap = is_full && since.is_some_and(|since| since < state.history[0].id);
        // If it fails, the client is gone again already, and leaves.
        let _ = sender.try_send(Told::News { messages, last: seen, gap }.to_json());
        let key = state.next_key;
        state.next_key += 1;
        state.members.insert(key, Member { sender, seen });
        Membership { room: self.clone(), key }
    }
}

/// Somebody in the room; leaves it when dropped.
pub(crate) struct Membership {
    room: Arc<Room>,
    key: u64,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.room.lock().members.remove(&self.key);
    }
}
