//! clap's errors as one line, and empty environment variables as none.

use std::ffi::OsString;

use clap::builder::{OsStr, Resettable};
use clap::error::ErrorKind;
use clap::{Command, FromArgMatches, Parser};

use super::exit::Exit;

/// Parses this process's command line and environment.
///
/// # Errors
/// [`Exit`]: wrong use as one line (status 2), or the text of `--help` and `--version` (status 0).
pub fn parse<P: Parser>() -> Result<P, Exit> {
    parse_from(std::env::args_os())
}

/// Parses `args`, of which the first is the program's name, and the environment. A variable that is empty is not set:
/// `docker compose` and CI systems set `X=` for what was left out.
///
/// # Errors
/// As [`parse`].
pub fn parse_from<P: Parser>(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<P, Exit> {
    parse_with(P::command(), args)
}

/// The same, with a `command` made for a parser `P`.
pub(crate) fn parse_with<P: FromArgMatches>(
    command: Command,
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<P, Exit> {
    let mut command = without_empty(command, &|name| std::env::var_os(name).is_some_and(|value| value.is_empty()));
    let mut matches = command.try_get_matches_from_mut(args).map_err(|error| exit(&error))?;
    P::from_arg_matches_mut(&mut matches).map_err(|error| exit(&error.format(&mut command)))
}

/// `command`, with arguments that do not look at a variable that `is_empty`.
fn without_empty(command: Command, is_empty: &dyn Fn(&std::ffi::OsStr) -> bool) -> Command {
    command
        .mut_args(|arg| if arg.get_env().is_some_and(is_empty) { arg.env(Resettable::<OsStr>::Reset) } else { arg })
        .mut_subcommands(|command| without_empty(command, is_empty))
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::Args;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        _serving: Args,
    }

    #[test]
    fn an_empty_variable_is_not_looked_at() {
        let left = |empty: &'static str| {
            let command = without_empty(Cli::command(), &|name| empty == "all" || name == empty);
            command.get_arguments().filter(|arg| arg.get_env().is_some()).count()
        };
        assert_eq!(left("all"), 0);
        assert_eq!(left("ADAPTER_THREADS"), left("") - 1);
    }
}
