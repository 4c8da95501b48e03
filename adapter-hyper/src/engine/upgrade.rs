//! From hyper's upgrade to the interface's: the connection, or one stream of HTTP/2, becomes the application's.
//!
//! In HTTP/1 the supervisor hands the socket over once the head is with the operating system and keeps the tether: from
//! then on only the application polls the socket, and the supervisor waits for its end or for the force. In HTTP/2 a task
//! per stream keeps the tether and counts as a response under way, so that the connection is not idle.
//!
//! \[UPG-16\] to \[UPG-19\], \[UPG-23a\], \[UPG-26\] RFC 8441

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use adapter_core::Bytes;
use adapter_core::server::ShutdownLevel;
use adapter_core::signal::Signal;
use adapter_core::upgrade::{Tether, UpgradeError, Upgraded};
use futures_io::{AsyncRead, AsyncWrite};
use hyper::rt::ReadBuf;

use super::in_flight::InFlight;
use super::io::{Handle, Shared};
use super::switch::Switch;

impl Switch {
    /// HTTP/1: the head is sent and hyper is done; the socket is the application's. `None` if nobody took it.
    pub(super) fn complete(mut self, shared: &Arc<Shared>, cx: &mut Context<'_>) -> Option<Tether> {
        // hyper has answered before its connection ended.
        let Poll::Ready(Ok(upgraded)) = Pin::new(&mut self.on).poll(cx) else {
            self.handover.fail(UpgradeError::Disconnected);
            return None;
        };
        let parts = upgraded.downcast::<Handle>().ok()?;
        if !self.handover.is_taken() {
            return None;
        }
        shared.corked.store(false, Relaxed);
        // [UPG-16] what hyper has read beyond the request comes first
        let (stream, tether) = Upgraded::new(Direct(shared.clone()), parts.read_buf);
        self.handover.complete(stream);
        Some(tether)
    }

    /// HTTP/2: spawns what accompanies the stream. `gone` fires at its end.
    pub(super) fn accompany(self, shared: &Arc<Shared>, gone: Option<Signal>) {
        let in_flight = InFlight::goes_on(shared);
        let serving = &shared.engine.serving;
        let forced = serving.shutdown.reached(ShutdownLevel::Forced);
        let accompany = async move {
            match self.on.await {
                Ok(upgraded) => {
                    let (stream, tether) = Upgraded::new(Multiplexed(upgraded), Bytes::new());
                    self.handover.complete(stream);
                    // [SHU-07] the tether goes at the force, and the stream with it
                    futures_lite::future::or(tether, async {
                        forced.await;
                    })
                    .await;
                }
                Err(_) => self.handover.fail(UpgradeError::Disconnected),
            }
            if let Some(gone) = gone {
                gone.fire();
            }
            drop(in_flight);
        };
        serving.runtime.drive(accompany);
    }
}

/// The socket of an HTTP/1 connection, without hyper.
struct Direct(Arc<Shared>);

impl Direct {
    /// \[DIS-01\] an error means that the client is gone
    fn tell<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(_)) = &polled {
            self.0.environ.disconnected.fire();
        }
        polled
    }
}

impl AsyncRead for Direct {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.tell(self.0.socket().poll_read_taken(cx, buffer))
    }
}

impl AsyncWrite for Direct {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.tell(self.0.socket().poll_write_raw(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is gathered here; the transport may hold something.
        self.tell(self.0.socket().poll_flush_raw(cx))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tell(self.0.socket().poll_shutdown_raw(cx))
    }
}

/// A stream of HTTP/2.
struct Multiplexed(hyper::upgrade::Upgraded);

impl AsyncRead for Multiplexed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut read = ReadBuf::new(buffer);
        ready!(hyper::rt::Read::poll_read(Pin::new(&mut self.0), cx, read.unfilled()))?;
        Poll::Ready(Ok(read.filled().len()))
    }
}

impl AsyncWrite for Multiplexed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        hyper::rt::Write::poll_write(Pin::new(&mut self.0), cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        hyper::rt::Write::poll_flush(Pin::new(&mut self.0), cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        hyper::rt::Write::poll_shutdown(Pin::new(&mut self.0), cx)
    }
}
