//! What is logged on stderr, for a program that has no `tracing` subscriber of its own.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::access_log::{self, Format};
use crate::cli::Exit;
use crate::stderr;

/// `directives` are the flag's; where there is none `RUST_LOG` is honoured, as far as it can be: it is for other programs, too.
pub(crate) fn start(directives: Option<&str>, access_log: Format) -> Result<(), Exit> {
    let shared = std::env::var("RUST_LOG").ok().filter(|shared| directives.is_none() && !shared.is_empty());
    let directives = shared.as_deref().or(directives).unwrap_or("info");
    // tracing would take a misspelt level for the name of a target, and log nothing.
    let is_level = |part: &str| part.parse::<LevelFilter>().is_ok();
    if shared.is_none()
        && let Some(part) =
            directives.split(',').find(|part| !part.contains(['=', '[', '{', '}', ']']) && !is_level(part))
    {
        return Err(Exit::usage(format_args!("--log: \"{part}\" is no level (off, error, warn, info, debug, trace)")));
    }
    let problem = |error| Exit::usage(format_args!("--log: {error}"));
    let mut filter = match &shared {
        Some(shared) => EnvFilter::new(shared),
        None => EnvFilter::try_new(directives).map_err(problem)?,
    };
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
