//! Settings that are not followed: another value in place of that which was asked for.

use std::time::Duration;

use adapter_core::ServerConfig;

/// What is done to numbers, to what may be off, and to the rest.
const NUMBER: [&str; 5] = ["default", "halved", "doubled", "less-1", "more-1"];
const TIME: [&str; 2] = ["default", "off"];
const NUMBERS: [&str; 9] = [
    "head_bytes",
    "header_count",
    "target_bytes",
    "body_bytes",
    "connections",
    "requests_per_connection",
    "handshakes",
    "min_rate",
    "trusted_hops",
];
const TIMES: [&str; 8] =
    ["header_read", "tls_handshake", "idle", "body_read", "write", "handler", "graceful_shutdown", "hooks"];
const OTHERS: [&str; 13] = [
    "threads",
    "blocking_threads",
    "blocking_queue",
    "keep_alive",
    "trusted_proxies",
    "forwarded",
    "forwarded_also",
    "proxy_protocol_from",
    "believed",
    "mount_prefix",
    "values",
    "pulse",
    "options",
];

/// All that may be changed, and how.
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    let numbers = NUMBERS.into_iter().flat_map(|which| NUMBER.map(|how| (which, how)));
    let times = TIMES.into_iter().flat_map(|which| TIME.map(|how| (which, how)));
    numbers.chain(times).chain(OTHERS.map(|which| (which, "default")))
}

/// `value` changed, if it is another than by default: servers are free in what they make of that.
fn number(value: &mut u64, default: u64, how: &str) {
    if *value == default {
        return;
    }
    *value = match how {
        "default" => default,
        "halved" => *value / 2,
        "doubled" => value.saturating_mul(2),
        "less-1" => value.saturating_sub(1),
        _ => value.saturating_add(1),
    };
}

fn size(value: &mut usize, default: usize, how: &str) {
    let mut changed = *value as u64;
    number(&mut changed, default as u64, how);
    *value = changed as usize;
}

fn optional<T: Copy + TryFrom<u64>>(value: &mut Option<T>, default: Option<T>, how: &str)
where
    u64: From<T>,
{
    match (how, &value) {
        ("default", _) => *value = default,
        (_, Some(given)) => {
            let mut changed = u64::from(*given);
            number(&mut changed, default.map_or(u64::MAX, u64::from), how);
            *value = T::try_from(changed).ok();
        }
        _ => {}
    }
}

fn time(value: &mut Option<Duration>, default: Option<Duration>, how: &str) {
    *value = match how {
        "default" => default,
        _ => value.filter(|given| default == Some(*given)),
    };
}

/// Changes one setting.
pub(super) fn change(config: &mut ServerConfig, which: &str, how: &str) {
    let default = ServerConfig::default();
    let (limits, limit) = (&mut config.limits, default.limits);
    let (times, late) = (&mut config.timeouts, default.timeouts);
    match which {
        "head_bytes" => size(&mut limits.head_bytes, limit.head_bytes, how),
        "header_count" => size(&mut limits.header_count, limit.header_count, how),
        "target_bytes" => size(&mut limits.target_bytes, limit.target_bytes, how),
        "body_bytes" => optional(&mut limits.body_bytes, limit.body_bytes, how),
        "connections" => size(&mut limits.connections, limit.connections, how),
        "requests_per_connection" => {
            optional(&mut limits.requests_per_connection, limit.requests_per_connection, how);
        }
        "handshakes" => size(&mut limits.handshakes, limit.handshakes, how),
        "min_rate" => optional(&mut limits.min_rate, limit.min_rate, how),
        "trusted_hops" => optional(&mut config.trusted_hops, default.trusted_hops, how),
        "header_read" => time(&mut times.header_read, late.header_read, how),
        "tls_handshake" => time(&mut times.tls_handshake, late.tls_handshake, how),
        "idle" => time(&mut times.keep_alive, late.keep_alive, how),
        "body_read" => time(&mut times.body_read, late.body_read, how),
        "write" => time(&mut times.write, late.write, how),
        "handler" => time(&mut times.handler, late.handler, how),
        "hooks" => time(&mut times.hooks, late.hooks, how),
        "graceful_shutdown" if how == "default" => times.graceful_shutdown = late.graceful_shutdown,
        "threads" => config.threads = default.threads,
        "blocking_threads" => config.blocking_threads = default.blocking_threads,
        "blocking_queue" => config.blocking_queue = default.blocking_queue,
        "keep_alive" => config.keep_alive = default.keep_alive,
        "trusted_proxies" => config.trusted_proxies = default.trusted_proxies,
        "forwarded" => config.forwarded = default.forwarded,
        "forwarded_also" => config.forwarded_also = default.forwarded_also,
        "proxy_protocol_from" => config.proxy_protocol_from = default.proxy_protocol_from,
        "believed" => config.believed = default.believed,
        "mount_prefix" => config.mount_prefix = default.mount_prefix,
        "values" => config.values = default.values,
        "pulse" => config.pulse = default.pulse,
        "options" => config.options = default.options,
        _ => {}
    }
}
