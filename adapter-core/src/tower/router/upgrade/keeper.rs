//! What a server owes every WebSocket, for those of axum's: a Close with 1001 or 1012 at its shutdown, an end for a client that
//! takes nothing, or says nothing, not even to a ping. \[UPG-20\], \[UPG-22\], \[UPG-23b\]
//!
//! A future in a task of the server's, which ends when the program has dropped its WebSocket.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::link::{Link, State};
use crate::observe::unresponsive;
use crate::runtime::Runtime;
use crate::shutdown::ShutdownTrigger;

/// An empty Ping. RFC 6455 §5.5.2
const PING: &[u8] = &[0x89, 0];
/// A Close with 1001, "going away". RFC 6455 §7.4.1
const GOING_AWAY: &[u8] = &[0x88, 2, 0x03, 0xe9];
/// A Close with 1012, "service restart". IANA's registry of close codes
const SERVICE_RESTART: &[u8] = &[0x88, 2, 0x03, 0xf4];

/// How long a keeper waits for a client; the values of [`websocket::Upgrade`](crate::websocket::Upgrade).
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Silence before a ping, and again before the connection is given up. \[UPG-23b\]
    pub(super) ping: Duration,
    /// Taking nothing of what is written. \[UPG-20\]
    pub(super) send: Duration,
    /// Answering the Close of a shutdown. \[UPG-22\]
    pub(super) close: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Patience { ping: seconds(30), send: seconds(60), close: seconds(5) }
    }
}

/// Keeps the WebSocket of `link` until the program drops it.
pub(super) async fn keep(link: Arc<Link>, runtime: &Runtime, shutdown: &ShutdownTrigger, patience: Patience) {
    let mut shutting_down = pin!(shutdown.draining().fired());
    let mut keeper = Keeper { link: &link, runtime, patience, pinged: None, closing: None };
    let mut timer = None;
    poll_fn(|cx| {
        link.set_keeper(cx.waker());
        if keeper.closing.is_none() && shutting_down.as_mut().poll(cx).is_ready() {
            keeper.close(if shutdown.is_handed_over() { SERVICE_RESTART } else { GOING_AWAY });
        }
        loop {
            let Some(due) = keeper.look(cx) else { return Poll::Ready(()) };
            link.poll_say(cx);
            if timer.as_ref().is_none_or(|(_, armed)| *armed > due) {
                timer = Some((runtime.sleep_until(due), due));
            }
            let Some((sleep, _)) = &mut timer else { return Poll::Pending };
            if Pin::new(sleep).poll(cx).is_pending() {
                return Poll::Pending;
            }
            timer = None;
        }
    })
    .await;
}

struct Keeper<'a> {
    link: &'a Link,
    runtime: &'a Runtime,
    patience: Patience,
    /// When a ping was sent that nothing came after.
    pinged: Option<Instant>,
    /// When the server began to shut down.
    closing: Option<Instant>,
}

impl Keeper<'_> {
    /// The server shuts down. \[UPG-22\]
    fn close(&mut self, frame: &'static [u8]) {
        self.closing = Some(self.runtime.now());
        if let Some(websocket) = &mut self.link.lock().websocket {
            websocket.say(frame, true);
        }
    }

    /// Looks at the clock; when to look again, `None` if there is nothing more to keep.
    fn look(&mut self, cx: &mut Context<'_>) -> Option<Instant> {
        let mut state = self.link.lock();
        if state.dropped {
            return None;
        }
        let now = self.runtime.now();
        let Patience { ping, send, close } = self.patience;
        let websocket = state.websocket.as_mut()?;
        let stalled = websocket.stalled.map(|since| since + send);
        let next = if let Some(since) = self.closing {
            let until = websocket.taken.map_or(since, |taken| taken.max(since)) + close;
            if now >= until && !websocket.over {
                websocket.over = true;
                drop(state);
                self.link.wake_program();
                return Some(stalled.unwrap_or(now + send));
            }
            if websocket.over { now + send } else { until }
        } else {
            self.pinged = self.pinged.filter(|&pinged| pinged > websocket.heard);
            let quiet_until = self.pinged.unwrap_or(websocket.heard) + ping;
            if now < quiet_until {
                quiet_until
            } else if self.pinged.is_none() {
                websocket.say(PING, false);
                self.pinged = Some(now);
                now + ping
            } else if state.read_ahead(cx) {
                // It is there; the program is what is slow.
                self.pinged = None;
                drop(state);
                self.link.wake_program();
                return Some(now + ping);
            } else {
                return self.give_up(state, unresponsive::IS_SILENT);
            }
        };
        match stalled {
            Some(until) if now >= until => self.give_up(state, unresponsive::TAKES_NOTHING),
            Some(until) => Some(next.min(until)),
            None => Some(next),
        }
    }

    /// Takes the stream away from the program.
    fn give_up(&self, mut state: MutexGuard<'_, State>, why: &'static str) -> Option<Instant> {
        if let Some(websocket) = &mut state.websocket {
            websocket.given_up = Some(why);
        }
        let stream = state.stream.take();
        drop(state);
        drop(stream);
        self.link.wake_program();
        None
    }
}
