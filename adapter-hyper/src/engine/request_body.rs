//! hyper's incoming body as a [`RequestBody`], in HTTP/1: with the limit, the timeout, and errors told apart.
//!
//! The application shares it with the connection ([`Upload`]).
//!
//! \[LIM-03\], \[LIM-05\], \[REQ-09\] to \[REQ-15\], \[REQ-20\], \[KAP-11\], \[EXP-02b\], \[TRL-02\]

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Wake, ready};

use adapter_core::dispatch::Observed;
use adapter_core::request_body::Source;
use adapter_core::rules::request::Facts;
use adapter_core::{Bytes, RequestBody, RequestBodyError};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::io::Shared;
use super::measured::{Measured, trailing};
use super::upload::Upload;

/// The body of a request on the connection of `shared`.
pub(super) fn request_body(
    incoming: Incoming,
    shared: &Arc<Shared>,
    facts: &Facts,
    observed: Option<&mut Observed>,
) -> RequestBody {
    if incoming.is_end_stream() {
        return RequestBody::empty();
    }
    let upload = Arc::new(Upload::new(incoming, facts));
    shared.set_upload(upload.clone());
    RequestBody::from_source(Body { upload, measured: Measured::new(shared, observed), ended: false, waiter: None })
}

struct Body {
    upload: Arc<Upload>,
    measured: Measured,
    /// The application has seen its end, or an error.
    ended: bool,
    /// Who hyper wakes, once the application has had to wait.
    waiter: Option<Arc<Waiter>>,
}

/// Between hyper and an application that waits for the rest of a body. What wakes it may be the end of the body, and
/// then an end of the stream that hyper reads right after that is not of the body: the application does not wait any
/// more from the wake-up on, and not only from when it looks. \[DIS-04\]
struct Waiter {
    shared: Arc<Shared>,
    upload: Arc<Upload>,
}

impl Wake for Waiter {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.shared.status.body_waits.store(false, Relaxed);
        self.upload.wake();
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
        let mut waits = None;
        if polled.is_pending() {
            let shared = &this.measured.shared;
            let new = || Arc::new(Waiter { shared: shared.clone(), upload: upload.clone() });
            let waiter = this.waiter.get_or_insert_with(new);
            waits = Some((upload.wakes(cx.waker()), shared.status.body_is_awaited()));
            polled = Pin::new(&mut *body).poll_frame(&mut Context::from_waker(&waiter.clone().into()));
        }
        let is_last = body.is_end_stream();
        drop(incoming);
        // Not under the lock.
        if let Some((before, end_is_held)) = waits {
            drop(before);
            if end_is_held {
                this.measured.shared.wake_supervisor();
            }
        }
        let Poll::Ready(next) = polled else {
            let late = ready!(this.measured.poll_late(cx));
            return Poll::Ready(Some(Err(this.fail(late))));
        };
        this.measured.heard();
        this.measured.shared.status.body_waits.store(false, Relaxed);
        Poll::Ready(match next {
            None => {
                this.end();
                None
            }
            Some(Err(error)) => Some(Err(this.fail(classify(&error)))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => match this.measured.count(data.len()) {
                    Ok(()) => {
                        if is_last {
                            this.end();
                        }
                        Some(Ok(Frame::data(data)))
                    }
                    Err(error) => Some(Err(this.fail(error))),
                },
                Err(frame) => {
                    this.end();
                    frame.into_trailers().ok().map(|fields| Ok(trailing(fields)))
                }
            },
        })
    }

    fn is_late(&self) {
        self.measured.is_late();
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
        self.measured.shared.forget_upload(&self.upload);
    }

    /// Nothing more can be read of it. \[KAP-11\]
    fn fail(&mut self, error: RequestBodyError) -> RequestBodyError {
        self.ended = true;
        drop(self.upload.give_up());
        self.leave();
        error
    }

    /// The application reads no further.
    fn leave(&self) {
        self.upload.unwanted.store(true, Relaxed);
        self.measured.shared.leave_upload(&self.upload);
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
