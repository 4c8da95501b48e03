//! What became of the cases, for people and for programs.

mod html;
mod json;
mod junit;
mod table;

pub use self::html::html;
pub use self::json::json;
pub use self::junit::junit;
pub use self::table::table;

use crate::runner::{Outcome, Run};

/// The runs of one server, in the order of the cases.
#[derive(Clone, Debug)]
pub struct Results {
    /// The server.
    pub server: String,
    /// Its runs.
    pub runs: Vec<Run>,
}

/// How many runs ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
    /// Failed with an exception on record.
    pub excepted: usize,
    /// Not run.
    pub skipped: usize,
}

impl Count {
    /// Counts `runs`.
    pub fn of<'r>(runs: impl IntoIterator<Item = &'r Run>) -> Self {
        let mut count = Count::default();
        for run in runs {
            match run.outcome {
                Outcome::Passed => count.passed += 1,
                Outcome::Failed { .. } => count.failed += 1,
                Outcome::Excepted { .. } => count.excepted += 1,
                Outcome::Skipped(_) => count.skipped += 1,
            }
        }
        count
    }

    /// The last line of a report. Excepted cases count as skipped, and are told apart where there are any.
    pub fn line(&self) -> String {
        let skipped = self.skipped + self.excepted;
        let excepted = if self.excepted > 0 { format!(" ({} excepted)", self.excepted) } else { String::new() };
        format!("{} passed, {} failed, {skipped} skipped{excepted}", self.passed, self.failed)
    }
}

/// The word for an outcome.
fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed { .. } => "failed",
        Outcome::Excepted { .. } => "excepted",
        Outcome::Skipped(_) => "skipped",
    }
}

/// Escapes text for XML and HTML; what XML can't hold becomes a question mark.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(character),
            control if control.is_control() => escaped.push('?'),
            other => escaped.push(other),
        }
    }
    escaped
}
