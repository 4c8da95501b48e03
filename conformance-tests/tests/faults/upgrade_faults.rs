//! What a broken server does to upgrades and WebSockets. Built on hyper, which has them.

use adapter_core::http::{HeaderMap, HeaderValue, StatusCode, header};
use adapter_core::{Application, Body, DynApplication, Environ, Request, Response};
use conformance_tests::wire::websocket::{Frame, opcode};

use crate::fault::{Answer, Base, BoxFuture, Fault};
use crate::proxy::{Flow, has, inject, replace};

const GOOD_KEY: &[u8] = b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Calls the application with edited fields.
fn edited(
    application: DynApplication,
    mut request: Request,
    environ: Environ,
    edit: fn(&mut HeaderMap),
) -> BoxFuture<Answer> {
    edit(request.headers_mut());
    Box::pin(async move { application.call(request, environ).await })
}

/// Replaces words of the script: a server that does not know them.
fn rescripted(
    application: DynApplication,
    request: Request,
    environ: Environ,
    edit: fn(&str) -> String,
) -> BoxFuture<Answer> {
    let mut request = request;
    let script = request.headers().get("x-conformance-do").and_then(|value| value.to_str().ok()).map(edit);
    if let Some(Ok(value)) = script.map(|script| HeaderValue::from_str(&script)) {
        request.headers_mut().insert("x-conformance-do", value);
    }
    Box::pin(async move { application.call(request, environ).await })
}

/// Does `edit` to each frame the server sends.
fn down(flow: &mut Flow, data: &mut Vec<u8>, edit: impl FnMut(&mut Frame) -> bool) {
    flow.down.edit(data, "http/1.1 101", edit);
}

/// Does `edit` to each frame the client sends.
fn up(flow: &mut Flow, data: &mut Vec<u8>, edit: impl FnMut(&mut Frame) -> bool) {
    flow.up.edit(data, "upgrade: websocket", edit);
}

/// Gives close frames with the code `from` the code `to`; 0 stands for any.
fn recode(frame: &mut Frame, from: u16, to: u16) -> bool {
    if frame.opcode() == opcode::CLOSE
        && let [high, low, ..] = &mut frame.payload[..]
        && (from == 0 || [*high, *low] == from.to_be_bytes())
    {
        [*high, *low] = to.to_be_bytes();
    }
    true
}

fn is_switch(data: &[u8]) -> bool {
    data.starts_with(b"HTTP/1.1 101")
}

