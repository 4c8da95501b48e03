//! A web server's connection: octets and events, deadlines, the shutdown.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use adapter_core::environ;
use adapter_core::observe::{ConnectionEnd, TimeLimit};
use adapter_core::server::ShutdownLevel;
use adapter_core::server::ShutdownWatch;
use adapter_core::{Sleep, Timeouts};
use adapter_http1::connection::Transport;

use crate::body::Feed;
use crate::framing::{Event, Framing, Malformed};

/// Octets read at a time.
const PIECE: usize = 16 * 1024;
/// Reads before others get their turn.
const READS: u32 = 16;
/// How long the end of the web server's stream may go unseen while nothing is read.
const LOOK: Duration = Duration::from_millis(100);

/// A connection with its buffers.
pub(crate) struct Wire<F: Framing, T: Transport> {
    pub(crate) io: T,
    pub(crate) framing: F,
    pub(crate) environ: Arc<environ::Connection>,
    timeouts: Timeouts,
    /// What was said and not heeded yet.
    pub(crate) events: VecDeque<Event>,
    output: Vec<u8>,
    sent: usize,
    /// A response was begun, and neither ended nor broken off.
    is_open: bool,
    pub(crate) malformed: Option<Malformed>,
    /// The web server's stream has ended.
    pub(crate) ended: bool,
    /// It does not want the answer.
    pub(crate) aborted: bool,
    /// The connection is of no use.
    pub(crate) broken: bool,
    /// When something was read last.
    pub(crate) heard: Instant,
    stalled_since: Option<Instant>,
    timer: Option<(Sleep, Instant)>,
    shutdown: ShutdownWatch,
    draining: bool,
}

