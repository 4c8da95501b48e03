//! The socket of a connection and what is buffered around it.
//!
//! Under one lock, shared by the worker that runs the connection, the request body and the early hints. Nothing here
//! waits: a read or write that can't go on says so, and the poller reports when it can. Buffers are borrowed from the
//! worker ([`Scratch`]) and go back when they are empty. \[KAP-10\], \[BOD-16\], \[ERR-07\]

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use adapter_http1::buffers::{self, Input, Output};
use adapter_http1::head;
use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_user_timeout;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown};

use super::request_body::Incoming;
use super::upgrade::Waiting;
use super::{Conn, bit};
use crate::engine::Tick;

/// A worker's buffers.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(super) buffers: buffers::Spare,
    pub(super) heads: head::Spare,
    /// Where a head is put, empty.
    pub(super) slot: Option<Box<Option<head::Head>>>,
}

/// The outcome of [`Io::fill`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// There is more input.
    Data,
    /// Nothing now; the poller will report.
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
    /// No room now; the poller will report.
    Wait,
    /// The connection is broken.
    Broken,
}

pub(super) struct Io {
    /// `None` once it is closed.
    socket: Option<Arc<OwnedFd>>,
    pub(super) input: Input,
    pub(super) output: Output,
    /// The body of the current request, until it is read to its end.
    pub(super) incoming: Option<Box<Incoming>>,
    /// Who waits for the socket, once it is the application's.
    pub(super) waiting: Option<Box<Waiting>>,
    /// A waker to be dropped without the lock.
    pub(super) stale: Option<Waker>,
    /// The number of the current request.
    pub(super) request: u64,
    /// Whether its final head has been written.
    pub(super) committed: bool,
    /// A read has seen the end.
    pub(super) at_end: bool,
    /// Since when the client has taken nothing, 0 if nothing waits for it.
    pub(super) stalled_since: Tick,
}

impl Io {
    pub(super) fn new(socket: Arc<OwnedFd>) -> Self {
        Io {
            socket: Some(socket),
            input: Input::default(),
            output: Output::default(),
            incoming: None,
            waiting: None,
            stale: None,
            request: 0,
            committed: true,
            at_end: false,
            stalled_since: 0,
        }
    }

    pub(super) fn socket(&self) -> Option<Arc<OwnedFd>> {
        self.socket.clone()
    }

    /// Reads more input, once.
    pub(super) fn fill(&mut self, conn: &Conn, scratch: &mut Scratch) -> Fill {
        let space = self.input.space(&mut scratch.buffers);
        let size = space.len();
        let outcome = match &self.socket {
            Some(socket) => read(conn, socket, space, size),
            None => Err(Fill::Broken),
        };
        match outcome {
            Ok(count) => {
                self.input.filled(count);
                Fill::Data
            }
            Err(outcome) => {
                self.at_end |= outcome == Fill::End;
                outcome
            }
        }
    }

    /// Reads into a buffer of its own: the way of larger bodies.
    pub(super) fn read_new(&mut self, conn: &Conn, size: usize) -> Result<Bytes, Fill> {
        let Some(socket) = &self.socket else { return Err(Fill::Broken) };
        let mut buffer = Vec::with_capacity(size);
        match read(conn, socket, rustix::buffer::spare_capacity(&mut buffer), size) {
            // A small piece does not pin a large buffer.
            Ok(count) if count < size / 4 => Ok(Bytes::copy_from_slice(&buffer)),
            Ok(_) => Ok(Bytes::from(buffer)),
            Err(outcome) => {
                self.at_end |= outcome == Fill::End;
                Err(outcome)
            }
        }
    }

    /// Reads into the application's buffer.
    pub(super) fn receive_into(&mut self, conn: &Conn, buffer: &mut [u8]) -> Result<usize, Fill> {
        let Some(socket) = &self.socket else { return Err(Fill::Broken) };
        let size = buffer.len();
        read(conn, socket, buffer, size).inspect_err(|outcome| self.at_end |= *outcome == Fill::End)
    }

    /// Writes past the output, which is empty. [`Errno::AGAIN`]: the poller will report.
    pub(super) fn send(&mut self, conn: &Conn, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
        /// The operating system refuses more.
        const PARTS: usize = 1024;
        let socket = self.socket.as_ref().ok_or(Errno::PIPE)?;
        let parts = parts.get(..PARTS).unwrap_or(parts);
        loop {
            let sent = match parts {
                [bytes] => send(socket, bytes, SendFlags::NOSIGNAL),
                parts => sendmsg(socket, parts, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL),
            };
            match sent {
                Err(Errno::INTR) => {}
                // As in `flush`.
                Err(Errno::AGAIN) if conn.set(bit::WANT_WRITE) & bit::WRITABLE != 0 => {
                    conn.clear(bit::WRITABLE);
                }
                sent => return sent,
            }
        }
    }

