//! What does not get through a web server, whatever a gateway behind it does: the cases that would fail for that, and why.
//!
//! A limit is one of the web server, or of the protocol between the two. Everything else that a gateway owes is asked of it behind each of
//! them.

use super::Kind;
use crate::registry::Listed;

/// Something that does not get through.
struct Limit {
    /// Whether it is so of this web server by this protocol.
    is_of: fn(Kind, &str) -> bool,
    /// Why, as reports show it, behind "nginx, by scgi: ".
    reason: &'static str,
    /// `group::case`.
    cases: &'static [&'static str],
}

const APACHE: fn(Kind, &str) -> bool = |kind, _| kind == Kind::Apache;

static LIMITS: &[Limit] = &[
    Limit {
        is_of: |_, protocol| protocol != "fastcgi",
        reason: "a chunked body is sent when it is whole, as its length comes first",
        cases: &[
            "request_body::body_arrives_in_pieces",
            "request_body::read_while_writing",
            "timeouts::slow_body_is_a_read_error",
            "timeouts::dripped_framing_is_a_read_error",
            "departure::reset_behind_an_unread_body",
            "departure::gone_behind_pieces_of_a_body",
            "departure::reset_behind_unread_octets_drops_the_body",
            "departure::blocking_code_learns_behind_an_unread_body",
        ],
    },
    Limit {
        is_of: |kind, protocol| kind == Kind::Apache && protocol != "fastcgi",
        reason: "it answers a chunked body with 411",
        cases: &[
            "request_body::large_bodies_are_intact",
            "request_body::end_is_signalled",
            "request_body::unread_body_is_no_request",
            "request_body::partly_read_body_is_no_request",
            "request_body::body_outlives_handler",
            "request_body::dropped_body_is_discarded",
            "request_body::framing_ignores_the_method",
            "unwrapped::request_bodies_are_exact",
            "limits::body_at_its_limit_is_served",
        ],
    },
    Limit {
        is_of: |kind, protocol| kind == Kind::Apache && protocol == "scgi",
        reason: "it counts what has come at once, and says its length",
        cases: &["body::hint_is_no_length", "files::made_up_file_has_no_length"],
    },
    Limit {
        is_of: |kind, protocol| kind == Kind::Apache && protocol == "uwsgi",
        reason: "it answers an encoded slash with 500",
        cases: &["target::path_is_raw", "environment::prefix_is_empty", "environment::prefix_and_rest_are_the_path"],
    },
    Limit {
        is_of: |kind, protocol| kind == Kind::Apache && protocol == "uwsgi",
        reason: "it takes a connection that breaks for one that ends",
        cases: &["process::failed_body_is_logged"],
    },
    Limit {
        is_of: APACHE,
        reason: "a request holds a thread of its own",
        cases: &["concurrency::thousand_handlers_wait"],
    },
    Limit {
        is_of: APACHE,
        reason: "it does not see that a client has left before it has something to write",
        cases: &[
            "body_drop::dropped_on_disconnect",
            "body_drop::hook_runs_once_after_failure",
            "unwrapped::dropped_on_reset",
            "errors::panic_in_clean_up_is_contained",
            "errors::report_never_fails",
            "concurrency::nothing_leaks",
            "disconnect::signal_comes_before_the_drop",
            "disconnect::pending_handler_is_dropped",
            "disconnect::reset_drops_the_handler",
            "disconnect::body_without_progress_is_dropped",
            "disconnect::blocking_code_can_learn",
            "disconnect::blocked_iterator_is_dropped_when_it_returns",
            "disconnect::signal_can_be_asked_again",
            "disconnect::detached_work_goes_on",
            "departure::reset_behind_an_unread_body",
            "departure::reset_behind_a_pipelined_request",
            "departure::reset_behind_unread_octets_drops_the_body",
            "departure::blocking_code_learns_behind_an_unread_body",
            "runtime::shutdown_waits_for_a_departed_clients_call",
            "observers::broken_requests_are_told",
        ],
    },
    Limit {
        is_of: APACHE,
        reason: "it sends all of a request before it hears what is answered",
        cases: &[
            "request_body::late_read_does_not_hang",
            "request_body::read_while_writing",
            "errors::timed_out_keeps_its_status",
            "process::dead_client_is_not_logged",
            "timeouts::slow_body_is_a_read_error",
            "timeouts::dripped_framing_is_a_read_error",
            "timeouts::dripped_body_holds_no_thread",
            "observers::time_limits_are_told",
        ],
    },
    Limit {
        is_of: APACHE,
        reason: "it waits for a client that takes nothing as long as it likes, and takes more from the server meanwhile",
        cases: &[
            "body::slow_client_stops_production",
            "timeouts::client_that_takes_nothing_ends",
            "concurrency::slow_readers_hold_no_thread",
        ],
    },
    Limit {
        is_of: APACHE,
        reason: "it joins the lines of a field",
        cases: &[
            "headers::repeated_fields_keep_order",
            "forwarded::named_field_is_the_only_one",
            "response::repeated_fields_keep_order",
        ],
    },
    Limit {
        is_of: APACHE,
        reason: "it writes some fields of its own accord, and has a limit for their length",
        cases: &["response::fields_are_unchanged"],
    },
    Limit {
        is_of: APACHE,
        reason: "it sends a head with the first octets behind it",
        cases: &["response::head_does_not_wait", "shutdown::deadline_forces", "shutdown::second_trigger_forces"],
    },
    Limit {
        is_of: APACHE,
        reason: "it leaves out a Content-Length of what has no octets",
        cases: &["no_body::head_has_the_length", "no_body::not_modified_keeps_fields"],
    },
    Limit {
        is_of: APACHE,
        reason: "it closes the client's connection behind answers to HEAD, and those with a 400, 408, 413, 500, 501 or 503",
        cases: &[
            "response::one_final_response",
            "no_body::head_has_no_octets",
            "files::missing_path_is_an_error",
            "files::directory_is_an_error",
            "errors::connection_survives_an_error",
            "errors::chosen_status_is_sent",
            "observers::requests_are_told_once",
        ],
    },
];

/// Why `listed` can't pass behind `kind`, of a gateway that speaks `protocol`.
pub(crate) fn limit(kind: Kind, protocol: &str, listed: &Listed) -> Option<String> {
    let name = listed.name();
    let found = LIMITS.iter().find(|limit| (limit.is_of)(kind, protocol) && limit.cases.contains(&&*name))?;
    Some(format!("{}, by {protocol}: {}", kind.name(), found.reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_of_cases_that_there_are() {
        for name in LIMITS.iter().flat_map(|limit| limit.cases) {
            assert!(crate::registry::all().any(|listed| listed.name() == *name), "{name} is no case");
        }
    }
}
