//! hyper's incoming body as a [`RequestBody`]: with the limit, the timeout, and errors told apart.
//!
//! \[LIM-03\], \[LIM-05\], \[REQ-09\] to \[REQ-11\], \[TRL-02\]

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use adapter_core::request_body::Source;
use adapter_core::rules::trailers;
use adapter_core::{Bytes, RequestBody, RequestBodyError, Runtime, Sleep};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::io::Shared;

/// The body of a request on the connection of `shared`.
pub(super) fn request_body(
    incoming: Incoming,
    shared: &Arc<Shared>,
    limit: Option<u64>,
    timeout: Option<Duration>,
    runtime: &Runtime,
) -> RequestBody {
    if incoming.is_end_stream() {
        return RequestBody::empty();
    }
    shared.status.body_open.store(true, Relaxed);
    RequestBody::from_source(Body {
        incoming: Some(incoming),
        shared: shared.clone(),
        allowed: limit.unwrap_or(u64::MAX),
        limit: limit.unwrap_or(u64::MAX),
        timeout,
        runtime: runtime.clone(),
        sleep: None,
        waiter: None,
    })
}

struct Body {
    incoming: Option<Incoming>,
    shared: Arc<Shared>,
    /// Bytes that may still come.
    allowed: u64,
    limit: u64,
    timeout: Option<Duration>,
    runtime: Runtime,
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
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        let mut polled = Pin::new(&mut *incoming).poll_frame(cx);
        if polled.is_pending() {
            let waiter = this.waiter.get_or_insert_with(|| Waiter::new(&this.shared));
            waiter.wait(cx.waker());
            polled = Pin::new(incoming).poll_frame(&mut Context::from_waker(&waiter.clone().into()));
        }
        let Poll::Ready(next) = polled else {
            let Some(timeout) = this.timeout else { return Poll::Pending };
            let runtime = &this.runtime;
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
                        if this.incoming.as_ref().is_some_and(http_body::Body::is_end_stream) {
                            this.shared.status.body_open.store(false, Relaxed);
                        }
                        Some(Ok(Frame::data(data)))
                    }
                    None => Some(Err(this.fail(RequestBodyError::TooLarge { limit: this.limit }))),
                },
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
        self.incoming.as_ref().map_or(SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

impl Body {
    fn end(&mut self) {
        self.incoming = None;
        self.shared.status.body_open.store(false, Relaxed);
    }

    /// Drops hyper's body, which makes it drain what is buffered or close. \[REQ-12\], \[KAP-11\]
    fn fail(&mut self, error: RequestBodyError) -> RequestBodyError {
        self.abandon();
        error
    }

    fn abandon(&mut self) {
        if self.incoming.take().is_some_and(|incoming| !incoming.is_end_stream()) {
            self.shared.status.body_unread.store(true, Relaxed);
        }
        self.shared.status.body_open.store(false, Relaxed);
        self.shared.status.body_waits.store(false, Relaxed);
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.abandon();
    }
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
