//! What a broken server does to the bodies that it sends.

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use adapter_core::http::{HeaderValue, Method, StatusCode, header};
use adapter_core::{Application, Body, Bytes, Environ, Error, Request, Response};
use http_body::{Body as _, Frame, SizeHint};

use crate::fault::Fault;

type Item = Option<Result<Frame<Bytes>, Error>>;

/// Calls the application and does something to its response.
macro_rules! answered {
    ($change:expr) => {
        |application, request, environ| {
            Box::pin(async move {
                let asked = (request.method().clone(), script(&request), environ.clone());
                let change: fn(&(Method, String, Environ), Response) -> Response = $change;
                application.call(request, environ).await.map(|response| change(&asked, response))
            })
        }
    };
}

fn script(request: &Request) -> String {
    request
        .headers()
        .get("x-conformance-do")
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .unwrap_or_default()
}

/// A response body on its way through a step.
struct Through<F> {
    body: ManuallyDrop<Body>,
    leaks: bool,
    step: F,
    hint: Option<u64>,
}

impl<F> Through<F> {
    fn new(body: Body, step: F) -> Self {
        let hint = body.len();
        Through { body: ManuallyDrop::new(body), leaks: false, step, hint }
    }
}

impl<F: FnMut(Pin<&mut Body>, &mut Context<'_>) -> Poll<Item> + Send + Unpin + 'static> Through<F> {
    fn body(self) -> Body {
        Body::from_http_body(self)
    }
}

impl<F: FnMut(Pin<&mut Body>, &mut Context<'_>) -> Poll<Item> + Unpin> http_body::Body for Through<F> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Item> {
        let this = &mut *self;
        (this.step)(Pin::new(&mut this.body), cx)
    }

    fn size_hint(&self) -> SizeHint {
        self.hint.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl<F> Drop for Through<F> {
    fn drop(&mut self) {
        if !self.leaks {
            // Dropped once, here: the field is not used after this.
            drop(std::mem::take(&mut *self.body));
        }
    }
}

/// Each item with another content.
fn items(response: Response, change: impl Fn(Bytes) -> Bytes + Send + Unpin + 'static) -> Response {
    response.map(|body| {
        Through::new(body, move |body: Pin<&mut Body>, cx: &mut Context<'_>| {
            body.poll_frame(cx).map(|next| next.map(|frame| frame.map(|frame| frame.map_data(&change))))
        })
        .body()
    })
}

static MIXED: Mutex<Option<Bytes>> = Mutex::new(None);

pub(crate) static FAULTS: &[Fault] = &[
    Fault::new(
        "bodies_are_altered",
        &[
            "body::bytes_have_their_length",
            "body::items_are_concatenated",
            "body::large_body_is_intact",
            "body::many_small_items_are_intact",
            "body::bodies_move_between_threads",
            "body::channel_is_fed_from_anywhere",
            "files::file_is_exact",
            "files::file_starts_at_its_offset",
            "files::range_is_exact",
            "files::declared_length_cuts_or_breaks",
            "lifespan::no_hooks_are_needed",
            "trailers::http10_has_no_trailers",
            "request_body::early_response_arrives",
        ],
    )
    .call(answered!(|_, response| items(response, |data| data.iter().map(|byte| byte ^ 1).collect()))),
    // Bodies that lint has not touched have a way of their own through a server.
    Fault::new(
        "short_cuts_alter_bodies",
        &["unwrapped::bodies_are_intact", "unwrapped::many_in_a_row", "unwrapped::old_clients_are_served"],
    )
    .call(answered!(|_, response| response.map(|body| match body.try_into_bytes() {
        Ok(octets) => octets.iter().map(|octet| octet ^ 1).collect::<Vec<u8>>().into(),
        Err(body) => body,
    }))),
    Fault::new(
        "short_cuts_ignore_lengths",
        &["unwrapped::excess_is_clamped", "unwrapped::shortfall_is_sent_and_closed"],
    )
    .call(answered!(|_, response| {
        let (mut head, body) = response.into_parts();
        let body = match body.try_into_bytes() {
            Ok(octets) => {
                head.headers.remove(header::CONTENT_LENGTH);
                octets.into()
            }
            Err(body) => body,
        };
        Response::from_parts(head, body)
    })),
    Fault::new("short_cuts_ignore_statuses", &["unwrapped::nothing_where_nothing_belongs"]).call(answered!(
        |_, response| {
            let (mut head, body) = response.into_parts();
            let body = match body.try_into_bytes() {
                Ok(octets) => {
                    head.status = StatusCode::OK;
                    octets.into()
                }
                Err(body) => body,
            };
            Response::from_parts(head, body)
        }
    )),
    Fault::new(
        "threads_wait_for_clients",
        &["concurrency::slow_readers_hold_no_thread", "http2_streams::slow_streams_hold_no_thread"],
    )
    .on(crate::fault::Base::Hyper)
    .call(answered!(|(.., environ), response| response.map(|mut body| {
        if !body.is_blocking() {
            return body;
        }
        let (sender, queue) = Body::channel(1);
        let pull = move || {
            while let Some(Ok(frame)) = body.next_frame()
                && let Ok(data) = frame.into_data()
                && sender.send_blocking(data).is_ok()
            {}
        };
        environ.runtime().run_blocking(pull).detach();
        queue
    }))),
    Fault::new("responses_are_mixed", &["concurrency::streams_do_not_mix"]).call(answered!(|_, response| items(
        response,
        |data| {
            let mut last = MIXED.lock().unwrap_or_else(PoisonError::into_inner);
            last.replace(data.clone()).filter(|before| before.len() == data.len()).unwrap_or(data)
        }
    ))),
    Fault::new(
        "bodies_leak",
        &[
            "no_body::no_content_has_nothing",
            "no_body::not_modified_has_no_body",
            "no_body::reset_content_is_empty",
            "body_drop::dropped_once_after_its_end",
            "body_drop::dropped_on_disconnect",
            "body_drop::dropped_on_disconnect_while_flowing",
            "body_drop::hook_runs_once_after_success",
            "unwrapped::hook_runs_once",
            "body_drop::hook_runs_once_after_failure",
            "body_drop::dropped_when_refused",
            "files::file_is_closed",
            "disconnect::body_without_progress_is_dropped",
            "disconnect::deadline_is_a_disconnect",
            "errors::dead_client_is_an_error_for_the_writer",
        ],
    )
    .call(answered!(|_, response| response.map(|body| {
        let mut through = Through::new(body, |body: Pin<&mut Body>, cx: &mut Context<'_>| body.poll_frame(cx));
        through.leaks = true;
        through.body()
    }))),
    Fault::new(
        "heads_wait_for_items",
        &["response::head_does_not_wait", "no_body::head_body_is_dropped_unasked", "body_drop::dropped_when_refused"],
    )
    .call(|application, request, environ| {
        Box::pin(async move {
            let response = application.call(request, environ).await?;
            let (head, mut body) = response.into_parts();
            let Some(first) = body.frame().await else { return Ok(Response::from_parts(head, body)) };
            let mut first = Some(first);
            let body = Through::new(body, move |body: Pin<&mut Body>, cx: &mut Context<'_>| match first.take() {
                Some(first) => Poll::Ready(Some(first)),
                None => body.poll_frame(cx),
            });
            Ok(Response::from_parts(head, body.body()))
        })
    }),
    Fault::new("failing_bodies_are_500", &["response::ok_commits_the_head"]).call(|application, request, environ| {
        Box::pin(async move {
            let response = application.call(request, environ).await?;
            let (head, mut body) = response.into_parts();
            let first = body.frame().await.transpose()?;
            let mut first = first.map(Ok);
            let body = Through::new(body, move |body: Pin<&mut Body>, cx: &mut Context<'_>| match first.take() {
                Some(first) => Poll::Ready(Some(first)),
                None => body.poll_frame(cx),
            });
            Ok(Response::from_parts(head, body.body()))
        })
    }),
    Fault::new(
        "failures_end_bodies",
        &[
            "body_drop::failure_is_truncation",
            "body_drop::failure_of_a_sized_body_is_truncation",
            "body_drop::panicked_sender_aborts",
            "body_drop::dropped_after_an_error",
            "body_drop::dropped_after_a_panic",
            "body_drop::dropped_after_a_late_error",
            "body_drop::dropped_after_a_late_panic",
            "framing::aborted_has_no_last_chunk",
            "errors::panic_in_a_body_aborts",
        ],
    )
    .call(answered!(|_, response| {
        let mut response = response.map(|body| {
            let mut through = Through::new(body, |body: Pin<&mut Body>, cx: &mut Context<'_>| {
                body.poll_frame(cx).map(|next| next.filter(Result::is_ok))
            });
            through.hint = None;
            through.body()
        });
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response
    })),
    Fault::new(
        "pending_is_the_end",
        &[
            "body::stream_may_be_pending",
            "body::body_is_send_not_sync",
            "body::channel_ends_with_its_sender",
            "body::items_are_not_held_back",
        ],
    )
    .call(answered!(|_, response| response.map(|body| {
        Through::new(body, |body: Pin<&mut Body>, cx: &mut Context<'_>| match body.poll_frame(cx) {
            Poll::Pending => Poll::Ready(None),
            ready => ready,
        })
        .body()
    }))),
    Fault::new("bodies_are_asked_after_their_end", &["body_drop::dropped_after_an_error"]).call(answered!(
        |_, response| response.map(|body| {
            Through::new(body, |mut body: Pin<&mut Body>, cx: &mut Context<'_>| {
                let next = ready!(body.as_mut().poll_frame(cx));
                if matches!(next, None | Some(Err(_))) {
                    let _ = body.poll_frame(cx);
                }
                Poll::Ready(next)
            })
            .body()
        })
    )),
    Fault::new("production_runs_ahead", &["body::slow_client_stops_production", "framing::excess_stops_the_body"])
        .call(answered!(|_, response| {
            let (head, body) = response.into_parts();
            let mut ahead = VecDeque::new();
            let body = Through::new(body, move |mut body: Pin<&mut Body>, cx: &mut Context<'_>| {
                // Everything that is there is taken, up to what a test can bear.
                while ahead.len() < 2000 {
                    match body.as_mut().poll_frame(cx) {
                        Poll::Ready(next) => {
                            let over = !matches!(next, Some(Ok(_)));
                            ahead.push_back(next);
                            if over {
                                break;
                            }
                        }
                        Poll::Pending if ahead.is_empty() => return Poll::Pending,
                        Poll::Pending => break,
                    }
                }
                Poll::Ready(ahead.pop_front().flatten())
            });
            Response::from_parts(head, body.body())
        })),
    Fault::new(
        "lengths_are_not_sent",
        &[
            "body::exact_length_is_sent",
            "body::empty_body_has_length_0",
            "no_body::head_has_the_length",
            "body::bytes_have_their_length",
        ],
    )
    .call(answered!(|asked, response| {
        // The head of HEAD says what GET would not.
        if asked.0 == Method::HEAD {
            return response;
        }
        response.map(|body| {
            let mut through = Through::new(body, |body: Pin<&mut Body>, cx: &mut Context<'_>| body.poll_frame(cx));
            through.hint = None;
            through.body()
        })
    })),
    Fault::new("hints_become_lengths", &["body::hint_is_no_length", "files::made_up_file_has_no_length"]).call(
        answered!(|_, mut response| {
            if response.body().len().is_none() {
                response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("100"));
            }
            response
        }),
    ),
    Fault::new(
        "declared_lengths_are_ignored",
        &[
            "framing::excess_is_clamped",
            "framing::shortfall_is_sent_and_closed",
            "framing::invalid_length_is_500",
            "no_body::head_keeps_the_applications_length",
            "no_body::not_modified_keeps_fields",
        ],
    )
    .call(answered!(|_, mut response| {
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response.headers_mut().remove(header::ETAG);
        response
    })),
    Fault::new(
        "own_fields_are_added",
        &[
            "files::path_is_a_handle",
            "response::no_content_type_is_invented",
            "response::own_server_field_stays",
            "response::repeated_fields_keep_order",
        ],
    )
    .call(answered!(|asked, mut response| {
        let headers = response.headers_mut();
        if asked.1.contains("path ") {
            headers.insert("x-path", HeaderValue::from_static("1"));
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
        headers.insert(header::SERVER, HeaderValue::from_static("broken"));
        let cookies: Vec<String> = headers
            .get_all(header::SET_COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .map(str::to_owned)
            .collect();
        if let Ok(joined) = HeaderValue::from_str(&cookies.join(", ")) {
            headers.insert(header::SET_COOKIE, joined);
        }
        response
    })),
    Fault::new("fields_are_dropped", &["response::fields_are_unchanged"]).call(answered!(|_, mut response| {
        response.headers_mut().remove(header::LOCATION);
        response.headers_mut().remove(header::CACHE_CONTROL);
        response
    })),
    Fault::new("values_are_lowered", &["response::fields_are_unchanged"]).call(answered!(|_, mut response| {
        for (name, value) in response.headers_mut() {
            let lowered = value.as_bytes().to_ascii_lowercase();
            if let (false, Ok(lowered)) =
                (name.as_str().starts_with("x-conformance"), HeaderValue::from_bytes(&lowered))
            {
                *value = lowered;
            }
        }
        response
    })),
    Fault::new("fields_are_doubled", &["response::fields_are_unchanged"]).call(answered!(|_, mut response| {
        if let Some(tag) = response.headers().get(header::ETAG).cloned() {
            response.headers_mut().append(header::ETAG, tag);
        }
        response
    })),
    Fault::new("fields_are_invented", &["response::no_fields_are_invented"]).call(answered!(|_, mut response| {
        response.headers_mut().insert("x-powered-by", HeaderValue::from_static("broken"));
        response
    })),
    Fault::new("iterators_are_drained", &["disconnect::blocked_iterator_is_dropped_when_it_returns"]).call(answered!(
        |_, response| {
            struct Drain(Body);
            impl Iterator for Drain {
                type Item = Result<Bytes, Error>;
                fn next(&mut self) -> Option<Self::Item> {
                    let frame = self.0.next_frame()?;
                    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
                }
            }
            impl Drop for Drain {
                fn drop(&mut self) {
                    while self.0.next_frame().is_some() {}
                }
            }
            if response.body().is_blocking() { response.map(|body| Body::from_iterator(Drain(body))) } else { response }
        }
    )),
    Fault::new(
        "trailers_are_lost",
        &[
            "trailers::response_trailers_are_sent",
            "trailers::trailers_follow_an_empty_body",
            "trailers::capability_is_true",
            "unwrapped::trailers_are_sent",
        ],
    )
    .on(crate::fault::Base::Hyper)
    .call(answered!(|_, response| response.map(|body| {
        Through::new(body, |body: Pin<&mut Body>, cx: &mut Context<'_>| {
            body.poll_frame(cx).map(|next| next.filter(|frame| !frame.as_ref().is_ok_and(Frame::is_trailers)))
        })
        .body()
    }))),
];
