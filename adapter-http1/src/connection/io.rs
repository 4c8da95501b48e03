//! The transport of a connection and what is buffered around it.
//!
//! Under one lock, shared by the connection's task, the request body and the early hints. The transport wakes the
//! connection's task, whoever polls it: that passes it on. Application code is never called, woken or dropped under the
//! lock; observers of the server are told under it, and have nothing that leads here.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use adapter_core::dispatch::{self, GRACE, Limit, Observed};
use adapter_core::rules::request::Facts;
use adapter_core::{Response, sync};
use bytes::Bytes;

use super::transport::Transport;
use super::upload::Upload;
use crate::buffers::{Input, Output, Spare};
use crate::encoder;

sync::thread_local! {
    /// Buffers, lent to the connections that this thread runs.
    static SPARE: RefCell<Spare> = RefCell::default();
}

/// The outcome of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// There is more input.
    Data,
    /// Nothing now; the connection's task is woken.
    Wait,
    /// The client's stream has ended.
    End,
    /// The connection is broken.
    Broken,
}

/// The outcome of [`Io::flush`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    /// Everything is out.
    Done,
    /// No room now; the connection's task is woken.
    Wait,
    /// The connection is broken.
    Broken,
}

/// Application code that has a time limit.
pub(super) struct Limited {
    pub(super) limit: Arc<Limit>,
    /// What is known of the request, for its answer.
    pub(super) facts: Facts,
    /// Since when it holds the thread.
    pub(super) begun: Instant,
}

pub(super) struct Io<T> {
    /// `None` once it is closed.
    pub(super) transport: Option<T>,
    pub(super) input: Input,
    pub(super) output: Output,
    /// The body of the current request, until it is read to its end.
    pub(super) upload: Option<Box<Upload>>,
    /// The number of the current request.
    pub(super) request: u64,
    /// Whether its final head has been written.
    pub(super) committed: bool,
    /// The transport is the application's, or about to be.
    pub(super) taken: bool,
    /// The client's stream has ended.
    pub(super) at_end: bool,
    /// And not in the way in which the layer below HTTP says that it is meant.
    pub(super) truncated: bool,
    /// When somebody else than the connection's task has seen that end first.
    pub(super) ended_at: Option<Instant>,
    /// The connection is broken.
    pub(super) broken: bool,
    /// Since when the client has taken nothing, if anything waits for it.
    pub(super) stalled_since: Option<Instant>,
    /// Since when the connection has waited for a request of which nothing has come.
    pub(super) idle_since: Option<Instant>,
    /// It has taken something.
    moved: bool,
    /// The transport may hold something of what it took.
    pub(super) may_hold: bool,
    /// When something of a body was read last.
    pub(super) heard: Instant,
    /// A waker to be dropped without the lock.
    pub(super) stale: Option<Waker>,
    /// The connection's task.
    waker: Waker,
    /// The connection's task is at it: it looks at what others leave here.
    pub(super) running: bool,
    /// Octets of the current request's body that were read.
    pub(super) received: u64,
    /// The current request, while application code holds the connection's thread: it may not come back before the server ends.
    lent: Option<Box<Observed>>,
    /// The time limit of that code, and what is known of the request for the answer that another thread gives then.
    pub(super) limit: Option<Limited>,
    /// It has given it: what the code makes is for nobody.
    pub(super) answered_late: bool,
    /// Requests whose responses are in the output to the last octet, where somebody wants to know.
    #[expect(clippy::vec_box, reason = "they are in boxes already")]
    undelivered: Vec<Box<Observed>>,
}

impl<T: Transport> Io<T> {
    pub(super) fn new(transport: T, now: Instant) -> Self {
        Io {
            transport: Some(transport),
            input: Input::default(),
            output: Output::default(),
            upload: None,
            request: 0,
            committed: true,
            taken: false,
            at_end: false,
            truncated: false,
            ended_at: None,
            broken: false,
            stalled_since: None,
            idle_since: None,
            moved: false,
            may_hold: false,
            heard: now,
            stale: None,
            waker: Waker::noop().clone(),
            running: false,
            received: 0,
            lent: None,
            limit: None,
            answered_late: false,
            undelivered: Vec::new(),
        }
    }

    /// The connection's task has a turn.
    pub(super) fn begin_turn(&mut self, waker: &Waker) {
        if !self.waker.will_wake(waker) && self.transport.is_some() {
            self.waker = waker.clone();
        }
        self.running = true;
        self.idle_since = None;
    }

    /// Its turn is over: empty buffers go back.
    pub(super) fn end_turn(&mut self) {
        self.running = false;
        SPARE.with(|spare| {
            let mut spare = spare.borrow_mut();
            self.input.settle(&mut spare);
            self.output.settle(&mut spare);
        });
    }

