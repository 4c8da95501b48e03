//! How long a connection is waited for, and what happens then. \[KAP-08\], \[LIM-04\], \[LIM-06\], \[DIS-01\]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use adapter_core::observe::{ConnectionEnd, TimeLimit};
use adapter_core::tls::TlsError;

use super::{Connection, Protocol};
use crate::engine::io::Ahead;
use crate::engine::status::{Expired, LOOK};

impl Connection {
    /// Looks at the deadline of the phase. Ready when patience has ended for good.
    #[inline]
    pub(super) fn poll_deadline(&mut self, cx: &mut Context<'_>, now: u64) -> Poll<()> {
        let mut next = match &self.protocol {
            Protocol::Lingering(linger) => Some((linger.until(), Expired::Linger)),
            Protocol::Opening => self.shared.status.handshake_deadline(&self.shared.engine.timeouts),
            Protocol::Closing => self.shared.status.write_deadline(&self.shared.engine.timeouts),
            _ => self.shared.status.deadline(&self.shared.engine.timeouts),
        };
        if let Some(rest) = &self.rest
            // Who has a body to send is not idle.
            && next.is_none_or(|(deadline, why)| rest.until() < deadline || why == Expired::KeepAlive)
        {
            next = Some((rest.until(), Expired::Rest));
        }
        let Some((deadline, why)) = next else { return Poll::Pending };
        if now < deadline {
            // Armed for earlier is fine: it is looked at again then.
            if self.timer.as_ref().is_none_or(|(_, armed)| *armed > deadline || *armed <= now) {
                self.arm(deadline, cx);
            }
            return Poll::Pending;
        }
        match why {
            Expired::KeepAlive | Expired::HeaderRead if matches!(self.protocol, Protocol::Http2(_)) => {
                self.tell_expired(why);
                self.drain();
                if self.poll_protocol(cx).is_ready() {
                    return Poll::Ready(());
                }
                self.poll_deadline(cx, now)
            }
            Expired::HeaderRead if !self.shared.status.head_timed_out.swap(true, Relaxed) => {
                self.tell_expired(why);
                if matches!(self.protocol, Protocol::Announced(_) | Protocol::Unknown(_)) {
                    let peer = self.shared.environ.told();
                    tracing::debug!(target: "adapter", peer, "[LIM-04] nothing came that could be answered; closed");
                    return Poll::Ready(());
                }
                // hyper reads, finds the end, and closes
                let polled = self.poll_protocol(cx);
                self.then_linger(polled, cx, now)
            }
            // Looked at in every poll from now on, until hyper reads again.
            Expired::Look => {
                let looked = self.shared.poll_ahead(cx);
                let again = match looked {
                    Ahead::Reset => return self.abort(),
                    Ahead::Full => Some(now + LOOK.as_nanos() as u64),
                    Ahead::Waits => None,
                };
                if self.shared.status.has_ended() {
                    return self.poll_deadline(cx, now);
                }
                // Who is looked past may take nothing, too. [LIM-06]
                let write = self.shared.status.write_deadline(&self.shared.engine.timeouts);
                if write.is_some_and(|(deadline, _)| deadline <= now) {
                    return self.poll_stalled(cx, now);
                }
                if let Some(next) = [again, write.map(|(deadline, _)| deadline)].into_iter().flatten().min() {
                    self.arm(next, cx);
                }
                Poll::Pending
            }
            Expired::Rest => {
                // hyper closes
                self.rest = None;
                let polled = self.poll_protocol(cx);
                self.then_linger(polled, cx, now)
            }
            Expired::Write => self.poll_stalled(cx, now),
            Expired::Grace => {
                self.shared.environ.disconnected.fire();
                self.abort()
            }
            // [KAP-13] what it still sends must not destroy what is on its way to it
            Expired::Linger if !matches!(self.protocol, Protocol::Lingering(_)) => {
                let polled = self.poll_close(cx);
                self.then_linger(polled, cx, now)
            }
            _ => {
                self.tell_expired(why);
                // [LIM-06] what it has not taken yet does not stay for ever
                self.shared.socket().limit_unsent(self.shared.engine.timeouts.write);
                self.part()
            }
        }
    }

    /// Tells the observers of a time limit that ends the connection.
    #[cold]
    fn tell_expired(&self, why: Expired) {
        let environ = &self.shared.environ;
        let (limit, end) = match why {
            Expired::KeepAlive => (TimeLimit::KeepAlive, ConnectionEnd::Idle),
            Expired::HeaderRead => (TimeLimit::HeaderRead, ConnectionEnd::Late),
            Expired::Handshake => (TimeLimit::TlsHandshake, ConnectionEnd::Handshake),
            _ => return,
        };
        environ.timed_out(limit);
        environ.ends(end);
        if why == Expired::Handshake {
            environ.handshake_failed(&TlsError::new("[TLS-03] it takes too long"));
        }
    }

    /// What was done at a deadline has ended the connection, or left it lingering, which has a deadline of its own.
    pub(super) fn then_linger(&mut self, polled: Poll<()>, cx: &mut Context<'_>, now: u64) -> Poll<()> {
        if polled.is_pending() && matches!(self.protocol, Protocol::Lingering(_)) {
            return self.poll_deadline(cx, now);
        }
        polled
    }

    pub(super) fn arm(&mut self, deadline: u64, cx: &mut Context<'_>) {
        let at = self.shared.engine.clock.instant(deadline);
        self.timer = Some((self.shared.engine.serving.runtime.sleep_until(at), deadline));
        if self.poll_timer(cx).is_ready() {
            // It has passed meanwhile; look at the deadline again.
            cx.waker().wake_by_ref();
        }
    }

    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some((sleep, _)) => Pin::new(sleep).poll(cx),
            None => Poll::Pending,
        }
    }
}
