//! The socket of a connection as its transport. \[KAP-10\], \[BOD-16\], \[ERR-07\]
//!
//! Nothing here waits: what can't go on says so, and the leader reports when it can: to the connection, whose worker comes to it, or,
//! once the stream is the application's, to its task. Sockets are registered once and edge-triggered, so each attempt
//! that falls short is remembered in the connection's bits.

use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use adapter_http1::connection::{SendFile, Transport, Wait};

use super::{Conn, Others, bit};
use crate::engine::lock;
use crate::engine::poller::{Attempt, Stream};

/// A connected socket. Dropping it closes it, also under a thread that waits for it.
pub(super) struct Socket {
    stream: Arc<Stream>,
    conn: Arc<Conn>,
}

impl Socket {
    pub(super) fn new(stream: Arc<Stream>, conn: Arc<Conn>) -> Self {
        Socket { stream, conn }
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
            match self.stream.read(buffer) {
                Attempt::Moved(count) => {
                    if count == 0 {
                        self.conn.set(bit::ENDED);
                    }
                    // A short read may have emptied the socket; but an end that came with the data gives no edge of its own.
                    if count == buffer.len() || !Stream::SHORT_READ_EMPTIES || self.conn.has(bit::ENDED | bit::GONE) {
                        self.conn.set(bit::READABLE);
                    }
                    return Poll::Ready(Ok(count));
                }
                // What was reported as broken, and is not, would be tried for ever.
                Attempt::Blocked if !Stream::SHORT_READ_EMPTIES && self.conn.has(bit::GONE) => {
                    return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
                }
                Attempt::Blocked => {}
                Attempt::Interrupted => {
                    self.conn.set(bit::READABLE);
                }
                Attempt::Failed(error) => {
                    self.conn.set(bit::GONE);
                    return Poll::Ready(Err(error));
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
            match self.stream.write(parts, most) {
                Attempt::Moved(count) => {
                    if self.conn.has(bit::WANT_WRITE) {
                        self.conn.clear(bit::WANT_WRITE);
                    }
                    return Poll::Ready(Ok(count));
                }
                Attempt::Interrupted => {}
                Attempt::Blocked => {
                    // An edge that came before this mark would be overlooked: then it is tried again.
                    if self.conn.set(bit::WANT_WRITE) & bit::WRITABLE != 0 {
                        self.conn.clear(bit::WRITABLE);
                        self.conn.clear(bit::WANT_WRITE);
                    }
                }
                // [ERR-07] quiet: the client is gone
                Attempt::Failed(error) => {
                    self.conn.set(bit::GONE);
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.end();
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
        self.stream.has_input()
    }

    fn hold(&mut self) -> bool {
        self.conn.cork();
        true
    }

    fn waiter(&self) -> Option<Arc<dyn Wait>> {
        let conn = self.conn.clone();
        self.stream.waiter(move || {
            conn.set(bit::READABLE);
        })
    }

    fn file_sender(&self) -> Option<Arc<dyn SendFile>> {
        self.stream.file_sender()
    }

    fn limit_unsent(&self, limit: Duration) {
        self.stream.limit_unsent(limit);
    }

    fn reset_on_close(&mut self) {
        self.stream.reset_on_close();
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if Arc::strong_count(&self.stream) > 1 {
            // A thread that waits holds it for a moment.
            self.stream.cut();
        }
    }
}
