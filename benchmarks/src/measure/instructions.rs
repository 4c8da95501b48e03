//! `instructions`: how many instructions of the server's user space a request takes, counted by valgrind's callgrind.
//! The server runs under it from the start; the counters are set to zero once it is warm.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::{Bench, installed};
use crate::load::steady::{Plan, Steady, Talk, Until};
use crate::process::{Server, Start};
use crate::subjects::{BASE, Built, Route};
use crate::table::Table;

pub(super) const CONNECTIONS: usize = 32;
pub(super) const REQUESTS: u64 = 10_000;
const LIMIT: Duration = Duration::from_secs(60);

pub fn run(bench: &Bench<'_>) -> Table {
    let title = format!("Instructions (user space) a request: GET /, {CONNECTIONS} connections, {REQUESTS} requests");
    let mut table = Table::new("instructions", title, &[("Ir/req", 0), ("of bare-hyper", 2)]);
    let here = installed("valgrind") && installed("callgrind_control");
    let all = bench.in_turn("instructions", Route::Hello, 1, |built| {
        if !here {
            return Err("valgrind is not installed".into());
        }
        sample(bench, built, Start::new(1), None)
    });
    let base = all.iter().find(|(name, _)| *name == BASE).and_then(|(_, samples)| samples.as_ref().ok()?.first());
    let base = base.copied();
    for (name, samples) in &all {
        let row = samples.clone().map(|samples| vec![samples[0].into(), base.map(|base| samples[0] / base).into()]);
        table.row(name, row);
    }
    table
}

/// Instructions a request, of a server that is started so, and of connections that are so.
pub(super) fn sample(
    bench: &Bench<'_>,
    built: &Built,
    start: Start,
    tls: Option<Arc<ClientConfig>>,
) -> Result<f64, String> {
    let plan = Plan { path: "/", fields: 1, connections: CONNECTIONS, depth: 1, threads: 1, cpu: None, tls };
    count(bench, built, start, (REQUESTS, LIMIT), |address| Steady::open(address, &plan))
}

/// Instructions an answer, of a server that is started so; of so many answers, within a limit of time.
pub(super) fn count<T: Talk>(
    bench: &Bench<'_>,
    built: &Built,
    mut start: Start,
    (answers, limit): (u64, Duration),
    open: impl FnOnce(SocketAddr) -> Result<Steady<T>, String>,
) -> Result<f64, String> {
    let output = bench.scratch().join(format!("callgrind.{}", built.subject.name));
    start.patience = Duration::from_secs(60);
    start.under = under(&output);
    let server = bench.start(built, &start)?;
    let mut load = open(server.address)?;
    load.run(Until::Answers(answers / 5, limit))?;
    control(&server, "-z")?;
    let requests = load.run(Until::Answers(answers, limit))?.requests;
    control(&server, "-d")?;
    let total = total(&output, 1)?;
    Ok(total as f64 / requests as f64)
}

/// callgrind counts the one instruction by which glibc copies or fills more than 2 KiB, `rep movsb` or `rep stosb`, once for each octet. This
/// has it go on as it does with less, by instructions that move 32 octets each.
const NO_REP: &str =
    "GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=1000000000:glibc.cpu.x86_rep_stosb_threshold=1000000000";

/// What a server runs under to be counted, into `output`.
pub(super) fn under(output: &Path) -> Vec<String> {
    let mut under: Vec<String> = ["env", NO_REP, "valgrind", "--tool=callgrind", "--quiet"].map(String::from).into();
    under.push(format!("--callgrind-out-file={}", output.display()));
    under
}

/// Tells the running callgrind to zero its counters (`-z`) or to dump them (`-d`).
pub(super) fn control(server: &Server, what: &str) -> Result<(), String> {
    let output = Command::new("callgrind_control")
        .args([what, &server.id().to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run callgrind_control: {error}"))?;
    if output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("Error") {
        Ok(())
    } else {
        Err(format!("callgrind_control {what} failed"))
    }
}

/// The total of the dump that `-d` made; the first one is number 1. A dump sets the counters to zero, too.
pub(super) fn total(output: &Path, number: usize) -> Result<u64, String> {
    let dump = PathBuf::from(format!("{}.{number}", output.display()));
    let text = std::fs::read_to_string(&dump).map_err(|error| format!("callgrind made no dump: {error}"))?;
    parse_total(&text).ok_or_else(|| "callgrind's dump has no total".into())
}

fn parse_total(dump: &str) -> Option<u64> {
    let line = |key: &str| dump.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
    line("totals:").or_else(|| line("summary:"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_the_total_of_a_dump() {
        assert_eq!(super::parse_total("events: Ir\nsummary: 12\n\nfn=(1)\n1 2\n\ntotals: 345\n"), Some(345));
        assert_eq!(super::parse_total("events: Ir\nsummary: 12\n"), Some(12));
        assert_eq!(super::parse_total("events: Ir\n"), None);
    }
}
