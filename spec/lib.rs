//! The specification as text, so that programs can quote it wherever they run: the suite's reports, a linter, a bot.
//!
//! A crate of its own because a package can hold no file from outside of its folder. It has no code;
//! `conformance_tests::specification` reads the chapters.

/// The normative chapters, in order. A requirement is a heading `### TGT-01 Title {#TGT-01}`.
pub const CHAPTERS: &[&str] = &[
    include_str!("01-target.md"),
    include_str!("02-headers.md"),
    include_str!("03-request-body.md"),
    include_str!("04-response.md"),
    include_str!("05-body.md"),
    include_str!("06-framing.md"),
    include_str!("07-errors.md"),
    include_str!("08-upgrade.md"),
    include_str!("09-concurrency.md"),
    include_str!("10-lifecycle.md"),
    include_str!("11-environment.md"),
    include_str!("12-servers.md"),
    include_str!("13-tls.md"),
    include_str!("14-proxy-protocol.md"),
    include_str!("15-observers.md"),
    include_str!("16-http2.md"),
    include_str!("17-gateways.md"),
];

/// What the servers of this project are excused from: `exceptions.toml`.
pub const EXCEPTIONS: &str = include_str!("exceptions.toml");
