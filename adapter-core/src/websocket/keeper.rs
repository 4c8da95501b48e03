//! What keeps a WebSocket going whatever its application does: a future that reads ahead, writes what is queued and the
//! answers to pings, sends pings, watches the clock and the server's shutdown, and sees the closing handshake through.
//!
//! Runs in the task of the handler, polled after it, or in a task of its own beside a blocking handler. Dropping it
//! drops the stream, and everybody who waits is told. \[UPG-10a\], \[UPG-20\], \[UPG-22\], \[UPG-23b\]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tracing::Span;

use super::link::{Phase, Shared};
use super::message::{Error, code};
use super::wakers::Alarm;
use crate::environ::Environ;
use crate::observe::OpenWebSocket;
use crate::runtime::Sleep;
use crate::shutdown::ShutdownTrigger;
use crate::signal::Fired;

/// The keeper of one WebSocket; ready when its stream is dropped.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    /// Wakes for the next two, which are not polled before it has: each is one of many in a place that all connections share.
    alarm: Arc<Alarm>,
    /// `None` once it has fired, and for a client.
    shutting_down: Option<(Fired, ShutdownTrigger)>,
    timer: Option<(Sleep, Instant)>,
    /// `None` for a client.
    observed: Option<OpenWebSocket>,
    /// Its timer is set for the first deadline there is, or earlier.
    is_armed: bool,
}

impl Keeper {
    /// Of a WebSocket whose request was in `span`.
    pub(super) fn new(shared: Arc<Shared>, environ: &Environ, span: Span) -> Self {
        let peer = environ.connection().peer();
        let observed = Some(OpenWebSocket::new(environ.observers(), peer, environ.shutdown(), span));
        let shutting_down = Some((environ.shutting_down(), environ.shutdown().clone()));
        Keeper { alarm: Alarm::new(&shared.wakers), shared, shutting_down, timer: None, observed, is_armed: false }
    }

    /// Waits as [`poll`](Future::poll) does, if that is all it would do: where the handler has just read what there was, in the same
    /// task. Deadlines only become later then.
    pub(super) fn just_waits(&self, cx: &Context<'_>) -> bool {
        // Registered before anything is looked at, so that what comes between is not missed.
        self.shared.wakers.set_keeper(cx.waker());
        self.is_armed && !self.alarm.rung.is_set() && self.shared.lock().is_quiet()
    }

    /// Of a client's WebSocket, which the shutdown of the server is none of the business of.
    pub(super) fn of_client(shared: Arc<Shared>) -> Self {
        Keeper {
            alarm: Alarm::new(&shared.wakers),
            shared,
            shutting_down: None,
            timer: None,
            observed: None,
            is_armed: false,
        }
    }
}

impl Future for Keeper {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.shared.wakers.set_keeper(cx.waker());
        let alarm = &this.alarm;
        let mut has_rung = alarm.rung.claim();
        let stopping = this.shutting_down.take_if(|(fired, _)| has_rung && alarm.poll(fired).is_ready());
        loop {
            let now = this.shared.moment();
            let mut link = this.shared.lock();
            if let Some((_, shutdown)) = &stopping {
                link.stop(shutdown.is_handed_over(), now.get());
            }
            link.pump_in(&now, true);
            let due = link.check_clock(now.get());
            link.pump_out(&now);
            let changes = link.take_changes();
            let ended = link.phase() == Phase::Ended;
            drop(link);
            if changes.phase {
                this.shared.wakers.wake_all();
                this.shared.wakers.set_keeper(cx.waker());
            }
            if changes.message {
                this.shared.wakers.wake_receiver();
            }
            if changes.sent {
                this.shared.wakers.wake_senders();
            }
            if ended {
                return Poll::Ready(());
            }
            if changes.phase {
                continue; // other deadlines now
            }
            // Armed for earlier is fine: most deadlines move later, and are looked at again then.
            if let Some(due) = due
                && this.timer.as_ref().is_none_or(|(_, armed)| *armed > due)
            {
                this.timer = Some((this.shared.runtime.sleep_until(due), due));
                has_rung = true;
            }
            if this.timer.take_if(|(sleep, _)| has_rung && alarm.poll(sleep).is_ready()).is_none() {
                this.is_armed = true;
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut link = self.shared.lock();
        let (broken, end) = (link.take_broken(), link.end().cloned());
        link.lose(Error::Lost);
        link.release();
        // Where there was no Close nobody has sent that code.
        let close_code = link.close_code().filter(|close_code| *close_code != code::ABNORMAL);
        drop(link);
        self.shared.wakers.wake_all();
        if let Some(observed) = &mut self.observed {
            observed.code = close_code;
            match (broken, end) {
                (Some(Error::Protocol { code, reason }), _) => {
                    observed.broken(code, &format_args!("the client broke the protocol: {reason}"));
                }
                (Some(error), _) => observed.broken(code::ABNORMAL, &error),
                (None, Some(end)) => observed.ended(Some(end.code), &end),
                (None, None) => observed.ended(Some(code::ABNORMAL), &"dropped by the server"),
            }
        }
    }
}
