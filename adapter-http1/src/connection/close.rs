//! The ends: unread request bodies, lingering close, and closing for good. \[REQ-12\], \[REQ-14\], \[EXP-02\], \[KAP-11\],
//! \[KAP-13\], \[SHU-03\]
//!
//! A socket that is closed while it holds unread octets sends a reset, and the client may lose the response. So our side of the
//! stream is ended first, and the client's octets are read and thrown away until its end, or for a while.

use std::task::Context;
use std::time::{Duration, Instant};

use adapter_core::contain::catch;
use adapter_core::observe::ConnectionEnd;

use super::Connection;
use super::body::Decoded;
use super::io::{Fill, Io};
use super::phase::{Closing, Flow, Lingering, Phase};
use super::transport::Transport;

/// Octets of a body nobody wants that are read to keep the connection: with more to come, the answer says that it ends.
const DRAIN: u64 = 256 * 1024;
/// How long the next octet of an unread body may take, and what a closed connection waits for: the client's next octet, or its end.
/// \[KAP-13\]
const LINGER: Duration = Duration::from_secs(2);
/// Reads before others get their turn.
const READS: u32 = 16;

impl<T: Transport> Io<T> {
    /// Whether the connection can be kept although the body of its request has not been read to its end. Asked when the head of
    /// the response is made, the last time that it can say otherwise: what is not wanted must have an end in sight, and
    /// must be certain to come.
    pub(super) fn can_drain(&mut self, now: Instant) -> bool {
        if self.upload.as_ref().is_some_and(|upload| upload.abandoned && upload.remaining().is_none()) {
            self.skim(now);
        }
        let Some(upload) = &self.upload else { return true };
        // [EXP-02b] RFC 9110 §10.1.1: it can't be asked for any more, and the client may leave it out
        let is_held_back = upload.expects_continue && self.input.is_empty();
        // [REQ-12] where it has not been dropped the application may still read it
        let is_left = upload.abandoned && upload.remaining().is_none_or(|remaining| remaining > DRAIN);
        !(upload.failed.is_some() || is_held_back || is_left)
    }

    /// Throws away what has come of the body.
    fn skim(&mut self, now: Instant) {
        let mut left = DRAIN;
        let mut reads = 0;
        while left > 0 {
            match self.decode() {
                Ok(Decoded::Frame(frame)) => {
                    left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
                }
                Ok(Decoded::Starved) if reads < READS && self.receive(now) == Fill::Data => reads += 1,
                _ => return,
            }
        }
    }
}

impl<T: Transport> Connection<T> {
    /// The response is complete, the request's body is not: takes it away from the application.
    pub(super) fn leave_body(&mut self, close: bool) -> Phase {
        let mut io = self.shared.io();
        io.request += 1;
        let reader = io.upload.as_deref_mut().and_then(|upload| {
            upload.abandoned = true;
            upload.deadline = None;
            upload.reader.take()
        });
        let failed = io.upload.as_ref().is_some_and(|upload| upload.failed.is_some());
        drop(io);
        if let Some(reader) = reader {
            // [REQ-15] a reader learns that it is over
            let _ = catch("waker", || reader.wake());
        }
        if close || failed { Phase::Closing(Box::new(Closing::orderly())) } else { Phase::Draining(None) }
    }

