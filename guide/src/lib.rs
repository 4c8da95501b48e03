//! The pages of the guide as documentation, so that `cargo test` compiles every block of Rust in them and runs those that can be
//! run. `tests/programs` asks the programs, `tests/links.rs` follows the links.
//!
//! Blocks that are `rust,ignore` are compiled elsewhere: `tests/pages.rs` knows where.

/// One module for each page.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("introduction.md")]
    mod introduction {}
    #[doc = include_str!("first.md")]
    mod first {}
    #[doc = include_str!("blocking-or-async.md")]
    mod blocking_or_async {}
    #[doc = include_str!("requests.md")]
    mod requests {}
    #[doc = include_str!("answers.md")]
    mod answers {}
    #[doc = include_str!("streams.md")]
    mod streams {}
    #[doc = include_str!("long-polling.md")]
    mod long_polling {}
    #[doc = include_str!("websockets.md")]
    mod websockets {}
    #[doc = include_str!("uploads.md")]
    mod uploads {}
    #[doc = include_str!("login.md")]
    mod login {}
    #[doc = include_str!("databases.md")]
    mod databases {}
    #[doc = include_str!("axum.md")]
    mod axum {}
    #[doc = include_str!("testing.md")]
    mod testing {}
    #[doc = include_str!("choosing.md")]
    mod choosing {}
    #[doc = include_str!("running.md")]
    mod running {}
    #[doc = include_str!("deploying.md")]
    mod deploying {}
    #[doc = include_str!("proxies.md")]
    mod proxies {}
    #[doc = include_str!("several-machines.md")]
    mod several_machines {}
    #[doc = include_str!("tls.md")]
    mod tls {}
    #[doc = include_str!("watching.md")]
    mod watching {}
    #[doc = include_str!("upgrading.md")]
    mod upgrading {}
    #[doc = include_str!("security.md")]
    mod security {}
    #[doc = include_str!("moving.md")]
    mod moving {}
    #[doc = include_str!("writing-a-server.md")]
    mod writing_a_server {}
    #[doc = include_str!("../../README.md")]
    mod readme {}
}
