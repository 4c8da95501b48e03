//! What a broken server makes of HTTP/2 as a protocol: frames, streams, field blocks, floods. Built on hyper, and mostly by taking
//! away in front of it what it would have noticed.

use adapter_core::{Application, Body, Response};

use crate::environ_faults::with_runtime;
use crate::fault::{Base, Fault};
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, GOAWAY, HEADERS, Http2Frame, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use crate::http2_faults::{down, up};
use crate::proxy::{Flow, has, replace};

/// A frame that is never right, for a server that ends the connection where it should not: DATA on stream 0.
fn wrong() -> Http2Frame {
    Http2Frame::new(DATA, 0, 0, b"")
}

/// Keeps those of the client's frames that `keep` says. It gets the streams that have begun, and may add to them.
fn keep(flow: &mut Flow, data: &mut Vec<u8>, keep: fn(&Http2Frame, &mut Vec<u8>) -> bool) {
    let mut streams = std::mem::take(&mut flow.held);
    up(flow, data, |frames| frames.retain(|frame| keep(frame, &mut streams)));
    flow.held = streams;
}

/// Does `edit` to the payload of each of the client's frames of that kind.
fn edit(flow: &mut Flow, data: &mut Vec<u8>, kind: u8, edit: fn(&mut Vec<u8>)) {
    up(flow, data, |frames| {
        frames.iter_mut().filter(|frame| frame.kind == kind).for_each(|frame| edit(&mut frame.payload));
    });
}

/// The settings of a frame without those of that number.
fn without(payload: &[u8], id: u8) -> Vec<u8> {
    payload.chunks(6).filter(|setting| setting.get(1) != Some(&id)).flatten().copied().collect()
}