    /// \[REQ-12\] reads what the application left of the body, so that the connection can go on as the response has said.
    pub(super) fn draining(&mut self) -> Flow {
        if let Some(flow) = self.flush() {
            return flow;
        }
        let (now, is_stopping) = (self.now, self.is_stopping());
        let Phase::Draining(lingering) = &mut self.phase else { return Flow::Next };
        // [REQ-29] nothing was read while the client did not take the response, so that time does not count
        let lingering = lingering.get_or_insert_with(|| Box::new(Lingering::new(now, LINGER)));
        if is_stopping {
            lingering.hurry(now);
        }
        let mut io = self.shared.io();
        let mut reads = 0;
        loop {
            match io.decode() {
                // [LIM-05] data is what counts
                Ok(Decoded::Frame(_)) => {
                    lingering.renew(now);
                    if now < lingering.until() {
                        continue;
                    }
                }
                Ok(Decoded::End) => {
                    drop(io);
                    self.phase = Phase::Head;
                    return Flow::Next;
                }
                Ok(Decoded::Starved) if reads >= READS => return Flow::Again,
                Ok(Decoded::Starved) => {
                    reads += 1;
                    match io.receive(now) {
                        Fill::Data => continue,
                        Fill::Wait if now < lingering.until() => return Flow::Park(Some(lingering.until())),
                        _ => {}
                    }
                }
                Err(_) => {}
            }
            // Too slow, malformed, or broken off. [KAP-11]
            drop(io);
            self.shared.environ.ends(ConnectionEnd::Done);
            self.phase = Phase::Closing(Box::new(Closing::orderly()));
            return Flow::Next;
        }
    }

    /// \[KAP-13\] writes what is left, ends our side, and waits for the client's end.
    pub(super) fn closing(&mut self, cx: &mut Context<'_>) -> Flow {
        if let Some(flow) = self.flush() {
            return flow;
        }
        let (now, is_stopping) = (self.now, self.is_stopping());
        let Phase::Closing(closing) = &mut self.phase else { return Flow::Next };
        if closing.reset {
            return self.close(true);
        }
        let mut io = self.shared.io();
        // Dropped without the lock: a reader's waker may be in it.
        let upload = if closing.lingering.is_none() { io.upload.take() } else { None };
        let lingering = closing.lingering.get_or_insert_with(|| Lingering::new(now, LINGER));
        if is_stopping {
            lingering.hurry(now);
        }
        let shut = match &mut io.transport {
            Some(transport) if !closing.shut => transport.poll_shutdown(cx).is_ready(),
            _ => true,
        };
        closing.shut = shut;
        if !shut && now < lingering.until() {
            drop(io);
            drop(upload);
            return Flow::Park(Some(lingering.until()));
        }
        io.input.clear();
        for _ in 0..READS {
            match io.fill() {
                Fill::Data => {
                    io.input.clear();
                    lingering.renew(now);
                }
                Fill::Wait if now < lingering.until() => {
                    drop(io);
                    drop(upload);
                    return Flow::Park(Some(lingering.until()));
                }
                Fill::Wait => break,
                Fill::End | Fill::Broken => {
                    drop(io);
                    return self.close(false);
                }
            }
        }
        if now < lingering.until() {
            return Flow::Again;
        }
        self.shared.limit_unsent(&io);
        drop(io);
        self.close(false)
    }

    /// Ends the connection between two requests, as politely as goes without waiting. RFC 8446 §6.1
    pub(super) fn part(&mut self) -> Flow {
        let mut io = self.shared.io();
        if io.output.is_empty()
            && let Some(transport) = &mut io.transport
        {
            transport.farewell();
        }
        drop(io);
        self.close(false)
    }

    /// The same, and that is why.
    pub(super) fn part_for(&mut self, why: ConnectionEnd) -> Flow {
        self.shared.environ.ends(why);
        self.part()
    }

    /// [`close`](Self::close), and that is why.
    pub(super) fn close_for(&mut self, why: ConnectionEnd) -> Flow {
        self.shared.environ.ends(why);
        self.close(false)
    }

    /// Ends the connection at once. What the application has of it was dropped, or is dropped here; it learns that it is over.
    pub(super) fn close(&mut self, reset: bool) -> Flow {
        // [BOD-14b] whatever it is cut off for: an orderly end would be its end
        let is_open = matches!(&self.phase, Phase::Sending(sending) if sending.body.breaks_off_by_reset());
        let reset = reset || is_open;
        // [DIS-08] what is dropped knows why
        self.shared.environ.disconnected.fire();
        self.phase = Phase::Closed;
        if let Some(mut observed) = self.observed.take() {
            observed.received(self.shared.io().received);
        }
        self.shared.cut_off(reset);
        super::upgrade::withdraw(&mut self.handover);
        Flow::Closed
    }
}
