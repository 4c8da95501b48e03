//! What a broken server does on HTTP/2. Built on hyper, which has it.

use std::task::{Poll, ready};
use std::time::Duration;

use adapter_core::http::{HeaderValue, Uri, Version, header};
use adapter_core::{Application, Body, Limits, Response};

use crate::fault::{Base, Fault};
use crate::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, Http2Frame, RST_STREAM, WINDOW_UPDATE, is_http2};
use crate::proxy::{Flow, has};
use crate::upload_faults::{poll, reading};

/// Does `edit` to each frame of the server's; what HTTP/1 says passes.
pub(crate) fn down(flow: &mut Flow, data: &mut Vec<u8>, edit: impl FnMut(&mut Vec<Http2Frame>)) {
    if is_http2(&flow.sent) {
        flow.down.edit_http2(data, edit);
    }
}

/// Does `edit` to each frame of the client's.
pub(crate) fn up(flow: &mut Flow, data: &mut Vec<u8>, edit: impl FnMut(&mut Vec<Http2Frame>)) {
    if is_http2(&flow.sent) {
        flow.up.edit_http2(data, edit);
    }
}

pub(crate) static FAULTS: &[Fault] = &[
    Fault::new("http2_host_is_the_servers", &["http2::authority_is_the_host"]).on(Base::Hyper).call(
        |application, mut request, environ| {
            if request.version() == Version::HTTP_2 {
                request.headers_mut().insert(header::HOST, HeaderValue::from_static("server.example"));
            }
            Box::pin(async move { application.call(request, environ).await })
        },
    ),
    Fault::new("http2_targets_are_absolute", &["http2::target_is_in_origin_form"]).on(Base::Hyper).call(
        |application, mut request, environ| {
            if request.version() == Version::HTTP_2
                && let Ok(uri) = Uri::try_from(format!("http://conformance.test{}", request.uri()))
            {
                *request.uri_mut() = uri;
            }
            Box::pin(async move { application.call(request, environ).await })
        },
    ),
    Fault::new("http2_bodies_are_altered", &["http2::bodies_are_exact"]).on(Base::Hyper).down(|flow, data| {
        down(flow, data, |frames| {
            if let [frame] = &mut frames[..]
                && frame.kind == DATA
                && let Some(first) = frame.payload.first_mut()
            {
                *first ^= 1;
            }
        });
    }),
    Fault::new("http2_heads_have_bodies", &["http2::head_has_no_octets", "http2::bodiless_statuses_have_no_body"])
        .on(Base::Hyper)
        .down(|flow, data| {
            down(flow, data, |frames| {
                let frame = &mut frames[0];
                if frame.kind == HEADERS && frame.flags & END_STREAM != 0 {
                    frame.flags &= !END_STREAM;
                    let stream = frame.stream;
                    frames.push(Http2Frame::new(DATA, END_STREAM, stream, b"hello"));
                }
            });
        }),
    Fault::new("http2_trailers_are_lost", &["http2::trailers_go_both_ways", "http2::trailers_follow_any_length"])
        .on(Base::Hyper)
        .down(|flow, data| {
            let mut heads = std::mem::take(&mut flow.held);
            down(flow, data, |frames| {
                let frame = &mut frames[0];
                let stream = frame.stream as u8;
                if frame.kind == HEADERS && heads.contains(&stream) {
                    *frame = Http2Frame::new(DATA, END_STREAM, frame.stream, b"");
                } else if frame.kind == HEADERS {
                    heads.push(stream);
                }
            });
            flow.held = heads;
        }),
    Fault::new("http2_has_hop_by_hop_fields", &["http2::hop_by_hop_fields_are_removed"]).on(Base::Hyper).down(
        |flow, data| {
            down(flow, data, |frames| {
                if frames[0].kind == HEADERS {
                    frames[0].payload.extend_from_slice(b"\x00\x0aconnection\x05close");
                }
            });
        },
    ),
    Fault::new("http2_failures_are_200", &["http2::failures_are_500"]).on(Base::Hyper).call(
        |application, request, environ| {
            Box::pin(async move {
                application.call(request, environ).await.or_else(|_| Ok(Response::new(Body::from("fine"))))
            })
        },
    ),
    Fault::new(
        "http2_broken_bodies_end_well",
        &["http2::failing_body_is_a_reset", "http2::shortfall_is_a_reset", "http2::failures_wait_for_nothing"],
    )
    .on(Base::Hyper)
    .down(|flow, data| {
        down(flow, data, |frames| {
            if frames[0].kind == RST_STREAM {
                frames[0] = Http2Frame::new(DATA, END_STREAM, frames[0].stream, b"");
            }
        });
    }),
    Fault::new("http2_resets_overtake_data", &["http2::shortfall_is_a_reset", "http2::failures_wait_for_nothing"])
        .on(Base::Hyper)
        .down(|flow, data| {
            down(flow, data, |frames| {
                if frames[0].kind == DATA && frames[0].flags & END_STREAM == 0 && frames[0].payload == b"hello" {
                    frames.clear();
                }
            });
        }),
    Fault::new("http2_lengths_are_ignored", &["http2::excess_is_clamped", "http2::shortfall_is_a_reset"])
        .on(Base::Hyper)
        .call(|application, request, environ| {
            Box::pin(async move {
                let mut response = application.call(request, environ).await?;
                response.headers_mut().remove(header::CONTENT_LENGTH);
                Ok(response)
            })
        }),
    Fault::new(
        "http2_resets_are_not_noticed",
        &[
            "http2_streams::reset_drops_the_handler",
            "http2_streams::reset_drops_the_body",
            "http2_streams::reset_is_a_read_error",
            "http2_limits::rapid_resets_end",
        ],
    )
    .on(Base::Hyper)
    .up(|flow, data| up(flow, data, |frames| frames.retain(|frame| frame.kind != RST_STREAM))),
    Fault::new("http2_losses_are_not_noticed", &["http2_streams::lost_connection_drops_all"])
        .on(Base::Hyper)
        .end(|flow| flow.swallow_end = true),
    Fault::new("http2_streams_are_mixed", &["http2_streams::streams_do_not_mix"]).on(Base::Hyper).down(|flow, data| {
        down(flow, data, |frames| {
            let frame = &mut frames[0];
            if frame.kind == DATA && has(&frame.payload, b"answer-") {
                frame.payload = b"answer-4".to_vec();
            }
        });
    }),
    Fault::new("http2_early_responses_are_lost", &["http2_streams::unread_body_holds_up_nobody"]).on(Base::Hyper).down(
        |flow, data| {
            down(flow, data, |frames| {
                if frames[0].payload == b"early" {
                    frames[0].payload.clear();
                }
            });
        },
    ),
    Fault::new("http2_has_no_back_pressure", &["http2_streams::application_is_held_up"])
        .on(Base::Hyper)
        .up(|flow, data| {
            up(flow, data, |frames| {
                if frames[0].kind == HEADERS {
                    let (stream, room) = (frames[0].stream, 0x7000_0000_u32.to_be_bytes());
                    frames.push(Http2Frame::new(WINDOW_UPDATE, 0, 0, &room));
                    frames.push(Http2Frame::new(WINDOW_UPDATE, 0, stream, &room));
                }
            });
        })
        .down(|flow, data| {
            // A buffer without a bound.
            if flow.received.len() > 1 << 17 {
                flow.received.truncate(1 << 17);
                flow.received.push(0);
                data.clear();
            }
        }),
    Fault::new("http2_bodies_are_unlimited", &["http2::limits_hold"])
        .on(Base::Hyper)
        .config(|config| config.limits.body_bytes = None),
    Fault::new("http2_is_not_drained", &["http2_streams::shutdown_completes_streams"])
        .on(Base::Hyper)
        .config(|config| config.timeouts.graceful_shutdown = Duration::ZERO),
    Fault::new(
        "http2_idle_connections_stay",
        &["http2_timeouts::idle_connection_is_closed", "http2_timeouts::deaf_client_is_closed"],
    )
    .on(Base::Hyper)
    .config(|config| config.timeouts.keep_alive = None),
    Fault::new("http2_heads_may_take_for_ever", &["http2_timeouts::silent_connection_ends"])
        .on(Base::Hyper)
        .config(|config| config.timeouts.header_read = None),
    Fault::new(
        "http2_clients_may_stop_for_ever",
        &["http2_timeouts::client_that_makes_no_room_ends", "http2_timeouts::stream_without_room_ends"],
    )
    .on(Base::Hyper)
    .config(|config| config.timeouts.write = None),
    Fault::new(
        "http2_late_handlers_are_503",
        &[
            "http2_timeouts::header_timeout_is_for_heads",
            "http2_timeouts::busy_connection_is_not_idle",
            "http2_timeouts::write_timeout_starts_anew",
        ],
    )
    .on(Base::Hyper)
    .config(|config| config.timeouts.handler = Some(Duration::from_millis(300))),
    Fault::new("http2_cookies_are_crumbs", &["http2::cookies_are_one_field"]).on(Base::Hyper).call(
        |application, mut request, environ| {
            let headers = request.headers_mut();
            if let Some(whole) = headers.remove(header::COOKIE) {
                for crumb in String::from_utf8_lossy(whole.as_bytes()).split("; ") {
                    headers.extend(HeaderValue::from_str(crumb).map(|crumb| (header::COOKIE, crumb)));
                }
            }
            Box::pin(async move { application.call(request, environ).await })
        },
    ),
    Fault::new(
        "http2_read_errors_are_ends",
        &["http2::content_length_is_kept", "http2_timeouts::slow_body_is_a_read_error"],
    )
    .on(Base::Hyper)
    .call(|application, request, environ| {
        reading(application, request, environ, true, |body, cx| match ready!(poll(body, cx)) {
            Some(Err(_)) => Poll::Ready(None),
            next => Poll::Ready(next),
        })
    }),
    Fault::new("http2_refusals_are_200", &["http2_limits::malformed_requests_are_refused"]).on(Base::Hyper).down(
        |flow, data| {
            down(flow, data, |frames| {
                let frame = &mut frames[0];
                // The indexed fields ":status: 400" and ":status: 200" (RFC 7541 appendix A), and no field.
                if frame.kind == RST_STREAM || (frame.kind == HEADERS && frame.payload.contains(&0x8c)) {
                    *frame = Http2Frame::new(HEADERS, END_STREAM | END_HEADERS, frame.stream, &[0x88]);
                }
            });
        },
    ),
    Fault::new("http2_heads_are_unlimited", &["http2_limits::large_heads_are_refused"]).on(Base::Hyper).config(
        |config| {
            config.limits.head_bytes = 1 << 20;
            config.limits.header_count = 1000;
            config.limits.target_bytes = Limits::MOST_TARGET_BYTES;
        },
    ),
    Fault::new("http2_connections_persist", &["http2_limits::keep_alive_can_be_off"])
        .on(Base::Hyper)
        .config(|config| config.keep_alive = true),
];
