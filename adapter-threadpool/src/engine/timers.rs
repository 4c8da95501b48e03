//! All timers of a server: one ordered map.
//!
//! Any thread inserts and removes; the leader waits for the first one and fires it. Connections keep at most one entry
//! and move it lazily: a deadline that is put off costs nothing until the old one passes. \[RTM-01\], \[RTM-04\]

use std::collections::BTreeMap;
use std::task::Waker;

use adapter_core::sync::Mutex;

use super::{Tick, lock};

/// Identities with this bit are sleepers, those without are connection tokens.
const SLEEPER: u64 = 1 << 63;
/// The acceptor's, a token no connection has.
const ACCEPTOR: u64 = SLEEPER - 1;

/// What a timer that is due asks for.
pub(crate) enum Due {
    /// Wake it.
    Sleeper(Waker),
    /// Tell the connection of that token.
    Connection(u64),
    /// Accept again.
    Acceptor,
}

#[derive(Default)]
pub(crate) struct Timers(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    entries: BTreeMap<(Tick, u64), Option<Waker>>,
    last: u64,
    /// Until when the leader sleeps; 0 if it does not.
    leader_until: Tick,
}

impl Inner {
    /// Whether the leader must be woken because of an entry at `at`.
    fn is_sooner(&mut self, at: Tick) -> bool {
        let sooner = at < self.leader_until;
        if sooner {
            self.leader_until = at;
        }
        sooner
    }
}

/// An entry, to remove or renew it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(Tick, u64);

impl Timers {
    /// Wakes `waker` at `at`; `true` if the leader must be interrupted.
    pub(crate) fn sleep(&self, at: Tick, waker: &Waker) -> (Key, bool) {
        let mut inner = lock(&self.0);
        inner.last += 1;
        let key = (at, SLEEPER | inner.last);
        inner.entries.insert(key, Some(waker.clone()));
        (Key(key.0, key.1), inner.is_sooner(at))
    }

    /// Makes the entry wake `waker` from now on; `false` if it has fired.
    pub(crate) fn renew(&self, key: Key, waker: &Waker) -> bool {
        match lock(&self.0).entries.get_mut(&(key.0, key.1)) {
            Some(Some(old)) if old.will_wake(waker) => true,
            Some(old) => {
                *old = Some(waker.clone());
                true
            }
            None => false,
        }
    }

    /// \[RTM-04\]
    pub(crate) fn cancel(&self, key: Key) {
        let removed = lock(&self.0).entries.remove(&(key.0, key.1));
        // Its drop may run foreign code: not under the lock.
        drop(removed);
    }

    /// Tells the connection `token` at `at`; `true` if the leader must be interrupted.
    pub(crate) fn arm(&self, at: Tick, token: u64) -> bool {
        let mut inner = lock(&self.0);
        inner.entries.insert((at, token), None);
        inner.is_sooner(at)
    }

    pub(crate) fn disarm(&self, at: Tick, token: u64) {
        lock(&self.0).entries.remove(&(at, token));
    }

    /// Tells the acceptor at `at`; `true` if the leader must be interrupted.
    pub(crate) fn arm_acceptor(&self, at: Tick) -> bool {
        self.arm(at, ACCEPTOR)
    }

    /// The leader is about to sleep: until when at most.
    pub(crate) fn leader_sleeps(&self) -> Option<Tick> {
        let mut inner = lock(&self.0);
        let next = inner.entries.first_key_value().map(|((at, _), _)| *at);
        inner.leader_until = next.unwrap_or(Tick::MAX);
        next
    }

    /// The leader is awake: moves what is due at `now` to `due`.
    pub(crate) fn leader_awake(&self, now: Tick, due: &mut Vec<Due>) {
        let mut inner = lock(&self.0);
        inner.leader_until = 0;
        while let Some(entry) = inner.entries.first_entry() {
            let (at, id) = *entry.key();
            if at > now {
                break;
            }
            match entry.remove() {
                Some(waker) => due.push(Due::Sleeper(waker)),
                None if id == ACCEPTOR => due.push(Due::Acceptor),
                None => due.push(Due::Connection(id)),
            }
        }
    }

    /// Drops every sleeper.
    pub(crate) fn clear(&self) {
        let entries = std::mem::take(&mut lock(&self.0).entries);
        drop(entries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_out_in_order_and_cancelled_timers_do_not() {
        let timers = Timers::default();
        assert_eq!(timers.leader_sleeps(), None);
        assert!(timers.arm(50, 7), "the leader sleeps for ever");
        assert!(!timers.arm(60, 8));
        let (key, interrupt) = timers.sleep(40, Waker::noop());
        assert!(interrupt);
        assert!(timers.renew(key, Waker::noop()));
        timers.cancel(key);
        assert!(!timers.renew(key, Waker::noop()));
        let mut due = Vec::new();
        timers.leader_awake(55, &mut due);
        assert!(matches!(due.as_slice(), [Due::Connection(7)]));
        assert_eq!(timers.leader_sleeps(), Some(60));
    }
}
