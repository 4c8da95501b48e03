//! `growth`: what more of something costs: instructions of a request with more fields, memory of more idle connections, CPU time of longer bodies. What is the same
//! in each column grows with what there is of it.

use std::time::{Duration, Instant};

use super::Bench;
use super::idle::{crowd_size, growth, patience, settled};
use super::installed;
use super::instructions::{CONNECTIONS, REQUESTS, count};
use crate::load::crowd::Crowd;
use crate::load::exchange::{connect, exchange};
use crate::load::get;
use crate::load::steady::{Plan, Steady};
use crate::process::Start;
use crate::subjects::{Built, Route};
use crate::table::{Cell, Table};

/// How many fields a request has.
const FIELDS: [usize; 3] = [5, 20, 80];
const FEW: usize = 1000;
/// Octets of a body, and those of a chunk.
const BODIES: [(u64, u64); 5] =
    [(1 << 10, 1 << 10), (64 << 10, 64 << 10), (1 << 20, 64 << 10), (64 << 20, 64 << 10), (1 << 30, 64 << 10)];
const LIMIT: Duration = Duration::from_secs(60);

pub fn run(bench: &Bench<'_>) -> Table {
    let most = crowd_size(bench);
    let mut table = Table::new(
        "growth",
        format!(
            "how cost grows: fields of GET /, idle connections (1000, and {most}), octets of GET /stream; bodies: {} s each",
            bench.options.seconds()
        ),
        &[
            ("5 fields Ir/req", 0),
            ("20 fields", 0),
            ("80 fields", 0),
            ("1000 idle bytes each", 0),
            ("most idle bytes each", 0),
            ("1 KiB CPU µs", 1),
            ("64 KiB CPU µs", 1),
            ("1 MiB CPU µs", 0),
            ("64 MiB CPU ms", 1),
            ("1 GiB CPU ms", 0),
        ],
    );
    for (name, samples) in bench.in_turn("growth", Route::Growth, 1, |built| sample(bench, built, most)) {
        table.row(name, samples.map(|mut samples| samples.remove(0)));
    }
    table
}

fn sample(bench: &Bench<'_>, built: &Built, most: usize) -> Result<Vec<Cell>, String> {
    let mut cells = Vec::new();
    for fields in FIELDS {
        let counted = installed("valgrind").then(|| {
            let plan = Plan { path: "/", fields, connections: CONNECTIONS, depth: 1, threads: 1, cpu: None, tls: None };
            count(bench, built, Start::new(1), (REQUESTS, LIMIT), |address| Steady::open(address, &plan))
        });
        cells.push(counted.transpose()?.into());
    }
    for crowd in [FEW, most] {
        let server = bench.start(built, &Start::new(bench.workers()))?;
        let before = settled(&server);
        let mut members = Crowd::open(server.address, crowd, "/")?;
        members.attend(Instant::now() + patience(bench))?;
        let answered = members.answered().len();
        std::thread::sleep(Duration::from_millis(500));
        cells.push(growth(before, server.resident(), answered).into());
    }
    let server = bench.start(built, &Start::new(bench.workers()))?;
    let mut stream = connect(server.address, None, LIMIT)?;
    let mut buffer = vec![0; 256 * 1024];
    for (length, size) in BODIES {
        let request = get(&format!("/stream?n={}&size={size}", length / size));
        let (begun, before, mut bodies) = (Instant::now(), server.cpu_time(), 0.0);
        while bodies == 0.0 || begun.elapsed() < Duration::from_secs(bench.options.seconds()) {
            let body = exchange(&mut stream, &mut buffer, [request.as_slice()], LIMIT)?.body;
            if body != length {
                return Err(format!("{body} bytes came of {length}"));
            }
            bodies += 1.0;
        }
        let after = server.cpu_time();
        let micros = (after.user - before.user + after.system - before.system) / bodies;
        cells.push(if length < 64 << 20 { micros } else { micros / 1e3 }.into());
    }
    Ok(cells)
}
