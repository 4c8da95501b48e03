//! `idle`: what 10,000 idle keep-alive connections cost in memory and threads.
//! `sleep`: how long 10,000 requests take that each wait 5 s, when nothing but waiting is to be done.

use std::time::{Duration, Instant};

use super::Bench;
use crate::load::crowd::Crowd;
use crate::load::exchange::probe;
use crate::process::{Server, Start};
use crate::subjects::{Built, Route};
use crate::table::Table;

/// How long connections may take to be accepted and answered.
pub(super) fn patience(bench: &Bench<'_>) -> Duration {
    Duration::from_secs(if bench.options.quick { 6 } else { 20 })
}

/// As many connections as asked for, and as the limit of open files allows.
pub(super) fn crowd_size(bench: &Bench<'_>) -> usize {
    let wanted = if bench.options.quick { 2_000 } else { 10_000 };
    wanted.min(bench.files.saturating_sub(200) as usize)
}

struct IdleSample {
    answered: usize,
    seconds: f64,
    bytes: f64,
    threads: f64,
    open: usize,
    probe: Option<f64>,
}

pub fn idle(bench: &Bench<'_>) -> Table {
    let count = crowd_size(bench);
    let mut table = Table::new(
        "idle",
        format!("{count} connections opened at once, each of which sends GET / and then stays idle"),
        &[
            ("answered", 0),
            ("in s", 2),
            ("bytes/connection", 0),
            ("threads", 0),
            ("still open", 0),
            ("new GET / ms", 2),
        ],
    );
    for (name, samples) in bench.in_turn("idle", Route::Hello, 1, |built| idle_sample(bench, built, count)) {
        let row = samples.map(|samples| {
            let sample = &samples[0];
            vec![
                (sample.answered as f64).into(),
                sample.seconds.into(),
                sample.bytes.into(),
                sample.threads.into(),
                (sample.open as f64).into(),
                sample.probe.into(),
            ]
        });
        table.row(name, row);
    }
    table
}

fn idle_sample(bench: &Bench<'_>, built: &Built, count: usize) -> Result<IdleSample, String> {
    let server = bench.start(built, &Start::new(bench.workers()))?;
    let before = settled(&server);
    let mut crowd = Crowd::open(server.address, count, "/")?;
    crowd.attend(Instant::now() + patience(bench))?;
    let answered = crowd.answered();
    std::thread::sleep(Duration::from_millis(500));
    let after = server.resident();
    let threads = server.threads() as f64;
    let probe = probe(server.address, Duration::from_secs(5)).ok();
    // A closed connection shows once it is looked at again.
    crowd.notice()?;
    Ok(IdleSample {
        answered: answered.len(),
        seconds: answered.last().map_or(f64::NAN, Duration::as_secs_f64),
        bytes: growth(before, after, answered.len()),
        threads,
        open: crowd.idle(),
        probe: probe.map(|time| time.as_secs_f64() * 1e3),
    })
}

struct SleepSample {
    answered: usize,
    wall: f64,
    p99: f64,
    bytes: f64,
    threads: f64,
    failure: Option<String>,
}

pub fn sleep(bench: &Bench<'_>) -> Table {
    let count = crowd_size(bench);
    let nap = Duration::from_secs(if bench.options.quick { 1 } else { 5 });
    let title = format!("{count} concurrent GET /sleep?ms={} (limit {} s)", nap.as_millis(), patience(bench).as_secs());
    let columns = [("answered", 0), ("wall s", 2), ("p99 s", 2), ("bytes/request", 0), ("threads", 0), ("failure", 0)];
    let mut table = Table::new("sleep", title, &columns);
    for (name, samples) in bench.in_turn("sleep", Route::Sleep, 1, |built| sleep_sample(bench, built, count, nap)) {
        let row = samples.map(|mut samples| {
            let sample = samples.remove(0);
            vec![
                (sample.answered as f64).into(),
                sample.wall.into(),
                sample.p99.into(),
                sample.bytes.into(),
                sample.threads.into(),
                sample.failure.unwrap_or_default().into(),
            ]
        });
        table.row(name, row);
    }
    table
}

fn sleep_sample(bench: &Bench<'_>, built: &Built, count: usize, nap: Duration) -> Result<SleepSample, String> {
    let server = bench.start(built, &Start::new(bench.workers()))?;
    let before = settled(&server);
    let begun = Instant::now();
    let mut crowd = Crowd::open(server.address, count, &format!("/sleep?ms={}", nap.as_millis()))?;
    // The memory is read while they sleep: late enough for all to have been sent, too early for any to be answered.
    crowd.attend(begun + nap * 4 / 5)?;
    let (during, threads) = (server.resident(), server.threads() as f64);
    crowd.attend(begun + patience(bench))?;
    let answered = crowd.answered();
    let last = answered.last().copied().unwrap_or_default();
    let all = answered.len() == count;
    Ok(SleepSample {
        answered: answered.len(),
        wall: if all { last } else { begun.elapsed() }.as_secs_f64(),
        p99: answered.get(answered.len() * 99 / 100).map_or(f64::NAN, Duration::as_secs_f64),
        bytes: growth(before, during, count),
        threads,
        failure: crowd.failure,
    })
}

/// The resident memory of a server that has answered a few requests, or has failed at it.
pub(super) fn settled(server: &Server) -> u64 {
    (0..50).all(|_| probe(server.address, Duration::from_secs(2)).is_ok());
    server.resident()
}

/// Growth in bytes for each of `count`, from KiB.
pub(super) fn growth(before: u64, after: u64, count: usize) -> f64 {
    (after as f64 - before as f64) * 1024.0 / count as f64
}
