//! `blocking`: whether `GET /` is answered, and how soon, while 200 requests block their threads.

use std::time::{Duration, Instant};

use super::Bench;
use super::starvation::Probes;
use crate::load::crowd::Crowd;
use crate::process::Start;
use crate::subjects::{Built, Route};
use crate::table::Table;

const BLOCKED: usize = 200;
const NAP: Duration = Duration::from_secs(2);
/// Enough for all of them: the question is what the rest of the server does meanwhile.
const POOL: usize = 256;

struct Sample {
    times: Vec<Duration>,
    finished: usize,
    wall: f64,
    threads: f64,
}

pub fn run(bench: &Bench<'_>) -> Table {
    let probes = Probes { count: 15, every: Duration::from_millis(100), limit: Duration::from_secs(5) };
    let title = format!(
        "{} probes GET /, one every {} ms, each on a new connection ({} s limit), while {BLOCKED} clients sit in \
         /sleep-blocking?ms={}; pools have {POOL} threads",
        probes.count,
        probes.every.as_millis(),
        probes.limit.as_secs(),
        NAP.as_millis(),
    );
    let columns =
        [("answered", 0), ("p50 ms", 2), ("max ms", 2), ("sleepers answered", 0), ("in s", 2), ("threads", 0)];
    let mut table = Table::new("blocking", title, &columns);
    for (name, samples) in bench.in_turn("blocking", Route::SleepBlocking, 1, |built| sample(bench, built, &probes)) {
        let row = samples.map(|samples| {
            let Sample { times, finished, wall, threads } = &samples[0];
            let milliseconds = |time: Option<&Duration>| time.map(|time| time.as_secs_f64() * 1e3).into();
            vec![
                format!("{} of {}", times.len(), probes.count).into(),
                milliseconds(times.get(times.len() / 2)),
                milliseconds(times.last()),
                format!("{finished} of {BLOCKED}").into(),
                (*wall).into(),
                (*threads).into(),
            ]
        });
        table.row(name, row);
    }
    table
}

fn sample(bench: &Bench<'_>, built: &Built, probes: &Probes) -> Result<Sample, String> {
    let mut start = Start::new(bench.workers());
    start.pool = Some(POOL);
    let server = bench.start(built, &start)?;
    let mut blocked = Crowd::open(server.address, BLOCKED, &format!("/sleep-blocking?ms={}", NAP.as_millis()))?;
    blocked.attend(Instant::now() + Duration::from_millis(300))?;
    let threads = server.threads() as f64;
    let times = probes.send(server.address);
    blocked.attend(Instant::now() + NAP * 10)?;
    let answered = blocked.answered();
    Ok(Sample {
        times,
        finished: answered.len(),
        wall: answered.last().map_or(f64::NAN, Duration::as_secs_f64),
        threads,
    })
}
