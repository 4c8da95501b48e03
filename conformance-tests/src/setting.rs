//! The configurations cases run under.
//!
//! A server is started once for each and shared by the cases that name it. Timeouts are shortened one at a time, so
//! that a client held up by a busy machine is not timed out by the one its case is not about.

use std::time::Duration;

use adapter_core::server::{ForwardedAlso, ForwardedFields};
use adapter_core::{Limits, ServerConfig};

/// A named configuration.
#[derive(Debug)]
pub struct Setting {
    /// Name, unique.
    pub name: &'static str,
    /// What it changes of the default configuration.
    pub apply: fn(&mut ServerConfig),
}

impl Setting {
    /// The configuration, bound to a port the operating system chooses.
    pub fn config(&self) -> ServerConfig {
        let mut config = ServerConfig::default().bind(adapter_core::Bind::Tcp(([127, 0, 0, 1], 0).into()));
        config.values.insert(Deployed("by the suite".into()));
        config.mount_prefix = crate::mount::prefix().into();
        if crate::secure::is_everywhere() {
            // It was made before, or there would be no TLS everywhere.
            config.tls = crate::secure::config().ok();
        }
        (self.apply)(&mut config);
        config
    }
}

/// A value the suite deploys with every server (ENV-10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed(pub String);

/// What a short timeout is: long against scheduling on a busy machine, short against a test run.
pub const SHORT: Duration = Duration::from_millis(400);

/// Nothing changed.
pub static DEFAULT: Setting = Setting { name: "default", apply: |_| {} };

/// The head of a request is limited to 8 KiB, its target to 1 KiB, its fields to 20 and its body to 64 KiB.
pub static SMALL_LIMITS: Setting = Setting {
    name: "small-limits",
    apply: |config| {
        config.limits.head_bytes = 8192;
        config.limits.target_bytes = 1024;
        config.limits.header_count = 20;
        config.limits.body_bytes = Some(64 * 1024);
    },
};

/// Limits as large as any may be, but for the head: 1 MiB.
pub static LARGE_LIMITS: Setting = Setting {
    name: "large-limits",
    apply: |config| {
        config.limits.head_bytes = 1 << 20;
        config.limits.target_bytes = Limits::MOST_TARGET_BYTES;
        config.limits.header_count = Limits::MOST_HEADERS;
    },
};

/// Nothing has a limit that can be without one.
pub static NO_LIMITS: Setting = Setting {
    name: "no-limits",
    apply: |config| {
        config.limits.body_bytes = None;
        config.limits.requests_per_connection = None;
        config.limits.min_rate = None;
        let timeouts = &mut config.timeouts;
        (timeouts.header_read, timeouts.keep_alive, timeouts.tls_handshake) = (None, None, None);
        (timeouts.body_read, timeouts.write, timeouts.handler) = (None, None, None);
    },
};

/// A head must arrive within [`SHORT`].
pub static SHORT_HEADER: Setting =
    Setting { name: "short-header", apply: |config| config.timeouts.header_read = Some(SHORT) };

/// Idle connections live for [`SHORT`].
pub static SHORT_IDLE: Setting =
    Setting { name: "short-idle", apply: |config| config.timeouts.keep_alive = Some(SHORT) };

/// A request body must move within [`SHORT`].
pub static SHORT_BODY: Setting =
    Setting { name: "short-body", apply: |config| config.timeouts.body_read = Some(SHORT) };

/// A response must be taken within [`SHORT`].
pub static SHORT_WRITE: Setting = Setting { name: "short-write", apply: |config| config.timeouts.write = Some(SHORT) };

/// A handler must answer within [`SHORT`].
pub static SHORT_HANDLER: Setting =
    Setting { name: "short-handler", apply: |config| config.timeouts.handler = Some(SHORT) };

/// Connections do not persist.
pub static NO_KEEP_ALIVE: Setting = Setting { name: "no-keep-alive", apply: |config| config.keep_alive = false };

/// Connections end after two requests.
pub static TWO_REQUESTS: Setting =
    Setting { name: "two-requests", apply: |config| config.limits.requests_per_connection = Some(2) };

/// Mounted under [`PREFIX`].
pub static MOUNTED: Setting = Setting { name: "mounted", apply: |config| config.mount_prefix = PREFIX.into() };

/// The prefix of [`MOUNTED`].
pub const PREFIX: &str = "/mounted/at";

/// The client is a trusted proxy.
pub static BEHIND_PROXY: Setting = Setting {
    name: "behind-proxy",
    apply: |config| config.trusted_proxies = vec![[127, 0, 0, 1].into(), [10, 0, 0, 1].into()],
};

/// The same, and the proxy writes Forwarded.
pub static BEHIND_RFC_7239: Setting = Setting {
    name: "behind-rfc-7239",
    apply: |config| {
        (BEHIND_PROXY.apply)(config);
        config.forwarded = ForwardedFields::Forwarded;
    },
};

/// The same, and the proxy writes one field of its own.
pub static BEHIND_NAMED: Setting = Setting {
    name: "behind-named",
    apply: |config| {
        (BEHIND_PROXY.apply)(config);
        config.forwarded = ForwardedFields::Named(http::HeaderName::from_static("x-real-ip"));
    },
};

/// Two proxies nobody knows, who write the host too.
pub static BEHIND_HOPS: Setting = Setting {
    name: "behind-hops",
    apply: |config| {
        config.trusted_hops = Some(2);
        config.forwarded_also = vec![ForwardedAlso::Host, ForwardedAlso::Prefix];
    },
};

/// All of them.
pub static ALL: &[&Setting] = &[
    &DEFAULT,
    &SMALL_LIMITS,
    &LARGE_LIMITS,
    &NO_LIMITS,
    &SHORT_HEADER,
    &SHORT_IDLE,
    &SHORT_BODY,
    &SHORT_WRITE,
    &SHORT_HANDLER,
    &NO_KEEP_ALIVE,
    &TWO_REQUESTS,
    &MOUNTED,
    &BEHIND_PROXY,
    &BEHIND_RFC_7239,
    &BEHIND_NAMED,
    &BEHIND_HOPS,
];
