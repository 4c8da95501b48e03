//! How a connection ends: in stages, broken off, given up, refused. \[KAP-13\], \[BOD-14a\], \[LIM-06\], \[UPG-19b\]

use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use adapter_core::Bytes;
use adapter_core::observe::{ConnectionEnd, TimeLimit};
use adapter_core::refused::Asked;
use adapter_core::server::ShutdownLevel;
use adapter_http1::head;

use super::{Connection, Protocol, unparsed};
use crate::engine::frames;
use crate::engine::io::LINE;
use crate::engine::linger::Linger;
use crate::engine::status::{LAST_LINGER, LINGER, LINGER_AT_MOST, Phase};

impl Connection {
    /// The client resets too many streams: it is told to keep calm, and the connection ends. RFC 9113 §6.8, §7, §10.5
    #[cold]
    pub(super) fn poll_calm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let peer = self.shared.environ.told();
        tracing::info!(target: "adapter", peer, "a client of HTTP/2 resets too many streams; closed");
        self.shared.environ.ends(ConnectionEnd::Refused);
        let mut socket = self.shared.socket();
        // Not in the middle of a frame of hyper's.
        if socket.is_between_frames() {
            socket.append(&frames::ENHANCE_YOUR_CALM);
            // What does not go out at once is lost with the connection.
            let _: Poll<_> = socket.poll_flush(&self.shared.status, cx);
        }
        drop(socket);
        self.poll_close(cx)
    }

    /// hyper is done, or the application with its stream: our direction ends behind what is on its way, and what the client
    /// still sends must not destroy that. \[UPG-19b\], \[KAP-13\]
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let flushed = self.shared.poll_flush(cx);
        let mut socket = self.shared.socket();
        // Nobody waits for what is left of HTTP/2 but a GOAWAY.
        if flushed.is_pending() && !self.shared.status.is_multiplexed() {
            drop(socket);
            self.protocol = Protocol::Closing;
            return Poll::Pending;
        }
        // A socket that can't be shut down has nobody at its other end.
        let shut = socket.poll_shutdown_raw(cx);
        drop(socket);
        if matches!(flushed, Poll::Ready(Err(_))) || matches!(shut, Poll::Ready(Err(_))) {
            return self.abort();
        }
        self.protocol = self.linger();
        self.poll_protocol(cx)
    }

    /// The state of lingering, from now on.
    pub(super) fn linger(&self) -> Protocol {
        let now = self.shared.status.now();
        let most = match () {
            () if self.draining => LAST_LINGER,
            // Nothing of an answer is on its way, but a GOAWAY.
            () if self.shared.status.is_multiplexed() => LINGER,
            () => LINGER_AT_MOST,
        };
        Protocol::Lingering(Linger::new(now, most))
    }

    /// A response is broken off: the connection ends behind what is sent of it, unless that would look like its end.
    /// \[BOD-14a\], \[KAP-13\]
    pub(super) fn poll_break_off(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.shared.status.reset.load(Relaxed) || self.shared.status.has_ended() {
            return self.abort();
        }
        self.poll_close(cx)
    }

    /// The connection ends where nothing is under way, as politely as goes without waiting. RFC 8446 §6.1
    pub(super) fn part(&mut self) -> Poll<()> {
        self.shared.socket().farewell();
        Poll::Ready(())
    }

    /// The connection has failed: what is not sent is lost.
    pub(super) fn abort(&mut self) -> Poll<()> {
        if self.shared.status.reset.load(Relaxed) {
            self.shared.socket().reset_on_close();
        }
        Poll::Ready(())
    }

    /// \[KAP-13\] RFC 9112 §9.6: a close with unread bytes resets the connection and may destroy the response on its way.
    pub(super) fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.tell_refusal(None);
        let status = &self.shared.status;
        // An idle connection has nothing on its way.
        let may_send = status.says_close.load(Relaxed)
            || status.phase() == Phase::Head
            || status.is_multiplexed()
            || self.shared.socket().inflow.is_in_body();
        if self.shared.engine.serving.shutdown.level() != ShutdownLevel::Running {
            self.shared.environ.ends(ConnectionEnd::Drained);
        } else if status.says_close.load(Relaxed) || !status.has_ended() {
            self.shared.environ.ends(ConnectionEnd::Done);
        }
        if (status.has_ended() || !may_send) && self.shared.is_flushed() {
            return self.part();
        }
        self.poll_close(cx)
    }

    /// \[LIM-06\] The client seems to take nothing: an operating system tells of room late, so it is tried once more.
    pub(super) fn poll_stalled(&mut self, cx: &mut Context<'_>, now: u64) -> Poll<()> {
        self.shared.socket().expect_room();
        if self.poll_protocol(cx).is_ready() {
            return Poll::Ready(());
        }
        match self.shared.status.write_deadline(&self.shared.engine.timeouts) {
            Some((deadline, _)) if deadline <= now => self.give_up(),
            _ => self.poll_deadline(cx, now),
        }
    }

    /// \[LIM-06\] The client takes nothing: what lies in the operating system for it is thrown away with the connection.
    pub(super) fn give_up(&mut self) -> Poll<()> {
        self.shared.environ.ends(ConnectionEnd::Stalled);
        self.shared.environ.timed_out(TimeLimit::Write);
        self.shared.environ.disconnected.fire();
        self.shared.socket().reset_on_close();
        Poll::Ready(())
    }

    /// A head was refused by hyper, which is done because of `error`, or was late: the client is told in our words, and the log.
    /// \[ERR-05\]
    pub(super) fn tell_refusal(&mut self, error: Option<&hyper::Error>) {
        let status = &self.shared.status;
        if status.is_refused.load(Relaxed) {
            return;
        }
        let is_first = status.phase() == Phase::Head;
        let late = is_first && status.head_timed_out.load(Relaxed) && status.head_begun.load(Relaxed);
        let (rejection, left) = match error {
            // hyper has kept what came.
            Some(_) if late => (head::LATE, Some(self.left_by_hyper()).filter(|left| !left.is_empty())),
            None if late => (head::LATE, None),
            Some(error) => {
                let left = self.left_by_hyper();
                let lengths = self.shared.socket().inflow.lengths();
                let Some((rejection, is_left)) = unparsed::why(error, &left, lengths, &self.shared.engine.limits)
                else {
                    return;
                };
                (rejection, is_left.then_some(left))
            }
            None => return,
        };
        let mut line = [0; LINE];
        let mut socket = self.shared.socket();
        let length = socket.line().len();
        line[..length].copy_from_slice(socket.line());
        let begun = match &left {
            Some(left) => left,
            // What came together with one that was served is not remembered.
            None if is_first => &line[..length],
            None => b"".as_slice(),
        };
        let is_silent = error.is_some_and(hyper::Error::is_parse_version_h2);
        let in_our_words = late || socket.refuse(&rejection, begun, is_silent);
        drop(socket);
        let asked = if begun.is_empty() { Asked::Nothing } else { Asked::Octets(begun) };
        match in_our_words {
            true => self.shared.environ.refused(&rejection, asked),
            false => self.shared.environ.refused_without_body(&rejection, asked),
        }
        self.shared.environ.ends(ConnectionEnd::Refused);
    }

    /// What hyper has read and not taken. It is gone then.
    fn left_by_hyper(&mut self) -> Bytes {
        match std::mem::replace(&mut self.protocol, Protocol::Closing) {
            Protocol::Http1(connection) => connection.into_parts().map(|parts| parts.read_buf).unwrap_or_default(),
            _ => Bytes::new(),
        }
    }
}
