//! `stalling`: what becomes of a server whose handlers block their own threads, as code does that knows nothing of event
//! loops: requests a second.

use std::time::Duration;

use super::Bench;
use crate::load::steady::{Plan, Steady, Until};
use crate::process::Start;
use crate::subjects::{Built, Route};
use crate::table::{Table, median};

const CONNECTIONS: usize = 200;
const PATH: &str = "/stall?ms=50";

pub fn run(bench: &Bench<'_>) -> Table {
    let (rounds, seconds) = (bench.options.rounds(), bench.options.seconds());
    let title = format!(
        "GET {PATH} on {CONNECTIONS} keep-alive connections, whose handler (axum) sleeps on its own thread; rounds: \
         {rounds}, of {seconds} s"
    );
    let mut table = Table::new("stalling", title, &[("req/s", 0), ("p50 ms", 0), ("p99 ms", 0), ("threads", 0)]);
    for (name, samples) in bench.in_turn("stalling", Route::Stall, rounds, |built| sample(bench, built)) {
        let row = samples.map(|samples| {
            (0..4).map(|column| median(samples.iter().map(|sample: &[f64; 4]| sample[column])).into()).collect()
        });
        table.row(name, row);
    }
    table
}

fn sample(bench: &Bench<'_>, built: &Built) -> Result<[f64; 4], String> {
    let server = bench.start(built, &Start::new(bench.workers()))?;
    let plan = Plan { path: PATH, fields: 1, connections: CONNECTIONS, depth: 1, threads: 1, cpu: None, tls: None };
    let mut load = Steady::open(server.address, &plan)?;
    let tally = load.run(Until::Time(Duration::from_secs(bench.options.seconds())))?;
    Ok([tally.rate(), tally.milliseconds(0.5), tally.milliseconds(0.99), server.threads() as f64])
}
