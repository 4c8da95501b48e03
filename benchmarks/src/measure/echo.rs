//! `echo`: bodies sent and read back at the same time; MB/s one way, and the server's CPU time and peak memory.

use std::time::{Duration, Instant};

use super::Bench;
use crate::load::exchange::{connect, exchange};
use crate::load::response::Response;
use crate::load::wire::Wire;
use crate::process::{CpuTime, Server, Start};
use crate::subjects::{Built, Route};
use crate::table::{Cell, Table, median};

const MIB: usize = 1024 * 1024;
const BLOCK: usize = 64 * 1024;
/// For one exchange.
const LIMIT: Duration = Duration::from_secs(20);

/// One way of sending a body.
struct Case {
    connections: usize,
    length: usize,
    chunked: bool,
}

const CASES: [Case; 3] = [
    Case { connections: 4, length: MIB, chunked: false },
    Case { connections: 1, length: 64 * MIB, chunked: false },
    Case { connections: 1, length: 64 * MIB, chunked: true },
];

pub fn run(bench: &Bench<'_>) -> Table {
    let (rounds, seconds) = (bench.options.rounds(), bench.options.seconds());
    let mut table = Table::new(
        "echo",
        format!("POST /echo, MB/s one way, CPU time and peak resident memory; rounds: {rounds}, of {seconds} s each"),
        &[
            ("4 × 1 MiB MB/s", 0),
            ("CPU ms/GiB", 0),
            ("peak MB", 0),
            ("64 MiB MB/s", 0),
            ("64 MiB CPU ms/GiB", 0),
            ("64 MiB peak MB", 0),
            ("64 MiB chunked MB/s", 0),
            ("chunked CPU ms/GiB", 0),
            ("chunked peak MB", 0),
        ],
    );
    let all =
        bench.in_turn("echo", Route::Echo, rounds, |built| Ok(CASES.each_ref().map(|case| sample(bench, built, case))));
    for (name, samples) in all {
        let row = samples.map(|samples| {
            let cells = (0..CASES.len()).flat_map(|case| cells(samples.iter().map(|sample| &sample[case])));
            cells.collect()
        });
        table.row(name, row);
    }
    table
}

/// MB/s, the server's CPU time in ms for each GiB, and the peak in MB.
pub type Flow = Result<[f64; 3], String>;

/// The medians of one case, or the first failure.
pub fn cells<'a>(samples: impl Iterator<Item = &'a Flow>) -> [Cell; 3] {
    match samples.cloned().collect::<Result<Vec<_>, _>>() {
        Ok(flows) => [0, 1, 2].map(|which| median(flows.iter().map(|flow| flow[which])).into()),
        Err(reason) => [format!("fails: {reason}").into(), Cell::Nothing, Cell::Nothing],
    }
}

/// What came of `octets` that `server` has moved since `begun`, when it had had the CPU time `before`.
pub fn flow(octets: u64, server: &Server, begun: Instant, before: CpuTime) -> [f64; 3] {
    let (seconds, octets) = (begun.elapsed().as_secs_f64(), octets as f64);
    let after = server.cpu_time();
    let cpu = (after.user - before.user + after.system - before.system) / 1e3;
    [octets / 1e6 / seconds, cpu / octets * (1u64 << 30) as f64, server.peak() as f64 * 1024.0 / 1e6]
}

fn sample(bench: &Bench<'_>, built: &Built, case: &Case) -> Flow {
    let server = bench.start(built, &Start::new(bench.workers()))?;
    let time = Duration::from_secs(bench.options.seconds());
    let (begun, before) = (Instant::now(), server.cpu_time());
    let repeat = || -> Result<u64, String> {
        let mut stream = connect(server.address, None, LIMIT)?;
        let mut buffer = vec![0; 4 * BLOCK];
        let mut sent = 0;
        while sent == 0 || begun.elapsed() < time {
            let Response { body, close, .. } = case.send(&mut stream, &mut buffer)?;
            if body != case.length as u64 {
                return Err(format!("{body} bytes came back of {}", case.length));
            }
            sent += body;
            // actix-web closes a connection on which it has begun to answer before the request had ended.
            if close {
                stream = connect(server.address, None, LIMIT)?;
            }
        }
        Ok(sent)
    };
    let sent: Result<Vec<u64>, String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..case.connections).map(|_| scope.spawn(repeat)).collect();
        threads.into_iter().map(|thread| thread.join().expect("the loader does not panic")).collect()
    });
    Ok(flow(sent?.iter().sum(), &server, begun, before))
}

impl Case {
    /// One request with this body.
    fn send(&self, stream: &mut Wire, buffer: &mut [u8]) -> Result<Response, String> {
        let block = [b'x'; BLOCK];
        let blocks = self.length / BLOCK;
        if self.chunked {
            let head = "POST /echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
            let chunk = [format!("{BLOCK:x}\r\n").as_bytes(), &block, b"\r\n"].concat();
            let chunks = std::iter::repeat_n(chunk.as_slice(), blocks);
            let end = std::iter::once(&b"0\r\n\r\n"[..]);
            exchange(stream, buffer, std::iter::once(head.as_bytes()).chain(chunks).chain(end), LIMIT)
        } else {
            let head = format!("POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", self.length);
            let body = std::iter::repeat_n(block.as_slice(), blocks);
            exchange(stream, buffer, std::iter::once(head.as_bytes()).chain(body), LIMIT)
        }
    }
}
