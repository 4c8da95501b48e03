//! `get` and `pipeline`: requests a second, latency and CPU time of `GET /` on 64 keep-alive connections; once with the
//! server and the loader each on a CPU of its own, once with both free.

use std::time::{Duration, Instant};

use super::Bench;
use crate::load::steady::{Plan, Steady, Until};
use crate::process::{Start, cpu_time_of_others};
use crate::subjects::{BASE, Built, Route};
use crate::table::{Table, median};

const CONNECTIONS: usize = 64;

struct Sample {
    rate: f64,
    p50: f64,
    p99: f64,
    user: f64,
    system: f64,
    served: usize,
    others: f64,
}

pub fn run(bench: &Bench<'_>, depth: usize) -> Vec<Table> {
    [true, false].map(|pinned| table(bench, depth, pinned)).into()
}

fn table(bench: &Bench<'_>, depth: usize, pinned: bool) -> Table {
    let (name, what) = match (depth, pinned) {
        (1, true) => ("get-pinned", "get, pinned"),
        (1, false) => ("get-free", "get, not pinned"),
        (_, true) => ("pipeline-pinned", "pipeline, pinned"),
        (_, false) => ("pipeline-free", "pipeline, not pinned"),
    };
    let pipelined = if depth > 1 { format!(", {depth} requests pipelined") } else { String::new() };
    let placed = if pinned { "server on one CPU, loader on another" } else { "not pinned" };
    let (rounds, seconds) = (bench.options.rounds(), bench.options.seconds());
    let mut table = Table::new(
        name,
        format!("GET /, {CONNECTIONS} keep-alive connections{pipelined}, {placed}; rounds: {rounds}, of {seconds} s"),
        &[
            ("req/s", 0),
            ("min", 0),
            ("max", 0),
            ("of bare-hyper", 2),
            ("p50 ms", 2),
            ("p99 ms", 2),
            ("user µs/req", 2),
            ("sys µs/req", 2),
            ("served", 0),
            ("others %", 0),
        ],
    );
    let cpus = match (pinned, bench.cpus.as_slice()) {
        (false, _) => None,
        (true, [server, loader, ..]) => Some((*server, *loader)),
        (true, _) => {
            table.row("all", Err("pinning needs two CPUs".into()));
            return table;
        }
    };
    let all = bench.in_turn(what, Route::Hello, rounds, |built| sample(bench, built, depth, cpus));
    let rate = |samples: &[Sample]| median(samples.iter().map(|sample| sample.rate));
    let base = all.iter().find(|(name, _)| *name == BASE).and_then(|(_, samples)| samples.as_ref().ok());
    let base: Option<Vec<f64>> = base.map(|samples| samples.iter().map(|sample| sample.rate).collect());
    // Within a round: the machine is not equally fast in all of them.
    let ratio = |samples: &[Sample]| {
        let base = base.as_ref()?;
        Some(median(samples.iter().zip(base).map(|(sample, base)| sample.rate / base)))
    };
    for (name, samples) in all {
        let row = samples.map(|samples| {
            let of = |value: fn(&Sample) -> f64| samples.iter().map(value);
            vec![
                rate(&samples).into(),
                of(|sample| sample.rate).fold(f64::INFINITY, f64::min).into(),
                of(|sample| sample.rate).fold(0.0, f64::max).into(),
                ratio(&samples).into(),
                median(of(|sample| sample.p50)).into(),
                median(of(|sample| sample.p99)).into(),
                median(of(|sample| sample.user)).into(),
                median(of(|sample| sample.system)).into(),
                median(of(|sample| sample.served as f64)).into(),
                median(of(|sample| sample.others)).into(),
            ]
        });
        table.row(name, row);
    }
    table
}

fn sample(bench: &Bench<'_>, built: &Built, depth: usize, cpus: Option<(usize, usize)>) -> Result<Sample, String> {
    let mut start = Start::new(if cpus.is_some() { 1 } else { bench.workers() });
    start.cpu = cpus.map(|(server, _)| server);
    let server = bench.start(built, &start)?;
    let plan = Plan {
        path: "/",
        fields: 1,
        connections: CONNECTIONS,
        depth,
        threads: if cpus.is_some() { 1 } else { bench.workers() },
        cpu: cpus.map(|(_, loader)| loader),
        tls: None,
    };
    let mut load = Steady::open(server.address, &plan)?;
    let warm_up = if bench.options.quick { 300 } else { 1000 };
    load.run(Until::Time(Duration::from_millis(warm_up)))?;
    let (begun, before, others) = (Instant::now(), server.cpu_time(), cpu_time_of_others());
    let tally = load.run(Until::Time(Duration::from_secs(bench.options.seconds())))?;
    let (after, others) = (server.cpu_time(), cpu_time_of_others() - others);
    let (user, system) = (after.user - before.user, after.system - before.system);
    let machine =
        begun.elapsed().as_secs_f64() * 1e6 * std::thread::available_parallelism().map_or(1, usize::from) as f64;
    Ok(Sample {
        rate: tally.rate(),
        p50: tally.milliseconds(0.5),
        p99: tally.milliseconds(0.99),
        user: user / tally.requests as f64,
        system: system / tally.requests as f64,
        served: tally.served,
        others: ((others - user - system) / machine * 100.0).max(0.0),
    })
}
