//! clap's errors as one line, empty environment variables as none, and a file beneath both.

use std::cell::RefCell;
use std::ffi::{OsStr as Name, OsString};
use std::sync::Arc;

use clap::builder::{OsStr, Resettable};
use clap::error::ErrorKind;
use clap::{ArgMatches, Command, FromArgMatches, Parser};

use super::exit::Exit;
use super::{file, health, print};
use crate::stderr;

/// A command line with a file beneath it, to be read again when that has changed.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Without the file's defaults; what is in the environment is in it.
    command: Command,
    args: Vec<OsString>,
}

impl Line {
    /// What it says with `settings` in the file, at the level at which the flags of [`Args`](super::Args) are. As a start does, but for what
    /// the program makes of it.
    #[cfg_attr(not(unix), allow(dead_code, reason = "nothing is read again without signals"))]
    pub(super) fn with(&self, settings: toml::Table) -> Result<ArgMatches, String> {
        let mut command = file::apply_table(self.command.clone(), settings)?;
        let matches = command.try_get_matches_from_mut(&self.args).map_err(|error| problem(&error))?;
        file::level(&matches).cloned().ok_or_else(|| "it is not for this command".to_owned())
    }
}

thread_local! {
    /// The line whose values are being taken out of it.
    static LINE: RefCell<Option<Arc<Line>>> = const { RefCell::new(None) };
}

/// The line that is being parsed on this thread, if there is a file beneath it.
pub(super) fn line() -> Option<Arc<Line>> {
    LINE.with_borrow(Clone::clone)
}

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
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let named = command.clone();
    let plain = without_empty(command, &|name| std::env::var_os(name).is_some_and(|value| value.is_empty()));
    let mut command = plain.clone();
    let mut matches = command.try_get_matches_from_mut(&args).map_err(|error| exit(&error))?;
    let mut line = None;
    if let Some(path) = file::named(&matches) {
        command = file::apply(plain.clone(), &path)?;
        matches = command.try_get_matches_from_mut(&args).map_err(|error| exit(&error))?;
        line = Some(Arc::new(Line { command: plain.clone(), args: args.clone() }));
    }
    health::asked(&matches)?;
    let printed = print::asked(&matches, &plain)?;
    LINE.set(line);
    let parsed = P::from_arg_matches_mut(&mut matches);
    LINE.set(None);
    let parsed = parsed.map_err(|error| exit(&error.format(&mut command)))?;
    let unused = |(name, value): (OsString, OsString)| unused(&named, &name, value.is_empty());
    for line in std::env::vars_os().filter_map(unused) {
        stderr::say(line);
    }
    printed.map_or(Ok(parsed), |text| Err(Exit::done(text)))
}

/// What processes of one program say to each other.
const OWN: [&str; 2] = ["ADAPTER_UPGRADE_FROM", "ADAPTER_WORKER_OF"];

/// What to say of a variable in the environment, if it looks like one of `command` and is of no use.
fn unused(command: &Command, name: &Name, is_empty: bool) -> Option<String> {
    let text = name.to_str().filter(|text| text.starts_with("ADAPTER_") && !OWN.contains(text))?;
    match knows(command, name) {
        true if is_empty => Some(format!("adapter: the variable {text} is empty, as if it were not set\n")),
        true => None,
        false => Some(format!("adapter: the variable {text} is no setting of this program\n")),
    }
}

fn knows(command: &Command, name: &Name) -> bool {
    let is_known = command.get_arguments().any(|arg| arg.get_env() == Some(name));
    is_known || command.get_subcommands().any(|command| knows(command, name))
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

/// What is wrong, of an error that is no help.
pub(super) fn problem(error: &clap::Error) -> String {
    first_paragraphs(&error.render().to_string())
}

/// What is wrong and clap's tip, without the usage that follows.
fn first_paragraphs(text: &str) -> String {
    let end = ["\n\nUsage: ", "\n\nFor more information"].iter().filter_map(|mark| text.find(mark)).min();
    let text = &text[..end.unwrap_or(text.len())];
    let text = text.strip_prefix("error: ").unwrap_or(text).replace("\n\n  tip: ", "; ");
    // std's words are for who writes the program.
    text.replace("invalid digit found in string", "expected a whole number")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Plain;

    #[test]
    fn a_variable_of_no_use_is_told() {
        let said = |name: &str, is_empty| unused(&Plain::command(), Name::new(name), is_empty);
        assert_eq!(said("ADAPTER_BIND", false), None);
        assert_eq!(said("PATH", true), None);
        assert!(said("ADAPTER_BIND", true).unwrap().contains("ADAPTER_BIND is empty"));
        assert!(said("ADAPTER_BINDS", false).unwrap().contains("ADAPTER_BINDS is no setting"));
    }

    #[test]
    fn an_empty_variable_is_not_looked_at() {
        let left = |empty: &'static str| {
            let command = without_empty(Plain::command(), &|name| empty == "all" || name == empty);
            command.get_arguments().filter(|arg| arg.get_env().is_some()).count()
        };
        assert_eq!(left("all"), 0);
        assert_eq!(left("ADAPTER_THREADS"), left("") - 1);
    }
}
