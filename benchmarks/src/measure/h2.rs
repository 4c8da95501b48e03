//! `h2`: HTTP/2 by prior knowledge. A table for instructions a request, one for their ratio to the base, one for CPU time and one for requests a
//! second, all loaded by nghttp2's h2load; and one for the memory of what is open and idle.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::idle::growth;
use super::instructions::{self, control};
use super::{Bench, Samples, installed};
use crate::load::multiplexed::{Multiplexed, greeted, probe};
use crate::process::{Server, Start};
use crate::subjects::{BASE_H2, Built, Route};
use crate::table::{Cell, Table, median};

const CONNECTIONS: usize = 16;
const BODY: usize = 64 << 10;

#[derive(Clone, Copy, PartialEq)]
enum What {
    /// `GET /`.
    Hello,
    /// `GET /stream`, in one piece.
    Down,
    /// `POST /count`, which answers with the body's length.
    Up,
}

use What::*;

/// What is asked for, and how many streams a connection has at a time.
const CASES: [(&str, What, usize); 6] = [
    ("GET / of 1", Hello, 1),
    ("GET / of 32", Hello, 32),
    ("down of 1", Down, 1),
    ("down of 32", Down, 32),
    ("up of 1", Up, 1),
    ("up of 32", Up, 32),
];

/// A figure for each of some cases, or why there is none.
type Figures<const N: usize> = [Result<f64, String>; N];

const LIMIT: Duration = Duration::from_secs(20);
/// Connections that wait for streams, and the streams of each.
const WAITING: (usize, usize) = (100, 32);

pub fn run(bench: &Bench<'_>) -> Vec<Table> {
    let (rounds, seconds) = (bench.options.rounds(), bench.options.seconds());
    let counts = bench.in_turn("h2, instructions", Route::Http2, 1, |built| {
        Ok(CASES.map(|(_, what, streams)| count(bench, built, what, streams)))
    });
    let base = counts.iter().find(|(name, _)| *name == BASE_H2);
    let ratios = base.and_then(|(_, samples)| samples.as_ref().ok()?.first()).map(|base| {
        let ratio = |own: &Figures<6>| std::array::from_fn(|which| Ok(own[which].clone()? / base[which].clone()?));
        let all = counts.iter().map(|(name, own)| (*name, own.clone().map(|own| own.iter().map(ratio).collect())));
        all.collect()
    });
    let rates = bench.in_turn("h2", Route::Http2, rounds, |built| {
        Ok(CASES.map(|(_, what, streams)| rate(bench, built, what, streams)))
    });
    // Either of the two figures of a rate.
    let part = |which: usize| {
        let of = |round: &[Result<[f64; 2], String>; 6]| round.clone().map(|rate| Ok(rate?[which]));
        let all = rates.iter().map(|(name, samples)| (*name, samples.clone().map(|all| all.iter().map(of).collect())));
        all.collect::<Vec<_>>()
    };
    let cases = CASES.map(|(name, ..)| name);
    let load = format!("HTTP/2, {CONNECTIONS} connections of 1 and of 32 streams: GET /, bodies of 64 KiB down and up");
    let timed = format!("rounds: {rounds}, of {seconds} s each");
    let instructions = format!("{load}: instructions (user space) a request");
    let mut tables = vec![table("h2-instructions", instructions, (cases, 0), counts)];
    tables.extend(
        ratios.map(|ratios| table("h2-of-base", format!("{load}: instructions, of {BASE_H2}'s"), (cases, 2), ratios)),
    );
    tables.extend([
        table("h2-cpu", format!("{load}: CPU µs a request; {timed}"), (cases, 1), part(1)),
        table("h2-rate", format!("{load}: requests a second; {timed}"), (cases, 0), part(0)),
        memory(bench),
    ]);
    tables
}

