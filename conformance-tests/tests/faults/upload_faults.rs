//! What a broken server does to the bodies that it reads.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use adapter_core::http::HeaderValue;
use adapter_core::request_body::Source;
use adapter_core::{Application, Bytes, DynApplication, Environ, Request, RequestBody, RequestBodyError};
use http_body::{Body as _, Frame, SizeHint};

use crate::fault::{Answer, Base, BoxFuture, Fault};

type Read = Option<Result<Frame<Bytes>, RequestBodyError>>;

/// A request body on its way through a step.
struct Reader<F> {
    body: RequestBody,
    step: F,
    known: bool,
}

impl<F: FnMut(&mut RequestBody, &mut Context<'_>) -> Poll<Read> + Send + Unpin> Source for Reader<F> {
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Read> {
        let this = &mut *self;
        (this.step)(&mut this.body, cx)
    }

    fn next_frame(mut self: Pin<&mut Self>, _within: Option<Duration>) -> Read {
        futures_lite::future::block_on(std::future::poll_fn(|cx| self.as_mut().poll_frame(cx)))
    }

    fn size_hint(&self) -> SizeHint {
        if self.known { self.body.size_hint() } else { SizeHint::new() }
    }
}

/// Calls the application with its body read through `step`.
pub(crate) fn reading(
    application: DynApplication,
    request: Request,
    environ: Environ,
    known: bool,
    step: impl FnMut(&mut RequestBody, &mut Context<'_>) -> Poll<Read> + Send + Unpin + 'static,
) -> BoxFuture<Answer> {
    let request = request.map(|body| RequestBody::from_source(Reader { body, step, known }));
    Box::pin(async move { application.call(request, environ).await })
}

pub(crate) fn poll(body: &mut RequestBody, cx: &mut Context<'_>) -> Poll<Read> {
    Pin::new(body).poll_frame(cx)
}

pub(crate) static FAULTS: &[Fault] = &[
    Fault::new(
        "uploads_are_altered",
        &[
            "request_body::sized_body_is_exact",
            "request_body::large_bodies_are_intact",
            "request_body::chunks_are_decoded",
            "request_body::body_outlives_handler",
            "unwrapped::request_bodies_are_exact",
            "limits::body_at_its_limit_is_served",
            "target::byte_by_byte",
            "target::split_at_every_byte",
        ],
    )
    .call(|application, request, environ| {
        reading(application, request, environ, true, |body, cx| {
            poll(body, cx).map(|next| {
                next.map(|frame| frame.map(|frame| frame.map_data(|data| data.iter().map(|byte| byte ^ 1).collect())))
            })
        })
    }),
    Fault::new("uploads_are_collected", &["request_body::body_arrives_in_pieces"]).call(
        |application, request, environ| {
            let mut held: VecDeque<Read> = VecDeque::new();
            let mut complete = false;
            let mut extra_reads = 0;
            reading(application, request, environ, true, move |body, cx| {
                // Nothing is delivered before all is there; and what is asked for later is late.
                while !complete {
                    let next = ready!(poll(body, cx));
                    complete = !matches!(next, Some(Ok(_)));
                    held.push_back(next);
                    extra_reads += 1;
                }
                if extra_reads > 0 && held.front().is_some_and(Option::is_none) {
                    return Poll::Ready(Some(Err(RequestBodyError::Malformed("late".into()))));
                }
                Poll::Ready(held.pop_front().flatten())
            })
        },
    ),
    Fault::new(
        "uploads_never_end",
        &[
            "request_body::no_body_ends_at_once",
            "request_body::end_is_signalled",
            "request_body::end_is_at_content_length",
        ],
    )
    .call(|application, request, environ| {
        reading(application, request, environ, false, |body, cx| match ready!(poll(body, cx)) {
            None => Poll::Pending,
            next => Poll::Ready(next),
        })
    }),
    Fault::new("lengths_are_unknown", &["request_body::length_is_known_or_not"])
        .call(|application, request, environ| reading(application, request, environ, false, poll)),
    Fault::new(
        "read_errors_are_ends",
        &[
            "request_framing::malformed_chunk_is_an_error",
            "request_framing::malformed_chunk_after_data_is_an_error",
            "request_framing::truncated_body_is_an_error",
            "request_framing::bare_lf_in_chunks_is_malformed",
            "limits::growing_body_is_too_large",
            "limits::chunk_extensions_are_bounded",
            "limits::chunk_size_lines_are_bounded",
            "limits::trailers_are_bounded",
            "timeouts::slow_body_is_a_read_error",
            "trailers::malformed_trailers_are_an_error",
        ],
    )
    .call(|application, request, environ| {
        reading(application, request, environ, true, |body, cx| match ready!(poll(body, cx)) {
            Some(Err(_)) => Poll::Ready(None),
            next => Poll::Ready(next),
        })
    }),
    Fault::new("chunks_are_charged", &["limits::ordinary_chunks_are_not_charged"]).call(
        |application, request, environ| {
            let mut chunks = 0;
            reading(application, request, environ, true, move |body, cx| {
                chunks += 1;
                if chunks > 16 * 1024 {
                    return Poll::Ready(Some(Err(RequestBodyError::Malformed("too many chunks".into()))));
                }
                poll(body, cx)
            })
        },
    ),
    Fault::new("request_trailers_are_lost", &["trailers::request_trailers_arrive"]).call(
        |application, request, environ| {
            reading(application, request, environ, true, |body, cx| {
                loop {
                    match ready!(poll(body, cx)) {
                        Some(Ok(frame)) if frame.is_trailers() => {}
                        next => return Poll::Ready(next),
                    }
                }
            })
        },
    ),
    Fault::new("any_trailer_is_delivered", &["trailers::forbidden_trailers_do_not"]).call(
        |application, request, environ| {
            reading(application, request, environ, true, |body, cx| {
                poll(body, cx).map(|next| {
                    next.map(|frame| {
                        frame.map(|frame| match frame.into_trailers() {
                            Ok(mut trailers) => {
                                trailers.insert("content-length", HeaderValue::from_static("3"));
                                Frame::trailers(trailers)
                            }
                            Err(frame) => frame,
                        })
                    })
                })
            })
        },
    ),
    Fault::new(
        "bodies_are_read_first",
        &[
            "request_body::unread_body_stalls_the_client",
            "request_body::late_read_does_not_hang",
            "expect::continue_on_first_read",
            "expect::continue_for_a_blocking_read",
            "expect::continue_for_a_chunked_body",
            "expect::no_continue_without_a_read",
        ],
    )
    .call(|application, mut request, environ| {
        Box::pin(async move {
            let body = request.body_mut().bytes(usize::MAX).await?;
            application.call(request.map(|_| RequestBody::from(body)), environ).await
        })
    }),
    Fault::new("late_reads_hang", &["request_body::late_read_does_not_hang", "request_body::body_outlives_handler"])
        .call(|application, request, environ| {
            let over = Arc::new(AtomicBool::new(false));
            let seen = over.clone();
            let request = request.map(|body| {
                let step = move |body: &mut RequestBody, cx: &mut Context<'_>| {
                    if seen.load(Ordering::SeqCst) { Poll::Pending } else { poll(body, cx) }
                };
                RequestBody::from_source(Reader { body, step, known: true })
            });
            Box::pin(async move {
                let answer = application.call(request, environ).await;
                over.store(true, Ordering::SeqCst);
                answer
            })
        }),
    Fault::new("uploads_wait_for_responses", &["request_body::read_while_writing"]).on(Base::Hyper).call(
        |application, mut request, environ| {
            Box::pin(async move {
                let body = request.body_mut().bytes(usize::MAX).await?;
                application.call(request.map(|_| RequestBody::from(body)), environ).await
            })
        },
    ),
];
