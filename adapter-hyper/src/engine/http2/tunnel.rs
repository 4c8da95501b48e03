//! A stream that becomes the application's, by CONNECT. \[UPG-16\] to \[UPG-19\], \[UPG-26\] RFC 9113 §8.5, RFC 8441
//!
//! A task per stream keeps the tether and counts as a response under way, so that the connection is not idle.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use adapter_core::Bytes;
use adapter_core::rules;
use adapter_core::server::ShutdownLevel;
use adapter_core::signal::Signal;
use adapter_core::upgrade::{self, Handover, Offer, Upgraded};
use bytes::Buf;
use futures_io::{AsyncRead, AsyncWrite};
use h2::{Reason, RecvStream, SendStream};
use http::request;

use super::piece::Piece;
use crate::engine::in_flight::InFlight;

/// Octets that are given to h2 at a time.
const MOST: usize = 16 * 1024;

/// A stream on offer to the application that handles its request.
pub(super) struct Tunnel {
    handover: Handover,
    recv: RecvStream,
}

impl Tunnel {
    /// The stream of `head`, which is a CONNECT.
    pub(super) fn offer(head: &mut request::Parts, recv: RecvStream) -> (Box<Self>, Offer) {
        let (handover, mut offer) = upgrade::channel();
        if let Some(protocol) = head.extensions.remove::<h2::ext::Protocol>() {
            rules::target::normalize_extended_connect(head);
            // Where axum looks for it.
            head.extensions.insert(hyper::ext::Protocol::from(protocol.as_str()));
            offer = offer.with_protocol(protocol.as_str());
        }
        (Box::new(Tunnel { handover, recv }), offer)
    }

    /// It is the application's: the head that says so is sent. `gone` fires at its end.
    pub(super) fn open(self, send: SendStream<Piece>, in_flight: InFlight, gone: Option<Signal>) {
        let (stream, tether) = Upgraded::new(Octets { send, recv: self.recv, rest: Bytes::new() }, Bytes::new());
        self.handover.complete(stream);
        let serving = in_flight.shared.engine.serving.clone();
        let forced = serving.shutdown.reached(ShutdownLevel::Forced);
        serving.runtime.drive(async move {
            // [SHU-07] the tether goes at the force, and the stream with it
            futures_lite::future::or(tether, async {
                forced.await;
            })
            .await;
            if let Some(gone) = gone {
                gone.fire();
            }
            drop(in_flight);
        });
    }
}

/// The DATA frames of a stream as one stream of octets each way.
struct Octets {
    send: SendStream<Piece>,
    recv: RecvStream,
    /// Of a frame, what nobody has read yet.
    rest: Bytes,
}

impl AsyncRead for Octets {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        while this.rest.is_empty() {
            match ready!(this.recv.poll_data(cx)) {
                Some(Ok(data)) => this.rest = data,
                Some(Err(error)) => return Poll::Ready(ended_by(error)),
                None => return Poll::Ready(Ok(0)),
            }
        }
        let count = this.rest.len().min(buffer.len());
        this.rest.copy_to_slice(&mut buffer[..count]);
        // A stream that was reset meanwhile wants no more room.
        let _ = this.recv.flow_control().release_capacity(count);
        Poll::Ready(Ok(count))
    }
}

/// What a reset means to who reads: a client that is done says so by CANCEL. RFC 9113 §7, RFC 8441 §5
fn ended_by(error: h2::Error) -> io::Result<usize> {
    match error.reason() {
        Some(Reason::NO_ERROR | Reason::CANCEL) => Ok(0),
        _ => Err(failed(error)),
    }
}

fn failed(error: h2::Error) -> io::Error {
    if error.is_io() {
        error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
    } else {
        io::Error::new(io::ErrorKind::ConnectionReset, error)
    }
}

impl AsyncWrite for Octets {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let send = &mut self.send;
        send.reserve_capacity(bytes.len().min(MOST));
        while send.capacity() == 0 {
            match ready!(send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(failed(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let count = bytes.len().min(send.capacity());
        let piece = Piece::new(Bytes::copy_from_slice(&bytes[..count]));
        Poll::Ready(send.send_data(piece, false).map(|()| count).map_err(failed))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's task was woken, and writes what it has.
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.send.send_data(Piece::default(), true).map_err(failed))
    }
}

impl Drop for Octets {
    /// As a socket that is closed: our direction ends behind what was written. One that has ended, or is gone, refuses that.
    fn drop(&mut self) {
        let _ = self.send.send_data(Piece::default(), true);
    }
}
