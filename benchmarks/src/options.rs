//! The command line. Bad use is one plain line on stderr and exit status 2.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::measure::Measurement;
use crate::subjects::{CHATS, FOLDERS, MULTIPLEXED, SECURED, SOCKETS, SUBJECTS, Subject, names};

/// Measures the adapters against bare servers and the field, on loopback.
#[derive(Parser)]
#[command(name = "benchmarks", max_term_width = 100)]
pub struct Options {
    /// Only these measurements (comma-separated; see --list)
    #[arg(long, value_name = "MEASUREMENT,…", value_delimiter = ',')]
    only: Vec<String>,
    /// Only these servers (comma-separated; see --list)
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    server: Vec<String>,
    /// How often each server is measured where time matters [default: 3, with --quick 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// How long one run lasts [default: 4, with --quick 1]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: Option<u64>,
    /// Short runs and smaller crowds: to see that all works, not to compare
    #[arg(long)]
    pub quick: bool,
    /// Also write the tables to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Where `growth` is to draw how cost grows, as SVG
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Name the measurements and the servers, and do nothing else
    #[arg(long)]
    pub list: bool,
}

impl Options {
    /// Reads and checks the command line; the error is the status to exit with.
    pub fn read() -> Result<Self, ExitCode> {
        let refuse = |reason: String| {
            eprintln!("benchmarks: {reason}");
            ExitCode::from(2)
        };
        let options = Options::try_parse().map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                print!("{error}");
                ExitCode::SUCCESS
            }
            _ => {
                let text = error.to_string();
                let line = text.lines().next().unwrap_or("bad use");
                refuse(line.strip_prefix("error: ").unwrap_or(line).to_string())
            }
        })?;
        options.check().map_err(refuse)?;
        Ok(options)
    }

    fn check(&self) -> Result<(), String> {
        let unknown = |given: &[String], known: &[&str], what: &str| {
            given
                .iter()
                .find(|name| !known.contains(&name.as_str()))
                .map_or(Ok(()), |name| Err(format!("no {what} is called '{name}'; there are {}", known.join(", "))))
        };
        unknown(&self.only, &Measurement::ALL.map(Measurement::name), "measurement")?;
        unknown(&self.server, &names(), "server")?;
        if self.plot.is_some() && !self.wants(Measurement::Growth) {
            return Err("--plot is what growth draws, which is not asked for".into());
        }
        // An hour's run must not end with a file that cannot be written.
        self.json.iter().chain(&self.plot).try_for_each(|path| {
            let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
            opened.map_or_else(|error| Err(format!("cannot write {}: {error}", path.display())), |_| Ok(()))
        })
    }

    pub fn wants(&self, measurement: Measurement) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == measurement.name())
    }

    /// The servers asked for, in the table's order, as far as a measurement needs them.
    pub fn subjects(&self) -> Vec<&'static Subject> {
        let named = |subject: &&Subject| self.server.is_empty() || self.server.iter().any(|name| name == subject.name);
        let is_other = |one: &Measurement| {
            !matches!(
                one,
                Measurement::Chat | Measurement::Tls | Measurement::H2 | Measurement::Ws | Measurement::Files
            )
        };
        let others = Measurement::ALL.into_iter().filter(is_other).any(|one| self.wants(one));
        let subjects = SUBJECTS.iter().filter(|_| others);
        let chats = CHATS.iter().filter(|_| self.wants(Measurement::Chat));
        let secured = SECURED.iter().filter(|_| self.wants(Measurement::Tls));
        let multiplexed = MULTIPLEXED.iter().filter(|_| self.wants(Measurement::H2));
        let sockets = SOCKETS.iter().filter(|_| self.wants(Measurement::Ws));
        let folders = FOLDERS.iter().filter(|_| self.wants(Measurement::Files));
        subjects.chain(chats).chain(secured).chain(multiplexed).chain(sockets).chain(folders).filter(named).collect()
    }

    pub fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    pub fn seconds(&self) -> u64 {
        self.seconds.unwrap_or(if self.quick { 1 } else { 4 })
    }
}
