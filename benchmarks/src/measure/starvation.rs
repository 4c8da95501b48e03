//! `starvation`: whether anyone else is answered while long polls, idle keep-alive connections and slow clients are
//! there, none of which has any work to be done.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Bench;
use crate::load::crowd::Crowd;
use crate::load::exchange::probe;
use crate::load::slow::Slow;
use crate::process::Start;
use crate::subjects::{Built, Route};
use crate::table::Table;

const SLEEPERS: usize = 100;
const IDLE: usize = 1_000;
const SLOW: usize = 100;

/// The probes: how many, how far apart, and how long each may take.
pub struct Probes {
    pub count: u32,
    pub every: Duration,
    pub limit: Duration,
}

impl Probes {
    pub fn new(bench: &Bench<'_>) -> Self {
        let (count, limit) = if bench.options.quick { (10, 2) } else { (40, 5) };
        Self { count, every: Duration::from_millis(100), limit: Duration::from_secs(limit) }
    }

    /// Each on a new connection and on its own thread, so that a hanging one delays no other. The times of those that
    /// were answered, in order.
    pub fn send(&self, address: SocketAddr) -> Vec<Duration> {
        std::thread::scope(|scope| {
            let begun = Instant::now();
            let threads: Vec<_> = (0..self.count)
                .map(|index| {
                    scope.spawn(move || {
                        std::thread::sleep((begun + self.every * index).saturating_duration_since(Instant::now()));
                        probe(address, self.limit).ok()
                    })
                })
                .collect();
            let mut times: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect();
            times.sort_unstable();
            times
        })
    }
}

struct Sample {
    times: Vec<Duration>,
    idle: usize,
    slow: usize,
    threads: f64,
}

pub fn run(bench: &Bench<'_>) -> Table {
    let probes = Probes::new(bench);
    let title = format!(
        "{} probes GET /, one every {} ms, each on a new connection ({} s limit), while {SLEEPERS} clients sit in \
         /sleep?ms=10000, {IDLE} keep-alive connections are idle and {SLOW} send one header byte a second",
        probes.count,
        probes.every.as_millis(),
        probes.limit.as_secs(),
    );
    let columns = [("answered", 0), ("p50 ms", 2), ("max ms", 2), ("idle open", 0), ("slow open", 0), ("threads", 0)];
    let mut table = Table::new("starvation", title, &columns);
    for (name, samples) in bench.in_turn("starvation", Route::Sleep, 1, |built| sample(bench, built, &probes)) {
        let row = samples.map(|samples| {
            let Sample { times, idle, slow, threads } = &samples[0];
            let milliseconds = |time: Option<&Duration>| time.map(|time| time.as_secs_f64() * 1e3).into();
            vec![
                format!("{} of {}", times.len(), probes.count).into(),
                milliseconds(times.get(times.len() / 2)),
                milliseconds(times.last()),
                (*idle as f64).into(),
                (*slow as f64).into(),
                (*threads).into(),
            ]
        });
        table.row(name, row);
    }
    table
}

fn sample(bench: &Bench<'_>, built: &Built, probes: &Probes) -> Result<Sample, String> {
    let server = bench.start(built, &Start::new(bench.workers()))?;
    let mut idle = Crowd::open(server.address, IDLE, "/")?;
    idle.attend(Instant::now() + Duration::from_secs(3))?;
    let slow = Slow::open(server.address, SLOW);
    let mut sleepers = Crowd::open(server.address, SLEEPERS, "/sleep?ms=10000")?;
    sleepers.attend(Instant::now() + Duration::from_millis(500))?;
    let times = probes.send(server.address);
    idle.notice()?;
    let threads = server.threads() as f64;
    Ok(Sample { times, idle: idle.idle(), slow: slow.end(), threads })
}
