//! `growth`: what more of something costs: instructions of a request with more fields, memory of more idle connections, CPU time of longer bodies. What is the same
//! in each column grows with what there is of it. A second table has the instructions of longer bodies, which are drawn, too (`--plot`).

use std::time::{Duration, Instant};

use super::Bench;
use super::idle::{crowd_size, growth, patience, settled};
use super::installed;
use super::instructions::{self, CONNECTIONS, REQUESTS, control, count};
use crate::load::crowd::Crowd;
use crate::load::exchange::{connect, exchange};
use crate::load::get;
use crate::load::steady::{Plan, Steady};
use crate::load::wire::Wire;
use crate::plot::Plot;
use crate::process::Start;
use crate::subjects::{Built, Route};
use crate::table::{Cell, Table};

/// How many fields a request has.
const FIELDS: [usize; 3] = [5, 20, 80];
const FEW: usize = 1000;
/// Octets of a body, and those of a chunk.
const BODIES: [(u64, u64); 5] =
    [(1 << 10, 1 << 10), (64 << 10, 64 << 10), (1 << 20, 64 << 10), (64 << 20, 64 << 10), (1 << 30, 64 << 10)];
/// Octets of a body whose instructions are counted, in pieces so short that filling one is next to nothing.
const COUNTED: [(&str, u64); 8] = [
    ("1 KiB", 1 << 10),
    ("4 KiB", 4 << 10),
    ("16 KiB", 16 << 10),
    ("64 KiB", 64 << 10),
    ("256 KiB", 256 << 10),
    ("1 MiB", 1 << 20),
    ("4 MiB", 4 << 20),
    ("16 MiB", 16 << 20),
];
const PIECE: u64 = 1 << 10;
const LIMIT: Duration = Duration::from_secs(60);

pub fn run(bench: &Bench<'_>) -> Vec<Table> {
    vec![costs(bench), bodies(bench)]
}

fn costs(bench: &Bench<'_>) -> Table {
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
            fetch(&mut stream, &mut buffer, &request, length)?;
            bodies += 1.0;
        }
        let after = server.cpu_time();
        let micros = (after.user - before.user + after.system - before.system) / bodies;
        cells.push(if length < 64 << 20 { micros } else { micros / 1e3 }.into());
    }
    Ok(cells)
}

fn fetch(stream: &mut Wire, buffer: &mut [u8], request: &[u8], length: u64) -> Result<(), String> {
    match exchange(stream, buffer, [request], LIMIT)?.body {
        body if body == length => Ok(()),
        body => Err(format!("{body} bytes came of {length}")),
    }
}

/// Instructions of bodies, as a table and, where it is wanted, as a plot.
fn bodies(bench: &Bench<'_>) -> Table {
    let title = format!("instructions (user space) of GET /stream by its octets, in pieces of {PIECE}; one connection");
    let mut table = Table::new("growth-bodies", title.clone(), &COUNTED.map(|(name, _)| (name, 0)));
    let mut lines = Vec::new();
    for (name, samples) in bench.in_turn("growth, bodies", Route::Growth, 1, |built| instructions_of(bench, built)) {
        if let Ok([counted]) = samples.as_deref() {
            let lengths = COUNTED.iter().map(|(_, length)| *length as f64);
            lines.push((name.to_string(), lengths.zip(counted.iter().copied()).collect()));
        }
        table.row(name, samples.map(|samples| samples[0].map(Into::into).into()));
    }
    if let Some(path) = &bench.options.plot {
        let ticks = COUNTED.map(|(name, length)| (length as f64, name.to_string())).into();
        let (x, y) = ("octets of the body", "instructions of the server");
        let title = format!("Instructions of a response, in pieces of {PIECE} octets");
        let written = std::fs::write(path, Plot { title, x, y, ticks, lines }.svg());
        if let Err(error) = written {
            table.row("the plot", Err(format!("cannot write {}: {error}", path.display())));
        }
    }
    table
}

/// Of one body of each length.
fn instructions_of(bench: &Bench<'_>, built: &Built) -> Result<[f64; COUNTED.len()], String> {
    if !installed("valgrind") || !installed("callgrind_control") {
        return Err("valgrind is not installed".into());
    }
    let output = bench.scratch().join(format!("callgrind.bodies.{}", built.subject.name));
    let mut start = Start::new(1);
    start.patience = LIMIT;
    start.under = instructions::under(&output);
    let server = bench.start(built, &start)?;
    let mut stream = connect(server.address, None, LIMIT)?;
    let mut buffer = vec![0; 256 * 1024];
    let mut counted = [0.0; COUNTED.len()];
    for (which, (_, length)) in COUNTED.iter().enumerate() {
        let request = get(&format!("/stream?n={}&size={PIECE}", length / PIECE));
        // So many that what is done once is little.
        let bodies = ((4 << 20) / length).clamp(2, 500);
        fetch(&mut stream, &mut buffer, &request, *length)?;
        control(&server, "-z")?;
        for _ in 0..bodies {
            fetch(&mut stream, &mut buffer, &request, *length)?;
        }
        control(&server, "-d")?;
        counted[which] = instructions::total(&output, which + 1)? as f64 / bodies as f64;
    }
    Ok(counted)
}
