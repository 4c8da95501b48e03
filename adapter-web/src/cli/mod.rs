//! The command line every program shares, and how programs end.
//!
//! A program without flags of its own calls [`serve!`](crate::serve!). One with flags of its own flattens [`Args`] into
//! its parser and hands the rest to [`main`]:
//!
//! ```no_run
//! use adapter_web::{Body, Environ, Error, Launcher, Request, Response};
//!
//! #[derive(clap::Parser)]
//! #[command(version, about)] // the program's own, from its Cargo.toml
//! struct Cli {
//!     #[command(flatten)]
//!     serving: adapter_web::Args,
//!     /// Whom to greet
//!     #[arg(long, default_value = "World")]
//!     whom: String,
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     adapter_web::cli::main(|cli: Cli| {
//!         let greeting = format!("Hello, {}!\n", cli.whom);
//!         Launcher::new(&cli.serving)?.run(move |_: Request, _: Environ| {
//!             let greeting = greeting.clone();
//!             async move { Ok::<_, Error>(Response::new(Body::from(greeting))) }
//!         })
//!     })
//! }
//! ```
//!
//! Wrong use ends in exactly one line on stderr and exit status 2, a failure at run time in one line and status 1.
//! Everything here runs on the main thread, before and after serving.

#[cfg_attr(not(unix), allow(dead_code, reason = "nothing is read again without signals"))]
mod again;
mod args;
mod binds;
mod exit;
mod file;
mod health;
mod log;
mod parse;
mod print;
mod tls;
mod values;

use std::process::ExitCode;

use clap::Parser;

#[cfg(unix)]
pub(crate) use self::again::Again;
pub use self::args::Args;
#[cfg(unix)]
pub(crate) use self::args::MOST_WORKERS;
pub use self::binds::Binds;
pub use self::exit::Exit;
pub(crate) use self::parse::parse_with;
pub use self::parse::{parse, parse_from};
pub use self::values::{OrOff, ParseValueError, Period, Size};

/// A command line without flags of the program's own.
#[derive(Parser)]
pub(crate) struct Plain {
    #[command(flatten)]
    pub(crate) args: Args,
}

/// Parses the command line, runs `program` with it, and reports how it ended: the body of a `fn main`.
///
/// Blocks as long as `program` does.
pub fn main<P, E>(program: impl FnOnce(P) -> Result<(), E>) -> ExitCode
where
    P: Parser,
    E: Into<Exit>,
{
    match parse().and_then(|parsed| program(parsed).map_err(Into::into)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.report(),
    }
}
