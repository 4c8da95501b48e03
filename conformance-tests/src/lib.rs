//! The conformance suite: every requirement of `spec/` as a test of a server's bytes.
//!
//! A server author writes one file, `tests/conformance.rs` with `harness = false`:
//!
//! ```ignore
//! fn main() {
//!     conformance_tests::main(&[&MyServer::new()]);
//! }
//! ```
//!
//! and has one test per case, `my-server::target::method_is_verbatim`. `spec/IMPLEMENTING.md` in the repository walks
//! through writing a server, and through reading what the suite says of it.
//!
//! Modules, in the order a case passes through them: [`registry`] and the cases; [`case`], what one is; [`runner`],
//! which starts servers ([`setting`]) and runs cases; [`context`], what a case works with; [`wire`], its client;
//! [`application`], the other end ([`abilities`]: how much of it there is in another language). Then [`report`], [`specification`], [`exceptions`] and [`kills`], for reports.
//! [`secure`] is TLS: for the cases about it, and under all others. The feature
//! `command` has the command `conformance` as a function, for one that knows a server of your own.

pub mod abilities;
pub mod alone;
mod answered;
pub mod application;
pub mod case;
mod cases;
#[cfg(feature = "tls")]
mod certificates;
#[cfg(feature = "command")]
pub mod command;
pub mod context;
pub mod exceptions;
pub mod front;
mod harness;
pub mod kills;
pub mod lifecycle;
pub mod log;
pub mod mount;
pub mod observations;
#[cfg(feature = "adapter-tls")]
pub mod own_tls;
pub mod registry;
pub mod report;
pub mod runner;
pub mod secure;
mod serve;
pub mod setting;
pub mod specification;
pub mod text;
pub mod wire;

pub use self::harness::main;
pub use self::serve::serve;
