//! `--print-config`: the settings as they hold, in the form that `--config` reads, each with where it is from.

use std::fmt::Write as _;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args as _, Command, FromArgMatches as _};

use super::args::{Args, bind_of_port};
use super::exit::Exit;
use super::file::{self, NO_SETTINGS};
use super::parse;

/// The settings of `matches`, if they were asked for; `plain` has the defaults of a program without a file. Reads the files of
/// TLS, as a start does.
///
/// # Errors
/// A start would end with it, too.
pub(super) fn asked(matches: &ArgMatches, plain: &Command) -> Result<Option<String>, Exit> {
    let Some(matches) = file::level(matches) else { return Ok(None) };
    let asked = matches.try_get_one::<bool>("print_config").ok().flatten();
    if asked != Some(&true) {
        return Ok(None);
    }
    let args = Args::from_arg_matches(matches).map_err(|error| Exit::usage(parse::problem(&error)))?;
    args.access_log_format()?;
    args.log_filter()?;
    args.checked()?;
    let mut text = String::new();
    let flags = Args::augment_args(Command::new(""));
    for arg in flags.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let Some(key) = arg.get_long().filter(|key| !NO_SETTINGS.contains(key)) else { continue };
        let Some(values) = values(matches, arg) else {
            let _ = match of_others(key)? {
                Some((value, variable)) if is_list(arg) => {
                    writeln!(text, "{key} = [{}] # environment, {variable}", shown(&value, arg))
                }
                Some((value, variable)) => writeln!(text, "{key} = {} # environment, {variable}", shown(&value, arg)),
                None => writeln!(text, "# {key} is not set"),
            };
            continue;
        };
        let source = match matches.value_source(arg.get_id().as_str()) {
            Some(ValueSource::CommandLine) => "command line",
            Some(ValueSource::EnvVariable) => "environment",
            _ if is_default(plain, arg, &values) => "default",
            _ => "file",
        };
        let shown: Vec<_> = values.iter().map(|value| shown(value, arg)).collect();
        let shown = shown.join(", ");
        let _ = if is_list(arg) {
            writeln!(text, "{key} = [{shown}] # {source}")
        } else {
            writeln!(text, "{key} = {shown} # {source}")
        };
    }
    Ok(Some(text))
}

/// What holds for `key` by a variable that is not ours, and which that is.
fn of_others(key: &str) -> Result<Option<(String, &'static str)>, Exit> {
    Ok(match key {
        "bind" => bind_of_port(std::env::var_os("PORT"))?.map(|bind| (bind.to_string(), "PORT")),
        "log" => std::env::var("RUST_LOG").ok().filter(|log| !log.is_empty()).map(|log| (log, "RUST_LOG")),
        _ => None,
    })
}

fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

fn values(matches: &ArgMatches, arg: &Arg) -> Option<Vec<String>> {
    let id = arg.get_id().as_str();
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return Some(vec![matches.get_flag(id).to_string()]);
    }
    Some(matches.get_raw(id)?.map(|value| value.to_string_lossy().into_owned()).collect())
}

/// Whether they are the defaults of `plain`, which knows no file.
fn is_default(plain: &Command, arg: &Arg, values: &[String]) -> bool {
    let own = plain.get_arguments().find(|own| own.get_long() == arg.get_long()).unwrap_or(arg);
    if matches!(own.get_action(), ArgAction::SetTrue) {
        return values.iter().all(|value| value == "false");
    }
    own.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).eq(values.iter().cloned())
}

/// As a value of TOML: numbers and truths bare, all else a basic string.
fn shown(value: &str, arg: &Arg) -> String {
    let is_truth = matches!(arg.get_action(), ArgAction::SetTrue);
    // Not "+1" and not "01", which TOML has no integers of.
    let is_number = value.parse::<i64>().is_ok_and(|number| number.to_string() == value);
    if is_truth || is_number {
        return value.to_owned();
    }
    let mut text = String::from('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => _ = write!(text, "\\u{:04x}", u32::from(c)),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}
