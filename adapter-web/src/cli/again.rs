//! The trusted proxies, read again from the file of `--config` while the server serves: SIGHUP.
//!
//! What the command line and the environment say holds as long as the process; what they leave open is the file's to say anew. Other
//! settings are read at the start alone, and it is said which of them are not as they were then. Reads the file, on whatever thread
//! asks.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use adapter_core::{Bind, ServerConfig};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, FromArgMatches as _};
use toml::Table;

use super::args::Args;
use super::exit::Exit;
use super::parse::Line;
use super::{file, parse};

/// A setting that is read again: its key, and its name in [`Args`].
const KEYS: [(&str, &str); 5] = [
    ("trusted-proxy", "trusted_proxies"),
    ("proxy-protocol-from", "proxy_protocol_from"),
    ("trusted-hops", "trusted_hops"),
    ("forwarded", "forwarded"),
    ("forwarded-also", "forwarded_also"),
];

/// Which of them a file has no say in, and the line that they are of. No flag itself: it is among [`Args`] to see what they are parsed from.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    above: Vec<&'static str>,
    /// `None` where no file has been read.
    line: Option<Arc<Line>>,
}

impl clap::FromArgMatches for Said {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_above = |name: &str| {
            matches!(matches.value_source(name), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
        };
        let above = KEYS.into_iter().filter(|(_, name)| is_above(name)).map(|(key, _)| key).collect();
        Ok(Said { above, line: parse::line() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Said {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

/// The way to read them again.
#[derive(Clone, Debug)]
pub(crate) struct Again {
    path: PathBuf,
    args: Args,
    line: Arc<Line>,
    /// What the file says where the server starts.
    first: Table,
    /// Where the server listens, as far as that can be kept: a socket that somebody holds is not closed.
    binds: Vec<Bind>,
}

impl Again {
    /// Of `args`, whose `config` is about to be served. `None` where there is no file; where it has no say in any of them; and where
    /// the program has changed them, for then they are its own to change.
    pub(crate) fn of(args: &Args, config: &ServerConfig) -> Option<Self> {
        let (path, line) = (args.config.clone()?, args.said.line.clone()?);
        let mut from_args = config.clone();
        args.trust_into(&mut from_args);
        let has_say = args.said.above.len() < KEYS.len();
        let binds = config.binds.iter().filter(|bind| !matches!(bind.place(), Bind::Inherited(_)));
        (has_say && is_same(&from_args, config)).then(|| Again {
            first: if path.is_file() { file::table(&path).unwrap_or_default() } else { Table::new() },
            path,
            args: args.clone(),
            line,
            binds: binds.cloned().collect(),
        })
    }

    /// A configuration with what the file says now, and where the server listens; nothing else is in it. Beside it the keys of the
    /// file that are not as they were, and are read at the next start. `check` is what a start refuses of flags.
    ///
    /// # Errors
    /// Why it does not hold, or would not at the next start.
    pub(crate) fn read(
        &self,
        check: impl FnOnce(&Args) -> Result<(), Exit>,
    ) -> Result<(ServerConfig, Vec<String>), String> {
        // A pipe has been read, and would be waited for.
        if std::fs::metadata(&self.path).is_ok_and(|file| !file.is_file()) {
            return Err(format!("{}: it is no file that can be read again", self.path.display()));
        }
        let now = self.now(check).map_err(|problem| format!("{self}: {problem} (the next start would refuse it, too)"));
        let (now, mut args) = now?;
        let all: BTreeSet<&String> = self.first.keys().chain(now.keys()).collect();
        let is_kept = |key: &str| KEYS.iter().any(|(kept, _)| *kept == key);
        let changed = all.into_iter().filter(|key| !is_kept(key) && self.first.get(*key) != now.get(*key));
        let changed = changed.cloned().collect();
        // The program may have changed them.
        for key in &self.args.said.above {
            let old = self.args.clone();
            match *key {
                "trusted-proxy" => args.trusted_proxies = old.trusted_proxies,
                "proxy-protocol-from" => args.proxy_protocol_from = old.proxy_protocol_from,
                "trusted-hops" => args.trusted_hops = old.trusted_hops,
                "forwarded" => args.forwarded = old.forwarded,
                _ => args.forwarded_also = old.forwarded_also,
            }
        }
        let mut config = ServerConfig::default();
        config.binds.clone_from(&self.binds);
        args.trust_into(&mut config);
        Ok((config, changed))
    }

    /// What is in the file, and what a start would make of it.
    fn now(&self, check: impl FnOnce(&Args) -> Result<(), Exit>) -> Result<(Table, Args), String> {
        let now = file::table(&self.path)?;
        let matches = self.line.with(now.clone())?;
        let args = Args::from_arg_matches(&matches).map_err(|error| parse::problem(&error))?;
        check(&args).map_err(|exit| exit.text().to_owned())?;
        Ok((now, args))
    }
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

fn is_same(one: &ServerConfig, other: &ServerConfig) -> bool {
    one.trusted_proxies == other.trusted_proxies
        && one.proxy_protocol_from == other.proxy_protocol_from
        && one.trusted_hops == other.trusted_hops
        && one.forwarded == other.forwarded
        && one.forwarded_also == other.forwarded_also
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Plain, parse_from};

    fn told(config: &ServerConfig) -> String {
        let shown = |proxies: &[adapter_core::server::TrustedProxy]| {
            proxies.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let (trusted, from) = (shown(&config.trusted_proxies), shown(&config.proxy_protocol_from));
        format!("{trusted}|{from}|{:?}|{}", config.trusted_hops, config.forwarded)
    }

    fn checked(args: &Args) -> Result<(), Exit> {
        args.checked().map(drop).map_err(Exit::from)
    }

    #[test]
    fn the_file_says_anew_what_nobody_above_it_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.toml");
        let write = |text: &str| std::fs::write(&path, text).expect("written");
        write("trusted-proxy = '10.0.0.1'\nforwarded = 'forwarded'\nserver = 'hyper'");
        let parsed: Plain = parse_from(["x", "--forwarded", "x-real-ip", "--config", path.to_str().expect("text")])
            .map_err(|exit| exit.text().to_owned())
            .expect("a command line");
        let config = parsed.args.config().expect("a configuration");
        let again = Again::of(&parsed.args, &config).expect("there is a file");
        assert_eq!(again.read(checked).map(|(it, _)| told(&it)).as_deref(), Ok("10.0.0.1||None|x-real-ip"));
        // Other keys are told.
        write("trusted-proxy = ['10.0.0.2', 'unix']\nforwarded = 'off'\nthreads = 3\nbind = '127.0.0.1:1'");
        assert_eq!(
            again.read(checked).map(|(_, changed)| changed).as_deref(),
            Ok(&["bind", "server", "threads"].map(String::from)[..])
        );
        assert_eq!(again.read(checked).map(|(it, _)| told(&it)).as_deref(), Ok("10.0.0.2 unix||None|x-real-ip"));
        write("trusted-hops = 2\nproxy-protocol-from = '*'");
        assert_eq!(again.read(checked).map(|(it, _)| told(&it)).as_deref(), Ok("|*|Some(2)|x-real-ip"));
        write("");
        assert_eq!(again.read(checked).map(|(it, _)| told(&it)).as_deref(), Ok("||None|x-real-ip"));
        for (wrong, why) in [
            ("trusted-proxy = 'nobody'", "trusted-proxy: invalid value 'nobody'"),
            ("trusted-proxy = ", "line 1: "),
            ("timeout-wriite = '5s'", "unknown key \"timeout-wriite\"; a similar one is \"timeout-write\""),
            ("colour = 'red'", "unknown key \"colour\" ("),
            ("tls-key = 'key.pem'", "--tls-key: "),
            ("mount-prefix = 'shop'", "--mount-prefix: "),
            ("timeout-worker = '0s'", "--timeout-worker: "),
            ("timeout-write = 'soon'", "timeout-write: invalid value 'soon'"),
            ("trusted-proxies = '10.0.0.1'", "unknown key \"trusted-proxies\"; a similar one is \"trusted-proxy\""),
        ] {
            write(wrong);
            let said = again.read(checked).map(drop).expect_err(wrong);
            assert!(said.split_once("app.toml: ").is_some_and(|(_, said)| said.starts_with(why)), "{said}");
        }
        std::fs::remove_file(&path).expect("removed");
        assert!(again.read(checked).is_err());
        // What the program says by itself is its own.
        let mut own = config.clone();
        own.trusted_proxies.push([10, 0, 0, 9].into());
        assert!(Again::of(&parsed.args, &own).is_none());
        let without: Plain = parse_from(["x"]).map_err(|exit| exit.text().to_owned()).expect("a command line");
        assert!(Again::of(&without.args, &config).is_none());
    }
}
