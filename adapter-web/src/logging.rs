//! What is logged on stderr, for a program that has no `tracing` subscriber of its own.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use crate::access_log::{self, Format};
use crate::cli::{Args, Exit};
use crate::stderr;

/// Where `args` have no `--log`, `RUST_LOG` is honoured, as far as it can be: it is for other programs, too.
pub(crate) fn start(args: &Args, access_log: Format) -> Result<(), Exit> {
    let shared = std::env::var("RUST_LOG").ok().filter(|shared| !shared.is_empty());
    let directives = args.log.as_deref().or(shared.as_deref()).unwrap_or("info");
    let mut filter = args.log_filter()?.unwrap_or_else(|| EnvFilter::new(directives));
    // The lines on stdout say it already; who wants the events as well asks for them by name.
    if access_log.has_lines()
        && !directives.contains(access_log::TARGET)
        && let Ok(directive) = format!("{}=warn", access_log::TARGET).parse()
    {
        filter = filter.add_directive(directive);
    }
    // An error means that the program has a subscriber of its own, which is then the one to use.
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr::Lines);
    // Colours, which another crate may have turned on, are for people.
    let _ = if io::stderr().is_terminal() { subscriber.try_init() } else { subscriber.with_ansi(false).try_init() };
    Ok(())
}
