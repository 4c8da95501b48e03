//! hyper's incoming body as a [`RequestBody`]: with the limit, the timeout, and errors told apart.
//!
//! In HTTP/1 the application shares it with the connection ([`Upload`]). hyper closes a connection as soon as a body is
//! dropped before its end, without having said so in the response's head. So a body that the application drops stays with
//! the connection, which decides when the head is made whether it is read away ([`Upload::can_be_left`]), and does that once
//! the response is under way. Locked by whoever polls it; the connection's task takes it out to read it away.
//!
//! \[LIM-03\], \[LIM-05\], \[REQ-09\] to \[REQ-15\], \[REQ-20\], \[KAP-11\], \[EXP-02b\], \[TRL-02\]

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use adapter_core::request_body::Source;
use adapter_core::rules::request::Facts;
use adapter_core::rules::trailers;
use adapter_core::{Bytes, RequestBody, RequestBodyError, Sleep};
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::io::Shared;

/// Octets of a body that are read away to keep a connection. \[REQ-12\]
const DRAIN: u64 = 256 * 1024;
/// How long that may take.
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(5);
/// Frames read away in one turn of the connection's task.
const DRAIN_TURN: u32 = 64;

/// The body of a request on the connection of `shared`.
pub(super) fn request_body(incoming: Incoming, shared: &Arc<Shared>, facts: &Facts) -> RequestBody {
    if incoming.is_end_stream() {
        return RequestBody::empty();
    }
    let upload = Arc::new(Upload {
        expects_continue: facts.expects_continue,
        wanted: AtomicBool::new(false),
        unwanted: AtomicBool::new(false),
        incoming: Mutex::new(Some(incoming)),
    });
    if !shared.status.is_multiplexed() {
        shared.set_upload(upload.clone());
    }
    let limit = shared.engine.limits.body_bytes.unwrap_or(u64::MAX);
    RequestBody::from_source(Body {
        upload,
        shared: shared.clone(),
        allowed: limit,
        limit,
        ended: false,
        sleep: None,
        waiter: None,
    })
}

/// A body on its way, shared by the application that reads it and the connection it comes on.
pub(super) struct Upload {
    /// The client waits for a 100 before it sends the body.
    expects_continue: bool,
    /// The application has asked for some of it.
    wanted: AtomicBool,
    /// The application has dropped it.
    unwanted: AtomicBool,
    /// `None` once it is at its end or was given up.
    incoming: Mutex<Option<Incoming>>,
}

impl Upload {
    fn incoming(&self) -> MutexGuard<'_, Option<Incoming>> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes it away from the application, whose next read is an error. \[REQ-15\]
    pub(super) fn take(&self) -> Option<Incoming> {
        self.incoming().take()
    }

    /// Whether the application has dropped it.
    pub(super) fn is_unwanted(&self) -> bool {
        self.unwanted.load(Relaxed)
    }

    /// The head of the response is about to be made: whether the connection can be kept after it, as far as this body is
    /// concerned. `left` is how much of it has not come yet, if that is known. What is said then is kept, but by a body that
    /// the application goes on to read, and which is not known to end in time. \[REQ-12\], \[KAP-11\]
    pub(super) fn can_be_left(&self, left: Option<u64>) -> bool {
        if self.incoming().is_none() {
            return false;
        }
        // [EXP-02b] RFC 9110 §10.1.1: whether the client sends it now, nobody knows
        if self.expects_continue && !self.wanted.load(Relaxed) {
            return false;
        }
        !self.is_unwanted() || left.is_some_and(|left| left <= DRAIN)
    }
}

/// What the application has left of a body, being read away by the connection's task. \[REQ-12\]
pub(super) struct Rest {
    incoming: Incoming,
    left: u64,
    /// When there is no more patience for it, in the engine's time.
    pub(super) until: u64,
}

impl Rest {
    pub(super) fn new(incoming: Incoming, now: u64) -> Self {
        Rest { incoming, left: DRAIN, until: now + DRAIN_TIME.as_nanos() as u64 }
    }

    /// Ready once nothing more is to be read of it: it has ended, or it is given up, and hyper closes the connection when this
    /// is dropped.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..DRAIN_TURN {
            let Some(Ok(frame)) = ready!(Pin::new(&mut self.incoming).poll_frame(cx)) else { return Poll::Ready(()) };
            let count = frame.data_ref().map_or(0, |data| data.len() as u64);
            let Some(left) = self.left.checked_sub(count) else { return Poll::Ready(()) };
            self.left = left;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

struct Body {
    upload: Arc<Upload>,
    shared: Arc<Shared>,
    /// Bytes that may still come.
    allowed: u64,
    limit: u64,
    /// The application has seen its end, or an error.
    ended: bool,
    /// Runs while the application waits for the client.
    sleep: Option<Sleep>,
    /// Who hyper wakes, once the application has had to wait.
    waiter: Option<Arc<Waiter>>,
}

/// Between hyper and an application that waits for the rest of a body. What wakes it may be the end of the body, and
/// then an end of the stream that hyper reads right after that is not of the body: the application does not wait any
/// more from the wake-up on, and not only from when it looks. \[DIS-04\]
struct Waiter {
    shared: Arc<Shared>,
    application: Mutex<Waker>,
}

impl Waiter {
    fn new(shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Waiter { shared: shared.clone(), application: Mutex::new(Waker::noop().clone()) })
    }

