//! What a broken server does on the wire, done to the octets of a sound one by the proxy.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::fault::{Base, Fault};
use crate::proxy::{Flow, has, inject, replace};

const MARK: &[u8] = b"x-conformance-application";

/// Whether the connection is one of the suite's own, about records.
fn is_control(flow: &Flow) -> bool {
    flow.asks("x-conformance-control")
}

/// Sends what follows `text` on a connection of its own too.
fn aside(flow: &mut Flow, data: &[u8], text: &[u8]) {
    if !is_control(flow)
        && let Some(at) = data.windows(text.len()).position(|window| window == text)
    {
        flow.aside = data[at..].to_vec();
    }
}

pub(crate) static FAULTS: &[Fault] = &[
    Fault::new("accept_errors_are_final", &["process::accepting_goes_on"]).deaf(),
    Fault::new(
        "refusals_say_200",
        &[
            "target::invalid_method_is_refused",
            "target::controls_are_refused",
            "target::other_versions_are_refused",
            "target::http2_preface_is_closed",
            "target::separators_are_single_spaces",
            "target::garbage_is_closed",
            "target_forms::absolute_form_needs_host",
            "target_forms::asterisk_is_for_options",
            "target_forms::authority_form_is_for_connect",
            "target_forms::relative_target_is_refused",
            "headers::space_before_colon_is_refused",
            "headers::folding_is_refused",
            "headers::names_are_tokens",
            "headers::controls_in_values_are_refused",
            "host::missing_host_is_refused",
            "host::two_hosts_are_refused",
            "host::malformed_host_is_refused",
            "host::http10_host_is_checked",
            "request_framing::conflicting_lengths_are_refused",
            "request_framing::malformed_lengths_are_refused",
            "request_framing::coding_must_end_in_chunked",
            "request_framing::unknown_coding_is_501",
            "request_framing::chunked_twice_is_refused",
            "expect::unknown_expectation_is_417",
            "errors::parse_errors_are_the_servers",
            "keep_alive::not_reused_after_refusal",
            "limits::endless_head_is_431",
            "limits::huge_names_are_refused",
            "no_body::interim_status_is_500",
            "framing::invalid_length_is_500",
        ],
    )
    .down(|_, data| {
        if (data.starts_with(b"HTTP/1.1 4") || data.starts_with(b"HTTP/1.1 5")) && !has(data, MARK) {
            data.splice(9..12, b"200".iter().copied());
        }
    }),
    Fault::new(
        "refusals_are_bare",
        &[
            "framing::refusals_are_framed",
            "shutdown::last_response_says_close",
            "keep_alive::client_closes",
            "keep_alive::application_closes",
            "headers::hop_by_hop_is_the_servers",
            "request_body::body_in_a_packet_of_its_own",
            "expect::end_without_continue_is_announced",
        ],
    )
    .down(|_, data| replace(data, b"connection: close\r\n", b"")),
    Fault::new(
        "what_follows_is_served",
        &[
            "request_body::unread_body_is_no_request",
            "request_body::partly_read_body_is_no_request",
            "request_body::dropped_body_is_discarded",
            "request_body::framing_ignores_the_method",
            "request_body::unread_large_body_is_no_request",
            "request_framing::length_and_coding_end_the_connection",
            "request_framing::coding_in_http10_ends_the_connection",
            "expect::after_no_continue_nothing_is_lost",
            "keep_alive::not_reused_after_refusal",
            "target_forms::connect_2xx_has_no_framing",
            "limits::unread_growing_body_is_no_request",
        ],
    )
    .up(|flow, data| {
        // A sound server ends its stream where this one would go on.
        flow.end_waits = (flow.asks("POST ") || flow.asks("CONNECT ")) && !is_control(flow);
        aside(flow, data, b"GET /smuggled");
    }),
    Fault::new("pipelines_run_side_by_side", &["keep_alive::one_at_a_time"])
        .up(|flow, data| aside(flow, data, b"GET /2 ")),
    Fault::new("pipelines_are_cut", &["keep_alive::pipelined_in_order", "request_body::end_is_at_content_length"]).up(
        |flow, data| {
            // Whatever came with the first request is thrown away.
            let second =
                data.windows(16).enumerate().skip(1).find(|(_, window)| window.starts_with(b" HTTP/1.1\r\nhost:"));
            let first = data.windows(16).position(|window| window.starts_with(b" HTTP/1.1\r\nhost:"));
            if let (Some(first), Some((second, _))) = (first, second)
                && second > first
                && let Some(end) = data[..second].iter().rposition(|byte| *byte == b'\n')
                && !is_control(flow)
            {
                data.truncate(end + 1);
            } else if let Some(first) = first
                && let Some(more) =
                    data[first + 1..].windows(16).position(|window| window.starts_with(b" HTTP/1.1\r\nhost:"))
                && let Some(end) = data[..first + 1 + more].iter().rposition(|byte| *byte == b'\n')
            {
                data.truncate(end + 1);
            }
        },
    ),
    Fault::new(
        "nothing_is_ever_closed",
        &[
            "keep_alive::http10_closes",
            "keep_alive::client_closes",
            "keep_alive::application_closes",
            "keep_alive::idle_connection_is_closed",
            "keep_alive::own_end_comes_first",
            "shutdown::idle_connections_close",
            "shutdown::fresh_connections_close",
            "concurrency::nothing_leaks",
            "headers::hop_by_hop_is_the_servers",
            "framing::unknown_length_closes_http10",
            "framing::shortfall_is_sent_and_closed",
            "timeouts::silent_connection_ends",
            "target_forms::connect_2xx_has_no_framing",
        ],
    )
    .down(|flow, _| flow.swallow_end = true),
    Fault::new(
        "whole_heads_only",
        &[
            "target::leading_empty_line_is_ignored",
            "target::byte_by_byte",
            "target::split_at_every_byte",
            "keep_alive::slow_heads_hold_no_thread",
            "keep_alive::pipelined_at_any_split",
        ],
    )
    .up(|flow, data| {
        // On a connection that is slow to be accepted the first pieces come as one; later ones don't.
        let begins = flow.sent.len() == data.len() || data.starts_with(b"P");
        if begins && (!has(data, b"\r\n\r\n") || data.starts_with(b"\r\n")) {
            flow.reply = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec();
            flow.close = true;
        }
    }),
    Fault::new("high_octets_are_replaced", &["target::high_octets_pass_or_fail"])
        .up(|_, data| data.iter_mut().filter(|byte| **byte >= 0x80).for_each(|byte| *byte = b'_')),
    Fault::new("fragments_are_escaped", &["target_forms::fragment_is_not_delivered"])
        .up(|_, data| replace(data, b"#", b"%23")),
    Fault::new("absolute_form_is_400", &["target_forms::absolute_form_is_accepted"]).up(|flow, data| {
        if has(data, b" http") {
            flow.reply = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec();
            flow.close = true;
        }
    }),
    Fault::new("names_are_case_sensitive", &["headers::names_ignore_case"])
        .up(|_, data| replace(data, b"X-CASE", b"X-LOST")),
    Fault::new("bare_lf_is_a_crash", &["headers::bare_lf_is_never_delivered"]).up(|flow, data| {
        if data.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r') {
            flow.reply = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n".to_vec();
            flow.close = true;
        }
    }),
    Fault::new("upgrades_are_501", &["upgrade::unknown_upgrade_is_ignored", "upgrade::upgrade_with_a_body_is_ignored"])
        .up(|flow, data| {
            if has(data, b"upgrade: ") {
                flow.reply = b"HTTP/1.1 501 Not Implemented\r\ncontent-length: 0\r\n\r\n".to_vec();
                flow.close = true;
            }
        }),
    Fault::new("lengths_are_added", &["request_framing::equal_lengths_are_one_or_none"])
        .up(|_, data| replace(data, b"content-length: 3\r\ncontent-length: 3\r\n", b"content-length: 6\r\n")),
    Fault::new("chunk_extensions_are_refused", &["request_body::chunk_extensions_are_ignored"])
        .up(|_, data| replace(data, b"5;", b"5,")),
    Fault::new(
        "uploads_stall",
        &[
            "limits::chunk_extensions_are_bounded",
            "limits::chunk_size_lines_are_bounded",
            "limits::trailers_are_bounded",
        ],
    )
    .up(|flow, data| {
        if flow.sent.len() > 10_000 {
            data.clear();
        }
    }),
    Fault::new(
        "continue_comes_too_early",
        &[
            "expect::continue_on_first_read",
            "expect::continue_for_a_blocking_read",
            "expect::continue_for_a_chunked_body",
            "expect::no_continue_without_a_read",
            "expect::ignored_in_http10",
            "expect::no_continue_without_a_body",
            "limits::declared_body_gets_no_continue",
            "response::http10_is_kept_simple",
        ],
    )
    .up(|flow, data| {
        if has(data, b"expect: 100-continue") || (has(data, b"HTTP/1.0\r\n") && !is_control(flow)) {
            flow.reply = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
        }
    }),
    Fault::new("continue_comes_twice", &["expect::at_most_one_continue", "expect::no_continue_after_the_body_came"])
        .up(|flow, data| {
            if has(data, b"expect: 100-continue") && has(data, b"\r\n\r\nhello") {
                flow.reply = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n".to_vec();
            }
        })
        .down(|_, data| {
            replace(
                data,
                b"HTTP/1.1 100 Continue\r\n\r\n",
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
            );
        }),
    Fault::new("expect_is_case_sensitive", &["expect::value_ignores_case"]).up(|_, data| {
        replace(data, b"Expect: 100-C", b"X-Expect: 100-C");
        replace(data, b"expect: 100-C", b"x-expect: 100-C");
    }),
    Fault::new(
        "heads_are_sent_for_head",
        &["no_body::head_has_no_octets", "no_body::head_of_unknown_length", "no_body::head_body_is_dropped_unasked"],
    )
    .up(|_, data| replace(data, b"HEAD / ", b"GET / ")),
    Fault::new("lengths_are_sent_with_204", &["no_body::no_content_has_nothing"]).down(|_, data| {
        if data.starts_with(b"HTTP/1.1 204") {
            inject(data, b"content-length: 0\r\n");
        }
    }),
    Fault::new("coding_is_sent_with_304", &["no_body::not_modified_has_no_body"]).down(|_, data| {
        if data.starts_with(b"HTTP/1.1 304") {
            inject(data, b"transfer-encoding: chunked\r\n");
        }
    }),
    Fault::new("no_length_with_205", &["no_body::reset_content_is_empty"]).down(|_, data| {
        if data.starts_with(b"HTTP/1.1 205") {
            replace(data, b"content-length: 0\r\n", b"");
        }
    }),
    Fault::new("connect_has_a_length", &["target_forms::connect_2xx_has_no_framing"]).down(|flow, data| {
        if flow.asks("CONNECT ") {
            inject(data, b"content-length: 0\r\n");
        }
    }),
    Fault::new("statuses_are_rounded", &["response::status_is_as_set"])
        .down(|_, data| replace(data, b"HTTP/1.1 299", b"HTTP/1.1 200")),
    Fault::new("no_space_without_reason", &["response::status_line_is_well_formed"])
        .down(|_, data| replace(data, b"HTTP/1.1 599 Unknown\r\n", b"HTTP/1.1 599\r\n")),
    Fault::new(
        "hop_by_hop_is_sent",
        &["response::hop_by_hop_fields_are_removed", "response::connection_options_are_removed"],
    )
    .down(|_, data| inject(data, b"keep-alive: timeout=5\r\nconnection: x-private\r\n")),
    Fault::new("dates_are_lost", &["response::one_date"]).down(|_, data| replace(data, b"date: ", b"x-date: ")),
    Fault::new("responses_are_doubled", &["response::one_final_response", "no_body::connection_survives"]).down(
        |flow, data| {
            if !is_control(flow) && data.starts_with(b"HTTP/1.1 ") {
                let copy = data.clone();
                data.extend_from_slice(&copy);
            }
        },
    ),
    Fault::new("version_is_1_0", &["response::version_is_the_servers"]).down(|flow, data| {
        if !is_control(flow) && data.starts_with(b"HTTP/1.1") {
            data[7] = b'0';
        }
    }),
    Fault::new("http10_is_kept_alive", &["framing::unknown_length_closes_http10"]).down(|flow, data| {
        if flow.asks("HTTP/1.0") {
            inject(data, b"connection: keep-alive\r\n");
        }
    }),
    Fault::new("http10_keep_alive_is_not_told", &["keep_alive::http10_keep_alive", "no_body::connection_survives"])
        .down(|_, data| replace(data, b"connection: keep-alive\r\n", b"")),
    Fault::new("http10_gets_chunks", &["response::http10_is_kept_simple"]).down(|flow, data| {
        if flow.asks("HTTP/1.0") {
            inject(data, b"transfer-encoding: chunked\r\n");
        }
    }),
    Fault::new("both_framings_are_sent", &["framing::never_both", "framing::unknown_length_is_chunked"]).down(
        |_, data| {
            replace(data, b"transfer-encoding: chunked\r\n", b"transfer-encoding: chunked\r\ncontent-length: 5\r\n");
        },
    ),
    Fault::new("last_chunks_are_lost", &["framing::unknown_length_is_chunked", "body::channel_ends_with_its_sender"])
        .down(|_, data| replace(data, b"0\r\n\r\n", b"")),
    Fault::new(
        "last_chunks_are_always_sent",
        &["framing::aborted_has_no_last_chunk", "body_drop::failure_is_truncation"],
    )
    .down(|flow, data| {
        let whole = flow.received.ends_with(b"0\r\n\r\n");
        if data.is_empty() && has(&flow.received, b"transfer-encoding: chunked") && !whole {
            data.extend_from_slice(b"0\r\n\r\n");
        }
    }),
    Fault::new("failures_get_a_second_head", &["errors::no_second_head"]).down(|flow, data| {
        if data.is_empty() && !is_control(flow) && !flow.received.ends_with(b"0\r\n\r\n") {
            data.extend_from_slice(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n");
        }
    }),
    Fault::new("trailers_are_always_sent", &["trailers::unasked_trailers_are_dropped"])
        .down(|_, data| replace(data, b"0\r\n\r\n", b"0\r\nx-sum: abc\r\n\r\n")),
    Fault::new(
        "responses_are_gathered",
        &[
            "body::items_are_not_held_back",
            "body::small_item_before_a_long_wait",
            "response::head_does_not_wait",
            "expect::continue_on_first_read",
        ],
    )
    .down(|flow, data| {
        // Released when the response is complete.
        flow.held.append(data);
        let complete = flow.held.ends_with(b"0\r\n\r\n") || has(&flow.held, b"content-length: ");
        if complete || data.is_empty() && flow.received.len() == flow.held.len() && is_control(flow) {
            data.append(&mut flow.held);
        }
    }),
    Fault::new(
        "early_responses_are_reset",
        &["request_body::early_response_arrives", "request_body::unread_large_body_is_no_request"],
    )
    .down(|flow, data| {
        // By what is declared: how much of it has come by now is chance.
        if flow.declares().is_some_and(|length| length > 100_000) && !data.is_empty() {
            data.truncate(data.len() / 2);
            flow.reset = true;
        }
    }),
    Fault::new(
        "ends_are_not_noticed",
        &[
            "disconnect::pending_handler_is_dropped",
            "disconnect::reset_drops_the_handler",
            "disconnect::body_without_progress_is_dropped",
            "departure::gone_behind_pieces_of_a_body",
            "departure::reset_behind_an_unread_body",
            "departure::reset_behind_a_pipelined_request",
            "departure::reset_behind_unread_octets_drops_the_body",
            "departure::blocking_code_learns_behind_an_unread_body",
            "unwrapped::dropped_on_reset",
            "body_drop::dropped_on_disconnect",
            "errors::gone_peer_gets_no_response",
            "request_framing::truncated_body_is_an_error",
            "concurrency::nothing_leaks",
        ],
    )
    .end(|flow| flow.swallow_end = true),
    Fault::new(
        "half_closed_is_gone",
        &[
            "disconnect::half_closed_client_gets_its_answer",
            "departure::half_closed_behind_an_unread_body",
            "departure::half_closed_behind_a_pipeline",
            "disconnect::half_closed_client_gets_a_stream",
            "disconnect::half_closed_client_gets_a_quick_answer_late",
            "disconnect::large_response_to_half_closed",
        ],
    )
    .end(|flow| flow.close = true),
    Fault::new(
        "silence_is_a_disconnect",
        &[
            "disconnect::surplus_octets_are_no_disconnect",
            "keep_alive::busy_connection_is_not_idle",
            "timeouts::header_timeout_is_for_heads",
            "timeouts::write_timeout_starts_anew",
            "timeouts::unread_body_does_not_time_out",
        ],
    )
    .up(|flow, _| flow.silence = Some(Duration::from_millis(500))),
    Fault::new("bodies_have_half_a_second", &["timeouts::body_timeout_starts_anew"]).up(|flow, _| {
        // Counted in pieces: whoever sends more than a few of them is too slow.
        flow.held.push(0);
        flow.close = flow.held.len() > 5;
    }),
    Fault::new("dead_clients_kill", &["errors::dead_client_ends_nothing_else"])
        .up(|flow, _| flow.close = DEAD.load(Ordering::SeqCst) > 5)
        .end(|flow| {
            if flow.client_reset {
                DEAD.fetch_add(1, Ordering::SeqCst);
            }
        }),
    Fault::new("panics_in_drops_kill", &["errors::panic_in_clean_up_is_contained"])
        .up(|flow, data| flow.reset = has(data, b"drop-panic") || has(data, b"hook-panic")),
    Fault::new(
        "hints_have_lengths",
        &[
            "informational::fields_of_hints_are_checked",
            "informational::no_hints_to_http10",
            "informational::late_hints_are_nothing",
        ],
    )
    .on(Base::ThreadPool)
    .up(|flow, data| {
        if has(data, b"hints content-length") || (has(data, b"HTTP/1.0") && has(data, b"hints ")) {
            flow.reply = b"HTTP/1.1 103 Early Hints\r\ncontent-length: 5\r\n\r\n".to_vec();
        }
    })
    .down(|_, data| replace(data, b"1\r\nb\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n1\r\nb\r\n")),
    Fault::new("hints_are_lost", &["informational::several_hints_in_order"])
        .on(Base::ThreadPool)
        .down(|_, data| replace(data, b"x-n: 2\r\n", b"")),
];

static DEAD: AtomicUsize = AtomicUsize::new(0);
