//! A transport under TLS.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};
use std::time::Duration;

use adapter_core::tls::pump::{Pump, Raw};
use adapter_core::tls::{TlsError, TlsInfo};
use hyper::rt::ReadBufCursor;

use super::transport::Transport;

/// Plaintext read at a time: hyper's buffers are not to be had without a copy.
const PLAINTEXT: usize = 64 * 1024;

thread_local! {
    /// Where plaintext is read to.
    static LENT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A [`Transport`] over another one, under TLS.
#[derive(Debug)]
pub struct Secured<T> {
    below: Below<T>,
    pump: Box<Pump>,
}

impl<T: Transport> Secured<T> {
    /// `transport`, under the TLS of `pump`: a new one, or one whose handshake has been.
    pub fn new(transport: T, pump: Box<Pump>) -> Self {
        Secured { below: Below { transport, tries: false }, pump }
    }
}

/// What the pump has for a socket.
#[derive(Debug)]
struct Below<T> {
    transport: T,
    /// The next write is to try, whatever events have said.
    tries: bool,
}

impl<T: Transport> Raw for Below<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.transport.poll_read_slice(cx, buffer)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        if std::mem::take(&mut self.tries)
            && let Ok(count) = self.transport.write_now(octets)
        {
            return Poll::Ready(Ok(count));
        }
        self.transport.poll_write(cx, octets)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.poll_shutdown(cx)
    }
}

impl<T: Transport> Transport for Secured<T> {
    fn is_secured(&self) -> bool {
        true
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<TlsInfo>, TlsError>> {
        self.pump.poll_open(&mut self.below, cx).map_ok(Some)
    }

    fn poll_read_first(&mut self, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<usize>> {
        self.below.transport.poll_read_first(cx, buffer)
    }

    fn begin_with(&mut self, octets: &[u8]) {
        self.pump.begin_with(octets);
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<usize>> {
        let mut lent = LENT.take();
        lent.resize(PLAINTEXT, 0);
        let most = buffer.remaining().min(PLAINTEXT);
        let polled = self.pump.poll_read(&mut self.below, cx, lent.get_mut(..most).unwrap_or_default());
        if let Poll::Ready(Ok(count)) = polled {
            buffer.put_slice(lent.get(..count).unwrap_or_default());
        }
        LENT.set(lent);
        polled
    }

    fn poll_read_slice(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.pump.poll_read(&mut self.below, cx, buffer)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.pump.poll_write(&mut self.below, cx, &[IoSlice::new(bytes)])
    }

    fn expect_room(&mut self) {
        self.below.tries = true;
        self.below.transport.expect_room();
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.pump.poll_flush(&mut self.below, cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pump.poll_shutdown(&mut self.below, cx)
    }

    fn was_reset(&self) -> bool {
        self.below.transport.was_reset()
    }

    fn has_input(&self) -> bool {
        self.pump.has_input() || self.below.transport.has_input()
    }

    fn limit_unsent(&self, limit: Duration) {
        self.below.transport.limit_unsent(limit);
    }

    fn break_off(&mut self) {
        self.pump.break_off();
    }

    fn farewell(&mut self) {
        self.pump.farewell(&mut self.below);
    }

    fn reset_on_close(&mut self) {
        self.pump.break_off();
        self.below.transport.reset_on_close();
    }
}
