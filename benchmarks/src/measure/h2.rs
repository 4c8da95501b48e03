//! `h2`: HTTP/2 by prior knowledge, loaded by nghttp2's h2load: instructions a request, requests a second, CPU time.

use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::instructions::{self, control};
use super::{Bench, installed};
use crate::process::Start;
use crate::subjects::{BASE_H2, Built, Route};
use crate::table::{Table, median};

const CONNECTIONS: usize = 16;
/// On each of them: one request after the other, and many at once.
const STREAMS: [usize; 2] = [1, 32];

pub fn run(bench: &Bench<'_>) -> Table {
    let (rounds, seconds) = (bench.options.rounds(), bench.options.seconds());
    let title = format!(
        "HTTP/2: GET / on {CONNECTIONS} connections of 1 and of {} streams; rounds: {rounds}, of {seconds} s each",
        STREAMS[1]
    );
    let columns = [
        ("Ir/req of 1", 0),
        ("of bare-hyper-h2", 2),
        ("Ir/req of 32", 0),
        ("of bare-hyper-h2 ", 2),
        ("req/s of 1", 0),
        ("CPU µs/req", 2),
        ("req/s of 32", 0),
        ("CPU µs/req ", 2),
    ];
    let mut table = Table::new("h2", title, &columns);
    let here = ["h2load", "valgrind", "callgrind_control"].into_iter().find(|program| !installed(program));
    let counts = bench.in_turn("h2, instructions", Route::Http2, 1, |built| match here {
        None => Ok(STREAMS.map(|streams| count(bench, built, streams)).into_iter().collect::<Result<Vec<_>, _>>()?),
        Some(missing) => Err(format!("{missing} is not installed")),
    });
    let rates = bench.in_turn("h2", Route::Http2, rounds, |built| {
        STREAMS.map(|streams| rate(bench, built, streams)).into_iter().collect::<Result<Vec<_>, _>>()
    });
    let base = counts.iter().find(|(name, _)| *name == BASE_H2);
    let base = base.and_then(|(_, samples)| samples.as_ref().ok()?.first().cloned());
    for (name, samples) in &counts {
        let row = samples.clone().and_then(|counted| {
            let rates = rates.iter().find(|(one, _)| one == name).ok_or("no rate")?.1.clone()?;
            let mut cells = Vec::new();
            for (which, own) in counted[0].iter().enumerate() {
                cells.extend([(*own).into(), base.as_ref().map(|base| own / base[which]).into()]);
            }
            for which in 0..STREAMS.len() {
                cells.push(median(rates.iter().map(|round| round[which].0)).into());
                cells.push(median(rates.iter().map(|round| round[which].1)).into());
            }
            Ok(cells)
        });
        table.row(name, row);
    }
    table
}

/// It takes connections: it may speak nothing but HTTP/2.
fn ready(address: SocketAddr, limit: Duration) -> Result<Duration, String> {
    let begun = Instant::now();
    TcpStream::connect_timeout(&address, limit).map_err(|error| error.to_string())?;
    Ok(begun.elapsed())
}

/// Instructions a request.
fn count(bench: &Bench<'_>, built: &Built, streams: usize) -> Result<f64, String> {
    let output = bench.scratch().join(format!("callgrind.h2.{}.{streams}", built.subject.name));
    let mut start = Start::new(1);
    start.ready = ready;
    start.patience = Duration::from_secs(60);
    start.under = instructions::under(&output);
    let server = bench.start(built, &start)?;
    load(server.address, streams, &["-n", "2000"])?;
    control(&server, "-z")?;
    let requests = load(server.address, streams, &["-n", &instructions::REQUESTS.to_string()])?;
    control(&server, "-d")?;
    Ok(instructions::total(&output)? as f64 / requests as f64)
}

/// Requests a second, and CPU microseconds of the server for each.
fn rate(bench: &Bench<'_>, built: &Built, streams: usize) -> Result<(f64, f64), String> {
    let mut start = Start::new(bench.workers());
    start.ready = ready;
    let server = bench.start(built, &start)?;
    load(server.address, streams, &["-n", "2000"])?;
    let (begun, before) = (Instant::now(), server.cpu_time());
    let requests = load(server.address, streams, &["-D", &bench.options.seconds().to_string()])? as f64;
    let (after, elapsed) = (server.cpu_time(), begun.elapsed().as_secs_f64());
    let cpu = after.user + after.system - before.user - before.system;
    Ok((requests / elapsed, cpu / requests))
}

/// Loads the server; how many requests were answered, all of them by a 200.
fn load(address: SocketAddr, streams: usize, much: &[&str]) -> Result<u64, String> {
    let output = Command::new("h2load")
        .args(["-c", &CONNECTIONS.to_string(), "-m", &streams.to_string(), "-t", "1"])
        .args(much)
        .arg(format!("http://{address}/"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run h2load: {error}"))?;
    answered(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| "h2load saw requests that failed".into())
}

/// What h2load says of them: `requests: 10 total, 10 started, 10 done, 10 succeeded, 0 failed, 0 errored, 0 timeout`.
fn answered(report: &str) -> Option<u64> {
    let line = report.lines().find_map(|line| line.strip_prefix("requests: "))?;
    let number = |what: &str| {
        let part = line.split(", ").find(|part| part.ends_with(what))?;
        part.split(' ').next()?.parse::<u64>().ok()
    };
    let succeeded = number(" succeeded")?;
    // Those under way when the time is over count as nothing.
    (succeeded > 0 && number(" failed")? == 0 && number(" errored")? == 0).then_some(succeeded)
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_what_h2load_says() {
        let line = |rest: &str| format!("finished in 1s\nrequests: 12 total, 12 started, {rest}\nstatus codes: …\n");
        let good = line("12 done, 11 succeeded, 0 failed, 0 errored, 0 timeout");
        assert_eq!(super::answered(&good), Some(11));
        assert_eq!(super::answered(&line("12 done, 11 succeeded, 1 failed, 1 errored, 0 timeout")), None);
        assert_eq!(super::answered("nothing"), None);
    }
}
