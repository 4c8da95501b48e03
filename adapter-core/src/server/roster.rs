//! Who is connected, so that a full server can make room for who waits. \[LIM-07\] RFC 9112 §9.5
//!
//! A connection enters and leaves once; a request writes nothing here. Looked through only where a client waits and the
//! server is full.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_lite::future::or;

use crate::runtime::Runtime;
use crate::tracker::{Guard, Tracker};

/// How long a connection is spared that was accepted, or has become idle where room is needed: its request may be on its way.
/// \[SHU-04\], \[LIM-07\]
pub const SPARED: Duration = Duration::from_secs(1);
/// How soon a full server looks again for a connection that is idle.
const AGAIN: Duration = Duration::from_millis(100);

/// A connection, as a [`Roster`] knows it.
pub trait Member: Send + Sync + 'static {
    /// Since when it has waited for a request, of which nothing has come. Must not block.
    fn idle_since(&self) -> Option<Instant>;

    /// Asks it to close. It does so by itself, unless a request is faster. Must not block.
    fn make_room(&self);
}

/// The connections of a server. For server authors.
#[derive(Default)]
pub struct Roster(Mutex<HashMap<usize, Weak<dyn Member>>>);

impl Roster {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Weak<dyn Member>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection begins. Does not block, as [`leave`](Self::leave).
    pub fn enter<M: Member>(&self, member: &Arc<M>) {
        let weak = Arc::downgrade(member);
        self.lock().insert(Arc::as_ptr(member).addr(), weak);
    }

    /// It has ended.
    pub fn leave<M: Member>(&self, member: &Arc<M>) {
        self.lock().remove(&Arc::as_ptr(member).addr());
    }

    /// Asks the connection to close that has been idle for longest, and for a second `now`. Looks at all of them; does not block.
    pub fn make_room(&self, now: Instant) {
        let members: Vec<Arc<dyn Member>> = self.lock().values().filter_map(Weak::upgrade).collect();
        let idle = members.iter().filter_map(|member| Some((member.idle_since()?, member)));
        let idle = idle.filter(|(since, _)| now.saturating_duration_since(*since) >= SPARED);
        if let Some((_, longest)) = idle.min_by_key(|(since, _)| *since) {
            longest.make_room();
        }
    }

    /// Waits for a place among the `most` connections that `tracker` counts, or for a moment; where a client `is_awaited`, asks a
    /// connection that is idle to make room. For who accepts only when there is room, such as one of several processes at one
    /// listener. Cancel safe.
    pub async fn room(&self, tracker: &Tracker, most: usize, runtime: &Runtime, is_awaited: impl FnOnce() -> bool) {
        if is_awaited() {
            self.make_room(runtime.now());
        }
        or(tracker.below(most), runtime.sleep(AGAIN)).await;
    }

    /// A place among the `most` connections that `tracker` counts, as soon as there is one. Cancel safe.
    pub async fn place(&self, tracker: &Tracker, most: usize, runtime: &Runtime) -> Guard {
        loop {
            let wait = async {
                if tracker.open() >= most {
                    self.make_room(runtime.now());
                    runtime.sleep(AGAIN).await;
                } else {
                    std::future::pending::<()>().await;
                }
                None
            };
            let enter = async { Some(tracker.enter(most).await) };
            if let Some(guard) = or(enter, wait).await {
                return guard;
            }
        }
    }
}

impl std::fmt::Debug for Roster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Roster").field(&self.lock().len()).finish()
    }
}