pub(crate) static FAULTS: &[Fault] = &[
    // Handshakes.
    Fault::new("accepts_are_of_another_key", &["websocket::handshake_is_accepted"])
        .on(Base::Hyper)
        .down(|_, data| replace(data, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", b"HSmrc0sMlYUkAGmm5OPpG2HaGWk=")),
    Fault::new("websocket_is_case_sensitive", &["websocket::handshakes_are_recognised"])
        .on(Base::Hyper)
        .up(|_, data| replace(data, b": WebSocket\r\n", b": WebSocked\r\n")),
    Fault::new("keys_are_not_checked", &["websocket::bad_key_is_400"])
        .on(Base::Hyper)
        .up(|_, data| replace(data, b"sec-websocket-key: c2hvcnQ=\r\n", GOOD_KEY)),
    Fault::new("versions_are_not_checked", &["websocket::other_version_is_426"])
        .on(Base::Hyper)
        .up(|_, data| replace(data, b"sec-websocket-version: 14\r\n", b"sec-websocket-version: 13\r\n")),
    Fault::new("denials_are_empty", &["websocket::denial_is_sent"]).on(Base::Hyper).call(
        |application, request, environ| {
            Box::pin(async move {
                let response = application.call(request, environ).await?;
                let denied = response.status() == StatusCode::FORBIDDEN;
                Ok(if denied { response.map(|_| Body::empty()) } else { response })
            })
        },
    ),
    Fault::new("everything_is_a_handshake", &["websocket::plain_requests_are_told_apart"]).on(Base::Hyper).up(
        |_, data| {
            if has(data, b"websocket echo; body plain\r\n") && !has(data, b"upgrade: ") {
                let fields = [b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n", GOOD_KEY];
                replace(data, b"host: ", &[&fields.concat()[..], b"host: "].concat());
            }
        },
    ),
    Fault::new("subprotocols_are_always_sent", &["websocket::subprotocol_is_the_chosen_one"]).on(Base::Hyper).down(
        |_, data| {
            if is_switch(data) && !has(data, b"sec-websocket-protocol") {
                inject(data, b"sec-websocket-protocol: chat\r\n");
            }
        },
    ),
    Fault::new("fields_of_accepts_are_lost", &["websocket::fields_are_added_to_the_accept"])
        .on(Base::Hyper)
        .down(|_, data| replace(data, b"x-one: 1\r\n", b"")),
    Fault::new(
        "failures_are_200_with_upgrades",
        &["websocket::failure_before_the_accept_is_500", "upgrade::taking_twice_is_an_error"],
    )
    .on(Base::Hyper)
    .call(|application, request, environ| {
        Box::pin(
            async move { application.call(request, environ).await.or_else(|_| Ok(Response::new(Body::from("fine")))) },
        )
    }),
    Fault::new(
        "early_octets_are_lost",
        &["websocket::frames_with_the_handshake_arrive", "upgrade::early_octets_come_first"],
    )
    .on(Base::Hyper)
    .up(|_, data| {
        if let Some(end) = data.windows(4).position(|four| four == b"\r\n\r\n").filter(|_| has(data, b"upgrade: ")) {
            data.truncate(end + 4);
        }
    }),
    Fault::new("handshakes_have_no_cookies", &["websocket::environment_is_that_of_a_request"]).on(Base::Hyper).call(
        |application, request, environ| {
            edited(application, request, environ, |fields| {
                if fields.contains_key(header::UPGRADE) {
                    fields.remove(header::COOKIE);
                }
            })
        },
    ),
    Fault::new("scheme_is_another_for_handshakes", &["websocket::scheme_is_http"])
        .on(Base::Hyper)
        .config(|config| config.trusted_proxies.push([127, 0, 0, 1].into()))
        .up(|_, data| replace(data, b"upgrade: websocket\r\n", b"upgrade: websocket\r\nx-forwarded-proto: https\r\n")),
    Fault::new("extensions_are_echoed", &["websocket::extensions_are_not_negotiated"]).on(Base::Hyper).down(
        |_, data| {
            if is_switch(data) {
                inject(data, b"sec-websocket-extensions: permessage-deflate\r\n");
            }
        },
    ),
    // Frames.
    Fault::new(
        "messages_are_altered",
        &[
            "websocket_frames::messages_are_intact",
            "websocket_frames::fragments_are_joined",
            "websocket_frames::frames_may_come_in_pieces",
            "websocket_frames::messages_are_sent_intact",
            "websocket_frames::utf8_may_be_split",
            "websocket_life::many_websockets_at_once",
        ],
    )
    .on(Base::Hyper)
    .down(|flow, data| {
        down(flow, data, |frame| {
            if matches!(frame.opcode(), opcode::CONTINUATION..=opcode::BINARY)
                && let Some(last) = frame.payload.last_mut()
            {
                *last ^= 1;
            }
            true
        });
    }),
    Fault::new("pings_are_ignored", &["websocket_frames::ping_is_answered", "websocket_frames::fragments_are_joined"])
        .on(Base::Hyper)
        .down(|flow, data| down(flow, data, |frame| frame.opcode() != opcode::PONG)),
    Fault::new("pongs_are_errors", &["websocket_frames::pong_is_ignored"]).on(Base::Hyper).up(|flow, data| {
        up(flow, data, |frame| {
            if frame.opcode() == opcode::PONG {
                frame.first = 0x8b;
            }
            true
        });
    }),
    Fault::new(
        "close_codes_are_always_1000",
        &[
            "websocket_frames::protocol_errors_are_1002",
            "websocket_frames::text_is_utf8_or_1007",
            "websocket_frames::too_big_is_1009",
            "websocket_frames::unmasked_is_1002",
            "websocket_frames::applications_close_is_sent",
            "websocket_life::failure_is_1011",
            "websocket_life::shutdown_is_told",
        ],
    )
    .on(Base::Hyper)
    .down(|flow, data| down(flow, data, |frame| recode(frame, 0, 1000))),
    Fault::new("close_codes_are_never_1000", &["websocket_frames::close_is_1000_by_default"])
        .on(Base::Hyper)
        .down(|flow, data| down(flow, data, |frame| recode(frame, 1000, 1001))),
    Fault::new("reasons_are_lost", &["websocket_frames::peers_close_is_delivered"]).on(Base::Hyper).up(|flow, data| {
        up(flow, data, |frame| {
            if frame.opcode() == opcode::CLOSE {
                frame.payload.truncate(2);
            }
            true
        });
    }),
    Fault::new("no_code_is_1000", &["websocket_frames::close_without_a_code_is_1005"]).on(Base::Hyper).up(
        |flow, data| {
            up(flow, data, |frame| {
                if frame.opcode() == opcode::CLOSE && frame.payload.is_empty() {
                    *frame = Frame::close(1000, "");
                }
                true
            });
        },
    ),
    Fault::new("losses_are_closes", &["websocket_frames::loss_is_1006"]).on(Base::Hyper).up(|flow, data| {
        let mut closes = false;
        up(flow, data, |frame| {
            closes |= frame.payload == b"before";
            true
        });
        if closes {
            data.extend(Frame::close(1000, "").bytes());
        }
    }),
    Fault::new("reasons_are_never_cut", &["websocket_frames::long_reasons_fit"]).on(Base::Hyper).down(|flow, data| {
        down(flow, data, |frame| {
            if frame.payload.len() > 100 {
                frame.payload.extend_from_slice(&[b'x'; 100]);
            }
            true
        });
    }),
    // The life of a connection.
    Fault::new("closes_are_awaited_for_ever", &["websocket_life::own_close_ends_everything"]).on(Base::Hyper).call(
        |application, request, environ| {
            rescripted(application, request, environ, |script| {
                script.replace("close-timeout:300", "close-timeout:99999")
            })
        },
    ),
    Fault::new("closes_are_not_told", &["websocket_life::peers_close_ends_everything"]).on(Base::Hyper).up(
        |flow, data| {
            let mut closed = false;
            up(flow, data, |frame| {
                closed |= frame.opcode() == opcode::CLOSE;
                frame.opcode() != opcode::CLOSE
            });
            if closed {
                flow.reply = Frame::close(1000, "").unmasked().bytes();
            }
        },
    ),
    Fault::new("clients_are_never_held_up", &["websocket_life::client_that_sends_too_much_is_held_up"])
        .on(Base::Hyper)
        .up(|flow, data| {
            // A buffer without a bound.
            if flow.sent.len() > 1 << 20 {
                flow.sent.truncate(1 << 20);
                flow.sent.push(0);
                data.clear();
            }
        }),
    Fault::new("applications_are_never_held_up", &["websocket_life::application_that_sends_too_much_is_held_up"])
        .on(Base::Hyper)
        .down(|flow, data| {
            if flow.received.len() > 1 << 20 {
                flow.received.truncate(1 << 20);
                flow.received.push(0);
                data.clear();
            }
        }),
    Fault::new("deadline_is_not_for_websockets", &["websocket_life::deadline_ends_websockets"])
        .on(Base::Hyper)
        .config(|config| config.timeouts.graceful_shutdown = std::time::Duration::from_secs(3600)),
    Fault::new(
        "quiet_is_dead",
        &["websocket_life::quiet_websocket_stays", "upgrade::quiet_stream_stays", "upgrade::stalled_stream_stays"],
    )
    .on(Base::Hyper)
    .up(|flow, _| flow.silence = Some(std::time::Duration::from_millis(500))),
    // Streams of octets.
    Fault::new("streams_are_altered", &["upgrade::stream_goes_both_ways"])
        .on(Base::Hyper)
        .up(|_, data| replace(data, b"abc", b"abd")),
    Fault::new("half_an_end_is_an_end", &["upgrade::halves_end_apart"]).on(Base::Hyper).end(|flow| flow.close = true),
    Fault::new("switches_have_bodies", &["upgrade::nothing_but_the_applications_octets"]).on(Base::Hyper).down(
        |_, data| {
            if is_switch(data) {
                data.extend_from_slice(b"0\r\n\r\n");
            }
        },
    ),
    Fault::new("dropped_streams_stay", &["upgrade::dropped_stream_is_closed"])
        .on(Base::Hyper)
        .down(|flow, _| flow.swallow_end = true),
    Fault::new("refused_upgrades_close", &["upgrade::refusal_keeps_the_connection"])
        .on(Base::Hyper)
        .config(|config| config.keep_alive = false),
];
