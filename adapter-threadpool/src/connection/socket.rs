//! The socket of a connection as its transport. \[KAP-10\], \[BOD-16\], \[ERR-07\]
//!
//! Nothing here waits: what can't go on says so, and the leader reports when it can: to the connection, whose worker comes to it, or,
//! once the stream is the application's, to its task. Sockets are registered once and edge-triggered, so each attempt
//! that falls short is remembered in the connection's bits.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use adapter_http1::connection::{Transport, Wait};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown};

use super::{Conn, Others, bit};
use crate::engine::lock;

/// A connected socket. Dropping it closes it, also under a thread that waits for it.
pub(super) struct Socket {
    socket: Arc<OwnedFd>,
    conn: Arc<Conn>,
}

impl Socket {
    pub(super) fn new(socket: Arc<OwnedFd>, conn: Arc<Conn>) -> Self {
        Socket { socket, conn }
    }

    /// Leaves word with who polls; the leader reports to the connection anyway.
    fn wait(&self, cx: &Context<'_>, side: fn(&mut Others) -> &mut Option<Waker>) {
        // The pointer is only compared: another waker of the same connection is woken needlessly.
        if cx.waker().data() == Arc::as_ptr(&self.conn).cast() {
            if self.conn.has(bit::OTHERS) {
                // The stream is the connection's again, which closes it: what is reported from now on is for that.
                self.conn.clear(bit::OTHERS);
            }
            return;
        }
        let mut others = lock(&self.conn.others);
        let place = side(others.get_or_insert_default());
        let old = match place {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            place => place.replace(cx.waker().clone()),
        };
        self.conn.set(bit::OTHERS);
        drop(others);
        drop(old);
    }
}

impl Transport for Socket {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Whoever asks again after an error or the end is told again.
        let has_news = || self.conn.has(bit::READABLE | bit::ENDED | bit::GONE);
        if has_news() {
            return Poll::Ready(());
        }
        self.wait(cx, |others| &mut others.reader);
        // An edge that came before that would be overlooked.
        if has_news() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.poll_readable(cx).is_pending() {
                return Poll::Pending;
            }
            self.conn.clear(bit::READABLE);
            match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((_, count)) => {
                    if count == 0 {
                        self.conn.set(bit::ENDED);
                    }
                    // A short read has emptied the socket; but an end that came with the data gives no edge of its own.
                    if count == buffer.len() || self.conn.has(bit::ENDED | bit::GONE) {
                        self.conn.set(bit::READABLE);
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(Errno::AGAIN) => {}
                Err(Errno::INTR) => {
                    self.conn.set(bit::READABLE);
                }
                Err(error) => {
                    self.conn.set(bit::GONE);
                    return Poll::Ready(Err(error.into()));
                }
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let most: usize = parts.iter().map(|part| part.len()).sum();
        loop {
            if self.conn.has(bit::WANT_WRITE) && !self.conn.has(bit::WRITABLE) {
                self.wait(cx, |others| &mut others.writer);
                if !self.conn.has(bit::WRITABLE) {
                    return Poll::Pending;
                }
            }
            let written = match parts {
                [only, ..] if only.len() == most => send(&self.socket, only, SendFlags::NOSIGNAL),
                _ => sendmsg(&self.socket, parts, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL),
            };
            match written {
                Ok(count) => {
                    if self.conn.has(bit::WANT_WRITE) {
                        self.conn.clear(bit::WANT_WRITE);
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    // An edge that came before this mark would be overlooked: then it is tried again.
                    if self.conn.set(bit::WANT_WRITE) & bit::WRITABLE != 0 {
                        self.conn.clear(bit::WRITABLE);
                        self.conn.clear(bit::WANT_WRITE);
                    }
                }
                // [ERR-07] quiet: the client is gone
                Err(error) => {
                    self.conn.set(bit::GONE);
                    return Poll::Ready(Err(error.into()));
                }
            }
        }
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // It may be gone already.
        let _ = shutdown(&self.socket, Shutdown::Write);
        Poll::Ready(Ok(()))
    }

    fn was_reset(&self) -> bool {
        self.conn.has(bit::GONE)
    }

    fn has_ended(&self) -> bool {
        self.conn.has(bit::ENDED | bit::GONE)
    }

    fn expect_room(&mut self) {
        self.conn.set(bit::WRITABLE);
    }

    fn has_input(&self) -> bool {
        let mut octet = [MaybeUninit::<u8>::uninit()];
        recv(&self.socket, &mut octet, RecvFlags::PEEK | RecvFlags::DONTWAIT).is_ok_and(|(_, count)| count > 0)
    }

    fn hold(&mut self) -> bool {
        self.conn.cork();
        true
    }

    fn waiter(&self) -> Option<Arc<dyn Wait>> {
        Some(Arc::new(Waiter { socket: self.socket.clone(), conn: self.conn.clone() }))
    }

    fn limit_unsent(&self, limit: Duration) {
        adapter_listen::limit_unsent(&self.socket, limit);
    }

    fn reset_on_close(&mut self) {
        let _ = set_socket_linger(&self.socket, Some(Duration::ZERO));
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if Arc::strong_count(&self.socket) > 1 {
            // A thread that waits holds it for a moment.
            let _ = shutdown(&self.socket, Shutdown::Both);
        }
    }
}

/// Blocks a worker that is in application code which reads a request body: poll(2) is quicker than another thread's report.
struct Waiter {
    socket: Arc<OwnedFd>,
    conn: Arc<Conn>,
}

impl Wait for Waiter {
    fn wait(&self, timeout: Option<Duration>) {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        // An error is one of the socket, and shows when it is read.
        let _ = poll(&mut [PollFd::new(&*self.socket, PollFlags::IN)], timeout.as_ref());
        self.conn.set(bit::READABLE);
    }
}