impl<F: Framing, T: Transport> Wire<F, T> {
    pub(crate) fn new(io: T, limit: usize, timeouts: Timeouts, environ: Arc<environ::Connection>) -> Self {
        Wire {
            framing: F::new(limit),
            timeouts,
            events: VecDeque::new(),
            output: Vec::new(),
            sent: 0,
            is_open: false,
            malformed: None,
            ended: false,
            aborted: false,
            broken: false,
            heard: environ.serving.runtime.now(),
            stalled_since: None,
            timer: None,
            shutdown: environ.serving.shutdown.reached(ShutdownLevel::Draining),
            draining: false,
            io,
            environ,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.environ.serving.runtime.now()
    }

    pub(crate) fn level(&self) -> ShutdownLevel {
        self.environ.serving.shutdown.level()
    }

    /// Octets that wait to be sent.
    pub(crate) fn waiting(&self) -> usize {
        self.output.len() - self.sent
    }

    /// A piece of the response.
    pub(crate) fn say(&mut self, data: &[u8]) {
        self.is_open = true;
        self.framing.data(data, &mut self.output);
    }

    /// The response is whole.
    pub(crate) fn end(&mut self) {
        self.is_open = false;
        self.framing.end(&mut self.output);
    }

    /// It is broken off.
    pub(crate) fn break_off(&mut self) {
        self.is_open = false;
        self.framing.broken(&mut self.output);
        if self.framing.ends_by_close() {
            self.io.reset_on_close();
        }
    }

    /// Hears what is said, as far as `feed` has room for the request's body; without one only what is no body. Wakes `cx` when there is more.
    pub(crate) fn poll_hear(&mut self, cx: &mut Context<'_>, feed: Option<&Feed>) {
        for _ in 0..READS {
            while let Some(event) = self.events.front() {
                match (event, feed) {
                    (Event::Data(_), Some(feed)) if feed.is_full(cx) => return self.look(),
                    (Event::Request { .. }, _) => return,
                    _ => {}
                }
                match (self.events.pop_front(), feed) {
                    (Some(Event::Data(data)), Some(feed)) => feed.push(data),
                    (Some(Event::End), Some(feed)) => feed.end(),
                    (Some(Event::Abort), _) => self.aborted = true,
                    (Some(Event::Reply(octets)), _) => self.output.extend_from_slice(&octets),
                    _ => {}
                }
            }
            if self.ended || self.malformed.is_some() {
                if let Some(feed) = feed {
                    feed.cut();
                }
                return;
            }
            if feed.is_some_and(|feed| feed.is_full(cx)) {
                return self.look();
            }
            let mut piece = [0; PIECE];
            match self.io.poll_read(cx, &mut piece) {
                Poll::Pending => return,
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.heard = self.now();
                    let events = &mut self.events;
                    let octets = piece.get(..count).unwrap_or_default();
                    self.malformed = self.framing.receive(octets, &mut |event| events.push_back(event)).err();
                }
                Poll::Ready(Ok(_)) => self.ended = true,
                Poll::Ready(Err(_)) => (self.ended, self.broken) = (true, true),
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Looks for the end of the web server's stream while nothing is read.
    fn look(&mut self) {
        self.ended |= self.io.has_ended() || self.io.was_reset();
    }

    /// Writes what waits, as far as there is room. `false` once that is of no use any more.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> bool {
        while self.sent < self.output.len() && !self.broken {
            let rest = self.output.get(self.sent..).unwrap_or_default();
            match self.io.poll_write(cx, &[IoSlice::new(rest)]) {
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.sent += count;
                    self.stalled_since = None;
                }
                Poll::Ready(_) => self.broken = true,
                Poll::Pending => {
                    let since = *self.stalled_since.get_or_insert_with(|| self.environ.serving.runtime.now());
                    if self.write_deadline(since).is_some_and(|deadline| self.now() >= deadline) {
                        // [LIM-06]
                        self.environ.ends(ConnectionEnd::Stalled);
                        self.environ.timed_out(TimeLimit::Write);
                        self.io.reset_on_close();
                        self.broken = true;
                    }
                    return !self.broken;
                }
            }
        }
        if !self.broken {
            self.output.clear();
            self.sent = 0;
            self.stalled_since = None;
        }
        !self.broken
    }

    fn write_deadline(&self, since: Instant) -> Option<Instant> {
        self.timeouts.write.and_then(|limit| since.checked_add(limit))
    }

    /// Waits until `until`, until the client has to be looked at, or the shutdown goes on. Ready where one of that has come: look again.
    pub(crate) fn poll_wait(&mut self, cx: &mut Context<'_>, until: Option<Instant>, feed: Option<&Feed>) -> Poll<()> {
        while Pin::new(&mut self.shutdown).poll(cx).is_ready() {
            if self.draining {
                return if self.level() == ShutdownLevel::Forced { Poll::Pending } else { Poll::Ready(()) };
            }
            self.draining = true;
            self.shutdown = self.environ.serving.shutdown.reached(ShutdownLevel::Forced);
            cx.waker().wake_by_ref();
        }
        let look = feed.filter(|feed| feed.is_full(cx)).map(|_| self.now() + LOOK);
        let write = self.stalled_since.and_then(|since| self.write_deadline(since));
        let Some(until) = [until, look, write].into_iter().flatten().min() else { return Poll::Pending };
        if self.timer.as_ref().is_none_or(|(_, armed)| *armed != until) {
            self.timer = Some((self.environ.serving.runtime.sleep_until(until), until));
        }
        let Some((sleep, _)) = &mut self.timer else { return Poll::Pending };
        let polled = Pin::new(sleep).poll(cx);
        if polled.is_ready() {
            self.timer = None;
        }
        polled
    }
}

impl<F: Framing, T: Transport> Drop for Wire<F, T> {
    /// A response that is cut here, at the deadline of a shutdown or because its client is late, must not look whole either.
    fn drop(&mut self) {
        if self.is_open {
            self.break_off();
        }
        let rest = self.output.get(self.sent..).unwrap_or_default();
        if rest.is_empty() || self.broken {
            return;
        }
        // Nobody waits any more: what is taken at once is taken.
        let written = self.io.poll_write(&mut Context::from_waker(Waker::noop()), &[IoSlice::new(rest)]);
        if !matches!(written, Poll::Ready(Ok(count)) if count == rest.len()) {
            self.io.reset_on_close();
        }
    }
}
