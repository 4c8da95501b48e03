//! `files`: a folder on keep-alive connections, as each server's own way to serve one has it; requests a second, and the server's CPU time and
//! peak memory.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Bench;
use super::echo::flow;
use crate::load::exchange::{connect, exchange};
use crate::load::{HELLO, get};
use crate::process::Start;
use crate::subjects::{Built, FOLDER, Route};
use crate::table::{Table, median};

const CONNECTIONS: usize = 16;
const LIMIT: Duration = Duration::from_secs(20);

/// Its name, and how many octets it has.
const CASES: [(&str, u64); 3] = [("4k", 4 << 10), ("64k", 64 << 10), ("8m", 8 << 20)];

pub fn run(bench: &Bench<'_>) -> Table {
    let (rounds, seconds) = (bench.options.rounds(), bench.options.seconds());
    let mut table = Table::new(
        "files",
        format!("files of a folder, {CONNECTIONS} keep-alive connections; rounds: {rounds}, of {seconds} s each"),
        &[
            ("4 KiB req/s", 0),
            ("CPU µs/req", 1),
            ("64 KiB req/s", 0),
            ("64 KiB CPU µs/req", 1),
            ("8 MiB MB/s", 0),
            ("8 MiB CPU ms/GiB", 0),
            ("peak MB", 0),
        ],
    );
    if let Err(error) = fill(&bench.scratch().join(FOLDER)) {
        table.row("all", Err(format!("the folder can't be made: {error}")));
        return table;
    }
    let all = bench.in_turn("files", Route::Files, rounds, |built| sample(bench, built));
    for (name, samples) in all {
        let row = samples.map(|samples| {
            let middle = |which: usize| median(samples.iter().map(|sample: &[f64; 7]| sample[which])).into();
            (0..7).map(middle).collect()
        });
        table.row(name, row);
    }
    table
}

fn fill(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("index.html"), HELLO)?;
    for (name, length) in CASES {
        let octets: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        fs::write(folder.join(name), octets)?;
    }
    Ok(())
}

/// What the columns are.
fn sample(bench: &Bench<'_>, built: &Built) -> Result<[f64; 7], String> {
    let server = bench.start(built, &Start::new(bench.workers()))?;
    let time = Duration::from_secs(bench.options.seconds());
    let mut flows = [[0.0; 3]; 3];
    for (measured, (name, length)) in flows.iter_mut().zip(CASES) {
        let request = get(&format!("/{name}"));
        let (begun, before) = (Instant::now(), server.cpu_time());
        let repeat = || -> Result<u64, String> {
            let mut stream = connect(server.address, None, LIMIT)?;
            let mut buffer = vec![0; 256 * 1024];
            let mut received = 0;
            while received == 0 || begun.elapsed() < time {
                let body = exchange(&mut stream, &mut buffer, [request.as_slice()], LIMIT)?.body;
                if body != length {
                    return Err(format!("/{name}: {body} bytes came of {length}"));
                }
                received += body;
            }
            Ok(received)
        };
        let received: Result<Vec<u64>, String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(repeat)).collect();
            threads.into_iter().map(|thread| thread.join().expect("the loader does not panic")).collect()
        });
        *measured = flow(received?.iter().sum(), &server, begun, before);
    }
    // Of requests, where they are small.
    let requests = |case: usize| {
        let [rate, cpu, _] = flows[case];
        let length = CASES[case].1 as f64;
        [rate * 1e6 / length, cpu * 1e3 / (1u64 << 30) as f64 * length]
    };
    let ([small, small_cpu], [middle, middle_cpu], [large, large_cpu, peak]) = (requests(0), requests(1), flows[2]);
    Ok([small, small_cpu, middle, middle_cpu, large, large_cpu, peak])
}