/// The median of each figure.
fn table<const N: usize>(
    name: &'static str,
    title: String,
    (columns, decimals): ([&'static str; N], usize),
    all: Vec<Samples<Figures<N>>>,
) -> Table {
    let mut table = Table::new(name, title, &columns.map(|column| (column, decimals)));
    for (name, samples) in all {
        let middle = |samples: &[Figures<N>], which: usize| -> Cell {
            let figures: Result<Vec<f64>, String> = samples.iter().map(|sample| sample[which].clone()).collect();
            figures.map(median).into()
        };
        table.row(name, samples.map(|samples| (0..N).map(|which| middle(&samples, which)).collect()));
    }
    table
}

fn routes(built: &Built) -> Result<(), String> {
    let has = built.subject.has(Route::Http2Routes);
    if has { Ok(()) } else { Err("it serves files, and has neither POST /count nor GET /sleep".into()) }
}

fn start(bench: &Bench<'_>, built: &Built, mut start: Start) -> Result<Server, String> {
    start.ready = probe;
    bench.start(built, &start)
}

/// Instructions a request.
fn count(bench: &Bench<'_>, built: &Built, what: What, streams: usize) -> Result<f64, String> {
    if let Some(missing) = ["h2load", "valgrind", "callgrind_control"].into_iter().find(|program| !installed(program)) {
        return Err(format!("{missing} is not installed"));
    }
    let (warm, requests) = if what == Hello { ("2000", instructions::REQUESTS) } else { ("600", 2000) };
    let load = Load::new(bench, built, what, streams)?;
    let output = bench.scratch().join(format!("callgrind.h2.{}.{}.{streams}", built.subject.name, what as u8));
    let mut under = Start::new(1);
    under.patience = Duration::from_secs(60);
    under.under = instructions::under(&output);
    let server = start(bench, built, under)?;
    load.run(server.address, ["-n", warm])?;
    control(&server, "-z")?;
    let answered = load.run(server.address, ["-n", &requests.to_string()])?;
    control(&server, "-d")?;
    Ok(instructions::total(&output, 1)? as f64 / answered as f64)
}

/// Requests a second, and CPU microseconds of the server for each.
fn rate(bench: &Bench<'_>, built: &Built, what: What, streams: usize) -> Result<[f64; 2], String> {
    let load = Load::new(bench, built, what, streams)?;
    let server = start(bench, built, Start::new(bench.workers()))?;
    load.run(server.address, ["-n", "2000"])?;
    let (begun, before) = (Instant::now(), server.cpu_time());
    let requests = load.run(server.address, ["-D", &bench.options.seconds().to_string()])? as f64;
    let (after, elapsed) = (server.cpu_time(), begun.elapsed().as_secs_f64());
    let cpu = after.user + after.system - before.user - before.system;
    Ok([requests / elapsed, cpu / requests])
}

/// h2load's arguments, but for how much and where.
struct Load {
    arguments: Vec<String>,
    path: String,
}

impl Load {
    fn new(bench: &Bench<'_>, built: &Built, what: What, streams: usize) -> Result<Self, String> {
        let mut arguments: Vec<String> = ["-t", "1", "-c"].map(String::from).into();
        arguments.extend([CONNECTIONS.to_string(), "-m".into(), streams.to_string()]);
        let path = match what {
            Hello => "/".into(),
            Down => format!("/stream?n=1&size={BODY}"),
            Up => {
                routes(built)?;
                arguments.extend(["-d".into(), upload(bench)?.display().to_string()]);
                "/count".into()
            }
        };
        Ok(Self { arguments, path })
    }

    /// Loads the server; how many requests were answered, all of them by a 200.
    fn run(&self, address: SocketAddr, much: [&str; 2]) -> Result<u64, String> {
        let output = Command::new("h2load")
            .args(&self.arguments)
            .args(much)
            .arg(format!("http://{address}{}", self.path))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot run h2load: {error}"))?;
        answered(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| "h2load saw requests that failed".into())
    }
}

/// The file that is sent.
fn upload(bench: &Bench<'_>) -> Result<PathBuf, String> {
    let path = bench.scratch().join("upload");
    std::fs::write(&path, [b'x'; BODY]).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(path)
}

fn memory(bench: &Bench<'_>) -> Table {
    let most = bench.files.saturating_sub(200) as usize;
    let idle = if bench.options.quick { 200 } else { 1_000 }.min(most);
    let title = format!(
        "HTTP/2: memory of {idle} connections on which GET / was answered, and of {} streams on each of {} whose GET /sleep waits",
        WAITING.1, WAITING.0
    );
    let all = bench.in_turn("h2, memory", Route::Http2, 1, |built| {
        Ok([idle_connections(bench, built, idle), waiting_streams(bench, built)])
    });
    table("h2-memory", title, (["bytes/connection", "bytes/stream"], 0), all)
}

/// Growth of resident memory for each connection.
fn idle_connections(bench: &Bench<'_>, built: &Built, count: usize) -> Result<f64, String> {
    let server = start(bench, built, Start::new(bench.workers()))?;
    let before = settled(&server)?;
    let open = open(&server, count)?;
    let after = server.resident();
    Ok(growth(before, after, open.len()))
}

/// Growth of resident memory for each stream; that of its connection is not in it.
fn waiting_streams(bench: &Bench<'_>, built: &Built) -> Result<f64, String> {
    routes(built)?;
    let server = start(bench, built, Start::new(bench.workers()))?;
    settled(&server)?;
    let (connections, streams) = WAITING;
    let mut open = open(&server, connections)?;
    let before = server.resident();
    let (begun, nap) = (Instant::now(), Duration::from_secs(if bench.options.quick { 2 } else { 5 }));
    for connection in &mut open {
        connection.ask(&format!("/sleep?ms={}", nap.as_millis()), streams)?;
    }
    // Late enough for all to have been read, too early for any to be answered.
    std::thread::sleep((nap * 4 / 5).saturating_sub(begun.elapsed()));
    let during = server.resident();
    if begun.elapsed() > nap {
        return Err("the machine is too busy: some were answered already".into());
    }
    for connection in &mut open {
        connection.answers(streams)?;
    }
    Ok(growth(before, during, connections * streams))
}

/// The resident memory of a server that has answered a few requests.
fn settled(server: &Server) -> Result<u64, String> {
    for _ in 0..50 {
        probe(server.address, LIMIT)?;
    }
    Ok(server.resident())
}

/// Connections that are open, and have been idle for half a second.
fn open(server: &Server, count: usize) -> Result<Vec<Multiplexed>, String> {
    let open = (0..count).map(|_| greeted(server.address, LIMIT)).collect();
    std::thread::sleep(Duration::from_millis(500));
    open
}

/// What h2load says of them: `requests: 10 total, 10 started, 10 done, 10 succeeded, 0 failed, 0 errored, 0 timeout`.
fn answered(report: &str) -> Option<u64> {
    let line = report.lines().find_map(|line| line.strip_prefix("requests: "))?;
    let number = |what: &str| {
        let part = line.split(", ").find(|part| part.ends_with(what))?;
        part.split(' ').next()?.parse::<u64>().ok()
    };
    let succeeded = number(" succeeded")?;
    // Those under way when the time is over count as nothing.
    (succeeded > 0 && number(" failed")? == 0 && number(" errored")? == 0).then_some(succeeded)
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_what_h2load_says() {
        let line = |rest: &str| format!("finished in 1s\nrequests: 12 total, 12 started, {rest}\nstatus codes: …\n");
        let good = line("12 done, 11 succeeded, 0 failed, 0 errored, 0 timeout");
        assert_eq!(super::answered(&good), Some(11));
        assert_eq!(super::answered(&line("12 done, 11 succeeded, 1 failed, 1 errored, 0 timeout")), None);
        assert_eq!(super::answered("nothing"), None);
    }
}
