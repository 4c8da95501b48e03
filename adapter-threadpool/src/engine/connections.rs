//! The connections of a server by token, and their number.
//!
//! The leader looks up, whoever closes removes. A token is an index and a generation, so that a late event or timer
//! of a closed connection never reaches its successor. \[LIM-07\], \[CON-09\]

use std::sync::Arc;

use adapter_core::sync::Mutex;
use adapter_core::sync::atomic::{AtomicUsize, Ordering};

use super::client::Client;
use super::lock;

pub(crate) struct Connections {
    slots: Mutex<Slots>,
    count: AtomicUsize,
    limit: usize,
}

#[derive(Default)]
struct Slots {
    entries: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    conn: Option<Arc<dyn Client>>,
}

impl Connections {
    pub(crate) fn new(limit: usize) -> Self {
        Connections { slots: Mutex::default(), count: AtomicUsize::new(0), limit }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.count() >= self.limit
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Adds the connection `make` makes for its token.
    pub(crate) fn insert(&self, make: impl FnOnce(u64) -> Arc<dyn Client>) -> Arc<dyn Client> {
        let mut slots = lock(&self.slots);
        let index = slots.free.pop().unwrap_or_else(|| {
            slots.entries.push(Slot::default());
            (slots.entries.len() - 1) as u32
        });
        let slot = slots.entries.get_mut(index as usize).expect("invariant: free slots exist");
        let token = u64::from(slot.generation) << 32 | u64::from(index);
        let conn = make(token);
        slot.conn = Some(conn.clone());
        self.count.fetch_add(1, Ordering::SeqCst);
        conn
    }

    /// Removes it; `true` if there was no room before and is now.
    pub(crate) fn remove(&self, token: u64) -> bool {
        let mut slots = lock(&self.slots);
        let Some(slot) = slots.entries.get_mut((token & 0xffff_ffff) as usize) else { return false };
        if u64::from(slot.generation) != token >> 32 || slot.conn.is_none() {
            return false;
        }
        let conn = slot.conn.take();
        // Without the two highest bits: those mark listeners and timers.
        slot.generation = slot.generation.wrapping_add(1) & 0x3fff_ffff;
        slots.free.push((token & 0xffff_ffff) as u32);
        drop(slots);
        drop(conn);
        self.count.fetch_sub(1, Ordering::SeqCst) >= self.limit
    }

    /// Calls `visit` for each token, with what it is the token of.
    pub(crate) fn visit(&self, tokens: impl Iterator<Item = (u64, u32)>, mut visit: impl FnMut(&Arc<dyn Client>, u32)) {
        let slots = lock(&self.slots);
        for (token, payload) in tokens {
            if let Some(slot) = slots.entries.get((token & 0xffff_ffff) as usize)
                && u64::from(slot.generation) == token >> 32
                && let Some(conn) = &slot.conn
            {
                visit(conn, payload);
            }
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<dyn Client>> {
        lock(&self.slots).entries.iter().filter_map(|slot| slot.conn.clone()).collect()
    }
}
