//! What a case is: an id, the requirements it holds a server to, and a script of the client's side.
//!
//! Cases are plain data in statics, one group a file under `cases/`; nothing here runs.

use crate::context::Context;
use crate::lifecycle::Lifecycle;
use crate::setting::{self, Setting};

/// How binding the requirement behind a case is (RFC 2119).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A server that fails the case does not conform.
    Must,
    /// A server may fail it for a stated reason (`spec/exceptions.toml`, [`crate::exceptions`]); without one it fails.
    Should,
    /// A server may leave it out: the outcome only tells whether it does.
    May,
}

impl Level {
    /// The word of RFC 2119.
    pub fn word(self) -> &'static str {
        match self {
            Level::Must => "MUST",
            Level::Should => "SHOULD",
            Level::May => "MAY",
        }
    }
}

/// The client's side of a case.
#[derive(Clone, Copy, Debug)]
pub enum Script {
    /// Talks to a server that others use at the same time.
    Shared(fn(&mut Context) -> Result<(), Failure>),
    /// Starts and stops servers of its own, so it needs the server in this process.
    Owned(fn(&mut Lifecycle<'_>) -> Result<(), Failure>),
}

/// One test of a server.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Name within its group, like `dropped_on_disconnect`.
    pub id: &'static str,
    /// One line that says what a server does that passes.
    pub title: &'static str,
    /// Ids of the requirements it tests, as in `spec/`.
    pub requirements: &'static [&'static str],
    /// Level of these requirements.
    pub level: Level,
    /// Capabilities a server must declare, or the case is skipped.
    needed: [Option<&'static str>; 2],
    /// The configuration it runs under.
    pub setting: &'static Setting,
    /// Whether it needs a process to itself.
    pub alone: bool,
    /// Why it does not run where the suite runs over TLS.
    pub plain: Option<&'static str>,
    /// Whether it gives servers TLS itself.
    pub makes_tls: bool,
    /// What it does.
    pub script: Script,
}

impl Case {
    const fn new(
        level: Level,
        id: &'static str,
        title: &'static str,
        requirements: &'static [&'static str],
        script: Script,
    ) -> Self {
        Case {
            id,
            title,
            requirements,
            level,
            needed: [None; 2],
            setting: &setting::DEFAULT,
            alone: false,
            plain: None,
            makes_tls: false,
            script,
        }
    }

    /// A case every server must pass.
    pub const fn must(
        id: &'static str,
        title: &'static str,
        requirements: &'static [&'static str],
        script: fn(&mut Context) -> Result<(), Failure>,
    ) -> Self {
        Self::new(Level::Must, id, title, requirements, Script::Shared(script))
    }

    /// A case a server should pass.
    pub const fn should(
        id: &'static str,
        title: &'static str,
        requirements: &'static [&'static str],
        script: fn(&mut Context) -> Result<(), Failure>,
    ) -> Self {
        Self::new(Level::Should, id, title, requirements, Script::Shared(script))
    }

    /// A case of something a server may do.
    pub const fn may(
        id: &'static str,
        title: &'static str,
        requirements: &'static [&'static str],
        script: fn(&mut Context) -> Result<(), Failure>,
    ) -> Self {
        Self::new(Level::May, id, title, requirements, Script::Shared(script))
    }

    /// A case that starts servers itself.
    pub const fn owned(
        level: Level,
        id: &'static str,
        title: &'static str,
        requirements: &'static [&'static str],
        script: fn(&mut Lifecycle<'_>) -> Result<(), Failure>,
    ) -> Self {
        Self::new(level, id, title, requirements, Script::Owned(script))
    }

    /// Only for servers that declare `capability`; at most twice.
    #[must_use]
    pub const fn needs(mut self, capability: &'static str) -> Self {
        self.needed = match self.needed {
            [None, _] => [Some(capability), None],
            [first, _] => [first, Some(capability)],
        };
        self
    }

    /// Capabilities a server must declare, or the case is skipped.
    pub fn capabilities(&self) -> impl Iterator<Item = &'static str> {
        self.needed.into_iter().flatten()
    }

    /// In a process to itself, where the log can be read. Only for cases that start servers themselves.
    #[must_use]
    pub const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Not where the suite runs over TLS, because of `reason`, which reports show.
    #[must_use]
    pub const fn in_plain(mut self, reason: &'static str) -> Self {
        self.plain = Some(reason);
        self
    }

    /// Gives servers TLS itself. Only for cases that start servers themselves.
    #[must_use]
    pub const fn with_tls(mut self) -> Self {
        self.makes_tls = true;
        self
    }

    /// Under another configuration than the default one.
    #[must_use]
    pub const fn with(mut self, setting: &'static Setting) -> Self {
        self.setting = setting;
        self
    }
}

/// Cases of one subject.
#[derive(Debug)]
pub struct Group {
    /// Name, part of the names of tests: `server::group::case`.
    pub name: &'static str,
    /// Subject, for reports.
    pub title: &'static str,
    /// Its cases.
    pub cases: &'static [Case],
}

/// Why a case failed. The bytes that went over the wire are added by the runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<T: Into<String>> From<T> for Failure {
    fn from(text: T) -> Self {
        Failure(text.into())
    }
}

/// Ends a script with a [`Failure`] unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::case::Failure(format!($($message)+)));
        }
    };
}
pub(crate) use ensure;

/// Ends a script with a [`Failure`] unless two values are equal.
macro_rules! ensure_eq {
    ($seen:expr, $expected:expr, $($message:tt)+) => {
        match (&$seen, &$expected) {
            (seen, expected) => if *seen != *expected {
                let what = format!($($message)+);
                return Err($crate::case::Failure(format!("{what}: expected {expected:?}, seen {seen:?}")));
            }
        }
    };
}
pub(crate) use ensure_eq;
