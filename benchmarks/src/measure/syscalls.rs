//! `syscalls`: how many system calls a request takes, counted by strace, which is attached once the server is warm and
//! its connections are open.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Bench, installed};
use crate::load::steady::{Plan, Steady, Talk, Until};
use crate::process::{Server, Start, status};
use crate::subjects::{Built, Route};
use crate::table::{Cell, Table};

const CONNECTIONS: usize = 32;
const REQUESTS: u64 = 10_000;
const LIMIT: Duration = Duration::from_secs(60);

pub fn run(bench: &Bench<'_>) -> Table {
    let title = format!("System calls a request: GET /, {CONNECTIONS} connections, {REQUESTS} requests, one worker");
    let mut table = Table::new("syscalls", title, &[("calls/req", 2), ("which", 0)]);
    let here = installed("strace");
    let all = bench.in_turn("syscalls", Route::Hello, 1, |built| {
        if !here {
            return Err("strace is not installed".into());
        }
        let plan = Plan { path: "/", fields: 1, connections: CONNECTIONS, depth: 1, threads: 1, cpu: None, tls: None };
        sample(bench, built, (REQUESTS, LIMIT), |address| Steady::open(address, &plan))
    });
    for (name, samples) in all {
        table.row(name, samples.map(|samples| cells(&samples[0]).into()));
    }
    table
}

/// How many calls an answer, and which.
pub(super) fn cells((counts, answers): &(Counts, u64)) -> [Cell; 2] {
    let each = |calls: u64| calls as f64 / *answers as f64;
    let which = counts.iter().filter(|(_, calls)| each(*calls) >= 0.005);
    let which: Vec<_> = which.map(|(name, calls)| format!("{name} {:.2}", each(*calls))).collect();
    [each(counts.iter().map(|(_, calls)| calls).sum()).into(), Cell::Text(which.join(", "))]
}

/// System calls by name, the most frequent first.
pub(super) type Counts = Vec<(String, u64)>;

/// The calls of so many answers, within a limit of time; and how many there were.
pub(super) fn sample<T: Talk>(
    bench: &Bench<'_>,
    built: &Built,
    (answers, limit): (u64, Duration),
    open: impl FnOnce(SocketAddr) -> Result<Steady<T>, String>,
) -> Result<(Counts, u64), String> {
    let server = bench.start(built, &Start::new(1))?;
    let mut load = open(server.address)?;
    load.run(Until::Answers(answers / 5, limit))?;
    let output = bench.scratch().join(format!("strace.{}", built.subject.name));
    let mut strace = attach(&server, &output)?;
    let requests = load.run(Until::Answers(answers, limit)).map(|tally| tally.requests);
    detach(&mut strace)?;
    let text = fs::read_to_string(&output).map_err(|error| format!("strace wrote nothing: {error}"))?;
    let counts = parse(&text);
    if counts.is_empty() {
        return Err("strace counted nothing".into());
    }
    Ok((counts, requests?))
}

/// Starts strace on the running server and waits until every thread is traced.
pub(super) fn attach(server: &Server, output: &Path) -> Result<Child, String> {
    let mut strace = Command::new("strace")
        .args(["-f", "-c", "-o"])
        .arg(output)
        .args(["-p", &server.id().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot run strace: {error}"))?;
    let traced = |task: &u32| {
        let text = fs::read_to_string(format!("/proc/{}/task/{task}/status", server.id())).unwrap_or_default();
        // A thread that has ended meanwhile has no status.
        status(&text, "TracerPid:").is_none_or(|tracer| tracer != 0)
    };
    let end = Instant::now() + Duration::from_secs(10);
    while !server.tasks().iter().all(traced) {
        let ended = strace.try_wait().map_err(|error| error.to_string())?.is_some();
        if ended || Instant::now() > end {
            detach(&mut strace)?;
            return Err("strace cannot attach".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(strace)
}

/// Interrupts strace, which then writes its summary and lets the server go.
pub(super) fn detach(strace: &mut Child) -> Result<(), String> {
    let id = Pid::from_raw(strace.id() as i32).ok_or("strace has no id")?;
    let end = Instant::now() + Duration::from_secs(10);
    while strace.try_wait().map_err(|error| error.to_string())?.is_none() {
        // An error means that it has just ended.
        let _ = kill_process(id, Signal::INT);
        if Instant::now() > end {
            let _ = strace.kill();
            let _ = strace.wait();
            return Err("strace does not end".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Reads `strace -c`: `% time, seconds, usecs/call, calls, [errors,] syscall`.
pub(super) fn parse(summary: &str) -> Counts {
    let line = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (time, calls, name) = (fields.first()?, fields.get(3)?, fields.last()?);
        time.parse::<f64>().ok()?;
        (*name != "total").then(|| Some((name.to_string(), calls.parse().ok()?)))?
    };
    let mut counts: Counts = summary.lines().filter_map(line).collect();
    counts.sort_by_key(|(_, calls)| std::cmp::Reverse(*calls));
    counts
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_the_summary_of_strace() {
        let summary = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n \
            60.00    0.000060           1        60           writev\n \
            40.00    0.000040           1       140        80 recvfrom\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.000100           1       200        80 total\n";
        assert_eq!(super::parse(summary), [("recvfrom".to_string(), 140), ("writev".to_string(), 60)]);
    }
}
