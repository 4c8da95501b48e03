//! `stream`: a response of 100,000 chunks of 1 KiB, from an async stream and from a blocking iterator; MB/s, and the
//! server's CPU time and peak memory.

use std::time::{Duration, Instant};

use super::Bench;
use super::echo::{Flow, cells, flow};
use crate::load::exchange::{connect, exchange};
use crate::load::get;
use crate::process::Start;
use crate::subjects::{Built, Route};
use crate::table::{Cell, Table};

const CHUNKS: u64 = 100_000;
const SIZE: u64 = 1024;
const LIMIT: Duration = Duration::from_secs(20);

const CASES: [(Route, &str); 2] = [(Route::Stream, "/stream"), (Route::StreamBlocking, "/stream-blocking")];

pub fn run(bench: &Bench<'_>) -> Table {
    let (rounds, seconds) = (bench.options.rounds(), bench.options.seconds());
    let mut table = Table::new(
        "stream",
        format!("GET /stream and /stream-blocking, {CHUNKS} chunks of {SIZE} bytes; rounds: {rounds}, of {seconds} s"),
        &[
            ("stream MB/s", 0),
            ("CPU ms/GiB", 0),
            ("peak MB", 0),
            ("blocking MB/s", 0),
            ("blocking CPU ms/GiB", 0),
            ("blocking peak MB", 0),
        ],
    );
    let all = bench.in_turn("stream", Route::Stream, rounds, |built| {
        Ok(CASES.map(|(route, path)| built.subject.has(route).then(|| sample(bench, built, path))))
    });
    for (name, samples) in all {
        let row = samples.map(|samples| {
            let cells = (0..CASES.len()).flat_map(|case| {
                let flows: Option<Vec<&Flow>> = samples.iter().map(|sample| sample[case].as_ref()).collect();
                flows.map_or([const { Cell::Nothing }; 3], |flows| cells(flows.into_iter()))
            });
            cells.collect()
        });
        table.row(name, row);
    }
    table
}

fn sample(bench: &Bench<'_>, built: &Built, path: &str) -> Flow {
    let server = bench.start(built, &Start::new(bench.workers()))?;
    let request = get(&format!("{path}?n={CHUNKS}&size={SIZE}"));
    let time = Duration::from_secs(bench.options.seconds());
    let mut stream = connect(server.address, None, LIMIT)?;
    let mut buffer = vec![0; 256 * 1024];
    let mut received = 0;
    let (begun, before) = (Instant::now(), server.cpu_time());
    while received == 0 || begun.elapsed() < time {
        let body = exchange(&mut stream, &mut buffer, [request.as_slice()], LIMIT)?.body;
        if body != CHUNKS * SIZE {
            return Err(format!("{body} bytes came of {}", CHUNKS * SIZE));
        }
        received += body;
    }
    Ok(flow(received, &server, begun, before))
}
