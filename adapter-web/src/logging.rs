//! What is logged on stderr, for a program that has no `tracing` subscriber of its own.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _};

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

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
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr::Lines).fmt_fields(fields());
    // Colours, which another crate may have turned on, are for people.
    let _ = if io::stderr().is_terminal() { subscriber.try_init() } else { subscriber.with_ansi(false).try_init() };
    Ok(())
}

/// Fields as they are said: what an application or a client has put into them stays on its line, and does nothing to a terminal.
fn fields() -> impl for<'a> FormatFields<'a> + Send + Sync + 'static {
    debug_fn(|writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| match field.name() {
        "message" => write!(Plain(writer), "{value:?}"),
        name => write!(Plain(writer), "{name}={value:?}"),
    })
    .delimited(" ")
}

/// Escapes control characters.
struct Plain<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Plain<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(char::is_control) {
            let mut characters = piece.chars();
            match characters.next_back().filter(|last| last.is_control()) {
                Some(last) => write!(self.0, "{}{}", characters.as_str(), last.escape_default())?,
                None => self.0.write_str(piece)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_is_logged_stays_on_its_line() {
        let (mut said, out) = io::pipe().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .fmt_fields(fields())
            .with_writer(std::sync::Mutex::new(out))
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let error = "no\r\n2026-01-01 INFO forged \x1b[2J\u{9b}31m é";
            let span = tracing::info_span!("request", agent = %error);
            span.in_scope(|| tracing::error!(target: "adapter", error = %error, count = 7, "failed: {error}"));
        });
        let mut text = String::new();
        said.read_to_string(&mut text).unwrap();
        let told = r"no\r\n2026-01-01 INFO forged \u{1b}[2J\u{9b}31m é";
        assert_eq!(text, format!("ERROR request{{agent={told}}}: adapter: failed: {told} error={told} count=7\n"));
    }
}
