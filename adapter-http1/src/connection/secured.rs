//! A transport that may be under TLS. One branch for those that are not.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use adapter_core::tls::pump::{Pump, Raw};
use adapter_core::tls::{TlsError, TlsInfo};

use super::transport::{SendFile, Transport, Wait};

/// A [`Transport`] over another one, plain or under TLS. [`Settings::secure`](super::Settings::secure) makes it.
#[derive(Debug)]
pub struct Secured<T> {
    transport: T,
    pump: Option<Box<Pump>>,
}

impl<T> Secured<T> {
    /// `transport`, under the TLS of `pump` if there is one.
    pub fn new(transport: T, pump: Option<Pump>) -> Self {
        Secured { transport, pump: pump.map(Box::new) }
    }

    /// Both, for who goes on with them.
    pub fn into_parts(self) -> (T, Option<Box<Pump>>) {
        (self.transport, self.pump)
    }
}

/// What the pump has for a socket.
struct Below<'t, T>(&'t mut T);

impl<T: Transport> Raw for Below<'_, T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.0.poll_read(cx, buffer)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, &[IoSlice::new(octets)])
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(cx)
    }
}

impl<T: Transport> Transport for Secured<T> {
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<TlsInfo>, TlsError>> {
        match &mut self.pump {
            None => self.transport.poll_open(cx),
            Some(pump) => pump.poll_open(&mut Below(&mut self.transport), cx).map_ok(Some),
        }
    }

    fn poll_read_first(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.transport.poll_read_first(cx, buffer)
    }

    fn begin_with(&mut self, octets: &[u8]) -> bool {
        match &mut self.pump {
            None => self.transport.begin_with(octets),
            Some(pump) => {
                pump.begin_with(octets);
                true
            }
        }
    }

    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut self.pump {
            None => self.transport.poll_read(cx, buffer),
            Some(pump) => pump.poll_read(&mut Below(&mut self.transport), cx, buffer),
        }
    }

    #[inline]
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.pump {
            Some(pump) if pump.is_readable() => Poll::Ready(()),
            _ => self.transport.poll_readable(cx),
        }
    }

    #[inline]
    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut self.pump {
            None => self.transport.poll_write(cx, parts),
            Some(pump) => pump.poll_write(&mut Below(&mut self.transport), cx, parts),
        }
    }

    #[inline]
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.pump {
            None => self.transport.poll_flush(cx),
            Some(pump) => pump.poll_flush(&mut Below(&mut self.transport), cx),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.pump {
            None => self.transport.poll_shutdown(cx),
            Some(pump) => pump.poll_shutdown(&mut Below(&mut self.transport), cx),
        }
    }

    fn was_reset(&self) -> bool {
        self.transport.was_reset()
    }

    fn has_ended(&self) -> bool {
        self.transport.has_ended()
    }

    fn expect_room(&mut self) {
        self.transport.expect_room();
    }

    fn has_input(&self) -> bool {
        self.pump.as_ref().is_some_and(|pump| pump.has_input()) || self.transport.has_input()
    }

    fn hold(&mut self) -> bool {
        self.transport.hold()
    }

    fn waiter(&self) -> Option<Arc<dyn Wait>> {
        self.transport.waiter()
    }

    fn file_sender(&self) -> Option<Arc<dyn SendFile>> {
        // What is sealed has to be read.
        if self.pump.is_some() { None } else { self.transport.file_sender() }
    }

    fn limit_unsent(&self, limit: Duration) {
        self.transport.limit_unsent(limit);
    }

    fn break_off(&mut self) {
        match &mut self.pump {
            None => self.transport.break_off(),
            Some(pump) => pump.break_off(),
        }
    }

    fn farewell(&mut self) {
        match &mut self.pump {
            None => self.transport.farewell(),
            Some(pump) => pump.farewell(&mut Below(&mut self.transport)),
        }
    }

    fn reset_on_close(&mut self) {
        self.break_off();
        self.transport.reset_on_close();
    }
}
