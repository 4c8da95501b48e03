//! The connections of a server by token, and their number.
//!
//! The leader looks up, whoever closes removes. A token is an index and a generation, so that a late event or timer
//! of a closed connection never reaches its successor. \[LIM-07\], \[CON-09\]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::{Tick, lock};
use crate::connection::Conn;

#[derive(Debug)]
pub(crate) struct Connections {
    slots: Mutex<Slots>,
    count: AtomicUsize,
    limit: usize,
}

#[derive(Debug, Default)]
struct Slots {
    entries: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    conn: Option<Arc<Conn>>,
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
    pub(crate) fn insert(&self, make: impl FnOnce(u64) -> Arc<Conn>) -> Arc<Conn> {
        let mut slots = lock(&self.slots);
        let index = slots.free.pop().unwrap_or_else(|| {
            slots.entries.push(Slot::default());
            (slots.entries.len() - 1) as u32
        });
        let slot = slots.entries.get_mut(index as usize).expect("invariant: free slots exist");
        let conn = make(u64::from(slot.generation) << 32 | u64::from(index));
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
    pub(crate) fn visit(&self, tokens: impl Iterator<Item = (u64, u32)>, mut visit: impl FnMut(&Arc<Conn>, u32)) {
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

    /// Some of those that have been idle from before `before` on, the longest idle last, and since when.
    pub(crate) fn idle_before(&self, before: Tick) -> Vec<(Arc<Conn>, Tick)> {
        /// They are looked at once for that many.
        const SOME: usize = 64;
        let slots = lock(&self.slots);
        let conns = slots.entries.iter().filter_map(|slot| slot.conn.as_ref());
        let mut idle: Vec<(Arc<Conn>, Tick)> = conns
            .map(|conn| (conn, conn.idle_since()))
            .filter(|(_, since)| (1..before).contains(since))
            .map(|(conn, since)| (conn.clone(), since))
            .collect();
        drop(slots);
        idle.sort_by_key(|(_, since)| *since);
        idle.truncate(SOME);
        idle.reverse();
        idle
    }

    pub(crate) fn all(&self) -> Vec<Arc<Conn>> {
        lock(&self.slots).entries.iter().filter_map(|slot| slot.conn.clone()).collect()
    }
}
