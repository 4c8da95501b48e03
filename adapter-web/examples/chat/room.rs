//! A room: who is in it, and how a message reaches them.
//!
//! One lock a room, held while a message is numbered and handed to everybody, so that all see the same order. Nothing
//! under it waits: [`Sender::try_send`] queues, and a browser that does not read is disconnected and leaves. Long-polls
//! wait for a signal that each message fires.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use adapter_web::signal::{Fired, Signal};
use adapter_web::websocket::Sender;
use serde_json::json;

use crate::log::{Entry, Log};

/// Who polls counts as online for this long after it.
const POLLING: Duration = Duration::from_secs(35);
/// Names told of those online at most; there may be thousands.
const NAMES: usize = 50;

pub(crate) struct Room {
    name: String,
    log: Arc<dyn Log>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_key: u64,
    sockets: HashMap<u64, (String, Sender)>,
    /// When each name last polled.
    polled: HashMap<String, Instant>,
    /// Who is here, and how often: a name counts once for each of its WebSockets and once for its polls. Kept up to date,
    /// since thousands of polls that are answered at once all ask.
    names: BTreeMap<String, usize>,
    /// When it was last looked for names that poll no more.
    swept: Option<Instant>,
    /// Fired by the next message.
    news: Signal,
    /// Somebody will tell who is online.
    telling: bool,
}

/// All rooms, made when somebody enters.
pub(crate) struct Rooms {
    log: Arc<dyn Log>,
    rooms: Mutex<HashMap<String, Arc<Room>>>,
}

impl Rooms {
    pub(crate) fn new(log: impl Log) -> Self {
        Rooms { log: Arc::new(log), rooms: Mutex::default() }
    }

    pub(crate) fn get(&self, name: &str) -> Arc<Room> {
        let mut rooms = self.rooms.lock().expect("invariant: nothing panics under this lock");
        let room = rooms.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(Room { name: name.to_owned(), log: self.log.clone(), state: Mutex::default() })
        });
        room.clone()
    }
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("invariant: nothing panics under this lock")
    }

    /// Says something to everybody.
    pub(crate) fn say(&self, name: &str, text: &str) -> Entry {
        let mut state = self.lock();
        let entry = self.log.append(&self.name, name, text);
        let told = json!({ "entries": [entry.to_json()] }).to_string();
        state.tell(&told);
        let news = std::mem::take(&mut state.news);
        drop(state);
        news.fire();
        entry
    }

    /// What was said after number `since`, and a future of more.
    pub(crate) fn listen(&self, since: u64) -> (Vec<Entry>, Fired) {
        // Under the lock, so that nothing is said between the two.
        let state = self.lock();
        (self.log.since(&self.name, since), state.news.fired())
    }

    /// Somebody comes in with a WebSocket; gets what was said after `since`, and everything from now on.
    pub(crate) fn enter(self: &Arc<Self>, name: &str, since: u64, sender: Sender) -> Member {
        let mut state = self.lock();
        let history: Vec<_> = self.log.since(&self.name, since).iter().map(Entry::to_json).collect();
        let key = state.next_key;
        state.next_key += 1;
        state.arrive(name);
        // If it fails, the client is gone again already, and leaves.
        let _ = sender.try_send(json!({ "entries": history, "online": state.online() }).to_string());
        state.sockets.insert(key, (name.to_owned(), sender));
        Member { room: self.clone(), key }
    }

    /// Somebody polls; says whether that changes who is online.
    pub(crate) fn seen(&self, name: &str) -> bool {
        let mut state = self.lock();
        let new = !name.is_empty() && state.polled.insert(name.to_owned(), Instant::now()).is_none();
        if new {
            state.arrive(name);
        }
        state.forget_polls() || new
    }

    pub(crate) fn online(&self) -> serde_json::Value {
        self.lock().online()
    }

    /// Whether the caller is the one to [`tell_online`](Self::tell_online), a little later: many come and go at once.
    pub(crate) fn claim_telling(&self) -> bool {
        !std::mem::replace(&mut self.lock().telling, true)
    }

    pub(crate) fn tell_online(&self) {
        let mut state = self.lock();
        state.telling = false;
        let told = json!({ "entries": [], "online": state.online() }).to_string();
        state.tell(&told);
    }
}

impl State {
    /// Who can't be told is gone.
    fn tell(&mut self, told: &str) {
        let failed = |(key, (_, sender)): (&u64, &(String, Sender))| sender.try_send(told).is_err().then_some(*key);
        let gone: Vec<_> = self.sockets.iter().filter_map(failed).collect();
        for key in gone {
            self.leave(key);
        }
    }

    fn arrive(&mut self, name: &str) {
        if !name.is_empty() {
            *self.names.entry(name.to_owned()).or_default() += 1;
        }
    }

    fn depart(&mut self, name: &str) {
        if let Some(times) = self.names.get_mut(name) {
            *times -= 1;
            if *times == 0 {
                self.names.remove(name);
            }
        }
    }

    fn leave(&mut self, key: u64) {
        if let Some((name, _)) = self.sockets.remove(&key) {
            self.depart(&name);
        }
    }

    /// Who has not polled for long has left; says whether anybody has. Looks once a second, whoever asks.
    fn forget_polls(&mut self) -> bool {
        if self.swept.is_some_and(|at| at.elapsed() < Duration::from_secs(1)) {
            return false;
        }
        self.swept = Some(Instant::now());
        let gone: Vec<_> = self.polled.extract_if(|_, at| at.elapsed() >= POLLING).collect();
        for (name, _) in &gone {
            self.depart(name);
        }
        !gone.is_empty()
    }

    /// How many are here, and some of their names.
    fn online(&self) -> serde_json::Value {
        json!({ "count": self.names.len(), "names": self.names.keys().take(NAMES).collect::<Vec<_>>() })
    }
}

/// Somebody in a room; leaves it when dropped.
pub(crate) struct Member {
    room: Arc<Room>,
    key: u64,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.room.lock().leave(self.key);
    }
}