    /// `waker` is to be woken from now on.
    fn wait(&self, waker: &Waker) {
        self.application.lock().unwrap_or_else(PoisonError::into_inner).clone_from(waker);
        self.shared.status.body_waits.store(true, Relaxed);
    }
}

impl Wake for Waiter {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.shared.status.body_waits.store(false, Relaxed);
        let waker = self.application.lock().unwrap_or_else(PoisonError::into_inner).clone();
        waker.wake();
    }
}

impl Source for Body {
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let upload = this.upload.clone();
        let mut incoming = upload.incoming();
        // [REQ-15] the response is complete, and the body was taken away
        let Some(body) = incoming.as_mut() else {
            drop(incoming);
            return Poll::Ready(Some(Err(this.fail(RequestBodyError::Disconnected))));
        };
        upload.wanted.store(true, Relaxed);
        let mut polled = Pin::new(&mut *body).poll_frame(cx);
        if polled.is_pending() {
            let waiter = this.waiter.get_or_insert_with(|| Waiter::new(&this.shared));
            waiter.wait(cx.waker());
            polled = Pin::new(&mut *body).poll_frame(&mut Context::from_waker(&waiter.clone().into()));
        }
        let is_last = body.is_end_stream();
        drop(incoming);
        let Poll::Ready(next) = polled else {
            let Some(timeout) = this.shared.engine.timeouts.body_read else { return Poll::Pending };
            let runtime = &this.shared.engine.serving.runtime;
            ready!(Future::poll(Pin::new(this.sleep.get_or_insert_with(|| runtime.sleep(timeout))), cx));
            return Poll::Ready(Some(Err(this.fail(RequestBodyError::TimedOut))));
        };
        this.sleep = None;
        this.shared.status.body_waits.store(false, Relaxed);
        Poll::Ready(match next {
            None => {
                this.end();
                None
            }
            Some(Err(error)) => Some(Err(this.fail(classify(&error)))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => match this.allowed.checked_sub(data.len() as u64) {
                    Some(rest) => {
                        this.allowed = rest;
                        if is_last {
                            this.end();
                        }
                        Some(Ok(Frame::data(data)))
                    }
                    None => Some(Err(this.fail(RequestBodyError::TooLarge { limit: this.limit }))),
                },
                // [TRL-03] RFC 9113 §8.1, §8.2.1
                Err(frame) if this.shared.status.is_multiplexed() && frame.trailers_ref().is_some_and(has_blanks) => {
                    Some(Err(this.fail(RequestBodyError::Malformed("a trailer has blanks around its value".into()))))
                }
                Err(frame) => {
                    this.end();
                    frame.into_trailers().ok().map(|mut fields| {
                        // [TRL-02] framing, routing and authentication do not come after the fact
                        trailers::sanitize(&mut fields);
                        Ok(Frame::trailers(fields))
                    })
                }
            },
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.upload.incoming().as_ref().map_or(SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

impl Body {
    /// All of it was read.
    fn end(&mut self) {
        self.ended = true;
        drop(self.upload.take());
        self.shared.forget_upload(&self.upload);
    }

    /// Nothing more can be read of it. \[KAP-11\]
    fn fail(&mut self, error: RequestBodyError) -> RequestBodyError {
        self.ended = true;
        drop(self.upload.take());
        self.leave();
        error
    }

    /// The application reads no further.
    fn leave(&self) {
        self.upload.unwanted.store(true, Relaxed);
        if self.shared.status.is_multiplexed() {
            // hyper and h2 do what is needed, for a stream alone (RFC 9113 §8.1).
            drop(self.upload.take());
        } else {
            self.shared.leave_upload(&self.upload);
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if !self.ended {
            let at_end = self.upload.incoming().as_ref().is_none_or(http_body::Body::is_end_stream);
            if at_end { self.end() } else { self.leave() }
        }
    }
}

fn has_blanks(fields: &HeaderMap) -> bool {
    fields.values().any(trailers::has_blanks_around)
}

/// What went wrong, from what hyper tells.
fn classify(error: &hyper::Error) -> RequestBodyError {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>()
            && matches!(io.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
        {
            return RequestBodyError::Malformed(io.to_string());
        }
        cause = inner.source();
    }
    if error.is_parse() { RequestBodyError::Malformed(error.to_string()) } else { RequestBodyError::Disconnected }
}