pub(crate) static FAULTS: &[Fault] = &[
    Fault::new("http2_begins_with_anything", &["http2_frames::begins_with_settings"]).on(Base::Hyper).up(
        |flow, data| {
            let mut begun = std::mem::take(&mut flow.held);
            up(flow, data, |frames| {
                if begun.is_empty() && frames[0].kind != SETTINGS {
                    frames.insert(0, Http2Frame::new(SETTINGS, 0, 0, b""));
                }
                begun = vec![1];
            });
            flow.held = begun;
        },
    ),
    Fault::new("http2_pings_are_of_any_size", &["http2_frames::malformed_frames_end_it"])
        .on(Base::Hyper)
        .up(|flow, data| keep(flow, data, |frame, _| frame.kind != PING || frame.payload.len() == 8)),
    Fault::new("http2_frame_sizes_are_ignored", &["http2_frames::settings_have_their_values"])
        .on(Base::Hyper)
        .up(|flow, data| edit(flow, data, SETTINGS, |settings| *settings = without(settings, 5))),
    Fault::new("http2_settings_are_not_acknowledged", &["http2_frames::settings_are_acknowledged"])
        .on(Base::Hyper)
        .down(|flow, data| {
            down(flow, data, |frames| frames.retain(|frame| frame.kind != SETTINGS || frame.flags == 0));
        }),
    Fault::new("http2_field_blocks_are_interrupted", &["http2_frames::field_blocks_are_in_one_piece"])
        .on(Base::Hyper)
        .up(|flow, data| keep(flow, data, |frame, _| frame.kind <= CONTINUATION)),
    Fault::new("http2_unknown_frames_are_errors", &["http2_frames::unknown_is_ignored"]).on(Base::Hyper).up(
        |flow, data| {
            up(flow, data, |frames| {
                if frames[0].kind > CONTINUATION {
                    frames[0] = wrong();
                }
            });
        },
    ),
    Fault::new("http2_pings_are_answered_anyhow", &["http2_frames::pings_are_answered"]).on(Base::Hyper).down(
        |flow, data| {
            down(flow, data, |frames| {
                if frames[0].kind == PING {
                    frames[0].payload = vec![0; 8];
                }
            });
        },
    ),
    Fault::new("http2_idle_streams_take_anything", &["http2_states::frames_out_of_place_end_it"]).on(Base::Hyper).up(
        |flow, data| {
            keep(flow, data, |frame, begun| {
                let stream = frame.stream as u8;
                if frame.kind == HEADERS {
                    begun.push(stream);
                }
                frame.stream == 0 || begun.contains(&stream)
            });
        },
    ),
    Fault::new("http2_late_frames_are_errors", &["http2_states::late_frames_are_ignored"]).on(Base::Hyper).up(
        |flow, data| {
            let mut reset = std::mem::take(&mut flow.held);
            up(flow, data, |frames| {
                let stream = frames[0].stream as u8;
                if reset.contains(&stream) {
                    frames[0] = wrong();
                } else if frames[0].kind == RST_STREAM {
                    reset.push(stream);
                }
            });
            flow.held = reset;
        },
    ),
    Fault::new("http2_goaway_ends_everything", &["http2_states::goaway_of_the_client_ends_nothing"])
        .on(Base::Hyper)
        .up(|flow, data| {
            up(flow, data, |frames| {
                if frames[0].kind == GOAWAY {
                    frames[0] = wrong();
                }
            });
        }),
    Fault::new("http2_goaway_names_no_stream", &["http2_streams::goaway_tells_what_was_served"]).on(Base::Hyper).down(
        |flow, data| {
            down(flow, data, |frames| {
                if frames[0].kind == GOAWAY {
                    frames[0].payload = vec![0; 8];
                }
            });
        },
    ),
    Fault::new("http2_windows_are_raised_by_nothing", &["http2_states::windows_are_kept"])
        .on(Base::Hyper)
        .up(|flow, data| keep(flow, data, |frame, _| frame.kind != WINDOW_UPDATE || frame.payload != [0; 4])),
    Fault::new("http2_initial_windows_are_ignored", &["http2_states::windows_are_obeyed"])
        .on(Base::Hyper)
        .up(|flow, data| edit(flow, data, SETTINGS, |settings| *settings = without(settings, 4))),
    Fault::new("http2_names_are_lowered", &["http2_malformed::fields_have_their_form"])
        .on(Base::Hyper)
        .up(|flow, data| edit(flow, data, HEADERS, |block| replace(block, b"X-Upper", b"x-upper"))),
    Fault::new("http2_values_are_trimmed", &["http2_malformed::fields_have_their_form"])
        .on(Base::Hyper)
        .up(|flow, data| edit(flow, data, HEADERS, |block| replace(block, b"x-bad\x02 a", b"x-bad\x01a"))),
    Fault::new("http2_upgrades_are_ignored", &["http2_malformed::connection_fields_have_no_place"])
        .on(Base::Hyper)
        .up(|flow, data| edit(flow, data, HEADERS, |block| replace(block, b"\x07upgrade", b"\x07x-grade"))),
    Fault::new("http2_unknown_pseudo_fields_are_ignored", &["http2_malformed::pseudo_fields_are_in_order"])
        .on(Base::Hyper)
        .up(|flow, data| edit(flow, data, HEADERS, |block| replace(block, b"\0\x08:version\x012", b""))),
    Fault::new("http2_connects_may_have_a_path", &["http2_malformed::connect_has_its_own"]).on(Base::Hyper).up(
        |flow, data| {
            edit(flow, data, HEADERS, |block| {
                if has(block, b"\x07CONNECT") {
                    replace(block, b"\0\x05:path\x01/", b"");
                    replace(block, b"\0\x07:scheme\x04http", b"");
                    replace(block, b"\0\x09:protocol\x09websocket", b"");
                }
            });
        },
    ),
    Fault::new("http2_trailers_may_be_anything", &["http2_malformed::trailers_have_no_pseudo_fields"])
        .on(Base::Hyper)
        .up(|flow, data| {
            let mut begun = std::mem::take(&mut flow.held);
            up(flow, data, |frames| {
                let frame = &mut frames[0];
                if frame.kind == HEADERS && begun.contains(&(frame.stream as u8)) {
                    frame.payload = b"\0\x07x-check\x011".to_vec();
                } else if frame.kind == HEADERS {
                    begun.push(frame.stream as u8);
                }
            });
            flow.held = begun;
        }),
    Fault::new("http2_lengths_are_not_compared", &["http2_malformed::lengths_are_true"]).on(Base::Hyper).up(
        |flow, data| edit(flow, data, HEADERS, |block| replace(block, b"\x0econtent-length", b"\x0ex-ontent-length")),
    ),
    Fault::new("http2_index_0_is_nothing", &["http2_hpack::malformed_blocks_end_it"]).on(Base::Hyper).up(
        |flow, data| {
            edit(flow, data, HEADERS, |block| {
                if block.last() == Some(&0x80) {
                    block.pop();
                }
            });
        },
    ),
    Fault::new("http2_nothing_is_indexed", &["http2_hpack::tables_are_kept"])
        .on(Base::Hyper)
        .up(|flow, data| edit(flow, data, HEADERS, |block| replace(block, b"\x40\x06x-seen", b"\0\x06x-seen"))),
    Fault::new("http2_blocks_are_left_where_they_are_wrong", &["http2_hpack::blocks_of_refused_requests_count"])
        .on(Base::Hyper)
        .up(|flow, data| {
            edit(flow, data, HEADERS, |block| {
                let wrong = b"connection\x05close";
                if let Some(at) = block.windows(wrong.len()).position(|window| window == wrong) {
                    block.truncate(at + wrong.len());
                }
            });
        }),
    Fault::new("http2_streams_are_unlimited", &["http2_floods::streams_are_limited"]).on(Base::Hyper).down(
        |flow, data| {
            down(flow, data, |frames| {
                if frames[0].kind == SETTINGS {
                    frames[0].payload = without(&frames[0].payload, 3);
                }
            });
        },
    ),
    // It has answered at once, and takes nothing amiss.
    Fault::new("http2_resets_that_it_makes_are_free", &["http2_floods::made_resets_end"])
        .on(Base::Hyper)
        .call(|application, request, environ| {
            let script = request.headers().get(conformance_tests::application::DO);
            let is_flood = script.is_some_and(|script| has(script.as_bytes(), b"body late"));
            Box::pin(async move {
                if is_flood {
                    return Ok(Response::new(Body::from("at once")));
                }
                application.call(request, environ).await
            })
        })
        .up(|flow, data| {
            keep(flow, data, |frame, _| frame.stream == 0 || ![WINDOW_UPDATE, PRIORITY].contains(&frame.kind));
        }),
    Fault::new("http2_work_is_not_withdrawn", &["http2_floods::work_not_begun_is_dropped"]).on(Base::Hyper).call(
        |application, request, environ| {
            let runtime = environ.runtime().clone();
            let task = runtime.spawn(async move { application.call(request, environ).await });
            Box::pin(async move { task.await? })
        },
    ),
    Fault::new("http2_work_that_runs_is_forgotten", &["http2_floods::work_that_runs_counts"]).on(Base::Hyper).call(
        |application, request, environ| {
            // Counted for a connection of its own.
            let environ = with_runtime(&environ, environ.runtime().clone());
            Box::pin(async move { application.call(request, environ).await })
        },
    ),
    Fault::new("http2_field_blocks_never_end", &["http2_floods::endless_field_blocks_end_it"]).on(Base::Hyper).up(
        |flow, data| {
            flow.sent.truncate(1 << 10);
            keep(flow, data, |frame, _| frame.kind != CONTINUATION || frame.flags & END_HEADERS != 0);
        },
    ),
    Fault::new("http2_answers_are_kept_for_who_reads_none", &["http2_floods::answers_are_not_piled_up"])
        .on(Base::Hyper)
        .up(|flow, data| {
            flow.sent.truncate(1 << 10);
            keep(flow, data, |frame, _| frame.kind != PING && frame.kind != SETTINGS);
        }),
    Fault::new("http2_empty_data_holds_it_up", &["http2_floods::cheap_frames_are_no_harm"]).on(Base::Hyper).up(
        |flow, data| {
            keep(flow, data, |frame, empty| {
                if frame.kind == DATA && frame.payload.is_empty() {
                    empty.push(0);
                }
                empty.len() < 100
            });
        },
    ),
];