    /// Writes what is in the output, as far as it goes.
    pub(super) fn flush(&mut self, conn: &Conn) -> Flush {
        let mut moved = false;
        loop {
            if self.output.is_empty() {
                if self.stalled_since != 0 {
                    self.stalled_since = 0;
                    conn.clear(bit::WANT_WRITE);
                }
                return Flush::Done;
            }
            let Some(socket) = &self.socket else { return Flush::Broken };
            match write(&mut self.output, socket) {
                Ok(()) => moved = true,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if moved || self.stalled_since == 0 {
                        self.stalled_since = conn.engine.now();
                    }
                    // An edge that came before this mark would be overlooked: try again then.
                    if conn.set(bit::WANT_WRITE) & bit::WRITABLE == 0 {
                        return Flush::Wait;
                    }
                    conn.clear(bit::WRITABLE);
                }
                // [ERR-07] quiet: the client is gone
                Err(_) => {
                    conn.set(bit::GONE);
                    self.output.clear();
                    return Flush::Broken;
                }
            }
        }
    }

    /// Gives empty buffers back, and keeps what is left in ones of its size.
    pub(super) fn settle(&mut self, scratch: &mut Scratch) {
        self.input.settle(&mut scratch.buffers);
        self.output.settle(&mut scratch.buffers);
    }

    /// Ends our side of the stream.
    pub(super) fn finish(&self) {
        if let Some(socket) = &self.socket {
            // It may be gone already.
            let _ = shutdown(socket, Shutdown::Write);
        }
    }

    /// The connection is about to be closed, and not by the client: what the operating system still holds for it is thrown
    /// away once the client has taken nothing of it for `limit`. \[LIM-06\]
    pub(super) fn limit_unsent(&self, limit: Option<Duration>) {
        if let (Some(socket), Some(limit)) = (&self.socket, limit) {
            let limit = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX).max(1);
            // A Unix-domain socket has no such thing, and needs none.
            let _ = set_tcp_user_timeout(socket, limit);
        }
    }

    /// Ends both sides, for everybody who uses the socket.
    pub(super) fn shut_down(&self) {
        if let Some(socket) = &self.socket {
            let _ = shutdown(socket, Shutdown::Both);
        }
    }

    /// Closes the socket, with a reset instead of an orderly end if so wanted.
    pub(super) fn close(&mut self, reset: bool) {
        if let Some(socket) = self.socket.take() {
            if reset {
                let _ = rustix::net::sockopt::set_socket_linger(&socket, Some(std::time::Duration::ZERO));
            }
            if Arc::strong_count(&socket) > 1 {
                // A blocking reader holds it for a moment.
                let _ = shutdown(&socket, Shutdown::Both);
            }
        }
        // The buffers go back to the worker.
        self.input.clear();
        self.output.clear();
        self.incoming = None;
    }
}

/// One `recv`, with the bookkeeping of edges.
fn read<B: rustix::buffer::Buffer<u8>>(conn: &Conn, socket: &OwnedFd, buffer: B, size: usize) -> Result<usize, Fill> {
    conn.clear(bit::READABLE);
    match recv(socket, buffer, RecvFlags::empty()) {
        Ok((_, 0)) => {
            conn.set(bit::ENDED);
            Err(Fill::End)
        }
        Ok((_, count)) => {
            // A short read has emptied the socket; but an end that came with the data gives no edge of its own.
            if count == size || conn.has(bit::ENDED | bit::GONE) {
                conn.set(bit::READABLE);
            }
            Ok(count)
        }
        Err(Errno::AGAIN) => Err(Fill::Wait),
        Err(Errno::INTR) => {
            conn.set(bit::READABLE);
            Err(Fill::Wait)
        }
        Err(_) => {
            conn.set(bit::GONE);
            Err(Fill::Broken)
        }
    }
}

/// One write.
fn write(output: &mut Output, socket: &OwnedFd) -> Result<(), Errno> {
    let count = match output.single() {
        Some(octets) => send(socket, octets, SendFlags::NOSIGNAL)?,
        None => sendmsg(socket, &output.parts(), &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)?,
    };
    output.sent(count);
    Ok(())
}
