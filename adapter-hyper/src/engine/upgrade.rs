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
use adapter_core::rules;
use adapter_core::rules::request::{BodyLength, Facts};
use adapter_core::server::ShutdownLevel;
use adapter_core::signal::Signal;
use adapter_core::upgrade::{self, Handover, Offer, Tether, UpgradeError, Upgraded};
use futures_io::{AsyncRead, AsyncWrite};
use http::request;
use hyper::rt::ReadBuf;

use super::io::{Handle, Shared};
use super::response_body::InFlight;

/// A connection on offer to the application that handles a request.
pub(super) struct Switch {
    handover: Handover,
    on: hyper::upgrade::OnUpgrade,
}

impl Switch {
    /// Takes hyper's handle, which is not part of the interface, out of `head`. `None` for a request that can't be
    /// upgraded: most.
    #[inline]
    pub(super) fn offer(head: &mut request::Parts, facts: &Facts) -> Option<(Box<Self>, Offer)> {
        let on = head.extensions.remove::<hyper::upgrade::OnUpgrade>()?;
        // It stays where axum looks for it.
        let protocol = head.extensions.get::<hyper::ext::Protocol>().cloned();
        // The new protocol begins where the request ends, and hyper switches only there.
        let at_end = facts.is_connect || facts.body == BodyLength::Sized(0);
        if !at_end || !(facts.upgrade || facts.is_connect) {
            return None;
        }
        let (handover, mut offer) = upgrade::channel();
        if let Some(protocol) = protocol {
            rules::target::normalize_extended_connect(head);
            offer = offer.with_protocol(protocol.as_str());
        }
        Some((Box::new(Switch { handover, on }), offer))
    }

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

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is gathered here.
        Poll::Ready(Ok(()))
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
