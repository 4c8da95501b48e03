//! `--print-config`: the settings as they hold, in the form that `--config` reads, each with where it is from.

use std::fmt::Write as _;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args as _, Command};

use super::args::Args;
use super::file::{self, NO_SETTINGS};

/// The settings of `matches`, if they were asked for; `plain` has the defaults of a program without a file.
pub(super) fn asked(matches: &ArgMatches, plain: &Command) -> Option<String> {
    let matches = file::level(matches)?;
    matches.try_get_one::<bool>("print_config").ok().flatten().filter(|asked| **asked)?;
    let mut text = String::new();
    let flags = Args::augment_args(Command::new(""));
    for arg in flags.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let Some(key) = arg.get_long().filter(|key| !NO_SETTINGS.contains(key)) else { continue };
        let Some(values) = values(matches, arg) else {
            let _ = writeln!(text, "# {key} is not set");
            continue;
        };
        let source = match matches.value_source(arg.get_id().as_str()) {
            Some(ValueSource::CommandLine) => "command line",
            Some(ValueSource::EnvVariable) => "environment",
            _ if is_default(plain, arg, &values) => "default",
            _ => "file",
        };
        let is_list = matches!(arg.get_action(), ArgAction::Append);
        let shown: Vec<_> = values.iter().map(|value| shown(value, arg)).collect();
        let shown = shown.join(", ");
        let _ = if is_list {
            writeln!(text, "{key} = [{shown}] # {source}")
        } else {
            writeln!(text, "{key} = {shown} # {source}")
        };
    }
    Some(text)
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
