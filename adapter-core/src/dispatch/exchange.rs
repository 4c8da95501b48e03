//! One request's way from the call of the application to its response, without I/O. \[DIS-01\], \[DIS-04\], \[LIM-09\]
//!
//! A value that is polled, told the time and told of the client; the server reads, writes and waits around it.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::{Call, Limit};
use crate::application::{DynApplication, Request, Response};
use crate::environ::Environ;
use crate::rules::request::Facts;
use crate::signal::Signal;

/// How long application code may go on after the end of the client's stream, while it gives nothing to send. \[DIS-04b\]
pub const GRACE: Duration = Duration::from_millis(250);

/// A request that the application has. For server authors.
///
/// Dropping it drops the application's future, whose panic is contained.
#[derive(Debug)]
pub struct Exchange {
    call: Call,
    /// What is known of the request, for its answer.
    pub facts: Facts,
    /// When the answer is 503.
    limit: Option<Arc<Limit>>,
    /// What the end of the client's stream means for it.
    pub grace: Grace,
}

impl Exchange {
    /// Calls `application`, which has until `limit` from `now` on to answer. Does not poll it.
    #[inline]
    pub fn begin(
        application: &DynApplication,
        mut request: Request,
        environ: Environ,
        facts: Facts,
        limit: Option<Duration>,
        now: Instant,
    ) -> Self {
        let limit = Limit::set(limit, now, &mut request, &environ);
        Exchange { call: super::call(application, request, environ), facts, limit, grace: Grace::default() }
    }

    /// Polls the application; ready means that `answer` has its response, or the 503 of one that took too long, whose future is
    /// dropped then. Poll it when its waker was woken and at the [`deadline`](Self::deadline), until it is ready; asked once more, the
    /// answer is a 500. `clock` tells the time, before the application is polled and after. Blocks only as the application does, and
    /// never panics. \[LIM-09\]
    #[inline]
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        clock: impl Fn() -> Instant,
        answer: &mut Option<Response>,
    ) -> Poll<()> {
        let Exchange { call, limit, .. } = self;
        if let Some(limit) = limit
            && limit.has_passed(clock())
        {
            *answer = Some(call.time_out(limit));
            return Poll::Ready(());
        }
        ready!(call.poll_into(cx, answer));
        if let Some(limit) = limit
            && limit.has_passed(clock())
        {
            // Code that blocks can't be stopped, but its result is thrown away.
            *answer = answer.take().map(|response| call.is_late(limit, response));
        }
        Poll::Ready(())
    }

    /// When it has to be polled, woken or not.
    pub fn deadline(&self) -> Option<Instant> {
        self.limit.as_ref().map(|limit| limit.until())
    }

    /// Its time limit: another thread can [answer](Limit::answer) where application code holds the one that polls it.
    pub fn limit(&self) -> Option<&Arc<Limit>> {
        self.limit.as_ref()
    }
}

/// What there is of a client, as a server knows it.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Its stream has ended.
    pub ended: bool,
    /// The application has not read all that came before.
    pub unread: bool,
    /// When something of it was read last.
    pub heard: Instant,
}

/// How long application code goes on for a client whose stream has ended. \[DIS-01\], \[DIS-04\]
///
/// Such a client may still read, or be gone: there is no telling. So the code is told, and has [`GRACE`] from then on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grace(Option<Instant>);

impl Grace {
    /// Until when, as of `now`; `None` without an end. Fires `disconnected` when it is time to, which wakes who waits for it: not
    /// under a lock that they may want. When that time has come, drop the code. Does not block.
    pub fn until(&mut self, client: Client, now: Instant, disconnected: &Signal) -> Option<Instant> {
        if !client.ended {
            return None;
        }
        if !client.unread {
            disconnected.fire();
        }
        let until = (*self.0.get_or_insert(now)).max(client.heard) + GRACE;
        if now < until || disconnected.is_fired() {
            return Some(until);
        }
        // The end lies behind octets nobody reads: say so, and wait once more.
        disconnected.fire();
        self.0 = Some(now);
        Some(now + GRACE)
    }

    /// The code has given something to send.
    pub fn renew(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_nothing_is_told_late_and_waited_for_once_more() {
        let start = Instant::now();
        let (signal, mut grace) = (Signal::new(), Grace::default());
        let client = Client { ended: false, unread: true, heard: start };
        assert_eq!(grace.until(client, start, &signal), None);
        let ended = Client { ended: true, ..client };
        assert_eq!(grace.until(ended, start, &signal), Some(start + GRACE));
        assert!(!signal.is_fired());
        assert_eq!(grace.until(ended, start + GRACE, &signal), Some(start + 2 * GRACE));
        assert!(signal.is_fired());
        assert_eq!(grace.until(ended, start + 2 * GRACE, &signal), Some(start + 2 * GRACE), "it is over");
    }

    #[test]
    fn who_has_read_all_is_told_at_once_and_gains_by_what_it_sends() {
        let start = Instant::now();
        let (signal, mut grace) = (Signal::new(), Grace::default());
        let client = Client { ended: true, unread: false, heard: start };
        assert_eq!(grace.until(client, start, &signal), Some(start + GRACE));
        assert!(signal.is_fired());
        grace.renew();
        let later = start + GRACE / 2;
        assert_eq!(grace.until(client, later, &signal), Some(later + GRACE));
    }
}
