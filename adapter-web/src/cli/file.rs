//! `--config FILE`: the flags in TOML, beneath the environment and the command line.
//!
//! What the file says becomes the defaults of the flags, and clap does the layering. Reads the file, and blocks as that does: a
//! FIFO until somebody has written it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::{Table, Value};

use super::exit::Exit;
use super::parse;

/// Flags that say what to do once, and are no settings.
pub(super) const NO_SETTINGS: [&str; 6] = ["config", "print-config", "list-servers", "healthcheck", "help", "version"];

/// Bytes that are read. A device may have no end.
const MOST: u64 = 1024 * 1024;

/// The file that `matches` name, at whatever level the flags are.
pub(super) fn named(matches: &ArgMatches) -> Option<PathBuf> {
    level(matches)?.try_get_one::<PathBuf>("config").ok().flatten().cloned()
}

/// Where the flags of [`Args`](super::Args) are: in a program, or in one of its subcommands.
pub(super) fn level(matches: &ArgMatches) -> Option<&ArgMatches> {
    match matches.try_contains_id("config") {
        Ok(_) => Some(matches),
        Err(_) => level(matches.subcommand()?.1),
    }
}

/// `command`, with what is in the file at `path` as defaults.
pub(super) fn apply(command: Command, path: &Path) -> Result<Command, Exit> {
    let applied = table(path).and_then(|now| apply_table(command, now));
    applied.map_err(|problem| Exit::usage(format_args!("{}: {problem}", path.display())))
}

/// The same with what is in a file.
pub(super) fn apply_table(command: Command, now: Table) -> Result<Command, String> {
    let settings = settings(&command, now)?;
    Ok(with_defaults(command, &settings))
}

/// What is in the file at `path` now.
pub(super) fn table(path: &Path) -> Result<Table, String> {
    let text = read(path).map_err(|error| error.to_string())?;
    text.parse().map_err(|error| located(&text, &error))
}

/// Keys and their values, as `command` takes them.
fn settings(command: &Command, table: Table) -> Result<Vec<(String, Vec<String>)>, String> {
    let mut settings = Vec::with_capacity(table.len());
    for (key, value) in table {
        let arg = find(command, &key).ok_or_else(|| format!("unknown key {key:?}{}", tip(command, &key)))?;
        let values = texts(value).ok_or_else(|| format!("{key} is no text, number, true or false, or list of them"))?;
        check(arg, &values).map_err(|problem| format!("{key}: {problem}"))?;
        settings.push((key, values));
    }
    Ok(settings)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MOST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 1 MiB, and no file of settings"));
    }
    Ok(text)
}

/// The problem and its line, without the picture of it.
fn located(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| text.get(..span.start).unwrap_or(text).matches('\n').count() + 1);
    line.map_or_else(|| error.message().to_owned(), |line| format!("line {line}: {}", error.message()))
}

fn find<'c>(command: &'c Command, key: &str) -> Option<&'c Arg> {
    if NO_SETTINGS.contains(&key) {
        return None;
    }
    let mut args = command.get_arguments();
    args.find(|arg| arg.get_long() == Some(key))
        .or_else(|| command.get_subcommands().find_map(|command| find(command, key)))
}

/// The key that was meant, if one is close.
fn tip(command: &Command, key: &str) -> String {
    // Flags have hyphens; who writes underscores means the same.
    let key = key.replace('_', "-");
    let close =
        known(command).into_iter().map(|name| (strsim::jaro(name, &key), name)).filter(|(close, _)| *close > 0.8);
    close
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, name)| format!("; a similar one is {name:?}"))
}

/// The keys of all settings, at whatever level.
fn known(command: &Command) -> Vec<&str> {
    let own = command.get_arguments().filter_map(Arg::get_long).filter(|key| !NO_SETTINGS.contains(key));
    own.chain(command.get_subcommands().flat_map(known)).collect()
}

fn texts(value: Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Integer(number) => Some(vec![number.to_string()]),
        Value::Float(number) => Some(vec![number.to_string()]),
        Value::Boolean(truth) => Some(vec![truth.to_string()]),
        Value::Array(values) => {
            let one = |value: Value| if value.is_array() { None } else { texts(value) };
            values.into_iter().map(one).collect::<Option<Vec<_>>>().map(|values| values.concat())
        }
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

/// Whether the flag takes them, in clap's words if it doesn't.
fn check(arg: &Arg, values: &[String]) -> Result<(), String> {
    match arg.get_action() {
        ArgAction::SetTrue => match values {
            [value] if value == "true" || value == "false" => return Ok(()),
            _ => return Err("it is true or false".into()),
        },
        ArgAction::Append => {}
        _ if values.len() == 1 => {}
        _ => return Err("it has one value".into()),
    }
    let flag = arg.get_long().unwrap_or_default();
    let line = values.iter().map(|value| OsString::from(format!("--{flag}={value}")));
    let alone = Command::new("").arg(arg.clone());
    let parsed = alone.try_get_matches_from(std::iter::once(OsString::new()).chain(line));
    parsed.map(drop).map_err(|error| parse::problem(&error))
}

fn with_defaults(command: Command, settings: &[(String, Vec<String>)]) -> Command {
    command
        .mut_args(|arg| match settings.iter().find(|(key, _)| arg.get_long() == Some(key)) {
            Some((_, values)) => arg.default_values(values),
            None => arg,
        })
        .mut_subcommands(|command| with_defaults(command, settings))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Plain;

    fn refused(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.toml");
        std::fs::write(&path, text).unwrap();
        let exit = apply(Plain::command(), &path).map(drop).unwrap_err();
        assert_eq!(exit.status(), 2);
        exit.text().split_once("app.toml: ").unwrap().1.to_owned()
    }

    #[test]
    fn what_is_wrong_is_said_with_the_key() {
        assert_eq!(refused("timeout-wrte = 3"), "unknown key \"timeout-wrte\"; a similar one is \"timeout-write\"");
        assert_eq!(
            refused("no_keep_alive = true"),
            "unknown key \"no_keep_alive\"; a similar one is \"no-keep-alive\""
        );
        assert_eq!(refused("colour = 'red'"), "unknown key \"colour\"");
        assert_eq!(refused("config = 'other.toml'"), "unknown key \"config\"");
        assert_eq!(refused("threads = [1, 2]"), "threads: it has one value");
        assert_eq!(refused("no-keep-alive = 'maybe'"), "no-keep-alive: it is true or false");
        assert_eq!(refused("bind = [['a']]"), "bind is no text, number, true or false, or list of them");
        assert_eq!(refused("bind = { port = 80 }"), "bind is no text, number, true or false, or list of them");
        let line = refused("threads = 2\nbind = [\n'127.0.0.1:80'");
        assert!(line.starts_with("line "), "{line}");
        let line = refused("threads = 'many'");
        assert!(line.starts_with("threads: invalid value 'many'"), "{line}");
        let line = refused(&"# no end\n".repeat(200_000));
        assert_eq!(line, "it is longer than 1 MiB, and no file of settings");
    }

    #[cfg(unix)]
    #[test]
    fn what_has_no_end_is_refused() {
        let exit = apply(Plain::command(), Path::new("/dev/zero")).map(drop).unwrap_err();
        assert_eq!((exit.status(), exit.text().lines().count()), (2, 1), "{}", exit.text());
    }
}