    /// The connection's task, if it has to be told what was left here.
    pub(super) fn task(&self) -> Option<Waker> {
        (!self.running).then(|| self.waker.clone())
    }

    /// Whether nobody is there to be answered.
    pub(super) fn is_gone(&mut self) -> bool {
        self.broken |= self.transport.as_ref().is_none_or(Transport::was_reset);
        self.broken
    }

    /// Whether the client's stream ended so long ago, while application code held the thread since `begun`, that code which does not
    /// block would have been dropped. \[DIS-04b\]
    pub(super) fn has_left(&self, begun: Instant, now: Instant) -> bool {
        // An end behind octets that nobody reads is waited for once more.
        let grace = if self.upload.is_some() { 2 * GRACE } else { GRACE };
        self.ended_at.is_some_and(|ended| now >= ended.max(begun) + grace)
    }

    /// Whether output waits that somebody has to see to before application code may block.
    pub(super) fn must_flush(&mut self) -> bool {
        !self.output.is_empty() && !self.transport.as_mut().is_some_and(Transport::hold)
    }

    /// Whom the transport wakes from now on; gives who was woken before.
    pub(super) fn set_waker(&mut self, waker: Waker) -> Waker {
        std::mem::replace(&mut self.waker, waker)
    }

    /// The buffer to append output to.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        SPARE.with(|spare| self.output.buffer(&mut spare.borrow_mut()))
    }

    /// Reads more input, once.
    pub(super) fn fill(&mut self) -> Fill {
        let Io { transport: Some(transport), input, waker, at_end: false, .. } = self else { return self.over() };
        let cx = &mut Context::from_waker(waker);
        if transport.poll_readable(cx).is_pending() {
            return Fill::Wait;
        }
        let polled = SPARE.with(|spare| {
            let polled = transport.poll_read(cx, input.space(&mut spare.borrow_mut()));
            if let Poll::Ready(Ok(count)) = polled {
                input.filled(count);
            }
            polled
        });
        self.outcome(polled)
    }

    /// Reads into a buffer of its own: the way of larger bodies.
    pub(super) fn read_new(&mut self, size: usize) -> Result<Bytes, Fill> {
        let Io { transport: Some(transport), waker, at_end: false, .. } = self else { return Err(self.over()) };
        let cx = &mut Context::from_waker(waker);
        if transport.poll_readable(cx).is_pending() {
            return Err(Fill::Wait);
        }
        let mut buffer = vec![0; size];
        let polled = transport.poll_read(cx, &mut buffer);
        let count = if let Poll::Ready(Ok(count)) = polled { count } else { 0 };
        match self.outcome(polled) {
            // A small piece does not pin a large buffer.
            Fill::Data if count < size / 4 => Ok(Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default())),
            Fill::Data => {
                buffer.truncate(count);
                Ok(Bytes::from(buffer))
            }
            outcome => Err(outcome),
        }
    }

    fn outcome(&mut self, polled: Poll<std::io::Result<usize>>) -> Fill {
        match polled {
            Poll::Pending => Fill::Wait,
            Poll::Ready(Ok(0)) => {
                self.at_end = true;
                Fill::End
            }
            Poll::Ready(Ok(_)) => Fill::Data,
            Poll::Ready(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                (self.at_end, self.truncated) = (true, true);
                Fill::End
            }
            Poll::Ready(Err(_)) => {
                self.broken = true;
                Fill::Broken
            }
        }
    }

    /// Why nothing can be read any more.
    fn over(&self) -> Fill {
        if self.transport.is_some() && !self.broken { Fill::End } else { Fill::Broken }
    }

    /// Writes what there is, as far as there is room; `now` is when that is noticed.
    #[inline]
    pub(super) fn flush(&mut self, now: Instant) -> Flush {
        if self.output.is_empty() && !self.may_hold {
            self.stalled_since = None;
            return Flush::Done;
        }
        self.flush_all(now)
    }

    fn flush_all(&mut self, now: Instant) -> Flush {
        let Io { transport, output, waker, may_hold, .. } = self;
        loop {
            let Some(transport) = transport.as_mut().filter(|_| !self.broken) else {
                if output.is_empty() {
                    break;
                }
                output.clear();
                return Flush::Broken;
            };
            let cx = &mut Context::from_waker(waker);
            let flushed = if *may_hold { transport.poll_flush(cx) } else { Poll::Ready(Ok(0)) };
            let polled = match flushed {
                Poll::Ready(Ok(0)) if output.is_empty() => break,
                Poll::Ready(Ok(0)) => {
                    let written = transport.poll_write(cx, &output.parts());
                    if let Poll::Ready(Ok(count)) = written {
                        output.sent(count);
                    }
                    written
                }
                flushed => flushed,
            };
            match polled {
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.moved = true;
                    self.stalled_since = None;
                }
                Poll::Pending => {
                    self.stalled_since.get_or_insert(now);
                    self.undelivered.iter_mut().for_each(|observed| observed.waits(now));
                    return Flush::Wait;
                }
                // [ERR-07] quiet: the client is gone
                Poll::Ready(_) => {
                    self.broken = true;
                    output.clear();
                    return Flush::Broken;
                }
            }
        }
        self.stalled_since = None;
        match self.undelivered.len() {
            0 => {}
            // Most.
            1 => self.undelivered.pop().into_iter().for_each(|observed| observed.delivered(now)),
            _ => self.undelivered.drain(..).for_each(|observed| observed.delivered(now)),
        }
        Flush::Done
    }

    /// The response to `observed` is in the output to the last octet: it has ended once that is out.
    pub(super) fn deliver(&mut self, mut observed: Box<Observed>, now: Instant) {
        observed.received(self.received);
        if self.output.is_empty() && !self.may_hold {
            observed.delivered(now);
        } else {
            self.undelivered.push(observed);
        }
    }

    /// Application code is about to hold the thread: whoever closes the connection meanwhile tells how its request has ended.
    pub(super) fn lend(&mut self, observed: Option<Box<Observed>>) {
        self.lent = observed;
    }

    /// It has come back; `None` where that was told.
    pub(super) fn take_back(&mut self) -> Option<Box<Observed>> {
        self.lent.take()
    }

    /// The time limit of the application code that holds the connection's thread just now, if it has one that is not over with.
    pub(super) fn limit(&self) -> Option<&Arc<Limit>> {
        self.limit.as_ref().map(|limited| &limited.limit)
    }

    /// That limit is lifted where its client has left, as of `now`; whether it is.
    pub(super) fn lift_limit(&mut self, now: Instant) -> bool {
        let is_gone = self.is_gone();
        let begun = self.limit.as_ref().map(|limited| limited.begun);
        let has_left = begun.is_some_and(|begun| is_gone || self.has_left(begun, now));
        if has_left && let Some(limited) = self.limit.take() {
            limited.limit.lift();
        }
        has_left
    }

    /// Puts `response` into the output in place of what application code makes that holds the connection's thread, unless it has come back
    /// meanwhile; gives whom to wake, without the lock. \[LIM-09\]
    pub(super) fn answer_instead(&mut self, response: Response, now: Instant) -> Option<Waker> {
        let mut facts = self.limit.take().filter(|_| self.transport.is_some() && !self.broken)?.facts;
        facts.keep_alive = false;
        let mut observed = self.lent.take();
        if let Some(observed) = &mut observed {
            observed.extended(response.extensions());
        }
        let (head, mut body, plan) = dispatch::prepare(response, &facts, false);
        encoder::head_at(self.out(), &head, &plan, facts.version, facts.is_head, now);
        let mut sent = 0;
        if plan.send_body
            && let Some(Ok(frame)) = body.next_frame()
            && let Ok(data) = frame.into_data()
        {
            sent = data.len();
            self.output.append(data, b"");
        }
        if let Some(mut observed) = observed {
            observed.answered_at_once(head.status);
            observed.sent(sent as u64);
            self.deliver(observed, now);
        }
        // Whoever still holds the request's handles is cut off.
        self.request += 1;
        (self.committed, self.answered_late) = (true, true);
        self.upload.as_mut().and_then(|upload| upload.reader.take())
    }

    /// Nothing more will be sent, and it is all out: says so, as far as that goes without waiting. Who closes says it again.
    pub(super) fn end_output(&mut self) {
        if let Some(transport) = &mut self.transport {
            let _: Poll<_> = transport.poll_shutdown(&mut Context::from_waker(&self.waker));
        }
    }

    /// The client seems to take nothing: whether it does, from `now` on.
    pub(super) fn takes_something(&mut self, now: Instant) -> bool {
        self.moved = false;
        if let Some(transport) = &mut self.transport {
            transport.expect_room();
        }
        let flushed = self.flush(now);
        let takes = flushed == Flush::Done || self.moved;
        if takes && flushed == Flush::Wait {
            self.stalled_since = Some(now);
        }
        takes
    }

    /// Closes the transport, with a reset instead of an orderly end if so wanted; gives whom to wake and whom to forget, both without
    /// the lock.
    #[must_use = "the reader has to be woken"]
    pub(super) fn close(&mut self, reset: bool) -> (Option<Waker>, Waker) {
        if let Some(transport) = &mut self.transport
            && reset
        {
            transport.reset_on_close();
        }
        self.transport = None;
        self.broken = true;
        self.request += 1;
        self.input.clear();
        self.output.clear();
        self.undelivered.clear();
        if let Some(mut lent) = self.lent.take() {
            lent.received(self.received);
        }
        // The task's waker may keep the connection, which keeps this.
        let task = std::mem::replace(&mut self.waker, Waker::noop().clone());
        (self.upload.take().and_then(|upload| upload.reader), task)
    }
}
