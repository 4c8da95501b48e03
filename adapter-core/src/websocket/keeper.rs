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

use super::link::{Phase, Shared};
use super::message::{Error, code};
use crate::environ::Environ;
use crate::observe::OpenWebSocket;
use crate::runtime::{Runtime, Sleep};
use crate::shutdown::ShutdownTrigger;
use crate::signal::Fired;

/// The keeper of one WebSocket; ready when its stream is dropped.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    runtime: Runtime,
    /// `None` once it has fired, and for a client.
    shutting_down: Option<(Fired, ShutdownTrigger)>,
    timer: Option<(Sleep, Instant)>,
    /// `None` for a client.
    observed: Option<OpenWebSocket>,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, environ: &Environ) -> Self {
        let runtime = environ.runtime().clone();
        let observed = Some(OpenWebSocket::new(environ.observers()));
        let shutting_down = Some((environ.shutting_down(), environ.shutdown().clone()));
        Keeper { shared, runtime, shutting_down, timer: None, observed }
    }

    /// Of a client's WebSocket, which the shutdown of the server is none of the business of.
    pub(super) fn of_client(shared: Arc<Shared>, runtime: Runtime) -> Self {
        Keeper { shared, runtime, shutting_down: None, timer: None, observed: None }
    }
}

impl Future for Keeper {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.shared.wakers.set_keeper(cx.waker());
        let stopping = this.shutting_down.take_if(|(fired, _)| Pin::new(fired).poll(cx).is_ready());
        loop {
            let now = this.shared.now();
            let mut link = this.shared.lock();
            if let Some((_, shutdown)) = &stopping {
                link.stop(shutdown.is_handed_over(), now);
            }
            link.pump_in(now);
            let due = link.check_clock(now);
            link.pump_out(now);
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
            let Some(due) = due else { return Poll::Pending };
            // Armed for earlier is fine: most deadlines move later, and are looked at again then.
            if this.timer.as_ref().is_none_or(|(_, armed)| *armed > due) {
                this.timer = Some((this.runtime.sleep_until(due), due));
            }
            let Some((sleep, _)) = &mut this.timer else { return Poll::Pending };
            if Pin::new(sleep).poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.timer = None;
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut link = self.shared.lock();
        link.lose(Error::Lost);
        link.release();
        // Where there was no Close nobody has sent that code.
        let close_code = link.close_code().filter(|close_code| *close_code != code::ABNORMAL);
        drop(link);
        self.shared.wakers.wake_all();
        if let Some(observed) = &mut self.observed {
            observed.code = close_code;
        }
    }
}
