//! What an application has left of a request's body: read away for a while, so that the client comes to its end. \[REQ-12\], \[KAP-13\]
//!
//! RFC 9113 §8.1 has a server that wants no more of it reset the stream behind its response, and h2 does so with the last handle. But
//! some clients lose a response that a reset comes with (curl 7.88 of Debian 12, also behind nginx). So the rest is taken as it is behind an
//! answer in HTTP/1, and most streams end without a reset. Not behind a success: who is told so while it sends may go on for ever
//! (the same curl does), and a reset ends that.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use adapter_core::server::ShutdownLevel;
use adapter_core::{Runtime, Sleep};
use h2::RecvStream;

use super::reply::Reply;
use crate::engine::io::Shared;
use crate::engine::status::{LAST_LINGER, LINGER, LINGER_AT_MOST};

/// Frames before others get their turn.
const AT_A_TIME: u32 = 64;

/// Reads `recv` to its end, or until the client is silent, goes on for too long, or the server ends; `reply` has it until then, and may lose
/// it.
pub(super) fn read_away(recv: RecvStream, reply: Arc<Reply>, shared: &Shared) {
    *reply.leftover() = Some(recv);
    let serving = &shared.engine.serving;
    let runtime = serving.runtime.clone();
    let drain = serving.shutdown.reached(ShutdownLevel::Draining);
    let patience = {
        let runtime = runtime.clone();
        let at_most = runtime.sleep(LINGER_AT_MOST);
        let last = async move {
            drain.await;
            runtime.sleep(LAST_LINGER).await;
        };
        futures_lite::future::or(at_most, last)
    };
    let silence = runtime.sleep(LINGER);
    let mut leftover = Leftover { reply, runtime: runtime.clone(), silence, was_heard: false };
    runtime.drive(futures_lite::future::or(poll_fn(move |cx| leftover.poll_end(cx)), patience));
}

struct Leftover {
    reply: Arc<Reply>,
    runtime: Runtime,
    /// When it is asked whether something has come.
    silence: Sleep,
    was_heard: bool,
}

impl Drop for Leftover {
    fn drop(&mut self) {
        let left = self.reply.leftover().take();
        // Not under the lock.
        drop(left);
    }
}

impl Leftover {
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut leftover = self.reply.leftover();
        let Some(recv) = &mut *leftover else { return Poll::Ready(()) };
        for _ in 0..AT_A_TIME {
            match recv.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    self.was_heard = true;
                    // A stream that was reset meanwhile wants no room.
                    let _ = recv.flow_control().release_capacity(data.len());
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(()),
                // Trailers are nobody's, either.
                Poll::Ready(None) => {
                    self.reply.body_is_open(false);
                    return Poll::Ready(());
                }
                Poll::Pending => {
                    ready!(Pin::new(&mut self.silence).poll(cx));
                    if !std::mem::take(&mut self.was_heard) {
                        return Poll::Ready(());
                    }
                    self.silence = self.runtime.sleep(LINGER);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
