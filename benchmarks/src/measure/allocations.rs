//! `allocations`: how often a request asks malloc and its like for memory, and for how much of it. The server runs under valgrind,
//! which writes a line for each call; what was written while requests were served is counted.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use super::{Bench, installed};
use crate::load::steady::{Plan, Steady, Until};
use crate::process::Start;
use crate::subjects::{Built, Route};
use crate::table::Table;

const CONNECTIONS: usize = 32;
const REQUESTS: u64 = 2_000;
const LIMIT: Duration = Duration::from_secs(60);

pub fn run(bench: &Bench<'_>) -> Table {
    let title = format!("Allocations a request: GET /, {CONNECTIONS} connections, {REQUESTS} requests, one worker");
    let mut table = Table::new("allocations", title, &[("calls/req", 2), ("octets/req", 0)]);
    let here = installed("valgrind");
    let all = bench.in_turn("allocations", Route::Hello, 1, |built| {
        if here { sample(bench, built) } else { Err("valgrind is not installed".into()) }
    });
    for (name, samples) in all {
        table.row(name, samples.map(|samples| samples[0].map(Into::into).into()));
    }
    table
}

/// Calls and octets, for each answer.
fn sample(bench: &Bench<'_>, built: &Built) -> Result<[f64; 2], String> {
    let log = bench.scratch().join(format!("allocations.{}", built.subject.name));
    let mut start = Start::new(1);
    start.patience = Duration::from_secs(60);
    // Of the tools that stand in for malloc, and so can trace it, this one does the least besides.
    start.under =
        ["valgrind", "--tool=dhat", "--dhat-out-file=/dev/null", "--trace-malloc=yes"].map(String::from).into();
    start.under.push(format!("--log-file={}", log.display()));
    let server = bench.start(built, &start)?;
    let plan = Plan { path: "/", fields: 1, connections: CONNECTIONS, depth: 1, threads: 1, cpu: None, tls: None };
    let mut load = Steady::open(server.address, &plan)?;
    load.run(Until::Answers(REQUESTS / 5, LIMIT))?;
    let before = read(&log)?;
    let requests = load.run(Until::Answers(REQUESTS, LIMIT))?.requests as f64;
    let after = read(&log)?;
    if after.calls == 0 {
        return Err("valgrind traced nothing".into());
    }
    Ok([(after.calls - before.calls) as f64 / requests, (after.octets - before.octets) as f64 / requests])
}

#[derive(Default, Debug, PartialEq)]
struct Asked {
    calls: u64,
    octets: u64,
}

fn read(log: &Path) -> Result<Asked, String> {
    let failed = |error: std::io::Error| format!("valgrind wrote no log: {error}");
    let mut asked = Asked::default();
    for line in BufReader::new(File::open(log).map_err(failed)?).lines() {
        asked.add(&line.map_err(failed)?);
    }
    Ok(asked)
}

impl Asked {
    /// Reads a line such as `--7-- realloc(0x0,24)malloc(24) = 0x4B07030`, in which a call may show the one that does its work.
    fn add(&mut self, line: &str) {
        let Some((calls, _)) = line.rsplit_once(')') else { return };
        let Some((name, arguments)) = calls.rsplit_once('(') else { return };
        let name = name.rsplit(|letter: char| letter != '_' && !letter.is_ascii_alphabetic()).next();
        // Numbers in order; an address is in base 16, and none.
        let mut numbers = arguments.split([',', ' ']).filter_map(|word| word.parse::<u64>().ok());
        let octets = match name {
            Some("calloc") => Some(numbers.product()),
            // Of a realloc all of what it asks for, whether or not it is moved.
            Some("malloc" | "realloc" | "memalign" | "posix_memalign" | "aligned_alloc") => numbers.next_back(),
            _ => None,
        };
        if let Some(octets) = octets {
            self.calls += 1;
            self.octets += octets;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Asked;

    #[test]
    fn reads_what_valgrind_traces() {
        let lines = [
            "==7== DHAT, a dynamic heap analysis tool (or so)",
            "--7-- malloc(100) = 0x4B07030",
            "--7-- calloc(2,10) = 0x4B07030",
            "--7-- realloc(0x0,3)malloc(3) = 0x4B07230",
            "--7-- realloc(0x4B07030,4) = 0x4B07030",
            "--7-- memalign(al 64, size 5) = 0x4B07030",
            "--7-- free(0x4B07030)",
        ];
        let mut asked = Asked::default();
        lines.iter().for_each(|line| asked.add(line));
        assert_eq!(asked, Asked { calls: 5, octets: 132 });
    }
}
