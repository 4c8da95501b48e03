//! clap's errors as one line.

use std::ffi::OsString;

use clap::Parser;
use clap::error::ErrorKind;

use super::exit::Exit;

/// Parses this process's command line and environment.
///
/// # Errors
/// [`Exit`]: wrong use as one line (status 2), or the text of `--help` and `--version` (status 0).
pub fn parse<P: Parser>() -> Result<P, Exit> {
    parse_from(std::env::args_os())
}

/// Parses `args`, of which the first is the program's name, and the environment.
///
/// # Errors
/// As [`parse`].
pub fn parse_from<P: Parser>(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<P, Exit> {
    P::try_parse_from(args).map_err(|error| exit(&error))
}

fn exit(error: &clap::Error) -> Exit {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::done(text),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Exit::usage("arguments are missing; try --help"),
        _ => Exit::usage(first_paragraphs(&text)),
    }
}

/// What is wrong and clap's tip, without the usage that follows.
fn first_paragraphs(text: &str) -> String {
    let end = ["\n\nUsage: ", "\n\nFor more information"].iter().filter_map(|mark| text.find(mark)).min();
    let text = &text[..end.unwrap_or(text.len())];
    text.strip_prefix("error: ").unwrap_or(text).replace("\n\n  tip: ", "; ")
}
