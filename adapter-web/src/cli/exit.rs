//! How a program ends: one line, one status.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use adapter_core::ServeError;
use clap::Args as _;

use super::args::Args;
use crate::stderr;

/// Why a program ends before, or instead of, serving to a good end.
///
/// Its text is one line for errors (control characters are escaped), and whatever `--help`, `--version` and
/// `--list-servers` print otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    status: u8,
    text: String,
    /// The signal that ended it.
    signal: Option<i32>,
    /// Somebody else says it.
    is_told: bool,
}

impl Exit {
    /// Everything asked for is done; `text` goes to stdout as it is, the status is 0.
    pub fn done(text: impl Into<String>) -> Self {
        Exit { status: 0, text: text.into(), signal: None, is_told: false }
    }

    /// The program was used wrongly: status 2.
    pub fn usage(problem: impl fmt::Display) -> Self {
        Exit { status: 2, text: one_line(&problem.to_string()), signal: None, is_told: false }
    }

    /// Something failed at run time: status 1.
    pub fn failed(problem: impl fmt::Display) -> Self {
        Exit { status: 1, text: one_line(&problem.to_string()), signal: None, is_told: false }
    }

    /// A signal ended it before it served: status 128 and the number of the signal, by which [`report`](Self::report) ends the
    /// process. That has been told by then.
    #[cfg(unix)]
    pub(crate) fn signalled(signal: i32) -> Self {
        let status = u8::try_from(signal).map_or(u8::MAX, |signal| signal.saturating_add(128));
        Exit { status, text: "stopped by a signal while it started".into(), signal: Some(signal), is_told: false }
    }

    /// As a process did that this one needs: by its `status`, which is none of 0.
    #[cfg(unix)]
    pub(crate) fn as_of(status: u8, problem: impl fmt::Display) -> Self {
        Exit { status: status.max(1), ..Exit::failed(problem) }
    }

    /// The same, which another process says in place of this one.
    #[cfg(unix)]
    pub(crate) fn told(self) -> Self {
        Exit { is_told: true, ..self }
    }

    /// The signal that ended it before it served.
    #[cfg(unix)]
    pub(crate) fn signal(&self) -> Option<i32> {
        self.signal
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        self.status
    }

    /// The text, without the `error: ` in front of errors.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Prints the text where it belongs and gives the status to return from `main`. Does not return where a signal ended the program
    /// while it started: the process ends by that signal.
    pub fn report(&self) -> ExitCode {
        #[cfg(unix)]
        if let Some(signal) = self.signal {
            stderr::flush(|| false);
            // So that whoever sent it sees that it worked. Returns where the signal can't end the process.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
        match self.status {
            // A closed stdout must not turn the end of the program into a panic.
            0 => {
                let _ = io::stdout().write_all(self.text.as_bytes());
                // What was said before, such as of variables that are no settings.
                stderr::flush(|| false);
            }
            _ if self.is_told => stderr::flush(|| false),
            _ => stderr::say_last(format!("{self}\n")),
        }
        ExitCode::from(self.status)
    }
}

/// As it is printed.
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            0 => f.write_str(&self.text),
            _ => write!(f, "error: {}", self.text),
        }
    }
}

impl std::error::Error for Exit {}

/// Settings and names are the deployer's doing (2), all else happened at run time (1).
impl From<ServeError> for Exit {
    fn from(error: ServeError) -> Self {
        match &error {
            ServeError::UnknownServer { name, known } if known.is_empty() => {
                Exit::usage(format_args!("unknown server {name:?}; this build has none (see its features)"))
            }
            ServeError::UnknownServer { .. } => Exit::usage(error),
            ServeError::Config { setting, reason } => {
                Exit::usage(format_args!("{}: {reason}", flag_of(setting).as_ref().unwrap_or(setting)))
            }
            _ => Exit::failed(error),
        }
    }
}

impl From<io::Error> for Exit {
    fn from(error: io::Error) -> Self {
        Exit::failed(error)
    }
}

impl From<adapter_core::Error> for Exit {
    fn from(error: adapter_core::Error) -> Self {
        Exit::failed(error)
    }
}

/// The flag that sets `setting`: `--timeout-keep-alive` for `timeouts.keep_alive`.
fn flag_of(setting: &str) -> Option<String> {
    let command = Args::augment_args(clap::Command::new(""));
    let is_flag = |flag: &String| command.get_arguments().any(|arg| arg.get_long() == Some(flag));
    let whole = setting.replace("limits.", "limit-").replace("timeouts.", "timeout-");
    let names = [&whole, setting.rsplit('.').next().unwrap_or(setting)].map(|name| name.replace('_', "-"));
    names.into_iter().find(is_flag).map(|flag| format!("--{flag}"))
}

/// White space becomes single spaces, other control characters are escaped.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_tell_wrong_use_from_failure() {
        let unknown = ServeError::UnknownServer { name: "x".into(), known: vec!["a".into(), "b".into()] };
        assert_eq!(Exit::from(unknown), Exit::usage("unknown server \"x\"; known are: a, b"));
        let source = io::Error::from(io::ErrorKind::AddrInUse);
        let taken = Exit::from(ServeError::Bind { address: "127.0.0.1:80".into(), source });
        assert_eq!((taken.status(), taken.text()), (1, "cannot listen on 127.0.0.1:80: address in use"));
    }

    #[test]
    fn settings_are_told_as_flags() {
        let text = |setting: &str| Exit::from(ServeError::config(setting, "bad")).text().to_owned();
        assert_eq!(text("timeouts.keep_alive"), "--timeout-keep-alive: bad");
        assert_eq!(text("limits.head_bytes"), "--limit-head-bytes: bad");
        assert_eq!(text("mount_prefix"), "--mount-prefix: bad");
        assert_eq!(text("limits.min_rate"), "--min-rate: bad");
        assert_eq!(text("colour"), "colour: bad", "an option of one server is no flag");
    }

    #[test]
    fn errors_are_one_line_whatever_is_in_them() {
        assert_eq!(Exit::failed("a\n\n  b\x1b[31m\r\nc").to_string(), "error: a b\\u{1b}[31m c");
    }
}
